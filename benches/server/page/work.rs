//! The sections on real work and on growth.

use std::fmt::Write as _;

use super::super::growth;
use super::super::results::{Growth, GrowthTable, Measured, Task, Work};
use super::super::work;
use super::{aligned, conditions};

pub fn work(measured: &Measured<Work>) -> String {
    let mut text = format!(
        "### Real work\n\n\
         What applications do, each way twice. First as fast as the clients can: the rate that they reach, and the CPU of the server per\n\
         request. Then at a fixed rate: the CPU per request, and how long a request waits. It waits from its planned time of arrival on,\n\
         even if it could not be sent then. \"The server alone\" is a server without this module. The clients share one core.\n\n\
         {}\n",
        conditions(&measured.conditions),
    );
    for task in &measured.figures.tasks {
        let _ = write!(text, "\n{}", table_of_task(task));
    }
    if !measured.figures.peer {
        text.push_str("\nredis-cell was not measured: `ATOMIC_PEER` did not name its module.\n");
    }
    text
}

fn table_of_task(task: &Task) -> String {
    let about = work::jobs().iter().find(|job| job.name == task.name).map_or("", |job| job.about);
    let head = ["way", "per second", "CPU us", "CPU us at the rate", "wait, p50 ms", "p99 ms", "p99.9 ms"];
    let mut table = vec![head.map(str::to_owned)];
    table.extend(task.ways.iter().map(|way| {
        let waits = [way.p50_ms, way.p99_ms, way.p999_ms].map(|wait| format!("{wait:.2}"));
        let [p50, p99, p999] = waits;
        let cpu = |us: f64| format!("{us:.1}");
        [way.name.clone(), format!("{:.0}", way.fastest_per_second), cpu(way.fastest_cpu_us), cpu(way.cpu_us), p50, p99, p999]
    }));
    let Task { name, clients, requests, per_second, .. } = task;
    let clients = if *clients == 1 { "One client".to_owned() } else { format!("{clients} clients") };
    format!(
        "#### {name}\n\n{about}\n{clients}, {requests} requests in each round; the fixed rate is {per_second} per second.\n\n{}",
        aligned(&table, 1..7)
    )
}

pub fn growth(measured: &Measured<Growth>) -> String {
    let mut text = format!(
        "### Growth\n\n\
         CPU time in ns per operation, with more and more of something. A command is flat if it costs at most {:.2} times as much at the\n\
         largest size as at the smallest; caches that get colder explain such a difference. Rows without a verdict are the server's own.\n\n\
         {}\n",
        growth::GOAL,
        conditions(&measured.conditions),
    );
    for table in &measured.figures.tables {
        let _ = write!(text, "\n{}", table_of_growth(table));
    }
    text
}

fn table_of_growth(table: &GrowthTable) -> String {
    let about = growth::tables().iter().find(|known| known.title == table.title).map_or("", |known| known.about);
    let sizes = table.sizes.iter().map(|size| format!("{} {}", grouped(*size), table.title));
    let head = std::iter::once("case".to_owned()).chain(sizes).chain(["growth", ""].map(str::to_owned));
    let rows = table.rows.iter().map(|row| {
        let verdict = row.goal.map_or("", |goal| if goal.reached { "flat" } else { "NOT FLAT" });
        let ns = row.ns.iter().map(|ns| format!("{ns:.0}"));
        std::iter::once(row.case.clone()).chain(ns).chain([format!("{:.2}", row.growth), verdict.to_owned()]).collect()
    });
    let cells: Vec<Vec<String>> = std::iter::once(head.collect()).chain(rows).collect();
    format!("{about}\n\n{}", aligned(&cells, 1..table.sizes.len() + 2))
}

/// A number with a comma after each three digits.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = (0..digits.len().div_ceil(3))
        .rev()
        .map(|group| {
            let end = digits.len() - group * 3;
            &digits[end.saturating_sub(3)..end]
        })
        .collect();
    groups.join(",")
}
