//! The generated parts of docs/lua.md: the settings and the names of the API, as running servers say them, and the differences, from
//! the tables that the conformance suite checks. A stale part fails; `UPDATE=1 make test FILTER=lua_page` writes all anew.
//!
//! A part about one server is only compared, or written, where that server is installed, so that the page is the same everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use redis_atomic::{script, settings};

use super::conformance::differences::{DIFFERENCES, Difference};
use super::conformance::words::WORDS;
use crate::support::installed::root;
use crate::support::{Server, Value, each_server, updates};

/// `library.name` of all that a script sees; what is no library's has no dot.
const WALK: &str = "
local names = {}
for name, value in pairs(_G) do
  local library = type(value) == 'table' and value ~= _G and value ~= KEYS and value ~= ARGV
  if library and (name == 'redis' or value ~= rawget(_G, 'redis')) then
    for inner in pairs(value) do names[#names + 1] = name .. '.' .. inner end
  else
    names[#names + 1] = name
  end
end
return names";

type Names = BTreeSet<String>;

/// What a script may use: a name with two underscores in front is the engine's own.
fn names(server: &Server, command: &str) -> Names {
    let reply = server.call(&[command, WALK, "0"]);
    reply.array().iter().map(Value::text).filter(|name| !name.starts_with("__")).collect()
}

#[test]
fn lua_page_is_what_servers_and_tests_say() {
    check("differences", &differences(DIFFERENCES));
    check("words", &differences(WORDS));
    each_server(|server| {
        check("limits", &limits(server));
        let (here, there) = (names(server, "ATOMIC.EVAL"), names(server, "EVAL"));
        assert!(there.contains("redis.call") && there.contains("pcall"), "EVAL sees only {there:?}");
        if server.binary.is_valkey_from(9, 0) {
            check("valkey", &beyond(&here, &there));
        } else if !server.binary.is_valkey && server.binary.version == (7, 0) {
            check("api", &api(&here, &there));
        }
    });
}

/// Compares the part of docs/lua.md between `<!-- name: ... -->` and `<!-- end of name -->` with `part`, or writes it.
#[track_caller]
fn check(name: &str, part: &str) {
    let path = root().join("docs/lua.md");
    let text = fs::read_to_string(&path).unwrap();
    let head = text.find(&format!("<!-- {name}:")).unwrap_or_else(|| panic!("docs/lua.md has no place for {name}"));
    let start = head + text[head..].find('\n').unwrap() + 1;
    let end = start + text[start..].find(&format!("<!-- end of {name} -->")).unwrap();
    if updates() {
        fs::write(&path, format!("{}\n{part}\n{}", &text[..start], &text[end..])).unwrap();
    } else {
        assert_eq!(text[start..end].trim(), part.trim(), "docs/lua.md is stale: UPDATE=1 make test FILTER=lua_page");
    }
}

/// The settings that limit scripts, with the values of a server that was told nothing else.
fn limits(server: &Server) -> String {
    let listed = server.run("CONFIG GET atomic.script-*").pairs().into_iter().collect::<BTreeMap<_, _>>();
    let row = |(name, value): (&String, &Value)| {
        let setting = settings::ALL.iter().find(|setting| name.strip_prefix("atomic.") == setting.name.to_str().ok());
        format!("| `{name}` | {} | {} |\n", value.text(), setting.expect("a setting without a row").doc)
    };
    let rows: String = listed.iter().map(row).collect();
    format!("| setting | value | what it does |\n|---|---|---|\n{rows}")
}

/// A section for each library: what is here and there, only here, only there.
fn api(here: &Names, there: &Names) -> String {
    let libraries: Names = here.union(there).map(|name| library_of(name).to_owned()).collect();
    let section = |library: &String| {
        let title = if library.is_empty() { "Globals".to_owned() } else { format!("`{library}`") };
        let of = |names: BTreeSet<&String>, what: &str| {
            let inner = names.into_iter().filter(|name| library_of(name) == library).map(|name| own_name(name));
            let list: Vec<String> = inner.map(|name| format!("`{name}`")).collect();
            if list.is_empty() { String::new() } else { wrapped(&format!("- {what}: {}", list.join(", "))) }
        };
        let both = of(here.intersection(there).collect(), "here and there");
        let ours = of(here.difference(there).collect(), "**only here**");
        let theirs = of(there.difference(here).collect(), "**only there**");
        format!("### {title}\n\n{both}{ours}{theirs}")
    };
    libraries.iter().map(section).collect::<Vec<_>>().join("\n")
}

fn library_of(name: &str) -> &str {
    name.split_once('.').map_or("", |(library, _)| library)
}

fn own_name(name: &str) -> &str {
    name.split_once('.').map_or(name, |(_, own)| own)
}

/// Two lines about a server whose names are not listed.
fn beyond(here: &Names, there: &Names) -> String {
    let list = |names: BTreeSet<&String>| {
        let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
        if quoted.is_empty() { "nothing".to_owned() } else { quoted.join(", ") }
    };
    let ours = format!("- **only here**: {}", list(here.difference(there).collect()));
    let theirs = format!("- **only there**: {}", list(there.difference(here).collect()));
    wrapped(&ours) + &wrapped(&theirs)
}

/// A list entry in lines of the page's width.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.len() + word.len() > 118 {
            lines.push(format!("  {word}"));
        } else {
            *line = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        }
    }
    lines.join("\n") + "\n"
}

/// A section for each reason: the servers it concerns, then script and both answers.
fn differences(all: &[Difference]) -> String {
    let section = |difference: &Difference| {
        let servers: Vec<String> = difference.on.iter().map(|&name| product(name)).collect();
        let on = if servers.is_empty() { "On every server".to_owned() } else { format!("On {}", servers.join(", ")) };
        let left = difference.rows.iter().all(|(script, ..)| script::differs(script.as_bytes()));
        let on = if left { on + ". In drop-in mode the server's engine runs such a script" } else { on };
        let row = |&(script, theirs, ours): &(&str, &str, &str)| {
            format!("{}\n  EVAL         {}\n  ATOMIC.EVAL  {}\n", printed(script, ""), printed(theirs, TAB), printed(ours, TAB))
        };
        let rows = difference.rows.iter().map(row).collect::<Vec<_>>().join("\n");
        format!("### {}\n\n{on}.\n\n```text\n{rows}```\n", difference.reason.trim_end_matches('.'))
    };
    all.iter().map(section).collect::<Vec<_>>().join("\n")
}

/// What the lines of an answer after its first begin with.
const TAB: &str = "               ";

/// Text as it stands in a block of the page: ASCII, later lines indented.
fn printed(text: &str, indent: &str) -> String {
    let escape = |c: char| match c {
        '\n' => format!("\n{indent}"),
        ' '..='~' => c.to_string(),
        c => c.escape_default().to_string(),
    };
    text.chars().map(escape).collect()
}

/// `valkey-8.1` as the page calls it.
fn product(name: &str) -> String {
    let (product, version) = name.split_once('-').unwrap_or((name, ""));
    let product = if product == "valkey" { "Valkey" } else { "Redis" };
    format!("{product} {version}").trim_end().to_owned()
}
