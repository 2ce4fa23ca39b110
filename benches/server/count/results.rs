//! The counts of a run, in the layout of `docs/count.json`. `docs/count.md` is generated from these structs.

#![allow(missing_docs, reason = "most fields are explained by their names")]

use serde::{Deserialize, Serialize};

use super::super::results::rounded;

/// What a miss or a misprediction counts as, in instructions: the usual estimate for cachegrind's figures.
pub const PENALTY: f64 = 10.0;

/// How much more than its committed figure a row may cost. Two runs of the same build differ by 0.3 % in the median, and by up to 2 %.
pub const TOLERANCE: f64 = 0.03;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    pub valgrind: String,
    pub servers: Vec<Server>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `Redis` or `Valkey`.
    pub product: String,
    pub version: String,
    pub sections: Vec<Section>,
}

/// Rows with one title. `rows.rs` has the introduction for each title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub title: String,
    pub rows: Vec<Row>,
}

/// The counts of one operation: the module's, the floor module's, and what the server's own commands or engine need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub case: String,
    pub ours: Count,
    pub floor: Option<Count>,
    pub compared_with: String,
    pub compared: Count,
}

/// What cachegrind counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    pub instructions: f64,
    /// Misses of the first-level caches.
    pub code_misses: f64,
    pub data_misses: f64,
    /// Conditional branches and indirect jumps that were predicted wrong.
    pub mispredictions: f64,
}

impl Count {
    /// Instructions, plus [`PENALTY`] for each of the rest.
    pub fn estimate(&self) -> f64 {
        self.instructions + PENALTY * (self.code_misses + self.data_misses + self.mispredictions)
    }

    /// Adds the events of the last line of a cachegrind file.
    pub fn of_cachegrind(text: &str) -> Result<Self, String> {
        let line = |name: &str| {
            text.lines().rev().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("cachegrind wrote no line {name}"))
        };
        let (names, numbers) = (line("events:")?, line("summary:")?);
        let mut count = Self::default();
        for (name, number) in names.split_whitespace().zip(numbers.split_whitespace()) {
            let number: f64 = number.parse().map_err(|_| format!("cachegrind wrote {number:?} for {name}"))?;
            match name {
                "Ir" => count.instructions += number,
                "I1mr" => count.code_misses += number,
                "D1mr" | "D1mw" => count.data_misses += number,
                "Bcm" | "Bim" => count.mispredictions += number,
                _ => {}
            }
        }
        if count.instructions > 0.0 { Ok(count) } else { Err("cachegrind counted nothing".to_owned()) }
    }

    pub fn minus(&self, other: &Self) -> Self {
        self.with(other, |ours, other| ours - other)
    }

    /// Per operation, without the digits that are noise.
    pub fn per(&self, operations: f64) -> Self {
        self.with(&Self::default(), |ours, _| rounded(ours / operations, 1))
    }

    fn with(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            instructions: combine(self.instructions, other.instructions),
            code_misses: combine(self.code_misses, other.code_misses),
            data_misses: combine(self.data_misses, other.data_misses),
            mispredictions: combine(self.mispredictions, other.mispredictions),
        }
    }
}

impl Row {
    /// The module's estimate over the floor's.
    pub fn over_floor(&self) -> Option<f64> {
        self.floor.map(|floor| self.ours.estimate() / floor.estimate())
    }

    /// The module's estimate over that of the other side.
    pub fn ratio(&self) -> f64 {
        self.ours.estimate() / self.compared.estimate()
    }
}

impl Section {
    /// The geometric mean of these ratios; `None` if there are none.
    pub fn mean(ratios: impl Iterator<Item = f64>) -> Option<f64> {
        let (sum, count) = ratios.fold((0.0, 0.0), |(sum, count), ratio| (sum + ratio.ln(), count + 1.0));
        (count > 0.0).then(|| f64::exp(sum / count))
    }
}

impl Results {
    pub fn read(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// Two spaces per level, in the order of the fields, with a line feed at the end.
    pub fn json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n").map_err(|error| error.to_string())
    }

    /// A line for each row that costs more than `committed` allows, or that it lacks.
    pub fn worse_than(&self, committed: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for server in &self.servers {
            for (section, row) in server.sections.iter().flat_map(|section| section.rows.iter().map(move |row| (section, row))) {
                let name = format!("{} {}: {} (against {})", server.product, server.version, row.case, row.compared_with);
                match committed.find(server, section, row) {
                    None => lines.push(format!("{name} has no committed figure: make count COUNT=--write")),
                    Some(before) => lines.extend(worse(before, row).map(|how| format!("{name} {how}"))),
                }
            }
        }
        lines
    }

    fn find(&self, server: &Server, section: &Section, row: &Row) -> Option<&Row> {
        let same = |known: &&Server| known.product == server.product && known.version == server.version;
        let known = self.servers.iter().find(same)?.sections.iter().find(|known| known.title == section.title)?;
        known.rows.iter().find(|known| known.case == row.case && known.compared_with == row.compared_with)
    }
}

/// How a row got worse. If the other side moved as well, the cause is more likely the machine or the build of the server.
fn worse(before: &Row, now: &Row) -> Option<String> {
    let growth = |before: &Count, now: &Count| now.estimate() / before.estimate() - 1.0;
    let ours = growth(&before.ours, &now.ours);
    let theirs = growth(&before.compared, &now.compared);
    let percent = |part: f64| part * 100.0;
    (ours > TOLERANCE).then(|| {
        format!(
            "costs {:.1} % more: {:.0} instead of {:.0}; the other side {:+.1} %",
            percent(ours),
            now.ours.estimate(),
            before.ours.estimate(),
            percent(theirs)
        )
    })
}
