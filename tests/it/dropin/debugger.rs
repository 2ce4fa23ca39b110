//! SCRIPT DEBUG belongs to the server. Where the filter sees the client, the server also runs the scripts of a debugging client.

use super::{WHO, call, intercepting, natives, ours, tells_clients};
use crate::support::{Value, each_server_with};

#[test]
fn the_server_runs_the_scripts_of_a_debugging_client() {
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
fn debugging_clients_that_disconnect_are_forgotten() {
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
