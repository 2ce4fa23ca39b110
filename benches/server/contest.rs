//! Many clients contend for one lock: in a queue, and by polling.

use std::thread;
use std::time::{Duration, Instant};

use super::driver::{Connection, Driver, encode};
use super::process::Server;
use super::results::{self, Contention, Goal, rounded};

const CLIENTS: usize = 50;

/// How long a client holds the lock.
const HOLD: Duration = Duration::from_millis(1);

/// How long it then pauses, so that the last holder is not always the first to ask again.
const WITHOUT: Duration = Duration::from_millis(5);

/// How long clients contend for it.
const TIME: Duration = Duration::from_secs(3);

/// One LOCK that waits, one UNLOCK that hands off.
const COMMANDS_GOAL: f64 = 2.0;

const KEY: &str = "bench:contest";

/// A way to wait for the lock. `{k}` stands for the key and `{o}` for the owner.
struct Way {
    name: &'static str,
    acquire: &'static str,
    acquired: &'static str,
    /// The reply that denies, and the pause before the next attempt.
    denied: Option<(&'static str, Duration)>,
    release: String,
    released: &'static str,
    /// The commands that its clients send, as in `INFO commandstats`.
    commands: [&'static str; 2],
}

/// Measures each way on an empty server that has the script `release_lock` loaded under `release`.
#[allow(clippy::cast_precision_loss, reason = "counts of a few seconds")]
pub fn measure(server: &Server, control: &mut Driver, release: &str) -> Result<Contention, String> {
    let mut measured = Vec::new();
    for (number, way) in ways(release).iter().enumerate() {
        control.call(&["FLUSHALL", "SYNC"])?;
        control.call(&["CONFIG", "RESETSTAT"])?;
        let before = server.spent()?.running;
        let outcome = run(server.port, way).map_err(|error| format!("{}: {error}", way.name))?;
        let cpu = (server.spent()?.running - before) as f64 / 1000.0;
        let commands = calls(control, &way.commands)? as f64 / outcome.locks as f64;
        measured.push(results::Way {
            name: way.name.to_owned(),
            commands_per_lock: rounded(commands, 3),
            cpu_us_per_lock: rounded(cpu / outcome.locks as f64, 2),
            locks_per_second: rounded(outcome.locks as f64 / outcome.time.as_secs_f64(), 1),
            longest_wait: rounded(unfairness(&outcome.waits), 3),
            goal: (number == 0).then(|| Goal::new(COMMANDS_GOAL, commands)),
        });
    }
    Ok(Contention {
        clients: CLIENTS,
        seconds: TIME.as_secs(),
        hold_ms: HOLD.as_millis(),
        pause_ms: WITHOUT.as_millis(),
        ways: measured,
    })
}

fn ways(release: &str) -> Vec<Way> {
    let poll = |name, pause| Way {
        name,
        acquire: "SET {k} {o} NX PX 60000",
        acquired: "+OK",
        denied: Some(("$-1", pause)),
        release: format!("EVALSHA {release} 1 {{k}} {{o}}"),
        released: ":1",
        commands: ["set", "evalsha"],
    };
    vec![
        Way {
            name: "LOCK WAIT + UNLOCK",
            acquire: "ATOMIC.LOCK {k} {o} 60000 WAIT 0",
            acquired: "*5\r\n:1",
            denied: None,
            release: "ATOMIC.UNLOCK {k} {o}".to_owned(),
            released: ":0",
            commands: ["atomic.lock", "atomic.unlock"],
        },
        poll("SET NX PX every ms + EVALSHA", Duration::from_millis(1)),
        poll("SET NX PX every 10 ms + EVALSHA", Duration::from_millis(10)),
        poll("SET NX PX every 100 ms + EVALSHA", Duration::from_millis(100)),
    ]
}

struct Outcome {
    locks: usize,
    time: Duration,
    waits: Vec<Duration>,
}

fn run(port: u16, way: &Way) -> Result<Outcome, String> {
    let clients = (0..CLIENTS).map(|_| Connection::open(port)).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let waits = thread::scope(|scope| {
        let contend = |(number, client)| scope.spawn(move || contend(client, &format!("token-{number}"), way, start));
        let threads: Vec<_> = clients.into_iter().enumerate().map(contend).collect();
        let join = |thread: thread::ScopedJoinHandle<_>| thread.join().unwrap_or_else(|_| Err("a client panicked".to_owned()));
        threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    })?;
    // The first wait of each client began before the queue had its full length.
    let full = waits.iter().flat_map(|waits| waits.iter().skip(1).copied()).collect();
    Ok(Outcome { locks: waits.iter().map(Vec::len).sum(), time: start.elapsed(), waits: full })
}

/// One client acquires, holds and releases the lock over and over. Returns each of its waits.
fn contend(mut client: Connection, token: &str, way: &Way, start: Instant) -> Result<Vec<Duration>, String> {
    let (acquire, release) = (command(way.acquire, KEY, token), command(&way.release, KEY, token));
    let mut waits = Vec::new();
    while start.elapsed() < TIME {
        let wanted = Instant::now();
        loop {
            client.send(&acquire)?;
            let reply = client.reply()?;
            if reply.starts_with(way.acquired.as_bytes()) {
                break;
            }
            let pause = way.denied.filter(|(denied, _)| reply.starts_with(denied.as_bytes())).map(|(_, pause)| pause);
            thread::sleep(pause.ok_or_else(|| format!("not a grant: {}", reply.escape_ascii()))?);
        }
        waits.push(wanted.elapsed());
        thread::sleep(HOLD);
        client.send(&release)?;
        let reply = client.reply()?;
        if !reply.starts_with(way.released.as_bytes()) {
            return Err(format!("not released: {}", reply.escape_ascii()));
        }
        thread::sleep(WITHOUT);
    }
    Ok(waits)
}

/// Encodes a command; `{k}` stands for the key and `{o}` for the owner.
pub fn command(template: &str, key: &str, owner: &str) -> Vec<u8> {
    let text = template.replace("{k}", key).replace("{o}", owner);
    encode(&text.split(' ').collect::<Vec<_>>())
}

/// How often these commands were called since the statistics were reset.
pub fn calls(control: &mut Driver, commands: &[&str]) -> Result<u64, String> {
    let info = control.text(&["INFO", "commandstats"])?;
    let of = |command: &&str| {
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(":calls="));
        line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).ok_or_else(|| format!("no calls of {command}: {info}"))
    };
    commands.iter().map(of).sum()
}

/// The longest wait over the mean wait: 1 if all waits are equal.
#[allow(clippy::cast_precision_loss, reason = "counts of a few seconds")]
pub fn unfairness(waits: &[Duration]) -> f64 {
    let mean = waits.iter().map(Duration::as_secs_f64).sum::<f64>() / waits.len() as f64;
    waits.iter().max().map_or(f64::NAN, |longest| longest.as_secs_f64() / mean)
}
