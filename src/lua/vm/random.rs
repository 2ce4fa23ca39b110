//! The generator of `math.random`: the `lrand48` of Redis, so a seed gives the same sequence in both.

/// The divisor is the largest 31-bit number, as in Redis.
const MAX: f64 = 2_147_483_647.0;
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const BITS_48: u64 = (1 << 48) - 1;

/// A linear congruential generator of 48 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) struct Lrand48(u64);

impl Lrand48 {
    /// The generator as `srand48` leaves it.
    pub fn seeded(seed: u32) -> Self {
        Self((u64::from(seed) << 16) | 0x330E)
    }

    /// A number from 0, included, to 1, excluded.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & BITS_48;
        let bits = u32::try_from(self.0 >> 17).unwrap_or_default();
        (f64::from(bits) % MAX) / MAX
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn sequence_is_that_of_lrand48() {
        // The first values of lrand48() after srand48(1).
        let mut random = Lrand48::seeded(1);
        let drawn: Vec<f64> = (0..3).map(|_| (random.next() * MAX).round()).collect();
        assert_eq!(drawn, [89_400_484.0, 976_015_093.0, 1_792_756_325.0]);
    }
}
