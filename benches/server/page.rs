//! Renders the results as the page `docs/benchmarks.md`, and as the same text for the terminal.

use std::fmt::Write as _;
use std::ops::Range;

use super::cases;
use super::results::{Contention, DueWork, Goal, HandOffs, Mean, Results, Section, Server, Waiting};

/// Above this waiting share the page calls the figures noisy.
const NOISY: f64 = 0.05;

pub fn page(results: &Results) -> String {
    let servers: String = results.servers.iter().map(server).collect();
    introduction(results) + &servers
}

fn introduction(results: &Results) -> String {
    let method = &results.method;
    format!(
        "# Benchmarks\n\n\
         Written by `make bench`. Do not edit.\n\n\
         Each figure is the CPU time of the server's main thread per operation, system calls included, as the kernel accounts\n\
         for it. The server has a core to itself and no persistence. The client runs on another core and checks every reply.\n\
         It uses {} connections, pipelines of {} commands, and {} keys in turn. Where an operation consumes its key and only\n\
         that operation is measured, there are {} keys. The two sides of a row run directly after each other, in {} rounds of\n\
         at least {} operations. `ns` is the median, `ratio` the ratio of the two medians, and \"of any round\" the range of the\n\
         ratios of single rounds. A `+` joins the commands of one operation.\n\n\
         Machine: {}.\n",
        method.connections, method.pipeline, method.keys, method.refilled_keys, method.rounds, method.requests, results.machine,
    )
}

/// The section of one server.
pub fn server(server: &Server) -> String {
    let mut text = format!("\n## {} {}, {}\n\n", server.product, server.version, server.allocator);
    let _ = writeln!(text, "{}", quietness(server.waiting_share));
    let groups = cases::groups();
    for section in &server.sections {
        let about = groups.iter().find(|group| group.title == section.title).map_or("", |group| group.about);
        let _ = write!(text, "\n{}", table_of(section, about));
    }
    if let Some(waiting) = &server.waiting {
        let _ = write!(text, "\n{}", waiting_for_a_lock(waiting));
    }
    if let Some(due) = &server.due {
        let _ = write!(text, "\n{}", work_that_comes_due(due));
    }
    text
}

/// How long the server's thread waited for the core, and what that means for the figures.
fn quietness(waiting_share: f64) -> String {
    let noisy = if waiting_share > NOISY { ": the machine was not quiet, only ratios count" } else { "" };
    format!("The server's thread waited {:.1}% of its time for the core{noisy}.", waiting_share * 100.0)
}

fn table_of(section: &Section, about: &str) -> String {
    let mut table = vec![["case", "compared with", "ns", "ns", "ratio", "of any round", "goal", ""].map(str::to_owned)];
    for row in &section.rows {
        let (low, high) = row.of_any_round;
        let [goal, verdict] = goal_cells(row.goal);
        table.push([
            row.case.clone(),
            row.compared_with.clone(),
            format!("{:.0}", row.ns),
            format!("{:.0}", row.compared_ns),
            format!("{:.2}", row.ratio),
            format!("{low:.2}-{high:.2}"),
            goal,
            verdict,
        ]);
    }
    let mut text = format!("### {}\n\n{about}\n\n{}", section.title, aligned(&table, 2..7));
    if let Some(Mean { ratio, goal }) = &section.mean {
        let (times, wanted) = (1.0 / ratio, 1.0 / goal.at_most);
        let verdict = verdict(*goal);
        let _ = writeln!(text, "\nGeometric mean: {ratio:.2}, {times:.1} times less CPU; goal {wanted:.1} times less: {verdict}");
    }
    text
}

fn waiting_for_a_lock(waiting: &Waiting) -> String {
    let fairness = waiting.hand_offs.longest_wait;
    format!(
        "### Waiting for a lock\n\n{}\nWith 1,000 waiters the longest wait is {fairness:.2} times the mean one.\n\n{}\n",
        hand_offs(&waiting.hand_offs),
        contention(&waiting.contention),
    )
}

fn hand_offs(results: &HandOffs) -> String {
    let mut table = vec![["waiters", "CPU us", "grant us", "BLPOP: CPU us", "grant us", "ratio of CPU"].map(str::to_owned)];
    let figure = |number: Option<f64>, digits| number.map(|number| format!("{number:.digits$}")).unwrap_or_default();
    for row in &results.rows {
        let list = row.list.as_ref();
        table.push([
            row.waiters.clone(),
            figure(Some(row.lock.cpu_us), 1),
            figure(Some(row.lock.grant_us), 0),
            figure(list.map(|list| list.cpu_us), 1),
            figure(list.map(|list| list.grant_us), 0),
            figure(row.ratio, 2),
        ]);
    }
    let HandOffs { rounds, per_round, clients, growth, growth_goal, growth_over_many, .. } = results;
    format!(
        "Clients wait with `ATOMIC.LOCK key owner 60000 WAIT 0`. In one hand-off the holder sends UNLOCK, the next waiter reads\n\
         its grant, and the old holder joins the queue again. Commands are sent one at a time, so the server sleeps and wakes for\n\
         each. CPU is the server's for all of it; `grant` is the time from sending UNLOCK to reading the next client's grant.\n\
         The figures are medians of {rounds} rounds of {per_round} hand-offs, with {clients} clients connected in each row. Next to them\n\
         is the same queue on a list, with the server's own BLPOP and RPUSH. It is left out for 10,000 waiters, because some\n\
         servers take too long.\n\n\
         {}\n\
         A hand-off among 10,000 waiters takes {growth:.2} times the CPU of one among 10; goal {:.2}: {}. It takes\n\
         {growth_over_many:.2} times the CPU of one with 10 waiters in each of 900 queues, which are as short and keep as many\n\
         sockets out of the caches.\n",
        aligned(&table, 1..6),
        growth_goal.at_most,
        verdict(*growth_goal),
    )
}

fn contention(results: &Contention) -> String {
    let head = ["way", "commands per lock", "CPU us per lock", "locks/s", "longest : mean wait", "goal", ""];
    let mut table = vec![head.map(str::to_owned)];
    for way in &results.ways {
        let [goal, verdict] = goal_cells(way.goal);
        table.push([
            way.name.clone(),
            format!("{:.2}", way.commands_per_lock),
            format!("{:.1}", way.cpu_us_per_lock),
            format!("{:.0}", way.locks_per_second),
            format!("{:.2}", way.longest_wait),
            goal,
            verdict,
        ]);
    }
    let Contention { clients, seconds, hold_ms, pause_ms, .. } = results;
    format!(
        "{clients} clients, a thread each, contend for one lock for {seconds} seconds. Each holds it for {hold_ms} ms and asks for it again\n\
         {pause_ms} ms later. Polling clients send `SET key token NX PX 60000`, repeat it after the pause shown, and release with EVALSHA\n\
         of a compare-and-delete; redis-py polls this way, by default every 100 ms. Clients that wait by publish/subscribe, such\n\
         as Redisson's, are not simulated. The goal applies to the commands that clients send per acquired lock. CPU is the\n\
         server's for all of it.\n\n{}",
        aligned(&table, 1..6),
    )
}

fn work_that_comes_due(results: &DueWork) -> String {
    let head = ["consumers", "way", "commands per job", "CPU us per job", "late, p50 ms", "p99 ms", "goal", ""];
    let mut table = vec![head.map(str::to_owned)];
    for way in &results.ways {
        let [goal, verdict] = goal_cells(way.goal);
        table.push([
            way.consumers.to_string(),
            way.name.clone(),
            format!("{:.2}", way.commands_per_job),
            format!("{:.1}", way.cpu_us_per_job),
            format!("{:.2}", way.late_p50_ms),
            format!("{:.2}", way.late_p99_ms),
            goal,
            verdict,
        ]);
    }
    let DueWork { machine, rounds, jobs, jobs_per_second, spread_ms, producer_cpu_us_per_job, idle_consumers, .. } = results;
    let mut idle = vec![["way", "CPU us per second"].map(str::to_owned)];
    idle.extend(results.idle.iter().map(|way| [way.name.clone(), format!("{:.0}", way.cpu_us_per_second)]));
    format!(
        "### Work that comes due\n\n\
         A producer adds {jobs} jobs to a sorted set with ZADD, {jobs_per_second} per second. Each is due at a random time within the next\n\
         {spread_ms} ms. Consumers take them, one thread each. A job is late by the time from when it is due to when a consumer has read\n\
         it. A consumer that polls calls a script with ZRANGE and ZREM, which returns jobs that are due. It calls the script again at\n\
         once if it got as many jobs as it asked for, or else after the pause shown. The pauses of several consumers begin one after\n\
         the other. Commands are those of consumers. CPU is the server's for all of it, the producer's ZADD included; that alone takes\n\
         {producer_cpu_us_per_job:.1} us per job. A server with consumers that wait wakes for each job; one that is polled hands out several at a\n\
         time, later. The figures are medians of {rounds} rounds. The goal applies to the commands per job.\n\n\
         Machine: {machine}. {}\n\n\
         {}\n\
         {idle_consumers} idle consumers, whose next job is due in an hour, cost the server:\n\n{}",
        quietness(results.waiting_share),
        aligned(&table, 2..7),
        aligned(&idle, 1..2),
    )
}

/// The cells for a goal and its verdict.
fn goal_cells(goal: Option<Goal>) -> [String; 2] {
    goal.map(|goal| [format!("{:.2}", goal.at_most), verdict(goal).to_owned()]).unwrap_or_default()
}

fn verdict(goal: Goal) -> &'static str {
    if goal.reached { "ok" } else { "MISSED" }
}

/// A Markdown table, aligned for the terminal. The first row is its head; the columns `numbers` are aligned right.
pub fn aligned(table: &[impl AsRef<[String]>], numbers: Range<usize>) -> String {
    let rows: Vec<&[String]> = table.iter().map(AsRef::as_ref).collect();
    let columns = rows.first().map_or(0, |head| head.len());
    let widths: Vec<usize> = (0..columns).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if numbers.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let rule = |(column, &width): (usize, &usize)| {
                if numbers.contains(&column) { format!("{}:", "-".repeat(width + 1)) } else { "-".repeat(width + 2) }
            };
            let _ = writeln!(text, "|{}|", widths.iter().enumerate().map(rule).collect::<Vec<_>>().join("|"));
        }
    }
    text
}
