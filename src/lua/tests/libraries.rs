//! The libraries that scripts have.

use super::*;

#[test]
fn redis_has_its_functions_and_constants() {
    let mut rig = Rig::new();
    rig.check("return redis.sha1hex('')", "$da39a3ee5e6b4b0d3255bfef95601890afd80709");
    rig.check("return redis.sha1hex(1)", "$356a192b7913b04c54574d18c28d46e6395428ab");
    rig.check_error("redis.sha1hex()", "ERR wrong number of arguments @");
    rig.check("return {redis.REDIS_VERSION, redis.REDIS_VERSION_NUM, tostring(server == redis)}", "*3 $7.0.15 :458767 $true");
    rig.check("return {redis.LOG_DEBUG, redis.LOG_VERBOSE, redis.LOG_NOTICE, redis.LOG_WARNING}", "*4 :0 :1 :2 :3");
    rig.check("return redis.nothing", "_");
}

#[test]
fn log_lines_reach_the_server() {
    let mut rig = Rig::new();
    rig.check("return redis.log(redis.LOG_WARNING, 'x', 1, 2.5, {}, nil, 'y')", "_");
    rig.check("redis.log(0, '')", "_");
    assert_eq!(rig.port.logs, [(LogLevel::Warning, b"x 1 2.5 y".to_vec()), (LogLevel::Debug, b"".to_vec())]);
    rig.check_error("redis.log(1)", "ERR redis.log() requires two arguments or more. @");
    rig.check_error("redis.log(9, 'x')", "ERR Invalid debug level. @");
    rig.check_error("redis.log(-1, 'x')", "ERR Invalid debug level. @");
    rig.check_error("redis.log('a', 'x')", "ERR First argument must be a number (log level). @");
}

#[test]
fn lua_5_1_is_complete() {
    let mut rig = Rig::new();
    for (value, reply) in [
        ("_VERSION", "$Lua 5.1"),
        ("math.mod(7, 4)", ":3"),
        ("math.log(8, 2) > 2.07 and math.log(8, 2) < 2.08", ":1"),
        ("string.gfind('ab', '.')()", "$a"),
        ("('ab'):gfind('.')()", "$a"),
        ("table.getn({1, 2})", ":2"),
        ("table.maxn({[5] = 1})", ":5"),
        ("loadstring('return 1 + 1')()", ":2"),
        ("load(function() return nil end)", "_"),
        ("select(2, load(function() return ('x'):rep(1e6) end))", "$the source is longer than 1048576 bytes"),
        ("select(2, load(function() error('mine', 0) end))", "$mine"),
        ("select('#', unpack({1, nil, 3}, 1, 3))", ":3"),
        ("collectgarbage('count') > 0", ":1"),
        ("collectgarbage()", ":0"),
        ("collectgarbage('collect')", ":0"),
        ("collectgarbage('stop')", ":0"),
        ("type(newproxy(true))", "$userdata"),
        ("type(os.clock())", "$number"),
        ("rawequal(_G, getfenv())", ":1"),
        ("({pcall(error)})[1]", "_"),
        ("tostring(10 / 2) .. 3", "$53"),
        ("string.format('%d %s %5.1f', 3.7, 'x', 2)", "$3 x   2.0"),
    ] {
        rig.check(&format!("return {value}"), reply);
    }
    rig.check("local n, p = 0, {'return ', '4', '2'} return load(function() n = n + 1 return p[n] end)()", ":42");
    rig.check(
        "local f, e = loadstring('x y') return {tostring(f), e}",
        "*2 $nil $[string \\\"x y\\\"]:1: Incomplete statement: expected assignment or a function call",
    );
    rig.check("local s = 0 table.foreach({1, 2}, function(k, v) s = s + v end) return s", ":3");
    rig.check_fails("table.setn({}, 1)", "'setn' is obsolete");
}

#[test]
fn random_numbers_are_those_of_redis_and_belong_to_the_run() {
    let mut rig = Rig::new();
    // The output of Redis 7.0.15.
    rig.check("math.randomseed(1) return {math.random(1000000), math.random(1000000), math.random(5, 9)}", REDIS_SEQUENCE);
    rig.check("math.randomseed(1) return tostring(math.random())", "$0.041630344484761");
    let draw = "return tostring(math.random()) .. tostring(math.random())";
    assert_ne!(rig.eval(draw), rig.eval(draw));
    rig.check("for i = 1, 1000 do local x = math.random(3) if x < 1 or x > 3 then return x end end", "_");
    rig.check_fails("math.random(0)", "interval is empty");
    rig.check_fails("math.random(2, 1)", "interval is empty");
    rig.check_fails("math.random(0/0)", "interval is empty");
    rig.check_fails("math.random(1, 2, 3)", "wrong number of arguments");
}

const REDIS_SEQUENCE: &str = "*3 :41631 :454493 :9";
