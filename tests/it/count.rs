//! `docs/count.json`, the page that is made from it, and when `make count` fails: its own code reads, writes and compares. Needs no server.

use std::collections::BTreeSet;
use std::fs;

use crate::benchmarks::bench::count::results::{Count, Results};
use crate::benchmarks::bench::count::{page, rows};
use crate::support::installed::root;
use crate::support::updates;

fn committed() -> (String, Results) {
    let json = fs::read_to_string(root().join("docs/count.json")).unwrap();
    let results = Results::read(&json).unwrap();
    (json, results)
}

#[test]
fn counts_are_read_back_as_they_were_written() {
    let (json, results) = committed();
    assert_eq!(results.json().unwrap(), json);
    for (place, wrong) in [("\"floor\"", "\"flour\""), ("\"instructions\"", "\"ir\"")] {
        assert!(Results::read(&json.replacen(place, wrong, 1)).is_err(), "a field {wrong} is accepted");
    }
}

/// New words need no new figures: `UPDATE=1` writes the page from the counts that are there.
#[test]
fn page_of_counts_is_made_from_the_counts() {
    let (_, results) = committed();
    let path = root().join("docs/count.md");
    let page = page::page(&results);
    if updates() {
        fs::write(&path, &page).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == page, "docs/count.md is stale: UPDATE=1 make test FILTER=count");
}

/// A row that is left out on a server needs a command which that server lacks.
#[test]
fn every_row_has_a_committed_figure() {
    let (_, results) = committed();
    assert_eq!(results.servers.len(), 3);
    for server in &results.servers {
        for group in rows::groups() {
            let section = server.sections.iter().find(|section| section.title == group.title).unwrap();
            let known: BTreeSet<_> = section.rows.iter().map(|row| (row.case.as_str(), row.compared_with.as_str())).collect();
            let cases: BTreeSet<_> = group.cases.iter().map(|case| (case.name, case.compared_with)).collect();
            assert!(known.is_subset(&cases), "{} {}: make count COUNT=--write", server.product, server.version);
            for case in group.cases.iter().filter(|case| !known.contains(&(case.name, case.compared_with))) {
                assert!(case.needs.is_some(), "{} {} lacks {}", server.product, server.version, case.name);
            }
        }
    }
}

#[test]
fn a_row_that_costs_over_3_percent_more_is_named() {
    let (_, before) = committed();
    let changed = |factor: f64| {
        let mut now = before.clone();
        let count = &mut now.servers[1].sections[0].rows[2].ours;
        // All of the growth is in the instructions.
        count.instructions += (factor - 1.0) * count.estimate();
        now.worse_than(&before)
    };
    assert_eq!(before.worse_than(&before), [""; 0]);
    assert_eq!(changed(0.5), [""; 0]);
    assert_eq!(changed(1.029), [""; 0]);
    let worse = changed(1.04);
    assert_eq!(worse.len(), 1, "{worse:?}");
    let row = &before.servers[1].sections[0].rows[2];
    assert!(worse[0].contains(&row.case) && worse[0].contains("costs 4.0 % more"), "{worse:?}");
}

#[test]
fn a_row_a_section_or_a_server_without_a_committed_figure_is_named() {
    let (_, now) = committed();
    let without = |remove: &dyn Fn(&mut Results)| {
        let mut before = now.clone();
        remove(&mut before);
        now.worse_than(&before)
    };
    let row = without(&|before| drop(before.servers[0].sections[0].rows.remove(0)));
    assert_eq!(row.len(), 1);
    assert!(row[0].contains("CAS") && row[0].contains("no committed figure"), "{row:?}");
    let section = without(&|before| drop(before.servers[0].sections.pop()));
    assert_eq!(section.len(), now.servers[0].sections[1].rows.len());
    let server = without(&|before| before.servers[2].version.push('0'));
    assert_eq!(server.len(), now.servers[2].sections.iter().map(|section| section.rows.len()).sum::<usize>());
}

/// The names and their order differ between the simulations that are on.
#[test]
fn counts_are_found_by_the_names_of_the_events() {
    let text = "desc: x\nevents: Ir I1mr ILmr Dr D1mr DLmr Dw D1mw DLmw Bc Bcm Bi Bim\n1 2 3\n\
                summary: 1000 1 90 91 2 92 93 4 94 95 8 96 16\n";
    let count = Count::of_cachegrind(text).unwrap();
    assert_eq!(count, Count { instructions: 1000.0, code_misses: 1.0, data_misses: 6.0, mispredictions: 24.0 });
    assert!((count.estimate() - 1310.0).abs() < 1e-9);
    assert!(Count::of_cachegrind("events: Ir\n").is_err());
    assert!(Count::of_cachegrind(&text.replace("1000", "many")).is_err());
}
