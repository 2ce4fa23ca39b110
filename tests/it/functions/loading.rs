//! What ATOMIC.FUNCTION LOAD runs: the code of a library while it is loaded: it may register functions and nothing else, for a bounded time and in bounded memory, and a
//! load that fails leaves everything as it was.

use std::time::Duration;

use super::{function, library, load, ours};
use crate::support::{FakeReplica, Server, Setup, Value, each_server, each_server_with};

#[track_caller]
fn refused(server: &Server, code: &str) -> String {
    match server.call(&["ATOMIC.FUNCTION", "LOAD", "REPLACE", &library("bad", code)]) {
        Value::Error(text) => text,
        other => panic!("{code}: {other:?}"),
    }
}

/// Ways to a command from code that is loaded.
const ATTEMPTS: &[&str] = &[
    "redis.call('SET', 'k', 'v')",
    "server.call('SET', 'k', 'v')",
    "atomic.set('k', 'v')",
    "getfenv(0).redis.call('SET', 'k', 'v')",
    "getfenv(1).redis.call('SET', 'k', 'v')",
    "_G.redis.call('SET', 'k', 'v')",
    "loadstring([[return redis.call('SET', 'k', 'v')]])()",
    "coroutine.wrap(function() redis.call('SET', 'k', 'v') end)()",
    "setfenv(function() redis.call('SET', 'k', 'v') end, getfenv(0))()",
    "rawget(_G, 'redis').call('SET', 'k', 'v')",
    "for _, t in pairs(_G) do if type(t) == 'table' and rawget(t, 'call') then t.call('SET', 'k', 'v') end end error('none')",
];

#[test]
fn code_that_is_loaded_reaches_no_command() {
    each_server_with(&Setup::with_module().deprecated_api(), |server| {
        let mut replica = FakeReplica::attach(server);
        for attempt in ATTEMPTS {
            let error = refused(server, &format!("{attempt}\n{}", function("f", "return 1")));
            assert!(error.starts_with("ERR Error registering functions: "), "{attempt}: {error}");
            assert_eq!(server.run("EXISTS k"), Value::Integer(0), "{attempt}");
        }
        replica.expect_stream(&[]);
        assert_eq!(ours(server), "0");
        assert_eq!(server.run("ATOMIC.EVAL 'return redis.call(\"PING\")' 0"), Value::Status("PONG".to_owned()));
    });
}

#[test]
fn a_failed_load_keeps_the_library_that_was_there() {
    each_server_with(&Setup::with_module().deprecated_api(), |server| {
        load(server, "kept", &function("f", "return 'old'"));
        let mut replica = FakeReplica::attach(server);
        let long = format!("while true do end {}", function("f", "return 'new'"));
        let codes = [
            format!("{} error('x')", function("f", "return 'new'")),
            format!("{} (", function("f", "return 'new'")),
            "return 1".to_owned(),
            long,
            // Only the server refuses this one: at load it has no `math`.
            format!("local floor = math.floor {}", function("f", "return 'new'")),
        ];
        for code in &codes {
            let reply = server.call(&["ATOMIC.FUNCTION", "LOAD", "REPLACE", &library("kept", code)]);
            assert!(matches!(reply, Value::Error(_)), "{code}: {reply:?}");
            assert_eq!(server.run("ATOMIC.FCALL f 0"), Value::bulk("old"), "{code}");
            assert_eq!(server.run("FCALL f 0"), Value::bulk("old"), "{code}");
        }
        replica.expect_stream(&[]);
    });
}

/// The server's own engine takes such a library, and aborts when it is replaced.
#[test]
fn names_that_differ_by_case_only_are_one_name() {
    each_server(|server| {
        let error = refused(server, &[function("twice", "return 1"), function("TWICE", "return 2")].join("\n"));
        assert_eq!(error, "ERR Error registering functions: ERR Function already exists in the library");
    });
}

#[test]
fn code_that_is_loaded_writes_to_the_log_where_the_server_survives_it() {
    each_server(|server| {
        let code = format!("redis.log(redis.LOG_WARNING, 'from the library') {}", function("f", "return 1"));
        // Valkey 9.1 crashes on it when it loads the same code.
        if server.binary.is_valkey_from(9, 1) {
            let error = refused(server, &code);
            assert_eq!(
                error,
                "ERR Error registering functions: ERR redis.log() cannot be called while this server loads a library"
            );
        } else {
            load(server, "bad", &code);
            assert!(server.log().lines().filter(|line| line.contains("from the library")).count() >= 2, "{}", server.log());
        }
    });
}

#[test]
fn loading_ends_after_half_a_second_whatever_the_code_does() {
    each_server(|server| {
        let loops = [
            "while true do end",
            "while true do pcall(function() while true do end end) end",
            "coroutine.wrap(function() while true do end end)()",
            "string.find(('a'):rep(3000), ('.-'):rep(8) .. 'b')",
            "redis.register_function('f', function() end) while true do tostring({}) end",
        ];
        for code in loops {
            let cpu = server.cpu_time();
            let error = refused(server, code);
            assert_eq!(error, "ERR Error registering functions: ERR FUNCTION LOAD timeout", "{code}");
            let computed = server.cpu_time() - cpu;
            assert!(computed < Duration::from_secs(5), "{code} computed for {computed:?}");
        }
        assert_eq!(server.run("PING"), Value::Status("PONG".to_owned()));
        load(server, "good", &function("f", "return 1"));
        assert_eq!(server.run("ATOMIC.FCALL f 0"), Value::Integer(1));
    });
}

/// The error of code that takes no time. On a busy machine the half second may be over all the same.
#[track_caller]
fn refused_in_time(server: &Server, code: &str) -> String {
    let mut attempts = (0..50).map(|_| refused(server, code));
    attempts.find(|error| !error.contains("FUNCTION LOAD timeout")).expect("loading always takes too long")
}

#[test]
fn loading_is_bounded_in_memory_and_in_the_number_of_functions() {
    let setup = Setup::with_module().module_args(&["script-memory-limit", "8mb"]);
    each_server_with(&setup, |server| {
        load(server, "good", &function("f", "return 1"));
        let error = refused_in_time(server, "local s, t = ('x'):rep(1e6), {} while true do t[#t + 1] = s .. #t end");
        assert!(error.contains("memory limit of 8388608 bytes"), "{error}");
        let error = refused_in_time(server, "for i = 1, 1e5 do redis.register_function('f' .. i, function() end) end");
        assert_eq!(error, "ERR Error registering functions: ERR too many functions in a library");
        assert_eq!(server.run("ATOMIC.FCALL f 0"), Value::Integer(1));
        assert_eq!(ours(server), "1");
    });
}

#[test]
fn failed_loads_leave_no_memory_behind() {
    each_server(|server| {
        let used = || server.info("atomic_scripts_vm_memory").parse::<u64>().unwrap();
        let fail = |times: usize| {
            for _ in 0..times {
                refused(server, &format!("{} error('x')", function("f", "return [[a function that is dropped]]")));
                refused(server, "redis.register_function('g', function() end) redis.register_function('g', function() end)");
                refused(server, "redis.register_function{function_name='h', callback=function() end, unknown=1}");
            }
        };
        fail(50);
        let before = used();
        fail(400);
        assert!(used() < before + 300_000, "{before} -> {}", used());
    });
}
