//! The server CPU that a command takes, compared with the command or the script that it replaces.
//!
//! ```text
//! cargo bench --bench server -- [--server PATH]... [--rounds N] [--requests N] [--only NAME [--update]] [--strict]
//! ```
//!
//! The two sides of a comparison run in turn, so that a disturbance of the machine affects both; the medians over the rounds are
//! compared. `--only` measures the rows whose names contain NAME; `handover` selects the section "Waiting for a lock", `due` the section
//! "Work that comes due". A full run writes `docs/benchmarks.json`, and from it `docs/benchmarks.md`, with a section per server.
//! `--only due --update` replaces only that section there. A run fails if a measurement is broken (a reply differs from the documented
//! one), and with `--strict` also if a goal is missed. `ATOMIC_MODULE` names the module; the default is the one that cargo has just built.
//!
//! `cargo bench --bench server -- count` counts instructions instead: `count/mod.rs`.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod cases;
mod commands;
mod contest;
pub mod count;
mod driver;
pub mod due;
pub mod handover;
mod options;
pub mod page;
mod process;
mod report;
pub mod results;
mod run;
mod scripts;
mod workload;

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
    if options.includes(handover::NAME) {
        handover::allow_files()?;
    }
    let method = Method {
        connections: driver::CONNECTIONS,
        pipeline: workload::PIPELINE,
        keys: workload::KEYS,
        refilled_keys: workload::REFILLED_KEYS,
        rounds: options.rounds,
        requests: options.requests,
    };
    let mut results = Results { machine: report::machine(), method, servers: Vec::new() };
    for program in &options.servers {
        let server = run::on_server(program, options)?;
        println!("{}", page::server(&server));
        results.servers.push(server);
    }
    if options.only.is_none() {
        publish(&results)?;
    } else if options.update {
        let mut published = Results::read(&read(JSON)?)?;
        results.servers.iter().try_for_each(|server| published.replace_due(server))?;
        publish(&published)?;
    }
    let missed = results.missed();
    println!("goals missed: {missed}");
    Ok(ExitCode::from(u8::from(options.strict && missed > 0)))
}

fn publish(results: &Results) -> Result<(), String> {
    write(JSON, &results.json()?)?;
    write("docs/benchmarks.md", &page::page(results))
}

fn read(path: &str) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &str, text: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}
