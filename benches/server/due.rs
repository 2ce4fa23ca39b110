//! Work that comes due: consumers that wait on the server, compared with consumers that poll a sorted set.
//!
//! A job is a member of the set, `due:number`, whose score is the time at which it is due. The clients and the server read the same
//! clock. Lateness is the time from when a job is due to when a consumer has read it. A job that comes early or not at all is an error.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::contest;
use super::driver::{Connection, Driver, encode};
use super::handover::{await_blocked, expect};
use super::hosts::Host;
use super::process::Server;
use super::report::median;
use super::results::{DueWay, DueWork, Goal, IdleWay, rounded};

/// The name of this section for `--only`.
pub const NAME: &str = "due";

/// The most rounds; the command line may ask for fewer.
pub const ROUNDS: usize = 3;

/// The jobs of one way and round, and how many of them are added per second.
const JOBS: usize = 3000;
const PER_SECOND: usize = 1000;

/// Each job is due at a random time within this many milliseconds.
const SPREAD_MS: u64 = 1000;

const CONSUMERS: [usize; 2] = [1, 8];

/// Consumers that have nothing to do, and how long their cost is measured.
const IDLE: usize = 100;
const IDLE_TIME: Duration = Duration::from_secs(3);

/// How long a run may take.
const DEADLINE: Duration = Duration::from_secs(20);

const KEY: &str = "bench:due";

/// How consumers get jobs.
#[derive(Clone, Copy)]
enum Means {
    /// The server replies with one job when it is due. A leased job is removed with its token.
    Wait { take: &'static str, leased: bool },
    /// A script pops at most `most` jobs. The consumer calls it again at once if it got as many, or else after the pause.
    Poll { most: usize, pause: Duration },
}

struct Way {
    name: &'static str,
    means: Means,
    /// The commands that its consumers send, as in `INFO commandstats`.
    commands: &'static [&'static str],
    /// The most commands per job.
    goal: Option<f64>,
}

const WAYS: [Way; 7] = [
    waiting("ZPOPDUE WAIT", "ATOMIC.ZPOPDUE {k} WAIT 0", &["atomic.zpopdue"]),
    Way {
        name: "ZPOPDUE LEASE WAIT + ZDONE",
        means: Means::Wait { take: "ATOMIC.ZPOPDUE {k} LEASE 60000 WAIT 0", leased: true },
        commands: &["atomic.zpopdue", "atomic.zdone"],
        goal: Some(2.0),
    },
    waiting("ZMOVEDUE WAIT", "ATOMIC.ZMOVEDUE {k} {k}:list WAIT 0", &["atomic.zmovedue"]),
    polling("EVALSHA of 1 job every 10 ms", 1, 10),
    polling("EVALSHA of up to 100 jobs every 10 ms", 100, 10),
    polling("EVALSHA of 1 job every 100 ms", 1, 100),
    polling("EVALSHA of up to 100 jobs every 100 ms", 100, 100),
];

const IDLE_WAYS: [(&str, Option<Means>); 3] = [
    ("connected, without commands", None),
    ("ZPOPDUE WAIT", Some(WAYS[0].means)),
    ("EVALSHA of 1 job every 100 ms", Some(WAYS[5].means)),
];

const fn waiting(name: &'static str, take: &'static str, commands: &'static [&'static str]) -> Way {
    Way { name, means: Means::Wait { take, leased: false }, commands, goal: Some(1.0) }
}

const fn polling(name: &'static str, most: usize, pause_ms: u64) -> Way {
    Way { name, means: Means::Poll { most, pause: Duration::from_millis(pause_ms) }, commands: &["evalsha"], goal: None }
}

/// The names of the rows, in their order.
pub fn rows() -> impl Iterator<Item = (usize, &'static str)> {
    CONSUMERS.into_iter().flat_map(|consumers| WAYS.iter().map(move |way| (consumers, way.name)))
}

/// The names of the rows on idle consumers, in their order.
pub fn idle_rows() -> impl Iterator<Item = &'static str> {
    IDLE_WAYS.iter().map(|&(name, _)| name)
}

/// Measures this section on a server that has the script `pop_due` loaded under `script`. Every round measures every row.
pub fn section(Host { server, driver: control }: &mut Host, script: &str, rounds: usize) -> Result<DueWork, String> {
    eprintln!("work that comes due");
    let mut producer = Vec::new();
    let mut samples = vec![Samples::default(); CONSUMERS.len() * WAYS.len()];
    let mut idle = vec![Vec::new(); IDLE_WAYS.len()];
    for _ in 0..rounds {
        producer.push(produce_alone(server, control)?);
        let sides = CONSUMERS.iter().flat_map(|&consumers| WAYS.iter().map(move |way| (consumers, way)));
        for ((consumers, way), samples) in sides.zip(&mut samples) {
            measure(server, control, script, way, consumers, samples).map_err(|error| format!("{}: {error}", way.name))?;
        }
        for ((name, means), samples) in IDLE_WAYS.iter().zip(&mut idle) {
            samples.push(cost_of_idling(server, control, script, *means).map_err(|error| format!("idle, {name}: {error}"))?);
        }
    }
    let ways = rows().zip(WAYS.iter().cycle()).zip(&samples).map(|(((consumers, _), way), samples)| samples.row(consumers, way));
    let idle =
        idle_rows().zip(&idle).map(|(name, cpu)| IdleWay { name: name.to_owned(), cpu_us_per_second: rounded(median(cpu), 0) });
    Ok(DueWork {
        jobs: JOBS,
        jobs_per_second: PER_SECOND,
        spread_ms: SPREAD_MS,
        producer_cpu_us_per_job: rounded(median(&producer), 2),
        ways: ways.collect(),
        idle_consumers: IDLE,
        idle: idle.collect(),
    })
}

/// The figures of one row, one per round.
#[derive(Clone, Default)]
struct Samples {
    commands: Vec<f64>,
    cpu_us: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
}

impl Samples {
    fn row(&self, consumers: usize, way: &Way) -> DueWay {
        let commands = median(&self.commands);
        DueWay {
            consumers,
            name: way.name.to_owned(),
            commands_per_job: rounded(commands, 3),
            cpu_us_per_job: rounded(median(&self.cpu_us), 2),
            late_p50_ms: rounded(median(&self.p50_ms), 3),
            late_p99_ms: rounded(median(&self.p99_ms), 3),
            goal: way.goal.map(|goal| Goal::new(goal, commands)),
        }
    }
}

/// One round of one row.
#[allow(clippy::cast_precision_loss, reason = "counts and nanoseconds of a few seconds")]
fn measure(
    server: &Server,
    control: &mut Driver,
    script: &str,
    way: &Way,
    consumers: usize,
    samples: &mut Samples,
) -> Result<(), String> {
    clear(control)?;
    let before = server.spent()?.running;
    let mut late = run(server.port, control, script, way.means, consumers)?;
    let cpu = (server.spent()?.running - before) as f64 / 1000.0;
    // Each consumer that waits has taken one more member, which ended it.
    let taken = match way.means {
        Means::Wait { .. } => JOBS + consumers,
        Means::Poll { .. } => JOBS,
    };
    late.sort_by(f64::total_cmp);
    samples.commands.push(contest::calls(control, way.commands)? as f64 / taken as f64);
    samples.cpu_us.push(cpu / taken as f64);
    samples.p50_ms.push(late[late.len() / 2]);
    samples.p99_ms.push(late[late.len() * 99 / 100]);
    Ok(())
}

/// The server's CPU time per job that nobody takes, in microseconds.
#[allow(clippy::cast_precision_loss, reason = "counts and nanoseconds of a few seconds")]
fn produce_alone(server: &Server, control: &mut Driver) -> Result<f64, String> {
    clear(control)?;
    let before = server.spent()?.running;
    produce(control)?;
    Ok((server.spent()?.running - before) as f64 / 1000.0 / JOBS as f64)
}

/// An empty server without the clients of the last measurement.
fn clear(control: &mut Driver) -> Result<(), String> {
    await_blocked(control, 0)?;
    control.call(&["FLUSHALL", "SYNC"])?;
    control.call(&["CONFIG", "RESETSTAT"])?;
    Ok(())
}

/// Adds all jobs while the consumers take them. Returns how many milliseconds late each came.
fn run(port: u16, control: &mut Driver, script: &str, means: Means, consumers: usize) -> Result<Vec<f64>, String> {
    let clients = (0..consumers).map(|_| Connection::open(port)).collect::<Result<Vec<_>, _>>()?;
    let taken = &AtomicUsize::new(0);
    thread::scope(|scope| {
        let start = |(number, client)| {
            scope.spawn(move || match means {
                Means::Wait { take, leased } => wait(client, take, leased, taken),
                Means::Poll { most, pause } => {
                    let phase = pause.mul_f64(number as f64 / consumers as f64);
                    poll(client, script, most, (phase, pause), taken)
                }
            })
        };
        let threads: Vec<_> = clients.into_iter().enumerate().map(start).collect();
        produce(control)?;
        await_taken(taken)?;
        if matches!(means, Means::Wait { .. }) {
            for number in 0..consumers {
                control.call(&["ZADD", KEY, "0", &format!("end:{number}")])?;
            }
        }
        let join = |thread: thread::ScopedJoinHandle<_>| thread.join().unwrap_or_else(|_| Err("a consumer panicked".to_owned()));
        let late = threads.into_iter().map(join).collect::<Result<Vec<Vec<f64>>, _>>()?;
        Ok(late.concat())
    })
}

/// Adds the jobs, each at its time. Every call adds the same ones.
fn produce(control: &mut Driver) -> Result<(), String> {
    let start = Instant::now();
    let mut random: u64 = 1;
    for (job, at) in (0..JOBS).zip(0_u32..) {
        let at = start + Duration::from_secs(1) / PER_SECOND as u32 * at;
        thread::sleep(at.saturating_duration_since(Instant::now()));
        // Knuth's MMIX generator; its high bits are the random ones.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let due = (now_ms() as u64 + 1 + (random >> 33) % SPREAD_MS).to_string();
        control.call(&["ZADD", KEY, &due, &format!("{due}:{job}")])?;
    }
    Ok(())
}

fn await_taken(taken: &AtomicUsize) -> Result<(), String> {
    let start = Instant::now();
    while taken.load(Relaxed) < JOBS {
        if start.elapsed() > DEADLINE {
            return Err(format!("{} of {JOBS} jobs were taken", taken.load(Relaxed)));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A consumer that waits. It ends when it gets a member that is no job.
fn wait(mut client: Connection, take: &str, leased: bool, taken: &AtomicUsize) -> Result<Vec<f64>, String> {
    let take = contest::command(take, KEY, "");
    let mut late = Vec::new();
    loop {
        client.send(&take)?;
        let members = bulks(client.reply()?);
        let now = now_ms();
        let [job, score] = &members[..] else { return Err(format!("not one job: {members:?}")) };
        if leased {
            client.send(&encode(&["ATOMIC.ZDONE", KEY, job, score]))?;
            expect(client.reply()?, ":1")?;
        }
        if job.starts_with("end:") {
            return Ok(late);
        }
        late.push(lateness(job, now)?);
        taken.fetch_add(1, Relaxed);
    }
}

/// A consumer that polls. It ends when all jobs are taken.
fn poll(
    mut client: Connection,
    script: &str,
    most: usize,
    (phase, pause): (Duration, Duration),
    taken: &AtomicUsize,
) -> Result<Vec<f64>, String> {
    let start = Instant::now();
    let mut late = Vec::new();
    thread::sleep(phase);
    while taken.load(Relaxed) < JOBS {
        if start.elapsed() > DEADLINE {
            return Err("jobs are missing".to_owned());
        }
        client.send(&pop(script, most))?;
        let jobs = bulks(client.reply()?);
        let now = now_ms();
        for job in &jobs {
            late.push(lateness(job, now)?);
        }
        taken.fetch_add(jobs.len(), Relaxed);
        if jobs.len() < most {
            thread::sleep(pause);
        }
    }
    Ok(late)
}

/// The server's CPU time per second for consumers whose next job is far away, in microseconds. `None` only connects them.
fn cost_of_idling(server: &Server, control: &mut Driver, script: &str, means: Option<Means>) -> Result<f64, String> {
    clear(control)?;
    let later = now_ms() as u64 + 3_600_000;
    control.call(&["ZADD", KEY, &later.to_string(), "job"])?;
    let mut clients = (0..IDLE).map(|_| Connection::open(server.port)).collect::<Result<Vec<_>, _>>()?;
    match means {
        None => cpu_per_second(server),
        Some(Means::Wait { take, .. }) => {
            clients.iter_mut().try_for_each(|client| client.send(&contest::command(take, KEY, "")))?;
            await_blocked(control, IDLE)?;
            cpu_per_second(server)
        }
        Some(Means::Poll { most, pause }) => {
            let over = &AtomicBool::new(false);
            thread::scope(|scope| {
                let start = |(number, mut client): (usize, Connection)| {
                    scope.spawn(move || {
                        thread::sleep(pause.mul_f64(number as f64 / IDLE as f64));
                        while !over.load(Relaxed) {
                            client.send(&pop(script, most))?;
                            expect(client.reply()?, "*0")?;
                            thread::sleep(pause);
                        }
                        Ok(())
                    })
                };
                let threads: Vec<_> = clients.into_iter().enumerate().map(start).collect();
                let cpu = cpu_per_second(server);
                over.store(true, Relaxed);
                let join =
                    |thread: thread::ScopedJoinHandle<_>| thread.join().unwrap_or_else(|_| Err("a consumer panicked".to_owned()));
                threads.into_iter().try_for_each(join)?;
                cpu
            })
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
fn cpu_per_second(server: &Server) -> Result<f64, String> {
    let (start, before) = (Instant::now(), server.spent()?.running);
    thread::sleep(IDLE_TIME);
    Ok((server.spent()?.running - before) as f64 / 1000.0 / start.elapsed().as_secs_f64())
}

/// Encodes a call of the script.
fn pop(script: &str, most: usize) -> Vec<u8> {
    encode(&["EVALSHA", script, "1", KEY, &(now_ms() as u64).to_string(), &most.to_string()])
}

/// Milliseconds from when the job was due until now.
fn lateness(job: &str, now: f64) -> Result<f64, String> {
    let due: f64 = job.split_once(':').and_then(|(due, _)| due.parse().ok()).ok_or_else(|| format!("not a job: {job}"))?;
    if now < due { Err(format!("{job} came {} ms early", due - now)) } else { Ok(now - due) }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// The elements of an array of bulk strings without line feeds.
fn bulks(reply: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(reply).lines().skip(2).step_by(2).map(str::to_owned).collect()
}
