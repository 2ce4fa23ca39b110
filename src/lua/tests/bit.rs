//! `bit`: the results of LuaBitOp.

use super::*;

#[test]
fn results_are_signed_and_numbers_are_taken_modulo_two_to_the_32() {
    let mut rig = Rig::new();
    for (value, reply) in [
        ("bit.tobit(0xffffffff)", ":-1"),
        ("bit.tobit(0xffffffff + 1)", ":0"),
        ("bit.tobit(2^40 + 1234)", ":1234"),
        ("bit.tobit(0.5)", ":0"),
        ("bit.tobit(1.5)", ":2"),
        ("bit.tobit(2.5)", ":2"),
        ("bit.tobit(-1.5)", ":-2"),
        ("bit.tobit('10')", ":10"),
        ("bit.tobit('0')", ":0"),
        ("bit.tobit(1/0)", ":0"),
        ("bit.tobit(0/0)", ":0"),
        ("bit.bnot(0)", ":-1"),
        ("bit.bnot(0x12345678)", ":-305419897"),
        ("bit.band(0x12345678, 0xff)", ":120"),
        ("bit.band(7)", ":7"),
        ("bit.band(7, 14, 12)", ":4"),
        ("bit.bor(1, 2, 4, 8)", ":15"),
        ("bit.bor(0x80000000, 0)", ":-2147483648"),
        ("bit.bxor(0xa5a5f0f0, 0xaa55ff00)", ":267390960"),
        ("bit.lshift(1, 31)", ":-2147483648"),
        ("bit.lshift(1, 32)", ":1"),
        ("bit.lshift(1, -1)", ":-2147483648"),
        ("bit.rshift(-256, 8)", ":16777215"),
        ("bit.arshift(-256, 8)", ":-1"),
        ("bit.arshift(256, 8)", ":1"),
        ("bit.rol(0x12345678, 12)", ":1164411171"),
        ("bit.ror(0x12345678, 12)", ":1736516421"),
        ("bit.rol(5, 0)", ":5"),
        ("bit.bswap(0x12345678)", ":2018915346"),
        ("bit.tohex(1)", "$00000001"),
        ("bit.tohex(-1)", "$ffffffff"),
        ("bit.tohex(0x21, 4)", "$0021"),
        ("bit.tohex(0xabcdef, -8)", "$00ABCDEF"),
        ("bit.tohex(255, 0)", "$"),
        ("bit.tohex(255, 100)", "$000000ff"),
        ("bit.tohex(255, -2147483648)", "$000000FF"),
    ] {
        rig.check(&format!("return {value}"), reply);
    }
}

#[test]
fn arguments_that_are_not_numbers_are_refused() {
    let mut rig = Rig::new();
    for function in ["tobit", "bnot", "band", "bor", "bxor", "lshift", "rshift", "arshift", "rol", "ror", "bswap", "tohex"] {
        for (value, kind) in [
            ("nil", "nil"),
            ("true", "boolean"),
            ("'x'", "string"),
            ("''", "string"),
            ("{}", "table"),
            ("print_me", "function"),
            ("cjson.null", "userdata"),
        ] {
            let text = format!("bad argument #1 to '{function}' (number expected, got {kind})");
            rig.check_fails(&format!("local print_me = function() end bit.{function}({value}, 1)"), &text);
        }
        rig.check_fails(&format!("bit.{function}()"), "(number expected, got no value)");
    }
    rig.check_error("bit.lshift(1)", "ERR user_script:1: bad argument #2 to 'lshift' (number expected, got no value) @");
    rig.check_fails("bit.band(1, 2, 'x', 4)", "bad argument #3 to 'band' (number expected, got string)");
    rig.check_fails("bit.band = nil", "eadonly table");
}
