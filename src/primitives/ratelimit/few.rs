//! A short list that nearly always has one element: that one costs no allocation.

use std::mem;
use std::ops::{Deref, DerefMut};

/// One value, or any other number of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Few<T> {
    /// Exactly one.
    One(T),
    /// None, or several.
    Many(Vec<T>),
}

impl<T> Few<T> {
    /// Adds a value at the end.
    pub fn push(&mut self, value: T) {
        *self = match mem::take(self) {
            Self::Many(values) if values.is_empty() => Self::One(value),
            Self::Many(mut values) => {
                values.push(value);
                Self::Many(values)
            }
            Self::One(first) => Self::Many(vec![first, value]),
        };
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::One(value) => std::slice::from_mut(value),
            Self::Many(values) => values,
        }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (Some(only), None) => Self::One(only),
            (first, second) => Self::Many(first.into_iter().chain(second).chain(values).collect()),
        }
    }
}
