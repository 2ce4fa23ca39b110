//! The setting `replicate-in-place`: the stream word by word in both ways, and what else could see the exchanged words.

use crate::support::line::line;
use crate::support::{FakeReplica, RealReplica, Server, Setup, Value, argv, each_server, each_server_with};

/// A command, and what it replicates in place and otherwise. `<t>` stands for a deadline.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str)] = &[
    ("ATOMIC.CAS k 1 2", "SET k 2 GET", "SET k 2"),
    ("ATOMIC.CAS k 2 1 KEEPTTL", "SET k 1 KEEPTTL GET", "SET k 1 KEEPTTL"),
    ("ATOMIC.CAS k 1 2 PX 100000", "SET k 2 PXAT <t> GET", "SET k 2 PXAT <t>"),
    ("ATOMIC.SET k 1 IFEQ 2", "SET k 1 GET GET", "SET k 1"),
    ("ATOMIC.INCRBY k 1", "INCRBY k 1", "SET k 2 KEEPTTL"),
    ("ATOMIC.INCRBY k 1 MAX 10", "SET k 3 KEEPTTL GET", "SET k 3 KEEPTTL"),
    ("ATOMIC.INCRBY first 5", "SET first 5", "SET first 5"),
    ("ATOMIC.INCRBY first -2", "INCRBY first -2", "SET first 3 KEEPTTL"),
    ("ATOMIC.GETORSET new v", "SET new v", "SET new v"),
    ("ATOMIC.TRANSFER k new2 1", "MULTI|SET k 2 KEEPTTL|SET new2 1 GET|EXEC", "MULTI|SET k 2 KEEPTTL|SET new2 1|EXEC"),
    ("ATOMIC.MCAS k 2 3 new v w", "MULTI|SET k 3 GET GET GET GET|SET new w GET GET GET GET|EXEC", "MULTI|SET k 3|SET new w|EXEC"),
    ("ATOMIC.MCAS k 3 4 new w v missing a b", "", ""),
    ("ATOMIC.DEL new IFEQ w", "DEL new new new", "DEL new"),
    ("ATOMIC.CAD new2 1", "DEL new2 new2", "DEL new2"),
    ("ATOMIC.HCAS h f 1 2", "HSET h f 2", "HSET h f 2"),
    ("ATOMIC.HINCRBY h f 3", "HINCRBY h f 3", "HINCRBY h f 3"),
    ("ATOMIC.HINCRBY h f 3 MAX 9 SATURATE", "HINCRBY h f 3", "HINCRBY h f 3"),
    ("ATOMIC.ZPOPDUE z", "ZPOPMIN z", "ZREM z a"),
    ("ATOMIC.ZPOPDUE z COUNT 1", "ZREM z b b", "ZREM z b"),
    ("ATOMIC.ZPOPDUE z COUNT 2", "ZREM z c d", "ZREM z c d"),
    ("ATOMIC.ZPOPDUE z LEASE 1000", "ZADD z XX <t> e", "ZADD z XX <t> e"),
    ("ATOMIC.ONCE once PX 100000", "SET once '' PXAT <t>", "SET once '' PXAT <t>"),
    ("ATOMIC.ONCE twice PX 100000 VALUE v", "SET twice v PXAT <t> GET", "SET twice v PXAT <t>"),
    ("ATOMIC.RATELIMIT r BUCKET 5 1 1000", "SET r <state> PXAT <t> GET", "SET r <state> PXAT <t>"),
    ("ATOMIC.LOCK l me 100000", "SET l <state> PXAT <t>", "SET l <state> PXAT <t>"),
    ("ATOMIC.UNLOCK l me", "DEL l l", "DEL l"),
    ("ATOMIC.LOCK l me 100000", "SET l <state> PXAT <t>", "SET l <state> PXAT <t>"),
    ("ATOMIC.LOCKRENEW l me 200000", "SET l <state> PXAT <t>", "SET l <state> PXAT <t>"),
    ("ATOMIC.UNLOCK l me ALL", "DEL l l l", "DEL l"),
    ("ATOMIC.SEMACQUIRE s 5 a 100000", "MULTI|ZADD s CH <t> <a>|PEXPIREAT s <t> NX NX|EXEC", "MULTI|ZADD s <t> <a>|PEXPIREAT s <t>|EXEC"),
    ("ATOMIC.SEMACQUIRE s 5 b 900000", "MULTI|ZADD s CH <t> <b>|PEXPIREAT s <t> XX XX|EXEC", "MULTI|ZADD s <t> <b>|PEXPIREAT s <t>|EXEC"),
    ("ATOMIC.SEMACQUIRE s 5 c 200000", "ZADD s CH <t> <c>", "ZADD s <t> <c>"),
    ("ATOMIC.SEMACQUIRE s 5 c 300000 PERMITS 2", "ZADD s <t> <c> -2 <c> -4 <total>", "ZADD s <t> <c> -2 <c> -4 <total>"),
    ("ATOMIC.SEMRENEW s a 300000", "ZADD s <t> <a>", "ZADD s <t> <a>"),
    ("ATOMIC.SEMRELEASE s c PERMITS 2", "MULTI|ZADD s CH -2 <total>|ZREM s <c> <c> <c>|EXEC", "MULTI|ZADD s -2 <total>|ZREM s <c> <c>|EXEC"),
    ("ATOMIC.SEMRELEASE s b", "MULTI|ZADD s -1 <total>|ZREM s <b>|PEXPIREAT s <t>|EXEC", "MULTI|ZADD s -1 <total>|ZREM s <b>|PEXPIREAT s <t>|EXEC"),
    ("ATOMIC.SEMRELEASE s a", "ZREM s <total> <a>", "ZREM s <total> <a>"),
    ("ATOMIC.PUSH list LEFT 3 VALUES a b c", "LPUSH list a b c", "LPUSH list a b c"),
    ("ATOMIC.PUSH list LEFT 3 VALUES d", "MULTI|LPUSH list d|LMPOP 1 list RIGHT COUNT 1|EXEC", "MULTI|LPUSH list d|RPOP list 1|EXEC"),
    ("ATOMIC.POP list LEFT", "LPOP list 1", "LPOP list 1"),
    ("ATOMIC.POP list RIGHT COUNT 5", "RPOP list 2", "RPOP list 2"),
    ("ATOMIC.PEXPIRE k 100000 IFEQ 3", "PEXPIREAT k <t> NX NX", "PEXPIREAT k <t>"),
    ("ATOMIC.PEXPIRE k 200000 XX", "PEXPIREAT k <t> XX", "PEXPIREAT k <t>"),
];

fn set(server: &Server, value: &str) {
    assert_eq!(server.run(&format!("CONFIG SET atomic.replicate-in-place {value}")), Value::ok());
}

/// Asserts that exactly these commands, separated by `|`, were sent since the last call.
#[track_caller]
fn expect(replica: &mut FakeReplica<'_>, command: &str, expected: &str) {
    let sent = replica.words_as_sent();
    let wanted: Vec<Vec<Vec<u8>>> = expected.split('|').filter(|part| !part.is_empty()).map(argv).collect();
    let is_same = |(word, expected): (&Vec<u8>, &Vec<u8>)| expected.starts_with(b"<") || word == expected;
    let same = sent.len() == wanted.len()
        && sent.iter().zip(&wanted).all(|(words, wanted)| words.len() == wanted.len() && words.iter().zip(wanted).all(is_same));
    let shown: Vec<String> = sent.iter().map(|words| line(words)).collect();
    assert!(same, "{command}\n  sent:     {}\n  expected: {expected}", shown.join("|"));
}

#[test]
fn the_stream_word_by_word_in_both_ways() {
    each_server(|server| {
        for in_place in [true, false] {
            server.run("FLUSHALL");
            server.run("SET k 1");
            server.run("HSET h f 1");
            server.run("ZADD z 1 a 1 b 2 c 3 d 4 e");
            set(server, if in_place { "yes" } else { "no" });
            let mut replica = FakeReplica::attach(server);
            for (command, filled, plain) in ROWS {
                let reply = server.run(command);
                assert!(!matches!(reply, Value::Error(_)), "{command}: {reply}");
                expect(&mut replica, command, if in_place { filled } else { plain });
            }
        }
    });
}

#[test]
fn commands_inside_others_replicate_their_own_effects() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let mut run = |commands: &[&str], expected: &str| {
            server.run("SET k 1");
            replica.words_as_sent();
            let mut connection = server.connect();
            let reply = commands.iter().map(|command| connection.run(command)).last().unwrap();
            assert!(!matches!(reply, Value::Error(_)), "{commands:?}: {reply}");
            expect(&mut replica, &commands.join("; "), expected);
        };
        run(&["MULTI", "ATOMIC.CAS k 1 2", "ATOMIC.CAD k 2", "EXEC"], "MULTI|SET k 2 GET|DEL k k|EXEC");
        let script = |command: &str| format!("{command} \"return redis.call('ATOMIC.CAS', KEYS[1], 1, 2)\" 1 k");
        run(&[&script("EVAL")], "SET k 2 GET");
        run(&[&script("ATOMIC.EVAL")], "SET k 2 GET");
        // Another module's call is a command of its own.
        run(&["ATOMIC.IDEM {k}r 1000 ATOMIC.CAS k 1 2"], "MULTI|SET k 2 GET|SET {k}r <record> PXAT <t>|EXEC");
    });
}

#[test]
fn nobody_else_sees_the_exchanged_words() {
    each_server_with(&Setup::with_module().config("io-threads 3").config("slowlog-log-slower-than 0"), |server| {
        let mut monitor = server.connect();
        assert_eq!(monitor.run("MONITOR"), Value::ok());
        let mut connection = server.connect();
        connection.run("SET k 1");
        connection.run("SLOWLOG RESET");
        assert_eq!(connection.run("ATOMIC.CAS k 1 2 PX 100000"), Value::Integer(1));
        assert_eq!(connection.run("ATOMIC.CAD k 2"), Value::Integer(1));
        let log = connection.run("SLOWLOG GET 10");
        let commands: Vec<String> = log
            .array()
            .iter()
            .map(|entry| entry.array()[3].array().iter().map(Value::text).collect::<Vec<_>>().join(" "))
            .collect();
        assert!(commands.contains(&"ATOMIC.CAS k 1 2 PX 100000".to_owned()), "{commands:?}");
        assert!(commands.contains(&"ATOMIC.CAD k 2".to_owned()), "{commands:?}");
        let mut seen = Vec::new();
        while !seen.iter().any(|line: &String| line.contains("ATOMIC.CAD")) {
            seen.push(monitor.read().unwrap().text());
        }
        assert!(seen.iter().any(|line| line.ends_with(r#""ATOMIC.CAS" "k" "1" "2" "PX" "100000""#)), "{seen:?}");
        assert!(seen.last().unwrap().ends_with(r#""ATOMIC.CAD" "k" "2""#), "{seen:?}");
        // The words of a pipeline are freed as often as they were made.
        for _ in 0..100 {
            (0..64).for_each(|_| connection.send(&["ATOMIC.GETORSET", "k", "1"]).unwrap());
            (0..64).for_each(|_| drop(connection.read().unwrap()));
            connection.run("ATOMIC.CAD k 1");
        }
        assert!(server.is_alive());
    });
}

#[test]
fn replicas_and_the_aof_agree_in_both_ways() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        let replica = RealReplica::without_module(server);
        for value in ["yes", "no"] {
            set(server, value);
            server.run("SET k 1");
            server.run("HSET h f 1");
            for (command, ..) in ROWS {
                server.run(command);
            }
        }
        replica.await_sync();
        replica.expect_same_data();
        let digest = server.run("DEBUG DIGEST");
        assert_eq!(server.run("DEBUG LOADAOF"), Value::ok());
        assert_eq!(server.run("DEBUG DIGEST"), digest);
    });
}
