//! Numbers that a library turns into a size, an index or a count.

use super::{Answer, EndInMemory, Fail, Items, Row, check_rows};

const UNPACK: &[Row] = &[
    (
        "CVE-2025-46817",
        "return {pcall(unpack, {}, -2147483648, 2147483647)}",
        Answer("1) (nil)\n2) \"too many results to unpack\""),
    ),
    ("CVE-2025-46817", "return unpack({}, 0, 2147483647)", Fail("ERR user_script:1: too many results to unpack")),
    ("CVE-2025-46817", "return unpack({}, -2147483648, -1)", Fail("ERR user_script:1: too many results to unpack")),
    ("CVE-2025-46817", "return unpack({}, 1, 2^31 - 1)", Fail("ERR user_script:1: too many results to unpack")),
    ("CVE-2025-46817", "return select('#', unpack({}, 2147483647, 2147483647))", Answer("(integer) 1")),
    ("CVE-2025-46817", "return select('#', unpack({}, 2147483647, -2147483648))", Answer("(integer) 0")),
    ("CVE-2025-46817", "return select('#', unpack({}, 0/0, 0/0))", Answer("(integer) 1")),
    ("CVE-2025-46817", "return unpack({}, -1e308, 1e308)", Answer("(nil)")),
    ("unpack, nested", "return {unpack({}, 1, 7999), unpack({}, 1, 7999)}", Answer("(empty array)")),
    ("select of a huge index", "return select('#', select(2147483647, 1))", Answer("(integer) 0")),
    (
        "select of a huge negative index",
        "return select(-2147483648, 1)",
        Fail("ERR user_script:1: invalid argument #1 to 'select'"),
    ),
];

const STRINGS: &[Row] = &[
    ("rep of all that an int holds", "return string.rep('x', 2^31 - 1)", Fail("ERR user_script:1: resulting string too large")),
    ("rep beyond an int", "return string.rep('x', 2^31)", Answer("\"\"")),
    (
        "rep of a product that wraps",
        "return string.rep(('x'):rep(65536), 65537)",
        Fail("ERR user_script:1: resulting string too large"),
    ),
    ("rep of a product that wraps to 0", "return string.rep(('x'):rep(2^20), 2^44)", Answer("\"\"")),
    ("rep of a negative count", "return string.rep('x', -2^63)", Answer("\"\"")),
    ("rep of nothing, very often", "return string.rep('', 2^53)", Answer("\"\"")),
    ("rep of a count that is no number", "return string.rep('x', 0/0)", Answer("\"\"")),
    ("sub of huge bounds", "return string.sub('abc', -2^63, 2^63)", Answer("\"\"")),
    ("sub of bounds that are no numbers", "return #string.sub('abc', 0/0, 0/0)", Answer("(integer) 0")),
    (
        "byte of a whole long string",
        "return string.byte(('x'):rep(1e6), 1, -1)",
        Fail("ERR user_script:1: stack overflow (string slice too long)"),
    ),
    ("char out of range", "return string.char(-1)", Fail("ERR user_script:1: invalid argument #1 to 'char'")),
    ("char out of an int's range", "return string.char(2^32)", Fail("ERR user_script:1: invalid argument #1 to 'char'")),
    ("format of a wide number", "return string.format('%999d', 1)", Fail("ERR user_script:1: invalid format")),
    ("format of a precise number", "return string.format('%.999f', 1)", Fail("ERR user_script:1: invalid format")),
    ("format of the longest number", "return #string.format('%99.99f', -1e308)", Answer("(integer) 410")),
    ("format with a width from outside", "return string.format('%*d', 99999, 1)", Answer("\"99999d\"")),
    ("format that writes", "return string.format('%n', 1)", Fail("ERR user_script:1: invalid option")),
    ("format that ends too early", "return string.format('%', 1)", Fail("ERR user_script:1: invalid option")),
    ("format of many flags", "return string.format('%-+ #0-+ #0d', 1)", Fail("ERR user_script:1: invalid format")),
    ("format of too few values", "return string.format(('%s'):rep(300))", Fail("ERR user_script:1: missing argument #2")),
    ("format that doubles", "local s = 'x' while true do s = string.format('%s%s', s, s) end", EndInMemory),
    ("format of a number too large", "return string.format('%d', 1e308)", Answer("\"-9223372036854775808\"")),
    (
        "tonumber of a base out of range",
        "return tonumber('1', 2^31)",
        Fail("ERR user_script:1: invalid argument #2 to 'tonumber'"),
    ),
    ("tonumber of many digits", "return tonumber(('9'):rep(1e6)) == 1/0", Answer("(integer) 1")),
    ("tonumber of many digits in a base", "return type(tonumber(('z'):rep(1e6), 36))", Answer("\"number\"")),
    ("tonumber of many zeros", "return tonumber('0.' .. ('0'):rep(1e6) .. '1e1000001')", Answer("(integer) 1")),
];

const TABLES: &[Row] = &[
    (
        "concat of a huge range",
        "return table.concat({}, '', 1, 2^31 - 1)",
        Fail("ERR user_script:1: invalid value (nil) at index 1"),
    ),
    ("concat of a huge negative range", "return table.concat({}, 'x', -2^31, 0)", Fail("ERR user_script:1: invalid value (nil)")),
    ("concat that wraps", "return table.concat({[2147483647] = 'x'}, '', 2147483647, 2147483647)", Answer("\"x\"")),
    ("insert far away", "local t = {} table.insert(t, 2147483647, 'x') return #t", Answer("(integer) 0")),
    ("insert before everything", "local t = {1} table.insert(t, -2147483648, 'x') return #t", Answer("(integer) 1")),
    ("remove far away", "return table.remove({1, 2}, 2147483647)", Answer("(nil)")),
    ("maxn of a huge key", "return table.maxn({[1e308] = 1}) == 1e308", Answer("(integer) 1")),
    (
        "a sparse array does not take its length",
        "local t = {} t[2^31 - 1] = 1 t[2^53] = 1 t[1e308] = 1 return t",
        Answer("(empty array)"),
    ),
    ("sort of a sparse array", "local t = {[1] = 3, [2^20] = 1} table.sort(t) return t[1]", Answer("(integer) 3")),
    ("a key that is no number", "local t = {} t[0/0] = 1", Fail("ERR user_script:1: table index is NaN")),
    ("half a million elements", "local t = {} for i = 1, 5e5 do t[i] = 0 end return t", Items(500_000)),
    ("many small tables", "local t = {} for i = 1, 1e5 do t[i] = {0} end return t", Items(100_000)),
];

const NUMBERS: &[Row] = &[
    ("random of no interval", "return math.random(0/0)", Fail("ERR user_script:1: invalid argument #1 to 'random'")),
    (
        "random of a reversed interval",
        "return math.random(2147483647, -2147483648)",
        Fail("ERR user_script:1: invalid argument #2 to 'random'"),
    ),
    (
        "random of an infinite interval",
        "return type(math.random(1/0))",
        Fail("ERR user_script:1: invalid argument #1 to 'random' (interval is empty)"),
    ),
    (
        "randomseed of anything",
        "for _, n in pairs({0/0, 1/0, -1/0, 1e308, -2^63}) do math.randomseed(n) end return 1",
        Answer("(integer) 1"),
    ),
    ("ldexp of a huge exponent", "return math.ldexp(1, 2^31 - 1) == 1/0", Answer("(integer) 1")),
    (
        "the remainder that traps",
        "return {-2^63 % -1, math.fmod(-2^63, -1), math.mod(-2^63, -1)}",
        Answer("1) (integer) 0\n2) (integer) 0\n3) (integer) 0"),
    ),
    ("the remainder of nothing", "return tostring(math.fmod(1, 0)) .. tostring(5 % (1/0))", Answer("\"-nan-nan\"")),
    (
        "the frames of a huge level",
        "return {pcall(getfenv, 2^31), pcall(getfenv, -2^63)}",
        Answer("1) (nil)\n2) (nil)\n3) \"invalid argument #1 to 'getfenv' (invalid level)\""),
    ),
    ("error of a huge level", "error('x', 2147483647)", Fail("ERR x")),
    (
        "CVE-2024-31449",
        "return {bit.tohex(1, -2147483648), bit.tohex(-1, 2147483647), bit.tohex(1, 0)}",
        Answer("1) \"00000001\"\n2) \"ffffffff\"\n3) \"\""),
    ),
    ("CVE-2024-31449", "return #bit.tohex(-2^63, -2147483648)", Answer("(integer) 8")),
    (
        "bit shifts by anything",
        "return {bit.lshift(1, 2^31), bit.rol(1, -1), bit.arshift(-1, 1e9), bit.rshift(-1, -1)}",
        Answer("1) (integer) 1\n2) (integer) -2147483648\n3) (integer) -1\n4) (integer) 1"),
    ),
    ("bit of what is no number", "return bit.tobit(0/0) == bit.tobit(0/0)", Answer("(integer) 1")),
    ("bit of too many", "local t = {} for i = 1, 7990 do t[i] = i end return bit.bor(unpack(t))", Answer("(integer) 8191")),
];

#[test]
fn ranges_of_unpack_and_select_never_wrap() {
    check_rows(UNPACK);
}

#[test]
fn sizes_of_strings_never_wrap() {
    check_rows(STRINGS);
}

#[test]
fn indices_of_tables_never_wrap() {
    check_rows(TABLES);
}

#[test]
fn numbers_out_of_range_never_trap() {
    check_rows(NUMBERS);
}
