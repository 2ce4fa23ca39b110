//! Scripts reach nothing outside the sandbox, and a run leaves nothing for the next one.

use super::*;

#[test]
fn only_what_is_listed_exists() {
    let mut rig = Rig::new();
    for name in [
        "print",
        "dofile",
        "loadfile",
        "require",
        "io",
        "debug",
        "package",
        "typeof",
        "bit32",
        "buffer",
        "vector",
        "utf8",
        "integer",
        "arg",
        "rawlen",
        "os.exit",
        "module",
        "newthread",
    ] {
        let source = format!("local ok, v = pcall(function() return {name} end) return tostring(ok and v ~= nil)");
        rig.check(&source, "$false");
    }
    for name in [
        "string.dump",
        "string.split",
        "string.pack",
        "table.clone",
        "table.freeze",
        "table.create",
        "os.time",
        "os.getenv",
        "coroutine.close",
        "math.noise",
        "math.clamp",
    ] {
        rig.check(&format!("return tostring({name})"), "$nil");
    }
    // The compiler has instructions for these. They must not exist nevertheless.
    rig.check_fails("return bit32.band(1, 3)", "nonexistent global variable 'bit32'");
    rig.check_fails("return vector.create(1, 2, 3)", "nonexistent global variable 'vector'");
    rig.check_fails("return typeof(1)", "nonexistent global variable 'typeof'");
    rig.check_fails("return math.clamp(1, 2, 3)", "attempt to call a nil value");
    rig.check_fails("return ('x'):split('x')", "attempt to call");
}

#[test]
fn tables_that_outlive_a_run_are_read_only() {
    let mut rig = Rig::new();
    for attack in [
        "x = 1",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "rawset(_G, 'KEYS', 1)",
        "redis.call = nil",
        "rawset(redis, 'call', 1)",
        "string.len = nil",
        "table.insert(math, 1)",
        "table.insert(_G, 1)",
        "getmetatable('').__index = nil",
        "getmetatable('').x = nil",
        "rawset(getmetatable(''), '__index', {})",
        "setmetatable(getmetatable(''), {})",
        "setmetatable(_G, {})",
        "setmetatable(_G, nil)",
        "setmetatable(string, {})",
        "getmetatable(_G).__index = nil",
        "rawset(getmetatable(_G), '__newindex', nil)",
        "setmetatable(getmetatable(_G), {})",
        "getfenv(0).x = 1",
        "getfenv(table.setn).x = 1",
        "getfenv(load).string = 1",
        "setfenv(load, {})",
        "setfenv(table.setn, {})",
        "setfenv(print or redis.call, {})",
        "setfenv(math.mod, {})",
    ] {
        let text = rig.eval(attack).expect_err(attack);
        let refused = ["eadonly table", "cannot change environment", "nonexistent global", "invalid argument"];
        assert!(refused.iter().any(|part| text.contains(part)), "{attack}\n{text}");
    }
    rig.check(
        "return {#KEYS, type(redis.call), type(string.len), getmetatable('').__index == string}",
        "*4 :0 $function $function :1",
    );
}

/// Scripts that try to leave something for later runs, and a script that looks for it.
#[test]
fn nothing_is_left_for_the_next_run() {
    let mut rig = Rig::new();
    let look = "local ok = pcall(function() return secret end)
        local e = getfenv()
        return {tostring(ok), tostring(rawget(_G, 'secret')), tostring(e == _G), tostring(getfenv(0) == _G),
                tostring(getfenv(load) == _G), #KEYS, type(string.len('x'))}";
    let clean = "*7 $false $nil $true $true $true :0 $number";
    for trace in [
        "setfenv(1, {secret = 1, setfenv = setfenv}) secret = 2 return 1",
        "setfenv(0, {secret = 1}) return 1",
        "local e = setmetatable({secret = 1}, {__index = _G}) setfenv(0, e) setfenv(1, e) secret = 2 return secret",
        "coroutine.wrap(function() setfenv(0, {secret = 1}) end)() return 1",
        "local co = coroutine.create(function() coroutine.yield() end) coroutine.resume(co) return 1",
        "KEYS.secret = 1 KEYS[1] = 1 setmetatable(KEYS, {__index = {secret = 1}}) return 1",
        "loadstring('setfenv(1, {}) secret = 1')() return 1",
        "xpcall(function() setfenv(0, {}) error('x') end, function() return 1 end) return 1",
    ] {
        for _ in 0..2 {
            assert!(rig.eval(trace).is_ok(), "{trace}\n{:?}", rig.eval(trace));
            rig.check(look, clean);
        }
    }
    rig.check_fails("setfenv(0, {secret = 1}) error('x')", "x");
    rig.check(look, clean);
}

#[test]
fn a_script_does_not_change_itself() {
    let mut rig = Rig::new();
    // The same script again: constants, closures that the VM shares, and its own globals.
    for (source, reply) in [
        ("local f = function() return 1 end local e = getfenv(f) setfenv(f, {}) return tostring(e == _G)", "$true"),
        ("local t = {a = 1} local r = t.a t.a = 2 return r", ":1"),
        ("local t = {} local f = function() return t end local n = #f() t[1] = 1 return n", ":0"),
        ("local s = pcall(function() return x end) setfenv(1, {x = 1}) return tostring", "_"),
        ("local r = tostring(getfenv() == _G) setfenv(1, {}) return r", "$true"),
    ] {
        for _ in 0..3 {
            rig.check(source, reply);
        }
    }
}

#[test]
fn bytecode_cannot_be_loaded() {
    let mut rig = Rig::new();
    for bytes in ["\\6\\3\\0", "\\27Lua", "\\1", "\\0", "\\11\\1"] {
        rig.check(&format!("return tostring(loadstring('{bytes}'))"), "$nil");
        rig.check(
            &format!("local n = 0 return tostring(load(function() n = n + 1 return n == 1 and '{bytes}' or nil end))"),
            "$nil",
        );
    }
    assert!(rig.eval_bytes(b"\x06\x03\x00", &[], &[]).is_err());
    rig.check("return tostring(loadstring(('-'):rep(2000000)))", "$nil");
}

#[test]
fn code_of_loadstring_stays_in_the_sandbox() {
    let mut rig = Rig::new();
    rig.check_fails("loadstring('x = 1')()", "Attempt to modify a readonly table");
    rig.check_fails("load(function() return nil end)() loadstring('return print')()", "nonexistent global variable 'print'");
    rig.check("return tostring(getfenv(loadstring('return 1')) == _G)", "$true");
    rig.check("local f = loadstring('return KEYS') return #f()", ":0");
}

#[test]
fn keys_are_those_of_the_run_in_every_kind_of_access() {
    let mut rig = Rig::new();
    let source = b"local f = loadstring('return KEYS[1]') local g = function() return KEYS[1] end
        return {KEYS[1], g(), f(), _G.KEYS[1], getfenv().KEYS[1], rawget(_G, 'KEYS')[1]}";
    for key in [&b"a"[..], b"b"] {
        let name = String::from_utf8(key.to_vec()).unwrap();
        let expected = format!("*6 ${name} ${name} ${name} ${name} ${name} ${name}");
        assert_eq!(rig.eval_bytes(source, &[key], &[]).unwrap(), expected);
    }
}
