//! The architecture rules as tests: what ARCHITECTURE.md promises is read from the sources here. Needs no server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::installed::root;

/// The layers, bottom to top. A file names folders of lower layers and its own, and no others: `lua` and `waiting` know nothing of each
/// other. `src/error.rs` and `src/settings.rs` belong to all.
const LAYERS: &[&[&str]] =
    &[&["primitives"], &["server"], &["keyspace"], &["waiting", "lua"], &["scripting"], &["dropin"], &["commands"], &["module"]];

/// A folder, what else its files may not name, and why.
#[rustfmt::skip]
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("src/primitives/", &["redis_module", "mlua", "std::time"], "a primitive is a pure function"),
    ("src/lua/", &["crate::server", "crate::keyspace", "redis_module"], "the engine reaches the server through its port only"),
    ("src/server/", &["mlua"], "only the engine knows Luau"),
    ("src/keyspace/", &["mlua"], "only the engine knows Luau"),
    ("src/waiting/", &["mlua"], "only the engine knows Luau"),
    ("src/scripting/", &["mlua"], "only the engine knows Luau"),
    ("src/dropin/", &["mlua"], "only the engine knows Luau"),
    ("src/commands/", &["mlua"], "only the engine knows Luau"),
    ("src/module/", &["mlua"], "only the engine knows Luau"),
];

/// Calls that only `src/server` may make: opening keys, replicating, notifying, and subscribing to an event, of which the server keeps one
/// callback only.
const KEYSPACE_ONLY: &[&str] =
    &["RedisModule_OpenKey", "RedisModule_Replicate", "RedisModule_NotifyKeyspaceEvent", "RedisModule_SubscribeToServerEvent"];

const MAX_LINES: usize = 500;

/// A source file: its path from the root, its text, and its code without comments, strings and `#[cfg(test)]` parts.
struct Source {
    path: String,
    text: String,
    code: Vec<(usize, String)>,
}

fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no sources in {folder}");
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let code = if path.ends_with("tests.rs") || path.contains("/tests/") { Vec::new() } else { code_of(&text) };
        Source { path, text, code }
    };
    paths.into_iter().map(source).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            collect(&entry, paths);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            paths.push(entry);
        }
    }
}

/// The numbered lines of code: without comments, without the text of string literals, and without what stands under `#[cfg(test)]`.
fn code_of(text: &str) -> Vec<(usize, String)> {
    let mut code = Vec::new();
    let mut depth = 0_i32;
    let mut test_depth = None;
    let mut pending_test = false;
    for (index, source) in text.lines().enumerate() {
        let line = without_literals(source);
        let opened = line.matches('{').count() as i32 - line.matches('}').count() as i32;
        if line.trim_start().starts_with("#[cfg(test)]") {
            pending_test = true;
        } else if pending_test && test_depth.is_none() {
            pending_test = false;
            // A block lasts until its brace closes; anything else is one line.
            test_depth = (opened > 0).then_some(depth);
        } else if test_depth.is_none() {
            code.push((index + 1, line));
        }
        depth += opened;
        if test_depth.is_some_and(|start| depth <= start) {
            test_depth = None;
        }
    }
    code
}

/// A line without its comment and without the characters inside `"..."` and `'x'`.
fn without_literals(line: &str) -> String {
    let mut code = String::new();
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => break,
            '"' => {
                while let Some(inner) = rest.next() {
                    match inner {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                code.push_str("\"\"");
            }
            '\'' => {
                // A character literal, not a lifetime: 'x' or '\x'.
                let ahead: Vec<char> = rest.clone().take(3).collect();
                let length = match ahead.as_slice() {
                    ['\\', _, '\''] => 3,
                    [_, '\'', ..] => 2,
                    _ => 0,
                };
                rest.by_ref().take(length).for_each(drop);
                code.push('\'');
            }
            _ => code.push(c),
        }
    }
    code
}

/// True when `word` stands in the line on its own: `unsafe` is not in `unsafe_op_in_unsafe_fn`.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(part) && !line[at + word.len()..].chars().next().is_some_and(part)
    })
}

/// Every line of code in `files` that `is_wrong`, as `path:line: code`.
fn offences<'a>(files: impl Iterator<Item = &'a Source>, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    files
        .flat_map(|file| file.code.iter().map(move |(number, line)| (file, number, line)))
        .filter(|(_, _, line)| is_wrong(line))
        .map(|(file, number, line)| format!("{}:{number}: {}", file.path, line.trim()))
        .collect()
}

#[track_caller]
fn expect_none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn layers_name_only_what_lies_below_them() {
    let files = sources("src");
    let folders: BTreeSet<&str> =
        files.iter().filter_map(|file| file.path.strip_prefix("src/")?.split_once('/')).map(|(folder, _)| folder).collect();
    let listed: BTreeSet<&str> = LAYERS.iter().copied().flatten().copied().collect();
    assert_eq!(folders, listed, "every folder of src is in one layer");
    for (rank, layer) in LAYERS.iter().enumerate() {
        for folder in *layer {
            let above: Vec<String> = LAYERS[rank..]
                .iter()
                .copied()
                .flatten()
                .filter(|other| *other != folder)
                .map(|other| format!("crate::{other}"))
                .collect();
            let inside = files.iter().filter(|file| file.path.starts_with(&format!("src/{folder}/")));
            let wrong = offences(inside, |line| above.iter().any(|word| names(line, word)));
            expect_none(&wrong, &format!("{folder} names what does not lie below it"));
        }
    }
    for (folder, forbidden, why) in FORBIDDEN {
        assert!(files.iter().any(|file| file.path.starts_with(folder)), "{folder} is empty");
        let inside = files.iter().filter(|file| file.path.starts_with(folder));
        expect_none(&offences(inside, |line| forbidden.iter().any(|word| names(line, word))), &format!("{folder}: {why}"));
    }
}

#[test]
fn only_the_keyspace_opens_keys_replicates_and_notifies() {
    let files = sources("src");
    let calls = |line: &str| KEYSPACE_ONLY.iter().any(|call| line.contains(call));
    expect_none(
        &offences(
            files.iter().filter(|file| !file.path.starts_with("src/server/") && file.path != "src/module/required.rs"),
            calls,
        ),
        "only src/server may call this",
    );
    assert!(!offences(files.iter(), calls).is_empty(), "nobody opens keys: the rule looks for the wrong names");
}

/// A missing key is asked for nothing: `key` makes sure of it, and an iteration over a sorted set needs a value from there.
#[test]
fn raw_calls_on_keys_are_in_one_place() {
    const ON_KEYS: &[&str] = &["OpenKey", "KeyType", "Value", "GetExpire", "GetAbsExpire", "String", "List", "Hash", "Zset"];
    const ON_STRINGS: &[&str] = &["StringPtrLen"];
    let calls = |line: &str| {
        line.split("RedisModule_").skip(1).any(|name| {
            let starts = |list: &[&str]| list.iter().any(|start| name.starts_with(start));
            starts(ON_KEYS) && !starts(ON_STRINGS)
        })
    };
    let files = sources("src");
    let elsewhere =
        |file: &&Source| !["server/key.rs", "server/score_range.rs", "required.rs"].iter().any(|end| file.path.ends_with(end));
    expect_none(&offences(files.iter().filter(elsewhere), calls), "only src/server/key.rs may call this");
    assert!(!offences(files.iter(), calls).is_empty(), "nobody opens keys: the rule looks for the wrong names");
}

/// The compiler denies `unsafe` outside the modules that are declared with an exception; the map names just those.
#[test]
fn the_map_lists_the_modules_with_unsafe() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rule = map.split("\n- ").find(|rule| rule.starts_with("`unsafe` is denied except")).expect("a rule about unsafe");
    let mut listed: Vec<&str> = rule.split('`').filter(|word| word.starts_with("src/")).collect();
    let mut excepted: Vec<String> = Vec::new();
    for file in sources("src") {
        let mut lines = file.text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("#[expect(unsafe_code") {
                let name = lines.next().and_then(|line| line.split("mod ").nth(1)).and_then(|line| line.strip_suffix(';'));
                let folder = file.path.rsplit_once('/').unwrap().0;
                excepted.push(format!("{folder}/{}", name.expect("an exception is for a module")));
            }
        }
    }
    listed.sort_unstable();
    excepted.sort_unstable();
    assert_eq!(listed, excepted);
}

#[test]
fn every_file_opens_with_its_purpose_is_ascii_and_has_a_readable_length() {
    for file in sources("src").iter().chain(&sources("tests")) {
        assert!(file.text.starts_with("//! "), "{} does not open with //!", file.path);
        let strange = file.text.lines().position(|line| !line.is_ascii()).map(|index| index + 1);
        assert_eq!(strange, None, "{}: a line that is not ASCII", file.path);
        let lines = file.text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines, more than {MAX_LINES}", file.path);
    }
}

/// A module that has a folder is the folder's `mod.rs`, so that moving the folder moves the whole module.
#[test]
fn a_module_with_a_folder_is_its_mod_rs() {
    for file in sources("src").iter().chain(&sources("tests")) {
        let folder = root().join(file.path.trim_end_matches(".rs"));
        assert!(!folder.is_dir(), "{} is beside its folder", file.path);
    }
}

#[test]
fn every_command_is_named_in_a_test() {
    // A constant of a spec in src/commands: `name: c"atomic.cas"`.
    let commands = sources("src/commands");
    let named = commands.iter().flat_map(|file| file.text.lines()).filter_map(|line| {
        let rest = line.trim().strip_prefix("name: c\"")?;
        rest.split('"')
            .next()
            .filter(|name| name.to_lowercase().starts_with("atomic."))
            .map(|name| name.to_uppercase().replace('|', " "))
    });
    let names: Vec<String> = named.collect();
    assert!(names.len() > 5, "found only {names:?}: the rule looks in the wrong place");
    // Introspection has a row for each anyway; what counts is a test of behaviour.
    let tests = sources("tests");
    let tests: Vec<&Source> =
        tests.iter().filter(|file| !file.path.ends_with("introspection.rs") && !file.path.contains("/support/")).collect();
    let untested: Vec<&String> = names.iter().filter(|name| !tests.iter().any(|file| mentions(&file.text, name))).collect();
    assert!(untested.is_empty(), "no test mentions {untested:?}");
}

/// True when the command is called in the text: `ATOMIC.LOCK` is not in `ATOMIC.LOCKINFO`.
fn mentions(text: &str, command: &str) -> bool {
    text.match_indices(command)
        .any(|(at, _)| !text[at + command.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

#[test]
fn the_reader_sees_code_and_nothing_else() {
    let text = "use a; // unsafe\nlet s = \"unsafe \\\" unsafe\";\n#[cfg(test)]\nmod tests {\n  fn f() { x.unwrap() }\n}\nlet c = '\"'; unsafe {}\n";
    let code: Vec<String> = code_of(text).into_iter().map(|(number, line)| format!("{number} {}", line.trim())).collect();
    assert_eq!(code, ["1 use a;", "2 let s = \"\";", "7 let c = '; unsafe {}"]);
    assert!(names("unsafe {", "unsafe") && !names("unsafe_op", "unsafe") && names("use std::time::Instant", "std::time"));
    assert!(mentions("ATOMIC.LOCK k", "ATOMIC.LOCK") && !mentions("ATOMIC.LOCKINFO k", "ATOMIC.LOCK"));
}

#[test]
fn every_function_of_the_module_api_is_checked_at_load() {
    let required = fs::read_to_string(root().join("src/module/required.rs")).unwrap();
    let mut used = 0;
    for file in sources("src").iter().filter(|file| !file.path.ends_with("required.rs")) {
        for (_, line) in &file.code {
            for name in line.split("api!(").skip(1).filter_map(|rest| rest.split(')').next()) {
                used += usize::from(name.starts_with("RedisModule_"));
                assert!(
                    !name.starts_with("RedisModule_") || required.contains(&format!("{name},")),
                    "{name} is used in {}",
                    file.path
                );
            }
        }
    }
    assert!(used > 40, "found only {used} uses");
}
