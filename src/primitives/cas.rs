//! Compare-and-set and compare-and-delete.
//!
//! The keyspace compares (lengths first, so that a mismatch usually reads nothing); what follows from the comparison is decided here.

use super::effect::{Effect, Expiry};

/// How the stored value relates to the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// There is no such key.
    Missing,
    /// The value is another one.
    Different,
    /// The value is the expected one, byte for byte.
    Equal,
}

/// What the caller is told. The numbers are those that Tair and Kvrocks answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The condition held and the change was made.
    Applied,
    /// The value was another one; nothing changed.
    Mismatch,
    /// There was no such key; nothing changed.
    NoSuchKey,
}

impl Outcome {
    /// The reply: 1, 0 or -1.
    #[must_use]
    pub fn reply(self) -> i64 {
        match self {
            Self::Applied => 1,
            Self::Mismatch => 0,
            Self::NoSuchKey => -1,
        }
    }
}

/// Sets the key to `new` when its value is the expected one.
pub fn set<V>(found: Comparison, new: V, expiry: Expiry) -> (Outcome, Effect<V>) {
    when_equal(found, Effect::Put { value: new, expiry })
}

/// Deletes the key when its value is the expected one.
#[must_use]
pub fn delete<V>(found: Comparison) -> (Outcome, Effect<V>) {
    when_equal(found, Effect::Delete)
}

fn when_equal<V>(found: Comparison, effect: Effect<V>) -> (Outcome, Effect<V>) {
    match found {
        Comparison::Equal => (Outcome::Applied, effect),
        Comparison::Different => (Outcome::Mismatch, Effect::Keep),
        Comparison::Missing => (Outcome::NoSuchKey, Effect::Keep),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_equal_value_is_changed() {
        let put = Effect::Put { value: "new", expiry: Expiry::Clear };
        assert_eq!(set(Comparison::Equal, "new", Expiry::Clear), (Outcome::Applied, put));
        assert_eq!(set(Comparison::Different, "new", Expiry::Clear), (Outcome::Mismatch, Effect::Keep));
        assert_eq!(set(Comparison::Missing, "new", Expiry::Clear), (Outcome::NoSuchKey, Effect::Keep));
        assert_eq!(delete::<()>(Comparison::Equal), (Outcome::Applied, Effect::Delete));
        assert_eq!(delete::<()>(Comparison::Different), (Outcome::Mismatch, Effect::Keep));
        assert_eq!(delete::<()>(Comparison::Missing), (Outcome::NoSuchKey, Effect::Keep));
    }

    #[test]
    fn replies_are_those_of_tair_and_kvrocks() {
        assert_eq!([Outcome::Applied, Outcome::Mismatch, Outcome::NoSuchKey].map(Outcome::reply), [1, 0, -1]);
    }
}
