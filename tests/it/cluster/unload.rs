//! A node whose module is unloaded and loaded again. The server keeps the receiver of its messages.

use super::*;
use crate::support::installed::module_path;

#[test]
fn messages_to_a_node_without_its_module_are_lost_and_a_new_load_answers_again() {
    each_cluster(3, |cluster| {
        let [node, other, stopped] = cluster.nodes.as_slice() else { panic!() };
        if !node.unloads() {
            return;
        }
        load(node, "return 1");
        assert_eq!(pulled(node, "return 1", || evalsha(other, "return 1")), Value::Integer(1));
        let load_line = format!("MODULE LOAD {}", module_path().to_string_lossy());
        let mut bus = play(node, &[other], stopped);
        for round in 0..3 {
            // The module has run no command on this connection.
            let mut admin = node.connect();
            eventually("no timer runs", || (admin.run("MODULE UNLOAD atomic") == Value::ok()).then_some(()));
            for kind in *b"AHLFGN" {
                bus.send(0, TYPE, &message(kind, "return 1", ""));
            }
            bus.send(0, TYPE, b"hello");
            assert_eq!(evalsha(other, &format!("return {round} + 10")), noscript());
            assert_eq!(admin.run("PING"), Value::Status("PONG".to_owned()));
            assert_eq!(admin.run(&load_line), Value::ok());
            // The unload closed the other connections.
            let script = format!("return {round} + 20");
            assert_eq!(node.connect().call(&["ATOMIC.SCRIPT", "LOAD", &script]), Value::bulk(sha1(&script)));
            eventually("it answers", || (evalsha(other, &script) == Value::Integer(round + 20)).then_some(()));
            let script = format!("return {round} + 30");
            load(other, &script);
            let call = || node.connect().call(&["ATOMIC.EVALSHA", &sha1(&script), "0"]);
            eventually("it asks", || (call() == Value::Integer(round + 30)).then_some(()));
        }
    });
}
