//! The results of a run, in the layout of `docs/benchmarks.json`. `docs/benchmarks.md` is generated from these structs.

#![allow(missing_docs, reason = "most fields are explained by their names")]

use serde::{Deserialize, Serialize};

/// A run on one or more servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The processor, its cores and the kernel.
    pub machine: String,
    pub method: Method,
    pub servers: Vec<Server>,
}

/// The load of the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    pub connections: usize,
    /// Commands per batch.
    pub pipeline: usize,
    pub keys: usize,
    /// Keys of an operation that consumes its key.
    pub refilled_keys: usize,
    pub rounds: usize,
    /// The least number of operations per side and round.
    pub requests: usize,
}

/// The figures of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `Redis` or `Valkey`.
    pub product: String,
    pub version: String,
    pub allocator: String,
    /// The share of its time in which the main thread was ready to run but waited for the core.
    pub waiting_share: f64,
    pub sections: Vec<Section>,
    /// The section "Waiting for a lock".
    pub waiting: Option<Waiting>,
    /// The section "Work that comes due".
    pub due: Option<DueWork>,
}

/// Rows with one title. `cases.rs` has the introduction for each title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub title: String,
    pub rows: Vec<Row>,
    /// The geometric mean of the ratios, if it has a goal.
    pub mean: Option<Mean>,
}

/// One comparison. Times are medians over the rounds, of the CPU time per operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub case: String,
    pub compared_with: String,
    pub ns: f64,
    pub compared_ns: f64,
    pub ratio: f64,
    /// The lowest and the highest ratio of a single round.
    pub of_any_round: (f64, f64),
    pub goal: Option<Goal>,
}

/// A geometric mean and its goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mean {
    pub ratio: f64,
    pub goal: Goal,
}

/// A goal, judged before its figure was rounded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    pub at_most: f64,
    pub reached: bool,
}

/// Clients that wait for a lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    pub hand_offs: HandOffs,
    pub contention: Contention,
}

/// A lock that is handed off from client to client in the order of a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOffs {
    pub rounds: usize,
    pub per_round: usize,
    /// Clients connected in each row.
    pub clients: usize,
    pub rows: Vec<HandOff>,
    /// The CPU time of a hand-off in the longest queue over that of one in the shortest.
    pub growth: f64,
    pub growth_goal: Goal,
    /// The CPU time of a hand-off in the longest queue over that of one in many short queues.
    pub growth_over_many: f64,
    /// The longest wait over the mean wait, with 1,000 waiters.
    pub longest_wait: f64,
}

/// The medians for one length of the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOff {
    pub waiters: String,
    pub lock: Times,
    /// The same queue on a list, with BLPOP.
    pub list: Option<Times>,
    /// The CPU time of `lock` over that of `list`.
    pub ratio: Option<f64>,
}

/// The medians for one kind of queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// Of the server, per hand-off.
    pub cpu_us: f64,
    /// From the release to the grant.
    pub grant_us: f64,
}

/// Clients that contend for one lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contention {
    pub clients: usize,
    pub seconds: u64,
    /// How long a client holds the lock, and how long it then pauses.
    pub hold_ms: u128,
    pub pause_ms: u128,
    pub ways: Vec<Way>,
}

/// One way to wait for the lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    pub name: String,
    pub commands_per_lock: f64,
    pub cpu_us_per_lock: f64,
    pub locks_per_second: f64,
    /// The longest wait over the mean wait.
    pub longest_wait: f64,
    /// Of `commands_per_lock`.
    pub goal: Option<Goal>,
}

/// Consumers of jobs that come due. The section may be measured apart from the others, so it names its machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DueWork {
    pub machine: String,
    /// As for the server, during this section.
    pub waiting_share: f64,
    pub rounds: usize,
    /// Per way and round.
    pub jobs: usize,
    pub jobs_per_second: usize,
    /// How long after it is added a job is due, at most.
    pub spread_ms: u64,
    /// The server's CPU time to add a job that no consumer takes.
    pub producer_cpu_us_per_job: f64,
    pub ways: Vec<DueWay>,
    pub idle_consumers: usize,
    pub idle: Vec<IdleWay>,
}

/// One way to get jobs, the medians over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DueWay {
    pub consumers: usize,
    pub name: String,
    /// Of the consumers.
    pub commands_per_job: f64,
    /// Of the server, the producer's commands included.
    pub cpu_us_per_job: f64,
    pub late_p50_ms: f64,
    pub late_p99_ms: f64,
    /// Of `commands_per_job`.
    pub goal: Option<Goal>,
}

/// One way to have nothing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdleWay {
    pub name: String,
    /// Of the server, for all consumers.
    pub cpu_us_per_second: f64,
}

impl Results {
    pub fn read(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// Two spaces per level, in the order of the fields, with a line feed at the end.
    pub fn json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n").map_err(|error| error.to_string())
    }

    /// Replaces the section "Work that comes due" of a server that was measured before.
    pub fn replace_due(&mut self, measured: &Server) -> Result<(), String> {
        let same = |server: &&mut Server| server.product == measured.product && server.version == measured.version;
        let server = self.servers.iter_mut().find(same);
        server.ok_or_else(|| format!("no results of {} {}", measured.product, measured.version))?.due.clone_from(&measured.due);
        Ok(())
    }

    /// How many goals were missed.
    pub fn missed(&self) -> usize {
        self.servers.iter().flat_map(Server::goals).filter(|goal| !goal.reached).count()
    }
}

impl Server {
    fn goals(&self) -> Vec<Goal> {
        let rows = self.sections.iter().flat_map(|section| &section.rows).filter_map(|row| row.goal);
        let means = self.sections.iter().filter_map(|section| Some(section.mean.as_ref()?.goal));
        let ways = self.waiting.iter().flat_map(|waiting| &waiting.contention.ways).filter_map(|way| way.goal);
        let growth = self.waiting.iter().map(|waiting| waiting.hand_offs.growth_goal);
        let due = self.due.iter().flat_map(|due| &due.ways).filter_map(|way| way.goal);
        rows.chain(means).chain(ways).chain(growth).chain(due).collect()
    }
}

impl Goal {
    pub fn new(at_most: f64, figure: f64) -> Self {
        Self { at_most, reached: figure <= at_most }
    }
}

/// Callers keep one digit more than the page shows: further digits would be noise in a diff.
pub fn rounded(figure: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (figure * scale).round() / scale
}
