//! The servers of a run, and how a section is measured on them: round by round, the rows in turn.

use std::ops::Range;
use std::path::Path;

use super::calls;
use super::cases::{self, Case, Group};
use super::commands::SET;
use super::driver::{CONNECTIONS, Driver};
use super::guard::Guard;
use super::options::Options;
use super::process::Server;
use super::report::{self, Samples, median};
use super::results::{self, Measured};
use super::scripts::{LIBRARY, SOURCES};
use super::workload::{Shas, Stream, Target, Workload};

/// Passes over the keys before the measured ones: they grow the tables, warm the caches and fill the windows.
const WARM_UP: usize = 10;

/// The restricted user, its password, and the rights of an application.
const USER: &str = "bench";
const PASSWORD: &str = "bench";
const RIGHTS: [&str; 6] = ["on", ">bench", "~bench:*", "&bench:*", "+@all", "-@dangerous"];

/// How often SET is measured against SET before a section that counts its rounds itself, and how often after it.
const BRACKET: usize = 5;

/// A server and the connections to it.
pub struct Host {
    pub server: Server,
    pub driver: Driver,
}

impl Host {
    pub fn of(server: Server) -> Result<Self, String> {
        Ok(Self { driver: Driver::connect(server.port)?, server })
    }
}

/// The servers that a run measures.
pub struct Bench {
    pub host: Host,
    /// The connections of the restricted user.
    restricted: Driver,
    peer: Option<Host>,
    shas: Shas,
    requests: usize,
}

impl Bench {
    pub fn start(program: &Path, options: &Options) -> Result<Self, String> {
        let mut host = Host::of(Server::start(program, &options.module)?)?;
        host.driver.call(&[&["ACL", "SETUSER", USER], &RIGHTS[..]].concat())?;
        let mut restricted = Driver::connect(host.server.port)?;
        restricted.log_in(USER, PASSWORD)?;
        let peer = options.peer.as_ref().map(|module| Host::of(Server::with(program, Some(module), &[])?)).transpose()?;
        let mut bench = Self { host, restricted, peer, shas: Shas::new(), requests: options.requests };
        bench.load_scripts()?;
        bench.host.driver.call(&["ATOMIC.FUNCTION", "LOAD", LIBRARY])?;
        Ok(bench)
    }

    /// Loads every script of the rows on both engines.
    pub fn load_scripts(&mut self) -> Result<(), String> {
        let called = calls::scripts().map(|script| (script.name, script.source));
        for (name, source) in SOURCES.iter().copied().chain(called) {
            let sha = self.host.driver.text(&["SCRIPT", "LOAD", source])?;
            if self.host.driver.text(&["ATOMIC.SCRIPT", "LOAD", source])? != sha {
                return Err(format!("ATOMIC.SCRIPT LOAD gives {name} another SHA1"));
            }
            if self.shas.insert(name, sha.clone()).is_some_and(|other| other != sha) {
                return Err(format!("two scripts are called {name}"));
            }
        }
        Ok(())
    }

    pub fn sha(&self, script: &str) -> Result<String, String> {
        self.shas.get(script).cloned().ok_or_else(|| format!("no script is called {script}"))
    }

    /// The cases of a group that are to be measured and that the servers have; `None` if there are none.
    pub fn chosen(&mut self, mut group: Group, options: &Options) -> Option<Group> {
        if !options.includes(group.name) {
            group.cases.retain(|case| options.includes_row(case.name) || options.includes_row(case.reference_name));
            group.mean_goal = None;
        }
        let lacks_peer = group.name == cases::PEER && self.peer.is_none();
        group.cases.retain(|case| !lacks_peer && case.needs.is_none_or(|words| self.host.driver.call(words).is_ok()));
        (!group.cases.is_empty()).then_some(group)
    }

    /// Measures a table of comparisons.
    pub fn section(&mut self, group: &Group, options: &Options) -> Result<results::Section, String> {
        let rounds = options.rounds.min(group.most_rounds);
        let start = self.host.server.spent()?;
        // One section after the other: what the last one leaves in the server must not slow down the earlier ones.
        let (figures, guard) = self.rounds(group.title, rounds, |bench, round| {
            group.cases.iter().map(|case| bench.both(case, round)).collect::<Result<Vec<_>, _>>()
        })?;
        let end = self.host.server.spent()?;
        let samples: Vec<Samples> = (0..group.cases.len()).map(|row| figures.iter().map(|round| round[row]).collect()).collect();
        Ok(report::section(group, &samples, report::conditions(rounds, (start, end), &guard)))
    }

    /// Runs the rounds of a section. After each one the guard is measured, and the round is repeated if it was too noisy.
    pub fn rounds<T>(
        &mut self,
        title: &str,
        rounds: usize,
        mut round: impl FnMut(&mut Self, usize) -> Result<T, String>,
    ) -> Result<(Vec<T>, Guard), String> {
        let (mut figures, mut guard) = (Vec::new(), Guard::default());
        while figures.len() < rounds {
            eprintln!("{title}: round {} of {rounds}", figures.len() + 1);
            let measured = round(self, figures.len())?;
            if guard.accepts(self.guard()?, rounds) {
                figures.push(measured);
            }
        }
        Ok((figures, guard))
    }

    /// Runs a section that counts its rounds itself. SET is measured against SET before and after it, and the section is repeated once
    /// if it was too noisy.
    pub fn guarded<T>(
        &mut self,
        rounds: usize,
        mut section: impl FnMut(&mut Host, usize) -> Result<T, String>,
    ) -> Result<Measured<T>, String> {
        let mut guard = Guard::default();
        loop {
            let start = self.host.server.spent()?;
            let mut pairs = Samples::default();
            pairs.extend((0..BRACKET).map(|_| self.guard()).collect::<Result<Vec<_>, _>>()?);
            let figures = section(&mut self.host, rounds)?;
            pairs.extend((0..BRACKET).map(|_| self.guard()).collect::<Result<Vec<_>, _>>()?);
            let end = self.host.server.spent()?;
            if guard.accepts((median(&pairs.subject), median(&pairs.reference)), 1) {
                return Ok(Measured { conditions: report::conditions(rounds, (start, end), &guard), figures });
            }
        }
    }

    /// SET and SET, on whatever the server holds.
    fn guard(&mut self) -> Result<(f64, f64), String> {
        self.switch_drop_in_mode(false)?;
        Ok((self.measured(&SET)?, self.measured(&SET)?))
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

    /// Nanoseconds per operation, on an empty server.
    fn one(&mut self, workload: &Workload) -> Result<f64, String> {
        self.host(workload)?.driver.call(&["FLUSHALL", "SYNC"])?;
        self.switch_drop_in_mode(workload.is_in_drop_in_mode())?;
        if workload.new_scripts().is_none() {
            return self.measured(workload);
        }
        self.forget_scripts()?;
        let measured = self.measured(workload)?;
        self.forget_scripts()?;
        self.load_scripts()?;
        Ok(measured)
    }

    pub fn switch_drop_in_mode(&mut self, on: bool) -> Result<(), String> {
        self.host.driver.call(&["CONFIG", "SET", "atomic.intercept", if on { "yes" } else { "no" }]).map(drop)
    }

    pub fn forget_scripts(&mut self) -> Result<(), String> {
        self.host.driver.call(&["SCRIPT", "FLUSH", "SYNC"])?;
        self.host.driver.call(&["ATOMIC.SCRIPT", "FLUSH"]).map(drop)
    }

    /// Runs the preparation of a workload.
    pub fn prepare(&mut self, workload: &Workload) -> Result<(), String> {
        let shas = self.shas.clone();
        self.run(workload, |keys| workload.preparation(keys, &shas))
    }

    /// Nanoseconds per operation.
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a run are far below 2^52")]
    pub fn measured(&mut self, workload: &Workload) -> Result<f64, String> {
        self.prepare(workload)?;
        let shas = self.shas.clone();
        let cycle = workload.cycle();
        let wanted = workload.new_scripts().unwrap_or(self.requests);
        let passes = wanted.div_ceil(workload.keys()).next_multiple_of(cycle);
        let nanos = if workload.refills() {
            // The first cycle is the warm-up.
            let mut nanos = 0;
            for pass in 0..cycle + passes {
                self.run(workload, |keys| workload.refilling(keys, &shas))?;
                let spent = self.timed(workload, pass..pass + 1)?;
                nanos += if pass < cycle { 0 } else { spent };
            }
            nanos
        } else {
            let warm_up = if workload.new_scripts().is_some() { 0 } else { WARM_UP.next_multiple_of(cycle) };
            self.timed(workload, 0..warm_up)?;
            self.timed(workload, warm_up..warm_up + passes)?
        };
        if nanos == 0 {
            return Err("the kernel does not account CPU time".to_owned());
        }
        Ok(nanos as f64 / (passes * workload.keys()) as f64)
    }

    /// The server's CPU time for these passes. The commands are encoded before the clock is read.
    fn timed(&mut self, workload: &Workload, passes: Range<usize>) -> Result<u64, String> {
        let streams = streams(workload, |keys| workload.operations(passes.clone(), keys, &self.shas))?;
        let start = self.host(workload)?.server.spent()?;
        self.driver(workload)?.run(&streams)?;
        Ok(self.host(workload)?.server.spent()?.running - start.running)
    }

    fn run(&mut self, workload: &Workload, encode: impl FnMut(Range<usize>) -> Result<Stream, String>) -> Result<(), String> {
        self.driver(workload)?.run(&streams(workload, encode)?)
    }

    /// The server that serves this workload.
    fn host(&mut self, workload: &Workload) -> Result<&mut Host, String> {
        match workload.target() {
            Target::Module | Target::RestrictedUser => Ok(&mut self.host),
            Target::Peer => self.peer.as_mut().ok_or_else(|| "ATOMIC_PEER names no module".to_owned()),
        }
    }

    /// The connections that send this workload.
    fn driver(&mut self, workload: &Workload) -> Result<&mut Driver, String> {
        match workload.target() {
            Target::RestrictedUser => Ok(&mut self.restricted),
            Target::Module | Target::Peer => Ok(&mut self.host(workload)?.driver),
        }
    }
}

/// One stream per connection, each with its own keys.
fn streams(workload: &Workload, encode: impl FnMut(Range<usize>) -> Result<Stream, String>) -> Result<Vec<Stream>, String> {
    let share = workload.keys() / CONNECTIONS;
    (0..CONNECTIONS).map(|number| number * share..(number + 1) * share).map(encode).collect()
}
