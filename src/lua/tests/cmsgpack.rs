//! `cmsgpack`: the bytes, round trips, and malformed data.

use std::fmt::Write as _;

use super::*;

/// The result of `cmsgpack.pack`, in hexadecimal.
fn packed(arguments: &str) -> String {
    format!("return (cmsgpack.pack({arguments}):gsub('.', function(c) return ('%02x'):format(c:byte()) end))")
}

/// The result of `cmsgpack.unpack` for bytes in hexadecimal.
fn unpacked(hex: &str) -> String {
    format!("return {{cmsgpack.unpack((('{hex}'):gsub('..', function(h) return string.char(tonumber(h, 16)) end)))}}")
}

#[test]
fn every_value_has_its_shortest_bytes() {
    let mut rig = Rig::new();
    for (arguments, hex) in [
        ("nil", "c0"),
        ("true, false", "c3c2"),
        ("0, 127, 128, 255, 256", "007fcc80ccffcd0100"),
        ("65535, 65536, 4294967295, 4294967296", "cdffffce00010000ceffffffffcf0000000100000000"),
        ("-1, -32, -33, -128, -129", "ffe0d0dfd080d1ff7f"),
        ("-32768, -32769, -2147483648, -2147483649", "d18000d2ffff7fffd280000000d3ffffffff7fffffff"),
        ("2^53, -2^63, 2^63, 2^64", "cf0020000000000000d38000000000000000ca5f000000ca5f800000"),
        ("-0, 0.5, 0.1, 1/0, -1/0", "00ca3f000000cb3fb999999999999aca7f800000caff800000"),
        ("'', 'abc', '12'", "a0a3616263a23132"),
        ("{}, {1, 2}, {{}}", "909201029190"),
        ("{a = 1}, {[2] = 1}, {[1.5] = 1}, {[0] = 1}", "81a1610181020181ca3fc0000001810001"),
        ("{[true] = false}, {[{}] = {}}", "81c3c2819090"),
        ("function() end, coroutine.create(function() end)", "c0c0"),
        ("{nil, nil, 3}", "810303"),
        ("{n = {n = {1}}}", "81a16e81a16e9101"),
    ] {
        rig.check(&packed(arguments), &format!("${hex}"));
    }
}

#[test]
fn long_strings_and_tables_have_long_lengths() {
    let mut rig = Rig::new();
    for (value, head, len) in [
        ("('x'):rep(31)", "bf78", 32),
        ("('x'):rep(32)", "d92078", 34),
        ("('x'):rep(255)", "d9ff78", 257),
        ("('x'):rep(256)", "da010078", 259),
        ("('x'):rep(65535)", "daffff78", 65538),
        ("('x'):rep(65536)", "db0001000078", 65541),
        ("(function() local t = {} for i = 1, 15 do t[i] = i end return t end)()", "9f01", 16),
        ("(function() local t = {} for i = 1, 16 do t[i] = i end return t end)()", "dc001001", 19),
        ("(function() local t = {} for i = 1, 65536 do t[i] = 7 end return t end)()", "dd0001000007", 65541),
        ("(function() local t = {} for i = 1, 15 do t['k' .. i] = i end return t end)()", "8f", 67),
        ("(function() local t = {} for i = 1, 16 do t[-i] = i end return t end)()", "de0010", 35),
        (
            "(function() local t = {} for i = 0, 65536 do t[i] = 7 end return t end)()",
            "df00010001",
            5 + 128 * 2 + 128 * 3 + 65280 * 4 + 6,
        ),
    ] {
        let source = format!(
            "local s = cmsgpack.pack({value}) return {{#s, (s:sub(1, {}):gsub('.', function(c) return ('%02x'):format(c:byte()) end))}}",
            head.len() / 2
        );
        rig.check(&source, &format!("*2 :{len} ${head}"));
    }
}

#[test]
fn packed_values_are_unpacked_again() {
    let mut rig = Rig::new();
    for value in [
        "1",
        "-1",
        "0.1",
        "1e300",
        "2^53",
        "-2^63",
        "1/0",
        "true",
        "'x'",
        "('ab'):rep(100000)",
        "{1, 2, {3, {}}}",
        "{a = {b = {c = 'd'}}}",
        "{[0.5] = 'x', [-1] = 'y', [true] = 'z'}",
    ] {
        let source = format!(
            "local function same(a, b)
               if type(a) ~= 'table' then return a == b end
               for k, v in pairs(a) do if not same(v, b[k]) then return false end end
               for k in pairs(b) do if a[k] == nil then return false end end
               return true
             end
             local value = {value}
             return same(value, cmsgpack.unpack(cmsgpack.pack(value)))"
        );
        rig.check(&source, ":1");
    }
    // Pieces of all lengths, in order.
    rig.check(
        "local t = {} for i = 1, 2000 do t[i] = ('%d,'):format(i):rep(i % 97) end
         local u = cmsgpack.unpack(cmsgpack.pack(t)) for i = 1, 2000 do if t[i] ~= u[i] then return i end end return #u",
        ":2000",
    );
}

#[test]
fn every_format_of_2012_is_read_and_no_other() {
    let mut rig = Rig::new();
    for (hex, reply) in [
        ("007fccffcdffffceffffffff", "*5 :0 :127 :255 :65535 :4294967295"),
        ("cf0000000100000000cfffffffffffffffff", "*2 :4294967296 :-1"),
        ("ffe0d080d18000d280000000d38000000000000000", "*6 :-1 :-32 :-128 :-32768 :-2147483648 :-9223372036854775808"),
        ("c2", "*1 _"),
        ("c3", "*1 :1"),
        ("c0", "*0"),
        ("ca40200000cb4004000000000000", "*2 :2 :2"),
        ("a0a161d90162da000163db0000000164", "*5 $ $a $b $c $d"),
        ("90910192c30adc000101dd0000000102", "*5 *0 *1 :1 *2 :1 :10 *1 :1 *1 :2"),
        ("80810107de000101a178df00000001017a", "*4 *0 *1 :7 *1 $x *1 :122"),
        ("93c00102", "*1 *0"),
    ] {
        rig.check(&unpacked(hex), reply);
    }
    for tag in ["c1", "c4", "c5", "c6", "c7", "c8", "c9", "d4", "d5", "d6", "d7", "d8"] {
        rig.check_fails(
            &unpacked(&format!("{tag}01000000000000000000000000000000000000")),
            "user_script:1: Bad data format in input.",
        );
    }
}

#[test]
fn data_that_ends_too_early_is_an_error() {
    let mut rig = Rig::new();
    let whole = "958393c30aa3616263ca3f800000cb3ff199999999999ad90178da0001796401cf0000000100000000ce0001000090";
    for end in (2..whole.len()).step_by(2) {
        rig.check_fails(&unpacked(&whole[..end]), "user_script:1: Missing bytes in input.");
    }
    for lie in ["ddffffffff", "dfffffffff", "dbffffffff", "dcffff", "deffff", "daffff", "d9ff", "9f", "8f", "bf", "cf", "ca"] {
        rig.check_fails(&unpacked(lie), "Missing bytes in input.");
        rig.check_fails(&unpacked(&format!("{lie}01")), "Missing bytes in input.");
    }
    rig.check_fails(&unpacked("ddffffffffc1"), "Bad data format in input.");
    rig.check_fails(&unpacked("dfffffffffc001"), "table index is nil");
    rig.check_fails(&unpacked("81cb7ff800000000000001"), "table index is NaN");
}

#[test]
fn values_are_taken_one_by_one() {
    let mut rig = Rig::new();
    for (call, reply) in [
        ("unpack_one('\\1\\2\\3')", "*2 :1 :1"),
        ("unpack_one('\\1\\2\\3', 1)", "*2 :2 :2"),
        ("unpack_one('\\1\\2\\3', 2)", "*2 :-1 :3"),
        ("unpack_one('\\1\\2\\3', 3)", "*1 :-1"),
        ("unpack_one('')", "*1 :-1"),
        ("unpack_limit('\\1\\2\\3', 2)", "*3 :2 :1 :2"),
        ("unpack_limit('\\1\\2\\3', 5)", "*4 :-1 :1 :2 :3"),
        ("unpack_limit('\\1\\2\\3', 0)", "*3 :1 :2 :3"),
        ("unpack_limit('\\1\\2\\3', 0, 1)", "*1 :1"),
        ("unpack_limit('\\1\\2\\3', '1', '2')", "*2 :-1 :3"),
        ("unpack('')", "*0"),
        ("unpack('\\1', 'ignored')", "*1 :1"),
        ("unpack(12)", "*2 :49 :50"),
    ] {
        rig.check(&format!("return {{cmsgpack.{call}}}"), reply);
    }
    for (call, text) in [
        ("pack()", "bad argument #0 to 'pack' (MessagePack pack needs input.)"),
        ("unpack()", "bad argument #1 to 'unpack' (string expected, got no value)"),
        ("unpack({})", "bad argument #1 to 'unpack' (string expected, got table)"),
        ("unpack_one(nil)", "bad argument #1 to 'unpack_one' (string expected, got nil)"),
        ("unpack_one('', {})", "bad argument #2 to 'unpack_one' (number expected, got table)"),
        ("unpack_limit('')", "bad argument #2 to 'unpack_limit' (number expected, got no value)"),
        ("unpack_one('abc', 4)", "Start offset 4 greater than input length 3."),
        ("unpack_one('abc', -1)", "Invalid request to unpack with offset of -1 and limit of 3."),
        ("unpack_limit('abc', -1)", "Invalid request to unpack with offset of 0 and limit of 3."),
        ("unpack_one('', 1e300)", "Invalid request to unpack with offset of 0 and limit of 0."),
    ] {
        rig.check_error(&format!("cmsgpack.{call}"), &format!("ERR user_script:1: {text} @"));
    }
}

#[test]
fn nesting_is_bounded_in_both_directions() {
    let mut rig = Rig::new();
    rig.check(
        &packed("(function() local t = {} for i = 1, 16 do t = {t} end return t end)()"),
        &format!("${}c0", "91".repeat(16)),
    );
    rig.check(&packed("(function() local t = {} t[1] = t return t end)()"), &format!("${}c0", "91".repeat(16)));
    rig.check("local s = ('\\145'):rep(999) .. '\\1' return #cmsgpack.unpack(s)", ":1");
    for tag in ["\\145", "\\129\\1", "\\129"] {
        rig.check_fails(&format!("cmsgpack.unpack(('{tag}'):rep(100000))"), "user_script:1: stack overflow (");
    }
    // Below the number of C calls that Luau allows.
    rig.check(
        "local s, deep, done = ('\\145'):rep(999) .. '\\1', 0
         local function f()
           deep = deep + 1
           if not pcall(string.gsub, 'x', 'x', f) and not done then done = #cmsgpack.unpack(s) end
         end
         f()
         return {deep > 50, done}",
        "*2 :1 :1",
    );
    rig.check_fails("return cmsgpack.unpack(('\\1'):rep(100000))", "use unpack_one or unpack_limit instead.)");
    rig.check("return select('#', cmsgpack.unpack(('\\1'):rep(7990)))", ":7990");
    rig.check("return tostring((pcall(cmsgpack.pack, unpack({}, 1, 7000))))", "$false");
}

#[test]
fn large_results_obey_the_limits() {
    let mut rig = Rig::new();
    let short = Limits { budget_ms: 200, ..LIMITS };
    let shared = "local t = {1} for i = 1, 14 do local u = {} for j = 1, 10 do u[j] = t end t = u end";
    rig.check_ended(short, &format!("{shared} cmsgpack.pack(t)"), "ERR script exceeded the ");
    rig.check_ended(short, "local t = {} t.t = t t[t] = t cmsgpack.pack(t)", "ERR script exceeded the ");
    rig.check_fails("local s, t = ('x'):rep(1000000), {} for i = 1, 1000 do t[i] = s end cmsgpack.pack(t)", "the memory limit");
    rig.check_ended(short, "while true do pcall(cmsgpack.unpack, ('\\144'):rep(5000)) end", "the time limit");
    rig.check_ended(short, "while true do cmsgpack.unpack(cmsgpack.pack({1, {a = 2}})) end", "the time limit");
    rig.check_ended(
        short,
        "local s = '\\221\\255\\255\\255\\255' .. ('\\220\\255\\255'):rep(900) while true do pcall(cmsgpack.unpack, s) end",
        "the time limit",
    );
}

#[test]
fn any_bytes_are_values_or_an_error() {
    let mut rig = Rig::new();
    let mut seed = 7_u64;
    for _ in 0..300 {
        let mut hex = String::new();
        for _ in 0..24 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // High bytes are the tags.
            write!(hex, "{:02x}", if seed >> 40 & 3 == 0 { seed >> 56 & 3 } else { seed >> 56 | 0x80 }).unwrap();
        }
        let _ = rig.eval(&unpacked(&hex));
        let _ = rig.eval(&unpacked(&hex).replace("cmsgpack.unpack", "cmsgpack.unpack_one"));
    }
    rig.check_works();
}
