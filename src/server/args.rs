//! A cursor over the arguments of a command.
//!
//! Arguments are bytes. Every accessor takes the name of its argument for the error. [`Args::finish`] refuses extra arguments, so no
//! option is accepted and ignored. Integers have Redis' form: decimal, no sign but `-`, no leading zero, no space.

use std::ops::RangeInclusive;

use super::module_api::Str;
use crate::error::{Error, Result};
use crate::primitives::effect::ExpiryRequest;
pub use crate::primitives::number::parse_i64;
use crate::primitives::time::{DurationMs, MAX_DURATION_MS, UnixMs};

/// The largest `EX` or `EXAT` in seconds, such that its milliseconds plus any clock fit into 64 bits.
const MAX_SECONDS: i64 = i64::MAX / 2000;
/// The largest `PX` or `PXAT` in milliseconds.
const MAX_MILLIS: i64 = i64::MAX / 2;

/// The most keys of one command.
const MAX_KEYS: u8 = 128;

/// The arguments that are still unread.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    rest: &'a [Str<'a>],
    /// The option read last: if its value is missing, the error names it.
    option: Option<Str<'a>>,
}

impl<'a> Args<'a> {
    /// Starts at the first argument after the command's name.
    #[must_use]
    pub fn new(args: &'a [Str<'a>]) -> Self {
        Self { rest: args, option: None }
    }

    #[inline]
    pub fn take(&mut self) -> Result<Str<'a>> {
        let Some((first, rest)) = self.rest.split_first() else {
            return Err(self.missing());
        };
        self.rest = rest;
        Ok(*first)
    }

    #[cold]
    fn missing(self) -> Error {
        self.option.map_or(Error::Arity, |option| syntax(option.bytes()))
    }

    /// The next argument as an option, if any.
    pub fn take_if_any(&mut self) -> Option<Str<'a>> {
        let (option, rest) = self.rest.split_first()?;
        (self.rest, self.option) = (rest, Some(*option));
        self.option
    }

    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        Ok(self.take()?.bytes())
    }

    /// The next argument as an integer in `range`.
    pub fn int(&mut self, argument: &'static str, range: RangeInclusive<i64>) -> Result<i64> {
        integer(self.bytes()?, argument, range)
    }

    /// The next argument as a count in `range`, which has no negative number.
    pub fn count(&mut self, argument: &'static str, range: RangeInclusive<i64>) -> Result<u64> {
        Ok(self.int(argument, range)?.unsigned_abs())
    }

    /// The next argument as a duration of 1 ms to one year.
    pub fn duration(&mut self, argument: &'static str) -> Result<DurationMs> {
        Ok(DurationMs(self.count(argument, 1..=MAX_DURATION_MS)?))
    }

    /// The next argument as the milliseconds of `PX`.
    pub fn px(&mut self) -> Result<DurationMs> {
        Ok(DurationMs(self.count("PX", 1..=MAX_MILLIS)?))
    }

    /// `numkeys key [key ...]`: 1 to [`MAX_KEYS`] keys, all different.
    pub fn keys(&mut self) -> Result<&'a [Str<'a>]> {
        let count = usize::try_from(self.int("numkeys", 1..=i64::from(MAX_KEYS))?).unwrap_or(usize::MAX);
        let (keys, rest) = self.rest.split_at_checked(count).ok_or(Error::Arity)?;
        self.rest = rest;
        distinct(keys.iter())?;
        Ok(keys)
    }

    /// The next argument as an owner's name or another short token of `1..=max` bytes.
    pub fn token(&mut self, argument: &'static str, max: usize, expected: &'static str) -> Result<&'a [u8]> {
        let bytes = self.bytes()?;
        if (1..=max).contains(&bytes.len()) { Ok(bytes) } else { Err(Error::Argument { argument, expected }) }
    }

    /// The unread arguments.
    #[must_use]
    pub fn rest(self) -> &'a [Str<'a>] {
        self.rest
    }

    /// Fails if an argument is unread.
    pub fn finish(self) -> Result<()> {
        match self.rest.first() {
            None => Ok(()),
            Some(extra) => Err(syntax(extra.bytes())),
        }
    }
}

/// Refuses more than [`MAX_KEYS`] keys, and a repeated key.
pub fn distinct<'k, 'a: 'k>(keys: impl ExactSizeIterator<Item = &'k Str<'a>> + Clone) -> Result<()> {
    if keys.len() > usize::from(MAX_KEYS) {
        return Err(Error::Script(format!("ERR at most {MAX_KEYS} keys").into_bytes()));
    }
    let repeated = keys.clone().enumerate().any(|(at, key)| keys.clone().take(at).any(|other| other.bytes() == key.bytes()));
    if repeated { Err(Error::Argument { argument: "key", expected: "must not be given twice" }) } else { Ok(()) }
}

/// The error for an argument that is not a valid option at its position.
#[cold]
#[must_use]
pub fn syntax(near: &[u8]) -> Error {
    Error::Syntax { near: near.get(..crate::error::QUOTED_BYTES + 1).unwrap_or(near).to_vec() }
}

/// Whether the argument is this option, in any case.
#[must_use]
pub fn is(argument: &[u8], option: &str) -> bool {
    argument.eq_ignore_ascii_case(option.as_bytes())
}

/// Reads `EX s`, `PX ms`, `EXAT t`, `PXAT t` or `KEEPTTL` into `slot` if `option` is one of them. A second one is an error.
pub fn expiry_option(option: &[u8], args: &mut Args<'_>, slot: &mut Option<ExpiryRequest>) -> Result<bool> {
    let request = if is(option, "KEEPTTL") {
        ExpiryRequest::Keep
    } else if is(option, "EX") {
        ExpiryRequest::After(DurationMs(args.count("EX", 1..=MAX_SECONDS)?.saturating_mul(1000)))
    } else if is(option, "PX") {
        ExpiryRequest::After(args.px()?)
    } else if is(option, "EXAT") {
        ExpiryRequest::At(UnixMs(args.count("EXAT", 1..=MAX_SECONDS)?.saturating_mul(1000)))
    } else if is(option, "PXAT") {
        ExpiryRequest::At(UnixMs(args.count("PXAT", 1..=MAX_MILLIS)?))
    } else {
        return Ok(false);
    };
    fill(slot, request, option)?;
    Ok(true)
}

/// Stores the value of an option. A repeated or contradicting option is an error.
pub fn fill<T>(slot: &mut Option<T>, value: T, option: &[u8]) -> Result<()> {
    if slot.replace(value).is_some() { Err(syntax(option)) } else { Ok(()) }
}

/// An integer in `range`, in Redis' form.
pub fn integer(bytes: &[u8], argument: &'static str, range: RangeInclusive<i64>) -> Result<i64> {
    match parse_i64(bytes) {
        Some(value) if range.contains(&value) => Ok(value),
        _ => Err(Error::Range { argument, min: *range.start(), max: *range.end() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_range_names_argument_and_range() {
        let error = integer(b"0", "cost", 1..=9).map_err(|error| error.wire());
        assert_eq!(error, Err("ERR cost must be an integer between 1 and 9".to_owned()));
        assert_eq!(integer(b"9", "cost", 1..=9), Ok(9));
    }

    #[test]
    fn missing_arguments_are_an_arity_error() {
        let mut args = Args::new(&[]);
        assert!(matches!(args.take(), Err(Error::Arity)));
        assert_eq!(args.finish(), Ok(()));
    }
}
