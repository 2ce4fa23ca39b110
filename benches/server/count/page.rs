//! Renders the counts as the page `docs/count.md`, and as the same text for the terminal.

use std::fmt::Write as _;

use super::super::page::aligned;
use super::results::{Count, PENALTY, Results, Row, Section, Server, TOLERANCE};
use super::rows;

pub fn page(results: &Results) -> String {
    let servers: String = results.servers.iter().map(server).collect();
    introduction(results) + &servers
}

fn introduction(results: &Results) -> String {
    format!(
        "# Instructions per command\n\n\
         Written by `make count COUNT=--write`. Do not edit.\n\n\
         The figures are those of cachegrind {}, per operation, for everything that the server executes in user space: reading\n\
         the command, running it and sending the reply. `cost` is an estimate of the cycles: the instructions, and {PENALTY:.0} for each miss of\n\
         a first-level cache (32 KiB for code, 32 KiB for data) and each mispredicted branch or jump. It predicts CPU time better\n\
         than the instructions alone and, unlike time, hardly depends on the machine. It leaves out the kernel and cold caches.\n\n\
         One connection sends 64 commands at a time, all for one key. All sides of a row run in the same server process, with\n\
         this module and the floor module loaded. A `+` joins the commands of one operation, whose counts are added.\n\
         `make count` repeats the run and fails if a row costs over {:.0} % more than here.\n",
        results.valgrind,
        TOLERANCE * 100.0,
    )
}

/// The section of one server.
pub fn server(server: &Server) -> String {
    let mut text = format!("\n## {} {}\n", server.product, server.version);
    let groups = rows::groups();
    for section in &server.sections {
        let about = groups.iter().find(|group| group.title == section.title).map_or("", |group| group.about);
        let _ = write!(text, "\n### {}\n\n{about}\n\n{}", section.title, table_of(section));
        if let Some(ratio) = Section::mean(section.rows.iter().map(Row::ratio)) {
            let floor = Section::mean(section.rows.iter().filter_map(Row::over_floor));
            let floor = floor.map(|ratio| format!("{ratio:.2} of the floor's cost, ")).unwrap_or_default();
            let _ = writeln!(text, "\nGeometric mean: {floor}{ratio:.2} of the other side's.");
        }
    }
    text
}

fn table_of(section: &Section) -> String {
    let has_floor = section.rows.iter().any(|row| row.floor.is_some());
    let texts = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
    let mut head = texts(&["case", "compared with", "instructions", "code misses", "data misses", "mispredicted", "cost"]);
    head.extend(texts(if has_floor { &["floor's cost", "ratio"] } else { &[] }));
    head.extend(texts(&["other's cost", "ratio"]));
    let columns = head.len();
    let rows = section.rows.iter().map(|row| {
        let Count { instructions, code_misses, data_misses, mispredictions } = row.ours;
        let mut cells = vec![row.case.clone(), row.compared_with.clone()];
        cells.extend([instructions, code_misses, data_misses, mispredictions, row.ours.estimate()].map(whole));
        if has_floor {
            cells.push(row.floor.map(|floor| whole(floor.estimate())).unwrap_or_default());
            cells.push(row.over_floor().map(hundredths).unwrap_or_default());
        }
        cells.extend([whole(row.compared.estimate()), hundredths(row.ratio())]);
        cells
    });
    let table: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    aligned(&table, 2..columns)
}

fn hundredths(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn whole(number: f64) -> String {
    format!("{number:.0}")
}
