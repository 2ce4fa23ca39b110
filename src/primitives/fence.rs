//! A guard on the resource's side: stores the highest fencing token seen and decides whether another one may still act.
//!
//! Invariants: the stored number never decreases, and a lower number is refused. The numbers may come from anywhere; most are the
//! fences of a lock, so they have the same range.

use super::codec::{Bytes, Corrupt, Reader, put_uint};
use super::effect::{Effect, Expiry};
use super::lock::MAX_FENCE;
use super::time::UnixMs;

/// The name of this format in error messages.
pub const FORMAT: &str = "a fence (format FN1)";

/// The largest number, 2^62. The smallest is 1.
pub const MAX_NUMBER: u64 = MAX_FENCE;

const MAGIC: &[u8] = b"\xa7FN\x01";

/// A fencing token in `1..=`[`MAX_NUMBER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub u64);

impl Number {
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes);
        reader.literal(MAGIC)?;
        let number = reader.u64(8)?;
        reader.finish()?;
        if (1..=MAX_NUMBER).contains(&number) { Ok(Self(number)) } else { Err(Corrupt) }
    }

    fn encode(self) -> Bytes {
        let mut out = Bytes::from_slice(MAGIC);
        put_uint(&mut out, self.0.into(), 8);
        out
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No higher number was seen; this one is stored.
    Accepted,
    /// A higher number was seen.
    Older,
}

impl Verdict {
    /// The reply: 1 or 0.
    #[must_use]
    pub fn reply(self) -> i64 {
        match self {
            Self::Accepted => 1,
            Self::Older => 0,
        }
    }
}

/// Decides whether a number may act. An accepted number sets the expiry time of the key to `until` if given; otherwise the TTL stays.
#[must_use]
pub fn judge(highest: Option<Number>, number: Number, until: Option<UnixMs>) -> (Verdict, Effect<Bytes>) {
    let put = |otherwise| Effect::Put { value: number.encode(), expiry: until.map_or(otherwise, Expiry::At) };
    match highest {
        Some(highest) if number < highest => (Verdict::Older, Effect::Keep),
        Some(highest) if number == highest => (Verdict::Accepted, until.map_or(Effect::Keep, Effect::Expire)),
        Some(_) => (Verdict::Accepted, put(Expiry::Keep)),
        None => (Verdict::Accepted, put(Expiry::Clear)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNTIL: Option<UnixMs> = Some(UnixMs(9));

    fn put(number: u64, expiry: Expiry) -> Effect<Bytes> {
        Effect::Put { value: Number(number).encode(), expiry }
    }

    #[track_caller]
    fn check(highest: Option<u64>, number: u64, until: Option<UnixMs>, expected: (Verdict, Effect<Bytes>)) {
        assert_eq!(judge(highest.map(Number), Number(number), until), expected);
    }

    #[test]
    fn the_first_number_is_stored() {
        check(None, 5, None, (Verdict::Accepted, put(5, Expiry::Clear)));
        check(None, 5, UNTIL, (Verdict::Accepted, put(5, Expiry::At(UnixMs(9)))));
    }

    #[test]
    fn a_higher_number_is_stored_and_keeps_the_ttl_unless_it_sets_one() {
        check(Some(5), 6, None, (Verdict::Accepted, put(6, Expiry::Keep)));
        check(Some(5), 6, UNTIL, (Verdict::Accepted, put(6, Expiry::At(UnixMs(9)))));
    }

    #[test]
    fn an_equal_number_writes_only_the_ttl_that_it_sets() {
        check(Some(5), 5, None, (Verdict::Accepted, Effect::Keep));
        check(Some(5), 5, UNTIL, (Verdict::Accepted, Effect::Expire(UnixMs(9))));
    }

    #[test]
    fn a_lower_number_is_refused_and_writes_nothing() {
        check(Some(5), 4, None, (Verdict::Older, Effect::Keep));
        check(Some(5), 4, UNTIL, (Verdict::Older, Effect::Keep));
        assert_eq!([Verdict::Accepted, Verdict::Older].map(Verdict::reply), [1, 0]);
    }

    #[test]
    fn decode_accepts_only_what_encode_writes() {
        let good = Number(0x0102_0304_0506_0708).encode();
        assert_eq!(good[..], *b"\xa7FN\x01\x01\x02\x03\x04\x05\x06\x07\x08");
        for length in 0..good.len() {
            let mut short = good.clone();
            short.truncate(length);
            assert_eq!(Number::decode(&short), Err(Corrupt), "{length} bytes");
        }
        assert_eq!(Number::decode(&[good.as_slice(), b"\0"].concat()), Err(Corrupt));
        assert_eq!(Number::decode(b"\xa7FN\x02\x01\x02\x03\x04\x05\x06\x07\x08"), Err(Corrupt));
        for (number, expected) in [
            (0, Err(Corrupt)),
            (1, Ok(Number(1))),
            (MAX_NUMBER, Ok(Number(MAX_NUMBER))),
            (MAX_NUMBER + 1, Err(Corrupt)),
            (u64::MAX, Err(Corrupt)),
        ] {
            assert_eq!(Number::decode(&Number(number).encode()), expected, "{number}");
        }
    }

    proptest! {
        /// Any sequence, against a model that keeps every accepted number.
        #[test]
        fn accepted_numbers_never_decrease(numbers in prop::collection::vec(1..8_u64, 0..40)) {
            let (mut stored, mut accepted) = (None, Vec::new());
            for number in numbers {
                let (verdict, effect) = judge(stored, Number(number), None);
                prop_assert_eq!(verdict == Verdict::Accepted, accepted.iter().all(|&earlier| earlier <= number));
                if verdict == Verdict::Accepted {
                    accepted.push(number);
                }
                if let Effect::Put { value, .. } = effect {
                    stored = Number::decode(&value).ok();
                }
                prop_assert_eq!(stored, accepted.last().copied().map(Number));
            }
        }
    }
}
