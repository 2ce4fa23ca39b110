//! A server above `maxmemory` refuses commands that grow and runs commands that free or finish, directly and from scripts.

use crate::commands::{changes_nothing, integers};
use crate::support::docs::command_names;
use crate::support::{Server, Setup, Value, each_server, each_server_with};

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// The outcome of a form of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The server refuses it.
    Grows,
    /// The command refuses this form itself, so that MULTI still queues it.
    GrowsHere,
    /// It runs, and returns this.
    Runs(&'static str),
}
use Fate::{Grows, GrowsHere, Runs};

const HELD: &str = "ATOMIC.LOCK k me 1000000";
const USED: &str = "ATOMIC.RATELIMIT k FIXED 9 1000000 COST 4";
const SEEN: &str = "ATOMIC.FENCE k 5";
const PERMITS: &str = "ATOMIC.SEMACQUIRE k 9 me 1000000 PERMITS 3";

/// Every form of every command that writes: the setup, the command, and its outcome. `<token>` is the token of the request
/// that the setup began.
const FORMS: &[(&str, &str, Fate)] = &[
    ("SET k v", "ATOMIC.CAS k v w", Grows),
    ("SET k v", "ATOMIC.CAD k v", Runs("1")),
    ("SET k v", "ATOMIC.MCAS k v w", Grows),
    ("SET k v", "ATOMIC.SET k w XX", Grows),
    ("SET k v", "ATOMIC.DEL k IFEQ v", Runs("1")),
    ("SET k v", "ATOMIC.PEXPIRE k 1000000 IFEQ v", Runs("1")),
    ("HSET k f v", "ATOMIC.HCAS k f v w", Grows),
    ("HSET k f v", "ATOMIC.HSET k f w XX", Grows),
    ("SET k 1", "ATOMIC.INCRBY k 1", Grows),
    ("HSET k f 1", "ATOMIC.HINCRBY k f 1", Grows),
    ("MSET {k}a 5 {k}b 5", "ATOMIC.TRANSFER {k}a {k}b 1", Grows),
    ("PING", "ATOMIC.GETORSET k v", Grows),
    ("RPUSH k a b", "ATOMIC.PUSH k LEFT 9 VALUES v", Grows),
    ("RPUSH k a b", "ATOMIC.POP k LEFT", Runs("a")),
    ("ZADD k 1 a", "ATOMIC.ZPOPDUE k", Runs("a 1")),
    ("ZADD k 1 a", "ATOMIC.ZPOPDUE k LEASE 50000", Runs("a ")),
    ("ZADD {k}a 1 a", "ATOMIC.ZMOVEDUE {k}a {k}b", Runs("a 1")),
    ("ZADD k 1 a", "ATOMIC.ZDONE k a 1 AT 5", Runs("1")),
    ("PING", "ATOMIC.ONCE k PX 1000", Grows),
    ("PING", "ATOMIC.IDEMBEGIN k f 1000000", Grows),
    ("ATOMIC.IDEMBEGIN k f 1000000", "ATOMIC.IDEMEND k <token> response PX 1000000", Runs("1")),
    ("ATOMIC.IDEMBEGIN k f 1000000", "ATOMIC.IDEMABORT k <token>", Runs("1")),
    ("PING", "ATOMIC.IDEM k 1000000 SET n v", GrowsHere),
    ("SET n v", "ATOMIC.IDEM k 1000000 DEL n", Runs("0 1")),
    ("PING", "ATOMIC.RATELIMIT k FIXED 9 1000000", GrowsHere),
    (USED, "ATOMIC.RATELIMIT k FIXED 9 1000000 COST 2", GrowsHere),
    (USED, "ATOMIC.RATELIMIT k FIXED 9 1000000 UPTO 2", GrowsHere),
    ("PING", "ATOMIC.RATELIMIT k FIXED 9 1000000 FORCE 2", GrowsHere),
    (USED, "ATOMIC.RATELIMIT k FIXED 9 1000000 FORCE 2", Runs("2 9 3")),
    (USED, "ATOMIC.RATELIMIT k FIXED 9 1000000 REFUND 3", Runs("3 9 8")),
    (USED, "ATOMIC.RATELIMIT k FIXED 9 1000000 RESET", Runs("0 9 9 0 0 0")),
    ("PING", "ATOMIC.RATELIMIT k LOG 9 1000000 REFUND 3", Runs("0 9 9 0 0 0")),
    (USED, "ATOMIC.MRATELIMIT 1 k FIXED 9 1000000", Grows),
    (HELD, "ATOMIC.LOCK k me 2000000", Grows),
    (HELD, "ATOMIC.MLOCK me 2000000 k", Grows),
    (HELD, "ATOMIC.LOCKRENEW k me 2000000", Runs("2000000")),
    (HELD, "ATOMIC.UNLOCK k me", Runs("0")),
    ("PING", "ATOMIC.FENCE k 5", GrowsHere),
    (SEEN, "ATOMIC.FENCE k 6 PX 1000000", Runs("1")),
    (SEEN, "ATOMIC.FENCE k 4", Runs("0")),
    (PERMITS, "ATOMIC.SEMACQUIRE k 9 me 1000000", Grows),
    (PERMITS, "ATOMIC.SEMRENEW k me 2000000", Runs("2000000")),
    (PERMITS, "ATOMIC.SEMRELEASE k me", Runs("2")),
    (PERMITS, "ATOMIC.SEMRELEASE k me PERMITS 3", Runs("0")),
];

/// Runs `setup`, fills the server, and returns the command of the form.
fn prepare(server: &Server, setup: &str, command: &str) -> String {
    server.run("CONFIG SET maxmemory 0");
    server.run("FLUSHALL");
    let reply = server.run(setup);
    assert!(!matches!(reply, Value::Error(_)), "{setup}: {reply}");
    server.run("CONFIG SET maxmemory 1");
    let token = if command.contains("<token>") { reply.array()[2].text() } else { String::new() };
    command.replace("<token>", &token)
}

/// Asserts on one reply: an array by its first numbers.
#[track_caller]
fn expect(reply: &Value, fate: Fate, what: &str) {
    let Runs(expected) = fate else {
        assert!(reply.error().starts_with("OOM "), "{what}: {reply}");
        return;
    };
    let shown = match reply {
        Value::Array(parts) => parts.iter().map(word).collect::<Vec<_>>().join(" "),
        other => word(other),
    };
    assert!(shown.starts_with(expected), "{what} answered {shown}, and not {expected}");
}

fn word(value: &Value) -> String {
    if let Value::Integer(number) = value { number.to_string() } else { value.text() }
}

/// `command` as a call of a script.
fn called(command: &str) -> String {
    let words: Vec<String> = command.split(' ').map(|word| format!("'{word}'")).collect();
    format!("return redis.call({})", words.join(", "))
}

/// Whether the server queues commands in MULTI while it is out of memory. Redis 7.0 does not: the queue itself takes memory.
fn queues_anything(server: &Server) -> bool {
    let mut connection = server.connect();
    server.run("CONFIG SET maxmemory 1");
    connection.run("MULTI");
    let queued = connection.run("DEL none");
    connection.run("DISCARD");
    !matches!(queued, Value::Error(_))
}

#[test]
fn a_full_server_refuses_forms_that_grow_and_runs_those_that_free_or_finish() {
    each_server(|server| {
        server.run("CONFIG SET maxmemory-policy noeviction");
        let mut connection = server.connect();
        let queues = queues_anything(server);
        for (setup, command, fate) in FORMS {
            let sent = prepare(server, setup, command);
            match fate {
                Runs(_) => expect(&connection.run(&sent), *fate, command),
                Grows | GrowsHere => assert_eq!(changes_nothing(server, &sent), Value::Error(OOM.to_owned()), "{command}"),
            }
            let sent = prepare(server, setup, command);
            connection.run("MULTI");
            let queued = connection.run(&sent);
            let ran = connection.run("EXEC");
            match fate {
                _ if !queues => assert!(ran.error().starts_with("EXECABORT "), "{command}: {ran}"),
                Grows => assert!(
                    queued.error().starts_with("OOM ") && ran.error().starts_with("EXECABORT "),
                    "{command}: {queued}, {ran}"
                ),
                GrowsHere | Runs(_) => expect(&ran.array()[0], *fate, &format!("{command} in MULTI")),
            }
            for eval in ["EVAL", "ATOMIC.EVAL"] {
                let sent = prepare(server, setup, command);
                expect(&connection.call(&[eval, &called(&sent), "0"]), *fate, &format!("{command} in {eval}"));
            }
        }
        server.run("CONFIG SET maxmemory 0");
    });
}

#[test]
fn every_command_that_writes_has_its_forms() {
    each_server(|server| {
        for name in command_names(server) {
            let info = server.run(&format!("COMMAND INFO {name}"));
            let writes = info.array()[0].array()[2].array().iter().any(|flag| flag.text() == "write");
            let known = FORMS.iter().any(|(_, command, _)| command.to_lowercase().starts_with(&format!("{name} ")));
            assert!(!writes || known, "what becomes of {name} when memory is out?");
        }
    });
}

#[test]
fn a_full_server_records_the_response_of_a_request() {
    each_server(|server| {
        server.run("CONFIG SET maxmemory-policy noeviction");
        let begun = server.run("ATOMIC.IDEMBEGIN k f 1000000");
        let response = "r".repeat(10_000);
        server.run("CONFIG SET maxmemory 1");
        let end = format!("ATOMIC.IDEMEND k {} {response} PX 1000000", begun.array()[2].text());
        assert_eq!(server.run(&end), Value::Integer(1));
        server.run("CONFIG SET maxmemory 0");
        let again = server.run("ATOMIC.IDEMBEGIN k f 1000000");
        assert_eq!((again.array()[0].integer(), again.array()[2].text()), (3, response));
    });
}

#[test]
fn a_script_that_has_written_or_may_grow_is_not_stopped_halfway() {
    each_server(|server| {
        server.run("CONFIG SET maxmemory-policy noeviction");
        server.run("CONFIG SET maxmemory 1");
        let charge = |call: &str| format!("{call} return redis.call('ATOMIC.RATELIMIT', KEYS[1], 'FIXED', 9, 1000000)[1]");
        let native = |call: &str| format!("{call} return atomic.ratelimit(KEYS[1], 'FIXED', 9, 1000000)[1]");
        for script in
            [charge, native].iter().flat_map(|of| [of("redis.call('DEL', 'none')"), format!("#!lua flags=allow-oom\n{}", of(""))])
        {
            server.run("SET none 1");
            assert_eq!(server.call(&["ATOMIC.EVAL", &script, "1", "k"]), Value::Integer(1), "{script}");
            server.run("DEL k");
        }
        for script in [charge(""), native("")] {
            assert!(server.call(&["ATOMIC.EVAL", &script, "1", "k"]).error().starts_with("OOM "), "{script}");
        }
        // The permission to grow ends with the script.
        assert_eq!(server.run("ATOMIC.RATELIMIT k FIXED 9 1000000"), Value::Error(OOM.to_owned()));
    });
}

#[test]
fn a_server_with_room_or_with_keys_to_evict_refuses_nothing() {
    each_server(|server| {
        server.run("CONFIG SET maxmemory 500mb");
        assert_eq!(integers(&server.run("ATOMIC.RATELIMIT k FIXED 9 1000000"))[0], 1);
        server.run("CONFIG SET maxmemory-policy allkeys-lru");
        let used: u64 = server.info("used_memory").parse().unwrap();
        server.run(&format!("CONFIG SET maxmemory {}", used + 500_000));
        let filler = "f".repeat(10_000);
        for n in 0..200 {
            assert_eq!(server.run(&format!("SET filler:{n} {filler}")), Value::ok());
            assert_eq!(integers(&server.run(&format!("ATOMIC.RATELIMIT limiter:{n} FIXED 9 1000000")))[0], 1, "{n}");
            assert_eq!(server.run(&format!("ATOMIC.FENCE fence:{n} 1")), Value::Integer(1), "{n}");
        }
        assert!(server.info("evicted_keys").parse::<u64>().unwrap() > 0, "nothing was evicted");
    });
}

#[test]
fn a_server_that_knows_no_empty_write_still_refuses() {
    each_server_with(&Setup::with_module().config("rename-command SETRANGE \"\""), |server| {
        server.run("CONFIG SET maxmemory-policy noeviction");
        server.run("CONFIG SET maxmemory 1");
        assert_eq!(server.run("ATOMIC.RATELIMIT k FIXED 9 1000000"), Value::Error(OOM.to_owned()));
        server.run("CONFIG SET maxmemory 0");
        assert_eq!(integers(&server.run("ATOMIC.RATELIMIT k FIXED 9 1000000"))[0], 1);
    });
}
