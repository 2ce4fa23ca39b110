//! Drop-in mode in a cluster: scripts that run here behave as in the server's engine; the server's engine runs the rest.

use super::{WHO, call, intercepting, library, natives, ours, sha1};
use crate::slots::{checked, has_tables};
use crate::support::cluster::{Cluster, redirection, slot};
use crate::support::{Server, Setup, Value, each_installed, eventually};

const ONE_SLOT: &str = "#!lua\n";
const SEVERAL_SLOTS: &str = "#!lua flags=allow-cross-slot-keys\n";

/// One node with all slots, in drop-in mode, of each server.
fn each_node(setup: &Setup, body: impl Fn(&Server)) {
    each_installed(|binary| body(&Cluster::start_with(binary, 1, checked(binary, setup.clone())).nodes[0]));
}

/// The replies of a transaction.
#[track_caller]
fn transaction(server: &Server, commands: &[Vec<Vec<u8>>]) -> Vec<Value> {
    let mut client = server.connect();
    client.run("MULTI");
    for command in commands {
        assert_eq!(client.call(command), Value::Status("QUEUED".to_owned()));
    }
    client.run("EXEC").array().to_vec()
}

#[test]
fn scripts_use_the_keys_of_several_slots_as_natively() {
    each_node(&intercepting(), |node| {
        let both = "redis.call('SET', 'foo', 'v') return redis.call('GET', 'foo')";
        assert_eq!(node.call(&call("EVAL", both, "1 bar")), Value::bulk("v"));
        assert_eq!(node.run("GET foo"), Value::bulk("v"));
        assert_eq!(node.run("CLUSTER COUNTKEYSINSLOT 12182"), Value::Integer(1));
        assert_eq!(node.run("CLUSTER COUNTKEYSINSLOT 5061"), Value::Integer(0));
        node.run("SET foo real");
        assert_eq!(node.call(&call("EVAL", "return redis.call('GET', 'foo')", "1 bar")), Value::bulk("real"));
        let digest = node.call(&["SCRIPT", "LOAD", "return redis.call('GET', 'foo')"]).text();
        for command in ["EVALSHA", "EVALSHA_RO"] {
            assert_eq!(node.call(&call(command, &digest, "1 bar")), Value::bulk("real"));
        }
        let set = "return redis.call('SET', 'foo', ARGV[1])";
        let replies = transaction(node, &[call("SET", "bar", "1"), call("EVAL", set, "0 z")]);
        assert_eq!(replies, [Value::ok(), Value::ok()]);
        assert_eq!(node.run("GET foo"), Value::bulk("z"));
        let code = "#!lua name=lib\nredis.register_function{function_name = 'set', flags = {'allow-cross-slot-keys'}, \
                    callback = function(keys, args) return redis.call('SET', 'foo', args[1]) end}";
        assert_eq!(node.call(&["FUNCTION", "LOAD", code]), Value::bulk("lib"));
        assert_eq!(node.run("FCALL set 1 bar w"), Value::ok());
        assert_eq!(node.run("GET foo"), Value::bulk("w"));
        node.run("DEL foo");
        node.run("DEL bar");
        assert_eq!(node.run("DBSIZE"), Value::Integer(0));
    });
}

/// Which engine serves a script where each slot has a table. Elsewhere this engine serves all.
const SERVED: &[(&str, &str, bool)] = &[
    ("", "0", true),
    ("", "1 k", false),
    (ONE_SLOT, "0", true),
    (ONE_SLOT, "1 k", true),
    (ONE_SLOT, "2 {k}1 {k}2", true),
    (SEVERAL_SLOTS, "0", true),
    (SEVERAL_SLOTS, "1 k", false),
];

#[test]
fn a_script_that_keeps_to_the_slot_of_its_keys_runs_here() {
    each_node(&intercepting(), |node| {
        let here = |is_ours: bool| if is_ours || !has_tables(&node.binary) { ours() } else { natives() };
        for (line, keys, is_ours) in SERVED {
            let script = format!("{line}{WHO}");
            node.call(&["SCRIPT", "LOAD", &script]);
            for (command, subject) in [("EVAL", script.clone()), ("EVALSHA", sha1(&script))] {
                assert_eq!(node.call(&call(command, &subject, keys)), here(*is_ours), "{command} {script} {keys}");
                // In MULTI the transaction decides the slot, and the module cannot see it.
                let replies = transaction(node, &[call("SET", "{k}0", "v"), call(command, &subject, keys)]);
                assert_eq!(replies[1], here(*is_ours && *keys != "0"), "{command} {script} {keys} in MULTI");
                assert_eq!(node.call(&call(command, &subject, "0")), ours());
            }
        }
        let functions = format!(
            "{}\nredis.register_function{{function_name = 'g', callback = function() {WHO} end, flags = {{'allow-cross-slot-keys'}}}}",
            library("lib", "f", WHO)
        );
        node.call(&["FUNCTION", "LOAD", &functions]);
        assert_eq!(node.run("FCALL f 1 k"), ours());
        assert_eq!(node.run("FCALL f 0"), ours());
        assert_eq!(node.run("FCALL g 1 k"), here(false));
        assert_eq!(node.run("FCALL g 0"), ours());
    });
}

#[test]
fn a_script_without_flags_runs_here_if_the_operator_promises_one_slot() {
    each_node(&intercepting().module_args(&["intercept-one-slot", "yes"]), |node| {
        node.call(&["SCRIPT", "LOAD", WHO]);
        for (command, subject) in [("EVAL", WHO.to_owned()), ("EVALSHA", sha1(WHO))] {
            assert_eq!(node.call(&call(command, &subject, "1 k")), ours());
            assert_eq!(transaction(node, &[call("SET", "k", "v"), call(command, &subject, "1 k")])[1], ours());
        }
        let set = "return redis.call('SET', ARGV[1], 'v')";
        assert_eq!(node.call(&call("EVAL", set, "1 {a}1 {a}2")), Value::ok());
        if has_tables(&node.binary) {
            let refused = node.call(&call("EVAL", set, "1 {a}1 {b}2"));
            assert!(
                refused.error().starts_with("ERR Script attempted to access keys that do not hash to the same slot"),
                "{refused}"
            );
            // A script that asks for several slots gets them.
            assert_eq!(node.call(&call("EVAL", &format!("{SEVERAL_SLOTS}{WHO}"), "1 k")), natives());
            assert_eq!(transaction(node, &[call("EVAL", WHO, "0")])[0], natives());
        }
        assert_eq!(node.run("CONFIG SET atomic.intercept-one-slot no"), Value::ok());
        assert_eq!(node.call(&call("EVAL", set, "1 {a}1 {b}2")), Value::ok());
        assert_eq!(node.run("GET {b}2"), Value::bulk("v"));
    });
}

#[test]
fn a_stored_script_runs_here_after_a_restart() {
    each_node(&intercepting().appendonly("always"), |node| {
        let script = format!("{ONE_SLOT}{WHO}");
        node.call(&["SCRIPT", "LOAD", &script]);
        node.call(&["FUNCTION", "LOAD", &library("lib", "f", WHO)]);
        node.kill_9();
        node.start_again();
        eventually("the cluster is up", || node.run("CLUSTER INFO").text().contains("cluster_state:ok").then_some(()));
        assert_eq!(node.call(&call("EVALSHA", &sha1(&script), "1 k")), ours());
        assert_eq!(node.run("FCALL f 1 k"), ours());
    });
}

#[test]
fn a_script_that_only_the_server_can_run_runs_there_with_its_keys() {
    each_node(&Setup::with_module(), |node| {
        // Luau does not compile it.
        let body = "redis.call('SET', keys[1] .. 'x', 0x1p4) return redis.call('GET', keys[1] .. 'x')";
        let odd = format!("local keys = KEYS {body}");
        node.call(&["SCRIPT", "LOAD", &odd]);
        node.call(&["FUNCTION", "LOAD", &library("odd", "odd", body)]);
        assert_eq!(node.run("CONFIG SET atomic.intercept yes"), Value::ok());
        assert_eq!(node.call(&call("EVALSHA", &sha1(&odd), "1 {a}")), Value::bulk("16"));
        assert_eq!(node.run("FCALL odd 1 {a}"), Value::bulk("16"));
        for _ in 0..2 {
            let declared = format!("{ONE_SLOT}{odd}");
            assert_eq!(node.call(&call("EVAL", &declared, "1 {a}")), Value::bulk("16"));
            assert_eq!(node.call(&call("EVALSHA", &sha1(&declared), "1 {a}")), Value::bulk("16"));
        }
        let huge = format!("redis.call('SET', 'foo', 'v') {WHO} --{}", "x".repeat(1 << 20));
        assert_eq!(node.call(&call("EVAL", &huge, "1 bar")), natives());
        assert_eq!(node.run("MGET {a}x foo").error(), "CROSSSLOT Keys in request don't hash to the same slot");
        assert_eq!([node.run("GET {a}x"), node.run("GET foo")], [Value::bulk("16"), Value::bulk("v")]);
    });
}

#[test]
fn a_replica_redirects_scripts_that_may_write_to_its_primary() {
    each_installed(|binary| {
        let cluster = Cluster::start_with(binary, 1, intercepting());
        let primary = &cluster.nodes[0];
        let code = "#!lua name=lib\nlocal f = function(keys) return redis.call('GET', keys[1]) end\n\
                    redis.register_function('writes', f)\n\
                    redis.register_function{function_name = 'reads', callback = f, flags = {'no-writes'}}";
        assert_eq!(primary.call(&["FUNCTION", "LOAD", code]), Value::bulk("lib"));
        primary.run("SET a v");
        let replica = cluster.replica_of(primary);
        assert_eq!(replica.run("CONFIG SET atomic.intercept yes"), Value::ok());
        let moved = redirection("MOVED", slot(primary, "a"), primary);
        let mut client = replica.connect();
        assert_eq!(client.run("READONLY"), Value::ok());
        let writes = format!("{ONE_SLOT}return redis.call('DEL', KEYS[1])");
        let digest = sha1(&writes);
        primary.call(&["SCRIPT", "LOAD", &writes]);
        client.call(&["SCRIPT", "LOAD", &writes]);
        for command in [call("EVAL", &writes, "1 a"), call("EVALSHA", &digest, "1 a"), call("FCALL", "writes", "1 a")] {
            assert_eq!(client.call(&command), moved);
            client.run("MULTI");
            assert_eq!(client.call(&command), moved);
            assert!(client.run("EXEC").error().starts_with("EXECABORT "));
        }
        let reads = "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])";
        for command in [call("EVAL", reads, "1 a"), call("FCALL", "reads", "1 a"), call("FCALL_RO", "reads", "1 a")] {
            eventually("the replica has it", || (client.call(&command) == Value::bulk("v")).then_some(()));
        }
        assert_eq!(client.call(&call("EVAL", &format!("#!lua flags=no-writes\n{WHO}"), "1 a")), ours());
    });
}
