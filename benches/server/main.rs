//! The server CPU that a command takes, compared with the command or the script that it replaces.
//!
//! ```text
//! cargo bench --bench server -- [--server PATH]... [--rounds N] [--requests N] [--only NAME] [--update] [--strict]
//! ```
//!
//! The two sides of a comparison run in turn, so that a disturbance of the machine affects both; the medians over the rounds are
//! compared. In each round SET is measured against SET, too, and a round in which they differ is repeated (`guard.rs`).
//!
//! `--only` measures one section: commands, peer, replaced, engine, calls, computing, drop-in, drop-in-calls, restricted, functions,
//! compilation, due, work, handover, growth. Any other NAME selects the rows whose names contain it. A full run writes
//! `docs/benchmarks.json`, and from it the page `docs/benchmarks.md` and the chart `docs/benchmarks.svg`, after every section. With
//! `--update` the sections that are measured replace those in the written results, which keep the others.
//!
//! A run fails if a measurement is broken (a reply differs from the documented one), and with `--strict` also if a goal is missed.
//! `ATOMIC_MODULE` names the module; the default is the one that cargo has just built. `ATOMIC_PEER` names the module of redis-cell;
//! without it, the rows that compare with it are left out.
//!
//! `cargo bench --bench server -- count` counts instructions instead: `count/mod.rs`.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod calls;
pub mod cases;
pub mod chart;
mod commands;
mod contest;
pub mod count;
mod driver;
pub mod due;
pub mod growth;
pub mod guard;
pub mod handover;
mod hosts;
pub mod options;
pub mod page;
mod process;
mod report;
pub mod results;
mod run;
pub mod scripts;
pub mod work;
pub mod workload;

use std::path::Path;
use std::process::ExitCode;

use options::Options;
use results::{Method, Results};

const JSON: &str = "docs/benchmarks.json";

fn main() -> ExitCode {
    let counts = std::env::args().any(|word| word == count::WORD);
    let done = if counts { count::main() } else { Options::from_env().and_then(|options| measure(&options)) };
    match done {
        Ok(code) => code,
        Err(message) => {
            eprintln!("broken measurement: {message}");
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options) -> Result<ExitCode, String> {
    process::pin_client()?;
    if options.includes(handover::NAME) || options.includes(growth::NAME) {
        handover::allow_files()?;
    }
    let method = Method {
        connections: driver::CONNECTIONS,
        pipeline: workload::PIPELINE,
        keys: workload::KEYS,
        refilled_keys: workload::REFILLED_KEYS,
        requests: options.requests,
    };
    let nothing = Results { method, servers: Vec::new() };
    let mut published = if options.update { Results::read(&read(JSON)?)? } else { nothing.clone() };
    let mut measured = nothing;
    for program in &options.servers {
        run::on_server(program, options, &mut |server| {
            println!("{}", page::server(&server));
            measured.merge(&server);
            published.merge(&server);
            if options.publishes() { publish(&published) } else { Ok(()) }
        })?;
    }
    let missed = measured.missed();
    println!("goals missed: {missed}");
    Ok(ExitCode::from(u8::from(options.strict && missed > 0)))
}

/// Writes the figures, the page and the chart.
fn publish(results: &Results) -> Result<(), String> {
    write(JSON, &results.json()?)?;
    write("docs/benchmarks.md", &page::page(results))?;
    write("docs/benchmarks.svg", &chart::chart(results))
}

fn read(path: &str) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &str, text: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}
