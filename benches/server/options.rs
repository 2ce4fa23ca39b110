//! The command line.

use std::env;
use std::path::PathBuf;

use super::due;

pub struct Options {
    pub servers: Vec<PathBuf>,
    pub module: PathBuf,
    /// How many times each side of each row is measured.
    pub rounds: usize,
    /// The least number of operations per side and round.
    pub requests: usize,
    /// Measures only rows whose names contain this.
    pub only: Option<String>,
    /// Whether the section "Work that comes due" replaces the one in the written results.
    pub update: bool,
    /// Whether a missed goal is a failure.
    pub strict: bool,
}

impl Options {
    pub fn from_env() -> Result<Self, String> {
        let mut options = Self {
            servers: Vec::new(),
            module: module()?,
            rounds: 15,
            requests: 16_000,
            only: None,
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
                "--only" => options.only = Some(value()?),
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
        if options.update && options.only.as_deref() != Some(due::NAME) {
            return Err(format!("--update needs --only {}", due::NAME));
        }
        Ok(options)
    }

    /// Whether the section that `--only` selects by this name is measured.
    pub fn includes(&self, section: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == section)
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
    path.canonicalize().map_err(|error| format!("the module {}: {error}", path.display()))
}
