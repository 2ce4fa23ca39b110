//! What others see of an undone run: one transaction that changes nothing.

use super::{data, whole};
use crate::script::eval;
use crate::script::replication::append_only_files;
use crate::support::{FakeReplica, RealReplica, Setup, Value, each_server, each_server_with};

const FAILS: &str = "redis.call('SET', KEYS[1], 'new') redis.call('RPUSH', KEYS[2], 9) redis.call('SET', KEYS[3], 1) error('x')";

#[test]
fn the_writes_and_their_undo_are_one_transaction() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        server.run("SET a old PXAT 4102444800000");
        server.run("RPUSH l 1 2");
        replica.stream();
        server.call(&eval(whole(FAILS), "3 a l none"));
        replica.expect_stream(&[
            "MULTI",
            "SET a new",
            "RPUSH l 9",
            "SET none 1",
            "DEL none",
            "RESTORE l 0 <dump> REPLACE ABSTTL IDLETIME <seconds>",
            "SET a old PXAT 4102444800000",
            "EXEC",
        ]);
        server.call(&eval(whole("redis.call('SET', KEYS[1], 1) return 1"), "1 a"));
        replica.expect_stream(&["SET a 1"]);
    });
}

#[test]
fn in_a_transaction_only_the_script_is_undone() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let mut connection = server.connect();
        connection.run("MULTI");
        connection.run("SET before 1");
        connection.call(&eval(whole("redis.call('SET', KEYS[1], 2) redis.call('SET', KEYS[2], 3) error('x')"), "2 before b"));
        connection.run("SET after 4");
        let replies = connection.run("EXEC");
        assert!(replies.array()[1].error().ends_with("(rolled back 2 keys)"), "{replies}");
        replica.expect_stream(&[
            "MULTI",
            "SET before 1",
            "SET before 2",
            "SET b 3",
            "DEL b",
            "SET before 1",
            "SET after 4",
            "EXEC",
        ]);
        assert_eq!(server.run("GET before"), Value::bulk("1"));
    });
}

#[test]
fn a_replica_and_the_append_only_file_end_equal() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        let replica = RealReplica::without_module(server);
        server.run("SET a old PX 100000000");
        server.run("RPUSH l 1 2");
        server.run("XADD x 1-1 f v");
        server.run("XGROUP CREATE x g 0");
        for _ in 0..3 {
            server.call(&eval(whole(FAILS), "3 a l none"));
            server.call(&eval(whole("redis.call('XREADGROUP', 'GROUP', 'g', 'me', 'STREAMS', 'x', '>') error('x')"), "0"));
            server.call(&eval(whole("redis.set_repl(redis.REPL_NONE) redis.call('DEL', 'a', 'l', 'x') error('x')"), "0"));
        }
        replica.expect_same_data();
        let before = data(server);
        assert!(String::from_utf8_lossy(&append_only_files(server)).contains("RESTORE"), "the file holds the undo");
        server.kill_9();
        server.start_again();
        assert_eq!(data(server), before);
    });
}

#[test]
fn messages_are_published_only_by_a_run_that_succeeds() {
    each_server(|server| {
        let mut subscriber = server.connect();
        subscriber.run("SUBSCRIBE c");
        let publish = "local n = redis.call('PUBLISH', 'c', ARGV[1]) redis.call('SET', KEYS[1], n) ";
        server.call(&eval(whole(&format!("{publish} error('x')")), "1 k lost"));
        assert_eq!(server.call(&eval(whole(&format!("{publish} return n")), "1 k sent")), Value::Integer(0));
        let message = subscriber.read().unwrap();
        assert_eq!(message, Value::Array(["message", "c", "sent"].map(Value::bulk).to_vec()));
        // The order of the messages is kept, and a refused one is an error at once.
        server.call(&eval(whole("for i = 1, 3 do redis.call('PUBLISH', 'c', i) end"), "0"));
        for number in ["1", "2", "3"] {
            assert_eq!(subscriber.read().unwrap().array()[2], Value::bulk(number));
        }
        server.run("ACL SETUSER quiet reset on nopass +@all ~* resetchannels");
        let mut quiet = server.connect();
        quiet.run("AUTH quiet x");
        let reply = quiet.call(&eval(whole("redis.call('SET', KEYS[1], 'x') redis.call('PUBLISH', 'c', 1)"), "1 k"));
        assert!(reply.error().ends_with("(rolled back 1 key)"), "{reply}");
        assert_eq!(server.run("GET k"), Value::bulk("0"));
    });
}

#[test]
fn undone_keys_count_as_touched() {
    each_server(|server| {
        server.run("SET a old");
        let mut watcher = server.connect();
        watcher.run("WATCH a");
        server.call(&eval(whole(FAILS), "3 a l none"));
        watcher.run("MULTI");
        watcher.run("PING");
        assert_eq!(watcher.run("EXEC"), Value::Null);
    });
}

#[test]
fn a_client_that_waits_for_an_element_is_not_served_by_an_undone_run() {
    each_server(|server| {
        let mut waiting = server.connect();
        waiting.send(&["BLPOP", "queue", "0"]).unwrap();
        crate::support::eventually("the client waits", || (server.info("blocked_clients") == "1").then_some(()));
        server.call(&eval(whole("redis.call('RPUSH', KEYS[1], 'ghost') error('x')"), "1 queue"));
        server.call(&eval(whole("redis.call('RPUSH', KEYS[1], 'real')"), "1 queue"));
        assert_eq!(waiting.read().unwrap(), Value::Array(["queue", "real"].map(Value::bulk).to_vec()));
    });
}
