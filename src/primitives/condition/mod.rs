//! Conditions on a stored value: a key's, or a field's.
//!
//! A request has one condition or several; all must hold. Which conditions exclude each other is said here, and what each means for a
//! value that is missing: `NX`, `IFNE`, `GT` and `LT` hold, the others fail, and the failure is told apart from a mismatch.
//!
//! A condition about numbers makes a stored value that is none an error, whatever the other conditions say: the answer must not
//! depend on the order in which they were written.

use std::cmp::Ordering;

use super::cas::Outcome;
use super::number::Number;

/// One condition.
#[derive(Debug, Clone, Copy)]
pub enum Condition<'a> {
    /// `NX`: there is no value.
    Missing,
    /// `XX`: there is one.
    Present,
    /// `IFEQ v`: it is this one, byte for byte.
    Equal(&'a [u8]),
    /// `IFNE v`: it is not this one.
    Different(&'a [u8]),
    /// `IFGT n`, `IFGE n`, `IFLT n`, `IFLE n`: the stored number lies so to `n`.
    Stored(Order, Number),
    /// `GT`, `LT`: the new number, which is this one, lies so to the stored one.
    New(Order, Number),
}

/// A relation of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
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
    /// It compares numbers.
    fn is_numeric(&self) -> bool {
        matches!(self, Self::Stored(..) | Self::New(..))
    }

    /// It fails where there is no value.
    fn needs_value(&self) -> bool {
        matches!(self, Self::Present | Self::Equal(_) | Self::Stored(..))
    }

    /// Both cannot be asked for: the same kind twice, `GT` and `LT`, or anything beside `NX`.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Missing, _) | (_, Self::Missing) => true,
            (Self::Stored(order, _), Self::Stored(other, _)) => order == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// What it says about a value that there is.
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

/// The stored value is not a number, and a condition compares it with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotANumber;

/// As many conditions as can stand together: `XX`, `IFEQ`, `IFNE`, the four of `Stored`, one of `New`.
const MAX: usize = 8;

/// The conditions of one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions<'a> {
    list: [Option<Condition<'a>>; MAX],
    /// The request is about a value that exists, whatever the list says.
    needs_value: bool,
}

impl<'a> Conditions<'a> {
    /// None yet, for a request that has nothing to do where there is no value: deletion, a new TTL.
    #[must_use]
    pub fn on_existing_value() -> Self {
        Self { needs_value: true, ..Self::default() }
    }

    /// Adds a condition; false when it repeats another one or contradicts it.
    #[must_use]
    pub fn add(&mut self, condition: Condition<'a>) -> bool {
        if self.iter().any(|other| other.excludes(&condition)) {
            return false;
        }
        let free = self.list.iter_mut().find(|place| place.is_none());
        free.map(|place| *place = Some(condition)).is_some()
    }

    /// True before the first is added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The value itself must be read, since a condition compares numbers. Otherwise [`Conditions::verdict_by_equality`] will do.
    #[must_use]
    pub fn compare_numbers(&self) -> bool {
        self.iter().any(Condition::is_numeric)
    }

    /// Whether all hold for the stored value.
    pub fn verdict(&self, stored: Option<&[u8]>) -> Result<Outcome, NotANumber> {
        let number = match stored {
            Some(bytes) if self.compare_numbers() => Some(Number::parse(bytes).ok_or(NotANumber)?),
            _ => None,
        };
        Ok(self.judge(stored.is_some(), |expected| stored == Some(expected), number))
    }

    /// The same for a value that can only be compared with others. No condition that compares numbers holds.
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
