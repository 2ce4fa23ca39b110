//! `docs/benchmarks.json` and the page that is made from it: the benchmark's own code reads and writes both. Needs no server.

use std::fs;

use crate::support::installed::root;
use crate::support::updates;

#[allow(dead_code)]
#[path = "../../benches/server/main.rs"]
pub mod bench;

use bench::results::Results;

fn committed() -> (String, Results) {
    let json = fs::read_to_string(root().join("docs/benchmarks.json")).unwrap();
    let results = Results::read(&json).unwrap();
    (json, results)
}

#[test]
fn results_are_read_back_as_they_were_written() {
    let (json, results) = committed();
    assert_eq!(results.json().unwrap(), json);
    for (place, wrong) in [("\"goal\"", "\"gaol\""), ("\"ns\"", "\"nanos\"")] {
        assert!(Results::read(&json.replacen(place, wrong, 1)).is_err(), "a field {wrong} is accepted");
    }
}

/// New words need no new figures: `UPDATE=1` writes the page from the results that are there.
#[test]
fn benchmark_page_is_made_from_the_results() {
    let (_, results) = committed();
    let path = root().join("docs/benchmarks.md");
    let page = bench::page::page(&results);
    if updates() {
        fs::write(&path, &page).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == page, "docs/benchmarks.md is stale: UPDATE=1 make test FILTER=benchmarks");
}

/// The explanation of a section is found by its title.
#[test]
fn every_section_of_the_results_has_its_explanation() {
    let (_, results) = committed();
    let groups = bench::cases::groups();
    for section in results.servers.iter().flat_map(|server| &server.sections) {
        let known = groups.iter().any(|group| group.title == section.title);
        assert!(
            known,
            "{:?} has another title in benches/server/cases.rs: change it in docs/benchmarks.json, too",
            section.title
        );
    }
}

#[test]
fn every_row_of_the_hand_offs_has_the_name_that_a_run_gives_it() {
    let (_, results) = committed();
    let named: Vec<&str> = bench::handover::SHAPES.iter().map(|shape| shape.name).collect();
    for waiting in results.servers.iter().filter_map(|server| server.waiting.as_ref()) {
        let rows: Vec<&str> = waiting.hand_offs.rows.iter().map(|row| row.waiters.as_str()).collect();
        assert_eq!(rows, named, "change docs/benchmarks.json, too");
    }
}

#[test]
fn every_row_of_work_that_comes_due_has_the_name_that_a_run_gives_it() {
    let (_, results) = committed();
    for due in results.servers.iter().filter_map(|server| server.due.as_ref()) {
        let rows: Vec<_> = due.ways.iter().map(|way| (way.consumers, way.name.as_str())).collect();
        assert_eq!(rows, bench::due::rows().collect::<Vec<_>>(), "change docs/benchmarks.json, too");
        let idle: Vec<_> = due.idle.iter().map(|way| way.name.as_str()).collect();
        assert_eq!(idle, bench::due::idle_rows().collect::<Vec<_>>(), "change docs/benchmarks.json, too");
    }
}
