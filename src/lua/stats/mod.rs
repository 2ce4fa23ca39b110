//! The figures of the runs of one script, library or command: how many, how many failed, how long they took.

mod histogram;

use std::time::Duration;

use self::histogram::Histogram;

/// See the module's documentation. The histogram is the larger part, so it is made by the first run.
#[derive(Default)]
pub(super) struct RunCounters {
    calls: u64,
    errors: u64,
    total: u64,
    max: u64,
    undeclared: u64,
    times: Option<Box<Histogram>>,
}

/// The figures. Times are in nanoseconds; `p50 <= p99 <= max`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunFigures {
    pub calls: u64,
    /// Runs that failed.
    pub errors: u64,
    /// The time of all runs.
    pub total: u64,
    /// The longest run.
    pub max: u64,
    /// Half of the runs took at most this time, within a sixteenth.
    pub p50: u64,
    /// 99 of 100 runs took at most this time, within a sixteenth.
    pub p99: u64,
    /// The uses of keys that the runs had not declared, if they were counted.
    pub undeclared: u64,
}

impl RunCounters {
    /// Counts a run.
    pub fn add(&mut self, took: Duration, failed: bool) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.calls = self.calls.saturating_add(1);
        self.errors = self.errors.saturating_add(u64::from(failed));
        self.total = self.total.saturating_add(took);
        self.max = self.max.max(took);
        self.times.get_or_insert_default().add(took);
    }

    /// Counts uses of undeclared keys.
    pub fn add_undeclared(&mut self, uses: u64) {
        self.undeclared = self.undeclared.saturating_add(uses);
    }

    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// The time of all runs.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total)
    }

    /// The average time of a run.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.total.checked_div(self.calls).unwrap_or(0))
    }

    pub fn figures(&self) -> RunFigures {
        let quantile = |percent| self.times.as_ref().map_or(0, |times| times.quantile(percent)).min(self.max);
        let Self { calls, errors, total, max, undeclared, .. } = *self;
        RunFigures { calls, errors, total, max, p50: quantile(50), p99: quantile(99), undeclared }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_and_their_times_are_in_order() {
        let mut runs = RunCounters::default();
        assert_eq!(runs.figures(), RunFigures::default());
        runs.add(Duration::from_nanos(1031), true);
        let one = RunFigures { calls: 1, errors: 1, total: 1031, max: 1031, p50: 1031, p99: 1031, undeclared: 0 };
        assert_eq!(runs.figures(), one, "no quantile is above the longest");
        for _ in 0..200 {
            runs.add(Duration::from_micros(2), false);
        }
        runs.add(Duration::from_secs(10), false);
        let figures = runs.figures();
        assert_eq!((figures.calls, figures.errors, figures.max), (202, 1, 10_000_000_000));
        assert_eq!(figures.total, 1031 + 400_000 + 10_000_000_000);
        assert!(figures.p50.abs_diff(2000) <= 125 && figures.p99.abs_diff(2000) <= 125, "{figures:?}");
        runs.add(Duration::MAX, false);
        assert_eq!((runs.figures().max, runs.figures().total), (u64::MAX, u64::MAX));
    }
}
