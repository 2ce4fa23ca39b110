//! A run on one server: row by row, side by side.

use std::ops::Range;
use std::path::Path;

use super::super::run::about;
use super::super::workload::{PIPELINE, Shas, Stream, Workload};
use super::results::{self, Count, Row};
use super::rows::{self, Case, Group};
use super::scripts::SCRIPTS;
use super::server::Server;
use super::tools::Tools;

/// Operations before the first interval: they fill the tables and train the simulated caches.
const WARM_UP: usize = 1024;

/// How many intervals of each side are counted. The cheapest one counts: in the others, the server's timer ran.
const INTERVALS: usize = 11;

/// About how much the server executes per interval. Cachegrind needs 40 ms for it on a quiet machine, so most of the intervals
/// have no tick of the timer, which comes every second.
const INTERVAL: f64 = 2_000_000.0;

pub fn on_server(program: &Path, tools: &Tools, only: Option<&str>) -> Result<results::Server, String> {
    let mut counter = Counter { server: Server::start(program, tools)?, shas: Shas::new() };
    counter.load_scripts()?;
    let (product, version, _) = about(&mut counter.server.driver)?;
    let mut sections = Vec::new();
    for Group { title, cases, .. } in rows::groups() {
        let mut counted = Vec::new();
        for case in cases.iter().filter(|case| only.is_none_or(|only| case.name.contains(only))) {
            eprintln!("{product} {version}: {}", case.name);
            counted.extend(counter.row(case)?);
        }
        if !counted.is_empty() {
            sections.push(results::Section { title: title.to_owned(), rows: counted });
        }
    }
    Ok(results::Server { product, version, sections })
}

struct Counter {
    server: Server,
    shas: Shas,
}

impl Counter {
    fn load_scripts(&mut self) -> Result<(), String> {
        for script in SCRIPTS {
            let sha = self.server.driver.text(&["SCRIPT", "LOAD", script.source])?;
            self.server.driver.call(&["ATOMIC.SCRIPT", "LOAD", script.source])?;
            self.shas.insert(script.name, sha);
        }
        Ok(())
    }

    /// `None` if this server lacks the command of the other side.
    fn row(&mut self, case: &Case) -> Result<Option<Row>, String> {
        if let Some(words) = case.needs
            && self.server.driver.call(words).is_err()
        {
            return Ok(None);
        }
        let failed = |side: &str, error: String| format!("{} ({side}): {error}", case.name);
        let ours = self.side(&case.ours).map_err(|error| failed("the module", error))?;
        let floor = case.floor.map(|floor| self.side(&floor)).transpose().map_err(|error| failed("the floor", error))?;
        let compared = self.side(&case.compared).map_err(|error| failed(case.compared_with, error))?;
        Ok(Some(Row { case: case.name.to_owned(), ours, floor, compared_with: case.compared_with.to_owned(), compared }))
    }

    /// The counts of one operation.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
    fn side(&mut self, workload: &Workload) -> Result<Count, String> {
        self.server.driver.call(&["FLUSHALL", "SYNC"])?;
        let preparation = workload.preparation(0..1, &self.shas)?;
        self.server.driver.run(&[preparation])?;
        let mut passes = 0..WARM_UP;
        let start = self.server.counts()?;
        self.run(workload, passes.clone())?;
        let mut before = self.server.counts()?;
        let each = self.server.between(&start, &before).estimate() / passes.len() as f64;
        // Whole batches, so that the server reads as much at a time in every interval.
        let operations = (INTERVAL / each).ceil() as usize;
        let operations = operations.next_multiple_of(PIPELINE);
        let mut least: Option<Count> = None;
        for _ in 0..INTERVALS {
            passes = passes.end..passes.end + operations;
            self.run(workload, passes.clone())?;
            let after = self.server.counts()?;
            let count = self.server.between(&before, &after).per(operations as f64);
            if least.is_none_or(|least| count.estimate() < least.estimate()) {
                least = Some(count);
            }
            before = after;
        }
        least.ok_or_else(|| "nothing was counted".to_owned())
    }

    fn run(&mut self, workload: &Workload, passes: Range<usize>) -> Result<(), String> {
        let stream: Stream = workload.operations(passes, 0..1, &self.shas)?;
        self.server.driver.run(&[stream])
    }
}
