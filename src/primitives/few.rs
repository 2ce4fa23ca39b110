//! An ordered map that needs no allocation for one entry: most decisions change one owner or one member.

use std::borrow::Borrow;
use std::collections::BTreeMap;

#[derive(Debug)]
pub enum Few<K, V> {
    Empty,
    One(K, V),
    Many(BTreeMap<K, V>),
}

impl<K: Ord, V> Few<K, V> {
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Empty => None,
            Self::One(known, value) => (Borrow::<Q>::borrow(known) == key).then_some(value),
            Self::Many(map) => map.get(key),
        }
    }

    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Empty => None,
            Self::One(known, value) => (Borrow::<Q>::borrow(known) == key).then_some(value),
            Self::Many(map) => map.get_mut(key),
        }
    }

    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        match self {
            Self::Empty => *self = Self::One(key, value),
            Self::One(known, old) if *known == key => *old = value,
            Self::One(..) => {
                let one = std::mem::replace(self, Self::Empty);
                *self = Self::Many(one.into_entries().chain([(key, value)]).collect());
            }
            Self::Many(map) => drop(map.insert(key, value)),
        }
    }

    /// The entries in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(key, value) => (Some((key, value)), None),
            Self::Many(map) => (None, Some(map)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The entries in the order of the keys.
    pub fn into_entries(self) -> impl Iterator<Item = (K, V)> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(key, value) => (Some((key, value)), None),
            Self::Many(map) => (None, Some(map)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// Adds an item to a list that seldom has a second one: the first allocation has just its size, and none of the code for growth runs.
pub fn push<T>(list: &mut Vec<T>, item: T) {
    if list.is_empty() {
        *list = vec![item];
    } else {
        list.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(inserted in prop::collection::vec((0_u8..4, any::<u8>()), 0..6)) {
            let (mut few, mut map) = (Few::Empty, BTreeMap::new());
            for (key, value) in inserted {
                few.insert(key, value);
                map.insert(key, value);
                prop_assert!((0..4).all(|key| few.get(&key) == map.get(&key) && few.get_mut(&key) == map.get_mut(&key)));
                prop_assert!(few.iter().eq(map.iter()) && few.values().eq(map.values()));
            }
            prop_assert!(few.into_entries().eq(map));
        }
    }
}
