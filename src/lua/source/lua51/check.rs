//! What can be seen in a source without running it, for people who move scripts here.

use std::collections::HashSet;

use super::lexer::{Lexer, Token, TokenKind};
use super::parser::Parser;
use super::references;
use super::shapes::Names;
use crate::error::quoted;
use crate::lua::source::shebang;

/// Something that is worth knowing about a line of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub line: usize,
    pub kind: Kind,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It does not compile.
    Error,
    /// It means something else than in Lua 5.1.
    Differs,
    /// It uses a global variable that does not exist.
    Global,
    /// It uses a key that `KEYS` does not have.
    Key,
    /// It calls a command that scripts may not call.
    Command,
    /// A read-only replica refuses it.
    Replica,
    /// A cluster may refuse it.
    Cluster,
    /// It cannot be undone.
    Rollback,
    /// A command of this module does the same.
    Native,
}

impl Kind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Differs => "differs",
            Self::Global => "global",
            Self::Key => "key",
            Self::Command => "command",
            Self::Replica => "replica",
            Self::Cluster => "cluster",
            Self::Rollback => "rollback",
            Self::Native => "native",
        }
    }
}

/// A call of `redis.call` or `redis.pcall`. A word that is not a constant is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub line: usize,
    pub words: Vec<Option<Vec<u8>>>,
}

/// The globals of scripts on all servers, and the names that a function declares by itself.
const GLOBALS: &[&str] = &[
    "ARGV",
    "KEYS",
    "_G",
    "_VERSION",
    "arg",
    "assert",
    "atomic",
    "bit",
    "cjson",
    "cmsgpack",
    "collectgarbage",
    "coroutine",
    "error",
    "gcinfo",
    "getfenv",
    "getmetatable",
    "ipairs",
    "load",
    "loadstring",
    "math",
    "newproxy",
    "next",
    "os",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawset",
    "redis",
    "select",
    "self",
    "server",
    "setfenv",
    "setmetatable",
    "string",
    "struct",
    "table",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "xpcall",
];

/// The findings about a script, and the calls in it. A source that is not Lua 5.1 is only compared with the known scripts.
#[must_use]
pub fn check(source: &[u8]) -> (Vec<Finding>, Vec<Call>) {
    let code = if shebang::is_present(source) { shebang::split(source).1 } else { source };
    let before = source.len().saturating_sub(code.len());
    let line = |at: usize| line_of(source, at.saturating_add(before));
    let tokens = tokens(code);
    let mut findings = Vec::new();
    let mut parser = Parser::new(code);
    parser.names = Some(Names::default());
    if parser.source().is_ok() {
        if !parser.is_ours {
            let differs = |(at, what): &(usize, &str)| Finding { line: line(*at), kind: Kind::Differs, text: (*what).to_owned() };
            findings.extend(parser.differences.iter().map(differs));
        }
        findings.extend(parser.names.iter().flat_map(|names| globals(names, &line)));
    } else {
        let text = "this is not Lua 5.1, so only this engine runs it".to_owned();
        findings.push(Finding { line: 1, kind: Kind::Differs, text });
    }
    if let Some(command) = references::replacement(&tokens) {
        findings.push(Finding { line: 1, kind: Kind::Native, text: format!("this command does the same: {command}") });
    }
    let calls = calls(&tokens).into_iter().map(|(at, words)| Call { line: line(at), words }).collect();
    (findings, calls)
}

/// The line of an offset, counted from 1.
fn line_of(source: &[u8], at: usize) -> usize {
    source.iter().take(at).filter(|byte| **byte == b'\n').count().saturating_add(1)
}

/// The tokens up to the first that is not Lua 5.1.
pub(super) fn tokens(code: &[u8]) -> Vec<Token<'_>> {
    let mut lexer = Lexer::new(code);
    std::iter::from_fn(|| lexer.next().ok().filter(|token| token.kind != TokenKind::End)).collect()
}

fn globals(names: &Names<'_>, line: &impl Fn(usize) -> usize) -> Vec<Finding> {
    let is_known = |name: &[u8]| names.declared.contains(name) || GLOBALS.iter().any(|global| global.as_bytes() == name);
    let assigned = names.assigned.iter().map(|(at, name)| (*at, *name, "sets the global variable"));
    let used = names.used.iter().map(|(at, name)| (*at, *name, "uses the global variable"));
    let mut seen = HashSet::new();
    let unknown = assigned.chain(used).filter(|(_, name, _)| !is_known(name) && seen.insert(*name));
    let finding = |(at, name, what)| {
        let name = quoted(name);
        Finding {
            line: line(at),
            kind: Kind::Global,
            text: format!("{what} '{name}', which does not exist: declare it as local"),
        }
    };
    unknown.map(finding).collect()
}

type Words = Vec<Option<Vec<u8>>>;

/// The calls of commands, with their offsets: `redis.call(...)`, also with `server` and `pcall`.
fn calls(tokens: &[Token<'_>]) -> Vec<(usize, Words)> {
    let is_call = |start: &[Token<'_>]| match start {
        [library, dot, function, open, ..] => {
            let is_name = |token: &Token<'_>, names: [&[u8]; 2]| token.kind == TokenKind::Name && names.contains(&token.text);
            is_name(library, [b"redis", b"server"]) && dot.is(b".") && is_name(function, [b"call", b"pcall"]) && open.is(b"(")
        }
        _ => false,
    };
    let starts = (0..tokens.len()).filter_map(|at| tokens.get(at..)).filter(|start| is_call(start));
    let call = |start: &[Token<'_>]| Some((start.first()?.start, words(start.get(4..)?)));
    starts.filter_map(call).collect()
}

/// The arguments of a call, up to its closing bracket.
fn words(tokens: &[Token<'_>]) -> Words {
    let (mut words, mut argument, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    for token in tokens {
        let opens = [&b"("[..], b"{", b"[", b"function"].iter().any(|word| token.is(word));
        let closes = [&b")"[..], b"}", b"]", b"end"].iter().any(|word| token.is(word));
        if depth == 0 && (closes || token.is(b",")) {
            words.push(constant(&argument));
            argument.clear();
            if closes {
                break;
            }
            continue;
        }
        depth = depth.saturating_add(usize::from(opens)).saturating_sub(usize::from(closes));
        argument.push(*token);
    }
    words
}

/// The value of an argument that is one string without escapes, or a number.
fn constant(argument: &[Token<'_>]) -> Option<Vec<u8>> {
    let [token] = argument else { return None };
    match token.kind {
        TokenKind::Quoted => unquoted(token.text).map(<[u8]>::to_vec),
        TokenKind::Number => Some(token.text.to_vec()),
        _ => None,
    }
}

/// The text between the quotes, unless it has escapes.
pub(super) fn unquoted(text: &[u8]) -> Option<&[u8]> {
    let text = text.get(1..text.len().checked_sub(1)?)?;
    if text.contains(&b'\\') { None } else { Some(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each finding as `line kind text`.
    fn found(source: &str) -> Vec<String> {
        let finding = |finding: &Finding| format!("{} {} {}", finding.line, finding.kind.name(), finding.text);
        check(source.as_bytes()).0.iter().map(finding).collect()
    }

    #[track_caller]
    fn expect(source: &str, starts: &[&str]) {
        let found = found(source);
        assert_eq!(found.len(), starts.len(), "{source}: {found:?}");
        for (finding, start) in found.iter().zip(starts) {
            assert!(finding.starts_with(start), "{source}: {finding}");
        }
    }

    #[test]
    fn a_plain_script_has_no_findings() {
        for source in [
            "",
            "return 1",
            "local function f(a, ...) for k, v in pairs(a) do a[k] = v end return select('#', ...) end return f({x = 1})",
            "local t = {} function t.f() end function t:g() self.x = 1 end for i = 1, 2 do t[i] = i end return #t",
            "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])",
            "local s = 'x = 1' -- y = 2\nreturn s .. cjson.encode(ARGV)",
            "local function f() return later() end",
        ] {
            let found = found(source);
            let unknown = source.contains("later");
            assert_eq!(found.is_empty(), !unknown, "{source}: {found:?}");
        }
    }

    #[test]
    fn differences_have_their_lines() {
        expect("return 1,\n '\\x41'", &["2 differs the escapes"]);
        expect("local a\na, a = 1, 2", &["2 differs of two values that are assigned"]);
        expect("return {1,\n[1] = 2}", &["2 differs of two values for one place"]);
        expect("local function f(n)\n  return f(n - 1)\nend", &["2 differs a function that returns a call of itself"]);
        expect("#!lua\n\nreturn '\\x41'", &["3 differs"]);
        expect("local x = 1\nx += 1 return x", &["1 differs this is not Lua 5.1"]);
        // A script that only runs here has no other meaning elsewhere.
        expect("return atomic.cas(KEYS[1], '\\x41', '')", &[]);
    }

    #[test]
    fn globals_are_found_once_each() {
        expect(
            "local a = 1\nb = a\nb = print(c)\nfunction d() end",
            &["2 global sets the global variable 'b'", "4 global sets the global variable 'd'", "3 global uses", "3 global uses"],
        );
        expect("x, KEYS[1], y.z = 1, 2, 3 local y", &["1 global sets the global variable 'x'"]);
    }

    #[test]
    fn calls_have_their_constant_words() {
        let source = "redis.call('GET', 'k')\nserver.pcall(\"DEL\", KEYS[1], f('a', {1, 2}), 7, 'a\\n')\nlocal c = redis.call redis.call()";
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let expected = [
            Call { line: 1, words: vec![text("GET"), text("k")] },
            Call { line: 2, words: vec![text("DEL"), None, None, text("7"), None] },
            Call { line: 3, words: vec![None] },
        ];
        assert_eq!(check(source.as_bytes()).1, expected);
        assert_eq!(check(b"x.redis.call = 1 redis.call 'GET'").1, []);
    }

    #[test]
    fn any_bytes_are_read_to_their_end() {
        for source in ["redis.call(", "redis.call('GET'", "redis.call('GET',", "'", "[[", "\u{4e00}", "return '\\", "{{{{", "((("]
        {
            let _ = check(source.as_bytes());
        }
    }
}
