//! The command line.

use std::env;
use std::path::PathBuf;

/// What the command line asks for.
pub struct Options {
    /// The servers to measure on, one after the other.
    pub servers: Vec<PathBuf>,
    /// The module they load.
    pub module: PathBuf,
    /// How often each side of each row is measured.
    pub rounds: usize,
    /// Operations per side and round, at least.
    pub requests: usize,
    /// Only rows whose names contain this.
    pub only: Option<String>,
    /// Whether a missed goal is a failure.
    pub strict: bool,
}

impl Options {
    /// Reads the command line and the environment.
    pub fn from_env() -> Result<Self, String> {
        let mut options =
            Self { servers: Vec::new(), module: module()?, rounds: 15, requests: 16_000, only: None, strict: false };
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--server" => options.servers.push(PathBuf::from(value()?)),
                "--rounds" => options.rounds = number(&word, &value()?)?,
                "--requests" => options.requests = number(&word, &value()?)?,
                "--only" => options.only = Some(value()?),
                "--strict" => options.strict = true,
                // Cargo says this to every benchmark.
                "--bench" => {}
                _ => return Err(format!("unknown option {word}")),
            }
        }
        if options.servers.is_empty() {
            options.servers.push(PathBuf::from("redis-server"));
        }
        Ok(options)
    }
}

fn number(option: &str, text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| format!("{option} needs a positive number, not {text:?}"))
}

/// The module: `ATOMIC_MODULE`, or the one that cargo built along with this program and put next to it; `target/release` itself is
/// left as it was. Without the feature `server-alloc` that one allocates through the system, so it is not the one that is shipped.
fn module() -> Result<PathBuf, String> {
    let built = || env::current_exe().map(|program| program.with_file_name("libredis_atomic.so"));
    let path = match env::var_os("ATOMIC_MODULE") {
        Some(path) => PathBuf::from(path),
        None if cfg!(feature = "server-alloc") => built().map_err(|error| error.to_string())?,
        None => return Err("set ATOMIC_MODULE, or run without --no-default-features".to_owned()),
    };
    path.canonicalize().map_err(|error| format!("the module {}: {error}", path.display()))
}
