//! `atomic.*` with a fake port: the list of functions, tables as arguments, and refusals as errors.

use super::*;

/// The arguments of the only call, as the port got them.
#[track_caller]
fn check_call(script: &str, expected: &str) {
    let mut rig = Rig::new();
    rig.check(script, "+OK");
    assert_eq!(rig.port.natives, 1, "{script}");
    let words: Vec<_> = rig.port.calls.concat().iter().map(|word| word.escape_ascii().to_string()).collect();
    assert_eq!(words.join(" "), expected, "{script}");
}

#[track_caller]
fn check_refused(script: &str, expected: &str) {
    let mut rig = Rig::new();
    rig.check_error(script, &format!("{expected} @"));
    let shown = expected.as_bytes().escape_ascii();
    rig.check(
        &format!("local ok, e = pcall(function() {script} end) return {{tostring(ok), e}}"),
        &format!("*2 $false ${shown}"),
    );
    assert!(rig.port.calls.is_empty(), "{script}");
}

const NOT_A_STRING: &str = "ERR Lua redis lib command arguments must be strings or integers";

#[test]
fn functions_are_the_commands_by_their_names() {
    let mut rig = Rig::new();
    rig.check(
        "local names = {} for name, f in pairs(atomic) do names[#names + 1] = name .. ' ' .. type(f) end table.sort(names) return names",
        "*2 $buy function $cart function",
    );
    check_call("return atomic.buy('k', 1)", "atomic.buy k 1");
    check_call("return atomic.cart()", "atomic.cart");
    check_call("local f = atomic.buy return coroutine.wrap(function() return f('k', 0.5, -3) end)()", "atomic.buy k 0.5 -3");
}

#[test]
fn the_table_is_read_only() {
    for attack in [
        "atomic.buy = nil",
        "atomic.x = 1",
        "rawset(atomic, 'buy', 1)",
        "setmetatable(atomic, {})",
        "table.insert(atomic, 1)",
        "setfenv(atomic.buy, {})",
    ] {
        let text = Rig::new().eval(attack).expect_err(attack);
        assert!(text.contains("eadonly table") || text.contains("cannot change environment"), "{attack}\n{text}");
    }
    Rig::new().check_fails("atomic.nosuch('k')", "attempt to call a nil value");
}

#[test]
fn a_table_is_its_list_and_then_its_options_in_the_order_of_the_syntax() {
    for (table, expected) in [
        ("{}", ""),
        ("{1, 'two', 3.5}", " 1 two 3.5"),
        ("{gift = true}", " GIFT"),
        ("{GIFT = true}", " GIFT"),
        ("{gift = false, all = nil}", ""),
        ("{all = true, at = 5, zone = 'z', gift = true}", " ZONE z AT 5 GIFT ALL"),
        ("{'last', gift = 1, 'first', at = 'x'}", " last first AT x GIFT 1"),
        ("{at = {10, 'y', 0.1}, all = true}", " AT 10 y 0.1 ALL"),
        ("{at = {}, all = true}", " AT ALL"),
        ("{at = {('x'):rep(3), 7}}", " AT xxx 7"),
        ("{AT = 1, at = 2, At = 3}", " AT 1 AT 3 AT 2"),
        ("{at = '\\0\\r\\n'}", " AT \\x00\\r\\n"),
        (
            "setmetatable({'a', gift = true}, {__index = function() error('asked') end, __len = function() return 9 end})",
            " a GIFT",
        ),
    ] {
        check_call(&format!("return atomic.buy('k', 2, {table})"), &format!("atomic.buy k 2{expected}"));
    }
    check_call("return atomic.buy({'k', 2, at = 1})", "atomic.buy k 2 AT 1");
}

#[test]
fn unknown_options_are_refused_and_never_taken_for_data() {
    for (script, near) in [
        ("atomic.buy('k', {price = 1})", "PRICE"),
        ("atomic.buy('k', {at = 1, zones = 2})", "ZONES"),
        ("atomic.buy('k', {[''] = 1})", ""),
        ("atomic.buy('k', {at = 1, ['a\\0'] = 2})", "A\\x00"),
        ("atomic.cart('k', {at = 1})", "AT"),
    ] {
        check_refused(script, &format!("ERR syntax error near '{near}'"));
    }
    let long = format!("ERR syntax error near '{}...'", "X".repeat(64));
    check_refused("atomic.buy('k', {[('x'):rep(1000)] = 1})", &long);
}

#[test]
fn arguments_of_other_types_are_refused_as_by_redis_call() {
    for arguments in [
        "nil",
        "'k', true",
        "'k', nil, 1",
        "'k', function() end",
        "'k', coroutine.create(function() end)",
        "'k', cjson.null",
        "{'a'}, 'k'",
        "{}, {}",
        "{{}}",
        "{{'a'}}",
        "{true}",
        "{1, false}",
        "{1, nil, 3}",
        "{[2] = 1}",
        "{[0] = 1}",
        "{1, [1.5] = 1}",
        "{[-1] = 1}",
        "{[true] = 1}",
        "{[{}] = 1}",
        "{at = {1, {2}}}",
        "{at = {zone = 1}}",
        "{at = {1, nil, 3}}",
        "{at = {true}}",
        "{at = function() end}",
        "{at = cjson.null}",
        "(function() local t = {} t[1] = t return t end)()",
        "(function() local t = {} t.at = t return t end)()",
    ] {
        check_refused(&format!("atomic.buy({arguments})"), NOT_A_STRING);
    }
}

#[test]
fn arguments_are_bounded() {
    let list = "local t = {} for i = 1, N do t[i] = i end";
    let many = |count: usize| list.replace('N', &count.to_string());
    check_call(&format!("{} t = {{at = t}} return redis.status_reply(atomic.buy(t).ok)", many(3)), "atomic.buy AT 1 2 3");
    let mut rig = Rig::new();
    rig.check(&format!("{} return atomic.buy(t)", many(7999)), "+OK");
    assert_eq!(rig.port.calls[0].len(), 8000);
    for script in [
        format!("{} atomic.buy(t)", many(8000)),
        format!("{} atomic.buy('k', t)", many(7999)),
        format!("{} atomic.buy({{at = t}})", many(7999)),
        format!("{} atomic.buy(t)", many(200_000)),
        "local t = {} for i = 1, 64 do t[('at'):gsub('.', function(c) return i % 2 == 0 and c or c:upper() end)] = 1 end
         for i = 1, 40 do end for a in ('at aT At AT'):gmatch('%S+') do t[a] = 1 end
         for a in ('zone Zone zOne ZOne zoNe ZoNe zONe ZONe zonE ZonE zOnE ZOnE zoNE ZoNE zONE ZONE'):gmatch('%S+') do t[a] = 1 end
         for a in ('gift Gift gIft GIft giFt GiFt gIFt GIFt gifT GifT gIfT GIfT giFT GiFT gIFT GIFT'):gmatch('%S+') do t[a] = 1 end
         atomic.buy(t)"
            .replace('\n', " "),
    ] {
        check_refused(&script, "ERR too many arguments");
    }
}

#[test]
fn a_key_of_the_run_is_known_by_its_number() {
    let mut rig = Rig::new();
    let script = b"atomic.buy(KEYS[2], 1) atomic.buy({KEYS[1], at = 1}) atomic.buy('other', KEYS[1]) return atomic.buy()";
    assert_eq!(rig.eval_bytes(script, &[b"one", b"two"], &[]).as_deref(), Ok("+OK"));
    assert_eq!(rig.port.keys, [Some(1), Some(0), None, None]);
}

#[test]
fn errors_are_raised_with_their_code_and_replies_are_those_of_commands() {
    let mut rig = Rig::new();
    let mut check = |reply: &str, script: &str, expected: &str| {
        rig.port.replies.push_back(reply.as_bytes().to_vec());
        rig.check(script, expected);
    };
    check(":5\r\n", "return atomic.buy('k')", ":5");
    check("$-1\r\n", "return tostring(atomic.buy('k'))", "$false");
    check("*2\r\n:1\r\n$1\r\na\r\n", "return atomic.buy('k')", "*2 :1 $a");
    check("-WRONGTYPE x\r\n", "local ok, e = pcall(atomic.buy, 'k') return {tostring(ok), e}", "*2 $false $WRONGTYPE x");
    check("-WRONGTYPE x\r\n", "return select(2, pcall(atomic.buy, 'k'))", "$WRONGTYPE x");
    check("%1\r\n$1\r\na\r\n_\r\n", "redis.setresp(3) return type(atomic.buy('k').map)", "$table");
    rig.port.replies.push_back(b"-NOPERM no\r\n".to_vec());
    rig.check_error("atomic.buy('k')", "NOPERM no @");
}

#[test]
fn a_panic_of_the_port_ends_the_run_only() {
    let mut rig = Rig::new();
    rig.port.replies.push_back(b"PANIC".to_vec());
    let text = rig.eval("pcall(atomic.buy, 'k') return 1").unwrap_err();
    assert!(text.starts_with("ERR internal error"), "{text}");
    rig.check_works();
}
