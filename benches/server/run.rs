//! One run on a server: section by section, round by round, the rows in turn.

use std::ops::Range;
use std::path::Path;

use super::cases::{self, Case, Group};
use super::driver::{CONNECTIONS, Driver};
use super::due;
use super::handover;
use super::options::Options;
use super::process::Server;
use super::report::{Section, waiting_share};
use super::results::{self, DueWork, Waiting};
use super::scripts::{LIBRARY, SOURCES};
use super::workload::{Shas, Stream, Workload};

/// Passes over the keys before the measured ones: they grow the tables, warm the caches and fill the windows.
const WARM_UP: usize = 10;

/// Measures every row on one server.
pub fn on_server(program: &Path, options: &Options) -> Result<results::Server, String> {
    let server = Server::start(program, &options.module)?;
    let mut bench = Bench { driver: Driver::connect(server.port)?, server, shas: Shas::new(), requests: options.requests };
    bench.load_scripts()?;
    let chosen = |group| Section::new(chosen(group, options.only.as_deref()));
    let mut sections: Vec<Section> = cases::groups().into_iter().map(chosen).collect();
    let start = bench.server.spent()?;
    for section in &mut sections {
        // One section after the other: what the last one leaves in the server must not slow down the earlier ones.
        for round in 0..options.rounds {
            eprintln!("{}: round {} of {}", section.title(), round + 1, options.rounds);
            for (case, samples) in section.rows() {
                let (subject, reference) = bench.both(case, round)?;
                samples.subject.push(subject);
                samples.reference.push(reference);
            }
        }
    }
    let due = bench.due(options)?;
    let waiting = bench.waiting(options)?;
    let end = bench.server.spent()?;
    let (product, version, allocator) = about(&mut bench.driver)?;
    let sections = sections.iter().filter_map(Section::results).collect();
    Ok(results::Server { product, version, allocator, waiting_share: waiting_share(start, end), sections, waiting, due })
}

fn chosen(mut group: Group, only: Option<&str>) -> Group {
    if let Some(only) = only {
        group.cases.retain(|case| case.name.contains(only) || case.reference_name.contains(only));
        group.mean_goal = None;
    }
    group
}

/// Product, version and allocator of the server.
pub fn about(driver: &mut Driver) -> Result<(String, String, String), String> {
    let info = driver.text(&["INFO", "everything"])?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let (product, version) = match field("valkey_version") {
        Some(version) => ("Valkey", version),
        None => ("Redis", field("redis_version").ok_or("INFO names no version")?),
    };
    let allocator = field("mem_allocator").unwrap_or("unknown allocator");
    Ok((product.to_owned(), version.to_owned(), allocator.to_owned()))
}

struct Bench {
    server: Server,
    driver: Driver,
    shas: Shas,
    requests: usize,
}

impl Bench {
    fn load_scripts(&mut self) -> Result<(), String> {
        for (name, source) in SOURCES {
            let sha = self.driver.text(&["SCRIPT", "LOAD", source])?;
            if self.driver.text(&["ATOMIC.SCRIPT", "LOAD", source])? != sha {
                return Err(format!("ATOMIC.SCRIPT LOAD gives {name} another SHA1"));
            }
            self.shas.insert(name, sha);
        }
        self.driver.call(&["ATOMIC.FUNCTION", "LOAD", LIBRARY])?;
        Ok(())
    }

    /// The section on work that comes due, unless the command line excludes it.
    fn due(&mut self, options: &Options) -> Result<Option<DueWork>, String> {
        if !options.includes(due::NAME) {
            return Ok(None);
        }
        let pop = self.shas.get("pop_due").ok_or("no script is called pop_due")?;
        due::section(&self.server, &mut self.driver, pop, options.rounds).map(Some)
    }

    /// The section on waiting, unless the command line excludes it. It runs last, since it connects thousands of clients.
    fn waiting(&mut self, options: &Options) -> Result<Option<Waiting>, String> {
        if !options.includes(handover::NAME) {
            return Ok(None);
        }
        let release = self.shas.get("release_lock").ok_or("no script is called release_lock")?;
        handover::section(&self.server, &mut self.driver, release, options.rounds).map(Some)
    }

    /// Measures both sides of a row, in an order that alternates from round to round.
    fn both(&mut self, case: &Case, round: usize) -> Result<(f64, f64), String> {
        let failed = |name: &str, error: String| format!("{name} (against {}): {error}", case.reference_name);
        if round.is_multiple_of(2) {
            let subject = self.one(&case.subject).map_err(|error| failed(case.name, error))?;
            Ok((subject, self.one(&case.reference).map_err(|error| failed(case.reference_name, error))?))
        } else {
            let reference = self.one(&case.reference).map_err(|error| failed(case.reference_name, error))?;
            Ok((self.one(&case.subject).map_err(|error| failed(case.name, error))?, reference))
        }
    }

    /// Nanoseconds per operation.
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a run are far below 2^52")]
    fn one(&mut self, workload: &Workload) -> Result<f64, String> {
        self.driver.call(&["FLUSHALL", "SYNC"])?;
        let dropped_in = if workload.is_in_drop_in_mode() { "yes" } else { "no" };
        self.driver.call(&["CONFIG", "SET", "atomic.intercept", dropped_in])?;
        let shas = self.shas.clone();
        self.run(workload, |keys| workload.preparation(keys, &shas))?;
        let cycle = workload.cycle();
        let passes = self.requests.div_ceil(workload.keys()).next_multiple_of(cycle);
        let (nanos, passes) = if workload.refills() {
            // The first cycle is the warm-up.
            let mut nanos = 0;
            for pass in 0..cycle + passes {
                self.run(workload, |keys| workload.refilling(keys, &shas))?;
                let spent = self.timed(workload, pass..pass + 1)?;
                nanos += if pass < cycle { 0 } else { spent };
            }
            (nanos, passes)
        } else {
            let warm_up = WARM_UP.next_multiple_of(cycle);
            self.timed(workload, 0..warm_up)?;
            (self.timed(workload, warm_up..warm_up + passes)?, passes)
        };
        if nanos == 0 {
            return Err("the kernel does not account CPU time".to_owned());
        }
        Ok(nanos as f64 / (passes * workload.keys()) as f64)
    }

    /// The server's CPU time for these passes. The commands are encoded before the clock is read.
    fn timed(&mut self, workload: &Workload, passes: Range<usize>) -> Result<u64, String> {
        let streams = streams(workload, |keys| workload.operations(passes.clone(), keys, &self.shas))?;
        let start = self.server.spent()?;
        self.driver.run(&streams)?;
        Ok(self.server.spent()?.running - start.running)
    }

    fn run(&mut self, workload: &Workload, encode: impl FnMut(Range<usize>) -> Result<Stream, String>) -> Result<(), String> {
        self.driver.run(&streams(workload, encode)?)
    }
}

/// One stream per connection, each with its own keys.
fn streams(workload: &Workload, encode: impl FnMut(Range<usize>) -> Result<Stream, String>) -> Result<Vec<Stream>, String> {
    let share = workload.keys() / CONNECTIONS;
    (0..CONNECTIONS).map(|number| number * share..(number + 1) * share).map(encode).collect()
}
