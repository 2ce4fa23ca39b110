//! `docs/commands.json`: every command as `COMMAND DOCS` and `COMMAND INFO` of a running server describe it, for client packages and
//! linters, and as the snapshot in which a review sees each public change. It has the shape of the `commands.json` in Redis'
//! documentation, which client packages read already.
//!
//! `UPDATE=1 make test FILTER=command_table` writes it from [`SOURCE`]. Every server must agree with it, as far as the server knows.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::support::docs::command_names;
use crate::support::installed::root;
use crate::support::{Server, Value, each_server, updates};

/// The server that the file is written from.
const SOURCE: &str = "redis-8.0";

/// By name in upper case: `ATOMIC.SCRIPT LOAD`.
type Table = BTreeMap<String, Command>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    summary: String,
    since: String,
    group: String,
    complexity: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    acl_categories: BTreeSet<String>,
    arity: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    key_specs: Vec<KeySpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    arguments: Vec<Argument>,
    command_flags: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeySpec {
    begin_search: Search,
    find_keys: Search,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
    /// `RW`, `access`, `update`...: each is true.
    #[serde(flatten)]
    flags: BTreeMap<String, bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    #[serde(rename = "type")]
    kind: String,
    spec: BTreeMap<String, i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_spec_index: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    optional: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    multiple: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    multiple_token: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    arguments: Vec<Argument>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The pairs of a map with these names and no others: nothing that a server says is left out unseen.
#[track_caller]
fn fields(of: &str, value: &Value, known: &[&str]) -> BTreeMap<String, Value> {
    let fields: BTreeMap<String, Value> = value.pairs().into_iter().collect();
    let unknown: Vec<&String> = fields.keys().filter(|name| !known.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "{of} has fields that docs/commands.json does not have: {unknown:?}");
    fields
}

/// What a server says about all commands.
fn said_by(server: &Server) -> Table {
    let mut table = Table::new();
    for name in command_names(server) {
        let docs = server.run(&format!("COMMAND DOCS {name}"));
        let info = server.run(&format!("COMMAND INFO {name}"));
        add(&mut table, &docs.field(&name).unwrap(), &info.array()[0]);
    }
    table
}

/// Adds a command and its subcommands.
fn add(table: &mut Table, docs: &Value, info: &Value) {
    let [name, arity, flags, _, _, _, categories, tips, key_specs, subcommands] = info.array() else { panic!("{info}") };
    let name = name.text();
    let docs = fields(&name, docs, &["summary", "since", "group", "complexity", "module", "arguments", "subcommands"]);
    assert_eq!(tips.array(), [], "{name} has tips");
    let prose = |field: &str| docs.get(field).unwrap_or_else(|| panic!("{name} has no {field}")).text();
    let command = Command {
        summary: prose("summary"),
        since: prose("since"),
        group: prose("group"),
        complexity: prose("complexity"),
        acl_categories: categories.array().iter().map(Value::text).collect(),
        arity: arity.integer(),
        key_specs: key_specs.array().iter().map(|spec| key_spec(&name, spec)).collect(),
        arguments: docs.get("arguments").map_or_else(Vec::new, |list| arguments(&name, list)),
        command_flags: flags.array().iter().map(Value::text).collect(),
    };
    table.insert(name.to_uppercase().replace('|', " "), command);
    for info in subcommands.array() {
        let verb = info.array()[0].text();
        add(table, &docs["subcommands"].field(&verb).unwrap(), info);
    }
}

fn key_spec(of: &str, spec: &Value) -> KeySpec {
    let spec = fields(of, spec, &["notes", "flags", "begin_search", "find_keys"]);
    let search = |name: &str| {
        let search = fields(of, &spec[name], &["type", "spec"]);
        let numbers = search["spec"].pairs().into_iter().map(|(name, number)| (name, number.integer()));
        Search { kind: search["type"].text(), spec: numbers.collect() }
    };
    KeySpec {
        notes: spec.get("notes").map(Value::text),
        begin_search: search("begin_search"),
        find_keys: search("find_keys"),
        flags: spec["flags"].array().iter().map(|flag| (flag.text(), true)).collect(),
    }
}

fn arguments(of: &str, list: &Value) -> Vec<Argument> {
    let argument = |argument: &Value| {
        let known = ["name", "type", "display_text", "key_spec_index", "token", "flags", "arguments"];
        let argument = fields(of, argument, &known);
        let text = |field: &str| argument.get(field).map(Value::text);
        let flags = argument.get("flags").map_or(&[][..], Value::array);
        let flags: Vec<String> = flags.iter().map(Value::text).collect();
        let has = |flag: &str| flags.iter().any(|known| known == flag);
        assert!(flags.iter().all(|flag| ["optional", "multiple", "multiple_token"].contains(&flag.as_str())), "{of}: {flags:?}");
        // Redis 7.0 leaves it out; elsewhere it repeats the name.
        assert!(text("display_text").is_none_or(|shown| Some(shown) == text("name")), "{of}: a text of its own to display");
        Argument {
            name: text("name").unwrap(),
            kind: text("type").unwrap(),
            key_spec_index: argument.get("key_spec_index").map(Value::integer),
            token: text("token"),
            optional: has("optional"),
            multiple: has("multiple"),
            multiple_token: has("multiple_token"),
            arguments: argument.get("arguments").map_or_else(Vec::new, |list| arguments(of, list)),
        }
    };
    list.array().iter().map(argument).collect()
}

fn path() -> PathBuf {
    root().join("docs/commands.json")
}

fn json(table: &Table) -> String {
    serde_json::to_string_pretty(table).unwrap() + "\n"
}

/// The table without what this server cannot say.
fn as_known_to(server: &Server, mut table: Table) -> Table {
    let binary = &server.binary;
    let is_first = !binary.is_valkey && !binary.is_redis_from(7, 2);
    for (name, command) in &mut table {
        // Redis 7.4 and Valkey 8.0 let a module add a category; Redis 7.0 gives commands of modules none.
        if !binary.is_redis_from(7, 4) && !binary.is_valkey_from(8, 0) {
            command.acl_categories.clear();
        }
        // Redis 7.0 tracks what a script reads for the client's cache by this flag only, so there it has the flag.
        if is_first && name.starts_with("ATOMIC.") && name.ends_with("_RO") {
            command.command_flags.remove("readonly");
        }
    }
    table
}

#[test]
fn command_table_is_what_every_server_says() {
    if updates() {
        let written = Cell::new(false);
        each_server(|server| {
            if server.binary.is_of(SOURCE) {
                fs::write(path(), json(&said_by(server))).unwrap();
                written.set(true);
            }
        });
        assert!(written.get(), "docs/commands.json is written from {SOURCE}, which is not among the servers");
    }
    const STALE: &str = "docs/commands.json is stale: UPDATE=1 make test FILTER=command_table";
    let text = fs::read_to_string(path()).unwrap();
    let committed: Table = serde_json::from_str(&text).unwrap();
    assert_eq!(json(&committed), text, "another order or layout: {STALE}");
    each_server(|server| {
        let said = as_known_to(server, said_by(server));
        let committed = as_known_to(server, committed.clone());
        let names = |table: &Table| table.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&said), names(&committed), "{STALE}");
        for (name, command) in &said {
            assert_eq!(command, &committed[name], "{name}: {STALE}");
        }
    });
}
