//! What would not end is ended, in time, with an exact text; and nothing of it remains.

use std::time::{Duration, Instant};

use super::{eval, evalsha, expect_working, place, sha1};
use crate::support::{Connection, FakeReplica, Server, Setup, Value, each_installed, each_server, each_server_with, eventually};

const BUDGET_MS: u64 = 200;

/// Scripts that never end, on one line; each has made one write when its loop begins.
const ENDLESS: &[&str] = &[
    "while true do end",
    "local x = 0 while true do x = x + 1 end",
    "repeat until false",
    "for i = 1, math.huge do end",
    "while true do pcall(function() while true do end end) end",
    "local function f() while true do pcall(f) end end f()",
    "while true do pcall(error, 'x') end",
    "while true do xpcall(function() error('x') end, function(e) while true do end end) end",
    "local function f() return pcall(f) end while true do f() end",
    "coroutine.wrap(function() while true do end end)()",
    "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    "while true do coroutine.wrap(function() while true do coroutine.yield() end end)() end",
    "pcall(coroutine.wrap(function() pcall(function() while true do end end) end)) while true do end",
    "string.find(('a'):rep(3000), ('.-'):rep(8) .. 'b')",
    "string.find(('x'):rep(3000), 'x*x*x*x*x*y')",
    "string.match(('a'):rep(300000), '.-b')",
    "string.gsub(('a'):rep(3000), ('.-'):rep(8) .. 'b', '')",
    "for _ in string.gmatch(('a'):rep(3000), ('.-'):rep(8) .. 'b') do end",
    "string.gsub(('a'):rep(1e6), 'a', function() while true do end end)",
    "while true do pcall(string.find, ('a'):rep(3000), ('.-'):rep(8) .. 'b') end",
    "local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function() while true do end end)",
    "local t = {} for i = 1, 1e5 do t[i] = i % 7 end while true do table.sort(t, function(a, b) return a > b end) end",
    "while true do local s = ('x'):rep(1e6) .. ('y'):rep(1e6) end",
    "while true do table.concat({('x'):rep(1e5), ('y'):rep(1e5)}) end",
    "return setmetatable({}, {__index = function() while true do end end}).x",
    "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) while true do pcall(function() return t[1] end) end",
    "while true do redis.call('GET', 'none') end",
    "while true do redis.pcall('nosuchcommand') end",
    "while true do loadstring('return 1')() end",
    "while true do redis.sha1hex(('x'):rep(1e5)) end",
];

fn ended_by_time(limit: u64, writes: u64, script: &str, line: usize) -> String {
    format!("ERR script exceeded the time limit of {limit} ms ({writes} writes were applied){}", place(script, line))
}

/// The script ends no sooner than its limit, and soon enough: by the processor's time, since a busy machine takes longer by the clock.
#[track_caller]
fn ends_within(server: &Server, connection: &mut Connection, call: &[Vec<u8>], shortest: Duration, longest: Duration) -> Value {
    let (start, cpu) = (Instant::now(), server.cpu_time());
    let reply = connection.call(call);
    let (elapsed, computed) = (start.elapsed(), server.cpu_time() - cpu);
    assert!(elapsed >= shortest, "ended after {elapsed:?}: {reply}");
    assert!(computed <= longest, "computed for {computed:?}: {reply}");
    reply
}

/// Calls a script whose first act is a write, until that came before the timeout: on a busy machine the core may be gone before it.
#[track_caller]
fn writes_in_time(mut call: impl FnMut() -> Value) -> Value {
    let late = |reply: &Value| matches!(reply, Value::Error(text) if text.contains("(0 writes"));
    (0..50).map(|_| call()).find(|reply| !late(reply)).expect("it never writes in time")
}

#[test]
fn the_time_budget_ends_every_loop_and_says_what_was_written() {
    let budget = BUDGET_MS.to_string();
    each_server_with(&Setup::with_module().module_args(&["script-budget-ms", &budget]), |server| {
        let mut connection = server.connect();
        let (shortest, longest) = (Duration::from_millis(BUDGET_MS), Duration::from_millis(10 * BUDGET_MS));
        for endless in ENDLESS {
            let script = format!("redis.call('INCR', KEYS[1])\n{endless}");
            server.run("DEL n");
            let call = eval(&script, "1 n");
            let reply = writes_in_time(|| ends_within(server, &mut connection, &call, shortest, longest));
            let expected = ended_by_time(BUDGET_MS, 1, &script, 2);
            // It may end inside the chunk that the loop loads, and then names that one.
            let inside = expected.replace("on @user_script:2.", "on return 1:1.");
            let known = reply.error() == expected || endless.contains("loadstring") && reply.error() == inside;
            assert!(known, "{endless}: {reply}, not {expected}");
            assert!(server.run("GET n").text().parse::<i64>().unwrap() >= 1, "{endless}: what was written stays");
            expect_working(&mut connection, endless);
        }
    });
}

#[test]
fn the_text_of_the_budget_names_writes_and_place() {
    each_server_with(&Setup::with_module().module_args(&["script-budget-ms", "100"]), |server| {
        let mut replica = FakeReplica::attach(server);
        for (script, line, writes) in [
            ("while true do end", 1, 0),
            ("redis.call('SET', 'a', 1)\nwhile true do end", 2, 1),
            ("redis.call('SET', 'a', 1) redis.call('GET', 'a')\nredis.call('INCR', 'a')\n\nwhile true do end", 4, 2),
            ("redis.pcall('INCR', 'text') redis.call('GET', 'a') while true do end", 1, 0),
        ] {
            let reply = eventually("the writes come before the limit", || {
                server.run("DEL a");
                server.run("SET text x");
                replica.stream();
                let reply = server.call(&eval(script, "0"));
                reply.error().contains(&format!("({writes} writes")).then_some(reply)
            });
            assert_eq!(reply.error(), ended_by_time(100, writes, script, line));
            let stream = replica.stream();
            let written = stream.iter().filter(|line| line.starts_with("SET a") || line.starts_with("INCR a")).count();
            assert_eq!(u64::try_from(written).unwrap(), writes, "{script}: {stream:?}");
        }
    });
}

#[test]
fn the_time_budget_covers_the_making_of_the_reply() {
    let budget = BUDGET_MS.to_string();
    each_server_with(&Setup::with_module().module_args(&["script-budget-ms", &budget]), |server| {
        let mut connection = server.connect();
        for script in ["local t = {} for i = 1, 40 do t = {t, t} end return t", "local t = {} t[1] = t t[2] = t return t"] {
            let longest = Duration::from_millis(10 * BUDGET_MS);
            let reply = ends_within(server, &mut connection, &eval(script, "0"), Duration::ZERO, longest);
            assert!(reply.error().starts_with("ERR script exceeded the "), "{script}: {reply}");
            expect_working(&mut connection, script);
        }
    });
}

#[test]
fn the_timeout_ends_only_what_has_not_written() {
    each_server_with(&Setup::with_module().module_args(&["script-timeout-ms", "100"]), |server| {
        let mut connection = server.connect();
        for (script, limit, writes) in [
            ("while true do end", 100, 0),
            ("redis.call('GET', 'k') while true do end", 100, 0),
            ("redis.pcall('SET', 'k') while true do end", 100, 0),
            ("redis.call('SET', 'k', 1) while true do end", 400, 1),
            ("pcall(redis.call, 'SET', 'k', 1) while true do pcall(function() while true do end end) end", 400, 1),
        ] {
            // The budget is far off where the timeout must be first.
            let budget = if writes > 0 { limit } else { 60_000 };
            assert_eq!(server.run(&format!("CONFIG SET atomic.script-budget-ms {budget}")), Value::ok());
            let (shortest, longest) = (Duration::from_millis(100), Duration::from_millis(3 * limit));
            let mut run = || ends_within(server, &mut connection, &eval(script, "0"), shortest, longest);
            let reply = if writes > 0 { writes_in_time(run) } else { run() };
            assert_eq!(reply.error(), ended_by_time(limit, writes, script, 1));
            expect_working(&mut connection, script);
        }
        assert_eq!(server.run("CONFIG SET atomic.script-budget-ms 60000"), Value::ok());
        let script = "redis.call('SET', 'k', 1) local t = os.clock() while os.clock() - t < 0.2 do end return 'done'";
        let reply = writes_in_time(|| connection.call(&eval(script, "0")));
        assert_eq!(reply, Value::bulk("done"), "it wrote in time");
    });
}

#[test]
fn a_limit_of_zero_is_none() {
    let setup = Setup::with_module().module_args(&["script-budget-ms", "0", "script-timeout-ms", "0"]);
    each_server_with(&setup, |server| {
        let script = "local t = os.clock() while os.clock() - t < 0.3 do end return 'done'";
        assert_eq!(server.call(&eval(script, "0")), Value::bulk("done"));
        assert_eq!(server.run("CONFIG SET atomic.script-budget-ms 100"), Value::ok());
        assert_eq!(server.call(&eval(script, "0")).error(), ended_by_time(100, 0, script, 1), "a change takes effect");
        assert_eq!(server.run("CONFIG SET atomic.script-budget-ms 0"), Value::ok());
        assert_eq!(server.call(&eval(script, "0")), Value::bulk("done"));
    });
}

/// Scripts that want more memory than there is.
const BOMBS: &[&str] = &[
    "local t = {} for i = 1, 1e9 do t[i] = i end",
    "local t = {} while true do t = {t} end",
    "local t = {} while true do t[#t + 1] = {} end",
    "local t = {} while true do t[#t + 1] = function() return t end end",
    "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
    "local t, n = {}, 0 while true do n = n + 1 t[n] = ('x'):rep(1000) .. n end",
    "local t, n = {}, 0 while true do n = n + 1 t['key' .. n] = n end",
    "local s = 'x' while true do s = s .. s end",
    "local s = ('x'):rep(1e6) local t = {} while true do s = s .. 'y' t[#t + 1] = s end",
    "return ('x'):rep(1e9)",
    "local s = ('x'):rep(1e6) return table.concat({s, s, s, s, s, s, s, s, s, s}, s:rep(10))",
    "return (('x'):rep(1e6):gsub('x', ('y'):rep(1000)))",
    "while true do pcall(function() local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end end) end",
    "local function f(...) return f(1, ...) end f()",
    "local t = {} while true do t[#t + 1] = redis.call('GET', 'big') .. #t end",
    "redis.call('ECHO', ('x'):rep(6e7) .. 'y')",
];

#[test]
fn the_memory_limit_ends_bombs_and_the_memory_comes_back() {
    const SLACK: u64 = 16 << 20;
    // A bomb takes its time when a sanitizer watches: the other limit shall not end it first.
    let setup = Setup::with_module().module_args(&["script-budget-ms", "60000", "script-memory-limit", "64mb"]);
    each_server_with(&setup, |server| {
        server.call(&["SET", "big", &"b".repeat(1 << 20)]);
        let mut connection = server.connect();
        expect_working(&mut connection, "the start");
        let used = || server.info("used_memory").parse::<u64>().unwrap();
        let before = used();
        for bomb in BOMBS {
            let reply = connection.call(&eval(bomb, "0"));
            let expected = "ERR script exceeded the memory limit of 67108864 bytes (0 writes were applied)";
            assert_eq!(reply.error(), format!("{expected}{}", place(bomb, 1)), "{bomb}");
            expect_working(&mut connection, bomb);
            let after = used();
            assert!(after <= before + SLACK, "{bomb}: used_memory {before} before, {after} after");
        }
    });
}

#[test]
fn a_smaller_memory_limit_is_named_and_a_larger_one_is_given() {
    let setup = Setup::with_module().module_args(&["script-memory-limit", "4mb"]);
    each_server_with(&setup, |server| {
        let script = "redis.call('INCR', 'n') local t = {} for i = 1, 1e6 do t[i] = i end return #t";
        let expected =
            format!("ERR script exceeded the memory limit of 4194304 bytes (1 writes were applied){}", place(script, 1));
        for round in 1..=3 {
            assert_eq!(server.call(&eval(script, "0")).error(), expected);
            assert_eq!(server.run("GET n"), Value::bulk(round.to_string()), "what was written stays");
        }
        assert_eq!(server.run("CONFIG SET atomic.script-memory-limit 64mb"), Value::ok());
        assert_eq!(server.call(&eval(script, "0")), Value::Integer(1_000_000));
        assert_eq!(server.run("CONFIG SET atomic.script-memory-limit 4mb"), Value::ok());
        assert_eq!(server.call(&eval(script, "0")).error(), expected);
    });
}

#[test]
fn settings_are_module_arguments_and_refused_out_of_range() {
    let read = |server: &Server, name: &str| server.run(&format!("CONFIG GET atomic.{name}")).array()[1].text();
    let setup =
        Setup::with_module().module_args(&["script-memory-limit", "8mb", "script-timeout-ms", "7", "script-budget-ms", "9"]);
    each_server_with(&setup, |server| {
        for (name, value, wrong) in [
            ("script-memory-limit", "8388608", &["4194303", "0", "-1", "1099511627777", "x", ""][..]),
            ("script-timeout-ms", "7", &["-1", "86400001", "x", "", "1.5"]),
            ("script-budget-ms", "9", &["-1", "86400001", "9223372036854775808", "x"]),
        ] {
            assert_eq!(read(server, name), value);
            for refused in wrong {
                let reply = server.call(&["CONFIG", "SET", &format!("atomic.{name}"), refused]);
                assert!(matches!(reply, Value::Error(_)), "{name} {refused}: {reply}");
                assert_eq!(read(server, name), value, "after {refused}");
            }
        }
    });
    each_installed(|binary| {
        for wrong in [["script-memory-limit", "1"], ["script-timeout-ms", "-1"], ["script-budget-ms", "86400001"]] {
            let log = Server::try_start(binary, &Setup::with_module().module_args(&wrong)).err().expect("the server started");
            assert!(log.contains(wrong[0]), "the log does not name {wrong:?}:\n{log}");
        }
    });
}

#[test]
fn scripts_seen_only_by_eval_are_bounded_in_number_and_loaded_ones_stay() {
    each_server(|server| {
        let mut connection = server.connect();
        let loaded: Vec<String> = (0..5).map(|n| format!("return 'loaded {n}'")).collect();
        loaded.iter().for_each(|script| drop(connection.call(&["ATOMIC.SCRIPT", "LOAD", script])));
        for number in 0..700 {
            assert_eq!(connection.call(&eval(format!("return {number}"), "0")), Value::Integer(number));
        }
        assert_eq!(server.info("atomic_scripts_cached"), "505", "500 and the loaded ones");
        for script in &loaded {
            assert!(connection.call(&evalsha(script, "0")).text().starts_with("loaded"), "{script}");
        }
        let exists = |number: u32| server.call(&["ATOMIC.SCRIPT", "EXISTS", &sha1(format!("return {number}"))]);
        assert_eq!((exists(0), exists(199)), (Value::integers(&[0]), Value::integers(&[0])), "the oldest are gone");
        assert_eq!((exists(200), exists(699)), (Value::integers(&[1]), Value::integers(&[1])), "the latest are there");
        connection.call(&evalsha("return 200", "0"));
        connection.call(&eval("return 'one more'", "0"));
        assert_eq!((exists(200), exists(201)), (Value::integers(&[1]), Value::integers(&[0])), "the least recently used goes");
    });
}

#[test]
fn scripts_seen_only_by_eval_are_bounded_in_bytes() {
    each_server(|server| {
        let mut connection = server.connect();
        let padding = "x".repeat(1_000_000);
        for number in 0..40 {
            assert_eq!(connection.call(&eval(format!("return {number} --{padding}"), "0")), Value::Integer(number));
        }
        let bytes: usize = server.info("atomic_scripts_cached_bytes").parse().unwrap();
        assert!((8_000_000..=16 << 20).contains(&bytes), "{bytes} bytes are cached");
        assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        assert_eq!(server.info("atomic_scripts_cached_bytes"), "0");
    });
}
