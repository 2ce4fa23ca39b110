//! Running functions: what a library keeps between calls, what is read-only, and which calls are refused.

use super::{expect, function, library, load};
use crate::support::{FakeReplica, Setup, Value, each_server, each_server_with};

#[test]
fn a_function_replicates_its_effects_and_nothing_else() {
    each_server(|server| {
        load(
            server,
            "lib",
            &[
                function("one", "return redis.call('SET', keys[1], args[1])"),
                function("two", "redis.call('SET', keys[1], 1) return redis.call('INCR', keys[1])"),
                function("read", "return redis.call('GET', keys[1])"),
                function("fails", "redis.call('SET', keys[1], 1) error('x')"),
            ]
            .join("\n"),
        );
        let mut replica = FakeReplica::attach(server);
        server.run("ATOMIC.FCALL one 1 k v");
        replica.expect_stream(&["SET k v"]);
        server.run("ATOMIC.FCALL two 1 k");
        replica.expect_stream(&["MULTI", "SET k 1", "INCR k", "EXEC"]);
        server.run("ATOMIC.FCALL read 1 k");
        server.run("ATOMIC.FCALL_RO read 1 k");
        server.run("ATOMIC.FCALL_RO one 1 k v");
        server.run("ATOMIC.FCALL nosuch 1 k");
        replica.expect_stream(&[]);
        server.run("ATOMIC.FCALL fails 1 k");
        replica.expect_stream(&["SET k 1"]);
        let mut connection = server.connect();
        for command in ["MULTI", "ATOMIC.FCALL one 1 k w", "INCR n", "EXEC"] {
            connection.run(command);
        }
        replica.expect_stream(&["MULTI", "SET k w", "INCR n", "EXEC"]);
    });
}

#[test]
fn a_library_keeps_its_state_between_calls_and_no_other_library_sees_it() {
    each_server(|server| {
        load(
            server,
            "a",
            "local n, kept = 0, {} redis.register_function('count', function() n = n + 1 kept[n] = n return #kept end)",
        );
        load(server, "b", &function("peek", "return {pcall(function() return n end)}"));
        let mut connection = server.connect();
        for expected in 1..=3 {
            expect(&mut connection, "ATOMIC.FCALL count 0", &Value::Integer(expected));
        }
        assert!(connection.run("ATOMIC.FCALL peek 0").array()[1].text().contains("nonexistent global variable 'n'"));
        // A new VM starts with fresh state.
        connection.run("ATOMIC.SCRIPT FLUSH");
        expect(&mut connection, "ATOMIC.FCALL count 0", &Value::Integer(1));
    });
}

#[test]
fn functions_and_scripts_do_not_see_each_others_arguments() {
    each_server_with(&Setup::with_module().deprecated_api(), |server| {
        let look = "return {tostring(rawget(_G, 'KEYS')), tostring(rawget(getfenv(0), 'KEYS')), \
                    tostring(select(2, pcall(loadstring('return KEYS')))), \
                    tostring(select(2, pcall(coroutine.wrap(function() return ARGV end))))}";
        load(server, "lib", &function("look", look));
        server.run("ATOMIC.EVAL 'return KEYS[1]' 1 secret arg");
        let seen = server.run("ATOMIC.FCALL look 1 k").array().iter().map(Value::text).collect::<Vec<_>>();
        assert_eq!(seen[..2], ["nil", "nil"], "{seen:?}");
        assert!(seen[2..].iter().all(|text| text.contains("nonexistent global variable")), "{seen:?}");
        assert_eq!(server.run("ATOMIC.EVAL 'return {KEYS[1], ARGV[1]}' 1 k a").array(), ["k", "a"].map(Value::bulk));
        let error = server.run("ATOMIC.EVAL 'return redis.register_function' 0");
        assert_eq!(error, Value::Null, "what is there while a library is loaded");
    });
}

#[test]
fn a_function_cannot_change_its_globals_for_the_next_call() {
    each_server_with(&Setup::with_module().deprecated_api(), |server| {
        load(
            server,
            "lib",
            "local function helper() return redis.call('PING') end
             redis.register_function('good', function() return helper() end)
             redis.register_function('evil', function() setfenv(helper, {redis = {call = function() return 'forged' end}}) return helper() end)
             redis.register_function('thread', function() setfenv(0, {}) return 1 end)
             redis.register_function('table', function() redis.call = nil end)",
        );
        let mut connection = server.connect();
        for attack in ["evil", "thread", "table"] {
            connection.run(&format!("ATOMIC.FCALL {attack} 0"));
            expect(&mut connection, "ATOMIC.FCALL good 0", &Value::Status("PONG".to_owned()));
            expect(&mut connection, "ATOMIC.EVAL 'return redis.call(\"PING\")' 0", &Value::Status("PONG".to_owned()));
        }
    });
}

#[test]
fn a_script_that_changes_its_globals_does_not_reset_a_library() {
    each_server_with(&Setup::with_module().deprecated_api(), |server| {
        load(server, "lib", "local n = 0 redis.register_function('count', function() n = n + 1 return n end)");
        let mut connection = server.connect();
        expect(&mut connection, "ATOMIC.FCALL count 0", &Value::Integer(1));
        connection.run("ATOMIC.EVAL 'setfenv(1, {}) return 1' 0");
        assert!(matches!(connection.run("ATOMIC.FCALL_RO count 0"), Value::Error(_)));
        expect(&mut connection, "ATOMIC.FCALL count 0", &Value::Integer(2));
    });
}

#[test]
fn a_function_that_hits_a_limit_ends_and_its_library_still_works() {
    let setup = Setup::with_module().module_args(&["script-memory-limit", "8mb"]);
    each_server_with(&setup, |server| {
        load(
            server,
            "lib",
            &[
                function("memory", "local t = {} while true do t[#t + 1] = ('x'):rep(100) .. #t end"),
                function("forever", "while true do end"),
                function("deep", "local function f() return f() + 1 end return f()"),
                function("good", "redis.call('SET', keys[1], 1) return 'good'"),
            ]
            .join("\n"),
        );
        for (name, limit) in [("memory", "memory limit"), ("forever", "time limit"), ("deep", "stack overflow")] {
            for _ in 0..3 {
                // Only where the limit must end it: on a busy machine anything may take long.
                let timeout = if name == "forever" { 300 } else { 0 };
                server.run(&format!("CONFIG SET atomic.script-timeout-ms {timeout}"));
                let error = server.run(&format!("ATOMIC.FCALL {name} 0"));
                server.run("CONFIG SET atomic.script-timeout-ms 0");
                assert!(error.error().contains(limit), "{error:?}");
                assert!(
                    limit == "stack overflow" || error.error().contains(&format!("script: {name}, on @user_function:")),
                    "{error:?}"
                );
                assert_eq!(server.run("ATOMIC.FCALL good 1 k"), Value::bulk("good"), "after {name}");
            }
        }
    });
}

#[test]
fn flags_limit_a_function() {
    each_server(|server| {
        load(
            server,
            "lib",
            "redis.register_function{function_name='reader', callback=function(k) return redis.call('GET', k[1]) end, flags={'no-writes'}}
             redis.register_function{function_name='any', callback=function(k) return redis.call('GET', k[1]) end}
             redis.register_function{function_name='oom', callback=function(k) return redis.call('SET', k[1], 1) end, flags={'allow-oom'}}",
        );
        server.run("CONFIG SET maxmemory 1");
        assert_eq!(server.run("ATOMIC.FCALL reader 1 k"), Value::Null);
        assert_eq!(server.run("ATOMIC.FCALL oom 1 k"), Value::ok());
        assert!(server.run("ATOMIC.FCALL any 1 k").error().starts_with("OOM "), "it may write");
        server.run("CONFIG SET maxmemory 0");
        server.run("REPLICAOF 127.0.0.1 1");
        assert_eq!(server.run("ATOMIC.FCALL reader 1 k"), Value::bulk("1"));
        assert_eq!(server.run("ATOMIC.FCALL_RO reader 1 k"), Value::bulk("1"));
        assert!(server.run("ATOMIC.FCALL any 1 k").error().starts_with("READONLY "));
        assert!(
            server.call(&["ATOMIC.FUNCTION", "LOAD", &library("x", &function("x", "return 1"))]).error().starts_with("READONLY ")
        );
        assert!(server.run("ATOMIC.FUNCTION DELETE lib").error().starts_with("READONLY "));
        assert!(server.run("ATOMIC.FUNCTION FLUSH").error().starts_with("READONLY "));
    });
}

#[test]
fn each_call_runs_as_the_calling_user() {
    each_server(|server| {
        load(server, "lib", &function("set", "return redis.call('SET', args[1], 1)"));
        server.run("ACL SETUSER guest on nopass +atomic.fcall +ping ~mine");
        let mut guest = server.connect();
        guest.run("AUTH guest x");
        assert!(crate::script::is_denied(&guest.run("ATOMIC.FCALL set 1 mine other")));
        assert!(guest.run("ATOMIC.FCALL set 1 other mine").error().starts_with("NOPERM "));
        assert!(guest.run("ATOMIC.FUNCTION LIST").error().starts_with("NOPERM "));

        server.run("ACL SETUSER guest +set ~other");
        assert_eq!(guest.run("ATOMIC.FCALL set 1 mine other"), Value::ok());
    });
}

#[test]
fn scripts_cannot_call_functions() {
    each_server(|server| {
        load(server, "lib", &function("f", "return redis.pcall('ATOMIC.FCALL', 'f', 0)"));
        let refusal = "ERR This Redis command is not allowed from script";
        let refusal_of = |reply: &Value| crate::script::in_words_of_redis(reply.error());
        assert_eq!(refusal_of(&server.run("ATOMIC.FCALL f 0")), refusal);
        for command in
            ["'ATOMIC.FCALL', 'f', 0", "'ATOMIC.FCALL_RO', 'f', 0", "'ATOMIC.FUNCTION', 'LIST'", "'ATOMIC.FUNCTION', 'FLUSH'"]
        {
            assert_eq!(
                refusal_of(&server.call(&["ATOMIC.EVAL", &format!("return redis.pcall({command})"), "0"])),
                refusal,
                "{command}"
            );
        }
    });
}
