//! What applications do, with the Lua that they use today on the server alone and in drop-in mode, and with native commands.
//!
//! "The server alone" is a server process without this module. Every way does the work twice: as fast as the clients can, and at a fixed
//! rate, where the waits are measured.

pub mod load;
mod queue;

use std::path::Path;
use std::time::Duration;

use super::driver::Connection;
use super::hosts::Host;
use super::options::Options;
use super::process::Server;
use super::report::median;
use super::results::{Task, Work, WorkWay, rounded};
use super::scripts::SOURCES;
use load::{Client, Request, Then};

/// The name of this section for `--only`.
pub const NAME: &str = "work";

/// The most rounds; the command line may ask for fewer.
pub const ROUNDS: usize = 3;

/// The part of the API's clients that are beyond their limit.
const ONE_IN: usize = 10;

/// How long the lock is held.
const HOLD: Duration = Duration::from_millis(1);

/// How long a client pauses before it asks for the lock again.
const PAUSE: Duration = Duration::from_millis(10);

/// Where the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A server without this module.
    Alone,
    DropIn,
    /// This module, without drop-in mode.
    Module,
    /// A server with redis-cell.
    Peer,
}

enum Means {
    /// A program on Node.js.
    Queue,
    Requests(Box<Requests>),
}

struct Requests {
    /// The script that the requests call. `{sha}` stands for its SHA1.
    script: Option<&'static str>,
    ordinary: Request,
    /// What clients beyond their limit do, if there are any.
    beyond: Option<Request>,
    /// Whether all clients use one key.
    one_key: bool,
}

struct Way {
    name: &'static str,
    place: Place,
    means: Means,
}

/// One kind of work.
pub struct Job {
    pub name: &'static str,
    pub about: &'static str,
    clients: usize,
    requests: usize,
    per_second: usize,
    ways: Vec<Way>,
}

pub fn jobs() -> [Job; 3] {
    [
        Job {
            name: "BullMQ",
            about: "Jobs go through a queue to a worker that runs 10 at a time. A job waits until its completion is recorded. All operations of\nBullMQ are scripts, for which no native command stands in. Node.js needs more time than the server.",
            clients: 1,
            requests: 1000,
            per_second: 200,
            ways: [("its scripts, the server alone", Place::Alone), ("its scripts, drop-in mode", Place::DropIn)]
                .map(|(name, place)| Way { name, place, means: Means::Queue })
                .into(),
        },
        Job {
            name: "Rate-limited API",
            about: "Each request asks for one unit of its client's token bucket. One client in ten is beyond its limit, and always denied.",
            clients: 100,
            requests: 20_000,
            per_second: 5000,
            ways: api(),
        },
        Job {
            name: "Contended lock",
            about: "Clients acquire one lock, hold it for 1 ms, and release it. A client waits until it has the lock. With a script it asks again\nevery 10 ms.",
            clients: 50,
            requests: 1500,
            per_second: 300,
            ways: lock(),
        },
    ]
}

fn api() -> Vec<Way> {
    let way = |name, place, script, ordinary: (&str, &'static str), beyond: (&str, &'static str)| {
        let request = |(ask, granted): (&str, _)| Request { ask: ask.to_owned(), granted, denied: None, then: None };
        let requests = Requests { script, ordinary: request(ordinary), beyond: Some(request(beyond)), one_key: false };
        Way { name, place, means: Means::Requests(Box::new(requests)) }
    };
    let script = |name, place| {
        let ordinary = ("EVALSHA {sha} 1 {k} 1000000 1000 1 {now}", "*2\r\n:1");
        way(name, place, Some("token_bucket"), ordinary, ("EVALSHA {sha} 1 {k} 0 0.000001 1 {now}", "*2\r\n:0"))
    };
    let native =
        (("ATOMIC.RATELIMIT {k} BUCKET 1000000 1000 1000", "*6\r\n:1"), ("ATOMIC.RATELIMIT {k} BUCKET 1 1 86400000", "*6\r\n:0"));
    let cell = (("CL.THROTTLE {k} 1000000 1000 1", "*5\r\n:0"), ("CL.THROTTLE {k} 0 1 86400", "*5\r\n:1"));
    vec![
        script("token bucket in Lua, the server alone", Place::Alone),
        script("token bucket in Lua, drop-in mode", Place::DropIn),
        way("ATOMIC.RATELIMIT", Place::Module, None, native.0, native.1),
        way("CL.THROTTLE of redis-cell", Place::Peer, None, cell.0, cell.1),
    ]
}

fn lock() -> Vec<Way> {
    let way = |name, place, script, request| {
        let requests = Requests { script, ordinary: request, beyond: None, one_key: true };
        Way { name, place, means: Means::Requests(Box::new(requests)) }
    };
    let then = |command: &str, reply| Some(Then { work: HOLD, command: command.to_owned(), reply });
    let script = |name, place| {
        let request = Request {
            ask: "SET {k} {o} NX PX 60000".to_owned(),
            granted: "+OK",
            denied: Some(("$-1", PAUSE)),
            then: then("EVALSHA {sha} 1 {k} {o}", ":1"),
        };
        way(name, place, Some("release_lock"), request)
    };
    let native = Request {
        ask: "ATOMIC.LOCK {k} {o} 60000 WAIT 0".to_owned(),
        granted: "*5\r\n:1",
        denied: None,
        then: then("ATOMIC.UNLOCK {k} {o}", ":0"),
    };
    vec![
        script("SET NX PX and Lua, the server alone", Place::Alone),
        script("SET NX PX and Lua, drop-in mode", Place::DropIn),
        way("LOCK WAIT + UNLOCK", Place::Module, None, native),
    ]
}

/// Measures every way of every job, in turn, on servers of its own.
pub fn section(program: &Path, options: &Options, rounds: usize) -> Result<Work, String> {
    let mut places = Places {
        alone: Host::of(Server::with(program, None, &[])?)?,
        module: Host::of(Server::start(program, &options.module)?)?,
        peer: options.peer.as_ref().map(|module| Host::of(Server::with(program, Some(module), &[])?)).transpose()?,
    };
    let mut tasks = Vec::new();
    for mut job in jobs() {
        job.ways.retain(|way| way.place != Place::Peer || options.peer.is_some());
        let mut samples = vec![Samples::default(); job.ways.len()];
        for round in 0..rounds {
            eprintln!("{}: round {} of {rounds}", job.name, round + 1);
            for (way, samples) in job.ways.iter().zip(&mut samples) {
                let host = places.host(way.place)?;
                measure(host, &job, way, samples).map_err(|error| format!("{}, {}: {error}", job.name, way.name))?;
            }
        }
        tasks.push(Task {
            name: job.name.to_owned(),
            clients: job.clients,
            requests: job.requests,
            per_second: job.per_second,
            ways: job.ways.iter().zip(&mut samples).map(|(way, samples)| samples.results(way.name)).collect(),
        });
    }
    Ok(Work { tasks, peer: options.peer.is_some() })
}

struct Places {
    alone: Host,
    module: Host,
    peer: Option<Host>,
}

impl Places {
    fn host(&mut self, place: Place) -> Result<&mut Host, String> {
        let drop_in = if place == Place::DropIn { "yes" } else { "no" };
        match place {
            Place::Alone => Ok(&mut self.alone),
            Place::DropIn | Place::Module => {
                self.module.driver.call(&["CONFIG", "SET", "atomic.intercept", drop_in])?;
                Ok(&mut self.module)
            }
            Place::Peer => self.peer.as_mut().ok_or_else(|| "ATOMIC_PEER names no module".to_owned()),
        }
    }
}

/// One round of one way.
fn measure(host: &mut Host, job: &Job, way: &Way, samples: &mut Samples) -> Result<(), String> {
    host.driver.call(&["FLUSHALL", "SYNC"])?;
    match &way.means {
        Means::Queue => {
            let mut program = queue::Program::start(host.server.port)?;
            let (cpu, seconds) = timed(host, || program.all(job.requests))?;
            samples.fastest(job, cpu, seconds);
            let (cpu, waits) = timed(host, || program.at_rate(job.requests, job.per_second))?;
            samples.steady(job, cpu, waits);
        }
        Means::Requests(requests) => {
            let sha = requests.script.map(|script| host.load_script(script)).transpose()?.unwrap_or_default();
            let clients: Vec<Client> = (0..job.clients).map(|number| requests.client(number, &sha)).collect();
            if requests.beyond.is_some() {
                clients.iter().step_by(ONE_IN).try_for_each(|client| exhaust(host.server.port, client))?;
            }
            let (cpu, outcome) = timed(host, || load::run(host.server.port, &clients, job.requests, None))?;
            samples.fastest(job, cpu, outcome.seconds);
            let (cpu, outcome) = timed(host, || load::run(host.server.port, &clients, job.requests, Some(job.per_second)))?;
            samples.steady(job, cpu, outcome.waits_ms);
        }
    }
    Ok(())
}

/// Uses up what the client has left.
fn exhaust(port: u16, client: &Client) -> Result<(), String> {
    let mut connection = Connection::open(port)?;
    connection.send(&load::command(&client.request.ask, &client.key, &client.name))?;
    let reply = connection.reply()?;
    if reply.starts_with(b"-") { Err(reply.escape_ascii().to_string()) } else { Ok(()) }
}

/// The server's CPU time for `body`, in microseconds, and what that returns.
#[allow(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
fn timed<T>(host: &Host, body: impl FnOnce() -> Result<T, String>) -> Result<(f64, T), String> {
    let before = host.server.spent()?.running;
    let result = body()?;
    Ok(((host.server.spent()?.running - before) as f64 / 1000.0, result))
}

impl Host {
    /// Loads a script of the rows and returns its SHA1.
    fn load_script(&mut self, name: &str) -> Result<String, String> {
        let source = SOURCES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source);
        self.driver.text(&["SCRIPT", "LOAD", source.ok_or_else(|| format!("no script is called {name}"))?])
    }
}

impl Requests {
    fn client(&self, number: usize, sha: &str) -> Client {
        let beyond = self.beyond.as_ref().filter(|_| number.is_multiple_of(ONE_IN));
        Client {
            key: format!("bench:{}", if self.one_key { 0 } else { number }),
            name: format!("owner-{number}"),
            request: beyond.unwrap_or(&self.ordinary).calling(sha),
        }
    }
}

impl Request {
    /// The same with the SHA1 of its script.
    fn calling(&self, sha: &str) -> Self {
        let text = |command: &str| command.replace("{sha}", sha);
        let then = self.then.as_ref().map(|then| Then { command: text(&then.command), ..then.clone() });
        Self { ask: text(&self.ask), then, ..self.clone() }
    }
}

/// The figures of one way, one per round; the waits of all rounds.
#[derive(Debug, Clone, Default)]
struct Samples {
    per_second: Vec<f64>,
    fastest_cpu_us: Vec<f64>,
    cpu_us: Vec<f64>,
    waits_ms: Vec<f64>,
}

#[allow(clippy::cast_precision_loss, reason = "counts of a few seconds")]
impl Samples {
    fn fastest(&mut self, job: &Job, cpu_us: f64, seconds: f64) {
        self.per_second.push(job.requests as f64 / seconds);
        self.fastest_cpu_us.push(cpu_us / job.requests as f64);
    }

    fn steady(&mut self, job: &Job, cpu_us: f64, waits_ms: Vec<f64>) {
        self.cpu_us.push(cpu_us / job.requests as f64);
        self.waits_ms.extend(waits_ms);
    }

    fn results(&mut self, name: &str) -> WorkWay {
        self.waits_ms.sort_by(f64::total_cmp);
        let wait = |thousandths| rounded(percentile(&self.waits_ms, thousandths), 3);
        WorkWay {
            name: name.to_owned(),
            fastest_per_second: rounded(median(&self.per_second), 1),
            fastest_cpu_us: rounded(median(&self.fastest_cpu_us), 2),
            cpu_us: rounded(median(&self.cpu_us), 2),
            p50_ms: wait(500),
            p99_ms: wait(990),
            p999_ms: wait(999),
        }
    }
}

/// The least of the sorted figures that this many thousandths of them do not exceed. NaN if there are none.
pub fn percentile(sorted: &[f64], thousandths: usize) -> f64 {
    let rank = (sorted.len() * thousandths).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}
