//! `COMMAND LIST`, `COMMAND INFO` and `COMMAND DOCS` of the module's commands on a running server, typed.
//!
//! Tests for every command are driven from here, so that a new command is tested from the day it is registered.

use super::{Server, Value};

/// A command or subcommand of the module.
#[derive(Debug, Clone)]
pub struct Documented {
    /// The words that call it, upper case: `["ATOMIC.SCRIPT", "LOAD"]`.
    pub words: Vec<String>,
    /// Its documented arguments.
    pub arguments: Vec<Argument>,
    /// Summary, since, complexity and group, if given.
    pub prose: Vec<(String, String)>,
}

/// A documented argument, as `COMMAND DOCS` nests them.
#[derive(Debug, Clone)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// `key`, `string`, `integer`, `unix-time`, `pure-token`, `oneof`, `block`...
    pub kind: String,
    /// Its token, if any.
    pub token: Option<String>,
    /// It is optional.
    pub optional: bool,
    /// It may be repeated.
    pub multiple: bool,
    /// The arguments of a `oneof` or `block`.
    pub nested: Vec<Argument>,
}

/// The names of all commands of the module without the fault-injection command, lower case, sorted. Never empty.
#[track_caller]
pub fn command_names(server: &Server) -> Vec<String> {
    let listed = server.run("COMMAND LIST FILTERBY MODULE atomic");
    let mut names: Vec<String> = listed.array().iter().map(|name| name.text().to_lowercase()).collect();
    names.retain(|name| !name.starts_with("atomic.debug") && !name.contains('|'));
    names.sort();
    assert!(!names.is_empty(), "the module has no commands");
    names
}

/// Every command of the module as documented; subcommands replace their container command.
#[track_caller]
pub fn commands(server: &Server) -> Vec<Documented> {
    let mut found = Vec::new();
    for name in command_names(server) {
        let docs = server.run(&format!("COMMAND DOCS {name}"));
        let entry = docs.field(&name).unwrap_or_else(|| panic!("COMMAND DOCS says nothing about {name}"));
        collect(vec![name.to_uppercase()], &entry, &mut found);
    }
    found
}

fn collect(words: Vec<String>, entry: &Value, found: &mut Vec<Documented>) {
    if let Some(children) = entry.field("subcommands") {
        for (name, child) in children.pairs() {
            let verb = name.rsplit('|').next().unwrap_or_default().to_uppercase();
            collect([words.clone(), vec![verb]].concat(), &child, found);
        }
        return;
    }
    let prose = ["summary", "since", "complexity", "group"];
    let prose = prose.iter().filter_map(|&name| Some((name.to_owned(), entry.field(name)?.text()))).collect();
    let arguments = entry.field("arguments").map_or_else(Vec::new, |list| list.array().iter().map(argument).collect());
    found.push(Documented { words, arguments, prose });
}

fn argument(entry: &Value) -> Argument {
    let text = |name: &str| entry.field(name).map(|value| value.text());
    let flags: Vec<String> = entry.field("flags").map_or_else(Vec::new, |list| list.array().iter().map(Value::text).collect());
    Argument {
        name: text("name").unwrap_or_default(),
        kind: text("type").unwrap_or_default(),
        token: text("token"),
        optional: flags.iter().any(|flag| flag == "optional"),
        multiple: flags.iter().any(|flag| flag.starts_with("multiple")),
        nested: entry.field("arguments").map_or_else(Vec::new, |list| list.array().iter().map(argument).collect()),
    }
}
