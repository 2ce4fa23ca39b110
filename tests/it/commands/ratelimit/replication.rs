//! The exact stream, replicas without the module, transactions and WATCH.

use super::{DAY, ask};
use crate::support::{FakeReplica, RealReplica, each_server, eventually};

#[test]
fn only_effects_replicate() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let limit = format!("ATOMIC.RATELIMIT k FIXED 5 {DAY} AS a BUCKET 5 1 {DAY} AS b");
        server.run(&format!("{limit} COST 3"));
        replica.expect_stream(&["SET k <state> PXAT <t>"]);
        server.run(&format!("{limit} COST 3"));
        server.run(&format!("{limit} COST 9"));
        replica.expect_stream(&[]);
        server.run(&format!("{limit} UPTO 9"));
        server.run(&format!("{limit} FORCE 2"));
        server.run(&format!("{limit} REFUND 1"));
        replica.expect_stream(&["SET k <state> PXAT <t>"; 3]);
        server.run(&format!("{limit} RESET"));
        replica.expect_stream(&["DEL k"]);
        server.run(&format!("{limit} RESET"));
        server.run(&format!("{limit} REFUND 1"));
        replica.expect_stream(&[]);
        server.run(&format!("{limit} COST 2"));
        server.run(&format!("{limit} REFUND 5"));
        replica.expect_stream(&["SET k <state> PXAT <t>", "DEL k"]);
    });
}

#[test]
fn a_hit_in_a_long_log_replicates_only_the_change() {
    each_server(|server| {
        let limit = format!("ATOMIC.RATELIMIT k LOG 40 {DAY}");
        (0..9).for_each(|_| assert!(ask(server, &limit).outcome.granted == 1));
        // Hits in the same microsecond share an entry, so only the length shows how many entries there are.
        eventually("a log that is no longer written whole", || {
            ask(server, &limit);
            ask(server, &format!("{limit} REFUND 1"));
            ask(server, &limit);
            (server.run("STRLEN k").integer() >= 15 + 90).then_some(())
        });
        let mut replica = FakeReplica::attach(server);
        let length = server.run("STRLEN k").integer();
        eventually("a hit in a slot of its own", || {
            ask(server, &limit);
            let stream = replica.commands();
            let shown: Vec<(Vec<u8>, Vec<u8>, usize)> = stream
                .iter()
                .map(|command| (command[0].clone(), command.get(2).cloned().unwrap_or_default(), command.last().unwrap().len()))
                .collect();
            let header = (b"SETRANGE".to_vec(), b"1".to_vec(), 14);
            let slot = (b"SETRANGE".to_vec(), length.to_string().into_bytes(), 10);
            assert!(shown.contains(&header), "{shown:?}");
            assert_eq!(stream[stream.len() - 2][0], b"PEXPIREAT");
            shown.contains(&slot).then(|| assert_eq!(stream.len(), 5, "{shown:?}"))
        });
        ask(server, &format!("{limit} COST 40"));
        replica.expect_stream(&[]);
    });
}

#[test]
fn a_replica_without_the_module_holds_the_same() {
    each_server(|server| {
        let replica = RealReplica::without_module(server);
        for (key, policy) in [
            ("{r}a", "BUCKET 30 20 1000"),
            ("{r}b", "FIXED 30 60000 ALIGN AS x SLIDING 25 50000"),
            ("{r}c", "LOG 25 60000 AS day LOG 20 50 AS burst"),
            ("{r}d", "LOG 12 60000"),
        ] {
            for round in 0..120 {
                let asked = ["COST 1", "COST 2", "REFUND 1", "FORCE 2", "UPTO 3"][round % 5];
                ask(server, &format!("ATOMIC.RATELIMIT {key} {policy} {asked}"));
            }
        }
        ask(server, "ATOMIC.MRATELIMIT 2 {r}d {r}e LOG 12 60000 LOG 12 60000 COST 1");
        replica.expect_same_data();
    });
}

#[test]
fn a_transaction_sees_one_time_and_a_denial_does_not_touch_watched_keys() {
    each_server(|server| {
        let limit = format!("ATOMIC.RATELIMIT k LOG 3 {DAY}");
        let mut client = server.connect();
        client.run("MULTI");
        (0..4).for_each(|_| drop(client.run(&limit)));
        let granted: Vec<i64> = client.run("EXEC").array().iter().map(|reply| reply.array()[0].integer()).collect();
        assert_eq!(granted, [1, 1, 1, 0]);
        client.run("WATCH k");
        assert_eq!(ask(server, &limit).outcome.granted, 0);
        client.run("MULTI");
        client.run("PING");
        assert_eq!(client.run("EXEC").array().len(), 1, "a denial touched the key");
    });
}
