//! The properties of expressions and functions that the parser keeps.

use std::collections::HashSet;

/// The names in a source, wherever they are. A local of one function counts for all, so a name that is not declared is surely none.
#[derive(Default)]
pub(super) struct Names<'a> {
    /// The names of local variables.
    pub declared: HashSet<&'a [u8]>,
    /// The names that are read or assigned, with their offsets.
    pub used: Vec<(usize, &'a [u8])>,
    pub assigned: Vec<(usize, &'a [u8])>,
}

/// The form of an expression, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// A name, which can be assigned to.
    Name(&'a [u8]),
    /// An index, which can be assigned to, with the field's name.
    Index(Option<&'a [u8]>),
    /// A call, with the name of the function.
    Call(Option<Named<'a>>),
    Number(&'a [u8]),
    /// Anything else.
    Other,
}

/// The name by which a function is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Named<'a> {
    Variable(&'a [u8]),
    /// A field, or a method, of whatever table.
    Field(&'a [u8]),
}

/// A function around the current place.
#[derive(Default)]
pub(super) struct Function<'a> {
    /// The variable or field that it was assigned to.
    pub name: Option<Named<'a>>,
    /// It takes `...`.
    pub vararg: bool,
    /// It is the whole source. That takes `...` and has no `arg`.
    pub is_main: bool,
    pub uses_dots: bool,
    /// It, or a function in it, uses its `arg`.
    pub mentions_arg: bool,
}

/// Whether the fields of this table are functions of the server. A script cannot put its own there.
pub(super) fn is_library(name: &[u8]) -> bool {
    [&b"redis"[..], b"server", b"string", b"table", b"math", b"cjson", b"cmsgpack", b"bit", b"struct", b"coroutine", b"os"]
        .contains(&name)
}
