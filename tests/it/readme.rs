//! The generated parts of README.md: the table of commands, from the `COMMAND DOCS` of a running server, and the table of settings, from
//! `settings.rs`. A stale table fails; `UPDATE=1 make test FILTER=readme` rewrites both.

use std::fs;

use redis_atomic::settings::{self, Kind};

use crate::support::docs::{Argument, Documented, commands};
use crate::support::each_server;
use crate::support::installed::root;

#[test]
fn the_table_of_commands_is_current() {
    each_server(|server| {
        let mut commands = commands(server);
        commands.sort_by(|a, b| a.words.cmp(&b.words));
        let table: String = commands.iter().map(row).collect();
        check("commands", &format!("| command | what it does |\n|---|---|\n{table}"));
    });
}

#[test]
fn the_table_of_settings_is_current() {
    let row = |setting: &&settings::Setting| {
        let name = setting.name.to_str().unwrap();
        let (default, range) = match setting.kind {
            Kind::Switch | Kind::Toggle => ((if setting.default == 1 { "yes" } else { "no" }).to_owned(), "yes, no".to_owned()),
            Kind::Number => (setting.default.to_string(), format!("{}..={}", setting.min, setting.max)),
            Kind::Bytes => (format!("{} bytes", setting.default), format!("{}..={}", setting.min, setting.max)),
            Kind::AutoBytes => ("auto".to_owned(), format!("auto, {}..={}", setting.min, setting.max)),
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
    if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        fs::write(&path, format!("{}{table}{}", &text[..start], &text[end..])).unwrap();
    } else {
        assert_eq!(&text[start..end], table, "README.md is stale: UPDATE=1 make test FILTER=readme");
    }
}

fn row(command: &Documented) -> String {
    let summary = command.prose.iter().find(|(name, _)| name == "summary").map_or("", |(_, text)| text);
    let syntax: Vec<String> = command.arguments.iter().map(syntax).collect();
    let line = [command.words.join(" "), syntax.join(" ")].join(" ");
    format!("| `{}` | {summary} |\n", line.trim_end().replace('|', "\\|"))
}

/// An argument in the notation of the server's own pages. A repeated choice shows only its name; the command's page lists the forms.
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
