//! The server CPU that a command takes, compared with the command or the script that it replaces.
//!
//! ```text
//! cargo bench --bench server -- [--server PATH]... [--rounds N] [--requests N] [--only NAME] [--strict]
//! ```
//!
//! The two sides of a comparison run in turn, so that a disturbance of the machine affects both; the medians over the rounds are
//! compared. `--only` measures the rows whose names contain NAME; `handover` selects the section "Waiting for a lock". A full run
//! writes `docs/benchmarks.md`, with a section per server. It fails when a measurement is broken (a reply is not the documented
//! one), and with `--strict` also when a goal is missed. `ATOMIC_MODULE` names the module; the default is the one that cargo has just
//! built.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cases;
mod commands;
mod contest;
mod driver;
mod handover;
mod options;
mod process;
mod report;
mod run;
mod scripts;
mod workload;

use std::path::Path;
use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    match Options::from_env().and_then(|options| measure(&options)) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("broken measurement: {message}");
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options) -> Result<ExitCode, String> {
    process::pin_client()?;
    if handover::wanted(options.only.as_deref()) {
        handover::allow_files()?;
    }
    let mut document = introduction(options);
    let mut missed = 0;
    for server in &options.servers {
        let report = run::on_server(server, options)?;
        println!("{}", report.text);
        document.push_str(&report.text);
        missed += report.missed;
    }
    if options.only.is_none() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
        let written = std::fs::create_dir_all(path.with_file_name("")).and_then(|()| std::fs::write(&path, document));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    println!("goals missed: {missed}");
    Ok(ExitCode::from(u8::from(options.strict && missed > 0)))
}

fn introduction(options: &Options) -> String {
    format!(
        "# Benchmarks\n\n\
         Written by `make bench`. Do not edit.\n\n\
         Each figure is the CPU time of the server's main thread per operation, system calls included, as the kernel accounts\n\
         for it. The server has a core to itself and no persistence. The client runs on another core and checks every reply.\n\
         It uses {} connections, pipelines of {} commands, and {} keys in turn. Where an operation consumes its key and only\n\
         that operation is measured, there are {} keys. The two sides of a row run directly after each other, in {} rounds of\n\
         at least {} operations. `ns` is the median, `ratio` the ratio of the two medians, and \"of any round\" the range of the\n\
         ratios of single rounds. A `+` joins the commands of one operation.\n\n\
         Machine: {}.\n",
        driver::CONNECTIONS,
        workload::PIPELINE,
        workload::KEYS,
        workload::REFILLED_KEYS,
        options.rounds,
        options.requests,
        report::machine(),
    )
}
