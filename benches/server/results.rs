//! The results of a run, in the layout of `docs/benchmarks.json`. `docs/benchmarks.md` is generated from these structs.

#![allow(missing_docs, reason = "most fields are explained by their names")]

use serde::{Deserialize, Serialize};

/// The results of one or more servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
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
    /// The least number of operations per side and round.
    pub requests: usize,
}

/// The figures of one server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `Redis` or `Valkey`.
    pub product: String,
    pub version: String,
    pub allocator: String,
    pub sections: Vec<Section>,
    /// The section "Waiting for a lock".
    pub waiting: Option<Measured<Waiting>>,
    /// The section "Work that comes due".
    pub due: Option<Measured<DueWork>>,
    /// The section "Real work".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<Measured<Work>>,
    /// The section "Growth".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<Measured<Growth>>,
}

/// How a section was measured. Sections can be measured apart from each other, so each has its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The processor, its cores and the kernel.
    pub machine: String,
    pub rounds: usize,
    /// The share of its time in which the main thread was ready to run but waited for the core.
    pub waiting_share: f64,
    /// What the guard saw. Missing if the section was measured without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
}

/// A section that is no table of comparisons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured<T> {
    pub conditions: Conditions,
    pub figures: T,
}

/// SET against SET, in each round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The ratio of the medians over the rounds.
    pub ratio: f64,
    /// The lowest and the highest ratio of a single round.
    pub of_any_round: (f64, f64),
    /// How many rounds were measured again because the two sides differed by more than the tolerance.
    pub repeated: usize,
    /// How many of the rounds that count have such a difference nevertheless.
    pub noisy: usize,
}

/// Rows with one title. `cases.rs` has the introduction for each title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub title: String,
    pub conditions: Conditions,
    pub rows: Vec<Row>,
    /// The geometric mean of the ratios of the rows with a goal, if it has a goal itself.
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
    pub goal: Option<Goal>,
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

/// Consumers of jobs that come due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DueWork {
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

/// What applications do, each in several ways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    pub tasks: Vec<Task>,
    /// Whether redis-cell was there to be measured.
    pub peer: bool,
}

/// One kind of work. `work/mod.rs` has the introduction for each name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    pub name: String,
    pub clients: usize,
    /// Per way and round, once as fast as the clients can and once at the fixed rate.
    pub requests: usize,
    /// The fixed rate.
    pub per_second: usize,
    pub ways: Vec<WorkWay>,
}

/// One way to do the work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkWay {
    pub name: String,
    /// As fast as the clients can.
    pub fastest_per_second: f64,
    /// Of the server, as fast as the clients can and at the fixed rate.
    pub fastest_cpu_us: f64,
    pub cpu_us: f64,
    /// From the planned time of arrival, at the fixed rate, over all rounds.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
}

/// What a command costs while something else grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    pub tables: Vec<GrowthTable>,
}

/// `growth.rs` has the introduction for each title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowthTable {
    pub title: String,
    pub sizes: Vec<usize>,
    pub rows: Vec<GrowthRow>,
}

/// The medians for each size, in nanoseconds per operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowthRow {
    pub case: String,
    pub ns: Vec<f64>,
    /// The cost at the largest size over the cost at the smallest.
    pub growth: f64,
    /// Missing for what the server does itself.
    pub goal: Option<Goal>,
}

impl Results {
    pub fn read(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// Two spaces per level, in the order of the fields, with a line feed at the end.
    pub fn json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n").map_err(|error| error.to_string())
    }

    /// Puts the sections that were measured in the place of those of the same server, and keeps its other ones.
    pub fn merge(&mut self, measured: &Server) {
        let same = |server: &&mut Server| server.product == measured.product && server.version == measured.version;
        match self.servers.iter_mut().find(same) {
            Some(server) => server.merge(measured),
            None => self.servers.push(measured.clone()),
        }
    }

    /// How many goals were missed.
    pub fn missed(&self) -> usize {
        self.servers.iter().flat_map(Server::goals).filter(|goal| !goal.reached).count()
    }
}

impl Server {
    fn merge(&mut self, measured: &Self) {
        for section in &measured.sections {
            match self.sections.iter_mut().find(|known| known.title == section.title) {
                Some(known) => known.clone_from(section),
                None => self.sections.push(section.clone()),
            }
        }
        self.allocator.clone_from(&measured.allocator);
        self.waiting = measured.waiting.clone().or(self.waiting.take());
        self.due = measured.due.clone().or(self.due.take());
        self.work = measured.work.clone().or(self.work.take());
        self.growth = measured.growth.clone().or(self.growth.take());
    }

    fn goals(&self) -> Vec<Goal> {
        let rows = self.sections.iter().flat_map(|section| &section.rows).filter_map(|row| row.goal);
        let means = self.sections.iter().filter_map(|section| Some(section.mean.as_ref()?.goal));
        let ways = self.waiting.iter().flat_map(|waiting| &waiting.figures.contention.ways).filter_map(|way| way.goal);
        let hand_offs = self.waiting.iter().map(|waiting| &waiting.figures.hand_offs);
        let hand_offs = hand_offs.flat_map(|all| all.rows.iter().filter_map(|row| row.goal).chain([all.growth_goal]));
        let due = self.due.iter().flat_map(|due| &due.figures.ways).filter_map(|way| way.goal);
        let tables = self.growth.iter().flat_map(|growth| &growth.figures.tables);
        let growth = tables.flat_map(|table| &table.rows).filter_map(|row| row.goal);
        rows.chain(means).chain(ways).chain(hand_offs).chain(due).chain(growth).collect()
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
