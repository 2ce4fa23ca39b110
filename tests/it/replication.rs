//! Replicas get exactly the effects, as plain commands with absolute times, and nothing else.

use crate::commands::{deadline, integers};
use crate::support::line::line;
use crate::support::{FakeReplica, RealReplica, Server, Setup, Value, argv, each_server, each_server_with};

/// The stream of one command. State and deadline are read from the key afterwards.
#[derive(Clone, Copy)]
enum Sent {
    /// `SET key value PXAT deadline`
    Put,
    /// `SET key value`
    Plain,
    /// `SET key value KEEPTTL`
    Keep,
    /// `DEL key`
    Del,
    /// `PEXPIREAT key deadline`
    Expire,
    Nothing,
}

impl Sent {
    fn expected(self, server: &Server, key: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let value = || server.call(&[b"GET", key]).bytes().to_vec();
        let ends = || server.call(&[b"PEXPIRETIME", key]).integer().to_string().into_bytes();
        let words: Vec<Vec<u8>> = match self {
            Self::Put => vec![b"SET".to_vec(), key.to_vec(), value(), b"PXAT".to_vec(), ends()],
            Self::Plain => vec![b"SET".to_vec(), key.to_vec(), value()],
            Self::Keep => vec![b"SET".to_vec(), key.to_vec(), value(), b"KEEPTTL".to_vec()],
            Self::Del => vec![b"DEL".to_vec(), key.to_vec()],
            Self::Expire => vec![b"PEXPIREAT".to_vec(), key.to_vec(), ends()],
            Self::Nothing => return Vec::new(),
        };
        vec![words]
    }
}

/// Commands in order, on one key; `None` is setup. Together they cover every write path and every refusal of every command.
#[rustfmt::skip]
const PROGRAM: &[(&str, Option<Sent>)] = &[
    ("SET k v PX 6000000", None),
    ("ATOMIC.CAS k v w", Some(Sent::Plain)),
    ("ATOMIC.CAS k w v EX 1000", Some(Sent::Put)),
    ("ATOMIC.CAS k v w PX 1000000", Some(Sent::Put)),
    ("ATOMIC.CAS k w v EXAT 4102444800", Some(Sent::Put)),
    ("ATOMIC.CAS k v w PXAT 4102444800123", Some(Sent::Put)),
    ("ATOMIC.CAS k w '' KEEPTTL", Some(Sent::Keep)),
    (r#"ATOMIC.CAS k '' "\x00\r\n\xe4\xb8\x80" KEEPTTL"#, Some(Sent::Keep)),
    (r#"ATOMIC.CAS k "\x00\r\n\xe4\xb8\x80" 10 PXAT 4611686018427387903"#, Some(Sent::Put)),
    ("ATOMIC.CAS k 10 10 KEEPTTL", Some(Sent::Keep)),
    ("ATOMIC.CAS k 10 10", Some(Sent::Plain)),
    ("ATOMIC.CAS k 010 11", Some(Sent::Nothing)),
    ("ATOMIC.CAS k 11 12 PXAT 1", Some(Sent::Nothing)),
    ("ATOMIC.CAS k 10 11 EX 0", Some(Sent::Nothing)),
    ("ATOMIC.CAS k 10 11 EX 10 PX 10", Some(Sent::Nothing)),
    ("ATOMIC.CAS k 10 11 junk", Some(Sent::Nothing)),
    ("ATOMIC.CAS k 10 11 PXAT 1", Some(Sent::Del)),
    ("ATOMIC.CAS k 10 11 PXAT 1", Some(Sent::Nothing)),
    ("ATOMIC.CAS k '' 11", Some(Sent::Nothing)),
    ("SET k v", None),
    ("ATOMIC.CAD k w", Some(Sent::Nothing)),
    ("ATOMIC.CAD k v x", Some(Sent::Nothing)),
    ("ATOMIC.CAD k v", Some(Sent::Del)),
    ("ATOMIC.CAD k v", Some(Sent::Nothing)),
    ("ATOMIC.RATELIMIT k BUCKET 10 1 31536000000", Some(Sent::Put)),
    ("ATOMIC.RATELIMIT k BUCKET 10 1 31536000000 COST 9", Some(Sent::Put)),
    ("ATOMIC.RATELIMIT k BUCKET 10 1 31536000000", Some(Sent::Nothing)),
    ("ATOMIC.RATELIMIT k BUCKET 10 1 31536000000 COST 11", Some(Sent::Nothing)),
    ("ATOMIC.RATELIMIT k BUCKET 10 1 31536000001", Some(Sent::Nothing)),
    ("ATOMIC.RATELIMIT_RO k BUCKET 100 1 31536000000 COST 20", Some(Sent::Nothing)),
    ("ATOMIC.RATELIMIT k FIXED 10 31536000000", Some(Sent::Put)),
    ("ATOMIC.RATELIMIT k FIXED 10 31536000000 COST 9", Some(Sent::Put)),
    ("ATOMIC.RATELIMIT k FIXED 10 31536000000", Some(Sent::Nothing)),
    ("ATOMIC.RATELIMIT k FIXED 1 x", Some(Sent::Nothing)),
    ("ATOMIC.RATELIMIT_RO k FIXED 10 31536000000", Some(Sent::Nothing)),
    ("DEL k", None),
    ("ATOMIC.LOCKINFO k", Some(Sent::Nothing)),
    ("ATOMIC.UNLOCK k me", Some(Sent::Nothing)),
    ("ATOMIC.LOCKRENEW k me 1000000", Some(Sent::Nothing)),
    ("ATOMIC.LOCK k me 1000000", Some(Sent::Put)),
    ("ATOMIC.LOCK k me 2000000", Some(Sent::Put)),
    ("ATOMIC.LOCK k me 10", Some(Sent::Nothing)),
    ("ATOMIC.LOCK k me 10 REENTRANT", Some(Sent::Put)),
    ("ATOMIC.LOCK k you 1000000", Some(Sent::Nothing)),
    ("ATOMIC.UNLOCK k you", Some(Sent::Nothing)),
    ("ATOMIC.UNLOCK k you ALL", Some(Sent::Nothing)),
    ("ATOMIC.LOCKRENEW k you 1000000", Some(Sent::Nothing)),
    ("ATOMIC.LOCK k me 0", Some(Sent::Nothing)),
    ("ATOMIC.RATELIMIT k FIXED 10 1000", Some(Sent::Nothing)),
    ("ATOMIC.LOCKINFO k", Some(Sent::Nothing)),
    ("ATOMIC.LOCKRENEW k me 3000000", Some(Sent::Put)),
    ("ATOMIC.LOCKRENEW k me 500000", Some(Sent::Put)),
    ("ATOMIC.UNLOCK k me", Some(Sent::Put)),
    ("ATOMIC.UNLOCK k me junk", Some(Sent::Nothing)),
    ("ATOMIC.UNLOCK k me ALL", Some(Sent::Del)),
    ("ATOMIC.UNLOCK k me ALL", Some(Sent::Nothing)),
    ("ATOMIC.LOCK k me 1000000", Some(Sent::Put)),
    ("ATOMIC.UNLOCK k me", Some(Sent::Del)),
    ("SET k token PX 6000000", None),
    ("ATOMIC.LOCK k token 1000000", Some(Sent::Nothing)),
    ("ATOMIC.LOCK k me 1000000", Some(Sent::Nothing)),
    ("ATOMIC.LOCKRENEW k me 1000000", Some(Sent::Nothing)),
    ("ATOMIC.LOCKRENEW k token 1000000", Some(Sent::Expire)),
    ("ATOMIC.UNLOCK k me", Some(Sent::Nothing)),
    ("ATOMIC.UNLOCK k token", Some(Sent::Del)),
    ("SET k token", None),
    ("ATOMIC.LOCKRENEW k token 1000000", Some(Sent::Expire)),
    ("RPUSH k2 v", None),
    ("ATOMIC.CAS k2 v w", Some(Sent::Nothing)),
    ("ATOMIC.CAD k2 v", Some(Sent::Nothing)),
    ("ATOMIC.RATELIMIT k2 FIXED 10 1000", Some(Sent::Nothing)),
    ("ATOMIC.LOCK k2 me 1000", Some(Sent::Nothing)),
    ("ATOMIC.UNLOCK k2 me", Some(Sent::Nothing)),
    ("ATOMIC.LOCKRENEW k2 me 1000", Some(Sent::Nothing)),
];

fn shown(commands: &[Vec<Vec<u8>>]) -> Vec<String> {
    commands.iter().map(|command| line(command)).collect()
}

/// A server on which only the test's own commands move the replication offset.
fn quiet() -> Setup {
    Setup::with_module().config("repl-ping-replica-period 3600")
}

#[test]
fn every_write_replicates_as_its_effect_and_nothing_else_replicates() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for (command, sent) in PROGRAM {
            let reply = server.run(command);
            let recorded = replica.commands();
            let Some(sent) = sent else { continue };
            let key = &argv(command)[1];
            assert_eq!(shown(&recorded), shown(&sent.expected(server, key)), "{command} answered {reply}");
        }
    });
}

#[test]
fn a_denial_an_error_and_a_read_move_neither_the_offset_nor_the_count_of_changes() {
    each_server_with(&quiet(), |server| {
        // From its first replica on, the server counts what it replicates, even without a replica.
        drop(FakeReplica::attach(server));
        let counters =
            || ["master_repl_offset", "rdb_changes_since_last_save"].map(|field| server.info(field).parse::<u64>().unwrap());
        for (command, sent) in PROGRAM {
            let before = counters();
            let reply = server.run(command);
            let after = counters();
            match sent {
                Some(Sent::Nothing) => assert_eq!(after, before, "{command} answered {reply}"),
                _ => assert!(after[0] > before[0] && after[1] == before[1] + 1, "{command}: {before:?} then {after:?}"),
            }
        }
    });
}

#[test]
fn a_transaction_replicates_its_effects_in_order_and_nothing_when_all_is_denied() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let mut connection = server.connect();
        let mut transaction = |commands: &[&str]| {
            connection.run("MULTI");
            commands.iter().for_each(|command| assert_eq!(connection.run(command), Value::Status("QUEUED".to_owned())));
            connection.run("EXEC").array().to_vec()
        };
        server.run("SET k v");
        server.run("SET gone v");
        replica.stream();
        let replies = transaction(&[
            "ATOMIC.CAS k w x",
            "ATOMIC.CAS k v w",
            "ATOMIC.RATELIMIT r FIXED 3 31536000000",
            "ATOMIC.RATELIMIT r FIXED 3 31536000000 COST 2",
            "ATOMIC.RATELIMIT r FIXED 3 31536000000",
            "ATOMIC.LOCK l me 1000000",
            "ATOMIC.LOCK l you 1000000",
            "ATOMIC.CAD gone v",
            "ATOMIC.CAS k w x junk",
        ]);
        let granted: Vec<i64> = [2, 3, 4, 5, 6].iter().map(|&at: &usize| integers(&replies[at])[0]).collect();
        assert_eq!(granted, [1, 2, 0, 1, 0]);
        assert_eq!([&replies[0], &replies[1], &replies[7]].map(Value::integer), [0, 1, 1]);
        assert_eq!(replies[8].error(), "ERR syntax error near 'junk'");
        let recorded = replica.commands();
        // Two states of one limiter: the first must not be overwritten by the second before it is sent.
        let state =
            |used: &str| format!(r#"SET r "\xa1\x07{}\x00\x00\x00\x00\x00{used}" PXAT {}"#, start(server), deadline(server, "r"));
        let expected = ["MULTI", "SET k w", &state(r"\x01"), &state(r"\x03")].map(argv);
        assert_eq!(shown(&recorded[..4]), shown(&expected));
        let rest = [Sent::Put.expected(server, b"l"), Sent::Del.expected(server, b"gone"), vec![argv("EXEC")]].concat();
        assert_eq!(shown(&recorded[4..]), shown(&rest));
        transaction(&[
            "ATOMIC.CAS k nothing x",
            "ATOMIC.CAD gone v",
            "ATOMIC.LOCK l you 1000",
            "ATOMIC.RATELIMIT r FIXED 3 1000 COST 4",
        ]);
        replica.expect_stream(&[]);
    });
}

/// The bytes in which the limiter at `r` keeps the start of its window, escaped.
fn start(server: &Server) -> String {
    let state = server.run("GET r");
    state.bytes()[2..9].iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

#[test]
fn a_script_replicates_the_effects_of_its_calls() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        server.run("SET k v");
        replica.stream();
        let run = |body: &str| server.call(&["EVAL", body, "2", "k", "l"]);
        assert_eq!(run("return redis.call('ATOMIC.CAS', KEYS[1], 'v', 'w')"), Value::Integer(1));
        replica.expect_stream(&["SET k w"]);
        assert_eq!(run("return redis.call('ATOMIC.CAS', KEYS[1], 'v', 'w')"), Value::Integer(0));
        replica.expect_stream(&[]);
        let both = "redis.call('ATOMIC.CAD', KEYS[1], 'w') return redis.call('ATOMIC.LOCK', KEYS[2], 'me', 1000000)[1]";
        assert_eq!(run(both), Value::Integer(1));
        let state = Sent::Put.expected(server, b"l");
        let expected = [vec![argv("MULTI"), argv("DEL k")], state, vec![argv("EXEC")]].concat();
        assert_eq!(shown(&replica.commands()), shown(&expected));
    });
}

#[test]
fn an_ended_lease_is_deleted_before_its_lock_is_acquired_again() {
    each_server(|server| {
        server.run("DEBUG SET-ACTIVE-EXPIRE 0");
        let mut connection = server.connect();
        let taken = crate::commands::timed(&mut connection, "ATOMIC.LOCK k me 5");
        crate::commands::await_micros(&mut connection, taken.after + 6000);
        let mut replica = FakeReplica::attach(server);
        assert_eq!(integers(&server.run("ATOMIC.LOCK k you 1000000"))[0], 1);
        // The server expires the key first, with its own command.
        let recorded = replica.commands();
        assert!(matches!(&recorded[1][0][..], b"DEL" | b"UNLINK"), "{:?}", shown(&recorded));
        let expired = vec![recorded[1][0].clone(), b"k".to_vec()];
        let expected = [vec![argv("MULTI"), expired], Sent::Put.expected(server, b"k"), vec![argv("EXEC")]].concat();
        assert_eq!(shown(&recorded), shown(&expected));
    });
}

#[test]
fn a_replica_without_the_module_holds_the_same_data() {
    each_server(|server| {
        server.run("ATOMIC.LOCK before me 1000000");
        server.run("ATOMIC.RATELIMIT limiter BUCKET 10 7 40000000 COST 3");
        let replica = RealReplica::without_module(server);
        let panics = replica.server.run("CONFIG GET propagation-error-behavior");
        assert_eq!(panics.field("propagation-error-behavior"), Some(Value::bulk("panic")));
        for (round, (command, _)) in PROGRAM.iter().enumerate() {
            server.run(command);
            // The same on a key that stays as this row leaves it.
            if argv(command)[1] == b"k" {
                server.run(&format!("COPY k {{k}}{round}"));
            }
        }
        server.run("ATOMIC.RATELIMIT huge BUCKET 1000000000000 1 31536000000 COST 1000000000000");
        server.run("ATOMIC.RATELIMIT huge BUCKET 1000000000000 1 31536000000 COST 1");
        server.run("SET far v");
        server.run("ATOMIC.CAS far v w PXAT 4611686018427387903");
        server.run("SELECT 5");
        server.run("ATOMIC.LOCK five me 1000000");
        server.run("SELECT 0");
        server.run("ATOMIC.LOCK before me 2000000");
        replica.expect_same_data();
        assert!(server.run("DBSIZE").integer() > 30, "too few keys to compare");
        for name in ["before", "huge"] {
            assert_eq!(deadline(&replica.server, name), deadline(server, name));
        }
        let mut five = replica.server.connect();
        five.run("SELECT 5");
        assert_eq!(five.run("EXISTS five"), Value::Integer(1));
        assert!(
            replica.server.run("ATOMIC.LOCK k me 1").error().starts_with("ERR unknown command"),
            "the replica has the module"
        );
        let commands = replica.server.run("INFO commandstats").text();
        assert!(commands.contains("cmdstat_set:") && !commands.contains("cmdstat_atomic"), "{commands}");
    });
}

#[test]
fn a_replica_with_the_module_refuses_writes_and_serves_reads() {
    each_server(|server| {
        let fence = integers(&server.run("ATOMIC.LOCK l me 1000000"))[1];
        server.run("SET k v");
        let replica = RealReplica::with_module(server);
        for write in [
            "ATOMIC.CAS k v w",
            "ATOMIC.CAS k other w",
            "ATOMIC.CAD k v",
            "ATOMIC.RATELIMIT r FIXED 10 1000",
            "ATOMIC.LOCK l you 1000",
            "ATOMIC.LOCK l me 1000",
            "ATOMIC.UNLOCK l me",
            "ATOMIC.LOCKRENEW l me 1000",
        ] {
            let refused = replica.server.run(write);
            assert_eq!(refused.error(), "READONLY You can't write against a read only replica.", "{write}");
        }
        let info = replica.server.run("ATOMIC.LOCKINFO l");
        assert_eq!(info.field("fence"), Some(Value::Integer(fence)));
        assert_eq!(info.field("mode"), Some(Value::bulk("exclusive")));
        replica.expect_same_data();
        // After a failover the owner is still the owner, and fences continue to grow.
        replica.server.run("REPLICAOF NO ONE");
        assert_eq!(integers(&replica.server.run("ATOMIC.LOCK l you 1000"))[0], 0);
        assert_eq!(replica.server.run("ATOMIC.UNLOCK l me"), Value::Integer(0));
        assert!(integers(&replica.server.run("ATOMIC.LOCK l you 1000"))[1] > fence);
    });
}
