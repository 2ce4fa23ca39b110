//! The generated parts of README.md: the table of commands, from the `COMMAND DOCS` of a running server, and the table of settings, from
//! `settings.rs`. A stale table fails; `UPDATE=1 make test FILTER=readme` writes both anew.

use std::fs;

use redis_atomic::settings::{self, Kind};

use crate::support::docs::{Argument, Documented, commands};
use crate::support::installed::root;
use crate::support::{each_server, updates};

#[test]
fn readme_tables_are_what_the_server_says() {
    each_server(|server| {
        let mut commands = commands(server);
        commands.sort_by(|a, b| a.words.cmp(&b.words));
        let table: String = commands.iter().map(row).collect();
        check("commands", &format!("| command | what it does |\n|---|---|\n{table}"));
    });
}

#[test]
fn readme_settings_are_those_of_the_module() {
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

/// Compares the part of README.md between `<!-- name: ... -->` and `<!-- end of name -->` with `table`, or writes it.
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

fn row(command: &Documented) -> String {
    let summary = command.prose.iter().find(|(name, _)| name == "summary").map_or("", |(_, text)| text);
    let syntax: Vec<String> = command.arguments.iter().map(syntax).collect();
    let line = [command.words.join(" "), syntax.join(" ")].join(" ");
    format!("| `{}` | {summary} |\n", line.trim_end().replace('|', "\\|"))
}

/// An argument in the notation of the server's own pages. Of a repeated choice only the name: the page of the command spells it out.
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
