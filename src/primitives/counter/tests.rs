//! Counters: a table of the rules, then random rules against naive 128-bit arithmetic.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::primitives::time::DurationMs;

const NOW: UnixMs = UnixMs(1000);
const FREE: Rule = Rule { delta: 0, min: i64::MIN, max: i64::MAX, beyond: Beyond::Refuse, init: 0 };

fn put(value: &str, expiry: Expiry) -> Effect<Bytes> {
    Effect::Put { value: Bytes::from_slice(value.as_bytes()), expiry }
}

#[test]
fn rules() {
    let upto = |delta, max, beyond| Rule { delta, max, beyond, ..FREE };
    let from = |delta, min, beyond| Rule { delta, min, beyond, ..FREE };
    use Applied::{Added, Refused, Wrapped};
    use Beyond::{Refuse, Saturate, Wrap};
    for (rule, stored, request, expected) in [
        ("plain", Some(5), Rule { delta: 3, ..FREE }, (Added, 8, 3)),
        ("a missing counter is 0", None, Rule { delta: 3, ..FREE }, (Added, 3, 3)),
        ("or INIT, and then the delta", None, Rule { delta: 3, init: 40, ..FREE }, (Added, 43, 3)),
        ("INIT is for a missing one", Some(5), Rule { delta: 3, init: 40, ..FREE }, (Added, 8, 3)),
        ("MAX is inclusive", Some(5), upto(5, 10, Refuse), (Added, 10, 5)),
        ("above MAX", Some(5), upto(6, 10, Refuse), (Refused, 5, 0)),
        ("MIN is inclusive", Some(5), from(-5, 0, Refuse), (Added, 0, -5)),
        ("below MIN", Some(5), from(-6, 0, Refuse), (Refused, 5, 0)),
        ("a refused one that is missing", None, Rule { init: 40, ..upto(1, 10, Refuse) }, (Refused, 40, 0)),
        ("above 64 bits", Some(i64::MAX), Rule { delta: 1, ..FREE }, (Refused, i64::MAX, 0)),
        ("below 64 bits", Some(i64::MIN), Rule { delta: -1, ..FREE }, (Refused, i64::MIN, 0)),
        ("clamped to MAX", Some(5), upto(6, 10, Saturate), (Added, 10, 5)),
        ("clamped to MIN", Some(5), from(-6, 0, Saturate), (Added, 0, -5)),
        ("clamped to 64 bits", Some(i64::MAX - 1), upto(9, i64::MAX, Saturate), (Added, i64::MAX, 1)),
        ("a stored value beyond is clamped too", Some(50), upto(1, 10, Saturate), (Added, 10, -40)),
        ("and refused without SATURATE", Some(50), upto(-1, 10, Refuse), (Refused, 50, 0)),
        ("back within the bounds", Some(50), upto(-45, 10, Refuse), (Added, 5, -45)),
        ("a move of more than 64 bits", Some(i64::MIN), from(1, i64::MAX, Saturate), (Added, i64::MAX, i64::MAX)),
        ("below WRAP", Some(8), upto(1, 10, Wrap(0)), (Added, 9, 1)),
        ("reaches MAX", Some(9), upto(1, 10, Wrap(0)), (Wrapped, 0, -9)),
        ("passes MAX", Some(9), upto(7, 10, Wrap(3)), (Wrapped, 3, -6)),
        ("passes 64 bits", Some(i64::MAX), upto(7, i64::MAX, Wrap(3)), (Wrapped, 3, 3 - i64::MAX)),
        ("below MIN is refused", Some(-9), Rule { min: 0, ..upto(7, 10, Wrap(3)) }, (Refused, -9, 0)),
        ("a missing one wraps", None, upto(10, 10, Wrap(3)), (Wrapped, 3, 3)),
    ] {
        let count = decide(stored, &request);
        assert_eq!((count.applied, count.value, count.delta), expected, "{rule}");
    }
    assert_eq!([Refused, Added, Wrapped].map(Applied::reply), [0, 1, 2]);
}

#[test]
fn a_string_keeps_sets_or_loses_its_ttl() {
    let (soon, far) = (Some(UnixMs(1500)), UnixMs(9000));
    let after = ExpiryRequest::After(DurationMs(8000));
    let set = |expiry| put("6", expiry);
    let add = |delta| Effect::Add { value: Bytes::from_slice(b"6"), delta };
    for (rule, stored, delta, life, until, expected) in [
        ("kept", Some(5), 1, Life::Keep, soon, (soon, add(1))),
        ("a new key has none to keep", None, 6, Life::Keep, None, (None, set(Expiry::Clear))),
        ("set", Some(5), 1, Life::Set(after), soon, (Some(far), set(Expiry::At(far)))),
        ("removed", Some(5), 1, Life::Persist, soon, (None, set(Expiry::Clear))),
        ("ENX with a TTL", Some(5), 1, Life::SetIfNone(after), soon, (soon, add(1))),
        ("ENX without", Some(5), 1, Life::SetIfNone(after), None, (Some(far), set(Expiry::At(far)))),
        ("ENX on a new key", None, 6, Life::SetIfNone(after), None, (Some(far), set(Expiry::At(far)))),
        ("a new key with 0 is a change", None, 0, Life::Keep, None, (None, put("0", Expiry::Clear))),
        ("the value stays: no write", Some(6), 0, Life::Keep, soon, (soon, Effect::Keep)),
        ("the value stays, the TTL does not", Some(6), 0, Life::Set(after), soon, (Some(far), Effect::Expire(far))),
        ("both stay", Some(6), 0, Life::Set(after), Some(far), (Some(far), Effect::Keep)),
        ("the value stays, the TTL goes", Some(6), 0, Life::Persist, soon, (None, set(Expiry::Clear))),
        ("there is no TTL to remove", Some(6), 0, Life::Persist, None, (None, Effect::Keep)),
    ] {
        let count = decide(stored, &Rule { delta, ..FREE });
        assert_eq!(of_key(&count, life, until, NOW), expected, "{rule}");
    }
    let refused = decide(Some(5), &Rule { delta: 1, max: 5, ..FREE });
    assert_eq!(of_key(&refused, Life::Set(after), soon, NOW), (soon, Effect::Keep), "a refusal leaves the TTL alone");
}

#[test]
fn an_existing_field_gets_a_delta_not_a_value() {
    let add = |delta| Effect::AddToField { field: Bytes::from_slice(b"f"), value: text(5 + delta), delta };
    let set = |value: &str| Effect::SetField { field: Bytes::from_slice(b"f"), value: Bytes::from_slice(value.as_bytes()) };
    let wrap = Rule { delta: 1, max: 6, beyond: Beyond::Wrap(0), ..FREE };
    let to_the_top = Rule { delta: 1, min: i64::MAX, beyond: Beyond::Saturate, ..FREE };
    for (rule, stored, request, expected) in [
        ("added", Some(5), Rule { delta: 1, ..FREE }, add(1)),
        ("clamped", Some(5), Rule { delta: 9, max: 7, beyond: Beyond::Saturate, ..FREE }, add(2)),
        ("wrapped", Some(5), wrap, add(-5)),
        ("missing", None, Rule { delta: 1, init: 5, ..FREE }, set("6")),
        ("missing, and 0", None, FREE, set("0")),
        ("unchanged", Some(5), FREE, Effect::Keep),
        ("refused", Some(5), Rule { delta: 9, max: 7, ..FREE }, Effect::Keep),
        ("refused and missing", None, Rule { delta: 9, max: 7, ..FREE }, Effect::Keep),
        ("moved by more than 64 bits", Some(i64::MIN), to_the_top, set("9223372036854775807")),
    ] {
        assert_eq!(of_field(&decide(stored, &request), b"f"), expected, "{rule}");
    }
}

#[test]
fn transfers() {
    let limits = |min, max| Limits { min, max };
    let any = limits(0, i64::MAX);
    let keep = [Effect::Keep, Effect::Keep];
    let both = |from, from_expiry, to, to_expiry| [put(from, from_expiry), put(to, to_expiry)];
    use Expiry::{Clear, Keep};
    for (rule, source, destination, amount, limits, expected, effects) in [
        ("plain", Some(10), Some(1), 4, any, (1, 6, 5), both("6", Keep, "5", Keep)),
        ("all of it, to a new account", Some(10), None, 10, any, (1, 0, 10), both("0", Keep, "10", Clear)),
        ("not covered", Some(10), Some(1), 11, any, (0, 10, 1), keep.clone()),
        ("nothing there", None, Some(1), 1, any, (0, 0, 1), keep.clone()),
        ("an overdraft", None, Some(1), 1, limits(-1, i64::MAX), (1, -1, 2), both("-1", Clear, "2", Keep)),
        ("MIN is kept", Some(10), Some(1), 6, limits(5, i64::MAX), (0, 10, 1), keep.clone()),
        ("MAX is kept", Some(10), Some(1), 6, limits(0, 6), (0, 10, 1), keep.clone()),
        ("MAX is inclusive", Some(10), Some(1), 6, limits(0, 7), (1, 4, 7), both("4", Keep, "7", Keep)),
        ("above 64 bits", Some(10), Some(i64::MAX), 1, any, (0, 10, i64::MAX), keep.clone()),
        ("below 64 bits", Some(i64::MIN), None, 1, limits(i64::MIN, i64::MAX), (0, i64::MIN, 0), keep.clone()),
        ("nothing moves", Some(10), None, 0, any, (1, 10, 0), keep.clone()),
    ] {
        let (balances, made) = transfer(source, destination, amount, limits);
        assert_eq!((balances.applied.reply(), balances.source, balances.destination), expected, "{rule}");
        assert_eq!(made, effects, "{rule}");
    }
}

/// The rules, written out one by one.
fn model(stored: Option<i64>, rule: &Rule) -> (i64, i128) {
    let start = i128::from(stored.unwrap_or(rule.init));
    let sum = start + i128::from(rule.delta);
    let (min, max) = (i128::from(rule.min), i128::from(rule.max));
    match rule.beyond {
        Beyond::Wrap(value) if sum >= max => (2, value.into()),
        Beyond::Saturate if sum > max => (1, max),
        Beyond::Saturate if sum < min => (1, min),
        _ if sum > max || sum < min => (0, start),
        _ => (1, sum),
    }
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![-20..20_i64, any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
}

fn rule() -> impl Strategy<Value = Rule> {
    (number(), number(), number(), number(), number(), 0..3).prop_map(|(delta, one, other, init, wrap, kind)| {
        let (min, max) = (one.min(other), one.max(other));
        let beyond = match kind {
            0 => Beyond::Refuse,
            1 => Beyond::Saturate,
            _ => Beyond::Wrap(wrap.clamp(min, max)),
        };
        let delta = if kind == 2 { delta.saturating_abs().max(1) } else { delta };
        Rule { delta, min, max, beyond, init }
    })
}

proptest! {
    #[test]
    fn agrees_with_naive_arithmetic(stored in prop::option::of(number()), rule in rule()) {
        let count = decide(stored, &rule);
        prop_assert_eq!((count.applied.reply(), i128::from(count.value)), model(stored, &rule));
        let moved = i128::from(count.value) - i128::from(stored.unwrap_or(rule.init));
        prop_assert_eq!(i128::from(count.delta), moved.clamp(i64::MIN.into(), i64::MAX.into()));
    }

    #[test]
    fn written_values_match_the_reply_and_lie_within_the_bounds(stored in prop::option::of(number()), rule in rule()) {
        let count = decide(stored, &rule);
        let (_, effect) = of_key(&count, Life::Keep, None, NOW);
        match &effect {
            Effect::Keep => prop_assert!(count.applied == Applied::Refused || stored == Some(count.value)),
            Effect::Put { value, .. } | Effect::Add { value, .. } => {
                if let Effect::Add { delta, .. } = &effect {
                    prop_assert_eq!(stored.unwrap().checked_add(*delta), Some(count.value));
                }
                prop_assert_eq!(value, &text(count.value));
                prop_assert!((rule.min..=rule.max).contains(&count.value));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        match of_field(&count, b"f") {
            Effect::AddToField { delta, value, .. } => {
                prop_assert_eq!((stored.unwrap().checked_add(delta), value), (Some(count.value), text(count.value)))
            }
            Effect::SetField { value, .. } => prop_assert_eq!(value, text(count.value)),
            other => prop_assert_eq!(other, effect),
        }
    }

    #[test]
    fn a_transfer_keeps_the_sum(
        source in prop::option::of(number()),
        destination in prop::option::of(number()),
        amount in number().prop_map(|amount| amount.saturating_abs()),
        min in number(),
        max in number(),
    ) {
        let (balances, effects) = transfer(source, destination, amount, Limits { min, max });
        let (from, to) = (source.unwrap_or(0), destination.unwrap_or(0));
        prop_assert_eq!(
            i128::from(balances.source) + i128::from(balances.destination), i128::from(from) + i128::from(to)
        );
        let fits = i128::from(from) - i128::from(amount) >= min.into() && i128::from(from) - i128::from(amount) >= i64::MIN.into()
            && i128::from(to) + i128::from(amount) <= max.into();
        prop_assert_eq!(balances.applied == Applied::Added, fits);
        prop_assert_eq!(effects == [Effect::Keep, Effect::Keep], !fits || amount == 0);
    }
}
