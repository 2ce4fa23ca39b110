//! The module's functions follow the server's store: the next ATOMIC.FCALL sees every change, whichever way it came.

use super::{library, tells_clients};
use crate::support::{Connection, RealReplica, Server, Value, each_server, eventually};

fn says(what: &str) -> String {
    library("lib", "f", &format!("return '{what}'"))
}

#[track_caller]
fn load(connection: &mut Connection, what: &str) -> Value {
    connection.call(&["FUNCTION", "LOAD", "REPLACE", &says(what)])
}

#[track_caller]
fn expect(server: &Server, what: &str) {
    assert_eq!(server.run("ATOMIC.FCALL f 0"), Value::bulk(what));
}

#[test]
fn a_load_by_another_client_is_seen_at_once() {
    each_server(|server| {
        let mut other = server.connect();
        for what in ["one", "two", "three"] {
            load(&mut other, what);
            expect(server, what);
        }
        other.run("FUNCTION DELETE lib");
        assert_eq!(server.run("ATOMIC.FCALL f 0").error(), "ERR Function not found");
        load(&mut other, "again");
        expect(server, "again");
        let dump = other.run("FUNCTION DUMP").bytes().to_vec();
        other.run("FUNCTION FLUSH");
        assert_eq!(server.run("ATOMIC.FCALL f 0").error(), "ERR Function not found");
        other.call(&[b"function".as_slice(), b"restore", &dump]);
        expect(server, "again");
    });
}

#[test]
fn a_change_in_a_transaction_is_seen_when_it_runs_and_within_it() {
    each_server(|server| {
        let mut other = server.connect();
        load(&mut other, "before");
        expect(server, "before");
        other.run("MULTI");
        other.run("ATOMIC.FCALL f 0");
        load(&mut other, "within");
        other.run("ATOMIC.FCALL f 0");
        load(&mut other, "after");
        expect(server, "before");
        expect(server, "before");
        let replies = other.run("EXEC");
        assert_eq!(replies.array()[0], Value::bulk("before"));
        assert_eq!(replies.array()[2], Value::bulk("within"));
        expect(server, "after");

        other.run("MULTI");
        load(&mut other, "discarded");
        other.run("DISCARD");
        expect(server, "after");
        other.run("MULTI");
        load(&mut other, "next");
        assert!(matches!(other.run("EXEC"), Value::Array(_)));
        expect(server, "next");
    });
}

#[test]
fn several_transactions_are_kept_apart() {
    each_server(|server| {
        let mut clients = [server.connect(), server.connect(), server.connect()];
        for (client, what) in clients.iter_mut().zip(["a", "b", "c"]) {
            client.run("MULTI");
            client.run("ATOMIC.FCALL f 0");
            load(client, what);
        }
        for (client, what) in clients.iter_mut().zip(["a", "b", "c"]) {
            client.run("EXEC");
            expect(server, what);
        }
    });
}

#[test]
fn a_held_back_change_is_seen_when_it_runs() {
    each_server(|server| {
        let (mut other, mut queued) = (server.connect(), server.connect());
        assert!(!matches!(load(&mut other, "before"), Value::Error(_)));
        expect(server, "before");
        queued.run("MULTI");
        load(&mut queued, "queued");
        assert_eq!(server.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
        other.send(&["FUNCTION", "LOAD", "REPLACE", &says("held")]).unwrap();
        queued.send(&["EXEC"]).unwrap();
        eventually("both are held", || (server.info("blocked_clients") == "2").then_some(()));
        let _ = server.run("ATOMIC.FCALL_RO f 0");
        let mut pipeline = server.connect();
        pipeline.send_raw(b"CLIENT UNPAUSE\r\nATOMIC.FCALL f 0\r\nATOMIC.FCALL f 0\r\n").unwrap();
        for _ in 0..3 {
            pipeline.read().unwrap();
        }
        other.read().unwrap();
        queued.read().unwrap();
        let last = server.run("FCALL f 0");
        assert_ne!(last, Value::bulk("before"));
        assert_eq!(server.run("ATOMIC.FCALL f 0"), last);
    });
}

#[test]
fn a_change_from_the_primary_is_seen() {
    each_server(|primary| {
        let replica = RealReplica::with_module(primary);
        let ask = |what: &str| {
            replica.await_sync();
            assert_eq!(replica.server.run("ATOMIC.FCALL f 0"), Value::bulk(what));
        };
        let code = |what: &str| {
            format!(
                "#!lua name=lib\nredis.register_function{{function_name = 'f', callback = function() return '{what}' end, flags = {{'no-writes'}}}}"
            )
        };
        for what in ["one", "two"] {
            primary.call(&["FUNCTION", "LOAD", "REPLACE", &code(what)]);
            ask(what);
        }
        let mut other = primary.connect();
        other.run("MULTI");
        other.run("SET k v");
        other.call(&["FUNCTION", "LOAD", "REPLACE", &code("in a transaction")]);
        other.run("EXEC");
        ask("in a transaction");
    });
}

#[test]
fn clients_that_disconnect_with_queued_changes_leave_nothing() {
    each_server(|server| {
        load(&mut server.connect(), "one");
        expect(server, "one");
        let clients: Vec<Connection> = (0..50)
            .map(|_| {
                let mut client = server.connect();
                client.run("MULTI");
                load(&mut client, "never");
                client
            })
            .collect();
        expect(server, "one");
        drop(clients);
        expect(server, "one");
        load(&mut server.connect(), "two");
        expect(server, "two");
        assert!(tells_clients(&server.binary) || server.is_alive());
    });
}
