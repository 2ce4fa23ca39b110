//! Compare-and-set and compare-and-delete.
//!
//! The keyspace compares the values, lengths first, so a mismatch usually reads nothing. This file decides what follows from the
//! comparison. [`super::condition`] has the more general conditions, with the same outcomes.

use super::effect::{Effect, Expiry};

/// How the stored value relates to the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// There is no stored value.
    Missing,
    Different,
    /// Equal byte for byte.
    Equal,
}

/// The outcome for the client. The reply numbers are those of Tair and Kvrocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The condition held and the change was made.
    Applied,
    /// The condition failed; nothing changed.
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

    /// `effect` if the condition held, otherwise no change.
    #[must_use]
    pub fn allow<V>(self, effect: Effect<V>) -> Effect<V> {
        if self == Self::Applied { effect } else { Effect::Keep }
    }
}

impl From<Comparison> for Outcome {
    fn from(found: Comparison) -> Self {
        match found {
            Comparison::Equal => Self::Applied,
            Comparison::Different => Self::Mismatch,
            Comparison::Missing => Self::NoSuchKey,
        }
    }
}

#[must_use]
pub fn compare(stored: Option<&[u8]>, expected: &[u8]) -> Comparison {
    match stored {
        None => Comparison::Missing,
        Some(stored) if stored == expected => Comparison::Equal,
        Some(_) => Comparison::Different,
    }
}

/// Sets the key to `new` if the values are equal.
pub fn set<V>(found: Comparison, new: V, expiry: Expiry) -> (Outcome, Effect<V>) {
    when_equal(found, Effect::Put { value: new, expiry })
}

/// Deletes the key if the values are equal.
#[must_use]
pub fn delete<V>(found: Comparison) -> (Outcome, Effect<V>) {
    when_equal(found, Effect::Delete)
}

/// Sets a field to `new` if the values are equal.
pub fn set_field<V>(found: Comparison, field: V, new: V) -> (Outcome, Effect<V>) {
    when_equal(found, Effect::SetField { field, value: new })
}

/// The index of the first of several values that is not equal to the expected one. All are set only if there is none.
#[must_use]
pub fn first_failure(found: &[Comparison]) -> Option<usize> {
    found.iter().position(|&found| found != Comparison::Equal)
}

fn when_equal<V>(found: Comparison, effect: Effect<V>) -> (Outcome, Effect<V>) {
    let outcome = Outcome::from(found);
    (outcome, outcome.allow(effect))
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
    fn a_field_follows_the_rules_of_a_key() {
        let put = Effect::SetField { field: "f", value: "new" };
        assert_eq!(set_field(Comparison::Equal, "f", "new"), (Outcome::Applied, put));
        assert_eq!(set_field(Comparison::Different, "f", "new"), (Outcome::Mismatch, Effect::Keep));
        assert_eq!(set_field(Comparison::Missing, "f", "new"), (Outcome::NoSuchKey, Effect::Keep));
    }

    #[test]
    fn bytes_are_equal_different_or_missing() {
        assert_eq!(compare(None, b""), Comparison::Missing);
        assert_eq!(compare(Some(b""), b""), Comparison::Equal);
        assert_eq!(compare(Some(b"a\0"), b"a"), Comparison::Different);
    }

    #[test]
    fn first_failure_is_the_first_value_that_is_not_equal() {
        use Comparison::{Different, Equal, Missing};
        assert_eq!(first_failure(&[Equal, Equal]), None);
        assert_eq!(first_failure(&[Equal, Missing, Different]), Some(1));
        assert_eq!(first_failure(&[Different, Equal]), Some(0));
    }

    #[test]
    fn replies_are_those_of_tair_and_kvrocks() {
        assert_eq!([Outcome::Applied, Outcome::Mismatch, Outcome::NoSuchKey].map(Outcome::reply), [1, 0, -1]);
    }
}
