//! Sources of Lua 5.1 that mean something else in Luau.
//!
//! A source that is Lua 5.1 should mean here what it means on the server. Luau gives nearly all of them that meaning. A parser of
//! 5.1's own grammar (`lparser.c`) finds the others. It has the limits of that grammar too: a source that it refuses is not 5.1,
//! so it is Luau and stays as it is. In a source that it accepts:
//!
//! - The local `arg` of a function with `...` is declared at the start of the function, in the same line, as 5.1 does.
//! - An escape that Luau refuses (`\u00e9`) loses its backslash, which means nothing in 5.1.
//! - Any other difference makes the source one that `differs`. Drop-in mode leaves it to the server's engine; elsewhere docs/lua.md says
//!   what happens.
//!
//! Rejected: Luau's own parser, because its syntax tree is not accessible from C; and a search for words without a grammar,
//! because it takes names of fields, comments and strings for code.

pub mod check;
mod escapes;
mod lexer;
mod names;
mod parser;
mod references;
mod shapes;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use memchr::memmem;

use self::parser::Parser;

/// A source for Luau's compiler.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::lua) struct Translation<'a> {
    /// The text. Every line keeps its number.
    pub text: Cow<'a, [u8]>,
    /// Something in it means something else in Lua 5.1. False for a source that only runs here, since it uses `atomic`.
    pub differs: bool,
}

/// Translates a source for Luau's compiler.
pub(in crate::lua) fn translate(source: &[u8]) -> Translation<'_> {
    let mut parser = Parser::new(source);
    if parser.source().is_err() {
        return Translation { text: Cow::Borrowed(source), differs: false };
    }
    let differs = !parser.differences.is_empty() && !parser.is_ours;
    let text = if parser.edits.is_empty() { Cow::Borrowed(source) } else { Cow::Owned(edited(source, parser.edits)) };
    Translation { text, differs }
}

/// A change of the text.
#[derive(Clone, Copy)]
struct Edit {
    at: usize,
    what: Change,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Declare `arg`, with all arguments in it.
    Arguments,
    /// Declare `arg`, which is nil in a function that uses `...` itself.
    Nil,
    /// Leave out the byte here.
    Remove,
}

/// Room for one declaration, in bytes.
const DECLARATION: usize = 64;

fn edited(source: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_unstable_by_key(|edit| edit.at);
    let select = unused_name(source);
    let mut text = Vec::with_capacity(source.len().saturating_add(edits.len().saturating_mul(DECLARATION)));
    // A script may have another `select`, or other globals.
    if edits.iter().any(|edit| edit.what == Change::Arguments) {
        text.extend_from_slice(format!("local {select} = select ").as_bytes());
    }
    let mut from = 0;
    for Edit { at, what } in edits {
        text.extend_from_slice(source.get(from..at).unwrap_or_default());
        from = at;
        match what {
            Change::Arguments => text.extend_from_slice(format!(" local arg = {{n = {select}('#', ...), ...}} ").as_bytes()),
            Change::Nil => text.extend_from_slice(b" local arg "),
            Change::Remove => from = at.saturating_add(1),
        }
    }
    text.extend_from_slice(source.get(from..).unwrap_or_default());
    text
}

/// A name that does not occur in the source.
fn unused_name(source: &[u8]) -> String {
    let mut name = "select_".to_owned();
    while memmem::find(source, name.as_bytes()).is_some() {
        name.push('_');
    }
    name
}
