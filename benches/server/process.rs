//! The measured server: a separate process, pinned to its own core.
//!
//! The measure is the time that the server's main thread spent on a core, from the kernel's `schedstat`. It includes system calls and
//! excludes the time in which the thread waited for commands or for the core.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The core of the server; the client gets the first one.
const SERVER_CORE: &str = "1";
const CLIENT_CORE: &str = "0";

/// How soon a server must accept connections.
const START: Duration = Duration::from_secs(20);

/// Long enough for the server to go to sleep: the kernel updates its account then.
const SETTLE: Duration = Duration::from_millis(2);

/// A running server. Dropping it kills the process and removes its directory.
pub struct Server {
    child: Child,
    dir: PathBuf,
    pub port: u16,
}

/// CPU account of the server's main thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Nanoseconds on a core.
    pub running: u64,
    /// Nanoseconds in which it was ready to run while another process had the core.
    pub waiting: u64,
}

impl Server {
    /// Starts `program` with this project's module.
    pub fn start(program: &Path, module: &Path) -> Result<Self, String> {
        Self::with(program, Some(module), &["commands-dir", concat!(env!("CARGO_MANIFEST_DIR"), "/lua/commands")])
    }

    /// Starts `program` with a module, if any, and without persistence, and waits until it listens.
    pub fn with(program: &Path, module: Option<&Path>, arguments: &[&str]) -> Result<Self, String> {
        let port = free_port()?;
        let dir = std::env::temp_dir().join(format!("atomic-bench-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let child = Command::new("taskset")
            .args(["-c", SERVER_CORE])
            .arg(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--logfile", "server.log"])
            .args(["--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--dir"])
            .arg(&dir)
            .args(module.iter().flat_map(|module| [Path::new("--loadmodule"), module]))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("taskset {}: {error}", program.display()))?;
        let mut server = Self { child, dir, port };
        server.await_listening()?;
        Ok(server)
    }

    fn await_listening(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let exited = self.child.try_wait().map_err(|error| error.to_string())?.is_some();
            if exited || start.elapsed() > START {
                let log = fs::read_to_string(self.dir.join("server.log")).unwrap_or_default();
                return Err(format!("the server does not start:\n{log}"));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The account of its main thread so far. Waits until the server is idle, since the account of a running thread is not up to date.
    pub fn spent(&self) -> Result<Spent, String> {
        sleep(SETTLE);
        let pid = self.child.id();
        let path = format!("/proc/{pid}/task/{pid}/schedstat");
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let mut fields = text.split_ascii_whitespace().map(|field| field.parse().map_err(|_| format!("{path}: {text:?}")));
        let mut next = || fields.next().unwrap_or_else(|| Err(format!("{path} ends early")));
        Ok(Spent { running: next()?, waiting: next()? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Keeps this process off the server's core.
pub fn pin_client() -> Result<(), String> {
    let pid = std::process::id().to_string();
    let status = Command::new("taskset").args(["-p", "-c", CLIENT_CORE, &pid]).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("taskset does not pin the client: {other:?}")),
    }
}

pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}
