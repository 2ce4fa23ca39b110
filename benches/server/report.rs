//! Medians, the table on the terminal, and `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;

use super::cases::Group;

/// What was measured for one row, one figure per round, in nanoseconds per operation.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// See `Case::subject`.
    pub subject: Vec<f64>,
    /// See `Case::reference`.
    pub reference: Vec<f64>,
}

impl Samples {
    fn ratio(&self) -> f64 {
        median(&self.subject) / median(&self.reference)
    }

    /// The smallest and the largest ratio of any round.
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
    /// A section without figures.
    pub fn new(group: Group) -> Self {
        let samples = vec![Samples::default(); group.cases.len()];
        Self { group, samples }
    }

    /// The heading.
    pub fn title(&self) -> &'static str {
        self.group.title
    }

    /// The rows, to be measured.
    pub fn rows(&mut self) -> impl Iterator<Item = (&super::cases::Case, &mut Samples)> {
        self.group.cases.iter().zip(&mut self.samples)
    }

    /// How many goals were missed.
    pub fn missed(&self) -> usize {
        let rows = self.group.cases.iter().zip(&self.samples);
        let missed = rows.filter(|(case, samples)| case.goal.is_some_and(|goal| samples.ratio() > goal)).count();
        missed + usize::from(self.group.mean_goal.is_some_and(|goal| self.mean() > goal))
    }

    /// The geometric mean of the ratios.
    fn mean(&self) -> f64 {
        let (sum, count) =
            self.samples.iter().fold((0.0, 0.0), |(sum, count), samples| (sum + samples.ratio().ln(), count + 1.0));
        (sum / count).exp()
    }

    /// The section in Markdown; a table that also reads well on a terminal.
    pub fn markdown(&self) -> String {
        if self.samples.is_empty() {
            return String::new();
        }
        let mut text = format!("### {}\n\n{}\n\n", self.group.title, self.group.about);
        let mut table = Vec::new();
        table.push(["case", "compared with", "ns", "ns", "ratio", "of any round", "goal", ""].map(str::to_owned));
        for (case, samples) in self.group.cases.iter().zip(&self.samples) {
            let (low, high) = samples.spread();
            table.push([
                case.name.to_owned(),
                case.reference_name.to_owned(),
                format!("{:.0}", median(&samples.subject)),
                format!("{:.0}", median(&samples.reference)),
                format!("{:.2}", samples.ratio()),
                format!("{low:.2}-{high:.2}"),
                case.goal.map(|goal| format!("{goal:.2}")).unwrap_or_default(),
                case.goal.map(|goal| verdict(samples.ratio(), goal)).unwrap_or_default().to_owned(),
            ]);
        }
        text.push_str(&aligned(&table, 2..7));
        if let Some(goal) = self.group.mean_goal {
            let mean = self.mean();
            let (times, wanted) = (1.0 / mean, 1.0 / goal);
            let verdict = verdict(mean, goal);
            let _ =
                writeln!(text, "\nGeometric mean: {mean:.2}, {times:.1} times less CPU; goal {wanted:.1} times less: {verdict}");
        }
        text
    }
}

/// Whether a goal, which is a most, is reached.
pub fn verdict(ratio: f64, goal: f64) -> &'static str {
    if ratio <= goal { "ok" } else { "MISSED" }
}

/// A table whose first row is its head, with numbers in the columns `numbers`.
pub fn aligned<const COLUMNS: usize>(table: &[[String; COLUMNS]], numbers: Range<usize>) -> String {
    let widths: Vec<usize> = (0..COLUMNS).map(|column| table.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, row) in table.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if numbers.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let rule = |(column, &width): (usize, &usize)| {
                if numbers.contains(&column) { format!("{}:", "-".repeat(width + 1)) } else { "-".repeat(width + 2) }
            };
            let _ = writeln!(text, "|{}|", widths.iter().enumerate().map(rule).collect::<Vec<_>>().join("|"));
        }
    }
    text
}

/// The middle one; not a number when there is none.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count.is_multiple_of(2) => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
        count => sorted[count / 2],
    }
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
