//! Transcripts as tests: fenced ```redis blocks of a page run against a server, on an empty keyspace per page.
//!
//! A line `> COMMAND arguments` is sent as typed into redis-cli; the lines up to the next one are the output of redis-cli for the
//! reply: `(integer) 1`, `"bulk"`, `OK`, `(nil)`, `(error) ERR text`, `1) ...` with nesting by indentation. Blank lines and lines that
//! begin with `#` are skipped, and so is a label after a line of a reply: two spaces, `#`, a space and text. Variable parts are written as
//!
//! * `<name>` inside a line: any text, at least one character (`(integer) <ttl-ms>`);
//! * `...` at the end of a line: any rest; as a whole line: any number of lines.

use super::Server;

/// One command of a transcript and its expected output.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// Line number in the page, counted from 1.
    pub number: usize,
    /// The command, as typed.
    pub command: String,
    /// The expected output.
    pub expected: Vec<String>,
}

/// The steps of all ```redis blocks in a text. In Rust sources those of the `//!` and `///` comments.
pub fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (index, source) in text.lines().enumerate() {
        let source = source.trim_start();
        let comment = source.strip_prefix("//!").or_else(|| source.strip_prefix("///"));
        let line = comment.map_or(source, |rest| rest.strip_prefix(' ').unwrap_or(rest)).trim_end();
        if line.starts_with("```") {
            inside = !inside && line == "```redis";
        } else if !inside || line.is_empty() || line.starts_with('#') {
        } else if let Some(command) = line.strip_prefix("> ") {
            steps.push(Step { number: index + 1, command: command.to_owned(), expected: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            step.expected.push(without_label(line).trim().to_owned());
        }
    }
    steps
}

/// `1) (integer) 1` of `1) (integer) 1   # granted`.
fn without_label(line: &str) -> &str {
    line.split_once("  # ").map_or(line, |(reply, _)| reply)
}

/// Runs the steps in order on an empty server and returns their number. Panics at the first with another output.
#[track_caller]
pub fn run(server: &Server, page: &str, text: &str) -> usize {
    server.run("FLUSHALL");
    let mut connection = server.connect();
    let steps = steps(text);
    for step in &steps {
        let printed = connection.run(&step.command).to_string();
        let lines: Vec<&str> = printed.lines().map(str::trim).collect();
        let expected: Vec<&str> = step.expected.iter().map(String::as_str).collect();
        let (number, command) = (step.number, &step.command);
        assert!(
            lines_match(&lines, &expected),
            "{page}:{number}: > {command}\nexpected:\n{}\nprinted:\n{printed}",
            expected.join("\n")
        );
    }
    steps.len()
}

fn lines_match(lines: &[&str], expected: &[&str]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((&"...", rest)) => (0..=lines.len()).any(|skipped| lines_match(&lines[skipped..], rest)),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, others)| text_matches(line, first) && lines_match(others, rest))
        }
    }
}

/// Whether a text matches a pattern with `<name>` and `...`.
pub fn text_matches(text: &str, pattern: &str) -> bool {
    if pattern == "..." {
        return true;
    }
    let wildcard = pattern.strip_prefix('<').and_then(|rest| rest.split_once('>')).filter(|(name, _)| is_name(name));
    if let Some((_, rest)) = wildcard {
        return (1..=text.len()).any(|taken| text.is_char_boundary(taken) && text_matches(&text[taken..], rest));
    }
    match (text.chars().next(), pattern.chars().next()) {
        (None, None) => true,
        (Some(ours), Some(theirs)) if ours == theirs => text_matches(&text[ours.len_utf8()..], &pattern[theirs.len_utf8()..]),
        _ => false,
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == ' ')
}

#[test]
fn only_redis_blocks_are_transcripts() {
    let page = "# Title\n```\n> NOT\n```\n```redis\n> SET k v\nOK\n\n# why\n> HGETALL k\n1) \"a\"\n   2) \"b\"\n```\n> prose\n";
    let step = |number, command: &str, expected: &[&str]| Step {
        number,
        command: command.to_owned(),
        expected: expected.iter().map(|&line| line.to_owned()).collect(),
    };
    assert_eq!(steps(page), [step(6, "SET k v", &["OK"]), step(10, "HGETALL k", &["1) \"a\"", "2) \"b\""])]);
    assert_eq!(
        steps("```redis\n> GET k\n(integer) 1   # how many\n\"a # b\"\n```\n"),
        [step(2, "GET k", &["(integer) 1", "\"a # b\""])]
    );
    assert_eq!(steps("//! ```redis\n//! > PING\n//! PONG\n//! ```\n"), [step(2, "PING", &["PONG"])]);
}

#[test]
fn wildcards_match_variable_parts_and_nothing_else() {
    assert!(lines_match(&["(integer) 17"], &["(integer) <ttl-ms>"]));
    assert!(lines_match(&["(integer) 17"], &["(integer) ..."]) && lines_match(&["a", "b", "c"], &["a", "...", "c"]));
    assert!(!lines_match(&["(integer) "], &["(integer) <ttl-ms>"]) && !lines_match(&["(integer) 1"], &["(integer) 2"]));
    assert!(!lines_match(&["a", "b"], &["a"]) && !lines_match(&["a"], &["a", "b"]) && !lines_match(&["1) x 2"], &["1) <n> 3"]));
}
