//! The texts of errors. They are those of Redis 7 unless a comment says otherwise.

use super::*;

#[test]
fn errors_of_scripts_read_as_in_redis() {
    let mut rig = Rig::new();
    rig.check_error("return x", "ERR user_script:1: Script attempted to access nonexistent global variable 'x' @");
    rig.check_error("x = 1", "ERR user_script:1: Attempt to modify a readonly table @");
    rig.check_error("redis = 1", "ERR user_script:1: Attempt to modify a readonly table @");
    rig.check_error("string.x = 1", "ERR user_script:1: Attempt to modify a readonly table @");
    rig.check_error("error('msg')", "ERR user_script:1: msg @");
    rig.check_error("error('msg', 0)", "ERR msg @");
    rig.check_error("error({err = 'MYERR boo'})", "MYERR boo @");
    // Redis 7.0 writes the text without a code; every error of this engine has one.
    rig.check_error("error({err = 'boo'})", "ERR boo @");
    rig.check_error("error({err = 5})", "ERR 5 @");
    // Redis 7.0 aborts on this one.
    rig.check_error("error({})", "ERR unknown error @");
    rig.check_error("error(nil)", "ERR nil @");
    rig.check_error("error()", "ERR nil @");
    rig.check_error("error(5)", "ERR user_script:1: 5 @");
    rig.check_error("error(true)", "ERR true @");
    rig.check_error("assert(false)", "ERR user_script:1: assertion failed! @");
    rig.check_error("assert(false, 'm')", "ERR user_script:1: m @");
    rig.check_error("local f = function() error('x') end f()", "ERR user_script:1: x @");
}

#[test]
fn errors_name_the_line() {
    let mut rig = Rig::new();
    for (source, line) in [("\n\nerror('x')", 3), ("#!lua\nreturn x", 2), ("local f = function()\n error('x') end\nf()", 2)] {
        let text = rig.eval(source).unwrap_err();
        assert!(text.contains(&format!("user_script:{line}: ")), "{text}");
        assert!(text.ends_with(&format!(", on @user_script:{line}.")), "{text}");
    }
    let text = rig.eval("local f = coroutine.wrap(function() error('x') end)\nf()").unwrap_err();
    assert!(text.ends_with(", on @user_script:2."), "{text}");
}

#[test]
fn errors_of_commands_keep_their_code() {
    let mut rig = Rig::new();
    for source in ["redis.call('x')", "return redis.call('x')", "local f = function() redis.call('x') end f()"] {
        rig.port.replies.push_back(b"-WRONGTYPE Operation against x\r\n".to_vec());
        rig.check_error(source, "WRONGTYPE Operation against x @");
    }
    rig.port.replies.push_back(b"-WRONGTYPE Operation against x\r\n".to_vec());
    rig.check("return redis.pcall('x')", "-WRONGTYPE Operation against x");
}

#[test]
fn bad_calls_are_errors() {
    let mut rig = Rig::new();
    let none = "ERR Please specify at least one argument for this redis lib call";
    let bad = "ERR Lua redis lib command arguments must be strings or integers";
    rig.check_error("redis.call()", &format!("{none} @"));
    rig.check("return redis.pcall()", &format!("-{none}"));
    for value in ["{}", "true", "nil", "function() end"] {
        rig.check_error(&format!("redis.call('get', {value})"), &format!("{bad} @"));
        rig.check(&format!("return redis.pcall('get', {value})"), &format!("-{bad}"));
    }
    assert!(rig.port.calls.is_empty());
}

#[test]
fn pcall_hands_over_the_text_and_xpcall_the_table() {
    let mut rig = Rig::new();
    let error = b"-WRONGTYPE no\r\n".to_vec();
    rig.port.replies.extend([error.clone(), error.clone(), error]);
    rig.check("local ok, e = pcall(redis.call, 'x') return {tostring(ok), type(e), e}", "*3 $false $string $WRONGTYPE no");
    rig.check("local _, e = xpcall(function() redis.call('x') end, function(e) return e end) return e", "-WRONGTYPE no");
    rig.check(
        "local _, e = xpcall(function() redis.call('x') end, function(e) return e end)
         return {tostring(e.source), tostring(e.line), tostring(e.ignore_error_stats_update)}",
        "*3 $nil $nil $true",
    );
    rig.check("local ok, e = pcall(error, {err = 'A b'}) return e", "$A b");
    rig.check("local ok, e = pcall(error, {x = 1}) return e.x", ":1");
    rig.check("local ok, e = pcall(function() x = 1 end) return e", "$user_script:1: Attempt to modify a readonly table");
    rig.check("local ok, e = pcall(function() redis.x = 1 end) return e", "$user_script:1: Attempt to modify a readonly table");
    rig.check("return {pcall(function(...) return ... end, 1, 2)}", "*3 :1 :1 :2");
    rig.check(
        "local f = coroutine.wrap(function() return pcall(function() coroutine.yield(1) error('e', 0) end) end)
        return {f(), f()}",
        "*3 :1 _ $e",
    );
}

#[test]
fn compile_errors_say_so() {
    let mut rig = Rig::new();
    let text = rig.eval("x y z").unwrap_err();
    assert!(text.starts_with("ERR Error compiling script (new function): user_script:1: "), "{text}");
    let text = rig.eval("\n\nreturn return").unwrap_err();
    assert!(text.starts_with("ERR Error compiling script (new function): user_script:3: "), "{text}");
    assert!(rig.engine.load(b"x y z").is_err());
    assert_eq!(rig.engine.stats().cache.scripts, 0);
}

#[test]
fn any_bytes_in_an_error_stay_printable() {
    let mut rig = Rig::new();
    rig.check_error("error('\u{4e00}\u{e9}\\0\\r\\n', 0)", "ERR \\xe4\\xb8\\x80\\xc3\\xa9\\x00\\r\\n @");
    rig.check_error(
        "error({err = 'ERR \u{4e00}\\r\\n'})",
        "ERR ERR \\xe4\\xb8\\x80\\r\\n @".replacen("ERR ERR", "ERR", 1).as_str(),
    );
    rig.check_fails("return _G['\u{4e00}\\r\\n']", "nonexistent global variable '\\xe4\\xb8\\x80\\r\\n'");
    rig.check_fails("\u{4e00} = 1", "Error compiling script");
    rig.check_fails("error(('x'):rep(1e6))", &format!(" {} script: ", "x".repeat(1_000_000)));
    rig.check_fails("error(('x'):rep(2e6))", "ERR script exceeded the reply limit of 1048576 bytes (0 writes were applied)");
}

#[test]
fn replies_that_are_made_by_hand() {
    let mut rig = Rig::new();
    rig.check("return redis.error_reply('My Err')", "-My Err");
    rig.check("return redis.error_reply('-My Err')", "-My Err");
    rig.check("return redis.error_reply('')", "-ERR ");
    rig.check("return redis.error_reply('X')", "-ERR X");
    rig.check("return redis.error_reply('a b\\r\\n')", "-a b");
    rig.check("return redis.error_reply(5)", "-ERR wrong number or type of arguments");
    rig.check("return redis.error_reply()", "-ERR wrong number or type of arguments");
    rig.check("return redis.status_reply('fine')", "+fine");
    rig.check("return redis.status_reply()", "-ERR wrong number or type of arguments");
}

#[test]
fn panics_are_errors_and_the_engine_lives() {
    let mut rig = Rig::new();
    for source in ["redis.call('x')", "return redis.pcall('x')", "pcall(redis.call, 'x') return 1"] {
        rig.port.replies.push_back(b"PANIC".to_vec());
        rig.check_fails(source, "ERR internal error, please report it: ");
    }
    let mut record = Record::default();
    let result = rig.engine.eval(b"return {1, 'PANIC'}", &NOTHING, &mut rig.port, &mut record);
    assert!(matches!(result, Err(Error::Internal(_))));
    rig.check_works();
}
