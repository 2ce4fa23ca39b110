//! The generated parts of README.md: the commands, from the `COMMAND DOCS` of a running server, and the settings, from `settings.rs`.
//! A stale table fails the test; `UPDATE=1 make test FILTER=readme` rewrites both parts.

use std::fs;

use redis_atomic::settings::{self, Kind};

use crate::support::docs::{Argument, Documented, commands};
use crate::support::installed::root;
use crate::support::{Server, each_server, updates};

/// The families in the order of the README: heading, page, and commands.
#[rustfmt::skip]
pub const FAMILIES: &[(&str, &str, &[&str])] = &[
    ("Rate limits", "ratelimit", &["RATELIMIT", "RATELIMIT_RO", "MRATELIMIT"]),
    ("Locks", "locks", &["LOCK", "MLOCK", "UNLOCK", "LOCKRENEW", "LOCKINFO"]),
    ("Semaphores", "semaphores", &["SEMACQUIRE", "SEMRELEASE", "SEMRENEW", "SEMINFO"]),
    ("Work that comes due", "due", &["ZPOPDUE", "ZMOVEDUE", "ZDONE"]),
    ("Fences", "fences", &["FENCE"]),
    ("Compare-and-set and conditional writes", "compare-and-set",
     &["CAS", "CAD", "MCAS", "HCAS", "SET", "HSET", "DEL", "PEXPIRE"]),
    ("Counters", "counters", &["INCRBY", "HINCRBY", "TRANSFER"]),
    ("Values and lists", "values", &["GETORSET", "HMGETOR", "PUSH", "POP", "ONCE"]),
    ("Idempotency", "idempotency", &["IDEM", "IDEMBEGIN", "IDEMEND", "IDEMABORT"]),
    ("Scripts", "scripts", &["EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "SCRIPT"]),
    ("Functions", "functions", &["FCALL", "FCALL_RO", "FUNCTION"]),
    ("Traces and dry runs", "trace", &["EVALTRACE", "FCALLTRACE", "EVALDRYRUN", "FCALLDRYRUN"]),
    ("Scripted commands", "scripted", &["COMMANDS"]),
    ("Waiting clients", "waiters", &["WAITERS"]),
    ("Draining", "drain", &["DRAIN"]),
];

#[test]
fn the_table_of_commands_is_current() {
    each_server(|server| {
        let mut commands = commands(server);
        commands.sort_by(|a, b| a.words.cmp(&b.words));
        let section = |(title, page, names): &(&str, &str, &[&str])| {
            let path = format!("docs/commands/{page}.md");
            let text = fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            let rows = names.iter().map(|name| {
                let name = format!("ATOMIC.{name}");
                let named: Vec<Documented> = commands.extract_if(.., |command| command.words.first() == Some(&name)).collect();
                assert!(!named.is_empty(), "the server has no {name}: correct FAMILIES");
                assert!(text.contains(&name), "{path} does not mention {name}");
                match named.as_slice() {
                    [command] if command.words.len() == 1 => row(command),
                    subcommands => container(server, &name, subcommands),
                }
            });
            format!("### [{title}]({path})\n\n| command | what it does |\n|---|---|\n{}", rows.collect::<String>())
        };
        let sections: Vec<String> = FAMILIES.iter().map(section).collect();
        assert!(commands.is_empty(), "no family in FAMILIES has {:?}", commands.iter().map(|command| &command.words));
        check("commands", &format!("\n{}\n", sections.join("\n")));
    });
}

#[test]
fn the_table_of_settings_is_current() {
    let row = |setting: &&settings::Setting| {
        let name = setting.name.to_str().unwrap();
        let (default, range) = match setting.kind {
            Kind::Switch | Kind::Toggle => ((if setting.default == 1 { "yes" } else { "no" }).to_owned(), "yes, no".to_owned()),
            Kind::Number => (setting.default.to_string(), format!("{} to {}", setting.min, setting.max)),
            Kind::Bytes => (format!("{} bytes", setting.default), format!("{} to {}", setting.min, setting.max)),
            Kind::Word(words) => (words[setting.default as usize].to_owned(), words.join(", ")),
            Kind::AutoBytes => ("auto".to_owned(), format!("auto, {} to {}", setting.min, setting.max)),
        };
        format!("| `{name}` | {default} | {range} | {} |\n", setting.doc)
    };
    let directory = &settings::COMMANDS_DIR;
    let last = format!("| `{}` | none | a directory | {} |\n", directory.name.to_str().unwrap(), directory.doc);
    let table: String = settings::ALL.iter().map(row).chain([last]).collect();
    check("settings", &format!("| setting | default | range | what it does |\n|---|---|---|---|\n{table}"));
}

/// Compares the part of README.md between `<!-- name: ... -->` and `<!-- end of name -->` with `table`, or rewrites it.
fn check(name: &str, table: &str) {
    let path = root().join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let head = text.find(&format!("<!-- {name}:")).unwrap_or_else(|| panic!("README.md has no place for {name}"));
    let start = head + text[head..].find('\n').unwrap() + 1;
    let end = start + text[start..].find(&format!("<!-- end of {name} -->")).unwrap();
    if updates() {
        fs::write(&path, format!("{}{table}{}", &text[..start], &text[end..])).unwrap();
    } else {
        assert_eq!(&text[start..end], table, "README.md is stale: UPDATE=1 make test FILTER=readme");
    }
}

/// The row of a command: its required arguments, with `[...]` where options may stand.
fn row(command: &Documented) -> String {
    let summary = command.prose.iter().find(|(name, _)| name == "summary").map_or("", |(_, text)| text);
    let mut line = command.words.clone();
    line.extend(command.arguments.iter().map(|argument| if argument.optional { "[...]".to_owned() } else { syntax(argument) }));
    line.dedup();
    table_row(&line.join(" "), summary)
}

/// The row of a command with subcommands: their names.
fn container(server: &Server, name: &str, subcommands: &[Documented]) -> String {
    let docs = server.run(&format!("COMMAND DOCS {name}"));
    let summary = docs.field(&name.to_lowercase()).and_then(|entry| entry.field("summary")).map(|summary| summary.text());
    let names: Vec<&str> = subcommands.iter().filter_map(|command| command.words.last()).map(String::as_str).collect();
    table_row(&format!("{name} <{}>", names.join(" | ")), &summary.unwrap_or_default())
}

fn table_row(line: &str, summary: &str) -> String {
    format!("| `{}` | {summary} |\n", line.replace('|', "\\|"))
}

/// An argument in the notation of the server's own pages. A repeated choice shows only its name: the command's page spells it out.
fn syntax(argument: &Argument) -> String {
    let inner = |separator: &str| argument.nested.iter().map(syntax).collect::<Vec<_>>().join(separator);
    let choice = argument.kind == "oneof" && !argument.multiple;
    let value = match argument.kind.as_str() {
        "pure-token" => String::new(),
        "oneof" if choice => inner(" | "),
        "block" => inner(" "),
        _ => argument.name.clone(),
    };
    let value = if argument.multiple { format!("{value} [{value} ...]") } else { value };
    let whole = [argument.token.clone().unwrap_or_default(), value].join(" ").trim().to_owned();
    match (argument.optional, choice) {
        (true, _) => format!("[{whole}]"),
        (false, true) => format!("<{whole}>"),
        (false, false) => whole,
    }
}
