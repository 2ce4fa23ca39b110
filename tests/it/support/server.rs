//! One real server in its own directory on a free port, killed and removed when it goes out of scope.
//!
//! The server's output is shown when the test fails. A server with a crash report fails its test,
//! even if every assertion held. `ATOMIC_PRELOAD` names libraries to load into each server: a sanitizer, whose reports count as
//! crashes.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::clock;
use super::installed::module_path;
use super::line::quoted;
use super::{Binary, Connection, DEADLINE, Value, eventually};

/// The setup of a server.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    module: Option<Vec<String>>,
    lines: Vec<String>,
    optional: Vec<String>,
    clock: bool,
}

impl Setup {
    /// A server with the module loaded, without persistence.
    pub fn with_module() -> Self {
        Self { module: Some(Vec::new()), ..Self::default() }
    }

    /// A server without the module.
    pub fn without_module() -> Self {
        Self::default()
    }

    /// Adds arguments to the module's load line.
    pub fn module_args(mut self, args: &[&str]) -> Self {
        self.module.get_or_insert_default().extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Adds a line to the configuration file, after the defaults: `config("maxmemory 10mb")`.
    pub fn config(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Adds a line that some servers do not know; these start without it.
    pub fn config_if_known(mut self, line: &str) -> Self {
        self.optional.push(line.to_owned());
        self
    }

    /// Shows `getfenv`, `setfenv` and `newproxy` to scripts, which most servers hide.
    pub fn deprecated_api(self) -> Self {
        self.config_if_known("lua-enable-deprecated-api yes")
    }

    /// Gives the server a wall clock that [`Server::set_clock`] sets.
    pub fn with_clock(mut self) -> Self {
        self.clock = true;
        self
    }

    /// Turns on the append-only file; `fsync` is `always`, `everysec` or `no`.
    pub fn appendonly(self, fsync: &str) -> Self {
        self.config("appendonly yes").config(&format!("appendfsync {fsync}"))
    }

    /// The whole configuration file. `DEBUG` and `MODULE` are allowed; a replica's full sync starts without delay.
    fn file(&self, port: u16, dir: &Path) -> String {
        let mut text = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\nsave \"\"\nappendonly no\ndaemonize no\nenable-debug-command yes\n\
             enable-module-command yes\nhz 100\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n",
            quoted(dir.to_string_lossy().as_bytes())
        );
        if let Some(args) = &self.module {
            text.push_str(&format!("loadmodule {}", quoted(module_path().to_string_lossy().as_bytes())));
            args.iter().for_each(|arg| text.push_str(&format!(" {}", quoted(arg.as_bytes()))));
            text.push('\n');
        }
        self.lines.iter().chain(&self.optional).for_each(|line| text.push_str(&format!("{line}\n")));
        text
    }
}

/// A running server.
pub struct Server {
    /// Its program.
    pub binary: Binary,
    port: u16,
    dir: PathBuf,
    child: Mutex<Child>,
    connection: Mutex<Option<Connection>>,
}

impl Server {
    /// Starts a server and waits until it replies. Panics with its log when it does not start.
    #[track_caller]
    pub fn start(binary: &Binary, setup: &Setup) -> Self {
        Self::try_start(binary, setup).unwrap_or_else(|log| panic!("{} does not start:\n{log}", binary.name))
    }

    /// [`Server::start`] for a server that may refuse to start: then returns the log.
    pub fn try_start(binary: &Binary, setup: &Setup) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("atomic-it-{}-{number}", std::process::id()));
        // Another process may take the port between our choice and the server's bind; then the server logs it and exits.
        loop {
            let port = free_port();
            let configuration = setup.file(port, &dir);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("server.conf"), configuration).unwrap();
            if setup.clock {
                clock::prepare(&dir);
            }
            let child = Mutex::new(spawn(binary, &dir));
            let server = Self { binary: binary.clone(), port, dir: dir.clone(), child, connection: Mutex::new(None) };
            match server.await_ready() {
                Ok(()) => return Ok(server),
                Err(log) if log.contains("in use") => drop(server),
                Err(log) if log.contains("Bad directive") && !setup.optional.is_empty() => {
                    return Self::try_start(binary, &Setup { optional: Vec::new(), ..setup.clone() });
                }
                Err(log) => return Err(log),
            }
        }
    }

    /// The TCP port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address for client libraries.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its directory: data files, configuration and log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Sets its wall clock this many microseconds ahead of the real one. Returns when the server has seen the step: Valkey 9 may answer with
    /// the time that it read before.
    #[track_caller]
    pub fn set_clock(&self, ahead: i64) {
        const STALE: i64 = 50_000;
        clock::set(&self.dir, ahead);
        let here = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap() + ahead;
        eventually("the server sees the step of its clock", || {
            let before = here();
            let parts: Vec<i64> = self.run("TIME").array().iter().map(|part| part.text().parse().unwrap()).collect();
            (before - STALE..=here()).contains(&(parts[0] * 1_000_000 + parts[1])).then_some(())
        });
    }

    /// Its processor time, within a hundredth of a second. Load on the machine does not stretch it, so tests of duration
    /// compare this.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let figures: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| figures[at].parse::<u64>().unwrap(); // a hundredth of a second each, on Linux always
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.port).unwrap_or_else(|error| panic!("{} does not accept: {error}", self.binary.name))
    }

    /// Runs a line as typed into redis-cli, on the connection that all calls of `run` and `call` share.
    #[track_caller]
    pub fn run(&self, command: &str) -> Value {
        self.call(&super::argv(command))
    }

    /// Runs a command given as arguments, on the shared connection.
    #[track_caller]
    pub fn call(&self, arguments: &[impl AsRef<[u8]>]) -> Value {
        let mut shared = self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.get_or_insert_with(|| self.connect()).call(arguments)
    }

    /// A client of the `redis` crate.
    pub fn client(&self) -> redis::Connection {
        redis::Client::open(("127.0.0.1", self.port)).unwrap().get_connection().unwrap()
    }

    /// One field of `INFO`, as text.
    #[track_caller]
    pub fn info(&self, field: &str) -> String {
        let text = self.run("INFO everything").text();
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("INFO has no {field}")).trim().to_owned()
    }

    /// Whether the module can be unloaded. Valkey 8.1.0 to 8.1.4 would crash (valkey-io/valkey#2753), so the module refuses there.
    pub fn unloads(&self) -> bool {
        let patch = self.binary.is_valkey.then(|| self.info("valkey_version")).and_then(|version| {
            let patch = version.strip_prefix("8.1.")?;
            patch.parse::<u32>().ok()
        });
        patch.is_none_or(|patch| patch >= 5)
    }

    /// The server's output so far, over all restarts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("server.log")).unwrap_or_default()).into_owned()
    }

    /// True while the process runs.
    pub fn is_alive(&self) -> bool {
        matches!(self.child.lock().unwrap().try_wait(), Ok(None))
    }

    /// Sends SIGKILL: nothing is flushed.
    pub fn kill_9(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }

    /// `SHUTDOWN` with the given arguments, until the process is gone.
    pub fn shut_down(&self, arguments: &str) {
        let _ = self.connect().send(&super::argv(&format!("SHUTDOWN {arguments}")));
        eventually("the server is gone", || (!self.is_alive()).then_some(()));
        self.kill_9();
    }

    /// Starts it again after [`Server::kill_9`] or [`Server::shut_down`], with the same directory, configuration and port.
    #[track_caller]
    pub fn start_again(&self) {
        assert!(!self.is_alive(), "the server still runs");
        *self.child.lock().unwrap() = spawn(&self.binary, &self.dir);
        self.await_ready().unwrap_or_else(|log| panic!("{} does not start again:\n{log}", self.binary.name));
    }

    /// Waits until this process replies to PING; a process that ends first is an error with its log.
    fn await_ready(&self) -> Result<(), String> {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if !self.is_alive() {
                return Err(self.log());
            }
            if let Some(ready) = self.answers() {
                return if ready { Ok(()) } else { Err("port in use by another server".to_owned()) };
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        Err(format!("no answer in {DEADLINE:?}\n{}", self.log()))
    }

    /// `None` while it does not reply; false when another process replies on the port.
    fn answers(&self) -> Option<bool> {
        let mut connection = Connection::open(self.port).ok()?;
        connection.send(&["PING"]).ok()?;
        match connection.read().ok()? {
            Value::Error(text) if text.starts_with("LOADING") => None,
            Value::Error(_) => Some(true),
            _ => {
                connection.send(&["INFO", "server"]).ok()?;
                Some(connection.read().ok()?.text().contains(&format!("process_id:{}\r\n", self.pid())))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
        let log = self.log();
        let _ = fs::remove_dir_all(&self.dir);
        let crashed = is_crash(&log);
        if std::thread::panicking() {
            let lines: Vec<&str> = log.lines().collect();
            let shown = if crashed { 200 } else { 40 };
            eprintln!("--- log of {}, the last {shown} lines at most ---", self.binary.name);
            lines.iter().skip(lines.len().saturating_sub(shown)).for_each(|line| eprintln!("{line}"));
        } else {
            assert!(!crashed, "{} crashed:\n{log}", self.binary.name);
        }
    }
}

/// True for the log of a server that crashed, or with a report of a sanitizer.
pub fn is_crash(log: &str) -> bool {
    log.contains("BUG REPORT START") || log.contains("AddressSanitizer:")
}

fn spawn(binary: &Binary, dir: &Path) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("server.log")).unwrap();
    let own_clock = clock::of(dir);
    let mut preload = env::var_os("ATOMIC_PRELOAD").into_iter().collect::<Vec<_>>();
    preload.extend(own_clock.iter().map(|(library, _)| library.into()));
    Command::new(&binary.path)
        .arg(dir.join("server.conf"))
        .envs((!preload.is_empty()).then(|| ("LD_PRELOAD", preload.join(OsStr::new(":")))))
        .envs(own_clock.map(|(_, file)| ("ATOMIC_CLOCK", file)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", binary.path.display()))
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
