//! One run on a server, section by section.

use std::path::Path;

use super::cases;
use super::driver::Driver;
use super::due;
use super::growth;
use super::handover;
use super::hosts::{Bench, Host};
use super::options::Options;
use super::results;
use super::work;

/// Measures the chosen sections on one server, and passes on each one when it is done, as a server with that section only.
pub fn on_server(
    program: &Path,
    options: &Options,
    done: &mut dyn FnMut(results::Server) -> Result<(), String>,
) -> Result<(), String> {
    let mut bench = Bench::start(program, options)?;
    let (product, version, allocator) = about(&mut bench.host.driver)?;
    let nothing = results::Server { product, version, allocator, ..results::Server::default() };
    for group in cases::groups() {
        if let Some(group) = bench.chosen(group, options) {
            done(results::Server { sections: vec![bench.section(&group, options)?], ..nothing.clone() })?;
        }
    }
    if options.includes(due::NAME) {
        let pop = bench.sha("pop_due")?;
        let due = bench.guarded(options.rounds.min(due::ROUNDS), |host, rounds| due::section(host, &pop, rounds))?;
        done(results::Server { due: Some(due), ..nothing.clone() })?;
    }
    if options.includes(work::NAME) {
        let work = bench.guarded(options.rounds.min(work::ROUNDS), |_, rounds| work::section(program, options, rounds))?;
        done(results::Server { work: Some(work), ..nothing.clone() })?;
    }
    // The last sections connect thousands of clients.
    if options.includes(handover::NAME) {
        let release = bench.sha("release_lock")?;
        let section = |host: &mut Host, rounds| handover::section(host, &release, rounds);
        let waiting = bench.guarded(options.rounds.min(handover::ROUNDS), section)?;
        done(results::Server { waiting: Some(waiting), ..nothing.clone() })?;
    }
    if options.includes(growth::NAME) {
        let growth = growth::section(&mut bench, options.rounds.min(growth::ROUNDS))?;
        done(results::Server { growth: Some(growth), ..nothing })?;
    }
    Ok(())
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
