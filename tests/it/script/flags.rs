//! Refusals by the state of the server, for scripts with and without flags, beside the server's own EVAL in the same situation.

use std::fs;

use super::{in_common_words, sha1};
use crate::slots::has_tables;
use crate::support::cluster::{self, Cluster, slot};
use crate::support::{
    Connection, RealReplica, Server, Setup, Value, argv, each_installed, each_server, each_server_with, eventually,
};

/// The first lines of the scripts: flags, and two without flags.
const FIRST_LINES: &[&str] = &[
    "",
    "#!lua\n",
    "#!lua flags=\n",
    "#!lua flags=no-writes\n",
    "#!lua flags=allow-oom\n",
    "#!lua flags=allow-stale\n",
    "#!lua flags=no-writes,allow-stale\n",
    "#!lua flags=allow-oom,allow-stale\n",
    "#!lua flags=no-cluster\n",
    "#!lua flags=allow-cross-slot-keys\n",
];

/// The bodies of the scripts. Each leaves the data unchanged, or is refused.
const BODIES: &[&str] = &[
    "return 1",
    "return redis.call('GET', 's')",
    "return redis.pcall('GET', 's')",
    "return redis.call('SET', 's', 'text')",
    "return redis.pcall('SET', 's', 'text')",
    "return {redis.call('ECHO', 'x'), redis.pcall('SET', 's', 'text')}",
    "redis.call('DEL', 'none') return redis.call('SET', 's', 'text')",
    "redis.pcall('SET', 's', 'text') return redis.call('DEL', 'none')",
    "return {redis.pcall('DEL', 'none'), redis.pcall('SET', 's', 'text'), redis.pcall('GET', 's')}",
    "return redis.call('PUBLISH', 'c', 'm')",
    "return redis.call('PING')",
    "return redis.call('nosuchcommand')",
    "return redis.call('SET', 's')",
];

/// Servers differ in which of two refusals comes first.
const READ_ONLY: &str = "ERR Write commands are not allowed from read-only scripts.";

/// The errors of all servers and versions for keys that are on another node, or in several slots.
const ELSEWHERE: &[&str] = &[
    READ_ONLY,
    "ERR Script attempted to access a non local key",
    "ERR Attempted to access a non local key",
    "ERR Script attempted to access a slot not served",
    "ERR Script attempted to access keys that do not hash to the same slot",
    "ERR Command '",
];

const COMMANDS: &[&str] = &["EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO"];

/// Asserts that the server's commands and ours give the same replies to all scripts. Errors that begin with one of `refusals` count as
/// equal.
fn expect_same(server: &Server, refusals: &[&str]) {
    expect_same_but(server, refusals, |_| false);
}

/// [`expect_same`] without the scripts whose first lines `differ`.
fn expect_same_but(server: &Server, refusals: &[&str], differ: impl Fn(&str) -> bool) {
    let mut connection = server.connect();
    let mut differing = Vec::new();
    let first_lines = FIRST_LINES.iter().filter(|line| !differ(line));
    for script in first_lines.flat_map(|line| BODIES.iter().map(move |body| format!("{line}{body}"))) {
        for command in COMMANDS {
            let [theirs, ours] = both(&mut connection, command, &script, "0").map(|answer| without(&answer, refusals));
            if theirs != ours {
                differing.push(format!("{command} {script}\n    the server: {theirs}\n    ATOMIC: {ours}"));
            }
        }
    }
    assert!(differing.is_empty(), "{} answers differ:\n{}", differing.len(), differing.join("\n"));
}

/// A reply in which all errors that begin with one of `refusals` are the same.
fn without(reply: &Value, refusals: &[&str]) -> Value {
    match reply {
        Value::Error(text) if refusals.iter().any(|refusal| text.starts_with(refusal)) => Value::Error("refused".to_owned()),
        Value::Array(items) => Value::Array(items.iter().map(|item| without(item, refusals)).collect()),
        _ => reply.clone(),
    }
}

/// The replies of the server's command and of ours.
fn both(connection: &mut Connection, command: &str, script: &str, rest: &str) -> [Value; 2] {
    [("", "SCRIPT"), ("ATOMIC.", "ATOMIC.SCRIPT")].map(|(prefix, cache)| {
        let named = if command.contains("SHA") {
            connection.call(&[cache, "LOAD", script]);
            sha1(script)
        } else {
            script.to_owned()
        };
        let call = [vec![format!("{prefix}{command}").into_bytes(), named.into_bytes()], argv(rest)].concat();
        in_common_words(&connection.call(&call))
    })
}

/// Our reply to a script without keys.
fn ours(server: &Server, command: &str, script: &str) -> Value {
    server.call(&[command, script, "0"])
}

#[test]
fn in_no_special_situation_replies_are_those_of_the_server() {
    each_server(|server| {
        server.run("SET s text");
        expect_same(server, &[]);
    });
}

#[test]
fn on_a_read_only_replica_replies_are_those_of_the_server() {
    each_server(|server| {
        server.run("SET s text");
        let replica = RealReplica::with_module(server);
        expect_same(&replica.server, &[]);
        let refused = "READONLY You can't write against a read only replica.";
        assert_eq!(ours(&replica.server, "ATOMIC.EVAL", "#!lua\nreturn 1").error(), refused);
        assert_eq!(ours(&replica.server, "ATOMIC.EVAL_RO", "#!lua\nreturn 1").error(), refused);
        assert_eq!(ours(&replica.server, "ATOMIC.EVAL_RO", "return redis.call('GET', 's')"), Value::bulk("text"));
        assert_eq!(replica.server.run("CONFIG SET replica-read-only no"), Value::ok());
        expect_same(&replica.server, &[]);
    });
}

const STALE: &str = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";

/// The replies of a stale replica that must not serve its data, and then of the same server when it may.
fn expect_stale(server: &Server) {
    expect_same(server, &[READ_ONLY, "ERR Can not execute the command on a stale replica"]);
    assert_eq!(ours(server, "ATOMIC.EVAL", "return 1").error(), STALE);
    assert_eq!(ours(server, "ATOMIC.EVAL_RO", "#!lua flags=no-writes,allow-stale\nreturn 1"), Value::Integer(1));
    assert_eq!(server.run("CONFIG SET replica-serve-stale-data yes"), Value::ok());
    expect_same(server, &[]);
    assert_eq!(ours(server, "ATOMIC.EVAL", "return 1"), Value::Integer(1));
    assert_eq!(server.run("CONFIG SET replica-serve-stale-data no"), Value::ok());
    assert_eq!(ours(server, "ATOMIC.EVAL", "return 1").error(), STALE);
}

#[test]
fn on_a_replica_without_its_primary_replies_are_those_of_the_server() {
    let setup = Setup::with_module().config("replica-serve-stale-data no");
    each_server_with(&setup, |server| {
        server.run("SET s text");
        assert_eq!(ours(server, "ATOMIC.EVAL", "return 1"), Value::Integer(1));
        let primary = Server::start(&server.binary, &Setup::with_module());
        primary.run("SET s text");
        server.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        eventually("the link is up", || (server.info("master_link_status") == "up").then_some(()));
        assert_eq!(ours(server, "ATOMIC.EVAL", "return redis.call('GET', 's')"), Value::bulk("text"));
        primary.kill_9();
        eventually("the link is down", || (server.info("master_link_status") == "down").then_some(()));
        expect_stale(server);
        primary.start_again();
        eventually("the link is up again", || (server.info("master_link_status") == "up").then_some(()));
        assert_eq!(ours(server, "ATOMIC.EVAL", "return 1"), Value::Integer(1));
        primary.kill_9();
        eventually("the link is down", || (server.info("master_link_status") == "down").then_some(()));
        assert_eq!(ours(server, "ATOMIC.EVAL", "return 1").error(), STALE);
        assert_eq!(server.run("REPLICAOF NO ONE"), Value::ok());
        assert_eq!(ours(server, "ATOMIC.EVAL", "return 1"), Value::Integer(1));
    });
}

/// The server loads the module before there can be a link.
#[test]
fn a_server_that_starts_as_a_replica_without_a_primary_is_stale() {
    let setup = Setup::with_module().config("replica-serve-stale-data no").config("replicaof 127.0.0.1 1");
    each_server_with(&setup, expect_stale);
}

#[test]
fn above_maxmemory_replies_are_those_of_the_server() {
    each_server(|server| {
        server.run("SET s text");
        assert_eq!(server.run("CONFIG SET maxmemory 1"), Value::ok());
        expect_same(server, &[READ_ONLY, "OOM command not allowed"]);
        let set = "return redis.call('SET', 's', 'text')";
        assert!(ours(server, "ATOMIC.EVAL", set).error().starts_with("OOM "));
        assert_eq!(
            ours(server, "ATOMIC.EVAL", "#!lua\nreturn 1").error(),
            "OOM command not allowed when used memory > 'maxmemory'."
        );
        assert_eq!(ours(server, "ATOMIC.EVAL", &format!("#!lua flags=allow-oom\n{set}")), Value::ok());
        assert_eq!(ours(server, "ATOMIC.EVAL", &format!("redis.call('DEL', 's') {set}")), Value::ok(), "it had written");
        assert_eq!(server.run("CONFIG SET maxmemory 0"), Value::ok());
        assert_eq!(ours(server, "ATOMIC.EVAL", &format!("#!lua\n{set}")), Value::ok());
    });
}

/// For scripts with flags the server checks before the run, and we check at the first write: the module API does not offer the check.
#[test]
fn with_too_few_replicas_only_the_time_of_the_refusal_differs() {
    each_server(|server| {
        server.run("SET s text");
        assert_eq!(server.run("CONFIG SET min-replicas-to-write 1"), Value::ok());
        expect_same_but(server, &[], |first_line| !first_line.is_empty() && !first_line.contains("no-writes"));
        let mut connection = server.connect();
        let [theirs, ours] = both(&mut connection, "EVAL", "#!lua\nreturn 1", "0");
        assert!(theirs.error().starts_with("NOREPLICAS "), "{theirs}");
        assert_eq!(ours, Value::Integer(1));
        let [theirs, ours] = both(&mut connection, "EVAL", "#!lua\nreturn redis.call('SET', 's', 'text')", "0");
        assert_eq!(theirs, ours);
    });
}

#[test]
fn with_a_failing_disk_only_the_time_of_the_refusal_differs() {
    each_server_with(&Setup::with_module().config("save 3600 1000000"), |server| {
        server.run("SET s text");
        // A file cannot be renamed over a directory.
        fs::create_dir(server.dir().join("dump.rdb")).unwrap();
        server.run("BGSAVE");
        eventually("saving failed", || (server.info("rdb_last_bgsave_status") == "err").then_some(()));
        expect_same_but(server, &[], |first_line| !first_line.is_empty() && !first_line.contains("no-writes"));
        let [theirs, ours] = both(&mut server.connect(), "EVAL", "#!lua\nreturn redis.call('SET', 's', 'text')", "0");
        assert!(theirs.error().starts_with("MISCONF ") && ours.error().starts_with("MISCONF "), "{theirs}\n{ours}");
    });
}

/// Scripts of a cluster, and their keys. `{a}` and `{b}` are in different slots.
const CLUSTERED: &[(&str, &str)] = &[
    ("return redis.call('GET', '{a}1')", "0"),
    ("return {redis.call('GET', '{a}1'), redis.call('GET', '{a}2')}", "0"),
    ("return {redis.call('GET', '{a}1'), redis.call('GET', '{b}1')}", "0"),
    ("return {redis.call('GET', '{a}1'), redis.pcall('GET', '{b}1'), redis.call('GET', '{a}2')}", "0"),
    ("return redis.pcall('GET', '{b}1')", "1 {a}1"),
    ("return redis.pcall('GET', '{a}2')", "1 {a}1"),
    ("return redis.pcall('GET', KEYS[2])", "2 {a}1 {a}2"),
    ("return redis.pcall('GET', KEYS[2])", "2 {a}1 {b}1"),
    ("return redis.pcall('MGET', '{a}1', '{b}1')", "0"),
    ("return redis.pcall('MSET', '{a}1', 'v', '{b}1', 'v')", "0"),
    ("return redis.pcall('MSET', '{a}1', 'v', '{a}2', 'v')", "0"),
    ("redis.pcall('MGET', '{a}1', '{b}1') return redis.pcall('GET', '{b}1')", "0"),
    ("redis.pcall('PING') redis.pcall('nosuch') redis.pcall('GET') return redis.pcall('GET', '{b}1')", "0"),
    ("return {redis.call('SET', '{a}1', 'v'), redis.pcall('SET', '{b}1', 'v')}", "0"),
    ("return redis.pcall('SORT', '{a}1', 'BY', '{b}*')", "0"),
    ("return redis.pcall('SELECT', 1)", "0"),
    ("return redis.pcall('SELECT', 0)", "0"),
    ("return redis.pcall('XREAD', 'STREAMS', '{a}x', '{b}x', '0', '0')", "0"),
    ("return 1", "1 {a}1"),
    ("return redis.pcall('ATOMIC.LOCK', '{b}1', 'me', 1000)[1]", "1 {a}1"),
];

/// Asserts that our replies to the scripts of a cluster are those of the node's own EVAL.
fn expect_same_in_cluster(node: &Server) {
    let mut connection = node.connect();
    let mut differing = Vec::new();
    for first_line in FIRST_LINES {
        // The server finds these keys in any slot, and we only in the slot of the declared keys.
        let refused = has_tables(&node.binary) && (first_line.is_empty() || first_line.contains("cross-slot"));
        for (script, rest) in CLUSTERED.iter().map(|(body, rest)| (format!("{first_line}{body}"), rest)) {
            let refused = refused && *rest == "1 {a}1" && script.contains("{b}1");
            for command in COMMANDS {
                connection.run("FLUSHALL");
                let [theirs, ours] = both(&mut connection, command, &script, rest).map(|answer| without(&answer, ELSEWHERE));
                // An error table has no first element.
                let is_refused = matches!(ours, Value::Error(_)) || (script.contains("LOCK") && ours == Value::Null);
                if theirs != ours && !(refused && is_refused) {
                    differing.push(format!("{command} {script} {rest}\n    the server: {theirs}\n    ATOMIC: {ours}"));
                }
            }
        }
    }
    assert!(differing.is_empty(), "{} answers differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn on_the_only_node_of_a_cluster_replies_are_those_of_the_server() {
    each_installed(|binary| expect_same_in_cluster(&Cluster::start(binary, 1).nodes[0]));
}

#[test]
fn keys_of_another_node_are_refused_with_the_servers_errors() {
    each_installed(|binary| {
        let cluster = Cluster::start(binary, 3);
        let place = |key: &str| usize::try_from(slot(&cluster.nodes[0], key)).unwrap() * 3 / 16_384;
        let (home, away) = (&cluster.nodes[place("{a}")], &cluster.nodes[(place("{a}") + 1) % 3]);
        let script = "return redis.call('GET', '{a}1')";
        assert_eq!(ours(home, "ATOMIC.EVAL", script), Value::Null);
        let refused = "ERR Script attempted to access a non local key in a cluster node script: ";
        assert!(ours(away, "ATOMIC.EVAL", script).error().starts_with(refused));
        assert!(away.call(&["ATOMIC.EVAL", "return 1", "1", "{a}1"]).error().starts_with("MOVED "));
        // Last: Valkey 9.1 remembers a refused slot for later calls, also of its own EVAL.
        for node in &cluster.nodes {
            expect_same_in_cluster(node);
        }
    });
}

#[test]
fn in_a_cluster_that_is_down_replies_are_those_of_the_server() {
    each_installed(|binary| {
        let server = &cluster::start_node(binary);
        expect_same(server, ELSEWHERE);
        assert_eq!(server.run("CLUSTER ADDSLOTSRANGE 0 10"), Value::ok());
        expect_same(server, ELSEWHERE);
    });
}

#[test]
fn while_writes_are_paused_read_only_scripts_run_and_others_are_held_back() {
    each_server(|server| {
        server.run("SET s text");
        let get = "return redis.call('GET', 's')";
        let (mut held, mut declared) = (server.connect(), server.connect());
        assert_eq!(server.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
        for command in ["ATOMIC.EVAL_RO", "EVAL_RO"] {
            assert_eq!(ours(server, command, get), Value::bulk("text"), "{command}");
        }
        held.send(&["ATOMIC.EVAL", get, "0"]).unwrap();
        declared.send(&["ATOMIC.EVAL", &format!("#!lua flags=no-writes\n{get}"), "0"]).unwrap();
        eventually("both are held", || (server.info("blocked_clients") == "2").then_some(()));
        assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        assert_eq!(held.read().unwrap(), Value::bulk("text"));
        assert_eq!(declared.read().unwrap(), Value::bulk("text"));
    });
}
