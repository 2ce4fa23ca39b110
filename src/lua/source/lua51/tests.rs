//! Differences that are found in sources, and sources that are not Lua 5.1.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

/// The outcome for a source.
fn is_lua51(source: &str) -> bool {
    Parser::new(source.as_bytes()).source().is_ok()
}

#[track_caller]
fn check(source: &str, expected: &str) {
    assert!(is_lua51(source), "{source}");
    assert_eq!(String::from_utf8_lossy(&translate(source.as_bytes()).text), expected);
}

#[test]
fn a_function_with_dots_declares_arg_when_somebody_means_it() {
    const ARG: &str = " local arg = {n = select_('#', ...), ...} ";
    const SELECT: &str = "local select_ = select ";
    for (head, body) in [
        ("local function f(...)", " return arg[1] end"),
        ("function f(a, ...)", "return arg end"),
        ("function o.f(arg, ...)", "\narg.n = 1 end"),
        ("return {f = function(...)", " arg() end}"),
        ("function o:f(...)", " for i = 1, #arg do end end"),
        ("function f(...)", " local function g(a) return arg end end"),
        ("function f(...)", " local t = {[arg] = 1, arg = 2} end"),
    ] {
        check(&format!("{head}{body}"), &format!("{SELECT}{head}{ARG}{body}"));
    }
    check("function f(...) return arg, ... end", "function f(...) local arg  return arg, ... end");
    check(
        "function f(...) return function(...) return arg end, ... end",
        &format!("{SELECT}function f(...) return function(...){ARG} return arg end, ... end"),
    );
    check("local select_, f = 1, function(...)return arg end", &{
        let arg = ARG.replace("select_", "select__");
        format!("local select__ = select local select_, f = 1, function(...){arg}return arg end")
    });
}

#[test]
fn other_names_arg_are_left_alone() {
    for source in [
        "return arg, ...",
        "function f(arg) return arg end",
        "function f(...) return t.arg, t:arg(), {arg = 1}, 'arg', [[arg]] end --arg",
        "function f(...) local arg return 1 end",
        "function f(...) return function(x, ...) return 'arg' end end",
        "function arg() end",
        "return function(...) return #{...} end",
    ] {
        check(source, source);
    }
}

#[test]
fn an_escape_that_luau_refuses_is_the_letter() {
    check(r"return '\u00e9'", "return 'u00e9'");
    check(r"f'\x' f'\xZZ' f'\u{' f'\u{110000}'", r"f'x' f'xZZ' f'u{' f'u{110000}'");
    check(r#"return "\\x\"\u\'""#, r#"return "\\x\"u\'""#);
    check(r"return '\q\a\065\10'", r"return '\q\a\065\10'");
    check(r"return [[\u00e9]]", r"return [[\u00e9]]");
}

#[test]
fn other_differences_are_reported() {
    let differs = |source: &str| translate(source.as_bytes()).differs;
    for source in [
        r"return '\x41'",
        r"return '\u{48}'",
        r"return '\z  x'",
        "a, a = 1, 2",
        "t.x, a, b, a = 1, 2, 3, 4",
        "return {'b', [1] = 'a'}",
        "return {[0x2] = 5, 1, 2}",
        "local function f(n) return f(n - 1) end",
        "function m.f(n) if n then return m.f(n) end end",
        "local f = function() return function() return f() end end",
        "function o:f() return self:f() end",
        "return {f = function(s) return s.f(s) end}",
    ] {
        assert!(is_lua51(source) && differs(source), "{source}");
    }
    for source in [
        "a, b = 1, 2",
        "t.a, t.a = 1, 2",
        "return {1, 2, [3] = 4, [0] = 1, [1.5] = 2, ['1'] = 3}",
        "return {[1] = 'a'}",
        "local function f(n) return 1 + f(n - 1) end",
        "local function f(n) return (f(n - 1)) end",
        "local function f(n) return f(n - 1), 1 end",
        "local function f(n) return g(n) end return f()",
        "local function call(...) return redis.call(...) end",
        "function m.call(...) return redis.call(...) end",
        "local function get(k) return store.get(k) end",
        "function m.get(k) return get(k) end",
        "a, a = 1, atomic.incrby('k', 1)",
        "x += 1 a, a = 1, 2",
    ] {
        assert!(!differs(source), "{source}");
    }
}

#[test]
fn the_grammar_is_that_of_lua_51() {
    for source in [
        "",
        ";".trim_start_matches(';'),
        "a = 1; b = 2;",
        "local a, b = 1",
        "f() f{} f'' f[[]] f.a.b:c'' (f)()",
        "a.b['c'][1].d = -x ^ -2 .. not 1 == #t",
        "for i = 1, 2 do break end for k, v in f, t do end",
        "repeat local x until x while 1 do end do end",
        "if a then elseif b then else end return",
        "return 0x1F, .5, 5., 1e10, 1E-2, 3",
        "--[[\n]] --[==[ ]] ]==] -- x\nreturn [==[ ]] ]==]",
        "local function f(a, b, ...) return ... end",
        "goto = 1 continue = goto type = continue export = type",
        "return function() end ;",
        "a\n= 1",
    ] {
        assert!(is_lua51(source), "{source}");
    }
    for source in [
        ";",
        "a",
        "a += 1",
        "f() = 1",
        "(a) = 1",
        "f\n(a)",
        "local function f(a,) end",
        "local function f(..., a) end",
        "function f() return ... end",
        "return 1 return 2",
        "break x = 1",
        "continue",
        "goto x",
        "return 1_000",
        "return 0b1",
        "return 0x",
        "return 1..2",
        "return 5 // 2",
        "return a != b",
        "return `a`",
        "return if a then b else c",
        "local x: number = 1",
        "return 'a\nb'",
        "return 'a",
        "return '\\256'",
        "@native function f() end",
    ] {
        assert!(!is_lua51(source), "{source}");
    }
}

#[test]
fn nesting_ends_where_that_of_lua_51_does() {
    let nested = |levels: usize| format!("return {}1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(is_lua51(&nested(198)) && !is_lua51(&nested(199)));
    assert!(!is_lua51(&nested(1 << 19)) && !is_lua51(&"do ".repeat(1 << 19)) && !is_lua51(&"x=".repeat(1 << 19)));
    assert!(is_lua51(&format!("if a then {} end", "elseif b then ".repeat(5000))));
}

proptest! {
    #[test]
    fn any_bytes_are_read_and_keep_their_lines(source in "[-a-z'\"\\\\\\[\\](){}=.,;:#~<>+*/%^ \n0-9]{0,80}") {
        let lines = |text: &[u8]| text.iter().filter(|&&byte| byte == b'\n').count();
        prop_assert_eq!(lines(&translate(source.as_bytes()).text), lines(source.as_bytes()));
    }

    #[test]
    fn tokens_of_lua_are_read_and_keep_their_lines(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        let source = words.join(" ");
        let lines = |text: &[u8]| text.iter().filter(|&&byte| byte == b'\n').count();
        prop_assert_eq!(lines(&translate(source.as_bytes()).text), lines(source.as_bytes()));
    }
}

const WORDS: &[&str] = &[
    "function f(...)",
    "function(a, ...)",
    "arg",
    "...",
    "end",
    "return",
    "local",
    "a",
    "=",
    ",",
    "(",
    ")",
    "{",
    "}",
    "'\\x'",
    "\n",
    "if",
    "then",
    "else",
    "do",
    "for",
    "in",
    "1",
    "[",
    "]",
    ":",
    ".",
    "f()",
    "--",
    "--[[",
    "]]",
    "\"",
    "nil",
    "..",
    "and",
];
