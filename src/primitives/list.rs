//! Lists with bounds: a push up to a maximum length, a pop down to a minimum length.

use super::effect::{Effect, End};
use super::time::UnixMs;

/// What a push does if there is no room for all elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Drops the oldest elements, at the other end.
    Evict,
    /// Pushes nothing.
    Reject,
}

/// The state of a list before a push, and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub length: u64,
    /// The longest length; at least 1.
    pub max: u64,
    pub full: Full,
}

/// The outcome of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The length after the push.
    pub length: u64,
    /// The number of elements dropped or refused.
    pub lost: u64,
}

/// Pushes `values` one after the other, all or none. If they alone exceed the limit, only the last of them are pushed.
pub fn push<V>(room: Room, end: End, mut values: Vec<V>, until: Option<UnixMs>) -> (Pushed, Effect<V>) {
    let count = u64::try_from(values.len()).unwrap_or(u64::MAX);
    let wanted = room.length.saturating_add(count);
    let excess = wanted.saturating_sub(room.max);
    if room.full == Full::Reject && excess > 0 {
        return (Pushed { length: room.length, lost: count }, Effect::Keep);
    }
    let skipped = count.saturating_sub(room.max);
    values.drain(..usize::try_from(skipped).unwrap_or(usize::MAX).min(values.len()));
    let dropped = excess.saturating_sub(skipped);
    (Pushed { length: wanted.saturating_sub(excess), lost: excess }, Effect::Push { end, values, dropped, until })
}

/// How many of `count` elements can be popped from a list of `length` that must keep `keep`.
#[must_use]
pub fn available(length: u64, count: u64, keep: u64) -> u64 {
    length.saturating_sub(keep).min(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// Applies a push the slow way: adds one value at a time, then drops the excess.
    fn model(list: &VecDeque<u32>, room: Room, end: End, values: &[u32]) -> VecDeque<u32> {
        let mut list = list.clone();
        for &value in values {
            if end == End::Left { list.push_front(value) } else { list.push_back(value) }
        }
        while list.len() as u64 > room.max {
            let _ = if end == End::Left { list.pop_back() } else { list.pop_front() };
        }
        list
    }

    fn apply(mut list: VecDeque<u32>, effect: Effect<u32>) -> VecDeque<u32> {
        let Effect::Push { end, values, dropped, .. } = effect else { return list };
        for value in values {
            if end == End::Left { list.push_front(value) } else { list.push_back(value) }
        }
        for _ in 0..dropped {
            let gone = if end == End::Left { list.pop_back() } else { list.pop_front() };
            assert!(gone.is_some(), "more dropped than there was");
        }
        list
    }

    fn room(length: u64, max: u64, full: Full) -> Room {
        Room { length, max, full }
    }

    #[test]
    fn rules() {
        let push = |room, values: &[u32]| push(room, End::Right, values.to_vec(), None);
        let effect = |values: &[u32], dropped| Effect::Push { end: End::Right, values: values.to_vec(), dropped, until: None };
        for (rule, room, values, pushed, expected) in [
            ("room for all", room(1, 3, Full::Evict), &[7, 8][..], (3, 0), effect(&[7, 8], 0)),
            ("one too many", room(3, 3, Full::Evict), &[7], (3, 1), effect(&[7], 1)),
            ("more than the limit", room(2, 2, Full::Evict), &[7, 8, 9], (2, 3), effect(&[8, 9], 2)),
            ("a list that was too long", room(9, 2, Full::Evict), &[7], (2, 8), effect(&[7], 8)),
            ("reject: exactly full", room(2, 3, Full::Reject), &[7], (3, 0), effect(&[7], 0)),
            ("reject: all or none", room(2, 3, Full::Reject), &[7, 8], (2, 2), Effect::Keep),
            ("reject: was too long", room(9, 3, Full::Reject), &[7], (9, 1), Effect::Keep),
        ] {
            let (length, lost) = pushed;
            assert_eq!(push(room, values), (Pushed { length, lost }, expected), "{rule}");
        }
    }

    #[test]
    fn a_pop_keeps_the_minimum() {
        for (length, count, keep, expected) in
            [(5, 1, 0, 1), (5, 9, 0, 5), (5, 9, 2, 3), (5, 1, 5, 0), (5, 1, 9, 0), (0, 1, 0, 0)]
        {
            assert_eq!(available(length, count, keep), expected, "{count} of {length}, keep {keep}");
        }
    }

    proptest! {
        #[test]
        fn evict_pushes_all_and_drops_the_oldest(
            list in prop::collection::vec_deque(0..100_u32, 0..8),
            values in prop::collection::vec(100..200_u32, 1..8),
            max in 1..8_u64,
            left: bool,
        ) {
            let end = if left { End::Left } else { End::Right };
            let room = room(list.len() as u64, max, Full::Evict);
            let expected = model(&list, room, end, &values);
            let (pushed, effect) = push(room, end, values.clone(), None);
            let after = apply(list.clone(), effect);
            prop_assert_eq!(&after, &expected);
            prop_assert_eq!(pushed.length, after.len() as u64);
            prop_assert_eq!(pushed.lost, (list.len() + values.len() - after.len()) as u64);
        }
    }
}
