//! The counted server.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::driver::Driver;
use super::super::process::free_port;
use super::results::Count;
use super::tools::Tools;

/// How soon the server must answer. Valgrind slows it down 50 times.
const START: Duration = Duration::from_secs(120);

/// First-level caches of 32 KiB and a second-level cache of 1 MiB, whatever this machine has.
const CACHEGRIND: [&str; 9] = [
    "--tool=cachegrind",
    "--cache-sim=yes",
    "--branch-sim=yes",
    "--I1=32768,8,64",
    "--D1=32768,8,64",
    "--LL=1048576,16,64",
    // Some servers are started by a script.
    "--trace-children=yes",
    "--log-file=valgrind.log",
    "--cachegrind-out-file=counts.%p",
];

/// Keeps the server from doing work of its own.
const QUIET: [&str; 24] = [
    "--bind",
    "127.0.0.1",
    "--daemonize",
    "no",
    "--logfile",
    "server.log",
    "--save",
    "",
    "--appendonly",
    "no",
    "--hz",
    "1",
    "--dynamic-hz",
    "no",
    "--activedefrag",
    "no",
    "--latency-monitor-threshold",
    "0",
    "--slowlog-log-slower-than",
    "-1",
    "--enable-debug-command",
    "yes",
    "--dir",
    ".",
];

/// A running server and a connection to it. Dropping it kills the process and removes its directory.
pub struct Server {
    child: Child,
    dir: PathBuf,
    pub driver: Driver,
    /// What a snapshot itself costs.
    snapshot: Count,
}

impl Server {
    pub fn start(program: &Path, tools: &Tools) -> Result<Self, String> {
        let port = free_port()?;
        // The name has always the same length, and the server sees only names in this directory and no environment of ours: the
        // addresses of the stack depend on all these.
        let dir = std::env::temp_dir().join(format!("atomic-count-{port:05}"));
        let child = spawn(program, tools, &dir, port).map_err(|error| format!("{}: {error}", program.display()))?;
        let mut child = Guard(Some(child), dir.clone());
        let driver = await_answer(&mut child, port)?;
        let mut server = Self { child: child.release()?, dir, driver, snapshot: Count::default() };
        // By default the timer shrinks and grows the buffer for replies, so the count would depend on the time.
        server.driver.call(&["DEBUG", "REPLYBUFFER", "RESIZING", "0"])?;
        server.driver.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"])?;
        server.snapshot = server.cost_of_a_snapshot()?;
        Ok(server)
    }

    /// Everything that the server has executed so far.
    pub fn counts(&mut self) -> Result<Count, String> {
        let reply = self.driver.call(&["FLOOR.SNAPSHOT"])?;
        let child = String::from_utf8_lossy(&reply).trim_start_matches(':').trim_end().to_owned();
        let path = self.dir.join(format!("counts.{child}"));
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Count::of_cachegrind(&text)
    }

    /// What the server executed between two snapshots.
    pub fn between(&self, before: &Count, after: &Count) -> Count {
        after.minus(before).minus(&self.snapshot)
    }

    fn cost_of_a_snapshot(&mut self) -> Result<Count, String> {
        let (mut least, mut before) = (None::<Count>, self.counts()?);
        for _ in 0..8 {
            let after = self.counts()?;
            let cost = after.minus(&before);
            if least.as_ref().is_none_or(|least| cost.estimate() < least.estimate()) {
                least = Some(cost);
            }
            before = after;
        }
        least.ok_or_else(|| "no snapshot was counted".to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child, &self.dir);
    }
}

fn end(child: &mut Child, dir: &Path) {
    let _ = child.kill();
    let _ = child.wait();
    let _ = fs::remove_dir_all(dir);
}

/// A server that does not answer yet.
struct Guard(Option<Child>, PathBuf);

impl Guard {
    fn release(mut self) -> Result<Child, String> {
        self.0.take().ok_or_else(|| "the server has ended".to_owned())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child, &self.1);
        }
    }
}

fn spawn(program: &Path, tools: &Tools, dir: &Path, port: u16) -> std::io::Result<Child> {
    fs::create_dir_all(dir)?;
    symlink(&tools.module, dir.join("atomic.so"))?;
    symlink(&tools.floor, dir.join("floor.so"))?;
    symlink(&tools.seeds, dir.join("seeds.so"))?;
    let program = if program.components().count() > 1 { std::path::absolute(program)? } else { program.to_owned() };
    Command::new("valgrind")
        .args(CACHEGRIND)
        .arg(program)
        .args(QUIET)
        .args(["--port", &format!("{port:05}"), "--loadmodule", "./atomic.so", "--loadmodule", "./floor.so"])
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LD_PRELOAD", "./seeds.so")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Connects once; a connection that was refused leaves nothing behind.
fn await_answer(child: &mut Guard, port: u16) -> Result<Driver, String> {
    let start = Instant::now();
    loop {
        if let Ok(driver) = Driver::alone(port) {
            return Ok(driver);
        }
        let Guard(Some(process), dir) = child else { return Err("the server has ended".to_owned()) };
        let exited = process.try_wait().map_err(|error| error.to_string())?.is_some();
        if exited || start.elapsed() > START {
            let log = |name| fs::read_to_string(dir.join(name)).unwrap_or_default();
            return Err(format!("the server does not start:\n{}{}", log("valgrind.log"), log("server.log")));
        }
        sleep(Duration::from_millis(50));
    }
}
