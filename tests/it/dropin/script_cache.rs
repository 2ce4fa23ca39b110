//! Two script caches, ours and the server's: SCRIPT keeps them in step, and scripts that only the server knows still run.

use super::{WHO, call, intercepting, natives, ours, sha1, tells_clients, user};
use crate::support::{FakeReplica, Server, Setup, Value, each_server, each_server_with};

#[track_caller]
fn switch_on(server: &Server) {
    assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok());
}

#[test]
fn a_script_loaded_into_the_server_before_runs_in_its_engine() {
    each_server(|server| {
        let digest = server.call(&["SCRIPT", "LOAD", WHO]).text();
        switch_on(server);
        for command in ["EVALSHA", "EVALSHA_RO"] {
            assert_eq!(server.call(&call(command, &digest, "0")), natives(), "{command}");
        }
        assert_eq!(server.call(&["SCRIPT", "EXISTS", &digest, "x", &sha1("none")]), Value::integers(&[1, 0, 0]));
        assert_eq!(server.call(&call("EVAL", WHO, "0")), ours());
        assert_eq!(server.call(&call("EVALSHA", &digest, "0")), ours(), "now both know it, and ours is asked first");
        assert!(server.call(&call("ATOMIC.EVALSHA", &sha1("none"), "0")).error().contains("ATOMIC.EVAL"), "only in drop-in mode");
    });
}

/// Relayed replies of the server's engine are unchanged in both protocols.
#[test]
fn relayed_replies_arrive_unchanged() {
    const SCRIPTS: &[&str] = &[
        "return 1",
        "return 'bulk'",
        "return {ok = 'fine'}",
        "return {err = 'MYERR text'}",
        "error('raised')",
        "return {1, 'a', {2, {}}, false, 3}",
        "return nil",
        "return true",
        "redis.setresp(3) return {map = {a = 1}}",
        "redis.setresp(3) return {double = 1.5}",
        "redis.setresp(3) return {set = {x = true}}",
        "redis.setresp(3) return redis.call('HGETALL', 'h')",
        "return redis.call('GET', KEYS[1])",
        "return redis.call('SET', KEYS[1], ARGV[1])",
        "return redis.call('LPUSH', 's', 'x')",
        "return redis.call('nosuchcommand')",
        "return {KEYS, ARGV}",
    ];
    each_server(|server| {
        server.run("HSET h f v");
        let digests: Vec<String> = SCRIPTS.iter().map(|script| server.call(&["SCRIPT", "LOAD", script]).text()).collect();
        let answers = || {
            [server.connect(), server.connect().resp3()].map(|mut connection| {
                let all = digests.iter().map(|digest| {
                    connection.run("SET s text");
                    connection.call(&call("EVALSHA", digest, "1 s new"))
                });
                all.collect::<Vec<_>>()
            })
        };
        let before = answers();
        switch_on(server);
        let after = answers();
        for ((script, before), after) in SCRIPTS.iter().cycle().zip(before.iter().flatten()).zip(after.iter().flatten()) {
            assert_eq!(before, after, "{script}");
        }
    });
}

#[test]
fn relayed_scripts_write_and_replicate_as_the_client() {
    each_server(|server| {
        let script = "return redis.call('SET', KEYS[1], ARGV[1])";
        let digest = server.call(&["SCRIPT", "LOAD", script]).text();
        switch_on(server);
        let mut replica = FakeReplica::attach(server);
        assert_eq!(server.call(&call("EVALSHA", &digest, "1 k v")), Value::ok());
        replica.expect_stream(&["SET k v"]);
        let mut guest = user(server, "guest", "+evalsha +atomic.evalsha ~k");
        let reply = guest.call(&call("EVALSHA", &digest, "1 k w"));
        assert!(matches!(&reply, Value::Error(_)), "{reply}");
        assert_eq!(server.run("GET k"), Value::bulk("v"), "the script runs with the rights of its caller");
        guest.run("MULTI");
        guest.call(&call("EVALSHA", &digest, "1 k w"));
        assert!(matches!(guest.run("EXEC").array()[0], Value::Error(_)));
        server.run("MULTI");
        server.call(&call("EVALSHA", &digest, "1 k w"));
        assert_eq!(server.run("EXEC"), Value::Array(vec![Value::ok()]));
        replica.expect_stream(&["SET k w"]);
    });
}

#[test]
fn an_unknown_script_gets_the_servers_error() {
    each_server_with(&intercepting(), |server| {
        let reply = server.call(&call("EVALSHA", &sha1("none"), "0"));
        assert_eq!(server.run("CONFIG SET atomic.intercept no"), Value::ok());
        assert_eq!(reply, server.call(&call("EVALSHA", &sha1("none"), "0")));
        assert!(reply.error().starts_with("NOSCRIPT No matching script."), "{reply}");
    });
}

#[test]
fn script_load_loads_into_both_engines() {
    each_server_with(&intercepting(), |server| {
        let digest = server.call(&["SCRIPT", "LOAD", WHO]).text();
        assert_eq!(digest, sha1(WHO));
        assert_eq!(server.call(&call("EVALSHA", &digest, "0")), ours());
        if tells_clients(&server.binary) {
            assert_eq!(user(server, "guest", "+evalsha").call(&call("EVALSHA", &digest, "0")), natives());
        }
        assert_eq!(server.run("CONFIG SET atomic.intercept no"), Value::ok());
        assert_eq!(server.call(&call("EVALSHA", &digest, "0")), natives(), "it can be switched off without NOSCRIPT");
        assert_eq!(server.call(&["ATOMIC.SCRIPT", "EXISTS", &digest]), Value::integers(&[1]));
        let wrong = server.call(&["SCRIPT", "LOAD", "nonsense("]);
        switch_on(server);
        let refused = server.call(&["SCRIPT", "LOAD", "nonsense("]);
        assert!(
            wrong.error().starts_with("ERR Error compiling script") && refused.error().starts_with("ERR Error compiling script")
        );
    });
}

#[test]
fn flush_empties_both() {
    each_server(|server| {
        let theirs = server.call(&["SCRIPT", "LOAD", "return 'theirs'"]).text();
        let ours = server.call(&["ATOMIC.SCRIPT", "LOAD", "return 'ours'"]).text();
        switch_on(server);
        for (mode, both) in [("", [0, 0]), ("ASYNC", [0, 0]), ("SYNC", [0, 0])] {
            server.call(&["SCRIPT", "LOAD", "return 'theirs'"]);
            server.call(&["SCRIPT", "LOAD", "return 'ours'"]);
            assert_eq!(server.call(&["SCRIPT", "EXISTS", &theirs, &ours]), Value::integers(&[1, 1]), "{mode}");
            assert!(server.run("SCRIPT FLUSH nonsense").error().starts_with("ERR SCRIPT FLUSH only support"));
            assert_eq!(server.run(&format!("SCRIPT FLUSH {mode}")), Value::ok(), "{mode}");
            assert_eq!(server.call(&["SCRIPT", "EXISTS", &theirs, &ours]), Value::integers(&both), "{mode}");
        }
        assert_eq!(server.run("CONFIG SET atomic.intercept no"), Value::ok());
        assert_eq!(server.call(&["SCRIPT", "EXISTS", &theirs, &ours]), Value::integers(&[0, 0]));
    });
}

#[test]
fn other_subcommands_reply_as_before() {
    each_server(|server| {
        let commands = [
            "SCRIPT HELP",
            "SCRIPT",
            "SCRIPT nosuch",
            "SCRIPT LOAD",
            "SCRIPT LOAD a b",
            "SCRIPT EXISTS",
            "SCRIPT STATS",
            "EVAL",
            "EVAL x",
            "EVALSHA x",
            "SCRIPT KILL now",
            "SCRIPT FLUSH SYNC now",
            "SCRIPT LIST",
            "EVAL x -1",
            "EVAL x 1",
            "EVAL x nan",
        ];
        let before = commands.map(|command| server.run(command));
        switch_on(server);
        for (command, before) in commands.iter().zip(before) {
            assert_eq!(server.run(command), before, "{command}");
        }
    });
}

/// Valkey has it, Redis does not.
#[test]
fn script_show_exists_where_the_server_has_it() {
    each_server(|server| {
        let theirs = server.call(&["SCRIPT", "LOAD", "return 'theirs'"]).text();
        let unknown = server.call(&["SCRIPT", "SHOW", &sha1("none")]);
        switch_on(server);
        server.call(&call("EVAL", WHO, "0"));
        assert_eq!(server.call(&["SCRIPT", "SHOW", &sha1("none")]), unknown);
        if unknown.error().starts_with("NOSCRIPT ") {
            assert_eq!(server.call(&["SCRIPT", "SHOW", &theirs]), Value::bulk("return 'theirs'"));
            assert_eq!(server.call(&["SCRIPT", "SHOW", &sha1(WHO)]), Value::bulk(WHO));
        }
    });
}

#[test]
fn loaded_scripts_survive_a_restart_and_so_do_the_servers_functions() {
    let setup = intercepting().config("save 3600 1000000");
    each_server_with(&setup, |server| {
        let library = "#!lua name=mine\nredis.register_function('f', function() return type(string.dump) end)";
        assert_eq!(server.call(&["FUNCTION", "LOAD", library]), Value::bulk("mine"));
        let digest = server.call(&["SCRIPT", "LOAD", WHO]).text();
        assert_eq!(server.run("SAVE"), Value::ok());
        server.kill_9();
        server.start_again();
        assert_eq!(server.call(&call("EVALSHA", &digest, "0")), ours(), "no NOSCRIPT after a restart");
        assert!(!matches!(server.run("FCALL f 0"), Value::Error(_)));
        assert!(server.run("FUNCTION LIST LIBRARYNAME mine").to_string().contains("mine"));
    });
}

/// An RDB of a server that never had the module.
#[test]
fn an_rdb_file_with_the_servers_own_functions_loads() {
    crate::support::each_installed(|binary| {
        let before = Server::start(binary, &Setup::without_module());
        before.call(&[
            "FUNCTION",
            "LOAD",
            "#!lua name=mine\nredis.register_function('f', function() return 'from the file' end)",
        ]);
        before.run("SET k v");
        assert_eq!(before.run("SAVE"), Value::ok());
        let after = Server::start(binary, &intercepting());
        std::fs::copy(before.dir().join("dump.rdb"), after.dir().join("dump.rdb")).unwrap();
        assert_eq!(after.run("DEBUG RELOAD NOSAVE"), Value::ok());
        assert_eq!(after.run("GET k"), Value::bulk("v"));
        assert_eq!(after.run("FCALL f 0"), Value::bulk("from the file"));
        assert_eq!(after.call(&call("EVAL", WHO, "0")), ours());
    });
}

/// A script that this engine cannot compile.
#[test]
fn a_script_beyond_our_limits_runs_in_the_servers_engine() {
    each_server_with(&intercepting(), |server| {
        let (long, nul) = (format!("{WHO} --{}", "x".repeat(1 << 20)), format!("{WHO} --\0"));
        for script in [&long, &nul] {
            assert_eq!(server.call(&call("EVAL", script, "0")), natives());
            assert_eq!(server.call(&call("EVAL_RO", script, "0")), natives());
            let digest = server.call(&["SCRIPT", "LOAD", script]).text();
            assert_eq!(server.call(&call("EVALSHA", &digest, "0")), natives());
            assert!(matches!(server.call(&call("ATOMIC.EVAL", script, "0")), Value::Error(_)));
        }
    });
}
