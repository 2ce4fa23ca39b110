//! The command line.

use std::env;
use std::path::{Path, PathBuf};

use super::cases;
use super::{due, growth, handover, work};

pub struct Options {
    pub servers: Vec<PathBuf>,
    pub module: PathBuf,
    /// How many times each side of each row is measured.
    pub rounds: usize,
    /// The least number of operations per side and round.
    pub requests: usize,
    /// The module of redis-cell, if `ATOMIC_PEER` names it.
    pub peer: Option<PathBuf>,
    /// What is measured.
    pub only: Only,
    /// Whether the sections that are measured replace those in the written results.
    pub update: bool,
    /// Whether a missed goal is a failure.
    pub strict: bool,
}

/// What a run measures.
pub enum Only {
    Everything,
    /// The section with this name.
    Section(&'static str),
    /// The rows whose names contain this.
    Rows(String),
}

/// The names of all sections, in the order of a run.
pub fn sections() -> Vec<&'static str> {
    let groups = cases::groups().into_iter().map(|group| group.name);
    groups.chain([due::NAME, work::NAME, handover::NAME, growth::NAME]).collect()
}

impl Only {
    fn named(name: String) -> Self {
        match sections().into_iter().find(|section| *section == name) {
            Some(section) => Self::Section(section),
            None => Self::Rows(name),
        }
    }
}

impl Options {
    pub fn from_env() -> Result<Self, String> {
        let mut options = Self {
            servers: Vec::new(),
            module: module()?,
            rounds: 9,
            requests: 16_000,
            peer: env::var_os("ATOMIC_PEER").map(PathBuf::from).map(|path| found(&path)).transpose()?,
            only: Only::Everything,
            update: false,
            strict: false,
        };
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--server" => options.servers.push(PathBuf::from(value()?)),
                "--rounds" => options.rounds = number(&word, &value()?)?,
                "--requests" => options.requests = number(&word, &value()?)?,
                "--only" => options.only = Only::named(value()?),
                "--update" => options.update = true,
                "--strict" => options.strict = true,
                // Cargo passes this to every benchmark.
                "--bench" => {}
                _ => return Err(format!("unknown option {word}")),
            }
        }
        if options.servers.is_empty() {
            options.servers.push(PathBuf::from("redis-server"));
        }
        if options.update && matches!(options.only, Only::Rows(_)) {
            return Err(format!("--update needs whole sections: {}", sections().join(", ")));
        }
        Ok(options)
    }

    /// Whether all of this section is measured.
    pub fn includes(&self, section: &str) -> bool {
        match &self.only {
            Only::Everything => true,
            Only::Section(only) => *only == section,
            Only::Rows(_) => false,
        }
    }

    /// Whether a row with this name is measured, even if its section is not.
    pub fn includes_row(&self, name: &str) -> bool {
        matches!(&self.only, Only::Rows(part) if name.contains(part.as_str()))
    }

    /// Whether the results are written.
    pub fn publishes(&self) -> bool {
        self.update || matches!(self.only, Only::Everything)
    }
}

fn number(option: &str, text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| format!("{option} needs a positive number, not {text:?}"))
}

/// The module: `ATOMIC_MODULE`, or the one that cargo built with this program and put next to it, not the one in `target/release`.
/// Without the feature `server-alloc` it would use the system allocator, unlike the shipped module, so that is refused.
pub fn module() -> Result<PathBuf, String> {
    let built = || env::current_exe().map(|program| program.with_file_name("libredis_atomic.so"));
    let path = match env::var_os("ATOMIC_MODULE") {
        Some(path) => PathBuf::from(path),
        None if cfg!(feature = "server-alloc") => built().map_err(|error| error.to_string())?,
        None => return Err("set ATOMIC_MODULE, or run without --no-default-features".to_owned()),
    };
    found(&path)
}

fn found(module: &Path) -> Result<PathBuf, String> {
    module.canonicalize().map_err(|error| format!("the module {}: {error}", module.display()))
}
