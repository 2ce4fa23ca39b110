//! Every limit, against every way in which a script may try to survive it. The engine works afterwards.

use std::time::{Duration, Instant};

use super::*;
use crate::lua::run::is_worth_native_code;
use crate::lua::stats::RunCounters;

const BUDGET: Limits = Limits { budget_ms: 30, ..LIMITS };

/// Scripts that never end.
const ENDLESS: &[&str] = &[
    "while true do end",
    "repeat until false",
    "for i = 1, math.huge do end",
    "local t = setmetatable({}, {__index = function(t, k) return 1 end}) while true do local x = t[1] end",
    "while true do pcall(function() while true do end end) end",
    "while true do xpcall(function() while true do end end, function() while true do end end) end",
    "local function f() pcall(f) f() end while true do pcall(f) end",
    "coroutine.wrap(function() while true do end end)()",
    "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    "while true do pcall(coroutine.wrap(function() pcall(function() while true do end end) while true do end end)) end",
    "for _ in function() return 1 end do end",
    "string.find(('a'):rep(3000), ('.-'):rep(8) .. 'b')",
    "while true do pcall(string.find, ('a'):rep(3000), ('.-'):rep(8) .. 'b') end",
    "string.gsub(('a'):rep(3000), ('a*'):rep(9) .. 'b', '')",
    "for w in string.gmatch(('a'):rep(3000), ('.-'):rep(8) .. 'b') do end",
    "string.gsub('x', '.', function() while true do end end)",
    "table.sort({1, 2, 3}, function() while true do end end)",
    "table.foreach({1}, function() while true do end end)",
    "local t = {3, 2, 1} while true do table.sort(t) end",
    "while true do table.concat({1, 2, 3}) end",
    "while true do loadstring('return 1')() end",
    "while true do redis.call('x') end",
    "while true do pcall(redis.call) end",
    "tostring(setmetatable({}, {__tostring = function() while true do end end}))",
    "local function f() while true do end end local m = {__eq = f} return setmetatable({}, m) == setmetatable({}, m)",
];

#[test]
fn the_budget_ends_every_run() {
    let mut rig = Rig::new();
    for source in ENDLESS {
        rig.port.calls.clear();
        let (start, cpu) = (Instant::now(), cpu_time());
        rig.check_ended(BUDGET, source, "ERR script exceeded the time limit of 30 ms (0 writes were applied)");
        let (elapsed, computed) = (start.elapsed(), cpu_time() - cpu);
        assert!(elapsed >= Duration::from_millis(30), "{source} {elapsed:?}");
        assert!(computed < Duration::from_secs(3), "{source} {computed:?}");
    }
}

#[test]
fn the_error_tells_the_position() {
    let mut rig = Rig::with(BUDGET);
    let text = rig.eval("\nwhile true do end").unwrap_err();
    let sha = String::from_utf8(Digest::of(b"\nwhile true do end").hex().to_vec()).unwrap();
    assert!(text.ends_with(&format!("(0 writes were applied) script: {sha}, on @user_script:2.")), "{text}");
}

#[test]
fn the_timeout_spares_a_run_that_has_written() {
    let mut rig = Rig::new();
    let timeout = Limits { timeout_ms: 20, ..LIMITS };
    rig.check_ended(timeout, "while true do end", "time limit of 20 ms (0 writes");
    let both = Limits { budget_ms: 120, ..timeout };
    let start = Instant::now();
    let ended = rig.eval_that_writes_in_time(both, "redis.call('SET', 'a', 1) while true do end").unwrap_err();
    assert!(ended.contains("time limit of 120 ms (1 writes"), "{ended}");
    assert!(start.elapsed() >= Duration::from_millis(120));
    let busy = "redis.call('SET', 'a', 1) local t = os.clock() while os.clock() - t < 0.1 do end return 1";
    let unlimited = Limits { budget_ms: 0, ..timeout };
    assert_eq!(rig.eval_that_writes_in_time(unlimited, busy).as_deref(), Ok(":1"));
    rig.port.writes = 0;
    rig.check_ended(timeout, "while true do end", "time limit of 20 ms (0 writes");
}

impl Rig {
    /// Runs a script that starts with a write, until the write came before the timeout: on a busy machine the thread may lose its
    /// core before.
    fn eval_that_writes_in_time(&mut self, limits: Limits, source: &str) -> Result<String, String> {
        self.engine.set_limits(limits).unwrap();
        let mut attempts = (0..100).map(|_| {
            self.port.writes = 0;
            self.eval(source)
        });
        let result = attempts.find(|result| !result.as_ref().is_err_and(|text| text.contains("(0 writes"))).unwrap();
        self.engine.set_limits(LIMITS).unwrap();
        result
    }
}

#[test]
fn a_late_interrupt_never_hits_the_next_run() {
    let mut rig = Rig::with(Limits { budget_ms: 2, ..LIMITS });
    let mut ended = 0;
    for i in 0..300 {
        // Runs of about the length of the budget, then one that is much shorter.
        let spin = format!("local t = os.clock() while os.clock() - t < {} do end", 0.0015 + f64::from(i % 10) * 0.0002);
        ended += usize::from(rig.eval(&spin).is_err());
        let start = Instant::now();
        let reply = rig.eval("return 1");
        // On a busy machine the thread may lose its core for longer than the budget.
        assert!(reply.as_deref() == Ok(":1") || start.elapsed() >= Duration::from_millis(2), "{reply:?}");
    }
    assert!(ended > 0);
}

#[test]
fn the_watchdog_wakes_up_again() {
    let mut rig = Rig::with(BUDGET);
    // It may be terminated: the thread may lose its core.
    drop(rig.eval("return 1"));
    std::thread::sleep(Duration::from_millis(1400));
    let ended = rig.eval("while true do end").unwrap_err();
    assert!(ended.contains("time limit of 30 ms"), "{ended}");
    rig.engine.set_limits(Limits { budget_ms: 0, ..LIMITS }).unwrap();
    rig.check("local t = os.clock() while os.clock() - t < 0.1 do end return 1", ":1");
    rig.check_ended(BUDGET, "while true do end", "time limit of 30 ms");
}

#[test]
fn memory_ends_a_run_and_the_next_one_has_all_of_it() {
    let mut rig = Rig::new();
    let refused = "ERR script exceeded the memory limit of 16777216 bytes (0 writes were applied)";
    for bomb in [
        "local t = {} for i = 1, 1e6 do t[i] = ('x'):rep(1e6) .. i end",
        "local s = 'x' while true do s = s .. s end",
        "return string.rep('x', 1e9)",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local t = {} while true do t[#t + 1] = {} end",
        "local t = {} for i = 1, 1e9 do t['k' .. i] = i end",
        "local t = {} for i = 1, 1e5 do t[i] = ('x'):rep(1000) end return table.concat(t)",
        "while true do pcall(string.rep, 'x', 1e9) end",
        "pcall(string.rep, 'x', 1e9) return 1",
        "local ok = pcall(string.rep, 'x', 1e9) while true do end",
        "coroutine.resume(coroutine.create(function() return ('x'):rep(1e9) end)) return 1",
        "coroutine.wrap(function() pcall(string.rep, 'x', 1e9) end)() return 1",
        "xpcall(string.rep, function() return ('x'):rep(1e9) end, 'x', 1e9) return 1",
        "return string.gsub(('x'):rep(1e5), '.', ('y'):rep(1e5))",
        "return string.format('%s%s', ('x'):rep(9e6), ('x'):rep(9e6))",
        "local t = {} for i = 1, 1e6 do t[i] = coroutine.create(function() end) end",
        "local t = {} for i = 1, 1e6 do t[i] = newproxy(true) end",
        "local t = {} for i = 1, 1e6 do t[i] = loadstring('return ' .. i) end",
    ] {
        rig.check_fails(bomb, refused);
        rig.check("return #('x'):rep(6000000)", ":6000000");
    }
    rig.check_fails("redis.call('SET', 'a', 1) redis.call('SET', 'b', 1) return ('x'):rep(1e9)", "(2 writes were applied)");
}

#[test]
fn arguments_and_replies_count_too() {
    let mut rig = Rig::new();
    let big = vec![b'x'; 20 << 20];
    let text = rig.eval_bytes(b"return 1", &[], &[&big]).unwrap_err().wire();
    assert!(text.starts_with("ERR script exceeded the memory limit"), "{text}");
    rig.port.replies.push_back([format!("${}\r\n", big.len()).as_bytes(), &big, b"\r\n"].concat());
    rig.check_fails("return #redis.call('x')", "memory limit");
    rig.check("return #ARGV", ":0");
}

#[test]
fn memory_that_a_script_pins_is_taken_back() {
    let mut rig = Rig::new();
    // The VM keeps a closure of the script, and with it the globals that the script gave it.
    let pin = "local function f() end setfenv(f, {('x'):rep(5000000)}) return 1";
    for i in 0..20 {
        rig.check(&format!("{pin} -- {i}"), ":1");
        rig.check("return #('x'):rep(6000000)", ":6000000");
    }
}

#[test]
fn any_memory_limit_leaves_a_working_engine() {
    for memory_bytes in (0..40_000).step_by(997) {
        let mut rig = Rig::with(Limits { memory_bytes, ..LIMITS });
        for source in ["return 1", "error('x')", "return {1, {2}, 'x'}", "return redis.call('x')", "local x = y", "x y z"] {
            let _ = rig.eval(source);
        }
        rig.engine.set_limits(LIMITS).unwrap();
        rig.check_works();
    }
}

#[test]
fn garbage_does_not_reach_the_limit() {
    let mut rig = Rig::new();
    rig.check("local s for i = 1, 200 do s = ('x'):rep(2e6) .. i end return #s", ":2000003");
    rig.check("local live = ('y'):rep(5e6) for i = 1, 100 do local s = ('x'):rep(1e6) .. i end return #live", ":5000000");
}

#[test]
fn memory_of_one_run_has_a_limit_of_its_own() {
    let mut rig = Rig::with(Limits { run_memory_bytes: 2 << 20, ..LIMITS });
    rig.check("return #('x'):rep(5e5)", ":500000");
    rig.check_fails("return #('x'):rep(3e6)", "ERR script exceeded the memory limit of 2097152 bytes (0 writes were applied)");
    rig.check("return #('x'):rep(5e5)", ":500000");
}

#[test]
fn arguments_of_a_command_are_bounded() {
    let mut rig = Rig::new();
    rig.check("local s = ('x'):rep(1e5) redis.call('x', s, s, s) return 1", ":1");
    let script = "local s = ('x'):rep(1e5) pcall(redis.call, 'x', s, s, s, s, s, s, s, s, s, s, s) return 1";
    rig.check_fails(script, "ERR script exceeded the argument limit of 1048576 bytes (0 writes were applied)");
}

#[test]
fn work_of_libraries_is_ended_too() {
    let mut rig = Rig::new();
    let cpu = cpu_time();
    rig.check("return ('a'):rep(1e6):find(('a'):rep(5e5) .. 'b', 1, true)", "_");
    rig.check("return {('a'):rep(1e6):find(('a'):rep(5e5), -500001)}", "*2 :500000 :999999");
    rig.check("return {('a'):rep(1e6):find('', 2e6)}", "*0");
    rig.check("return {('ab'):rep(1e4):find(('ab'):rep(5e3), 2, true)}", "*2 :3 :10002");
    let patterns = ["find", "match", "gmatch", "gsub"];
    for function in patterns {
        rig.check_fails(&format!("string.{function}(('x'):rep(1e5), '[' .. ('y'):rep(1e5) .. 'x]*', '')"), "pattern too complex");
    }
    // Each would compute for many seconds if its time grew with the product of the lengths.
    let computed = cpu_time() - cpu;
    assert!(computed < Duration::from_secs(3), "{computed:?}");
    rig.check("local t = {'b', 'a', ('c'):rep(2000)} table.sort(t) return t[1] .. t[2]", "$ab");
    let sort = "local s, t = ('x'):rep(1e6), {} for i = 1, 10 do t[i] = s .. i end for i = 1, 1e4 do t[i] = t[i % 10 + 1] end table.sort(t)";
    rig.check_ended(Limits { budget_ms: 50, ..LIMITS }, sort, "ERR script exceeded the time limit of 50 ms");
    rig.check_fails("local t = {} for i = 1, 70000 do t[i] = i end t[5] = 'x' table.sort(t)", "attempt to compare");
}

#[test]
fn a_run_pauses_for_other_clients_and_one_may_end_it() {
    let mut rig = Rig::new();
    for script in ["while true do end", "while true do pcall(function() while true do end end) end"] {
        rig.port.pauses = [Pause::Done, Pause::Killed("SCRIPT KILL")].into();
        rig.check_fails(script, "ERR Script killed by user with SCRIPT KILL. script: ");
    }
}

#[test]
fn a_run_that_no_client_can_kill_has_a_budget_of_its_own() {
    let mut rig = Rig::with(Limits { unreachable_budget_ms: 100, ..LIMITS });
    rig.port.pauses = [Pause::Unreachable].into();
    rig.check_fails(
        "while true do end",
        "ERR script exceeded the time limit of 100 ms for scripts that SCRIPT KILL cannot reach",
    );
    rig.port.pauses = [Pause::Done, Pause::Done, Pause::Done, Pause::Done, Pause::Done, Pause::Killed("SCRIPT KILL")].into();
    rig.check_fails("while true do end", "ERR Script killed by user");
}

#[test]
fn scripts_that_compute_become_machine_code_that_obeys_the_limits() {
    let mut rig = Rig::new();
    let compute =
        "local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + i % 7 if i % 1000 == 0 then n = n - #ARGV end end return n";
    let run =
        |rig: &mut Rig, source: &str, arg: &str| rig.eval_bytes(source.as_bytes(), &[], &[arg.as_bytes()]).map_err(|e| e.wire());
    let expected = run(&mut rig, compute, "100000");
    let native = |rig: &Rig, source: &str| rig.engine.script_stats(Digest::of(source.as_bytes())).unwrap().native;
    let deadline = Instant::now() + Duration::from_secs(600);
    while !native(&rig, compute) {
        assert_eq!(run(&mut rig, compute, "100000"), expected);
        assert!(Instant::now() < deadline, "it never becomes machine code");
    }
    assert_eq!(run(&mut rig, compute, "100000"), expected);
    rig.engine.set_limits(Limits { budget_ms: 200, ..LIMITS }).unwrap();
    let ended = run(&mut rig, compute, "1e15").unwrap_err();
    assert!(ended.starts_with("ERR script exceeded the time limit of 200 ms"), "{ended}");
    rig.engine.set_limits(LIMITS).unwrap();
    assert_eq!(run(&mut rig, compute, "100000"), expected);
    rig.check_works();
}

#[test]
fn machine_code_takes_runs_that_are_long_and_frequent_enough() {
    for (runs, each, worth) in [
        (1000, Duration::from_micros(1), false),   // short
        (25_000, Duration::from_micros(1), false), // long in all, but each run waits for commands or does little
        (19, Duration::from_millis(1), false),     // not yet
        (20, Duration::from_millis(1), true),
        (1000, Duration::from_micros(20), true),
        (1, Duration::from_secs(1), true),
    ] {
        let mut figures = RunCounters::default();
        (0..runs).for_each(|_| figures.add(each, false));
        assert_eq!(is_worth_native_code(&figures, 1000), worth, "{runs} runs of {each:?}");
        assert!(!is_worth_native_code(&figures, 1 << 20), "a source that takes long to compile");
    }
}

#[test]
fn machine_code_is_as_closed_as_the_rest() {
    let mut rig = Rig::new();
    // Each runs until it is machine code, and then once more.
    for (source, reply) in [
        ("for i = 1, 30000 do local x = i * 2 end return tostring(pcall(function() x = 1 end))", "$false"),
        ("for i = 1, 30000 do local x = i * 2 end return tostring(pcall(function() return nosuch end))", "$false"),
        ("for i = 1, 30000 do local x = i * 2 end return pcall(rawset, string, 'x', 1) == false", ":1"),
        ("local t = {} for i = 1, 3000 do t[i] = tostring(i) end return #table.concat(t, ',')", ":13892"),
        ("local s = 0 for i = 1, 3000 do s = s + #string.format('%d', i) end return s", ":10893"),
    ] {
        let deadline = Instant::now() + Duration::from_secs(600);
        while !rig.engine.script_stats(Digest::of(source.as_bytes())).is_some_and(|stats| stats.native) {
            rig.check(source, reply);
            assert!(Instant::now() < deadline, "{source} never becomes machine code");
        }
        rig.check(source, reply);
    }
    let off = &mut Rig::with(Limits { native_code: false, ..LIMITS });
    let source = "for i = 1, 1e6 do local x = i * 2 end return 1";
    (0..50).for_each(|_| off.check(source, ":1"));
    assert!(!off.engine.script_stats(Digest::of(source.as_bytes())).unwrap().native);
}

#[test]
fn the_limit_of_one_run_does_not_limit_the_next() {
    let mut rig = Rig::with(Limits { run_memory_bytes: 1 << 20, ..LIMITS });
    for i in 0..20 {
        rig.check("local t = {} for i = 1, 3000 do t[i] = ('x'):rep(100) .. i end return #t", ":3000");
        let source = format!("return {i} --{}", "x".repeat(200_000));
        rig.engine.load(source.as_bytes()).unwrap_or_else(|error| panic!("{i}: {error}"));
    }
}

#[test]
fn a_line_of_the_log_is_not_made_of_a_million_pieces() {
    let mut rig = Rig::new();
    let cpu = cpu_time();
    rig.check("local t = {} for i = 1, 500000 do t[i] = '' end redis.log(redis.LOG_NOTICE, unpack(t)) return 1", ":1");
    rig.check("local t = {} for i = 1, 5000 do t[i] = 'word' end redis.log(redis.LOG_NOTICE, unpack(t)) return 1", ":1");
    assert!(cpu_time() - cpu < Duration::from_secs(5));
    assert!(rig.port.logs.iter().all(|(_, line)| line.len() < 10_000));
    assert!(rig.port.logs[1].1.starts_with(b"word word "));
}

#[test]
fn a_reply_that_takes_long_to_look_through_is_ended() {
    let mut rig = Rig::new();
    let large = Limits { reply_bytes: 512 << 20, memory_bytes: 128 << 20, ..LIMITS };
    // It takes long to walk empty tables that were once large, and they are few bytes of a reply.
    let script = "local h = {} for i = 1, 4e5 do h['k' .. i] = 1 end for k in pairs(h) do h[k] = nil end \
                  local t = {} for i = 1, 1e6 do t[i] = h end return t";
    rig.check_ended(Limits { budget_ms: 200, ..large }, script, "ERR script exceeded the time limit of 200 ms");
    rig.check_ended(large, script, "ERR script exceeded the reply limit");
}
