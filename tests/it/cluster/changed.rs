//! What changes while a call waits for its script is checked before the call runs.

use std::time::Duration;

use super::*;
use crate::support::cluster::{key_of, redirection, slot};

fn each_played(body: impl Fn(&mut Played)) {
    each_installed(|binary| {
        let mut played = Played::start(binary);
        assert_eq!(played.node().run("ACL SETUSER u on >x ~* &* +@all"), Value::ok());
        body(&mut played);
    });
}

#[test]
fn a_call_runs_when_its_script_comes() {
    each_played(|played| {
        let key = key_of(played.node());
        let (script, reply) = played.call("", "return redis.call('INCR', KEYS[1])", &["1", &key], "u", |_| {});
        assert_eq!(reply, Value::Integer(1));
        assert!(is_stored(played.node(), &script));
        assert_eq!(figure(played.node(), "waiting_clients"), 0);
    });
}

#[test]
fn a_user_who_lost_the_right_is_refused() {
    each_played(|played| {
        let key = key_of(played.node());
        let write = "return redis.call('INCR', KEYS[1])";
        for (lost, regained) in [("-atomic.evalsha", "+@all"), ("resetkeys", "~*")] {
            let lose = |node: &Server| drop(node.run(&format!("ACL SETUSER u {lost}")));
            let (_, reply) = played.call("", write, &["1", &key], "u", lose);
            assert!(reply.error().starts_with("NOPERM"), "{lost}: {reply}");
            assert_eq!(played.node().run(&format!("ACL SETUSER u {regained}")), Value::ok());
        }
        assert_eq!(played.node().run(&format!("EXISTS {key}")), Value::Integer(0));
    });
}

#[test]
fn a_call_whose_slot_has_left_is_redirected() {
    each_played(|played| {
        let key = key_of(played.node());
        let (number, target) = (slot(played.node(), &key), played.other.clone());
        let moved = redirection("MOVED", number, &played.cluster.nodes[1]);
        let leave = |node: &Server| assert_eq!(node.run(&format!("CLUSTER SETSLOT {number} NODE {target}")), Value::ok());
        let (_, reply) = played.call("", "return redis.call('INCR', KEYS[1])", &["1", &key], "u", leave);
        assert_eq!(reply, moved);
    });
}

#[test]
fn nothing_is_written_while_writes_are_paused() {
    each_played(|played| {
        let key = key_of(played.node());
        let pause = |node: &Server| assert_eq!(node.run("CLIENT PAUSE 1000000 WRITE"), Value::ok());
        let (script, reply) = played.call("", "return redis.call('INCR', KEYS[1])", &["1", &key], "u", pause);
        assert_eq!(reply, noscript());
        let node = played.node();
        assert_eq!(node.run(&format!("EXISTS {key}")), Value::Integer(0));
        assert!(!is_stored(node, &script), "a script was sent to the replicas during a pause");
        assert_eq!(node.run("CLIENT UNPAUSE"), Value::ok());
        assert_eq!(node.call(&["ATOMIC.EVALSHA", &sha1(&script), "1", &key]), Value::Integer(1));
        assert!(!is_stored(node, &script));
    });
}

#[test]
fn a_server_that_ran_out_of_memory_refuses_a_script_that_may_write() {
    each_played(|played| {
        let key = key_of(played.node());
        let fill = |node: &Server| assert_eq!(node.run("CONFIG SET maxmemory 1"), Value::ok());
        let (_, reply) = played.call("#!lua", "return redis.call('INCR', KEYS[1])", &["1", &key], "u", fill);
        assert!(reply.error().starts_with("OOM "), "{reply}");
        assert_eq!(played.node().run("CONFIG SET maxmemory 0"), Value::ok());
        assert_eq!(played.node().run(&format!("EXISTS {key}")), Value::Integer(0));
    });
}

/// Lets a call wait, then a replica take over, and then the script come. Whether the node was a replica by then: on a busy machine the call
/// may have ended before, which is checked all the same.
#[track_caller]
fn call_during_takeover(binary: &Binary) -> bool {
    let mut played = Played::with_replica(binary);
    let replica = played.replica.take().unwrap();
    let key = key_of(played.node());
    let script = "return redis.call('INCR', KEYS[1])";
    let mut client = played.node().connect();
    played.say(b'N', script, "");
    client.send(&["ATOMIC.EVALSHA", &sha1(script), "1", &key]).unwrap();
    let waits = (0..20).any(|_| figure(played.node(), "waiting_clients") == 1);
    assert_eq!(replica.run("CLUSTER FAILOVER TAKEOVER"), Value::ok());
    eventually("the node is a replica", || (played.node().info("role") == "slave").then_some(()));
    let in_time = waits && !client.has_input(Duration::ZERO);
    played.say(b'S', script, script);
    let reply = client.read().unwrap();
    assert!(["NOSCRIPT ", "UNBLOCKED ", "MOVED "].iter().any(|code| reply.error().starts_with(code)), "{reply}");
    assert_eq!(replica.run(&format!("EXISTS {key}")), Value::Integer(0));
    assert_eq!(figure(played.node(), "waiting_clients"), 0);
    in_time || reply.error().starts_with("UNBLOCKED ")
}

#[test]
fn a_node_that_became_a_replica_does_not_run_the_call() {
    each_installed(|binary| {
        let _ = (0..3).any(|_| call_during_takeover(binary));
    });
}

#[test]
fn a_client_may_leave_or_be_unblocked() {
    each_played(|played| {
        for command in ["CLIENT KILL ID", "CLIENT UNBLOCK", "CLIENT UNBLOCK ERROR"] {
            for attempt in 0.. {
                let script = format!("return '{command} {attempt}'");
                played.say(b'N', &script, "");
                let mut client = played.node().connect();
                let number = client.run("CLIENT ID").integer();
                client.send(&["ATOMIC.EVALSHA", &sha1(&script), "0"]).unwrap();
                if !(0..20).any(|_| figure(played.node(), "waiting_clients") == 1) {
                    assert_eq!(client.read().unwrap(), noscript());
                    continue;
                }
                let (name, kind) = command.split_once(" ERROR").map_or((command, ""), |(name, _)| (name, " ERROR"));
                let ended = played.node().run(&format!("{name} {number}{kind}")) == Value::Integer(1);
                if command == "CLIENT KILL ID" {
                    client.expect_close();
                } else if ended {
                    let expected = if kind.is_empty() { "NOSCRIPT " } else { "UNBLOCKED " };
                    assert!(client.read().unwrap().error().starts_with(expected), "{command}");
                    assert_eq!(client.run("PING"), Value::Status("PONG".to_owned()));
                }
                if ended {
                    break;
                }
            }
            assert_eq!(figure(played.node(), "waiting_clients"), 0);
        }
        // The node still pulls.
        assert_eq!(played.call("", "return 1", &["0"], "u", |_| {}).1, Value::Integer(1));
    });
}
