//! Every condition on every kind of stored value, the exclusions, and any set of conditions against a naive evaluator.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn number(text: &str) -> Number {
    Number::parse(text.as_bytes()).unwrap()
}

/// Parses `IFGT 5`, or for `GT` and `LT` the new value: `GT 5`.
fn condition(line: &str) -> Condition<'_> {
    let (name, value) = line.split_once(' ').unwrap_or((line, ""));
    match name {
        "NX" => Condition::Missing,
        "XX" => Condition::Present,
        "IFEQ" => Condition::Equal(value.as_bytes()),
        "IFNE" => Condition::Different(value.as_bytes()),
        "IFGT" => Condition::Stored(Order::Greater, number(value)),
        "IFGE" => Condition::Stored(Order::GreaterOrEqual, number(value)),
        "IFLT" => Condition::Stored(Order::Less, number(value)),
        "IFLE" => Condition::Stored(Order::LessOrEqual, number(value)),
        "GT" => Condition::New(Order::Greater, number(value)),
        "LT" => Condition::New(Order::Less, number(value)),
        _ => panic!("{line}"),
    }
}

fn all_of<'a>(lines: &[&'a str]) -> Option<Conditions<'a>> {
    let mut conditions = Conditions::default();
    lines.iter().all(|line| conditions.add(condition(line))).then_some(conditions)
}

/// The reply for each stored value; 9 for an error.
#[track_caller]
fn check(lines: &[&str], stored: &[Option<&str>], expected: &[i64]) {
    let conditions = all_of(lines).unwrap();
    let found: Vec<i64> =
        stored.iter().map(|stored| conditions.verdict(stored.map(str::as_bytes)).map_or(9, Outcome::reply)).collect();
    assert_eq!(found, expected, "{lines:?} on {stored:?}");
}

#[test]
fn every_condition_on_every_kind_of_value() {
    let stored = [None, Some("4"), Some("5"), Some("6"), Some("4.5"), Some("5.0"), Some("x"), Some(""), Some("inf"), Some("nan")];
    check(&["NX"], &stored, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    check(&["XX"], &stored, &[-1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    check(&["IFEQ 5"], &stored, &[-1, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    check(&["IFNE 5"], &stored, &[1, 1, 0, 1, 1, 1, 1, 1, 1, 1]);
    check(&["IFGT 5"], &stored, &[-1, 0, 0, 1, 0, 0, 9, 9, 1, 9]);
    check(&["IFGE 5"], &stored, &[-1, 0, 1, 1, 0, 1, 9, 9, 1, 9]);
    check(&["IFLT 5"], &stored, &[-1, 1, 0, 0, 1, 0, 9, 9, 0, 9]);
    check(&["IFLE 5"], &stored, &[-1, 1, 1, 0, 1, 1, 9, 9, 0, 9]);
    check(&["GT 5"], &stored, &[1, 1, 0, 0, 1, 0, 9, 9, 0, 9]);
    check(&["LT 5"], &stored, &[1, 0, 0, 1, 0, 0, 9, 9, 1, 9]);
}

#[test]
fn several_conditions_must_all_hold_in_any_order() {
    let stored = [None, Some("4"), Some("5"), Some("7"), Some("x")];
    for (lines, expected) in [
        (["IFGE 5", "IFLT 7"], [-1, 0, 1, 0, 9]),
        (["IFNE 5", "GT 6"], [1, 1, 0, 0, 9]),
        (["XX", "GT 6"], [-1, 1, 1, 0, 9]),
        (["XX", "IFNE 5"], [-1, 1, 0, 1, 1]),
        (["IFEQ 5", "IFNE 7"], [-1, 0, 1, 0, 0]),
        (["IFEQ 5", "IFGT 9"], [-1, 0, 0, 0, 9]),
    ] {
        check(&lines, &stored, &expected);
        check(&[lines[1], lines[0]], &stored, &expected);
    }
}

#[test]
fn equality_compares_bytes_and_order_compares_numbers() {
    check(&["IFEQ a\0b"], &[Some("a\0b"), Some("a"), Some("a\0c")], &[1, 0, 0]);
    check(&["IFEQ "], &[Some(""), Some("\0"), None], &[1, 0, -1]);
    check(&["IFEQ 1"], &[Some("1"), Some("1.0"), Some("01")], &[1, 0, 0]);
    check(&["IFGE 1", "IFLE 1"], &[Some("1"), Some("1.0"), Some("01"), Some("1.0000000001")], &[1, 1, 1, 0]);
    check(&["IFGT 9007199254740992"], &[Some("9007199254740993"), Some("9007199254740992")], &[1, 0]);
    check(&["IFGT -inf", "IFLT inf"], &[Some("0"), Some("-inf"), Some("inf")], &[1, 0, 0]);
}

#[test]
fn repeated_and_contradictory_conditions_are_refused() {
    let every = ["NX", "XX", "IFEQ 1", "IFNE 1", "IFGT 1", "IFGE 1", "IFLT 1", "IFLE 1", "GT 1", "LT 1"];
    let is_refused = |left: &str, right: &str| {
        left == right || left == "NX" || right == "NX" || matches!((left, right), ("GT 1", "LT 1") | ("LT 1", "GT 1"))
    };
    for left in every {
        for right in every {
            assert_eq!(all_of(&[left, right]).is_none(), is_refused(left, right), "{left} with {right}");
        }
    }
    assert!(all_of(&["IFEQ 1", "IFEQ 2"]).is_none());
    assert!(all_of(&["IFGT 1", "IFGT 2"]).is_none());
    assert!(all_of(&["XX", "IFEQ 1", "IFNE 2", "IFGT 1", "IFGE 1", "IFLT 1", "IFLE 1", "LT 1"]).is_some());
}

#[test]
fn requests_on_an_existing_value_reply_minus_one_without_it() {
    for line in ["NX", "XX", "IFEQ 5", "IFNE 5", "IFGT 5", "IFLE 5"] {
        let mut conditions = Conditions::on_existing_value();
        assert!(conditions.is_empty() && conditions.add(condition(line)) && !conditions.is_empty());
        assert_eq!(conditions.verdict(None), Ok(Outcome::NoSuchKey), "{line}");
        let same = all_of(&[line]).unwrap();
        assert_eq!(conditions.verdict(Some(b"5")), same.verdict(Some(b"5")), "{line}");
    }
}

/// The contract, condition by condition. The numbers used here are multiples of 1/4, held as 128-bit integers.
fn naive(lines: &[String], stored: Option<&str>) -> i64 {
    let quarters = |text: &str| -> Option<i128> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let fraction = match fraction {
            "0" => 0,
            "25" => 1,
            "5" => 2,
            "75" => 3,
            _ => return None,
        };
        let sign = if whole.starts_with('-') { -1 } else { 1 };
        Some(whole.parse::<i128>().ok()? * 4 + sign * fraction)
    };
    let Some(stored) = stored else {
        let failing = lines
            .iter()
            .any(|line| line == "XX" || line.starts_with("IFEQ") || line.starts_with("IFG") || line.starts_with("IFL"));
        return if failing { -1 } else { 1 };
    };
    let mut all = true;
    for line in lines {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        all &= match name {
            "NX" => false,
            "XX" => true,
            "IFEQ" => stored == value,
            "IFNE" => stored != value,
            _ => {
                let (Some(stored), Some(value)) = (quarters(stored), quarters(value)) else { return 9 };
                match name {
                    "IFGT" => stored > value,
                    "IFGE" => stored >= value,
                    "IFLT" | "GT" => stored < value,
                    "IFLE" => stored <= value,
                    _ => value < stored,
                }
            }
        };
    }
    i64::from(all)
}

fn numbers() -> impl Strategy<Value = String> {
    let whole = prop_oneof![-2_i64..3, Just(i64::MAX), Just(i64::MIN + 1), (1_i64 << 53) - 1..(1 << 53) + 3];
    let fractions = prop::sample::select(vec!["", ".0", ".25", ".5", ".75"]);
    // With a decimal point the number is a double, so it must be small enough to be an exact multiple of 1/4.
    (whole, fractions).prop_map(|(whole, fraction)| {
        if whole.unsigned_abs() < 1 << 40 && !(whole == 0 && fraction.is_empty()) {
            format!("{whole}{fraction}")
        } else {
            whole.to_string()
        }
    })
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    let names = prop::sample::select(vec!["NX", "XX", "IFEQ", "IFNE", "IFGT", "IFGE", "IFLT", "IFLE", "GT", "LT"]);
    let line = (names, numbers()).prop_map(|(name, value)| {
        if name.len() == 2 && name.ends_with('X') { name.to_owned() } else { format!("{name} {value}") }
    });
    prop::collection::vec(line, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn verdicts_match_the_naive_evaluator(lines in lines(), stored in prop_oneof![4 => numbers().prop_map(Some), 1 => Just(None), 1 => Just(Some("x".to_owned()))]) {
        let words: Vec<&str> = lines.iter().map(String::as_str).collect();
        let Some(conditions) = all_of(&words) else { return Ok(()) };
        let stored = stored.as_deref();
        let found = conditions.verdict(stored.map(str::as_bytes)).map_or(9, Outcome::reply);
        prop_assert_eq!(found, naive(&lines, stored));
        if !conditions.compare_numbers() {
            let by_equality = conditions.verdict_by_equality(stored.is_some(), |expected| stored.map(str::as_bytes) == Some(expected));
            prop_assert_eq!(by_equality.reply(), found);
        }
    }
}
