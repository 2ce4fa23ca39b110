//! Everything that an application could notice of drop-in mode, beside the replies of the same server without it.

use std::collections::HashSet;

use super::{call, intercepting, library, sha1, tells_clients, user};
use crate::support::{Connection, FakeReplica, Server, Setup, Value, each_server, each_server_with, eventually};

/// The replies of EVAL and ATOMIC.EVAL, without the position in an error. Valkey 9.1 leaves out the script there.
fn both(connection: &mut Connection, script: &str, rest: &str) -> [Value; 2] {
    let bare = |reply: Value| match reply {
        Value::Error(text) => Value::Error(text.rfind(" script: ").map_or(text.clone(), |at| text[..at].to_owned())),
        other => other,
    };
    ["EVAL", "ATOMIC.EVAL"].map(|command| bare(connection.call(&call(command, script, rest))))
}

/// Refusals of a script's call that the server does not report itself when it runs a command for a module.
const REFUSED: &[&str] = &[
    "redis.call()",
    "redis.call({})",
    "redis.call('nosuch', 'x')",
    "redis.call('get')",
    "redis.call('get', 'a', 'b')",
    "redis.call('multi')",
    "redis.call('eval', 'return 1', 0)",
    "redis.log()",
    "redis.log('x', 'y')",
    "redis.log(9, 'y')",
    "redis.set_repl()",
    "redis.set_repl(99)",
    "redis.setresp()",
    "redis.setresp(9)",
    "redis.acl_check_cmd()",
    "redis.acl_check_cmd({})",
    "redis.acl_check_cmd('nosuch')",
    "redis.acl_check_cmd('get')",
    "redis.sha1hex()",
    "redis.error_reply()",
    "redis.status_reply({})",
];

#[test]
fn refusals_in_a_script_have_this_servers_errors() {
    each_server(|server| {
        let mut connection = server.connect();
        for name in ["no", "yes"] {
            // Valkey calls itself Redis if configured to. The module asks again after each change.
            server.run(&format!("CONFIG SET extended-redis-compatibility {name}"));
            for script in REFUSED {
                for script in [format!("return {script}"), format!("return {}", script.replace("redis.call", "redis.pcall"))] {
                    let [theirs, ours] = both(&mut connection, &script, "0");
                    assert_eq!(ours, theirs, "{script}");
                }
            }
        }
        let [theirs, ours] = both(&mut connection, "#!lua flags=no-writes\nreturn redis.call('set', KEYS[1], 1)", "1 k");
        assert_eq!(ours, theirs);
    });
}

/// The module asks the server through a script without a user.
#[test]
fn the_servers_errors_are_read_for_any_user_and_without_a_trace() {
    each_server_with(&Setup::with_module().config("rename-command EVAL \"\""), |server| {
        let reply = server.call(&call("ATOMIC.EVAL", "return redis.call('nosuch')", "0"));
        assert!(reply.error().starts_with("ERR Unknown Redis command called from script"), "{reply}");
    });
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        server.run("ACL LOG RESET");
        let mut guest = user(server, "guest", "+atomic.eval ~*");
        // Only some servers refuse to check the permission of a command with too few words.
        for script in REFUSED.iter().filter(|script| **script != "redis.acl_check_cmd('get')") {
            let reply = guest.call(&call("ATOMIC.EVAL", &format!("return {script}"), "0"));
            assert!(reply.error().starts_with("ERR "), "{script}: {reply}");
        }
        guest.run("MULTI");
        guest.call(&call("ATOMIC.EVAL", "return redis.call('nosuch')", "0"));
        assert!(guest.run("EXEC").array()[0].error().contains("nknown"));
        assert_eq!(server.run("ACL LOG"), Value::Array(vec![]), "and no right of the caller's is used");
        replica.expect_stream(&[]);
    });
}

#[test]
fn a_call_that_the_acl_forbids_gets_the_same_error_as_without_the_module() {
    const CALLS: [&str; 6] = [
        "'set', 'x1', 'v'",
        "'get', 'y'",
        "'mget', 'x1', 'y2'",
        "'publish', 'd', 'm'",
        "'object', 'encoding', 'x1'",
        "'sort', 'x1', 'by', 'nosort', 'get', 'z*'",
    ];
    each_server(|server| {
        let rules = "+@all -set -object ~x* &c*";
        let mut guest = user(server, "guest", rules);
        for line in CALLS {
            for function in ["call", "pcall"] {
                let [theirs, ours] = both(&mut guest, &format!("return redis.{function}({line})"), "0");
                assert_eq!(ours, theirs, "{line}");
                assert!(ours.error().starts_with("ERR "), "{ours}");
            }
        }
        // The module API logs it like this; the page says so.
        server.run("ACL LOG RESET");
        guest.call(&call("ATOMIC.EVAL", "return redis.call('set', 'x1', 'v')", "0"));
        let log = server.run("ACL LOG");
        assert_eq!(log.array().len(), 1, "{log}");
        assert_eq!(log.array()[0].field("context").unwrap().text(), "module");
        assert_eq!(log.array()[0].field("object").unwrap().text(), "set");
        // The same through `atomic.*`, which is checked without running a command.
        let reply = guest.call(&call("ATOMIC.EVAL", "return atomic.incrby('y', 1)", "0"));
        let [theirs, _] = both(&mut guest, "return redis.call('get', 'y')", "0");
        assert!(reply.error().starts_with(theirs.error()), "{reply}");
    });
}

/// Returns the replies of other clients while this runs: BUSY, FUNCTION STATS and the wrong KILL. Then ends it.
fn told_during(server: &Server, words: &[Vec<u8>], kills: [&str; 2]) -> Vec<String> {
    let mut runner = server.connect();
    runner.send(words).unwrap();
    let busy = eventually("others are refused", || match server.run("PING") {
        Value::Error(text) => Some(text),
        _ => None,
    });
    let stats = server.run("FUNCTION STATS");
    let stats = if let Value::Error(text) = &stats { text.clone() } else { "statistics".to_owned() };
    let wrong = server.run(kills[0]).error().to_owned();
    assert_eq!(server.run(kills[1]), Value::ok());
    assert!(runner.read().unwrap().error().starts_with("ERR Script killed by user with "));
    vec![busy, stats, wrong]
}

#[test]
fn while_a_script_runs_other_clients_get_the_same_replies() {
    const ENDLESS: &str = "while true do end";
    each_server_with(&Setup::with_module().config("busy-reply-threshold 50"), |server| {
        assert_eq!(server.call(&["FUNCTION", "LOAD", &library("lib", "f", ENDLESS)]), Value::bulk("lib"));
        let rows = [
            (call("EVAL", ENDLESS, "0"), ["FUNCTION KILL", "SCRIPT KILL"]),
            (call("FCALL", "f", "0"), ["SCRIPT KILL", "FUNCTION KILL"]),
        ];
        for compatible in ["no", "yes"] {
            server.run(&format!("CONFIG SET extended-redis-compatibility {compatible}"));
            let told = |intercept: &str| {
                assert_eq!(server.run(&format!("CONFIG SET atomic.intercept {intercept}")), Value::ok());
                rows.each_ref().map(|(words, kills)| told_during(server, words, *kills))
            };
            let (theirs, ours) = (told("no"), told("yes"));
            assert_eq!(ours, theirs);
            let all: HashSet<_> = ours.iter().flatten().collect();
            assert!(all.len() > 2, "{all:?}");
        }
    });
}

/// 7.0 tracks the keys that a client's own command declares, and none of a script that a module runs; the page says so.
#[test]
fn client_side_caching_tracks_the_reads_of_scripts() {
    const READ: &str = "return redis.call('get', KEYS[1])";
    each_server_with(&intercepting(), |server| {
        assert_eq!(
            server.call(&[
                "FUNCTION",
                "LOAD",
                "#!lua name=lib\nredis.register_function{function_name='f', \
                callback=function(keys) return redis.call('get', keys[1]) end, flags={'no-writes'}}"
            ]),
            Value::bulk("lib")
        );
        let digest = server.call(&["SCRIPT", "LOAD", READ]).text();
        let mut calls = vec![call("EVAL_RO", READ, "1 k"), call("EVALSHA_RO", &digest, "1 k"), call("FCALL_RO", "f", "1 k")];
        if tells_clients(&server.binary) {
            calls.extend([call("EVAL", READ, "1 k"), call("EVALSHA", &digest, "1 k"), call("FCALL", "f", "1 k")]);
        }
        for (number, words) in calls.iter().enumerate() {
            let mut reader = server.connect().resp3();
            assert_eq!(reader.run("CLIENT TRACKING ON"), Value::ok());
            server.run(&format!("SET k {number}"));
            assert_eq!(reader.call(words), Value::bulk(number.to_string()));
            server.run("SET k changed");
            let told = reader.read().unwrap();
            let is_invalidation = matches!(&told, Value::Push(items) if items[0] == Value::bulk("invalidate"));
            assert!(is_invalidation, "{}: {told:?}", String::from_utf8_lossy(&words[0]));
        }
    });
}

fn is_stored(server: &Server, digest: &str) -> bool {
    !server.run(&format!("FUNCTION LIST LIBRARYNAME atomic_{digest}")).array().is_empty()
}

#[test]
fn a_script_is_loaded_while_writes_are_paused_and_stored_afterwards() {
    each_server_with(&intercepting(), |server| {
        let mut replica = FakeReplica::attach(server);
        let script = |number: usize| format!("#!lua flags=no-writes\nreturn {number}");
        assert_eq!(server.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
        let mut client = server.connect();
        for (number, words) in [&["SCRIPT", "LOAD"][..], &["ATOMIC.SCRIPT", "LOAD"]].iter().enumerate() {
            let digest = client.call(&[words[0], words[1], &script(number)]).text();
            assert_eq!(digest, sha1(&script(number)));
            assert_eq!(client.run(&format!("SCRIPT EXISTS {digest}")), Value::integers(&[1]));
            assert_eq!(client.run(&format!("EVALSHA_RO {digest} 0")), Value::Integer(i64::try_from(number).unwrap()));
            assert!(!is_stored(server, &digest), "it would have to be replicated");
        }
        client.run("MULTI");
        client.call(&["SCRIPT", "LOAD", &script(2)]);
        assert_eq!(client.run("EXEC"), Value::Array(vec![Value::bulk(sha1(&script(2)))]));
        assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        for number in 0..3 {
            eventually("it is stored", || is_stored(server, &sha1(&script(number))).then_some(()));
        }
        let stream = replica.stream();
        assert_eq!(stream.iter().filter(|line| line.starts_with("FUNCTION LOAD")).count(), 3, "the replica has them: {stream:?}");
    });
}

#[test]
fn scripts_loaded_in_a_long_pause_take_bounded_memory_and_a_flush_forgets_them() {
    each_server(|server| {
        assert_eq!(server.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
        let mut client = server.connect();
        for number in 0..600 {
            client.call(&["ATOMIC.SCRIPT", "LOAD", &format!("return {number}")]);
        }
        assert_eq!(server.info("atomic_scripts_store_refused"), "100");
        assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        eventually("what was not evicted is stored", || (server.info("atomic_scripts_stored") == "400").then_some(()));
        let last = sha1("return 599");
        assert_eq!(server.run(&format!("ATOMIC.EVALSHA {last} 0")), Value::Integer(599), "though it is not stored");

        assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        assert_eq!(server.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
        client.call(&["ATOMIC.SCRIPT", "LOAD", "return 'kept'"]);
        client.send(&["ATOMIC.SCRIPT", "FLUSH"]).unwrap();
        eventually("it is held", || (server.info("blocked_clients") == "1").then_some(()));
        assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        assert_eq!(client.read().unwrap(), Value::ok());
        client.call(&["ATOMIC.SCRIPT", "LOAD", "return 'after'"]);
        eventually("the later one is stored", || is_stored(server, &sha1("return 'after'")).then_some(()));
        let exists = server.run(&format!("ATOMIC.SCRIPT EXISTS {}", sha1("return 'kept'")));
        assert_eq!(exists, Value::integers(&[0]), "the flush came after it");
    });
}

#[test]
fn the_reply_of_a_script_is_not_truncated() {
    each_server(|server| {
        let mut connection = server.connect();
        for script in [
            "return {ok = ('x'):rep(100000)}",
            "return redis.status_reply(('x '):rep(50000) .. 'end')",
            "return {err = 'My ' .. ('x'):rep(100000)}",
            "return redis.error_reply(('x'):rep(100000))",
            "return {1, {ok = ('y'):rep(5000)}, {err = 'ERR ' .. ('z'):rep(5000)}}",
            "error(('x'):rep(100000))",
            "error({err = 'MY ' .. ('x'):rep(100000)})",
            "return {pcall(error, ('x'):rep(5000))}",
        ] {
            let [theirs, ours] = both(&mut connection, script, "0");
            if script.contains("err = 'My") {
                assert_eq!(ours.error(), format!("ERR {}", theirs.error()), "an error always has a code");
            } else {
                assert_eq!(ours, theirs, "{script}");
            }
        }
        // The limit of replies also holds for errors.
        assert_eq!(server.run("CONFIG SET atomic.script-reply-limit 20000"), Value::ok());
        for script in ["error(('x'):rep(30000))", "return {ok = ('x'):rep(30000)}", "return {err = ('x'):rep(30000)}"] {
            let reply = connection.call(&call("ATOMIC.EVAL", script, "0"));
            assert!(reply.error().starts_with("ERR script exceeded the reply limit of 20000 bytes"), "{script}: {reply}");
        }
    });
}

#[test]
fn a_long_log_message_of_a_script_is_not_truncated() {
    each_server(|server| {
        let script = "redis.log(redis.LOG_WARNING, ('0123456789'):rep(300), 'end')";
        assert_eq!(server.call(&call("ATOMIC.EVAL", script, "0")), Value::Null);
        let log = eventually("it is written", || Some(server.log()).filter(|log| log.contains("<atomic>  end")));
        let pieces = log.lines().filter_map(|line| Some(line.split_once("<atomic> ")?.1));
        let pieces: Vec<&str> = pieces.filter(|text| text.starts_with("0123456789") || *text == " end").collect();
        assert_eq!(pieces.concat(), format!("{} end", "0123456789".repeat(300)), "in as many lines as it takes");
    });
}

/// Names that the server hides from scripts by default, and shows if the operator configures it.
const HIDDEN: [&str; 3] = ["getfenv", "newproxy", "setfenv"];

fn seen(server: &Server, command: &str, prefix: &str) -> Vec<String> {
    HIDDEN
        .iter()
        .filter(|name| {
            let body = format!("return tostring(rawget(_G, '{name}') ~= nil)");
            let words =
                if prefix.is_empty() { call(command, &body, "0") } else { call(command, &format!("{prefix}{name}"), "0") };
            server.call(&words) == Value::bulk("true")
        })
        .map(|name| (*name).to_owned())
        .collect()
}

#[test]
fn names_that_the_operator_hides_from_scripts_are_hidden_here() {
    let library: String = HIDDEN
        .iter()
        .map(|name| {
            format!("redis.register_function('see_{name}', function() return tostring(rawget(_G, '{name}') ~= nil) end)\n")
        })
        .collect();
    let library = format!("#!lua name=lib\n{library}");
    for setting in ["", "lua-enable-deprecated-api", "lua-enable-insecure-api"] {
        crate::support::each_installed(|binary| {
            let mut setup = Setup::with_module().config("enable-protected-configs yes");
            if !setting.is_empty() {
                setup = setup.config(&format!("{setting} yes"));
            }
            let Ok(server) = Server::try_start(binary, &setup) else { return assert!(!setting.is_empty()) };
            let theirs = seen(&server, "EVAL", "");
            assert_eq!(seen(&server, "ATOMIC.EVAL", ""), theirs);
            assert_eq!(server.call(&["ATOMIC.FUNCTION", "LOAD", &library]), Value::bulk("lib"));
            assert_eq!(seen(&server, "ATOMIC.FCALL", "see_"), theirs);
            assert_eq!(seen(&server, "FCALL", "see_"), theirs);
            // Valkey lets an operator change it at run time; 8.1 itself does not always hide the names again.
            let now = if setting.is_empty() { "yes" } else { "no" };
            if server.run(&format!("CONFIG SET lua-enable-insecure-api {now}")) == Value::ok() {
                let expected: &[&str] = if now == "no" { &[] } else { &HIDDEN };
                assert_eq!(seen(&server, "ATOMIC.EVAL", ""), expected);
                assert_eq!(seen(&server, "ATOMIC.FCALL", "see_"), expected);
            }
        });
    }
}

#[test]
fn the_memory_of_scripts_is_bounded_by_maxmemory() {
    each_server_with(&intercepting(), |server| {
        let limit = || server.info("atomic_scripts_vm_memory_limit");
        let shown = || server.run("CONFIG GET atomic.script-memory-limit").array()[1].text();
        assert_eq!((shown().as_str(), limit().as_str()), ("auto", "536870912"), "without maxmemory");
        for (maxmemory, expected) in [("1gb", 512_u64 << 20), ("4gb", 1 << 30), ("20gb", 5 << 30), ("0", 512 << 20)] {
            assert_eq!(server.run(&format!("CONFIG SET maxmemory {maxmemory}")), Value::ok());
            assert_eq!(limit(), expected.to_string(), "maxmemory {maxmemory}");
        }
        for (value, text, bytes) in
            [("64mb", "67108864", "67108864"), ("AUTO", "auto", "536870912"), ("8388608", "8388608", "8388608")]
        {
            assert_eq!(server.run(&format!("CONFIG SET atomic.script-memory-limit {value}")), Value::ok());
            assert_eq!((shown().as_str(), limit().as_str()), (text, bytes));
        }
        for wrong in ["4194303", "0", "1099511627777", "automatic", "-1", "''"] {
            let refusal = server.run(&format!("CONFIG SET atomic.script-memory-limit {wrong}"));
            assert!(
                refusal.error().contains("must be auto or a number of bytes between 4194304 and 1099511627776"),
                "{wrong}: {refusal}"
            );
        }
        assert_eq!(shown(), "8388608");
        for (value, line) in [("auto", "auto"), ("16mb", "16777216")] {
            assert_eq!(server.run(&format!("CONFIG SET atomic.script-memory-limit {value}")), Value::ok());
            assert_eq!(server.run("CONFIG REWRITE"), Value::ok());
            server.shut_down("NOSAVE");
            server.start_again();
            assert_eq!(shown(), line, "after a restart");
        }
    });
    let setup = Setup::with_module().module_args(&["script-memory-limit", "auto"]).config("maxmemory 8gb");
    each_server_with(&setup, |server| assert_eq!(server.info("atomic_scripts_vm_memory_limit"), (2_u64 << 30).to_string()));
}

/// A script can process a large reply within the default limit: about 100 bytes for each key.
#[test]
fn a_script_may_read_all_keys() {
    each_server_with(&intercepting().module_args(&["script-memory-limit", "32mb"]), |server| {
        assert_eq!(server.run("DEBUG POPULATE 100000 key 1"), Value::ok());
        assert_eq!(server.call(&call("EVAL", "return #redis.call('KEYS', '*')", "0")), Value::Integer(100_000));
    });
}
