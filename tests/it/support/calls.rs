//! Calls built from `COMMAND DOCS`: the valid-looking forms of a command, argument by argument, for suites that cover every
//! command.
//!
//! Not every combination of options: each alternative of each argument once, with the plainest form of the others, and one form
//! with everything.

use super::docs::{Argument, Documented};

/// The script in calls of `ATOMIC.EVAL`: one write at its end.
pub const SCRIPT: &str = "return redis.call('SET', KEYS[1], ARGV[1])";

/// The digest of [`SCRIPT`].
pub const SCRIPT_SHA1: &str = "d8f2fad9f8e86a53d2a6ebd960b33c4972cacc37";

/// The library in calls of `ATOMIC.FUNCTION`, with a function of the same name that does what [`SCRIPT`] does.
pub const LIBRARY: &str = "#!lua name=hostile\n\
    redis.register_function('hostile', function(keys, args) return redis.call('SET', keys[1], args[1]) end)";

/// The kind of an argument, for an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A word of the command, or a token.
    Word,
    /// A key.
    Key,
    /// An integer or a time.
    Integer,
    /// Any bytes.
    Text,
}

/// One argument of a call.
#[derive(Debug, Clone)]
pub struct Slot {
    /// The bytes to send.
    pub bytes: Vec<u8>,
    /// Its kind.
    pub kind: Kind,
    /// It belongs to an optional argument.
    pub optional: bool,
}

/// One form of a command.
#[derive(Debug, Clone)]
pub struct Call {
    /// All arguments, the command's words first.
    pub slots: Vec<Slot>,
    /// The number of words in the command's name.
    pub words: usize,
    /// Some argument may be repeated, so junk at the end can be valid.
    pub repeats: bool,
    /// It runs a script, which decides what to do with a key.
    pub scripted: bool,
}

impl Call {
    /// The arguments to send.
    pub fn argv(&self) -> Vec<Vec<u8>> {
        self.slots.iter().map(|slot| slot.bytes.clone()).collect()
    }

    /// Its keys.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.slots.iter().filter(|slot| slot.kind == Kind::Key).map(|slot| slot.bytes.clone()).collect()
    }

    /// True when it has no optional argument.
    pub fn is_plain(&self) -> bool {
        self.slots.iter().all(|slot| !slot.optional)
    }
}

/// The forms of a command, the plainest first.
pub fn forms(command: &Documented) -> Vec<Call> {
    let runs_scripts = ["EVAL", "FCALL"].iter().any(|runs| command.words[0].contains(runs));
    let from_a_file = !command.words[0].starts_with("ATOMIC.");
    let scripted = from_a_file || (runs_scripts && command.arguments.iter().any(|argument| argument.name == "numkeys"));
    let repeats = command.arguments.iter().any(any_repeats);
    let words: Vec<Slot> = command.words.iter().map(|word| slot(word, Kind::Word)).collect();
    let mut calls: Vec<Call> = combine(&command.arguments)
        .into_iter()
        .map(|rest| {
            let mut slots = [words.clone(), rest].concat();
            // Keys get distinct names in one cluster slot.
            let keys = slots.iter_mut().filter(|slot| slot.kind == Kind::Key);
            keys.enumerate().for_each(|(position, slot)| slot.bytes = format!("{{hostile}}{position}").into_bytes());
            Call { slots, words: words.len(), repeats, scripted }
        })
        .collect();
    calls.sort_by_key(|call| !call.is_plain());
    calls
}

fn any_repeats(argument: &Argument) -> bool {
    argument.multiple || argument.nested.iter().any(any_repeats)
}

/// Each alternative of each argument with the others in their plainest form; and the last alternative of all.
fn combine(arguments: &[Argument]) -> Vec<Vec<Slot>> {
    let alternatives: Vec<Vec<Vec<Slot>>> = arguments.iter().map(alternatives).collect();
    let plainest: Vec<Vec<Slot>> = alternatives.iter().map(|list| list[0].clone()).collect();
    let mut combined = vec![plainest.concat()];
    for (position, list) in alternatives.iter().enumerate() {
        for other in &list[1..] {
            let mut chosen = plainest.clone();
            chosen[position].clone_from(other);
            combined.push(chosen.concat());
        }
    }
    if alternatives.iter().filter(|list| list.len() > 1).count() > 1 {
        combined.push(alternatives.iter().filter_map(|list| list.last()).flatten().cloned().collect());
    }
    combined
}

fn alternatives(argument: &Argument) -> Vec<Vec<Slot>> {
    let mut forms = match argument.kind.as_str() {
        "oneof" => argument.nested.iter().flat_map(alternatives).collect(),
        "block" => combine(&argument.nested),
        "pure-token" => vec![Vec::new()],
        "key" => vec![vec![slot("key", Kind::Key)]],
        "integer" | "unix-time" => vec![vec![slot(number(argument), Kind::Integer)]],
        "double" => vec![vec![slot("10", Kind::Text)]],
        _ => vec![vec![slot(text(&argument.name), Kind::Text)]],
    };
    if let Some(token) = &argument.token {
        forms.iter_mut().for_each(|form| form.insert(0, slot(token, Kind::Word)));
    }
    if argument.optional {
        forms.iter_mut().flatten().for_each(|slot| slot.optional = true);
        forms.insert(0, Vec::new());
    }
    forms
}

fn slot(text: &str, kind: Kind) -> Slot {
    Slot { bytes: text.as_bytes().to_vec(), kind, optional: false }
}

fn number(argument: &Argument) -> &'static str {
    match (argument.kind.as_str(), argument.name.as_str()) {
        ("unix-time", name) if name.contains("milli") || name.contains("ms") => "4102444800000",
        ("unix-time", _) => "4102444800",
        (_, "numkeys") => "1",
        // Nothing comes due in these suites.
        (_, "wait-ms") => "1",
        (_, name) if name.ends_with("ms") || name.contains("milli") => "60000",
        (_, "seconds") => "60",
        _ => "10",
    }
}

fn text(name: &str) -> &'static str {
    match name {
        "script" => SCRIPT,
        "sha1" | "sha" | "digest" => SCRIPT_SHA1,
        "function" | "library-name" => "hostile",
        "function-code" => LIBRARY,
        "owner" => "me",
        "command" => "PING",
        // Some options compare the value as a number.
        "value" => "10",
        _ => "v",
    }
}
