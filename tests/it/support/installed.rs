//! The servers to test on, and the path of the module under test.
//!
//! `ATOMIC_SERVERS` lists them as `path` or `name=path`, separated by spaces; unset, `redis-server` and `valkey-server` in PATH and
//! `servers/*/bin/server` are used. The name of a server is what it reports itself (`redis-7.0`, `valkey-8.1`), never its path.
//! `ATOMIC_REQUIRE` lists names that must be among them, so that a missing server is a failure: `valkey-9` stands
//! for any 9.x.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A server program.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Product and series, `redis-7.0`, or the name given in `ATOMIC_SERVERS`.
    pub name: String,
    /// The path of the program.
    pub path: PathBuf,
    /// True for Valkey, false for Redis.
    pub is_valkey: bool,
    /// Major and minor version.
    pub version: (u32, u32),
}

impl Binary {
    /// True for Redis from this version on. Never for Valkey.
    pub fn is_redis_from(&self, major: u32, minor: u32) -> bool {
        !self.is_valkey && self.version >= (major, minor)
    }

    /// True for Valkey from this version on. Never for Redis.
    pub fn is_valkey_from(&self, major: u32, minor: u32) -> bool {
        self.is_valkey && self.version >= (major, minor)
    }

    /// Whether `name` stands for it: `valkey-9` is any 9.x.
    pub fn is_of(&self, name: &str) -> bool {
        is_of(&self.series(), name)
    }

    /// Product and series as the server reports them, whatever its name.
    fn series(&self) -> String {
        format!("{}-{}.{}", if self.is_valkey { "valkey" } else { "redis" }, self.version.0, self.version.1)
    }

    /// The `redis-cli` or `valkey-cli` beside it, or the one in PATH.
    pub fn cli(&self) -> PathBuf {
        let beside = self.path.with_file_name("cli");
        if beside.exists() { beside } else { PathBuf::from(if self.is_valkey { "valkey-cli" } else { "redis-cli" }) }
    }
}

/// Runs `body` for every installed server, one after another. After all have run, fails with the names of those that failed.
pub fn each_installed(body: impl Fn(&Binary)) {
    let binaries = installed().as_ref().unwrap_or_else(|why| panic!("{why}"));
    let mut failed = Vec::new();
    let mut first = None;
    for binary in binaries {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(binary))) {
            eprintln!("^^^ on {} ({})\n", binary.name, binary.path.display());
            failed.push(binary.name.as_str());
            first.get_or_insert(panic);
        }
    }
    if let Some(panic) = first {
        eprintln!("FAILED ON {} of {} servers: {}", failed.len(), binaries.len(), failed.join(", "));
        resume_unwind(panic);
    }
}

/// The module under test: a fault-injection build that allocates through the server, built by `make test`.
pub fn module_path() -> PathBuf {
    let path = env::var_os("ATOMIC_MODULE").map_or_else(|| root().join("target/module/libredis_atomic.so"), PathBuf::from);
    path.canonicalize().unwrap_or_else(|error| panic!("no module at {}: {error}. Run `make test`.", path.display()))
}

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn installed() -> &'static Result<Vec<Binary>, String> {
    static INSTALLED: OnceLock<Result<Vec<Binary>, String>> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let mut binaries: Vec<Binary> = Vec::new();
        for (name, path) in candidates()? {
            let binary = identify(name, path)?;
            if binaries.iter().all(|known| known.name != binary.name) {
                binaries.push(binary);
            }
        }
        let found = || binaries.iter().map(Binary::series).collect::<Vec<_>>().join(" ");
        if binaries.is_empty() {
            return Err("found no server to test on: run `make test`, or set ATOMIC_SERVERS".to_owned());
        }
        for required in env::var("ATOMIC_REQUIRE").unwrap_or_default().split_whitespace() {
            if !binaries.iter().any(|binary| binary.is_of(required)) {
                return Err(format!("ATOMIC_REQUIRE asks for {required}, found only: {}", found()));
            }
        }
        Ok(binaries)
    })
}

fn is_of(series: &str, required: &str) -> bool {
    series.strip_prefix(required).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn candidates() -> Result<Vec<(Option<String>, PathBuf)>, String> {
    if let Some(list) = env::var("ATOMIC_SERVERS").ok().filter(|list| !list.trim().is_empty()) {
        let entry = |entry: &str| match entry.split_once('=') {
            Some((name, path)) => (Some(name.to_owned()), PathBuf::from(path)),
            None => (None, PathBuf::from(entry)),
        };
        return Ok(list.split_whitespace().map(entry).collect());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = |name: &str| env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file());
    let mut found: Vec<PathBuf> = ["redis-server", "valkey-server"].into_iter().filter_map(in_path).collect();
    if let Ok(entries) = root().join("servers").read_dir() {
        let mut beside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path().join("bin/server")).collect();
        beside.retain(|program| program.is_file());
        beside.sort();
        found.extend(beside);
    }
    Ok(found.into_iter().map(|program| (None, program)).collect())
}

/// Reads the program's version: `Redis server v=7.0.15 sha=...`.
fn identify(name: Option<String>, path: PathBuf) -> Result<Binary, String> {
    let output = Command::new(&path).arg("--version").output().map_err(|error| format!("{}: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let unknown = || format!("{} --version answers {text:?}", path.display());
    let mut numbers = text.split_once(" v=").ok_or_else(unknown)?.1.split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return Err(unknown()) };
    let is_valkey = text.to_ascii_lowercase().contains("valkey");
    let mut binary = Binary { name: String::new(), path, is_valkey, version: (major, minor) };
    binary.name = name.unwrap_or_else(|| binary.series());
    Ok(binary)
}

#[test]
fn a_required_name_stands_for_every_version_of_its_series() {
    assert!(is_of("valkey-9.1", "valkey-9") && is_of("redis-7.0", "redis-7.0"));
    assert!(!is_of("valkey-8.1", "valkey-8.0") && !is_of("redis-80.1", "redis-8") && !is_of("redis-8.0", "valkey-8.0"));
}
