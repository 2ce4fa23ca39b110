//! The effects of a change beside the value: replication stream, WATCH, keyspace events, field TTLs. A denial has none.

use crate::support::{FakeReplica, RealReplica, Value, each_server, eventually};

#[test]
fn a_change_replicates_as_plain_commands_and_a_denial_not_at_all() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let mut check = |call: &str, stream: &[&str]| {
            server.run(call);
            replica.expect_stream(stream);
        };
        check("ATOMIC.SET k 1 NX", &["SET k 1"]);
        check("ATOMIC.SET k 2 GT PX 100000", &["SET k 2 PXAT <deadline>"]);
        check("ATOMIC.SET k 3 GT KEEPTTL GET", &["SET k 3 KEEPTTL"]);
        check("ATOMIC.SET k 4 XX EXAT 4102444800", &["SET k 4 PXAT 4102444800000"]);
        check("ATOMIC.SET k 4 NX", &[]);
        check("ATOMIC.SET k 4 GT GET", &[]);
        check("ATOMIC.SET k x XX IFGE 5", &[]);
        check("ATOMIC.PEXPIRE k 100000 IFEQ 4", &["PEXPIREAT k <deadline>"]);
        check("ATOMIC.PEXPIRE k 100000 IFEQ 5", &[]);
        check("ATOMIC.DEL k IFEQ 5 GET", &[]);
        check("ATOMIC.DEL k IFLE 4 GET", &["DEL k"]);
        check("ATOMIC.DEL k XX", &[]);
        check("ATOMIC.SET k 1 NX PXAT 1", &[]);
        check("SET k 1", &["SET k 1"]);
        check("ATOMIC.SET k 1 XX PXAT 1", &["DEL k"]);
        check("ATOMIC.HSET h f 1 GT", &["HSET h f 1"]);
        check("ATOMIC.HSET h f 1 GT", &[]);
        check("ATOMIC.HCAS h f 1 2", &["HSET h f 2"]);
        check("ATOMIC.HCAS h f 1 3", &[]);
        check("ATOMIC.HCAS h g 1 3", &[]);
        check("MSET a 1 b 2", &["MSET a 1 b 2"]);
        check("ATOMIC.MCAS a 1 3 b 2 4", &["MULTI", "SET a 3", "SET b 4", "EXEC"]);
        check("ATOMIC.MCAS a 3 5 b 2 6", &[]);
        check("ATOMIC.MCAS b 4 7", &["SET b 7"]);
    });
}

#[test]
fn watch_and_keyspace_events_see_changes_and_not_denials() {
    each_server(|server| {
        server.run("CONFIG SET notify-keyspace-events KA");
        let mut listener = server.connect();
        listener.run("PSUBSCRIBE *");
        let mut watcher = server.connect();
        let rows = [
            ("ATOMIC.SET k 4 NX", &[][..]),
            ("ATOMIC.SET k 4 GT GET", &[]),
            ("ATOMIC.DEL k IFNE 5", &[]),
            ("ATOMIC.PEXPIRE k 5000 IFGT 5", &[]),
            ("ATOMIC.HSET h f 5 GT", &[]),
            ("ATOMIC.HCAS h f 4 5", &[]),
            ("ATOMIC.MCAS a 1 2 k 6 7", &[]),
            ("ATOMIC.SET k 6 GT PX 100000", &["set", "expire"]),
            ("ATOMIC.PEXPIRE k 5000 IFGT 5", &["expire"]),
            ("ATOMIC.MCAS a 1 2 k 6 7", &["set", "set"]),
            ("ATOMIC.HSET h f 6 GT", &["hset"]),
            ("ATOMIC.HCAS h f 6 7", &["hset"]),
            ("ATOMIC.DEL k IFNE 5", &["del"]),
        ];
        for command in ["SET k 5", "SET a 1", "HSET h f 5"] {
            server.run(command);
            assert_eq!(listener.read().unwrap().array().len(), 4);
        }
        for (call, events) in rows {
            watcher.run("WATCH k h a");
            let reply = server.run(call);
            assert!(!matches!(reply, Value::Error(_)), "{call}: {reply}");
            watcher.run("MULTI");
            let executed = watcher.run("EXEC");
            assert_eq!(executed == Value::Null, !events.is_empty(), "WATCH after {call}: {executed}");
            server.run("PUBLISH end end");
            let mut heard = Vec::new();
            while let Some(event) = Some(listener.read().unwrap().array()[3].text()).filter(|event| event != "end") {
                heard.push(event);
            }
            assert_eq!(heard, events, "{call}");
        }
    });
}

#[test]
fn a_changed_field_loses_its_own_ttl_and_a_denied_one_keeps_it() {
    each_server(|server| {
        if !server.binary.is_redis_from(7, 4) && !server.binary.is_valkey_from(9, 0) {
            assert!(matches!(server.run("HPEXPIRE h 100 FIELDS 1 f"), Value::Error(_)), "the server has field TTLs");
            return;
        }
        let mut replica = FakeReplica::attach(server);
        for (call, cleared) in [
            ("ATOMIC.HCAS h f 1 2", true),
            ("ATOMIC.HCAS h f 9 2", false),
            ("ATOMIC.HSET h f 2 GT", true),
            ("ATOMIC.HSET h f 1 GT", false),
        ] {
            server.run("HSET h f 1 g 1");
            assert_eq!(server.run("HPEXPIRE h 100000 FIELDS 2 f g"), Value::integers(&[1, 1]));
            replica.stream();
            server.run(call);
            replica.expect_stream(if cleared { &["HSET h f 2"] } else { &[] });
            let left = server.run("HPTTL h FIELDS 2 f g");
            assert_eq!(left.array()[0] == Value::Integer(-1), cleared, "{call}: {left}");
            assert!(left.array()[1].integer() > 0, "{call}: {left}");
        }
        server.run("DEBUG SET-ACTIVE-EXPIRE 0");
        server.run("HPEXPIRE h 1 FIELDS 1 f");
        eventually("the field expires", || (server.run("ATOMIC.HCAS h f x y") == Value::Integer(-1)).then_some(()));
        assert_eq!(server.run("ATOMIC.HSET h f 7 GT"), Value::Array(vec![Value::Integer(1), Value::Null]));
        assert_eq!(server.run("HPTTL h FIELDS 1 f"), Value::integers(&[-1]));
    });
}

#[test]
fn a_replica_without_the_module_holds_the_same() {
    each_server(|server| {
        let replica = RealReplica::without_module(server);
        for call in [
            "ATOMIC.SET a 1 NX PX 100000",
            "ATOMIC.SET a 2 GT KEEPTTL",
            "ATOMIC.SET b 2 LT",
            "ATOMIC.PEXPIRE b 50000 IFGE 2",
            "ATOMIC.SET c 2 NX",
            "ATOMIC.DEL c IFEQ 2 GET",
            "ATOMIC.HSET h f 2 NX",
            "ATOMIC.HCAS h f 2 1e3",
            "ATOMIC.MCAS a 2 3 b 2 3",
            "ATOMIC.SET b 5 XX PXAT 1",
        ] {
            let reply = server.run(call);
            let code = if let Value::Array(items) = &reply { &items[0] } else { &reply };
            assert_eq!(*code, Value::Integer(1), "{call}");
        }
        replica.expect_same_data();
        assert_eq!(replica.server.run("GET a"), Value::bulk("3"));
    });
}
