//! The words of a call of a scripted command: which ones are keys, and how COMMAND DOCS names them.

use std::ffi::CString;

use crate::error::{Error, Result};
use crate::lua::{Declaration, Positions};
use crate::server::args::parse_i64;
use crate::server::module_api::Str;
use crate::server::spec::Arg;

/// The positions of the keys in one call.
pub(super) struct Span {
    first: usize,
    end: usize,
    step: usize,
}

impl Span {
    /// Fails if the call lacks keys.
    pub fn of(keys: Positions, argv: &[Str<'_>]) -> Result<Self> {
        let words = argv.len();
        match keys {
            Positions::None => Ok(Self { first: 1, end: 1, step: 1 }),
            Positions::Range { first, last, step } => {
                let (first, step) = (position(first), position(step));
                let end = if last < 0 {
                    words.saturating_add(1).saturating_sub(position(last))
                } else {
                    position(last).saturating_add(1)
                };
                if first < end && end <= words { Ok(Self { first, end, step }) } else { Err(Error::Arity) }
            }
            Positions::Counted(at) => {
                let first = position(at).saturating_add(1);
                let most = words.saturating_sub(first);
                let count = argv.get(position(at)).and_then(|count| parse_i64(count.bytes()));
                let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| (1..=most).contains(count));
                let max = i64::try_from(most).unwrap_or(i64::MAX);
                let count = count.ok_or(Error::Range { argument: "numkeys", min: 1, max })?;
                Ok(Self { first, end: first.saturating_add(count), step: 1 })
            }
        }
    }

    pub fn holds(&self, at: usize) -> bool {
        (self.first..self.end).contains(&at) && at.saturating_sub(self.first).is_multiple_of(self.step)
    }
}

/// The magnitude of a position or arity, whose sign has another meaning.
fn position(number: i32) -> usize {
    usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX)
}

/// The flags and documented arguments of a command. Files do not name arguments: a key is `key`, any other argument is `arg`.
pub(super) fn of(declaration: &Declaration) -> (CString, Vec<Arg>) {
    (declaration.server_flags(), arguments(declaration))
}

fn arguments(declaration: &Declaration) -> Vec<Arg> {
    const ARG: Arg = Arg::string(c"arg");
    const PLAIN: usize = 8;
    let Declaration { keys, arity, .. } = declaration;
    let (given, open) = (position(*arity).saturating_sub(1), *arity < 0);
    let rest = |words: usize| {
        let needed = given.saturating_sub(words);
        let needed = if needed <= PLAIN { vec![ARG; needed] } else { vec![ARG.multiple()] };
        needed.into_iter().chain((open && given.saturating_sub(words) <= PLAIN).then_some(ARG.optional().multiple()))
    };
    match *keys {
        Positions::None => rest(0).collect(),
        Positions::Range { first, last, step } if last > 0 && last < 16 => {
            let is_key = |at: usize| at >= position(first) && at.saturating_sub(position(first)).is_multiple_of(position(step));
            let words = (1..=position(last)).map(|at| if is_key(at) { Arg::KEY } else { ARG });
            words.chain(rest(position(last))).collect()
        }
        Positions::Range { first, last, .. } => {
            let before = vec![ARG; position(first).saturating_sub(1).min(PLAIN)];
            let after = if last < 0 { position(last).saturating_sub(1).min(PLAIN) } else { 0 };
            before.into_iter().chain([Arg::KEY.multiple()]).chain(vec![ARG; after]).collect()
        }
        Positions::Counted(at) => {
            let before = vec![ARG; position(at).saturating_sub(1).min(PLAIN)];
            let counted = [Arg::integer(c"numkeys"), Arg::KEY.multiple()];
            before.into_iter().chain(counted).chain(rest(position(at).saturating_add(1))).collect()
        }
    }
}
