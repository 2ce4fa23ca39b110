//! `struct`: formats, alignment, and malformed data.

use super::*;

/// The result of `struct.pack`, in hexadecimal.
fn packed(arguments: &str) -> String {
    format!("return (struct.pack({arguments}):gsub('.', function(c) return ('%02x'):format(c:byte()) end))")
}

#[test]
fn values_become_bytes() {
    let mut rig = Rig::new();
    for (arguments, hex) in [
        ("''", ""),
        ("'bBhH', -1, 255, -2, 65535", "fffffeffffff"),
        ("'>h<h>H', 1, 1, 258", "000101000102"),
        ("'i', -2", "feffffff"),
        ("'>I', 4294967295", "ffffffff"),
        ("'lL', -1, 2^53", "ffffffffffffffff0000000000002000"),
        ("'T', 1", "0100000000000000"),
        ("'i1i2i3>i3', 1, 2, 3, 4", "010200030000000004"),
        ("'i0', 5", ""),
        ("'>i16', -1", "0000000000000000ffffffffffffffff"),
        ("'b', 300", "2c"),
        ("'b', 3.9", "03"),
        ("'b', -3.9", "fd"),
        ("'b', '7'", "07"),
        ("'L', 2^63", "0000000000000080"),
        ("'L', 2^64", "0000000000000000"),
        ("'l', -2^63", "0000000000000080"),
        ("'L', 1e300", "0000000000000000"),
        ("'f>f', 1.5, 1.5", "0000c03f3fc00000"),
        ("'d>d', 0.1, -0.1", "9a9999999999b93fbfb999999999999a"),
        ("'xbx', 1", "000100"),
        ("'s', 'ab'", "616200"),
        ("'s', 12", "313200"),
        ("'c0', 'ab'", "6162"),
        ("'c1c', 'ab', 'cd'", "6163"),
        ("' b b ', 1, 2", "0102"),
        ("'b\\0zzz', 1", "01"),
        ("'!4bi', 1, 2", "0100000002000000"),
        ("'!bd', 1, 0", "01000000000000000000000000000000"),
        ("'!2bi', 1, 2", "010002000000"),
        ("'!16bl', 1, 2", "01000000000000000200000000000000"),
        ("'!4bsi', 1, 'a', 2", "0161000002000000"),
        ("'!4bc2h', 1, 'ab', 2", "016162000200"),
    ] {
        rig.check(&packed(arguments), &format!("${hex}"));
    }
    rig.check("local s = struct.pack(('s'):rep(200), unpack((function() local t = {} for i = 1, 200 do t[i] = ('x'):rep(i) end return t end)())) return #s", ":20300");
}

#[test]
fn bytes_become_values() {
    let mut rig = Rig::new();
    for (arguments, reply) in [
        ("'', ''", "*1 :1"),
        ("'bB', '\\255\\255'", "*3 :-1 :255 :3"),
        ("'<h>h', '\\1\\0\\0\\1'", "*3 :1 :1 :5"),
        ("'i', '\\254\\255\\255\\255'", "*2 :-2 :5"),
        ("'>i3', '\\255\\255\\254'", "*2 :-2 :4"),
        ("'I3', '\\255\\255\\255'", "*2 :16777215 :4"),
        ("'l', ('\\255'):rep(8)", "*2 :-1 :9"),
        ("'i0', ''", "*2 :0 :1"),
        ("'f', '\\0\\0\\192\\63'", "*2 :1 :5"),
        ("'>d', '\\64\\4\\0\\0\\0\\0\\0\\0'", "*2 :2 :9"),
        ("'xb', '\\9\\1'", "*2 :1 :3"),
        ("'sb', 'ab\\0\\1'", "*3 $ab :1 :5"),
        ("'c2c', 'abc'", "*3 $ab $c :4"),
        ("'bc0', '\\2abc'", "*2 $ab :4"),
        ("'c1c0', '2abc'", "*2 $ab :4"),
        ("'bc0', '\\0abc'", "*2 $ :2"),
        ("'!4bi', '\\1\\0\\0\\0\\2\\0\\0\\0'", "*3 :1 :2 :9"),
        ("'b', '\\1\\2\\3', 3", "*2 :3 :4"),
        ("'b', '\\1\\2\\3', '2'", "*2 :2 :3"),
        ("'', 'abc', -5", "*1 :-5"),
        ("'', 'abc', 4", "*1 :4"),
    ] {
        rig.check(&format!("return {{struct.unpack({arguments})}}"), reply);
    }
    rig.check("return select('#', struct.unpack(('b'):rep(7990), ('x'):rep(7990)))", ":7991");
}

#[test]
fn size_counts_the_bytes_of_a_format() {
    let mut rig = Rig::new();
    for (format, size) in [
        ("", 0),
        ("bhilTfdx", 36),
        ("!bhild", 24),
        ("!4bd", 12),
        ("c5i3i16", 24),
        ("c2147483647", 2_147_483_647),
        ("c2147483647c2147483647", 4_294_967_294_u64),
        ("zZ9Q", 0),
        ("> < !", 0),
    ] {
        rig.check(&format!("return struct.size('{format}')"), &format!(":{size}"));
    }
}

#[test]
fn wrong_formats_and_arguments_are_named() {
    let mut rig = Rig::new();
    for (call, text) in [
        ("pack()", "bad argument #1 to 'pack' (string expected, got no value)"),
        ("pack({})", "bad argument #1 to 'pack' (string expected, got table)"),
        ("pack('i')", "bad argument #2 to 'pack' (number expected, got nil)"),
        ("pack('bb', 1)", "bad argument #3 to 'pack' (number expected, got nil)"),
        ("pack('i', 'x')", "bad argument #2 to 'pack' (number expected, got string)"),
        ("pack('s', true)", "bad argument #2 to 'pack' (string expected, got boolean)"),
        ("pack('c3', 'ab')", "bad argument #3 to 'pack' (string too short)"),
        ("pack('z')", "bad argument #1 to 'pack' (invalid format option 'z')"),
        ("pack('4')", "bad argument #1 to 'pack' (invalid format option '4')"),
        ("pack('!3')", "alignment 3 is not a power of 2"),
        ("pack('!0')", "alignment 0 is not a power of 2"),
        ("pack('i33', 1)", "integral size 33 is larger than limit of 32"),
        ("pack('i2147483647', 1)", "integral size 2147483647 is larger than limit of 32"),
        ("pack('i2147483648', 1)", "integral size overflow"),
        ("pack('c99999999999999999999999', 'x')", "integral size overflow"),
        ("size('s')", "bad argument #1 to 'size' (option 's' has no fixed size)"),
        ("size('c0')", "bad argument #1 to 'size' (option 'c0' has no fixed size)"),
        ("size('?')", "bad argument #1 to 'size' (invalid format option '?')"),
        ("size(nil)", "bad argument #1 to 'size' (string expected, got nil)"),
        ("unpack('i')", "bad argument #2 to 'unpack' (string expected, got no value)"),
        ("unpack('i', 'abc')", "bad argument #2 to 'unpack' (data string too short)"),
        ("unpack('b', 'abc', 0)", "bad argument #3 to 'unpack' (offset must be 1 or greater)"),
        ("unpack('b', 'abc', 4)", "bad argument #2 to 'unpack' (data string too short)"),
        ("unpack('b', 'abc', -1)", "bad argument #2 to 'unpack' (data string too short)"),
        ("unpack('b', 'abc', {})", "bad argument #3 to 'unpack' (number expected, got table)"),
        ("unpack('c0', 'abc')", "format 'c0' needs a previous size"),
        ("unpack('c1c0', 'abc')", "format 'c0' needs a previous size"),
        ("unpack('bc0', '\\9abc')", "bad argument #2 to 'unpack' (data string too short)"),
        ("unpack('bc0', '\\255abc')", "bad argument #2 to 'unpack' (data string too short)"),
        ("unpack('s', 'abc')", "unfinished string in data"),
        ("unpack('c2147483647', 'abc')", "bad argument #2 to 'unpack' (data string too short)"),
        ("unpack('?', 'abc')", "bad argument #1 to 'unpack' (invalid format option '?')"),
    ] {
        rig.check_error(&format!("struct.{call}"), &format!("ERR user_script:1: {text} @"));
    }
    rig.check("return select(2, pcall(struct.pack, 'i'))", "$bad argument #2 to \\'?\\' (number expected, got nil)");
}

#[test]
fn huge_formats_end() {
    let mut rig = Rig::new();
    let short = Limits { budget_ms: 200, ..LIMITS };
    rig.check("return #struct.pack(('x'):rep(1000000))", ":1000000");
    rig.check("return struct.size(('!8bd'):rep(100000))", ":1600000");
    rig.check("return #struct.pack('!1073741824bi', 1, 2)", ":8");
    rig.check("return #struct.pack(('s'):rep(1000), unpack((function() local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1000) end return t end)()))", ":1001000");
    rig.check_fails("return struct.unpack(('b'):rep(8000), ('x'):rep(8000))", "user_script:1: stack overflow (too many results)");
    rig.check_ended(short, "local f = ('x'):rep(1000) while true do struct.pack(f) end", "the time limit");
    rig.check_ended(short, "local f = (' '):rep(1000000) while true do struct.size(f) end", "the time limit");
    rig.check_fails("local s = ('x'):rep(9000000) return struct.pack('ss', s, s)", "the memory limit");
    rig.check_fails("local s = ('x'):rep(4000000) while true do struct.unpack('c0', s) end", "previous size");
}

#[test]
fn any_format_works_or_is_an_error() {
    let mut rig = Rig::new();
    let mut seed = 3_u64;
    let words = [
        "b", "B", "h", "i", "I", "i3", "i16", "l", "T", "f", "d", "s", "c", "c0", "c3", "x", " ", "<", ">", "!", "!4", "!16",
        "9", "z",
    ];
    for _ in 0..500 {
        let mut format = String::new();
        for _ in 0..6 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format.push_str(words[(seed >> 33) as usize % words.len()]);
        }
        let _ = rig.eval(&format!("return struct.pack('{format}', 1, 2, 3, 4, 5, 6)"));
        let _ = rig.eval(&format!("return {{struct.unpack('{format}', ('\\1'):rep(40) .. '\\0', {})}}", seed >> 62));
        let _ = rig.eval(&format!("return struct.size('{format}')"));
    }
    rig.check_works();
}
