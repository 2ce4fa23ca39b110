//! Conditions on the stored value of a key or a field.
//!
//! A request has one or more conditions, and all must hold. This file defines which conditions exclude each other, and what each means
//! if the value is missing: `NX`, `IFNE`, `GT` and `LT` hold; the others fail, with an outcome other than a mismatch.
//!
//! If a condition compares numbers, a stored value that is not a number is an error, whatever the other conditions say. The reply must
//! not depend on the order of the conditions.

use std::cmp::Ordering;

use super::cas::Outcome;
use super::number::Number;

#[derive(Debug, Clone, Copy)]
pub enum Condition<'a> {
    /// `NX`: there is no value.
    Missing,
    /// `XX`: there is a value.
    Present,
    /// `IFEQ v`: the value equals `v` byte for byte.
    Equal(&'a [u8]),
    /// `IFNE v`: the value differs from `v`.
    Different(&'a [u8]),
    /// `IFGT n`, `IFGE n`, `IFLT n`, `IFLE n`: how the stored number compares with `n`.
    Stored(Order, Number),
    /// `GT`, `LT`: how the new number, given here, compares with the stored one.
    New(Order, Number),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Order {
    fn holds(self, left: Number, right: Number) -> bool {
        let found = left.compare(right);
        match self {
            Self::Greater => found == Ordering::Greater,
            Self::GreaterOrEqual => found != Ordering::Less,
            Self::Less => found == Ordering::Less,
            Self::LessOrEqual => found != Ordering::Greater,
        }
    }
}

impl Condition<'_> {
    fn is_numeric(&self) -> bool {
        matches!(self, Self::Stored(..) | Self::New(..))
    }

    /// Whether it fails if there is no value.
    fn needs_value(&self) -> bool {
        matches!(self, Self::Present | Self::Equal(_) | Self::Stored(..))
    }

    /// Whether one request cannot have both: the same kind twice, `GT` with `LT`, or anything with `NX`.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Missing, _) | (_, Self::Missing) => true,
            (Self::Stored(order, _), Self::Stored(other, _)) => order == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// Whether it holds for a value that exists.
    fn holds(&self, equals: &mut impl FnMut(&[u8]) -> bool, number: Option<Number>) -> bool {
        match self {
            Self::Missing => false,
            Self::Present => true,
            Self::Equal(expected) => equals(expected),
            Self::Different(unwanted) => !equals(unwanted),
            Self::Stored(order, limit) => number.is_some_and(|stored| order.holds(stored, *limit)),
            Self::New(order, new) => number.is_some_and(|stored| order.holds(*new, stored)),
        }
    }
}

/// A condition compares numbers, and the stored value is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotANumber;

/// The most conditions that can be combined: `XX`, `IFEQ`, `IFNE`, the four of `Stored`, one of `New`.
const MAX: usize = 8;

/// The conditions of one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions<'a> {
    list: [Option<Condition<'a>>; MAX],
    /// The request needs a value even if no condition does.
    needs_value: bool,
}

impl<'a> Conditions<'a> {
    /// No conditions yet, for a request that does nothing if there is no value: a deletion or a new TTL.
    #[must_use]
    pub fn on_existing_value() -> Self {
        Self { needs_value: true, ..Self::default() }
    }

    /// Adds a condition. Returns false if it repeats or contradicts another one.
    #[must_use]
    pub fn add(&mut self, condition: Condition<'a>) -> bool {
        if self.iter().any(|other| other.excludes(&condition)) {
            return false;
        }
        let free = self.list.iter_mut().find(|place| place.is_none());
        free.map(|place| *place = Some(condition)).is_some()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether a condition compares numbers, so that the value itself must be read. Otherwise [`Conditions::verdict_by_equality`] is
    /// enough.
    #[must_use]
    pub fn compare_numbers(&self) -> bool {
        self.iter().any(Condition::is_numeric)
    }

    /// Whether all conditions hold for the stored value.
    pub fn verdict(&self, stored: Option<&[u8]>) -> Result<Outcome, NotANumber> {
        let number = match stored {
            Some(bytes) if self.compare_numbers() => Some(Number::parse(bytes).ok_or(NotANumber)?),
            _ => None,
        };
        Ok(self.judge(stored.is_some(), |expected| stored == Some(expected), number))
    }

    /// The same for a value that can only be tested for equality. Conditions that compare numbers fail.
    pub fn verdict_by_equality(&self, exists: bool, equals: impl FnMut(&[u8]) -> bool) -> Outcome {
        self.judge(exists, equals, None)
    }

    fn judge(&self, exists: bool, mut equals: impl FnMut(&[u8]) -> bool, number: Option<Number>) -> Outcome {
        if exists {
            let all_hold = self.iter().all(|condition| condition.holds(&mut equals, number));
            if all_hold { Outcome::Applied } else { Outcome::Mismatch }
        } else if self.needs_value || self.iter().any(Condition::needs_value) {
            Outcome::NoSuchKey
        } else {
            Outcome::Applied
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Condition<'a>> {
        self.list.iter().flatten()
    }
}

#[cfg(test)]
mod tests;
