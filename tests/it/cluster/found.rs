//! Scripts that another primary has.

use super::*;
use crate::support::cluster::{key_of, slot};

const SET: &str = "return redis.call('SET', KEYS[1], 'v')";
const GET: &str = "return redis.call('GET', KEYS[1])";

#[track_caller]
fn set(node: &Server, from: &Server) {
    let key = key_of(node);
    assert_eq!(pulled(from, SET, || node.call(&["ATOMIC.EVALSHA", &sha1(SET), "1", &key])), Value::ok());
    assert_eq!(node.run(&format!("GET {key}")), Value::bulk("v"));
}

#[test]
fn a_script_that_was_loaded_on_one_primary_runs_on_all() {
    each_cluster(3, |cluster| {
        let [first, others @ ..] = cluster.nodes.as_slice() else { panic!() };
        load(first, SET);
        for node in others {
            set(node, first);
            assert!(is_stored(node, SET));
            let figures = || ["asked", "found", "missed", "dropped"].map(|name| figure(node, name));
            let [asked, found, missed, dropped] = figures();
            assert_eq!((asked, found, dropped), (1 + missed, 1, 0));
            set(node, first);
            assert_eq!(figures(), [asked, found, missed, dropped]);
        }
        assert!(figure(first, "answered") >= 1);
        assert_eq!(figure(first, "asked"), 0);
        // RESETSTAT resets the counters, and the replies are those of a call that did not wait.
        assert_eq!(others[0].run("ATOMIC.SCRIPT RESETSTAT"), Value::ok());
        assert_eq!(figure(&others[0], "asked"), 0);
    });
}

#[test]
fn replies_and_errors_are_those_of_any_call() {
    each_cluster(2, |cluster| {
        let [first, second] = cluster.nodes.as_slice() else { panic!() };
        for script in [
            "return {1, 'two', {3.9, false}, redis.status_reply('FINE')}",
            "redis.setresp(3) return {map = {a = 1}}",
            "return redis.error_reply('MY error')",
            "return redis.call('INCR', 'x', 'y')",
            "error('oops')",
            "return KEYS[1]",
            "return nil",
        ] {
            load(first, script);
            for resp3 in [false, true] {
                let call = |node: &Server| {
                    let connection = node.connect();
                    let mut connection = if resp3 { connection.resp3() } else { connection };
                    connection.call(&["ATOMIC.EVALSHA", &sha1(script), "0"])
                };
                assert_eq!(pulled(first, script, || call(second)), call(first), "{script}");
                second.run("ATOMIC.SCRIPT FLUSH");
            }
        }
    });
}

#[test]
fn what_the_script_writes_reaches_the_replicas_and_so_does_the_script() {
    each_cluster(2, |cluster| {
        let [first, second] = cluster.nodes.as_slice() else { panic!() };
        let replica = cluster.replica_of(second);
        load(first, SET);
        set(second, first);
        let key = key_of(second);
        assert_eq!(second.run("WAIT 1 10000"), Value::Integer(1));
        let mut reader = replica.connect();
        assert_eq!(reader.run("READONLY"), Value::ok());
        assert_eq!(reader.run(&format!("GET {key}")), Value::bulk("v"));
        assert!(is_stored(&replica, SET));
        // The replica takes over, and needs nobody's help.
        assert_eq!(replica.run("CLUSTER FAILOVER"), Value::ok());
        eventually("the replica is the primary", || (replica.info("role") == "master").then_some(()));
        eventually("it serves its slots", || {
            replica.call(&["ATOMIC.EVALSHA", &sha1(SET), "1", &key]).eq(&Value::ok()).then_some(())
        });
        assert_eq!(figure(&replica, "asked"), 0);
    });
}

#[test]
fn a_replica_that_takes_over_pulls_what_its_primary_had_only_cached() {
    each_cluster(2, |cluster| {
        let [first, second] = cluster.nodes.as_slice() else { panic!() };
        let replica = cluster.replica_of(second);
        assert_eq!(first.call(&["ATOMIC.EVAL", "return 7", "0"]), Value::Integer(7));
        assert_eq!(evalsha(&replica, "return 7"), noscript());
        assert_eq!(replica.run("CLUSTER FAILOVER"), Value::ok());
        eventually("the replica is the primary", || (replica.info("role") == "master").then_some(()));
        eventually("the script comes", || (evalsha(&replica, "return 7") == Value::Integer(7)).then_some(()));
        assert!(is_stored(&replica, "return 7") && !is_stored(first, "return 7"));
    });
}

#[test]
fn a_node_that_joins_and_gets_slots_finds_the_scripts() {
    each_installed(|binary| {
        let mut cluster = Cluster::start(binary, 2);
        load(&cluster.nodes[0], GET);
        load(&cluster.nodes[1], SET);
        cluster.add(Setup::with_module());
        let [first, second, joined] = cluster.nodes.as_slice() else { panic!() };
        let key = key_of(first);
        assert_eq!(first.run(&format!("SET {key} here")), Value::ok());
        assert_eq!(evalsha(joined, "return 1"), noscript());
        cluster.migrate(slot(first, &key), first, joined);
        let call = |script| joined.call(&["ATOMIC.EVALSHA", &sha1(script), "1", &key]);
        assert_eq!(pulled(first, GET, || call(GET)), Value::bulk("here"));
        assert_eq!(pulled(second, SET, || call(SET)), Value::ok());
        assert_eq!(joined.run(&format!("GET {key}")), Value::bulk("v"));
    });
}

#[test]
fn a_script_is_only_cached_for_a_user_who_may_not_load_it() {
    each_cluster(2, |cluster| {
        let [first, second] = cluster.nodes.as_slice() else { panic!() };
        for script in ["return 1", "return 2", "return 3"] {
            load(first, script);
        }
        assert_eq!(second.run("ACL SETUSER u on >x ~* +@all -atomic.script"), Value::ok());
        let mut user = second.connect();
        assert_eq!(user.run("AUTH u x"), Value::ok());
        let reply = pulled(first, "return 1", || user.call(&["ATOMIC.EVALSHA", &sha1("return 1"), "0"]));
        assert_eq!(reply, Value::Integer(1));
        assert!(!is_stored(second, "return 1"));
        let reply = pulled(first, "return 2", || second.call(&["ATOMIC.EVALSHA_RO", &sha1("return 2"), "0"]));
        assert_eq!(reply, Value::Integer(2));
        assert!(!is_stored(second, "return 2"));
        assert_eq!(pulled(first, "return 3", || evalsha(second, "return 3")), Value::Integer(3));
        assert!(is_stored(second, "return 3"));
    });
}

#[test]
fn a_script_that_was_unknown_is_found_once_it_is_loaded() {
    each_cluster(2, |cluster| {
        let [first, second] = cluster.nodes.as_slice() else { panic!() };
        assert_eq!(evalsha(second, "return 1"), noscript());
        load(first, "return 1");
        // The news takes another way than the call.
        eventually("the script is found", || (evalsha(second, "return 1") == Value::Integer(1)).then_some(()));
        // A script that this node itself gets is found at once.
        assert_eq!(evalsha(second, "return 2"), noscript());
        load(second, "return 2");
        assert_eq!(evalsha(second, "return 2"), Value::Integer(2));
    });
}

#[test]
fn many_clients_wait_for_one_pull_and_many_scripts_come_one_after_another() {
    each_cluster(3, |cluster| {
        let [first, second, third] = cluster.nodes.as_slice() else { panic!() };
        let scripts: Vec<String> = (0..40).map(|number| format!("--{}\nreturn {number}", "-".repeat(5000))).collect();
        scripts.iter().for_each(|script| load(first, script));
        // All clients of a script get the same reply. On a busy machine that may be that the script came too late.
        let together = |node: &Server, scripts: &[&String]| -> Vec<Value> {
            let mut clients: Vec<_> = scripts.iter().map(|_| node.connect()).collect();
            for (client, script) in clients.iter_mut().zip(scripts) {
                client.send(&["ATOMIC.EVALSHA", &sha1(script), "0"]).unwrap();
            }
            clients.iter_mut().map(|client| client.read().unwrap()).collect()
        };
        let one = &scripts[0];
        let replies = together(third, &[one; 40]);
        assert!(replies.iter().all(|reply| [noscript(), Value::Integer(0)].contains(reply)), "{replies:?}");
        assert!(figure(third, "asked") < 40, "the calls did not share a pull");
        assert_eq!(figure(third, "waiting_clients"), 0);
        let all: Vec<&String> = scripts.iter().collect();
        for (reply, script) in together(second, &all).into_iter().zip(&scripts) {
            let reply = if reply == noscript() { pulled(first, script, || evalsha(second, script)) } else { reply };
            assert_eq!(reply, evalsha(first, script));
        }
        assert_eq!(figure(second, "found"), 40);
    });
}

#[test]
fn a_script_of_256_kib_is_pulled_and_a_longer_one_is_not() {
    each_cluster(2, |cluster| {
        let [first, second] = cluster.nodes.as_slice() else { panic!() };
        let script = |length: usize| "return 1".to_owned() + &" ".repeat(length - 8);
        let [most, too_long] = [script(256 << 10), script((256 << 10) + 1)];
        load(first, &most);
        load(first, &too_long);
        assert_eq!(pulled(first, &most, || evalsha(second, &most)), Value::Integer(1));
        assert_eq!(evalsha(second, &too_long), noscript());
    });
}

#[test]
fn the_setting_switches_it_off_and_drop_in_mode_has_its_own() {
    each_cluster(2, |cluster| {
        let [first, second] = cluster.nodes.as_slice() else { panic!() };
        load(first, "return 1");
        for (node, other) in [(second, first), (first, second)] {
            // Without the setting a node neither asks nor answers.
            assert_eq!(node.run("CONFIG SET atomic.script-pull no"), Value::ok());
            assert_eq!(evalsha(second, "return 1"), noscript());
            assert_eq!(node.run("CONFIG SET atomic.script-pull yes"), Value::ok());
            assert_eq!(other.run("ATOMIC.SCRIPT EXISTS 0000000000000000000000000000000000000000"), Value::integers(&[0]));
        }
        load(first, "return 2");
        assert_eq!(second.run("CONFIG SET atomic.intercept yes"), Value::ok());
        let call = || second.call(&["EVALSHA", &sha1("return 2"), "0"]);
        assert!(call().error().starts_with("NOSCRIPT"));
        assert_eq!(second.run("CONFIG SET atomic.intercept-script-pull yes"), Value::ok());
        let in_time = || {
            let reply = call();
            if matches!(&reply, Value::Error(text) if text.starts_with("NOSCRIPT ")) { noscript() } else { reply }
        };
        assert_eq!(pulled(first, "return 2", in_time), Value::Integer(2));
        // A script of the server's own cache is not pulled.
        let asked = figure(second, "asked");
        assert_eq!(second.run("CONFIG SET atomic.intercept no"), Value::ok());
        assert_eq!(second.call(&["SCRIPT", "LOAD", "return 3"]), Value::bulk(sha1("return 3")));
        assert_eq!(second.run("CONFIG SET atomic.intercept yes"), Value::ok());
        assert_eq!(second.call(&["EVALSHA", &sha1("return 3"), "0"]), Value::Integer(3));
        assert_eq!(figure(second, "asked"), asked);
        assert_eq!(second.run("CONFIG SET atomic.intercept no"), Value::ok());
    });
}
