//! Patterns that take exponential time, recurse deeply, or read past the end of the pattern.

use super::{Answer, EndInTime, Fail, Row, Soon, check_rows};

const SLOW: &[Row] = &[
    ("nested repetitions", "return ('a'):rep(5000):find(('a*'):rep(20) .. 'b')", EndInTime),
    ("lazy repetitions", "return ('a'):rep(5000):match(('a-'):rep(20) .. 'b')", EndInTime),
    ("captures that repeat", "return ('a'):rep(5000):find(('(a*)'):rep(20) .. 'b')", EndInTime),
    ("position captures", "return ('a'):rep(3000):find(('a*()'):rep(8) .. 'b')", EndInTime),
    ("back-references", "return ('a'):rep(3000):find('(a*)(a*)%1%2b')", EndInTime),
    ("sets that repeat", "return ('a'):rep(5000):find(('[^b]*'):rep(8) .. 'b')", EndInTime),
    ("balanced pairs that never close", "while true do local _ = ('('):rep(2e4):find('%b()') end", EndInTime),
    ("balanced pairs, quadratic", "return ('('):rep(5e6):find('%b()')", EndInTime),
    ("frontiers between repetitions", "return ('a'):rep(5000):find(('a*%f[b]'):rep(8))", EndInTime),
    ("frontiers everywhere", "while true do local _ = ('a b'):rep(1e4):gsub('%f[%w]', '') end", EndInTime),
    ("gmatch of nothing", "for _ in ('a'):rep(3e6):gmatch('') do for _ in ('a'):rep(1000):gmatch('') do end end", EndInTime),
    ("gsub of each byte by a function", "return ('a'):rep(5e6):gsub('.', function() return nil end)", EndInTime),
    (
        "gsub with a table that computes",
        "return ('a'):rep(5e6):gsub('.', setmetatable({}, {__index = function() return 'a' end}))",
        EndInTime,
    ),
    (
        "gsub with a callback that matches",
        "return ('a'):rep(1e4):gsub('a', function() return (('a'):rep(3000):find('a*a*a*b')) end)",
        EndInTime,
    ),
    ("a literal match, quadratic", "return ('a'):rep(8e5):match(('a'):rep(4e5) .. 'b')", Soon),
    ("back-references, quadratic", "return ('a'):rep(6e6):find('^(' .. ('a'):rep(10) .. 'a*)%1b')", Soon),
];

const DEEP: &[Row] = &[
    ("too many captures", "return ('x'):rep(40):find(('(x)'):rep(33))", Fail("ERR user_script:1: too many captures")),
    ("captures never closed", "return ('x'):rep(40):find(('(x'):rep(32))", Fail("ERR user_script:1: unfinished capture")),
    ("captures never opened", "return ('x'):find('.)')", Fail("ERR user_script:1: invalid pattern capture")),
    (
        "optional items, deep",
        "return ('x'):rep(1e5):find(('x?'):rep(1e5) .. 'y')",
        Fail("ERR user_script:1: pattern too complex"),
    ),
    ("sets, deep", "return ('x'):rep(1e5):find(('[x]?'):rep(1e5) .. 'y')", Fail("ERR user_script:1: pattern too complex")),
    ("frontiers are no recursion", "return (('x'):rep(1e3):find(('%f[x]'):rep(1e4) .. 'x'))", Answer("(integer) 1")),
    ("single items are no recursion", "return (('x'):rep(1e5):find(('.'):rep(1e5)))", Answer("(integer) 1")),
    ("gsub in gsub in gsub", "local function f(s) return (s:gsub('.', f)) end return f('x')", Fail("ERR C stack overflow")),
    (
        "gmatch in gmatch",
        "local function f(s) for c in s:gmatch('.') do return f(c) .. 'x' end end return f('x')",
        Fail("ERR user_script:1: stack overflow"),
    ),
];

const BROKEN: &[Row] = &[
    ("ends after %", "return ('x'):find('x%')", Fail("ERR user_script:1: malformed pattern (ends with '%')")),
    ("ends in a set", "return ('x'):find('[')", Fail("ERR user_script:1: malformed pattern (missing ']')")),
    ("ends in a set of a set", "return ('x'):find('[%')", Fail("ERR user_script:1: malformed pattern (missing ']')")),
    ("ends in a range", "return ('x'):find('[a-')", Fail("ERR user_script:1: malformed pattern (missing ']')")),
    ("ends in a complement", "return ('x'):find('[^')", Fail("ERR user_script:1: malformed pattern (missing ']')")),
    ("ends in a complement of ]", "return ('x'):find('[^]')", Fail("ERR user_script:1: malformed pattern (missing ']')")),
    ("ends after %b", "return ('x'):find('%b')", Fail("ERR user_script:1: ")),
    ("ends in %b", "return ('x'):find('%bx')", Fail("ERR user_script:1: ")),
    ("ends after %f", "return ('x'):find('%f')", Fail("ERR user_script:1: missing '[' after '%f' in pattern")),
    ("ends in %f", "return ('x'):find('%f[')", Fail("ERR user_script:1: malformed pattern (missing ']')")),
    ("ends at the string's end", "return ('x'):find('%f[%z]', 2)", Answer("(integer) 2")),
    ("a capture that is none", "return ('x'):find('%1')", Fail("ERR user_script:1: invalid capture index")),
    ("a capture that is open", "return ('xx'):find('(x%1)')", Fail("ERR user_script:1: invalid capture index")),
    ("a capture of a replacement that is none", "return ('x'):gsub('x', '%9')", Fail("ERR user_script:1: invalid capture index")),
    (
        "a NUL in it",
        r"return {('a\0b'):find('\0'), ('a\0b'):find('[\0]', 1), ('a\0b'):find('%z')}",
        Answer("1) (integer) 2\n2) (integer) 2\n3) (integer) 2\n4) (integer) 2"),
    ),
    (
        "an init beyond",
        "return {('x'):find('', 2^31), ('x'):find('x', -2^63), (('x'):find('', 0/0))}",
        Answer("1) (integer) 1\n2) (integer) 1\n3) (integer) 1"),
    ),
    (
        "a replacement of the wrong type",
        "return ('x'):gsub('x', function() return {} end)",
        Fail("ERR user_script:1: invalid replacement value"),
    ),
    ("a count that is negative", "return {('xxx'):gsub('x', 'y', -2^63)}", Answer("1) \"xxx\"\n2) (integer) 0")),
];

#[test]
fn slow_patterns_end_in_time() {
    check_rows(SLOW);
}

#[test]
fn deep_patterns_are_errors() {
    check_rows(DEEP);
}

#[test]
fn broken_patterns_are_errors() {
    check_rows(BROKEN);
}
