//! How much of the server's CPU a command takes, compared with the command or the script that it stands for.
//!
//! ```text
//! cargo bench --bench server -- [--server PATH]... [--rounds N] [--requests N] [--only NAME] [--strict]
//! ```
//!
//! Each side of each comparison runs in turn, so that what disturbs the machine disturbs both; medians over the rounds are
//! compared. `--only` measures the rows whose names contain NAME, and the section "Waiting for a lock" for `handover`. A full run
//! writes `docs/benchmarks.md`, with a section per server. It fails when a measurement is broken (a reply is not the documented
//! one), and with `--strict` also when a goal is missed. `ATOMIC_MODULE` names the module; otherwise it is the one that cargo has
//! just built.

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
         Written by `make bench`; do not edit.\n\n\
         What counts is the CPU time of the server's main thread per operation, system calls included, as the kernel\n\
         accounts it. The server runs on a core of its own, without persistence. The client drives it from another core over\n\
         {} connections with pipelines of {} commands, on {} keys in turn ({} where an operation uses its key up and only\n\
         that operation is measured), and checks every reply. Both sides of a row run directly after each other, in {} rounds\n\
         of at least {} operations; `ns` and `ratio` are medians and their ratio, and \"of any round\" shows how far the ratios\n\
         of single rounds lie apart. A `+` joins commands that are one operation.\n\n\
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
