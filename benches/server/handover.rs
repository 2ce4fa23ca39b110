//! Waiting for a lock: the cost of a hand-off to the next waiter, compared with the cost of polling.
//!
//! The queue is first come, first served, so the client knows the next waiter and reads from that connection: neither side polls. Every
//! reply is checked, and so is the number of remaining waiters, which shows that the queue keeps its length.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::contest;
use super::driver::{Connection, Driver, encode};
use super::hosts::Host;
use super::process::Server;
use super::report::median;
use super::results::{Goal, HandOff, HandOffs, Times, Waiting, rounded};

/// The name of this section for `--only`.
pub const NAME: &str = "handover";

/// The most rounds; the command line may ask for fewer.
pub const ROUNDS: usize = 5;

/// Hand-offs per row and round.
const HAND_OFFS: usize = 1000;

/// The waiters of the longest queue, and the holder.
const CLIENTS: usize = 10_001;

/// The connections that the server must allow, and the files that it and this process need for them.
const MAX_CLIENTS: usize = CLIENTS + 100;
const FILES: usize = MAX_CLIENTS + 100;

/// The longest queue on a list. With 10,000 waiters Redis 8.0 took 7 times the CPU per push, and Valkey 9 about half a second.
const LONGEST_LIST: usize = 1000;

/// A hand-off among that many waiters may take at most this many times the CPU of one on a list.
const LIST_GOAL: f64 = 1.3;

/// A hand-off among 10,000 waiters may take at most this many times the CPU of one among 10.
const GROWTH_GOAL: f64 = 1.5;

/// How long all clients may take to join the queue.
const DEADLINE: Duration = Duration::from_secs(20);

/// A way to wait in a queue. `{k}` stands for the key and `{o}` for the owner.
struct Means {
    wait: &'static str,
    granted: &'static str,
    release: &'static str,
    released: &'static str,
    /// Whether a grant ends with the number of remaining waiters.
    counts: bool,
}

const LOCK: Means = Means {
    wait: "ATOMIC.LOCK {k} {o} 60000 WAIT 0",
    granted: "*5\r\n:1\r\n",
    release: "ATOMIC.UNLOCK {k} {o}",
    released: ":0\r\n",
    counts: true,
};

const LIST: Means =
    Means { wait: "BLPOP {k} 0", granted: "*2\r\n$", release: "RPUSH {k} {o}", released: ":1\r\n", counts: false };

/// How many queues there are at a time, and how many clients wait in each.
pub struct Shape {
    pub name: &'static str,
    queues: usize,
    waiters: usize,
}

/// The second has queues as short as the first, and as many clients in turn as the last: it shows the effect of the caches.
pub const SHAPES: [Shape; 4] = [
    Shape { name: "10", queues: 1, waiters: 10 },
    Shape { name: "10, in each of 900 queues", queues: 900, waiters: 10 },
    Shape { name: "1,000", queues: 1, waiters: 1000 },
    Shape { name: "10,000", queues: 1, waiters: 10_000 },
];

/// Measures this section on a server that has the script `release_lock` loaded under `release`.
pub fn section(Host { server, driver: control }: &mut Host, release: &str, rounds: usize) -> Result<Waiting, String> {
    eprintln!("waiting for a lock");
    let contention = contest::measure(server, control, release)?;
    let mut clients = connect(server.port, control, CLIENTS)?;
    let mut rows = [const { (Figures::new(), Figures::new()) }; SHAPES.len()];
    for _ in 0..rounds {
        for (shape, (ours, theirs)) in SHAPES.iter().zip(&mut rows) {
            measure(server, control, &mut clients, &LOCK, shape, ours)?;
            if shape.waiters <= LONGEST_LIST {
                measure(server, control, &mut clients, &LIST, shape, theirs)?;
            }
        }
    }
    let longest_wait = rounded(fairness(control, &mut clients)?, 3);
    let [(few, _), (spread, _), _, (many, _)] = &rows;
    let growth = many.cpu_us() / few.cpu_us();
    let hand_offs = HandOffs {
        per_round: HAND_OFFS,
        clients: CLIENTS,
        rows: SHAPES.iter().zip(&rows).map(|(shape, (ours, theirs))| row(shape, ours, theirs)).collect(),
        growth: rounded(growth, 3),
        growth_goal: Goal::new(GROWTH_GOAL, growth),
        growth_over_many: rounded(many.cpu_us() / spread.cpu_us(), 3),
        longest_wait,
    };
    Ok(Waiting { hand_offs, contention })
}

fn row(shape: &Shape, ours: &Figures, theirs: &Figures) -> HandOff {
    let has_list = !theirs.cpu.is_empty();
    let ratio = ours.cpu_us() / theirs.cpu_us();
    HandOff {
        waiters: shape.name.to_owned(),
        lock: ours.times(),
        list: has_list.then(|| theirs.times()),
        ratio: has_list.then(|| rounded(ratio, 3)),
        goal: (shape.waiters == LONGEST_LIST).then(|| Goal::new(LIST_GOAL, ratio)),
    }
}

/// The samples of one side of a row: nanoseconds of CPU per hand-off for each round, microseconds to the grant for each hand-off.
struct Figures {
    cpu: Vec<f64>,
    grant: Vec<f64>,
}

impl Figures {
    const fn new() -> Self {
        Self { cpu: Vec::new(), grant: Vec::new() }
    }

    fn cpu_us(&self) -> f64 {
        median(&self.cpu) / 1000.0
    }

    fn times(&self) -> Times {
        Times { cpu_us: rounded(self.cpu_us(), 2), grant_us: rounded(median(&self.grant), 1) }
    }
}

/// One round of one side of a row.
#[allow(clippy::cast_precision_loss, reason = "nanoseconds of a run are far below 2^52")]
fn measure(
    server: &Server,
    control: &mut Driver,
    clients: &mut [Connection],
    means: &'static Means,
    shape: &Shape,
    figures: &mut Figures,
) -> Result<(), String> {
    control.call(&["FLUSHALL", "SYNC"])?;
    let mut queues = Vec::new();
    for (number, clients) in clients.chunks_mut(shape.waiters + 1).take(shape.queues).enumerate() {
        queues.push(Queue::form(control, clients, means, format!("bench:queue:{number}"))?);
    }
    await_blocked(control, shape.queues * shape.waiters)?;
    let start = server.spent()?.running;
    for turn in 0..HAND_OFFS {
        figures.grant.push(queues[turn % shape.queues].hand_off()?.as_secs_f64() * 1e6);
    }
    figures.cpu.push((server.spent()?.running - start) as f64 / HAND_OFFS as f64);
    queues.iter_mut().try_for_each(Queue::dissolve)
}

/// The longest wait over the mean wait, of clients that joined a full queue.
fn fairness(control: &mut Driver, clients: &mut [Connection]) -> Result<f64, String> {
    control.call(&["FLUSHALL", "SYNC"])?;
    let clients = &mut clients[..1001];
    let turn = clients.len();
    let mut queue = Queue::form(control, clients, &LOCK, "bench:queue".to_owned())?;
    await_blocked(control, turn - 1)?;
    let mut waits = Vec::new();
    for number in 0..3 * turn {
        queue.hand_off()?;
        if number >= turn {
            waits.push(queue.since[queue.holder].1);
        }
    }
    queue.dissolve()?;
    Ok(contest::unfairness(&waits))
}

/// The clients of one key. One holds the lock; the others wait in the order of `clients`, which is a circle that starts at the holder.
struct Queue<'a> {
    clients: &'a mut [Connection],
    means: &'static Means,
    key: String,
    holder: usize,
    /// When each client began to wait, and the length of its last wait.
    since: Vec<(Instant, Duration)>,
    fence: u64,
}

impl<'a> Queue<'a> {
    /// The first client acquires the lock, the others wait.
    fn form(control: &mut Driver, clients: &'a mut [Connection], means: &'static Means, key: String) -> Result<Self, String> {
        if !means.counts {
            control.call(&["RPUSH", &key, "token"])?;
        }
        let since = vec![(Instant::now(), Duration::ZERO); clients.len()];
        let mut queue = Self { clients, means, key, holder: 0, since, fence: 0 };
        queue.wait(0)?;
        queue.granted(0, 0)?;
        for client in 1..queue.clients.len() {
            queue.wait(client)?;
            // One at a time: a busy server may read two connections in another order than the client wrote to them.
            control.call(&["PING"])?;
        }
        Ok(queue)
    }

    /// Hands off to the next waiter, and the old holder joins the queue. Returns the time from the release to the grant.
    fn hand_off(&mut self) -> Result<Duration, String> {
        let from = self.holder;
        let (sent, granted) = self.pass_on(self.clients.len() - 2)?;
        self.wait(from)?;
        Ok(granted - sent)
    }

    /// Hands off from each client to the next until no waiter is left.
    fn dissolve(&mut self) -> Result<(), String> {
        for remaining in (0..self.clients.len() - 1).rev() {
            self.pass_on(remaining)?;
        }
        let release = self.command(self.means.release, self.holder);
        let last = &mut self.clients[self.holder];
        last.send(&release)?;
        expect(last.reply()?, self.means.released)
    }

    /// Hands off to the next waiter, which leaves `remaining` waiters in the queue.
    fn pass_on(&mut self, remaining: usize) -> Result<(Instant, Instant), String> {
        let (from, to) = (self.holder, (self.holder + 1) % self.clients.len());
        let release = self.command(self.means.release, from);
        let sent = Instant::now();
        self.clients[from].send(&release)?;
        let granted = self.granted(to, remaining)?;
        self.since[to].1 = granted - self.since[to].0;
        self.holder = to;
        expect(self.clients[from].reply()?, self.means.released)?;
        Ok((sent, granted))
    }

    fn wait(&mut self, client: usize) -> Result<(), String> {
        let wait = self.command(self.means.wait, client);
        self.since[client].0 = Instant::now();
        self.clients[client].send(&wait)
    }

    /// Reads and checks a client's grant, and returns when it came.
    fn granted(&mut self, client: usize, remaining: usize) -> Result<Instant, String> {
        let failed = |error| format!("{client} of {}, with {remaining} waiters after it, has no grant: {error}", self.key);
        let reply = self.clients[client].reply().map_err(failed)?;
        let now = Instant::now();
        expect(reply, self.means.granted)?;
        if self.means.counts {
            let text = String::from_utf8_lossy(reply);
            let mut numbers = text.lines().skip(2).map(|line| line.trim_start_matches(':').parse().unwrap_or(0));
            let (fence, waiting) = (numbers.next().unwrap_or(0), numbers.nth(2).unwrap_or(0));
            if fence <= self.fence || waiting != remaining as u64 {
                return Err(format!("a fence above {} and {remaining} waiters expected: {text:?}", self.fence));
            }
            self.fence = fence;
        }
        Ok(now)
    }

    fn command(&self, template: &str, client: usize) -> Vec<u8> {
        contest::command(template, &self.key, &format!("owner-{client}"))
    }
}

/// Runs `body` while this many clients wait for one lock, whose key is none of the benchmark's other keys.
pub fn while_waiting<T>(port: u16, waiters: usize, body: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let mut control = Driver::connect(port)?;
    let mut clients = connect(port, &mut control, waiters + 1)?;
    let mut queue = Queue::form(&mut control, &mut clients, &LOCK, "bench:queue".to_owned())?;
    await_blocked(&mut control, waiters)?;
    let result = body()?;
    queue.dissolve()?;
    Ok(result)
}

/// Checks how a reply begins.
pub fn expect(reply: &[u8], beginning: &str) -> Result<(), String> {
    if reply.starts_with(beginning.as_bytes()) {
        return Ok(());
    }
    Err(format!("{} instead of {}...", reply.escape_ascii(), beginning.escape_debug()))
}

/// Waits until this many clients are blocked.
pub fn await_blocked(control: &mut Driver, clients: usize) -> Result<(), String> {
    let start = Instant::now();
    let wanted = format!("blocked_clients:{clients}");
    loop {
        let info = control.text(&["INFO", "clients"])?;
        let blocked = info.lines().find(|line| line.starts_with("blocked_clients:")).unwrap_or_default();
        if blocked == wanted {
            return Ok(());
        }
        if start.elapsed() > DEADLINE {
            return Err(format!("{blocked}, expected {wanted}"));
        }
        sleep(Duration::from_millis(1));
    }
}

/// Connects this many clients, in batches that are smaller than the server's backlog.
fn connect(port: u16, control: &mut Driver, count: usize) -> Result<Vec<Connection>, String> {
    control.call(&["CONFIG", "SET", "maxclients", &MAX_CLIENTS.to_string()])?;
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let mut client = Connection::open(port)?;
        if clients.len().is_multiple_of(100) {
            client.send(&encode(&["PING"]))?;
            expect(client.reply()?, "+PONG")?;
        }
        clients.push(client);
    }
    Ok(clients)
}

/// Raises the limit of open files for this process and for the servers that it starts afterwards. A server whose limit is too low at its
/// start cannot raise it later.
pub fn allow_files() -> Result<(), String> {
    let limits = std::fs::read_to_string("/proc/self/limits").map_err(|error| format!("/proc/self/limits: {error}"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let mut limits = line.split_whitespace().map(|limit| limit.parse().unwrap_or(usize::MAX));
    let (soft, hard) = (limits.next().unwrap_or(0), limits.next().unwrap_or(0));
    if soft >= FILES {
        return Ok(());
    }
    if hard < FILES {
        return Err(format!("{CLIENTS} clients need {FILES} open files, and the hard limit is {hard}: raise it (ulimit -Hn)"));
    }
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={FILES}:")]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("prlimit does not allow {FILES} open files: {other:?}")),
    }
}
