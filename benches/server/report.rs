//! Turns samples into results: medians, ratios and goals.

use std::fs;

use super::cases::{Case, Group};
use super::guard::Guard;
use super::process::Spent;
use super::results::{self, Conditions, Goal, Mean, Row, rounded};

/// The measurements of one row, one per round, in nanoseconds per operation.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    pub subject: Vec<f64>,
    pub reference: Vec<f64>,
}

impl FromIterator<(f64, f64)> for Samples {
    fn from_iter<I: IntoIterator<Item = (f64, f64)>>(rounds: I) -> Self {
        let mut samples = Self::default();
        samples.extend(rounds);
        samples
    }
}

impl Extend<(f64, f64)> for Samples {
    fn extend<I: IntoIterator<Item = (f64, f64)>>(&mut self, rounds: I) {
        for (subject, reference) in rounds {
            self.subject.push(subject);
            self.reference.push(reference);
        }
    }
}

impl Samples {
    pub fn ratio(&self) -> f64 {
        median(&self.subject) / median(&self.reference)
    }

    /// The lowest and the highest ratio of a single round.
    pub fn spread(&self) -> (f64, f64) {
        let ratios = self.subject.iter().zip(&self.reference).map(|(subject, reference)| subject / reference);
        ratios.fold((f64::INFINITY, 0.0), |(low, high), ratio| (ratio.min(low), ratio.max(high)))
    }
}

/// The results of one group on one server. The samples are those of its cases.
pub fn section(group: &Group, samples: &[Samples], conditions: Conditions) -> results::Section {
    let row = |(case, samples): (&Case, &Samples)| {
        let (low, high) = samples.spread();
        Row {
            case: case.name.to_owned(),
            compared_with: case.reference_name.to_owned(),
            ns: rounded(median(&samples.subject), 1),
            compared_ns: rounded(median(&samples.reference), 1),
            ratio: rounded(samples.ratio(), 3),
            of_any_round: (rounded(low, 3), rounded(high, 3)),
            goal: case.goal.map(|goal| Goal::new(goal, samples.ratio())),
        }
    };
    let with_goal = group.cases.iter().zip(samples).filter(|(case, _)| case.goal.is_some()).map(|(_, samples)| samples.ratio());
    let mean = mean(with_goal);
    results::Section {
        title: group.title.to_owned(),
        conditions,
        rows: group.cases.iter().zip(samples).map(row).collect(),
        mean: group.mean_goal.map(|goal| Mean { ratio: rounded(mean, 3), goal: Goal::new(goal, mean) }),
    }
}

/// The geometric mean.
fn mean(ratios: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = ratios.fold((0.0, 0.0), |(sum, count), ratio| (sum + ratio.ln(), count + 1.0));
    f64::exp(sum / count)
}

/// How a section was measured.
pub fn conditions(rounds: usize, (start, end): (Spent, Spent), guard: &Guard) -> Conditions {
    Conditions { machine: machine(), rounds, waiting_share: waiting_share(start, end), guard: Some(guard.results()) }
}

/// NaN if there are no samples.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count.is_multiple_of(2) => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
        count => sorted[count / 2],
    }
}

/// The share of its time in which the server's main thread was ready to run but waited for the core.
#[allow(clippy::cast_precision_loss, reason = "nanoseconds of a run are far below 2^52")]
fn waiting_share(start: Spent, end: Spent) -> f64 {
    let (running, waiting) = ((end.running - start.running) as f64, (end.waiting - start.waiting) as f64);
    rounded(waiting / (running + waiting), 4)
}

/// The processor, its cores and the kernel.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, name)| name);
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
