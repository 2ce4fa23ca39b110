//! Turns samples into results: medians, ratios and goals.

use std::fs;

use super::cases::Group;
use super::process::Spent;
use super::results::{self, Goal, Mean, Row, rounded};

/// The measurements of one row, one per round, in nanoseconds per operation.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    pub subject: Vec<f64>,
    pub reference: Vec<f64>,
}

impl Samples {
    fn ratio(&self) -> f64 {
        median(&self.subject) / median(&self.reference)
    }

    /// The lowest and the highest ratio of a single round.
    fn spread(&self) -> (f64, f64) {
        let ratios = self.subject.iter().zip(&self.reference).map(|(subject, reference)| subject / reference);
        ratios.fold((f64::INFINITY, 0.0), |(low, high), ratio| (ratio.min(low), ratio.max(high)))
    }
}

/// The rows of one group on one server.
pub struct Section {
    group: Group,
    samples: Vec<Samples>,
}

impl Section {
    pub fn new(group: Group) -> Self {
        let samples = vec![Samples::default(); group.cases.len()];
        Self { group, samples }
    }

    pub fn title(&self) -> &'static str {
        self.group.title
    }

    pub fn rows(&mut self) -> impl Iterator<Item = (&super::cases::Case, &mut Samples)> {
        self.group.cases.iter().zip(&mut self.samples)
    }

    /// `None` if there are no rows.
    pub fn results(&self) -> Option<results::Section> {
        let row = |(case, samples): (&super::cases::Case, &Samples)| {
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
        let rows: Vec<Row> = self.group.cases.iter().zip(&self.samples).map(row).collect();
        let mean = |goal| Mean { ratio: rounded(self.mean(), 3), goal: Goal::new(goal, self.mean()) };
        let section = results::Section { title: self.title().to_owned(), rows, mean: self.group.mean_goal.map(mean) };
        (!section.rows.is_empty()).then_some(section)
    }

    /// The geometric mean of the ratios.
    fn mean(&self) -> f64 {
        let (sum, count) =
            self.samples.iter().fold((0.0, 0.0), |(sum, count), samples| (sum + samples.ratio().ln(), count + 1.0));
        (sum / count).exp()
    }
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
pub fn waiting_share(start: Spent, end: Spent) -> f64 {
    let (running, waiting) = ((end.running - start.running) as f64, (end.waiting - start.waiting) as f64);
    rounded(waiting / (running + waiting), 4)
}

/// The processor, its cores and the kernel.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, name)| name);
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
