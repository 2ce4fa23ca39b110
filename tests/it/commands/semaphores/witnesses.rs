//! Semaphores on replicas, in keyspace events, on a full server and after a restart.

use super::{LATER, acquire, count, ends, lease, owners, stored, total, word};
use crate::commands::{changes_nothing, deadline};
use crate::support::{FakeReplica, RealReplica, Server, Setup, Value, each_server, each_server_with, eventually};

#[test]
fn changes_replicate_as_commands_on_the_sorted_set() {
    let [a, b, of_a, all] = [lease(b"a"), lease(b"b"), count("a"), total()].map(|member| word(&member));
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let mut expect = |command: &str, stream: &[&str]| {
            let reply = server.run(command);
            assert!(!matches!(reply, Value::Error(_)), "{command}: {reply}");
            replica.expect_stream(stream);
        };
        expect(
            "ATOMIC.SEMACQUIRE k 4 a 60000 PERMITS 2",
            &["MULTI", &format!("ZADD k <t> {a} -2 {of_a} -2 {all}"), "PEXPIREAT k <t>", "EXEC"],
        );
        let end = deadline(server, "k");
        expect("ATOMIC.SEMACQUIRE k 4 b 30000", &[&format!("ZADD k <t> {b} -3 {all}")]);
        assert_eq!(deadline(server, "k"), end);
        for nothing in ["ACQUIRE k 3 c 1", "ACQUIRE k 3 c 1 PERMITS 4", "RELEASE k c", "RENEW k c 5", "INFO k"] {
            expect(&format!("ATOMIC.SEM{nothing}"), &[]);
        }
        expect("ATOMIC.SEMACQUIRE k 4 a 1", &[]);
        expect("ATOMIC.SEMACQUIRE k 4 a 1 PERMITS 3", &[&format!("ZADD k -3 {of_a} -4 {all}")]);
        expect("ATOMIC.SEMACQUIRE k 3 a 1 PERMITS 3", &[]);
        expect("ATOMIC.SEMRELEASE k a", &[&format!("ZADD k -2 {of_a} -3 {all}")]);
        expect("ATOMIC.SEMACQUIRE k 4 a 1 ADD", &[&format!("ZADD k -3 {of_a} -4 {all}")]);
        expect("ATOMIC.SEMRELEASE k a", &[&format!("ZADD k -2 {of_a} -3 {all}")]);
        expect("ATOMIC.SEMRELEASE k a", &["MULTI", &format!("ZADD k -2 {all}"), &format!("ZREM k {of_a}"), "EXEC"]);
        expect("ATOMIC.SEMRENEW k a 20000", &["MULTI", &format!("ZADD k <t> {a}"), "PEXPIREAT k <t>", "EXEC"]);
        expect("ATOMIC.SEMRENEW k b 60000", &["MULTI", &format!("ZADD k <t> {b}"), "PEXPIREAT k <t>", "EXEC"]);
        expect("ATOMIC.SEMRELEASE k a", &["MULTI", &format!("ZADD k -1 {all}"), &format!("ZREM k {a}"), "EXEC"]);
        expect("ATOMIC.SEMRELEASE k b", &[&format!("ZREM k {b} {all}")]);
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        // One permit each needs no counts. The arguments are exact: scores are deadlines, and the key's deadline is the last of them.
        server.run("ATOMIC.SEMACQUIRE k 3 a 60000");
        let (score, last) = (ends(server)[0], deadline(server, "k"));
        replica.expect_stream(&["MULTI", &format!("ZADD k {score} {a}"), &format!("PEXPIREAT k {last}"), "EXEC"]);
        assert_eq!(score, last);
        // A change of another owner removes the ended lease.
        server.run("DEL k");
        let [ended, later] = [1000, LATER].map(|end| end.to_string());
        server.call(&[b"ZADD", &b"k"[..], ended.as_bytes(), &lease(b"a"), later.as_bytes(), &lease(b"c")]);
        server.run("PEXPIREAT k 4102444800000");
        replica.stream();
        server.run("ATOMIC.SEMACQUIRE k 2 b 1000");
        replica.expect_stream(&["MULTI", &format!("ZADD k <t> {b}"), &format!("ZREM k {a}"), "EXEC"]);
    });
}

#[test]
fn a_replica_holds_the_same_with_and_without_the_module() {
    each_server(|server| {
        let (plain, replica) = (RealReplica::without_module(server), RealReplica::with_module(server));
        for command in [
            "ATOMIC.SEMACQUIRE k 300 a 60000 PERMITS 200",
            "ATOMIC.SEMACQUIRE k 300 b 5000000 PERMITS 3",
            "ATOMIC.SEMRELEASE k a PERMITS 150",
            "ATOMIC.SEMRENEW k b 6000000",
            "ATOMIC.SEMACQUIRE gone 300 b 5000 PERMITS 3",
            "ATOMIC.SEMRELEASE gone b PERMITS 3",
        ] {
            assert!(!matches!(server.run(command), Value::Error(_)), "{command}");
        }
        plain.expect_same_data();
        replica.expect_same_data();
        assert_eq!(replica.server.run("TYPE k"), Value::Status("zset".to_owned()));
        let info = replica.server.run("ATOMIC.SEMINFO k");
        assert_eq!(info.field("in-use"), Some(Value::Integer(53)));
        assert!(replica.server.run("ATOMIC.SEMRELEASE k a").error().starts_with("READONLY "));
    });
}

#[test]
fn every_change_causes_the_servers_own_keyspace_events() {
    each_server(|server| {
        server.run("CONFIG SET notify-keyspace-events Kgz");
        let mut subscriber = server.connect();
        subscriber.run("SUBSCRIBE __keyspace@0__:k");
        let mut watcher = server.connect();
        for (command, events) in [
            ("ACQUIRE k 2 a 60000 PERMITS 2", &["zadd", "expire"][..]),
            ("ACQUIRE k 2 b 60000", &[]),
            ("ACQUIRE k 2 a 1000 PERMITS 2", &[]),
            ("RELEASE k b", &[]),
            ("ACQUIRE k 3 b 40000", &["zadd"]),
            ("RELEASE k a", &["zadd", "zrem"]),
            ("RENEW k a 50000", &["zadd", "expire"]),
            ("INFO k", &[]),
            ("RELEASE k a", &["zadd", "zrem", "expire"]),
            ("RELEASE k b", &["zrem", "del"]),
        ] {
            watcher.run("WATCH k");
            server.run(&format!("ATOMIC.SEM{command}"));
            server.run("PUBLISH __keyspace@0__:k end");
            let received =
                std::iter::from_fn(|| Some(subscriber.read().unwrap().array()[2].text()).filter(|event| event != "end"));
            assert_eq!(received.collect::<Vec<_>>(), events, "{command}");
            watcher.run("MULTI");
            watcher.run("PING");
            assert_eq!(watcher.run("EXEC") == Value::Null, !events.is_empty(), "WATCH after {command}");
        }
    });
}

#[test]
fn a_full_server_grants_no_permits_but_releases_them() {
    each_server(|server| {
        acquire(server, "k 9 a 60000 PERMITS 2");
        server.run("CONFIG SET maxmemory-policy noeviction");
        server.run("CONFIG SET maxmemory 1");
        assert!(changes_nothing(server, "ATOMIC.SEMACQUIRE k 9 a 60000").error().starts_with("OOM "));
        assert_eq!(server.run("ATOMIC.SEMRENEW k a 70000"), Value::Integer(70_000));
        assert_eq!(server.run("ATOMIC.SEMRELEASE k a PERMITS 2"), Value::Integer(0));
        assert_eq!(server.run("DBSIZE"), Value::Integer(0));
    });
}

#[test]
fn a_semaphore_survives_kill_9_and_is_a_plain_sorted_set_without_the_module() {
    for preamble in ["yes", "no"] {
        let setup = |setup: Setup| setup.appendonly("always").config(&format!("aof-use-rdb-preamble {preamble}"));
        each_server_with(&setup(Setup::with_module()), |server| {
            acquire(server, "k 10 a 6000000 PERMITS 3");
            acquire(server, "k 10 b 60");
            acquire(server, "k 10 c 7000000");
            assert_eq!(server.run("ATOMIC.SEMRELEASE k a"), Value::Integer(2));
            let fence = acquire(server, "k 10 a 6500000 ADD").fence;
            let (before, ends) = (stored(server), deadline(server, "k"));
            server.kill_9();
            server.start_again();
            assert_eq!((stored(server), deadline(server, "k")), (before.clone(), ends));
            eventually("a lease ended", || (owners(server) == [("a".to_owned(), 3), ("c".to_owned(), 1)]).then_some(()));
            let next = acquire(server, "k 5 d 6000000");
            assert!(next.in_use == 5 && next.fence > fence, "{next:?} after {fence}");
            assert!(!acquire(server, "k 5 d 6000000 ADD").granted);
            let plain = Server::start(&server.binary, &Setup::without_module());
            assert_eq!(plain.call(&[&b"RESTORE"[..], b"k", b"0", server.run("DUMP k").bytes()]), Value::ok());
            assert_eq!(stored(&plain), stored(server));
            assert_eq!(plain.run("TYPE k"), Value::Status("zset".to_owned()));
        });
    }
}
