//! What a command costs while the server holds more and more keys, scripts or waiting clients.

use std::fs;

use super::commands::*;
use super::driver::Driver;
use super::guard::Guard;
use super::handover::while_waiting;
use super::hosts::Bench;
use super::report::{conditions, median};
use super::results::{Goal, Growth, GrowthRow, GrowthTable, Measured, rounded};
use super::scripts::SCRIPTS;
use super::workload::{Workload, numbered_script};

/// The name of this section for `--only`.
pub const NAME: &str = "growth";

/// The most rounds; the command line may ask for fewer.
pub const ROUNDS: usize = 5;

/// A command may cost this many times as much at the largest size as at the smallest. Beyond the noise, it allows for caches that get
/// colder.
pub const GOAL: f64 = 1.25;

/// Memory that a key may need, with room to spare.
const BYTES_PER_KEY: usize = 250;

/// The rows' own keys, which must not keep the type that the row before gave them.
const CLEAR: Workload = Workload::new(&[]).before(&["DEL {k} {k}:2"]);

#[derive(Clone, Copy)]
enum Of {
    Keys,
    Scripts,
    Waiters,
}

pub struct Table {
    of: Of,
    pub title: &'static str,
    pub about: &'static str,
    pub sizes: [usize; 3],
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    /// What is measured at each size.
    workloads: [Workload; 3],
    /// Whether it is the module's cost.
    ours: bool,
}

const fn ours(name: &'static str, workload: Workload) -> Row {
    Row { name, workloads: [workload; 3], ours: true }
}

const fn theirs(name: &'static str, workload: Workload) -> Row {
    Row { name, workloads: [workload; 3], ours: false }
}

const EACH_IN_TURN: [Workload; 3] = [
    Workload::new(&[&["EVALSHA {of:10} 1 {k} -> :..."]]),
    Workload::new(&[&["EVALSHA {of:1000} 1 {k} -> :..."]]),
    Workload::new(&[&["EVALSHA {of:10000} 1 {k} -> :..."]]),
];
const ONE_OF_THEM: Workload = Workload::new(&[&["EVALSHA {of:1} 1 {k} -> :0"]]);

pub fn tables() -> [Table; 3] {
    let cas = SCRIPTS
        .iter()
        .find(|(name, _)| *name == "cas")
        .map(|&(_, workload)| ours("ATOMIC.EVALSHA, cas", workload.on_our_engine()));
    [
        Table {
            of: Of::Keys,
            title: "keys",
            about: "Keys in the database, of 16 bytes each, besides those that the commands use.",
            sizes: [1000, 100_000, 10_000_000],
            rows: [theirs("SET", SET), theirs("GET", GET), ours("CAS", CAS), ours("INCRBY", COUNT)]
                .into_iter()
                .chain([ours("RATELIMIT BUCKET, allow", BUCKET_ALLOW), ours("LOCK + UNLOCK", LOCK_UNLOCK)])
                .chain(cas)
                .collect(),
        },
        Table {
            of: Of::Scripts,
            title: "scripts",
            about: "Scripts that are loaded, on both engines.",
            sizes: [10, 1000, 10_000],
            rows: vec![
                ours("ATOMIC.EVALSHA of one script", ONE_OF_THEM.on_our_engine()),
                Row { name: "ATOMIC.EVALSHA of each in turn", workloads: EACH_IN_TURN.map(Workload::on_our_engine), ours: true },
                theirs("EVALSHA of one script", ONE_OF_THEM),
                Row { name: "EVALSHA of each in turn", workloads: EACH_IN_TURN, ours: false },
            ],
        },
        Table {
            of: Of::Waiters,
            title: "waiters",
            about: "Clients that wait for a lock, while another client sends commands for other keys. The cost of a hand-off among as many waiters\nis under \"Waiting for a lock\".",
            sizes: [10, 1000, 10_000],
            rows: vec![ours("SET", SET), ours("CAS", CAS), ours("LOCK + UNLOCK", LOCK_UNLOCK)],
        },
    ]
}

pub fn section(bench: &mut Bench, rounds: usize) -> Result<Measured<Growth>, String> {
    let start = bench.host.server.spent()?;
    let (mut results, mut guard) = (Vec::new(), Guard::default());
    for table in tables() {
        let sizes: Vec<usize> = table.sizes.into_iter().filter(|&size| has_room(&table, size)).collect();
        let mut ns = vec![Vec::new(); table.rows.len()];
        for (at, &size) in sizes.iter().enumerate() {
            let (medians, seen) = at_size(bench, &table, (at, size), rounds)?;
            guard.join(seen);
            ns.iter_mut().zip(medians).for_each(|(ns, median)| ns.push(median));
        }
        let rows = table.rows.iter().zip(ns).map(|(row, ns)| row.results(ns)).collect();
        results.push(GrowthTable { title: table.title.to_owned(), sizes, rows });
    }
    bench.host.driver.call(&["FLUSHALL", "SYNC"])?;
    bench.forget_scripts()?;
    bench.load_scripts()?;
    let end = bench.host.server.spent()?;
    Ok(Measured { conditions: conditions(rounds, (start, end), &guard), figures: Growth { tables: results } })
}

/// The median of each row.
fn at_size(bench: &mut Bench, table: &Table, (at, size): (usize, usize), rounds: usize) -> Result<(Vec<f64>, Guard), String> {
    bench.host.driver.call(&["FLUSHALL", "SYNC"])?;
    bench.switch_drop_in_mode(false)?;
    let port = bench.host.server.port;
    let measure = |bench: &mut Bench| {
        bench.rounds(&format!("{size} {}", table.title), rounds, |bench, _| {
            table.rows.iter().map(|row| bench.prepare(&CLEAR).and_then(|()| bench.measured(&row.workloads[at]))).collect()
        })
    };
    let (figures, guard): (Vec<Vec<f64>>, Guard) = match table.of {
        Of::Keys => {
            fill(&mut bench.host.driver, size)?;
            measure(bench)?
        }
        Of::Scripts => {
            bench.forget_scripts()?;
            load(&mut bench.host.driver, size)?;
            let measured = measure(bench)?;
            bench.load_scripts()?;
            measured
        }
        Of::Waiters => while_waiting(port, size, || measure(bench))?,
    };
    let medians = (0..table.rows.len()).map(|row| median(&figures.iter().map(|round| round[row]).collect::<Vec<_>>()));
    Ok((medians.collect(), guard))
}

/// Adds all keys by one command, which makes the table of keys as large as they need. Otherwise the server would go on moving keys to a
/// larger table in each measured command.
fn fill(driver: &mut Driver, keys: usize) -> Result<(), String> {
    driver.call(&["DEBUG", "POPULATE", &keys.to_string(), "filler", "16"]).map(drop)
}

fn load(driver: &mut Driver, scripts: usize) -> Result<(), String> {
    for number in 0..scripts {
        let source = numbered_script(number);
        driver.call(&["SCRIPT", "LOAD", &source])?;
        driver.call(&["ATOMIC.SCRIPT", "LOAD", &source])?;
    }
    Ok(())
}

/// Whether the machine has the memory for this size.
fn has_room(table: &Table, size: usize) -> bool {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse().ok());
    let wanted = if matches!(table.of, Of::Keys) { size * BYTES_PER_KEY } else { 0 };
    available.is_some_and(|kilobytes: usize| wanted / 1024 < kilobytes)
}

impl Row {
    fn results(&self, ns: Vec<f64>) -> GrowthRow {
        let growth = match &ns[..] {
            [first, .., last] => last / first,
            _ => 1.0,
        };
        GrowthRow {
            case: self.name.to_owned(),
            ns: ns.into_iter().map(|ns| rounded(ns, 1)).collect(),
            growth: rounded(growth, 3),
            goal: self.ours.then(|| Goal::new(GOAL, growth)),
        }
    }
}
