//! SCRIPT DEBUG is the server's: where the server tells whose command it is, the scripts of a client that debugs are too.

use super::{WHO, call, intercepting, natives, ours, tells_clients};
use crate::support::{Value, each_server_with};

#[test]
fn a_client_that_debugs_debugs_with_the_server() {
    each_server_with(&intercepting(), |server| {
        let mut debugger = server.connect();
        let reply = debugger.run("SCRIPT DEBUG YES");
        if !tells_clients(&server.binary) {
            assert!(reply.error().starts_with("ERR "), "{reply}");
            assert_eq!(debugger.run("SCRIPT DEBUG NO"), Value::ok());
            return;
        }
        assert_eq!(reply, Value::ok());
        assert_eq!(debugger.run("SCRIPT DEBUG NO"), Value::ok());
        assert_eq!(debugger.call(&call("EVAL", WHO, "0")), ours(), "it does not debug any more");
        assert_eq!(debugger.run("SCRIPT DEBUG YES"), Value::ok());
        let stopped = debugger.call(&call("EVAL", WHO, "0")).to_string();
        assert!(stopped.contains("Stopped at 1"), "{stopped}");
        debugger.run("continue");
        assert_eq!(server.call(&call("EVAL", WHO, "0")), ours(), "others do not debug");
    });
}

#[test]
fn many_that_debug_and_leave_are_forgotten() {
    each_server_with(&intercepting(), |server| {
        if !tells_clients(&server.binary) {
            return;
        }
        for _ in 0..100 {
            assert_eq!(server.connect().run("SCRIPT DEBUG YES"), Value::ok());
        }
        assert_ne!(server.call(&call("EVAL", WHO, "0")), natives());
    });
}
