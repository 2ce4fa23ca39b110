//! Scripts that crash or hang other engines, and similar ones.

use super::*;

#[test]
fn recursion_is_an_error() {
    let mut rig = Rig::with(Limits { budget_ms: 500, ..LIMITS });
    for source in [
        "local function f() return 1 + f() end f()",
        "local function f(s) return (string.gsub(s, '.', f)) end f('x')",
        "local function f() return coroutine.wrap(f)() end f()",
        "local function f() local ok, e = coroutine.resume(coroutine.create(f)) error(e, 0) end f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x",
        "local t = {} setmetatable(t, {__index = function(t, k) return t[k] end}) return t.x",
        "local t = {} setmetatable(t, {__newindex = function(t, k, v) t[k] = v end}) t.x = 1",
        "local t = {} setmetatable(t, {__call = function(...) return t(...) + 1 end}) t()",
        "local t = setmetatable({}, {__call = 0}) getmetatable(t).__call = t t()",
        "local t = setmetatable({}, {__concat = function(a, b) return a .. b end}) return t .. t",
        "local t = setmetatable({}, {__tostring = function(t) return tostring(t) end}) return tostring(t)",
        "local function f() table.sort({1, 2, 3}, f) return true end f()",
        "local function f() error(xpcall(f, f)) end xpcall(f, f) error('done')",
        "local function f() return loadstring('return (...)(...)')(f) + 1 end f()",
        "string.rep(('('):rep(40) .. 'a', 1):find(('('):rep(100))",
        "string.find(('a'):rep(300000), ('a?'):rep(300000) .. 'a')",
        "string.gsub(('x'):rep(220000), ('x?'):rep(220000) .. 'y', '') error('done')",
        "string.find(('a'):rep(1000000), ('(a)'):rep(100))",
    ] {
        rig.check_fails(source, "");
        rig.check_as_library(source);
    }
}

#[test]
fn ranges_are_checked() {
    let mut rig = Rig::new();
    rig.check("return tostring((pcall(unpack, {}, -2147483648, 2147483647)))", "$false");
    for source in [
        "return unpack({}, 1, 1e8)",
        "return unpack({}, -1e300, 1e300)",
        "return select(-5, 1)",
        "return string.rep('x', -1e300):byte(1e300) or 1",
        "return string.char(256)",
        "return string.format('%999999d', 1)",
        "return string.format(('%s'):rep(1000))",
        "return table.concat({}, '', 1, 1e300)",
        "return ('x'):sub(-1e300, 1e300) + 1",
        "table.insert({}, 1e300, 1) error('done')",
        "return setmetatable(1, {})",
        "getfenv(1e300)",
        "getfenv(-1)",
        "getfenv(0/0)",
        "setfenv(1e9, {})",
        "error('x', 1e300)",
        "error('x', -1e300)",
        "return ('x'):rep(1e15)",
        "tonumber('1', 99)",
        "math.ldexp(1, 1e300) error('done')",
        "coroutine.yield()",
        "coroutine.resume(coroutine.running())",
        "table.sort({3, 2, 1, 5, 4, 9, 8, 7}, function() return true end) error('done')",
        "local t = {3, 2, 1} table.sort(t, function(a, b) t[#t + 1] = 1 return a < b end)",
        "next({}, 'nothing')",
        "local t = {1, 2, 3} for k in pairs(t) do t[k] = nil t[k + 10] = 1 end error('done')",
        "newproxy(false).x = 1",
    ] {
        // The numbers decide whether it is an error. It only matters that it ends and leaves the engine working.
        let _ = rig.eval(source);
        rig.check_works();
        rig.check_as_library(source);
    }
}

#[test]
fn deep_sources_are_refused_or_run() {
    let mut rig = Rig::new();
    for (open, middle, close) in [
        ("return ", "(", ")"),
        ("return 1", " + 1", ""),
        ("return 'a'", " .. 'a'", ""),
        ("return ", "{", "}"),
        ("return ", "-", ""),
        ("return ", "not ", ""),
        ("return x", ".x", ""),
        ("return x", "()", ""),
        ("return 2", " ^ 2", ""),
        ("", "do ", " end"),
        ("", "if 1 then ", " end"),
        ("if 1 then ", "elseif 1 then ", ""),
        ("", "while 1 do ", " end"),
        ("", "local function f() ", " end"),
        ("return ", "function() return ", " end"),
        ("", "local x = 1 ", ""),
        ("", "[", ""),
        ("", "[=", ""),
        ("--[", "=", ""),
        ("local x: ", "{", "}"),
        ("local x: ", "(", ")"),
        ("return `", "{`", ""),
    ] {
        for count in [50, 1000, 50_000] {
            let source = format!("{open}{}1{}", middle.repeat(count), close.repeat(count));
            let _ = rig.eval(&source);
            rig.check_as_library(&source);
        }
    }
    rig.check_works();
}

#[test]
fn any_bytes_are_a_script_or_an_error() {
    let mut rig = Rig::new();
    let mut seed = 1_u64;
    let words = [
        "return ",
        "redis.call",
        "(",
        ")",
        "'",
        "{",
        "}",
        "x",
        "=",
        "\0",
        "\n",
        "end ",
        "function ",
        "\u{4e00}",
        "1e9",
        "..",
        "--",
        "[[",
    ];
    for _ in 0..2000 {
        let mut source = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            source.push_str(words[(seed >> 33) as usize % words.len()]);
        }
        let _ = rig.eval(&source);
    }
    rig.check_works();
    let error = rig.eval_bytes(&vec![b' '; crate::lua::SOURCE_BYTES + 1], &[], &[]).unwrap_err();
    assert_eq!(error.wire(), "ERR Error compiling script (new function): the source is longer than 1048576 bytes");
    rig.check_fails("return 1 --\0", "a NUL byte in the source");
}
