//! A change reaches subscribers, WATCH and client caches, and a denial does not; one time inside a transaction or script; and where
//! the server itself refuses a command.

use crate::commands::{changes_nothing, deadline, integers};
use crate::support::{Connection, Server, Value, each_server};

/// Commands in order on the key that is their first argument, and the keyspace events that each must cause.
#[rustfmt::skip]
const PROGRAM: &[(&str, &[&str])] = &[
    ("ATOMIC.CAS k v w", &[]),
    ("SET k v", &["set"]),
    ("ATOMIC.CAS k v w", &["set"]),
    ("ATOMIC.CAS k w v PX 6000000", &["set", "expire"]),
    ("ATOMIC.CAS k v w KEEPTTL", &["set"]),
    ("ATOMIC.CAS k w v EXAT 4102444800", &["set", "expire"]),
    ("ATOMIC.CAS k other w PX 1000", &[]),
    ("ATOMIC.CAS k other w PXAT 1", &[]),
    ("ATOMIC.CAS k v w PX 0", &[]),
    ("ATOMIC.CAS k v w junk", &[]),
    ("ATOMIC.CAS k v w PXAT 1", &["del"]),
    ("ATOMIC.CAD k w", &[]),
    ("SET k v", &["set"]),
    ("ATOMIC.CAD k other", &[]),
    ("ATOMIC.CAD k v", &["del"]),
    ("ATOMIC.RATELIMIT k FIXED 2 31536000000", &["set", "expire"]),
    ("ATOMIC.RATELIMIT_RO k FIXED 2 31536000000", &[]),
    ("ATOMIC.RATELIMIT k FIXED 2 31536000000", &["set", "expire"]),
    ("ATOMIC.RATELIMIT k FIXED 2 31536000000", &[]),
    ("ATOMIC.RATELIMIT k BUCKET 2 1 31536000000 COST 3", &[]),
    ("ATOMIC.RATELIMIT k BUCKET 2 1 31536000000 COST 2", &["set", "expire"]),
    ("ATOMIC.RATELIMIT k BUCKET 2 1 31536000000 COST 2", &[]),
    ("ATOMIC.LOCK k me 1000", &[]), // a string that is not our lock belongs to another client
    ("ATOMIC.LOCK l me 6000000", &["set", "expire"]),
    ("ATOMIC.LOCK l me 1000", &[]), // sent again, and the lease is long enough
    ("ATOMIC.LOCK l me 6000000 REENTRANT", &["set", "expire"]),
    ("ATOMIC.LOCK l you 6000000", &[]),
    ("ATOMIC.LOCKINFO l", &[]),
    ("ATOMIC.RATELIMIT l FIXED 2 1000", &[]),
    ("ATOMIC.LOCKRENEW l you 6000000", &[]),
    ("ATOMIC.LOCKRENEW l me 7000000", &["set", "expire"]),
    ("ATOMIC.UNLOCK l you", &[]),
    ("ATOMIC.UNLOCK l me", &["set", "expire"]),
    ("ATOMIC.UNLOCK l me", &["del"]),
    ("ATOMIC.UNLOCK l me", &[]),
    ("SET l token", &["set"]),
    ("ATOMIC.LOCK l token 1000", &[]),
    ("ATOMIC.LOCKRENEW l other 1000000", &[]),
    ("ATOMIC.LOCKRENEW l token 1000000", &["expire"]),
    ("ATOMIC.UNLOCK l token", &["del"]),
    ("ZADD z 1 a 2 b", &["zadd"]),
    ("ATOMIC.ZPOPDUE z LEASE 6000000", &["zadd"]),
    ("ATOMIC.ZDONE z b 3", &[]),
    ("ATOMIC.ZPOPDUE z", &["zrem"]),
    ("ATOMIC.ZPOPDUE z", &[]),
    ("RPUSH l v", &["rpush"]),
    ("ATOMIC.LOCK l me 1000", &[]),
    ("ATOMIC.CAS l v w", &[]),
];

fn key_of(command: &str) -> &str {
    command.split(' ').nth(1).unwrap()
}

#[test]
fn every_change_is_an_event_and_nothing_else_is() {
    each_server(|server| {
        server.run("CONFIG SET notify-keyspace-events KEA");
        let mut subscriber = server.connect();
        subscriber.run("PSUBSCRIBE __key*__:*");
        for (command, events) in PROGRAM {
            let reply = server.run(command);
            let key = key_of(command);
            let expected: Vec<(String, String)> = events
                .iter()
                .flat_map(|&event| [("keyspace", key, event), ("keyevent", event, key)])
                .map(|(class, channel, message)| (format!("__{class}@0__:{channel}"), message.to_owned()))
                .collect();
            assert_eq!(messages(server, &mut subscriber), expected, "{command} answered {reply}");
        }
    });
}

/// Channels and messages up to our marker.
fn messages(server: &Server, subscriber: &mut Connection) -> Vec<(String, String)> {
    server.run("PUBLISH __keymarker__:end end");
    let mut received = Vec::new();
    loop {
        let message = subscriber.read().unwrap();
        let [_, _, channel, text] = message.array() else { panic!("no message: {message}") };
        if channel.text() == "__keymarker__:end" {
            return received;
        }
        received.push((channel.text(), text.text()));
    }
}

#[test]
fn every_change_touches_watched_keys_and_nothing_else_does() {
    each_server(|server| {
        let mut watcher = server.connect();
        for (command, events) in PROGRAM {
            assert_eq!(watcher.run(&format!("WATCH {}", key_of(command))), Value::ok());
            let reply = server.run(command);
            watcher.run("MULTI");
            watcher.run("PING");
            let executed = watcher.run("EXEC");
            assert_eq!(executed == Value::Null, !events.is_empty(), "{command} answered {reply}, EXEC {executed}");
        }
    });
}

#[test]
fn client_caches_forget_a_key_at_every_change_and_at_nothing_else() {
    each_server(|server| {
        let mut cache = server.connect().resp3();
        cache.run("CLIENT TRACKING ON");
        for (command, events) in PROGRAM {
            let key = key_of(command);
            cache.run(&format!("TYPE {key}"));
            cache.run("TYPE marker");
            let reply = server.run(command);
            server.run("SET marker x");
            let mut forgotten = Vec::new();
            while forgotten.last().is_none_or(|last| last != "marker") {
                let push = cache.read().unwrap();
                assert_eq!(push.array()[0], Value::bulk("invalidate"), "{push}");
                forgotten.extend(push.array()[1].array().iter().map(Value::text));
            }
            let expected: &[&str] = if events.is_empty() { &["marker"] } else { &[key, "marker"] };
            assert_eq!(forgotten, expected, "{command} answered {reply}");
        }
    });
}

#[test]
fn a_transaction_replies_to_each_command_in_its_place() {
    each_server(|server| {
        server.run("SET k v");
        let mut connection = server.connect();
        connection.run("MULTI");
        let commands = [
            "ATOMIC.CAS k v w",
            "ATOMIC.CAS k v x",
            "ATOMIC.CAD missing v",
            "ATOMIC.LOCK k me 1000",
            "ATOMIC.RATELIMIT k FIXED 2 1000",
            "ATOMIC.CAS k w x EX 0",
            "ATOMIC.CAD k w",
            "ATOMIC.LOCKINFO k",
        ];
        commands.iter().for_each(|command| assert_eq!(connection.run(command), Value::Status("QUEUED".to_owned())));
        let expected = [
            Value::Integer(1),
            Value::Integer(0),
            Value::Integer(-1),
            Value::integers(&[0, 0, -1, 0, 0]),
            Value::Error("WRONGTYPE key does not hold a rate limit (format a1)".to_owned()),
            Value::Error("ERR EX must be an integer between 1 and 4611686018427387".to_owned()),
            Value::Integer(1),
            Value::Array(Vec::new()),
        ];
        assert_eq!(connection.run("EXEC"), Value::Array(expected.to_vec()));
        // A wrong arity is refused at queueing time, and aborts the transaction.
        connection.run("MULTI");
        assert_eq!(connection.run("ATOMIC.CAD k").error(), "ERR wrong number of arguments for 'atomic.cad' command");
        assert!(connection.run("EXEC").error().starts_with("EXECABORT "));
    });
}

/// True for servers with one time per transaction and script that a module can read.
fn has_one_time(server: &Server) -> bool {
    server.binary.is_valkey || server.binary.is_redis_from(7, 2)
}

#[test]
fn a_transaction_sees_one_time_where_the_server_has_one() {
    each_server(|server| {
        server.run("MSET a v b v");
        let mut connection = server.connect();
        connection.run("MULTI");
        ["ATOMIC.CAS a v w PX 6000000", "DEBUG SLEEP 0.02", "ATOMIC.CAS b v w PX 6000000"]
            .iter()
            .for_each(|command| drop(connection.run(command)));
        connection.run("EXEC");
        let apart = deadline(server, "b") - deadline(server, "a");
        if has_one_time(server) {
            assert_eq!(apart, 0);
        } else {
            assert!(apart >= 20, "the two commands were to be 20 ms apart, not {apart}");
        }
    });
}

#[test]
fn a_script_calls_the_commands_and_sees_one_time_where_the_server_has_one() {
    let wait = "for _ = 1, 10000000 do end";
    let body = format!(
        "local first = redis.call('ATOMIC.CAS', KEYS[1], 'v', 'w', 'PX', '6000000') {wait} \
         return {{first, redis.call('ATOMIC.CAS', KEYS[2], 'v', 'w', 'PX', '6000000'), redis.call('ATOMIC.CAS', KEYS[2], 'v', 'x')}}"
    );
    each_server(|server| {
        for (name, one_time) in [("EVAL", has_one_time(server)), ("ATOMIC.EVAL", true)] {
            server.run("MSET a v b v");
            assert_eq!(server.call(&[name, &body, "2", "a", "b"]), Value::integers(&[1, 1, 0]), "{name}");
            let apart = deadline(server, "b") - deadline(server, "a");
            assert!(if one_time { apart == 0 } else { apart > 0 }, "{name}: {apart} ms apart");
        }
        let error = server.call(&["EVAL", "return redis.pcall('ATOMIC.CAS', KEYS[1], 'w', 'x', 'EX', '0')", "1", "a"]);
        assert_eq!(error.error(), "ERR EX must be an integer between 1 and 4611686018427387");
        assert_eq!(server.run("GET a"), Value::bulk("w"));
    });
}

#[test]
fn a_full_server_refuses_commands_that_can_grow_and_runs_those_that_free() {
    const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
    each_server(|server| {
        server.run("MSET k v token t");
        server.run("ATOMIC.LOCK l me 6000000");
        server.run("ATOMIC.LOCK l me 6000000 REENTRANT");
        server.run("CONFIG SET maxmemory-policy noeviction");
        server.run("CONFIG SET maxmemory 1");
        for command in [
            "ATOMIC.CAS k v w",
            "ATOMIC.CAS missing v w",
            "ATOMIC.RATELIMIT r FIXED 10 1000000",
            "ATOMIC.LOCK l me 7000000",
            "ATOMIC.LOCK l me 7000000 REENTRANT",
            "ATOMIC.LOCK free me 1000",
        ] {
            assert_eq!(changes_nothing(server, command), Value::Error(OOM.to_owned()), "{command}");
        }
        assert_eq!(integers(&server.run("ATOMIC.RATELIMIT_RO r FIXED 10 1000000"))[0], 1);
        assert!(!server.run("ATOMIC.LOCKINFO l").array().is_empty());
        assert_eq!(server.run("ATOMIC.LOCKRENEW l me 7000000"), Value::Integer(7_000_000));
        assert_eq!(server.run("ATOMIC.UNLOCK l me"), Value::Integer(1));
        assert_eq!(server.run("ATOMIC.UNLOCK l me"), Value::Integer(0));
        assert_eq!(server.run("ATOMIC.UNLOCK token t"), Value::Integer(0));
        assert_eq!(server.run("ATOMIC.CAD k v"), Value::Integer(1));
        assert_eq!(server.run("DBSIZE"), Value::Integer(0));
        server.run("CONFIG SET maxmemory 0");
        assert_eq!(integers(&server.run("ATOMIC.LOCK l me 1000"))[0], 1);
    });
}
