//! What a watched run must know of a call before it runs: its keys, and whether its effect can be undone.

use std::ffi::c_int;

use super::keys::Keys;
use super::quiet::is_quiet;
use super::{Calls, KnownCommand};
use crate::server::args::{is, parse_i64};
use crate::server::module_api::Ctx;

/// The call of a command that exists.
#[derive(Debug, Default)]
pub struct Facts<'w> {
    /// The keys that the call uses.
    pub keys: Vec<&'w [u8]>,
    /// The keys that it may write, each with its database if that is not the selected one.
    pub written: Vec<(Option<c_int>, &'w [u8])>,
    /// Patterns by which it finds keys that it does not name (SORT).
    pub patterns: Vec<&'w [u8]>,
    /// It uses any keys, without naming them.
    pub is_keyless: bool,
    /// It may write.
    pub writes: bool,
    /// It publishes a message.
    pub publishes: bool,
    /// It may write, and what it writes may be replicated although nobody asked for that.
    pub is_loud: bool,
    pub undoable: Undoable,
}

/// Whether the effect of a call can be undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Undoable {
    #[default]
    Yes,
    No,
}

/// Commands whose keys are known and whose effect reaches beyond them.
const NEVER_UNDONE: [&str; 1] = ["migrate"];

/// The command of this module that runs another one, and the position of that one.
const WITH_INNER: (&str, usize) = ("atomic.idem", 3);

/// The names that other modules use for commands of this module.
const COMPATIBLE: [&str; 3] = ["cas", "cad", "cl.throttle"];

const PUBLISHING: [&str; 2] = ["publish", "spublish"];

/// Commands that name no keys and read those of the whole database, besides those that use all of them.
const KEYLESS: [&str; 1] = ["dbsize"];

impl Calls<'_> {
    /// The facts about a call; `None` if it would be refused before it uses a key, by this module or by the server.
    pub fn facts<'w>(&mut self, argv: &[&'w [u8]]) -> Option<Facts<'w>> {
        let (ctx, read_only) = (self.ctx, self.rules.read_only);
        let mut slots = self.rules.slots;
        let known = self.known.get(ctx, argv).ok()?;
        let refused = known.noscript || !known.accepts_arity(argv.len()) || (read_only && (known.write || known.may_replicate));
        if refused || (!slots.are_all() && known.check(&mut slots, ctx, argv).is_err()) {
            return None;
        }
        let mut facts = known.facts(ctx, argv);
        if is_named(argv, &[WITH_INNER.0]) {
            facts.undoable = facts.undoable.and(self.inner_facts(argv, &mut facts));
        }
        Some(facts)
    }

    /// Adds the facts about the inner command of a call. Its message cannot be held back, since its reply is stored.
    fn inner_facts<'w>(&mut self, argv: &[&'w [u8]], facts: &mut Facts<'w>) -> Undoable {
        let words = argv.get(WITH_INNER.1..).unwrap_or_default();
        // The command refuses a call in a call.
        if is_named(words, &[WITH_INNER.0]) {
            return Undoable::Yes;
        }
        let Ok(inner) = self.known.get(self.ctx, words) else { return Undoable::Yes };
        let inner = inner.facts(self.ctx, words);
        facts.keys.extend(inner.keys);
        facts.written.extend(inner.written);
        facts.patterns.extend(inner.patterns);
        facts.is_keyless |= inner.is_keyless;
        facts.is_loud |= inner.is_loud;
        if inner.publishes { Undoable::No } else { inner.undoable }
    }
}

impl Undoable {
    fn and(self, other: Self) -> Self {
        if self == Self::Yes { other } else { self }
    }
}

fn is_named(argv: &[&[u8]], names: &[&str]) -> bool {
    argv.first().is_some_and(|name| names.iter().any(|other| is(name, other)))
}

impl KnownCommand {
    fn facts<'w>(&self, ctx: Ctx, argv: &[&'w [u8]]) -> Facts<'w> {
        let used = self.specs.find(ctx, self.keys, argv, self.write);
        let publishes = is_named(argv, &PUBLISHING);
        let writes = !publishes && (self.write || self.specs.write());
        let mut written: Vec<_> = if writes { used.written.iter().map(|key| (None, *key)).collect() } else { Vec::new() };
        if let Some(db) = other_database(argv) {
            let moved = if is_named(argv, &["move"]) { argv.get(1) } else { argv.get(2) };
            written.extend(moved.map(|key| (Some(db), *key)));
        }
        let is_other_modules = self.of_module && !self.is_ours();
        let hides_keys = writes && self.specs.are_none();
        let undoable = if is_other_modules || hides_keys || is_named(argv, &NEVER_UNDONE) { Undoable::No } else { Undoable::Yes };
        Facts {
            keys: used.all,
            written,
            patterns: patterns(argv),
            is_keyless: self.keys == Keys::OverAll || is_named(argv, &KEYLESS),
            writes,
            publishes,
            is_loud: writes && !self.is_ours() && !is_quiet(self.name.to_bytes()),
            undoable,
        }
    }

    fn is_ours(&self) -> bool {
        let name = self.name.to_bytes();
        let ours = name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"atomic."));
        ours || COMPATIBLE.iter().any(|other| is(name, other))
    }
}

/// The database that a call writes besides the selected one: that of MOVE and COPY.
fn other_database(argv: &[&[u8]]) -> Option<c_int> {
    let number = |word: &[u8]| parse_i64(word).and_then(|number| c_int::try_from(number).ok());
    if is_named(argv, &["move"]) {
        return number(argv.get(2)?);
    }
    if !is_named(argv, &["copy"]) {
        return None;
    }
    // The last one counts.
    let at = argv.iter().rposition(|word| is(word, "DB"))?;
    number(argv.get(at.checked_add(1)?)?)
}

/// The patterns by which a call of SORT finds keys.
fn patterns<'w>(argv: &[&'w [u8]]) -> Vec<&'w [u8]> {
    if !is_named(argv, &["sort", "sort_ro"]) {
        return Vec::new();
    }
    let options = argv.iter().zip(argv.iter().skip(1)).skip(2);
    let named = options.filter(|(option, _)| is(option, "BY") || is(option, "GET"));
    named.map(|(_, pattern)| *pattern).filter(|pattern| pattern.contains(&b'*')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(call: &str) -> Vec<&[u8]> {
        call.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn another_database_is_found() {
        for (call, expected) in [
            ("MOVE k 3", Some(3)),
            ("MOVE k x", None),
            ("COPY a b", None),
            ("COPY a b DB 4 REPLACE", Some(4)),
            ("copy DB b replace db 5", Some(5)),
            ("COPY a b DB", None),
            ("RENAME a b", None),
        ] {
            assert_eq!(other_database(&words(call)), expected, "{call}");
        }
    }

    #[test]
    fn the_patterns_of_sort_are_found() {
        for (call, expected) in [
            ("SORT k", ""),
            ("SORT k BY w_* GET # GET o_*->f STORE d", "w_* o_*->f"),
            ("SORT_RO k BY nosort", ""),
            ("GET BY *", ""),
        ] {
            assert_eq!(patterns(&words(call)).join(&b' '), expected.as_bytes(), "{call}");
        }
    }
}
