//! `atomic.*`: the native commands as functions, so a script calls them without the server's dispatch.
//!
//! The engine gets the list of commands when it starts. Arguments are those of the command. The last one may be a table: its
//! list, then its fields as options, `{nx = true, px = 1000}` for `NX PX 1000`. Options come in the order of the command's
//! syntax, because a table has no order. An unknown field is refused here, since a command might take it for data.

use std::ffi::c_int;

use super::redis::{Target, call_target, take};
use crate::error::{Error, QUOTED_BYTES};
use crate::lua::fixed_text::FixedText;
use crate::lua::numbers::truncated;
use crate::lua::vm::arguments::Arguments;
use crate::lua::vm::stack::{Kind, Quiet, Stack, native};

/// The most arguments of one call, as many as `unpack` gives to `redis.call`.
const MAX_ARGUMENTS: usize = 8000;

/// The most options of one call.
const MAX_OPTIONS: usize = 32;

/// Slots of the Lua stack for reading a table: a field, and an element of its list, with a reserve.
const SLOTS: c_int = 8;

/// Why arguments do not make a command.
pub(super) enum Refusal<'r> {
    /// An argument has a wrong type.
    BadArgument,
    /// There are more than [`MAX_ARGUMENTS`], or options than [`MAX_OPTIONS`].
    TooMany,
    /// The command does not have this option.
    Unknown(&'r [u8]),
}

type Collected<'r> = Result<(), Refusal<'r>>;

/// Pushes the table.
pub(in crate::lua) fn open(s: Stack<'_>) {
    let natives = &s.context().natives;
    s.push_table(0, natives.len());
    for (number, command) in (0_u32..).zip(natives) {
        s.push_bytes(function_name(command.name.to_bytes()));
        s.push_number(f64::from(number));
        s.push_native_with_value(native(call), c"atomic");
        s.raw_set(-3);
    }
}

/// `seminfo` of `atomic.seminfo`.
fn function_name(command: &[u8]) -> &[u8] {
    command.iter().position(|&byte| byte == b'.').and_then(|dot| command.get(dot + 1..)).unwrap_or(command)
}

fn call(s: Stack<'_>) -> c_int {
    // No other number can be there.
    let number = usize::try_from(truncated(s.own_number())).unwrap_or(usize::MAX);
    call_target(s, Target::Native(number))
}

/// Collects the name of the command and its arguments. Strings in tables stay alive: no Lua runs before the arguments are
/// dropped.
pub(super) fn collect<'r>(s: Quiet<'r>, number: usize, arguments: &mut Arguments<'r>) -> Collected<'r> {
    let command = s.context().natives.get(number).ok_or(Refusal::BadArgument)?;
    arguments.push(command.name.to_bytes());
    let last = s.top();
    for index in 1..=last {
        if index == last && s.kind(index) == Kind::Table {
            return if s.reserve(SLOTS) { take_table(s, &command.options, arguments) } else { Err(Refusal::TooMany) };
        }
        if !take(s, index, arguments) {
            return Err(Refusal::BadArgument);
        }
    }
    Ok(())
}

/// A field that is an option.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Field<'r> {
    /// The place of the option in the syntax.
    rank: usize,
    /// As the script writes it, so that `px` and `PX` have an order.
    name: &'r [u8],
    /// The place of the field in the table.
    place: c_int,
}

/// Takes the table on the top.
fn take_table<'r>(s: Quiet<'r>, options: &[&'r [u8]], arguments: &mut Arguments<'r>) -> Collected<'r> {
    let table = s.top();
    let (mut fields, mut count) = ([None::<Field<'r>>; MAX_OPTIONS], 0);
    take_list(s, arguments, |name, place| {
        let rank = options.iter().position(|option| option.eq_ignore_ascii_case(name)).ok_or(Refusal::Unknown(name))?;
        let free = fields.get_mut(count).ok_or(Refusal::TooMany)?;
        *free = Some(Field { rank, name, place });
        count += 1;
        Ok(())
    })?;
    fields.sort_unstable();
    for field in fields.into_iter().flatten() {
        let word = options.get(field.rank).copied().unwrap_or_default();
        // Pushes the name and the value.
        s.entry_from(table, field.place).ok_or(Refusal::BadArgument)?;
        take_option(s, word, arguments)?;
        s.set_top(table);
    }
    Ok(())
}

/// Takes an option whose value is on the top.
fn take_option<'r>(s: Quiet<'r>, word: &'r [u8], arguments: &mut Arguments<'r>) -> Collected<'r> {
    let value = s.top();
    match s.kind(value) {
        Kind::Boolean if !s.truth(value) => return Ok(()),
        Kind::Boolean | Kind::String | Kind::Number | Kind::Table => arguments.push(word),
        _ => return Err(Refusal::BadArgument),
    }
    match s.kind(value) {
        Kind::Table => take_list(s, arguments, |_, _| Err(Refusal::BadArgument)),
        Kind::Boolean => Ok(()),
        _ => take(s, value, arguments).then_some(()).ok_or(Refusal::BadArgument),
    }
}

/// Takes the list of the table on the top, which must have no holes, and passes each named field and its place to `named`.
fn take_list<'r>(
    s: Quiet<'r>,
    arguments: &mut Arguments<'r>,
    mut named: impl FnMut(&'r [u8], c_int) -> Collected<'r>,
) -> Collected<'r> {
    let (table, len) = (s.top(), s.length(s.top()));
    if len > MAX_ARGUMENTS.saturating_sub(arguments.len()) {
        return Err(Refusal::TooMany);
    }
    let (mut numbered, mut place) = (0, 0);
    while let Some(next) = s.entry_from(table, place) {
        match s.kind(table + 1) {
            Kind::String => named(s.bytes(table + 1).unwrap_or_default(), place)?,
            Kind::Number if numbered < len => numbered += 1,
            _ => return Err(Refusal::BadArgument),
        }
        s.set_top(table);
        place = next;
    }
    // If all these elements exist, no other numbered field does.
    for index in 1..=c_int::try_from(len).unwrap_or(c_int::MAX) {
        s.raw_get_element(table, index);
        if !take(s, table + 1, arguments) {
            return Err(Refusal::BadArgument);
        }
        s.set_top(table);
    }
    Ok(())
}

/// The refusal of an option, in the words of the commands.
pub(super) fn unknown(name: &[u8]) -> FixedText<320> {
    let near = name.get(..=QUOTED_BYTES).unwrap_or(name).to_ascii_uppercase();
    let mut text = FixedText::new();
    text.extend(Error::Syntax { near }.wire().as_bytes());
    text
}
