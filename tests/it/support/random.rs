//! Random numbers that a seed repeats.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seed in `ATOMIC_SEED`, or else the time. Prints it, so that a run can be repeated.
pub fn seed() -> u64 {
    let chosen = std::env::var("ATOMIC_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = chosen.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    eprintln!("ATOMIC_SEED={seed}");
    seed
}

/// A number below the limit. SplitMix64: `state` starts as the seed.
pub fn below(state: &mut u64, limit: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % limit as u64) as usize
}
