//! `cjson`: the results of lua-cjson, and hostile scripts.

use super::*;

#[test]
fn values_become_json() {
    let mut rig = Rig::new();
    for (value, json) in [
        ("nil", "null"),
        ("cjson.null", "null"),
        ("true", "true"),
        ("1", "1"),
        ("-0.5", "-0.5"),
        ("1e15", "1e+15"),
        ("0.1 + 0.2", "0.3"),
        ("2^53", "9.007199254741e+15"),
        ("'a'", "\"a\""),
        ("'a/b\\\\c\"'", "\"a\\/b\\\\c\\\"\""),
        ("'\\0\\1\\8\\9\\10\\12\\13\\31\\127'", "\"\\u0000\\u0001\\b\\t\\n\\f\\r\\u001f\\u007f\""),
        ("{}", "{}"),
        ("{1, 'b', {3}}", "[1,\"b\",[3]]"),
        ("{a = {}}", "{\"a\":{}}"),
        ("{[1.5] = 1}", "{\"1.5\":1}"),
        ("{[0] = 1}", "{\"0\":1}"),
        ("{[-1] = 1}", "{\"-1\":1}"),
        ("{[3] = 1}", "[null,null,1]"),
        ("{[1e10] = 1}", "{\"10000000000\":1}"),
        ("{1, [1e10] = 2}", "{\"1\":1,\"10000000000\":2}"),
        ("{nil, cjson.null, nil, 4}", "[null,null,null,4]"),
        ("setmetatable({1}, {__index = error, __len = error, __pairs = error})", "[1]"),
    ] {
        let json = json.as_bytes().escape_ascii().to_string();
        rig.check(&format!("return cjson.encode({value})"), &format!("${json}"));
    }
    rig.check("return cjson.encode('\\255\\128')", "$\\\"\\xff\\x80\\\"");
}

#[test]
fn json_becomes_values() {
    let mut rig = Rig::new();
    for (json, check) in [
        ("1", "v == 1"),
        (" [ 1 , 2 ] ", "#v == 2 and v[2] == 2"),
        ("{\"a\":{\"b\":[true,false,null]}}", "v.a.b[1] == true and v.a.b[2] == false and v.a.b[3] == cjson.null"),
        ("{\"a\":1,\"a\":2}", "v.a == 2"),
        ("{\"\":1}", "v[''] == 1"),
        ("{\"1\":1}", "v['1'] == 1 and v[1] == nil"),
        ("\"\"", "v == ''"),
        ("\"a\\\\u0041\\\\n\\\\/\\\\\"z\"", "v == 'aA\\n/\"z'"),
        ("\"\\\\u00e9\\\\u20ac\\\\ud83d\\\\ude00\"", "v == '\\195\\169\\226\\130\\172\\240\\159\\152\\128'"),
        ("\"\\\\u0000\"", "v == '\\0'"),
        ("\"\\255\\1\"", "v == '\\255\\1'"),
        ("0x10", "v == 16"),
        ("+5", "v == 5"),
        ("-.5", "v == -0.5"),
        ("007", "v == 7"),
        ("Infinity", "v == 1/0"),
        ("-inf", "v == -1/0"),
        ("nan", "v ~= v"),
        ("1e400", "v == 1/0"),
        ("12345678901234567890", "v == 12345678901234567890"),
        ("10\\0rest", "v == 10"),
    ] {
        rig.check(&format!("local v = cjson.decode('{json}') return tostring({check})"), "$true");
    }
    rig.check("return cjson.decode(12)", ":12");
    rig.check("return {type(cjson.null), tostring(cjson.null == nil), cjson.null}", "*3 $userdata $false _");
    rig.check("return {cjson._NAME, cjson._VERSION}", "*2 $cjson $2.1.0");
}

#[test]
fn errors_are_those_of_lua_cjson() {
    let mut rig = Rig::new();
    for (call, text) in [
        ("encode()", "bad argument #1 to 'encode' (expected 1 argument)"),
        ("encode(1, 2)", "bad argument #1 to 'encode' (expected 1 argument)"),
        ("encode(print)", "Script attempted to access nonexistent global variable 'print'"),
        ("encode(error)", "Cannot serialise function: type not supported"),
        ("encode({coroutine.create(error)})", "Cannot serialise thread: type not supported"),
        ("encode(newproxy())", "Cannot serialise userdata: type not supported"),
        ("encode({[true] = 1})", "Cannot serialise boolean: table key must be a number or string"),
        ("encode({[{}] = 1})", "Cannot serialise table: table key must be a number or string"),
        ("encode(1/0)", "Cannot serialise number: must not be NaN or Inf"),
        ("encode({[1/0] = 1})", "Cannot serialise number: must not be NaN or Inf"),
        ("encode({[100] = 1})", "Cannot serialise table: excessively sparse array"),
        ("decode()", "bad argument #1 to 'decode' (expected 1 argument)"),
        ("decode({})", "bad argument #1 to 'decode' (string expected, got table)"),
        ("decode(nil)", "bad argument #1 to 'decode' (string expected, got nil)"),
        ("decode(cjson.null)", "bad argument #1 to 'decode' (string expected, got userdata)"),
        ("decode('')", "Expected value but found T_END at character 1"),
        ("decode('\\0\\0')", "JSON parser does not support UTF-16 or UTF-32"),
        ("decode('1\\0')", "JSON parser does not support UTF-16 or UTF-32"),
        ("decode('1 2')", "Expected the end but found T_NUMBER at character 3"),
        ("decode('[1,]')", "Expected value but found T_ARR_END at character 4"),
        ("decode('[1')", "Expected comma or array end but found T_END at character 3"),
        ("decode('[1}')", "Expected comma or array end but found T_OBJ_END at character 3"),
        ("decode('{')", "Expected object key string but found T_END at character 2"),
        ("decode('{\"a\"}')", "Expected colon but found T_OBJ_END at character 5"),
        ("decode('{\"a\":1')", "Expected comma or object end but found T_END at character 7"),
        ("decode('{\"a\":1,}')", "Expected object key string but found T_OBJ_END at character 8"),
        ("decode('\"a')", "Expected value but found unexpected end of string at character 3"),
        ("decode('\"\\\\x\"')", "Expected value but found invalid escape code at character 2"),
        ("decode('\"\\\\ud800\"')", "Expected value but found invalid unicode escape code at character 2"),
        ("decode('\"\\\\udc00\\\\ud800\"')", "found invalid unicode escape code at character 2"),
        ("decode('\"\\\\u12\"')", "found invalid unicode escape code at character 2"),
        ("decode('tru')", "Expected value but found invalid token at character 1"),
        ("decode('-')", "Expected value but found invalid number at character 1"),
        ("decode('.5')", "Expected value but found invalid token at character 1"),
        ("decode('\\255')", "Expected value but found invalid token at character 1"),
        ("new(1).encode_max_depth(0)", "bad argument #1 to 'encode_max_depth' (expected integer between 1 and 2147483647)"),
        ("encode_number_precision(15)", "(expected integer between 1 and 14)"),
        ("encode_number_precision({})", "bad argument #1 to 'encode_number_precision' (number expected, got table)"),
        ("encode_invalid_numbers('maybe')", "bad argument #1 to 'encode_invalid_numbers' (invalid option 'maybe')"),
        ("encode_keep_buffer({})", "bad argument #1 to 'encode_keep_buffer' (string expected, got table)"),
        ("encode_keep_buffer(('x'):rep(9999))", "bad argument #1 to 'encode_keep_buffer' (invalid option 'xxxx"),
        ("decode_max_depth(1, 2)", "bad argument #2 to 'decode_max_depth' (found too many arguments)"),
        ("encode_sparse_array(true, 1, 2, 3)", "bad argument #4 to 'encode_sparse_array' (found too many arguments)"),
        ("encode_sparse_array(true, -1)", "bad argument #1 to 'encode_sparse_array' (expected integer between 0 and 2147483647)"),
    ] {
        rig.check_fails(&format!("cjson.{call}"), text);
    }
    rig.check_error("cjson.decode('x')", "ERR user_script:1: Expected value but found invalid token at character 1 @");
}

#[test]
fn every_setting_has_its_effect() {
    let mut rig = Rig::new();
    for (script, reply) in [
        ("return {cjson.encode_sparse_array()}", "*3 _ :2 :10"),
        ("return {cjson.encode_sparse_array('on', 1, 5)}", "*3 :1 :1 :5"),
        ("cjson.encode_sparse_array(true) return cjson.encode({[100] = 1})", "${\\\"100\\\":1}"),
        ("cjson.encode_sparse_array(nil, 0) return #cjson.encode({[100] = 1})", ":498"),
        ("cjson.encode_sparse_array(true, 1, 0) return cjson.encode({1, nil, 3})", "${\\\"1\\\":1,\\\"3\\\":3}"),
        ("return cjson.encode_max_depth(3) + cjson.decode_max_depth()", ":1003"),
        ("return cjson.encode_max_depth(2^32 + 7)", ":7"),
        ("return cjson.encode_max_depth('5.9')", ":5"),
        ("cjson.encode_number_precision(3) return cjson.encode(1 / 3)", "$0.333"),
        ("return {cjson.encode_keep_buffer(), cjson.encode_keep_buffer(false)}", "*2 :1 _"),
        ("return {cjson.encode_invalid_numbers(), cjson.encode_invalid_numbers('null')}", "*2 _ $null"),
        ("cjson.encode_invalid_numbers('null') return cjson.encode({0/0, 1/0})", "$[null,null]"),
        ("cjson.encode_invalid_numbers(true) return cjson.encode({0/0, 1/0, -1/0})", "$[nan,inf,-inf]"),
        ("cjson.decode_invalid_numbers(false) return cjson.decode('[1,-2.5e3,0]')[2]", ":-2500"),
        ("return cjson.encode(cjson.decode('[]'))", "${}"),
        ("cjson.decode_array_with_array_mt(true) return cjson.encode(cjson.decode('{\"a\":[],\"b\":{}}').a)", "$[]"),
        ("cjson.decode_array_with_array_mt(true) return cjson.encode(cjson.decode('[{},[1]]'))", "$[{},[1]]"),
        ("cjson.decode_array_with_array_mt(true) local t = cjson.decode('[]') t.x = 1 return cjson.encode(t)", "${\\\"x\\\":1}"),
        ("local c = cjson.new() c.encode_max_depth(1) return {cjson.encode({{}}), (pcall(c.encode, {{}}))}", "*2 $[{}] _"),
        ("local c = cjson.new().new() c.x = 1 return c.decode_max_depth()", ":1000"),
    ] {
        rig.check(script, reply);
    }
    for number in ["0x1", "01", "-01", "nan", "-inf", "Infinity", "+1", "-"] {
        let found = if number.starts_with(['+', 'n', 'I']) { "invalid token" } else { "invalid number" };
        rig.check_fails(&format!("cjson.decode_invalid_numbers('off') cjson.decode('{number}')"), found);
    }
}

#[test]
fn settings_end_with_the_run() {
    let mut rig = Rig::new();
    let look = "return {cjson.encode_max_depth(), cjson.decode_max_depth(), cjson.encode_number_precision(),
        tostring(cjson.encode_keep_buffer()), tostring(cjson.encode_invalid_numbers()), tostring(cjson.decode_invalid_numbers()),
        tostring(cjson.decode_array_with_array_mt()), cjson.encode_sparse_array()}";
    let clean = "*10 :1000 :1000 :14 $true $false $true $false _ :2 :10";
    rig.check(look, clean);
    for end in ["", "error('x')", "error()"] {
        let _ = rig.eval(&format!(
            "cjson.encode_max_depth(1) cjson.decode_max_depth(1) cjson.encode_number_precision(1) cjson.encode_keep_buffer(false)
             cjson.encode_invalid_numbers(true) cjson.decode_invalid_numbers(false) cjson.decode_array_with_array_mt(true)
             cjson.encode_sparse_array(true, 1, 1) {end}"
        ));
        rig.check(look, clean);
    }
    for attack in ["cjson.encode = nil", "rawset(cjson, 'x', 1)", "setmetatable(cjson, {})", "cjson.null = 1"] {
        rig.check_fails(attack, "eadonly table");
    }
    rig.check_fails(
        "cjson.decode_array_with_array_mt(true) getmetatable(cjson.decode('[]')).__index = cjson",
        "Attempt to modify a readonly table",
    );
}

#[test]
fn nesting_is_bounded_whatever_the_settings() {
    let mut rig = Rig::new();
    let deep = |n: u32, last: &str| format!("local t = {{}} for i = 2, {n} do t = {{t}} end {last}");
    rig.check(&deep(1000, "return #cjson.encode(t)"), ":2000");
    rig.check_fails(&deep(1001, "cjson.encode(t)"), "Cannot serialise, excessive nesting (1001)");
    rig.check_fails(&deep(100_000, "cjson.encode_max_depth(2147483647) cjson.encode(t)"), "excessive nesting (1001)");
    rig.check_fails("local t = {} t[1] = t cjson.encode(t)", "excessive nesting (1001)");
    rig.check_fails("local t = {} t.a = {t} cjson.encode_max_depth(5) cjson.encode(t)", "excessive nesting (6)");
    rig.check("return #cjson.decode(('['):rep(1000) .. (']'):rep(1000))", ":1");
    let text = "Found too many nested data structures (1001) at character 1001";
    rig.check_fails("cjson.decode(('['):rep(1001))", text);
    rig.check_fails("cjson.decode_max_depth(2147483647) cjson.decode(('['):rep(1000000))", text);
    let text = "Found too many nested data structures (1001) at character 5001";
    rig.check_fails("cjson.decode(('{\"a\":'):rep(5000))", text);
    rig.check_fails("cjson.decode_max_depth(2) cjson.decode('[[[')", "Found too many nested data structures (3) at character 3");
    rig.check("return coroutine.wrap(function() return #cjson.decode(('['):rep(1000) .. (']'):rep(1000)) end)()", ":1");
}

#[test]
fn limits_of_memory_and_time_hold() {
    let memory = "memory limit";
    let mut rig = Rig::new();
    rig.check_fails("local s = ('\\1'):rep(4000000) return #cjson.encode(s)", memory);
    rig.check_fails("local t = {} for i = 1, 25 do t = {t, t} end pcall(cjson.encode, t) return 1", memory);
    rig.check_fails("local s = '[' .. ('[],'):rep(1000000) .. '1]' while true do pcall(cjson.decode, s) end", memory);
    rig.check_fails("cjson.encode_sparse_array(true, 0) cjson.encode({[2147483647] = 1})", memory);
    rig.check_fails("local t = {} for i = 1, 1e9 do t[i] = cjson.new() end", memory);
    rig.check("local t = {} for i = 1, 100000 do t[i % 10] = cjson.new() end return 1", ":1");
    let short = Limits { memory_bytes: 1 << 30, budget_ms: 50, ..LIMITS };
    let time = "time limit of 50 ms";
    rig.check_ended(short, "local t = {} for i = 1, 29 do t = {t, t} end pcall(cjson.encode, t) return 1", time);
    rig.check_ended(short, "local t = {{}, {}} while true do cjson.encode(t) end", time);
    rig.check_ended(short, "while true do pcall(cjson.decode, '[[1],{}]') end", time);
}

#[test]
fn encoded_values_are_decoded_again() {
    let mut rig = Rig::new();
    rig.check(
        "local all = {} for i = 0, 255 do all[#all + 1] = string.char(i) end
         local s = table.concat(all):rep(50)
         local t = cjson.decode(cjson.encode({s = s, list = {s, s}, n = {1.5, -3, 1e300, 0}, b = {true, false}}))
         return tostring(t.s == s and t.list[2] == s and t.n[3] == 1e300 and t.n[1] == 1.5 and t.b[2] == false)",
        "$true",
    );
    rig.check("local t = {} for i = 1, 20000 do t[i] = i end return #cjson.decode(cjson.encode(t))", ":20000");
}

#[test]
fn any_memory_limit_leaves_a_working_engine() {
    for memory_bytes in (0..60_000).step_by(997) {
        let mut rig = Rig::with(Limits { memory_bytes, ..LIMITS });
        for source in [
            "return #cjson.encode(('\\n'):rep(3000))",
            "return #cjson.decode(cjson.encode({('a\\n'):rep(300), {}, {x = {1, 2, 3}}}))",
            "return cjson.new().encode({1, {2}})",
            "pcall(cjson.decode, ('[{\"a\\\\n\":'):rep(200)) return 1",
            "local ok, e = pcall(cjson.encode, {print_me = error}) return e",
            "local t = {} for i = 1, 100 do t = {t, t[1]} end return #cjson.encode(t)",
        ] {
            let _ = rig.eval(source);
        }
        rig.engine.set_limits(LIMITS).unwrap();
        rig.check_works();
        rig.check("return cjson.encode(cjson.decode('[1,{\"a\":[]}]'))", "$[1,{\\\"a\\\":{}}]");
    }
}

/// Texts made of JSON tokens, and of any bytes.
#[test]
fn any_text_is_read_or_refused() {
    const PIECES: &[&[u8]] = &[
        b"{", b"}", b"[", b"]", b",", b":", b"\"", b"\\", b"\\u00e9", b"\\ud83d", b"\\udc00", b"1", b"-", b".", b"e5", b"0x",
        b"p3", b"nan(", b"inf", b"true", b"null", b" ", b"\0", b"\xff", b"\"a\":", b"[]", b"{}", b"1e999",
    ];
    let script = b"local ok, v = pcall(cjson.decode, ARGV[1])
        if not ok then return type(v) end
        cjson.encode_invalid_numbers(true)
        local s = cjson.encode(v)
        return tostring(#cjson.encode(cjson.decode(s)) == #s)";
    let mut rig = Rig::new();
    let mut seed = crate::lua::vm::random::Lrand48::seeded(7);
    let mut below = |n: usize| (seed.next() * n as f64) as usize;
    let mut read = 0;
    for _ in 0..20_000 {
        let text: Vec<u8> = (0..below(14)).flat_map(|_| PIECES[below(PIECES.len())]).copied().collect();
        match rig.eval_bytes(script, &[], &[&text]).unwrap().as_str() {
            "$string" => {}
            "$true" => read += 1,
            other => panic!("{}: {other}", text.escape_ascii()),
        }
    }
    assert!(read > 500, "only {read} texts could be read");
}
