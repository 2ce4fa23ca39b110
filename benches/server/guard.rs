//! The guard against noise: SET is measured against SET. Where the two differ, the figures beside them cannot be trusted, so they are
//! measured again.

use super::cases::Case;
use super::commands::SET;
use super::report::Samples;
use super::results::{self, rounded};

/// How much the two sides may differ.
pub const TOLERANCE: f64 = 0.05;

/// The row that the guard measures.
pub const CASE: Case = Case { name: "SET", reference_name: "SET", subject: SET, reference: SET, goal: None, needs: None };

/// The guard of one section.
#[derive(Default)]
pub struct Guard {
    /// Of the rounds that count.
    samples: Samples,
    repeated: usize,
    noisy: usize,
}

impl Guard {
    /// Whether the round in which SET took these times counts. One that is too noisy does not, as long as few enough were repeated.
    pub fn accepts(&mut self, (subject, reference): (f64, f64), most_repeated: usize) -> bool {
        let noisy = is_noisy(subject / reference);
        if noisy && self.repeated < most_repeated {
            self.repeated += 1;
            eprintln!("SET took {:.2} times as long as SET: the round is measured again", subject / reference);
            return false;
        }
        self.noisy += usize::from(noisy);
        self.samples.extend([(subject, reference)]);
        true
    }

    /// Adds the rounds of another part of the section.
    pub fn join(&mut self, other: Self) {
        self.samples.extend(other.samples.subject.into_iter().zip(other.samples.reference));
        self.repeated += other.repeated;
        self.noisy += other.noisy;
    }

    pub fn results(&self) -> results::Guard {
        let (low, high) = self.samples.spread();
        results::Guard {
            ratio: rounded(self.samples.ratio(), 3),
            of_any_round: (rounded(low, 3), rounded(high, 3)),
            repeated: self.repeated,
            noisy: self.noisy,
        }
    }
}

/// Whether a ratio of SET to SET is beyond the tolerance. The two sides are equal, so it does not matter which one is divided.
pub fn is_noisy(ratio: f64) -> bool {
    ratio.max(1.0 / ratio) > 1.0 + TOLERANCE
}
