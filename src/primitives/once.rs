//! The first call wins: it stores a value, and every later call gets that value.

use super::effect::{Effect, Expiry};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was no value; the new one is stored.
    First,
    /// There was a value; it stays, and so does its TTL.
    Seen,
}

impl Outcome {
    /// The reply: 1 or 0.
    #[must_use]
    pub fn reply(self) -> i64 {
        match self {
            Self::First => 1,
            Self::Seen => 0,
        }
    }
}

/// Stores `value` unless there is a value.
pub fn store<T, V>(stored: Option<&T>, value: V, expiry: impl FnOnce() -> Expiry) -> (Outcome, Effect<V>) {
    match stored {
        Some(_) => (Outcome::Seen, Effect::Keep),
        None => (Outcome::First, Effect::Put { value, expiry: expiry() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::time::UnixMs;

    #[test]
    fn only_the_first_value_is_stored() {
        let until = Expiry::At(UnixMs(5));
        assert_eq!(store(None::<&()>, "v", || until), (Outcome::First, Effect::Put { value: "v", expiry: until }));
        assert_eq!(store(Some(&()), "v", || until), (Outcome::Seen, Effect::Keep));
        assert_eq!([Outcome::First, Outcome::Seen].map(Outcome::reply), [1, 0]);
    }
}
