//! Conversions, both ways.

use super::*;

#[test]
fn values_become_replies_as_in_redis() {
    let mut rig = Rig::new();
    for (value, reply) in [
        ("'a\\0b'", "$a\\x00b"),
        ("''", "$"),
        ("1", ":1"),
        ("3.99", ":3"),
        ("-3.99", ":-3"),
        ("2^53", ":9007199254740992"),
        ("1e300", ":-9223372036854775808"),
        ("0/0", ":-9223372036854775808"),
        ("true", ":1"),
        ("false", "_"),
        ("nil", "_"),
        ("function() end", "_"),
        ("coroutine.create(function() end)", "_"),
        ("{}", "*0"),
        ("{1, 'b', {3}}", "*3 :1 $b *1 :3"),
        ("{1, nil, 3}", "*1 :1"),
        ("{false, true}", "*2 _ :1"),
        ("{x = 1}", "*0"),
        ("{err = 'A b'}", "-A b"),
        ("{ok = 'fine'}", "+fine"),
        ("{err = 'E x', ok = 'fine'}", "-E x"),
        ("{err = 5}", "*0"),
        ("{double = 1.5}", ",1.5"),
        ("{double = '1.5'}", "*0"),
        ("{big_number = '123'}", "(123"),
        ("{verbatim_string = {format = 'txt', string = 'x y'}}", "=txt:x y"),
        ("{verbatim_string = {format = 'txt'}}", "*0"),
        ("{map = {a = 1}}", "%1 $a :1"),
        ("{map = {}}", "%0"),
        ("{map = 1}", "*0"),
        ("{set = {a = true}}", "~1 $a"),
        ("{{ok = 'a'}, {map = {[1] = {2}}}}", "*2 +a %1 :1 *1 :2"),
    ] {
        rig.check(&format!("return {value}"), reply);
    }
    rig.check("return", "_");
    rig.check("", "_");
    rig.check("return 1, 2", ":1");
}

#[test]
fn metamethods_do_not_run_when_a_value_is_read() {
    let mut rig = Rig::new();
    rig.check("return setmetatable({}, {__index = function() error('ran') end})", "*0");
    rig.check("return setmetatable({1}, {__len = function() error('ran') end, __index = {err = 'x'}})", "*1 :1");
}

#[test]
fn nesting_ends_in_an_error_at_the_leaf() {
    let mut rig = Rig::with(Limits { reply_depth: 3, ..LIMITS });
    rig.check("return {{{1}}}", "*1 *1 *1 :1");
    rig.check("return {{{{1}}}}", "*1 *1 *1 -ERR reached lua stack limit");
    rig.check("local a = {} a[1] = a return a", "*1 *1 *1 -ERR reached lua stack limit");
    let mut rig = Rig::new();
    let reply = rig.eval("local a = {} a[1] = a return a").unwrap();
    assert_eq!(reply, "*1 ".repeat(1000) + "-ERR reached lua stack limit");
}

#[test]
fn large_replies_are_refused_before_anything_is_written() {
    let mut rig = Rig::with(Limits { reply_bytes: 1000, ..LIMITS });
    let refused = "reply limit of 1000 bytes (0 writes were applied)";
    rig.check("return #('x'):rep(984)", ":984");
    assert!(rig.eval("return ('x'):rep(984)").is_ok());
    rig.check_fails("return ('x'):rep(985)", refused);
    rig.check_fails("local t = {} for i = 1, 62 do t[i] = i end return t", refused);
    rig.check_fails("local a = {} a[1] = a a[2] = a return a", refused);
    rig.check_fails("return {map = {a = ('x'):rep(1000)}}", refused);
    rig.check_fails("return {set = {[('x'):rep(1000)] = 1}}", refused);
    rig.check_fails("return {verbatim_string = {format = 'txt', string = ('x'):rep(1000)}}", refused);
    rig.check_fails("return {err = ('x'):rep(1000)}", refused);
}

/// A reply as a script sees it.
const SHOW: &str = "local function show(v)
  if type(v) ~= 'table' then return type(v) .. ':' .. tostring(v) end
  if v.ok then return 'ok:' .. v.ok end
  if v.err then return 'err:' .. v.err .. ':' .. tostring(v.ignore_error_stats_update) end
  local t = {}
  for i = 1, #v do t[i] = show(v[i]) end
  return '[' .. table.concat(t, ',') .. ']'
end
return show(redis.pcall('x'))";

#[test]
fn replies_become_values_as_in_redis() {
    let mut rig = Rig::new();
    for (reply, value) in [
        ("$3\r\na\r\n\r\n", "string:a\\r\\n"),
        ("$0\r\n\r\n", "string:"),
        ("$-1\r\n", "boolean:false"),
        ("*-1\r\n", "boolean:false"),
        (":-12\r\n", "number:-12"),
        (":9223372036854775807\r\n", "number:9223372036854775807"),
        ("+OK\r\n", "ok:OK"),
        ("-ERR x y\r\n", "err:ERR x y:true"),
        ("-ODD\r\n", "err:ERR ODD:true"),
        ("*0\r\n", "[]"),
        ("*3\r\n:1\r\n*1\r\n$-1\r\n-ERR in it\r\n", "[number:1,[boolean:false],err:ERR in it:true]"),
    ] {
        rig.port.replies.push_back(reply.as_bytes().to_vec());
        let value = value.replace("9223372036854775807", "9.2233720368548e+18");
        rig.check(SHOW, &format!("${value}"));
    }
}

#[test]
fn malformed_replies_are_errors() {
    let mut rig = Rig::new();
    let whole = "*3\r\n$1\r\na\r\n:5\r\n+s\r\n";
    let mut bad: Vec<Vec<u8>> = (0..whole.len()).map(|n| whole.as_bytes()[..n].to_vec()).collect();
    for text in
        ["?\r\n", "$x\r\n", "$-2\r\n", "$99999999999999999999\r\n", "$5\r\nab\r\n", ":\r\n", ":1\n", ":1\r", "*2147483648\r\n"]
    {
        bad.push(text.as_bytes().to_vec());
    }
    bad.push(b":1\r\n:2\r\n".to_vec());
    bad.push("*1\r\n".repeat(100_000).into_bytes());
    bad.push((0..=255).collect());
    for reply in bad {
        rig.port.replies.push_back(reply);
        rig.check("return redis.pcall('x').err", "$ERR the command reply could not be read");
    }
}

#[test]
fn arguments_reach_the_server_as_redis_writes_them() {
    let mut rig = Rig::new();
    rig.check("return redis.call('ECHO', 'a\\0b', 1, 3.0, -0.5, 2^53, 1e20, 0.1, '', 1/0)", "$a\\x00b");
    let call: Vec<String> = rig.port.calls[0].iter().map(|arg| arg.escape_ascii().to_string()).collect();
    assert_eq!(call, ["ECHO", "a\\x00b", "1", "3", "-0.5", "9007199254740992", "1e+20", "0.1", "", "inf"]);
    rig.check("local t = {} for i = 1, 5000 do t[i] = i end redis.call('x', unpack(t)) return redis.call('y', 'z').ok", "$OK");
    assert_eq!(rig.port.calls[1].len(), 5001);
    assert_eq!(rig.port.calls[1][5000], b"5000");
    assert_eq!(rig.port.calls[2], [b"y", b"z"]);
}

#[test]
fn keys_and_arguments_are_ordinary_tables() {
    let mut rig = Rig::new();
    let reply = rig.eval_bytes(b"ARGV[3] = 'c' table.insert(KEYS, 'n') return {KEYS, ARGV}", &[b"k"], &[b"a\0", b""]);
    assert_eq!(reply.unwrap(), "*2 *2 $k $n *3 $a\\x00 $ $c");
    rig.check("return {#KEYS, #ARGV}", "*2 :0 :0");
    rig.check_error("KEYS = {}", "ERR user_script:1: Attempt to modify a readonly table @");
}

#[test]
fn each_status_reply_is_a_table_of_its_own() {
    let mut rig = Rig::new();
    rig.check(
        "local a, b = redis.call('SET'), redis.call('SET') a.ok, a.x = 'mine', 1 return {b.ok, b.x == nil, redis.call('SET').ok}",
        "*3 $OK :1 $OK",
    );
    rig.check("local t = redis.call('SET') for k in pairs(t) do t[k] = nil end return next(t)", "_");
    rig.check("return redis.call('SET')", "+OK");
}
