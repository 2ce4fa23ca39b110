//! Instructions, cache misses and mispredictions per command, which cachegrind counts: `make count`.
//!
//! ```text
//! cargo bench --bench server -- count [--server PATH]... [--only NAME] [--write]
//! ```
//!
//! A run counts every row on every server, prints the page and compares the module's figures with the committed ones. It fails and names
//! each row that costs more than 3 % more, or that has no committed figure. `--write` writes `docs/count.json` and `docs/count.md`
//! instead. `--only` counts the rows whose names contain NAME.
//!
//! The server runs under `valgrind --tool=cachegrind` with the module and a floor module (`benches/floor`), one server for all rows.
//! `FLOOR.SNAPSHOT` forks, and cachegrind writes the counts so far when the child ends; the difference of two snapshots is what the
//! commands between them cost. One connection sends 64 commands at a time, all for one key.

mod measure;
pub mod page;
pub mod results;
pub mod rows;
pub mod scripts;
mod server;
mod tools;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use results::Results;

/// The word that selects this mode.
pub const WORD: &str = "count";

const JSON: &str = "docs/count.json";
const PAGE: &str = "docs/count.md";

/// The servers of the committed figures, from the root of the checkout.
const SERVERS: [&str; 3] = ["redis-server", "servers/redis-8.6/bin/server", "servers/valkey-9/bin/server"];

struct Options {
    servers: Vec<PathBuf>,
    only: Option<String>,
    write: bool,
}

impl Options {
    fn from_env() -> Result<Self, String> {
        let mut options = Self { servers: Vec::new(), only: None, write: false };
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--server" => options.servers.push(PathBuf::from(value()?)),
                "--only" => options.only = Some(value()?),
                "--write" => options.write = true,
                // Cargo passes --bench to every benchmark.
                WORD | "--bench" => {}
                _ => return Err(format!("unknown option {word}")),
            }
        }
        if options.write && (options.only.is_some() || !options.servers.is_empty()) {
            return Err("--write needs all rows on all servers: leave out --only and --server".to_owned());
        }
        if options.servers.is_empty() {
            options.servers = SERVERS.map(PathBuf::from).to_vec();
        }
        Ok(options)
    }
}

pub fn main() -> Result<ExitCode, String> {
    let options = Options::from_env()?;
    let tools = tools::Tools::build()?;
    let mut results = Results { valgrind: tools.valgrind.clone(), servers: Vec::new() };
    for program in &options.servers {
        let counted = measure::on_server(program, &tools, options.only.as_deref())?;
        println!("{}", page::server(&counted));
        results.servers.push(counted);
    }
    if options.write {
        super::write(JSON, &results.json()?)?;
        super::write(PAGE, &page::page(&results))?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = root().join(JSON);
    let json = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let worse = results.worse_than(&Results::read(&json)?);
    worse.iter().for_each(|row| println!("{row}"));
    println!("rows that cost more than before: {}", worse.len());
    Ok(ExitCode::from(u8::from(!worse.is_empty())))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
