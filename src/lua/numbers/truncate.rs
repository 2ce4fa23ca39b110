//! Doubles as integers, the way C casts them on x86-64.

/// Rounds towards zero. A number out of range becomes the smallest integer.
pub(in crate::lua) fn truncated(value: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&value) {
        // In range, so only the fraction is lost.
        #[allow(clippy::cast_possible_truncation)]
        let integer = value as i64;
        integer
    } else {
        i64::MIN
    }
}
