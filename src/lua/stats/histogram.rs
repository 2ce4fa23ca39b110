//! Counts durations so that any quantile is known within a sixteenth.
//!
//! The buckets grow with the values: each power of two is cut into eight. Each value below 16 ns has a bucket of its own. Values
//! above 2^42 ns (73 minutes; no run takes that long) share the last one. A counter that is full stays full.

/// Buckets per power of two, as a power of two.
const FINENESS: u32 = 3;

/// Values have at most this many bits.
const BITS: u32 = 42;

const BUCKETS: usize = ((BITS - FINENESS + 1) << FINENESS) as usize;

/// See the module's documentation.
pub(in crate::lua) struct Histogram([u32; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Histogram {
    /// Counts one duration in nanoseconds.
    pub fn add(&mut self, value: u64) {
        if let Some(count) = self.0.get_mut(bucket(value)) {
            *count = count.saturating_add(1);
        }
    }

    /// `percent` of all values are at most this one, which is the middle of a bucket. 0 if nothing was counted.
    pub fn quantile(&self, percent: u64) -> u64 {
        let total: u64 = self.0.iter().map(|&count| u64::from(count)).sum();
        let rank = total.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0_u64;
        for (bucket, &count) in self.0.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                return middle(bucket);
            }
        }
        0
    }
}

fn bucket(value: u64) -> usize {
    let value = value.min((1 << BITS) - 1);
    // The number of low bits that do not count.
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(FINENESS + 1);
    let index = (u64::from(shift) << FINENESS) + (value >> shift);
    usize::try_from(index).unwrap_or(BUCKETS)
}

fn middle(bucket: usize) -> u64 {
    let index = u64::try_from(bucket).unwrap_or(0);
    let shift = (index >> FINENESS).saturating_sub(1);
    let first = (index - (shift << FINENESS)) << shift;
    first + ((1 << shift) >> 1)
}

#[allow(clippy::indexing_slicing)]
#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random.
    fn numbers(seed: u64, count: usize) -> Vec<u64> {
        let mut state = seed;
        let next = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *state >> 22
        };
        (0..count).map(|_| next(&mut state)).collect()
    }

    #[test]
    fn a_bucket_holds_its_middle_and_small_values_are_exact() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(middle(index)), index);
        }
        for value in 0..16 {
            assert_eq!(middle(bucket(value)), value);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert!((1..1 << 20).all(|value| bucket(value) >= bucket(value - 1)), "buckets are in order");
    }

    #[test]
    fn quantiles_are_those_of_a_sorted_list_within_a_sixteenth() {
        for (seed, count) in (0..60).flat_map(|seed| [1, 2, 3, 99, 100, 101, 1000].map(|count| (seed, count))) {
            let mut sorted: Vec<u64> = numbers(seed, count).iter().map(|number| number >> (seed % 40)).collect();
            let mut histogram = Histogram::default();
            sorted.iter().for_each(|&value| histogram.add(value));
            sorted.sort_unstable();
            for percent in [1, 50, 90, 99, 100] {
                let rank = (count * percent).div_ceil(100).max(1);
                let (exact, told) = (sorted[rank - 1], histogram.quantile(percent as u64));
                assert!(told.abs_diff(exact) <= exact / 16, "p{percent} of {count}: {told}, not {exact}");
            }
        }
    }

    #[test]
    fn nothing_overflows() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(50), 0);
        histogram.0[3] = u32::MAX;
        histogram.add(3);
        assert_eq!(histogram.quantile(100), 3);
        histogram.0 = [u32::MAX; BUCKETS];
        assert_eq!(bucket(histogram.quantile(100)), BUCKETS - 1);
    }
}
