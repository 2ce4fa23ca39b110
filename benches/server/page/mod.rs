//! Renders the results as the page `docs/benchmarks.md`, and as the same text for the terminal.

mod waiting;
mod work;

use std::fmt::Write as _;
use std::ops::Range;

use super::cases;
use super::guard::TOLERANCE;
use super::results::{Conditions, Goal, Guard, Mean, Results, Section, Server};

/// Above this waiting share the page calls the figures noisy.
const NOISY: f64 = 0.05;

pub fn page(results: &Results) -> String {
    let servers = results.servers.iter().map(|server| format!("{}{}", self::server(server), without_peer(server)));
    introduction(results) + &servers.collect::<String>()
}

fn introduction(results: &Results) -> String {
    let method = &results.method;
    format!(
        "# Benchmarks\n\n\
         Written by `make bench`. Do not edit.\n\n\
         ![CPU time relative to the server's own, one bar per case](benchmarks.svg)\n\n\
         Each figure is the CPU time of the server's main thread per operation, system calls included, as the kernel accounts\n\
         for it. The server has a core to itself and no persistence. The client runs on another core and checks every reply.\n\
         It uses {} connections, pipelines of {} commands, and {} keys in turn. Where an operation consumes its key and only\n\
         that operation is measured, there are {} keys. The two sides of a row run directly after each other, with at least\n\
         {} operations in each round. `ns` is the median, `ratio` the ratio of the two medians, and \"of any round\" the range\n\
         of the ratios of single rounds. A `+` joins the commands of one operation.\n\n\
         In each round SET is measured against SET, too. A round in which they differ by more than {:.0} % is measured again, at\n\
         most as often as the section has rounds. Each section says what this guard against noise saw.\n",
        method.connections,
        method.pipeline,
        method.keys,
        method.refilled_keys,
        method.requests,
        TOLERANCE * 100.0,
    )
}

/// All sections of one server.
pub fn server(server: &Server) -> String {
    let mut text = format!("\n## {} {}, {}\n", server.product, server.version, server.allocator);
    for group in cases::groups() {
        if let Some(section) = server.sections.iter().find(|section| section.title == group.title) {
            let _ = write!(text, "\n{}", table_of(section, group.about));
        }
    }
    if let Some(waiting) = &server.waiting {
        let _ = write!(text, "\n{}", waiting::for_a_lock(waiting));
    }
    if let Some(due) = &server.due {
        let _ = write!(text, "\n{}", waiting::work_that_comes_due(due));
    }
    if let Some(work) = &server.work {
        let _ = write!(text, "\n{}", work::work(work));
    }
    if let Some(growth) = &server.growth {
        let _ = write!(text, "\n{}", work::growth(growth));
    }
    text
}

/// What is missing if redis-cell was not there to be measured.
fn without_peer(server: &Server) -> &'static str {
    let titled = |group: &&cases::Group| group.name == cases::PEER;
    let title = cases::groups().iter().find(titled).map_or("", |group| group.title);
    let measured = server.sections.iter().any(|section| section.title == title);
    if measured { "" } else { "\nCL.THROTTLE of redis-cell was not measured: `ATOMIC_PEER` did not name its module.\n" }
}

/// How a section was measured, and what that means for its figures.
fn conditions(conditions: &Conditions) -> String {
    let Conditions { machine, rounds, waiting_share, guard } = conditions;
    let seen = guard.as_ref().map_or_else(|| "There was no guard against noise".to_owned(), guarded);
    let noisy = *waiting_share > NOISY || guard.is_some_and(|guard| guard.noisy > 0);
    let verdict = if noisy { " **The machine was not quiet: only large differences count.**" } else { "" };
    format!(
        "{} on {machine}.\n{seen};\nthe server's thread waited {:.1} % of its time for the core.{verdict}",
        rounds_of(*rounds),
        waiting_share * 100.0
    )
}

fn guarded(guard: &Guard) -> String {
    let Guard { ratio, of_any_round: (low, high), repeated, noisy } = guard;
    let mut text = format!("SET : SET was {ratio:.2}, {low:.2}-{high:.2} in any round");
    if *repeated > 0 {
        let again = if *repeated == 1 { "was" } else { "were" };
        let _ = write!(text, "; {} {again} measured again", rounds_of(*repeated));
    }
    if *noisy > 0 {
        let _ = write!(text, ";\nof the rounds that count, {noisy} differed by more than {:.0} %", TOLERANCE * 100.0);
    }
    text
}

fn rounds_of(count: usize) -> String {
    if count == 1 { "1 round".to_owned() } else { format!("{count} rounds") }
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
    let mut text =
        format!("### {}\n\n{about}\n\n{}\n\n{}", section.title, conditions(&section.conditions), aligned(&table, 2..7));
    if let Some(Mean { ratio, goal }) = &section.mean {
        let (times, wanted) = (1.0 / ratio, 1.0 / goal.at_most);
        let verdict = verdict(*goal);
        let _ = writeln!(text, "\nGeometric mean: {ratio:.2}, {times:.1} times less CPU; goal {wanted:.1} times less: {verdict}");
    }
    text
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
