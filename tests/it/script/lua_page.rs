//! The generated parts of docs/lua.md: the settings and the names of the API, from running servers, and the differences, from the tables
//! that the conformance suite checks. A stale part fails the test; `UPDATE=1 make test FILTER=lua_page` rewrites all of them.
//!
//! A part about one server is compared or written only where that server is installed, so the page is the same everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use redis_atomic::{lua, settings};

use super::conformance::differences::{DIFFERENCES, Difference};
use super::conformance::words::WORDS;
use crate::support::installed::root;
use crate::support::{Server, Value, each_server, updates};

/// All names that a script sees: `library.name`, or `name` outside of the libraries.
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

/// The names that a script may use. Names that start with two underscores belong to the engine.
fn names(server: &Server, command: &str) -> Names {
    let reply = server.call(&[command, WALK, "0"]);
    reply.array().iter().map(Value::text).filter(|name| !name.starts_with("__")).collect()
}

#[test]
fn the_generated_parts_of_the_lua_page_are_current() {
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

/// Compares the part of docs/lua.md between `<!-- name: ... -->` and `<!-- end of name -->` with `part`, or rewrites it.
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

/// The settings that limit scripts, with the values of a server without any configuration.
fn limits(server: &Server) -> String {
    let listed = server.run("CONFIG GET atomic.script-*").pairs().into_iter().collect::<BTreeMap<_, _>>();
    let row = |(name, value): (&String, &Value)| {
        let setting = settings::ALL.iter().find(|setting| name.strip_prefix("atomic.") == setting.name.to_str().ok());
        format!("| `{name}` | {} | {} |\n", value.text(), setting.expect("a setting without a row").doc)
    };
    let rows: String = listed.iter().map(row).collect();
    format!("| setting | value | what it does |\n|---|---|---|\n{rows}")
}

/// A section for each library: the names of both engines, of ours only, of the server's only.
fn api(here: &Names, there: &Names) -> String {
    let libraries: Names = here.union(there).map(|name| library_of(name).to_owned()).collect();
    let section = |library: &String| {
        let title = if library.is_empty() { "Globals".to_owned() } else { format!("`{library}`") };
        let of = |names: BTreeSet<&String>, what: &str| {
            let inner = names.into_iter().filter(|name| library_of(name) == library).map(|name| own_name(name));
            let list: Vec<String> = inner.map(|name| format!("`{name}`")).collect();
            if list.is_empty() { String::new() } else { wrapped(&format!("- {what}: {}", list.join(", "))) }
        };
        let both = of(here.intersection(there).collect(), "both");
        let ours = of(here.difference(there).collect(), "**only `ATOMIC.EVAL`**");
        let theirs = of(there.difference(here).collect(), "**only `EVAL`**");
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

/// Two lines about a server whose names are not listed in full.
fn beyond(here: &Names, there: &Names) -> String {
    let list = |names: BTreeSet<&String>| {
        let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
        if quoted.is_empty() { "nothing".to_owned() } else { quoted.join(", ") }
    };
    let ours = format!("- **only `ATOMIC.EVAL`**: {}", list(here.difference(there).collect()));
    let theirs = format!("- **only `EVAL`**: {}", list(there.difference(here).collect()));
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

/// A section for each reason: the servers, then each script with both replies.
fn differences(all: &[Difference]) -> String {
    let section = |difference: &Difference| {
        let servers: Vec<String> = difference.on.iter().map(|&name| product(name)).collect();
        let on = if servers.is_empty() { "On every server".to_owned() } else { format!("On {}", servers.join(", ")) };
        let left = difference.rows.iter().all(|(script, ..)| lua::differs(script.as_bytes()));
        let on = if left { on + ". In drop-in mode the server's engine runs such scripts" } else { on };
        let row = |&(script, theirs, ours): &(&str, &str, &str)| {
            format!("{}\n  EVAL         {}\n  ATOMIC.EVAL  {}\n", printed(script, ""), printed(theirs, TAB), printed(ours, TAB))
        };
        let rows = difference.rows.iter().map(row).collect::<Vec<_>>().join("\n");
        format!("### {}\n\n{on}.\n\n```text\n{rows}```\n", difference.reason.trim_end_matches('.'))
    };
    all.iter().map(section).collect::<Vec<_>>().join("\n")
}

/// The indentation of the later lines of a reply.
const TAB: &str = "               ";

/// Text as printed in a block of the page: ASCII, with later lines indented.
fn printed(text: &str, indent: &str) -> String {
    let escape = |c: char| match c {
        '\n' => format!("\n{indent}"),
        ' '..='~' => c.to_string(),
        c => c.escape_default().to_string(),
    };
    text.chars().map(escape).collect()
}

/// The page's name for `valkey-8.1`.
fn product(name: &str) -> String {
    let (product, version) = name.split_once('-').unwrap_or((name, ""));
    let product = if product == "valkey" { "Valkey" } else { "Redis" };
    format!("{product} {version}").trim_end().to_owned()
}
