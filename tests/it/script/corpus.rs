//! Sources of applications and of this project, and one of every construct that is not the same in Lua 5.1 and in Luau. The server and this
//! engine must both take a source, or both not; what only one takes, or reads otherwise, must be known here. So a package that brings
//! something new is seen when it is updated, and not by who uses it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use redis_atomic::lua;

use crate::support::installed::root;
use crate::support::{Server, Value, each_server};

/// What becomes of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Both engines take it, and it means the same.
    Same,
    /// Both take it, and it means something else here: drop-in mode leaves it to the server's engine.
    Differs,
    /// Only the server takes it: drop-in mode leaves it to the server's engine.
    Theirs,
    /// Only this engine takes it.
    Ours,
    /// Nobody takes it.
    Neither,
}
use Class::{Differs, Neither, Ours, Same, Theirs};

fn class(server: &Server, source: &[u8]) -> Class {
    let takes = |command: &[u8]| !matches!(server.call(&[command, b"LOAD", source]), Value::Error(_));
    match (takes(b"ATOMIC.SCRIPT"), takes(b"SCRIPT")) {
        (true, true) if lua::differs(source) => Differs,
        (true, true) => Same,
        (false, true) => Theirs,
        (true, false) => Ours,
        (false, false) => Neither,
    }
}

/// One of each construct.
const CONSTRUCTS: &[(&str, Class)] = &[
    ("local function f(...) return arg end return f(1)", Same),
    ("local function f(...) return arg, ... end return f(1)", Same),
    ("return arg", Same),
    ("return ('x'):match('%g')", Same),
    ("return tostring(1e15) .. 2^53", Same),
    (r"return '\q\a\065'", Same),
    (r"return '\u00e9\x\u{110000}'", Same),
    (r"return '\x41'", Differs),
    (r"return '\u{48}'", Differs),
    (r"return '\z x'", Differs),
    ("local a a, a = 1, 2 return a", Differs),
    ("return {'b', [1] = 'a'}", Differs),
    ("local function f(n) if n == 0 then return 0 end return f(n - 1) end return f(3)", Differs),
    ("return 0x1p4", Theirs),
    ("local x = 1 x += 1 return x", Ours),
    ("for i = 1, 2 do continue end", Ours),
    ("return 5 // 2", Ours),
    ("return `x`", Ours),
    ("goto x", Neither),
    ("return (", Neither),
    (r"return '\256'", Neither),
    ("local f = print\n(f or error)('x')", Neither),
];

/// Chains that generated code has, so many links that Luau refuses some.
fn chains() -> Vec<(String, Class)> {
    let chain = |first: &str, link: &str, count: usize, last: &str| format!("{first}{}{last}", link.repeat(count));
    vec![
        (chain("if a then ", "elseif a then ", 500, "end"), Same),
        (chain("if a then ", "elseif a then ", 1500, "end"), Theirs),
        (chain("local a = 1 return a", " or a", 1500, ""), Theirs),
        (chain("local a = {} a.f = a return a", ".f", 1500, ""), Theirs),
        (chain("local a = '' return a", " .. a", 150, ""), Same),
    ]
}

#[test]
fn every_construct_is_of_its_class() {
    each_server(|server| {
        let constructs = CONSTRUCTS.iter().map(|&(source, class)| (source.to_owned(), class));
        for (source, expected) in constructs.chain(chains()) {
            let found = class(server, source.as_bytes());
            assert_eq!(found, expected, "{}", &source[..source.len().min(200)]);
        }
    });
}

/// All files below a folder that have this ending, with what makes a source of them.
fn collect(folder: &Path, ending: &str, source: fn(&str) -> Option<String>, into: &mut BTreeMap<String, String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, ending, source, into);
        } else if name.ends_with(ending)
            && let Some(source) = fs::read_to_string(&path).ok().as_deref().and_then(source)
        {
            into.insert(name, source);
        }
    }
}

/// A JavaScript module that holds a script.
fn in_javascript(text: &str) -> Option<String> {
    let (_, script) = text.split_once("const content = `")?;
    // `\\` and the like are escapes of JavaScript.
    Some(script.split_once("`;")?.0.replace("\\\\", "\\"))
}

#[test]
fn the_scripts_of_applications_are_the_same_here() {
    let whole = |text: &str| Some(text.to_owned());
    let mut sources = BTreeMap::new();
    for folder in ["lua/reference", "target/apps/python"] {
        collect(&root().join(folder), ".lua", whole, &mut sources);
    }
    let modules = root().join("target/apps/node/node_modules");
    collect(&modules.join("bullmq/dist/cjs/scripts"), ".js", in_javascript, &mut sources);
    assert!(sources.len() > 90, "{} sources", sources.len());
    each_server(|server| {
        for (name, source) in &sources {
            assert_eq!(class(server, source.as_bytes()), Same, "{name}");
        }
    });
}
