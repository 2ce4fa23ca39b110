//! Sources that could exhaust a compiler, up to the longest allowed.

use super::{Answer, Fail, Must, check_scripts};

const COMPILING: &str = "ERR Error compiling script (new function): ";
const LONGEST: usize = 1 << 20;

fn repeated(head: &str, part: &str, tail: &str) -> Vec<u8> {
    let room = LONGEST - head.len() - tail.len();
    format!("{head}{}{tail}", part.repeat(room / part.len())).into_bytes()
}

fn nested(head: &str, open: &str, middle: &str, close: &str, depth: usize) -> Vec<u8> {
    format!("{head}{}{middle}{}", open.repeat(depth), close.repeat(depth)).into_bytes()
}

fn names(count: usize) -> String {
    (0..count).map(|number| format!("v{number}")).collect::<Vec<_>>().join(",")
}

fn upvalues(count: usize) -> Vec<u8> {
    let blocks: String =
        (0..=count / 150).map(|block| format!("local {} = 1\nlocal function f{block}() ", names_of(block))).collect();
    let sum: String = (0..=count / 150).map(|block| names_of(block).replace(',', "+")).collect::<Vec<_>>().join("+");
    format!("{blocks} return {sum} {}", " end ".repeat(count / 150 + 1)).into_bytes()
}

fn names_of(block: usize) -> String {
    (0..150).map(|number| format!("b{block}v{number}")).collect::<Vec<_>>().join(",")
}

/// Sources of a mebibyte.
fn long() -> Vec<(&'static str, Vec<u8>, Must)> {
    vec![
        ("spaces", repeated("return 1", " ", ""), Answer("(integer) 1")),
        ("a comment", repeated("return 1 --", "x", ""), Answer("(integer) 1")),
        ("a long comment", repeated("--[==[", "]]", "]==] return 1"), Answer("(integer) 1")),
        ("a string", repeated("return #'", "x", "'"), Answer("(integer) 1048566")),
        ("escapes", repeated("return #'", "\\255", "'"), Answer("(integer) 262141")),
        ("a long bracket", repeated("return [", "=", ""), Fail(COMPILING)),
        ("long brackets", repeated("return ", "[=[", ""), Fail(COMPILING)),
        ("statements", repeated("local x = 0 ", "x = x + 1 ", "return 'done'"), Answer("\"done\"")),
        ("semicolons", repeated("", ";", ""), Fail(COMPILING)),
        ("elements", repeated("return #{", "0,", "}"), Answer("(integer) 524283")),
        ("fields", repeated("local t = {", "x=0,", "} return 1"), Answer("(integer) 1")),
        ("constants", (0..90_000).map(|n| format!("{n}.5,")).collect::<String>().into_bytes(), Fail(COMPILING)),
        ("additions", repeated("return 0", "+0", ""), Fail(COMPILING)),
        ("concatenations", repeated("return ''", "..''", ""), Fail(COMPILING)),
        ("comparisons", repeated("return 1", "==1", ""), Fail(COMPILING)),
        ("powers", repeated("return 1", "^1", ""), Fail(COMPILING)),
        ("conditions", repeated("return 1", " and 1", ""), Fail(COMPILING)),
        ("negations", repeated("return ", "not ", "1"), Fail(COMPILING)),
        ("minuses", repeated("return ", "- ", "1"), Fail(COMPILING)),
        ("indices", repeated("return x", ".x", ""), Fail(COMPILING)),
        ("calls", repeated("return x", "()", ""), Fail(COMPILING)),
        ("calls with strings", repeated("return x", "''", ""), Fail(COMPILING)),
        ("methods", repeated("return x", ":x()", ""), Fail(COMPILING)),
        ("parentheses", repeated("", "(", ""), Fail(COMPILING)),
        ("braces", repeated("return ", "{", ""), Fail(COMPILING)),
        ("functions", repeated("", "local function f() ", ""), Fail(COMPILING)),
        ("blocks", repeated("", "do ", ""), Fail(COMPILING)),
        ("branches", repeated("if x then ", "elseif x then ", "end"), Fail("ERR ")),
        ("loops", repeated("", "while 1 do ", ""), Fail(COMPILING)),
        ("functions, one after another", repeated("", "local function f() end ", ""), Fail(COMPILING)),
        ("scopes, one after another", repeated("", "do local x end ", "return 1"), Answer("(integer) 1")),
        (
            "closures, one after another",
            repeated("local x ", "do local f = function() return x end end ", "return 1"),
            Answer("(integer) 1"),
        ),
        ("types", repeated("local x: ", "{", ""), Fail(COMPILING)),
        ("types of types", repeated("type x = ", "x<", ""), Fail(COMPILING)),
        ("unions", repeated("local x: y", "|y", " = 1 return 1"), Fail(COMPILING)),
        ("optional types", repeated("local x: y", "?", " = 1 return 1"), Answer("(integer) 1")),
        ("strings in strings", repeated("return ", "`{", ""), Fail(COMPILING)),
        ("attributes", repeated("", "@native ", ""), Fail(COMPILING)),
        (
            "one byte too many",
            vec![b' '; LONGEST + 1],
            Fail("ERR Error compiling script (new function): the source is longer than 1048576 bytes"),
        ),
        ("the byte 255", vec![255; LONGEST], Fail(COMPILING)),
    ]
}

/// Just inside and just beyond the limits of a function.
fn many() -> Vec<(&'static str, Vec<u8>, Must)> {
    vec![
        ("200 locals", format!("local {} = unpack({{7}}) return v0", names(200)).into_bytes(), Answer("(integer) 7")),
        ("300 locals", format!("local {} = unpack({{7}}) return v0", names(300)).into_bytes(), Fail(COMPILING)),
        ("250 parameters", format!("return (function({}) return 7 end)()", names(250)).into_bytes(), Fail(COMPILING)),
        ("300 upvalues", upvalues(300), Fail(COMPILING)),
        ("300 arguments", format!("return select('#', {})", vec!["1"; 300].join(",")).into_bytes(), Fail(COMPILING)),
        ("300 values returned", format!("return {}", vec!["1"; 300].join(",")).into_bytes(), Fail(COMPILING)),
        ("300 names of a loop", format!("for {} in next, {{}} do end", names(300)).into_bytes(), Fail(COMPILING)),
        ("100 levels of parentheses", nested("return ", "(", "1", ")", 100), Answer("(integer) 1")),
        ("100 levels of tables", nested("return #", "{", "", "}", 100), Answer("(integer) 1")),
        ("20 levels of functions", nested("return type", "(function() return ", "1", " end)", 20), Answer("\"function\"")),
        ("50000 levels of parentheses", nested("return ", "(", "1", ")", 50_000), Fail(COMPILING)),
        ("50000 levels of tables", nested("return ", "{", "", "}", 50_000), Fail(COMPILING)),
        ("50000 levels of functions", nested("return ", "function() return ", "1", " end", 50_000), Fail(COMPILING)),
        ("50000 levels of blocks", nested("", "do ", "", "end ", 50_000), Fail(COMPILING)),
        ("50000 levels of calls", nested("return ", "f(", "1", ")", 50_000), Fail(COMPILING)),
        ("50000 levels of indices", nested("return ", "t[", "1", "]", 50_000), Fail(COMPILING)),
        ("a jump too far", [&b"while x do "[..], &repeated("", "x() ", ""), b" end"].concat().split_off(20), Fail(COMPILING)),
    ]
}

#[test]
fn the_longest_sources_are_compiled_or_refused() {
    check_scripts(&long());
}

#[test]
fn deep_sources_are_compiled_or_refused() {
    check_scripts(&many());
}
