//! `docs/benchmarks.json` and the page that is made from it: the benchmark's own code reads and writes both. Needs no server.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use crate::support::installed::root;
use crate::support::updates;

#[allow(dead_code)]
#[path = "../../benches/server/main.rs"]
pub mod bench;

use bench::cases::groups;
use bench::guard::{Guard, is_noisy};
use bench::results::{
    Conditions, Goal, Growth, GrowthRow, GrowthTable, Measured, Results, Row, Section, Server, Task, Work, WorkWay,
};
use bench::work::load::{self, Client, Request, Then};

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

/// New words need no new figures: `UPDATE=1` writes the page and the chart from the results that are there.
#[test]
fn page_and_chart_of_the_benchmarks_are_made_from_the_results() {
    let (_, results) = committed();
    for (name, text) in [("benchmarks.md", bench::page::page(&results)), ("benchmarks.svg", bench::chart::chart(&results))] {
        let path = root().join("docs").join(name);
        if updates() {
            fs::write(&path, &text).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "docs/{name} is stale: UPDATE=1 make test FILTER=benchmarks");
    }
}

/// The explanation of a section is found by its title.
#[test]
fn every_section_of_the_results_has_its_explanation() {
    let (_, results) = committed();
    let groups = groups();
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
        let rows: Vec<&str> = waiting.figures.hand_offs.rows.iter().map(|row| row.waiters.as_str()).collect();
        assert_eq!(rows, named, "change docs/benchmarks.json, too");
    }
}

#[test]
fn every_row_of_work_that_comes_due_has_the_name_that_a_run_gives_it() {
    let (_, results) = committed();
    for due in results.servers.iter().filter_map(|server| server.due.as_ref()) {
        let rows: Vec<_> = due.figures.ways.iter().map(|way| (way.consumers, way.name.as_str())).collect();
        assert_eq!(rows, bench::due::rows().collect::<Vec<_>>(), "change docs/benchmarks.json, too");
        let idle: Vec<_> = due.figures.idle.iter().map(|way| way.name.as_str()).collect();
        assert_eq!(idle, bench::due::idle_rows().collect::<Vec<_>>(), "change docs/benchmarks.json, too");
    }
}

#[test]
fn every_row_of_real_work_and_growth_has_the_name_that_a_run_gives_it() {
    let (_, results) = committed();
    for work in results.servers.iter().filter_map(|server| server.work.as_ref()) {
        let named: Vec<_> = bench::work::jobs().iter().map(|job| job.name).collect();
        let rows: Vec<_> = work.figures.tasks.iter().map(|task| task.name.as_str()).collect();
        assert_eq!(rows, named, "change docs/benchmarks.json, too");
    }
    for growth in results.servers.iter().filter_map(|server| server.growth.as_ref()) {
        let named: Vec<_> = bench::growth::tables().iter().map(|table| table.title).collect();
        let rows: Vec<_> = growth.figures.tables.iter().map(|table| table.title.as_str()).collect();
        assert_eq!(rows, named, "change docs/benchmarks.json, too");
    }
}

/// A mistake in a row shows here, not after half of a long run.
#[test]
fn every_row_of_the_benchmark_can_be_encoded() {
    let called = bench::calls::scripts().map(|script| script.name);
    let names = bench::scripts::SOURCES.iter().map(|(name, _)| *name).chain(called);
    let shas: HashMap<_, _> = names.map(|name| (name, "0".repeat(40))).collect();
    let mut rows = 0;
    for case in groups().iter().flat_map(|group| &group.cases) {
        for (side, workload) in [(case.name, case.subject), (case.reference_name, case.reference)] {
            workload.preparation(0..1, &shas).unwrap_or_else(|error| panic!("{side}: {error}"));
            workload.refilling(0..1, &shas).unwrap_or_else(|error| panic!("{side}: {error}"));
            let stream = workload.operations(0..workload.cycle(), 0..1, &shas).unwrap_or_else(|error| panic!("{side}: {error}"));
            assert!(stream.batches() > 0, "{side} measures nothing");
            rows += 1;
        }
    }
    assert!(rows > 400, "only {rows} sides");
}

#[test]
fn every_section_can_be_chosen_by_a_name_of_its_own_that_the_usage_lists() {
    let sections = bench::options::sections();
    assert_eq!(sections.iter().collect::<BTreeSet<_>>().len(), sections.len(), "{sections:?}");
    let usage = fs::read_to_string(root().join("benches/server/main.rs")).unwrap().replace("\n//! ", " ");
    assert!(
        usage.contains(&format!("one section: {}.", sections.join(", "))),
        "the usage lists other sections than {sections:?}"
    );
}

#[test]
fn the_guard_repeats_a_noisy_round_until_no_repetition_is_left() {
    assert!(!is_noisy(1.05) && is_noisy(1.06) && is_noisy(0.94));
    let mut guard = Guard::default();
    assert!(guard.accepts((100.0, 104.0), 1), "a quiet round counts");
    assert!(!guard.accepts((100.0, 106.0), 1), "a noisy round is repeated");
    assert!(guard.accepts((106.0, 100.0), 1), "after the last repetition it counts");
    let seen = guard.results();
    assert_eq!((seen.repeated, seen.noisy, seen.of_any_round), (1, 1, (0.962, 1.06)));
}

/// A server with one section of one row.
fn measured(title: &str, case: &str, ratio: f64) -> Server {
    let conditions = Conditions { machine: "m".to_owned(), rounds: 1, waiting_share: 0.0, guard: None };
    let row = Row {
        case: case.to_owned(),
        compared_with: "SET".to_owned(),
        ns: ratio,
        compared_ns: 1.0,
        ratio,
        of_any_round: (ratio, ratio),
        goal: Some(Goal::new(1.0, ratio)),
    };
    let section = Section { title: title.to_owned(), conditions, rows: vec![row], mean: None };
    Server { product: "Redis".to_owned(), version: "7.0.0".to_owned(), sections: vec![section], ..Server::default() }
}

#[test]
fn the_page_shows_work_growth_and_what_the_guard_saw() {
    let guard = bench::results::Guard { ratio: 1.01, of_any_round: (0.9, 1.1), repeated: 2, noisy: 1 };
    let conditions = Conditions { machine: "m".to_owned(), rounds: 3, waiting_share: 0.0, guard: Some(guard) };
    let way = WorkWay {
        name: "a way".to_owned(),
        fastest_per_second: 1234.0,
        fastest_cpu_us: 1.25,
        cpu_us: 2.5,
        p50_ms: 0.5,
        p99_ms: 1.5,
        p999_ms: 2.5,
    };
    let (name, ways) = (bench::work::jobs()[1].name.to_owned(), vec![way]);
    let tasks = vec![Task { name, clients: 100, requests: 7, per_second: 8, ways }];
    let rows = [("ours", Some(Goal::new(1.25, 1.5))), ("theirs", None)].map(|(case, goal)| GrowthRow {
        case: case.to_owned(),
        ns: vec![100.0, 150.0],
        growth: 1.5,
        goal,
    });
    let table =
        GrowthTable { title: bench::growth::tables()[0].title.to_owned(), sizes: vec![10, 10_000_000], rows: rows.into() };
    let server = Server {
        work: Some(Measured { conditions: conditions.clone(), figures: Work { tasks, peer: false } }),
        growth: Some(Measured { conditions, figures: Growth { tables: vec![table] } }),
        ..Server::default()
    };
    let page = bench::page::server(&server);
    for line in [
        "3 rounds on m.",
        "SET : SET was 1.01, 0.90-1.10 in any round; 2 rounds were measured again;",
        "of the rounds that count, 1 differed by more than 5 %;",
        "the server's thread waited 0.0 % of its time for the core. **The machine was not quiet: only large differences count.**",
        "100 clients, 7 requests in each round; the fixed rate is 8 per second.",
        "| way   | per second | CPU us | CPU us at the rate | wait, p50 ms | p99 ms | p99.9 ms |",
        "| a way |       1234 |    1.2 |                2.5 |         0.50 |   1.50 |     2.50 |",
        "redis-cell was not measured: `ATOMIC_PEER` did not name its module.",
        "| case   | 10 keys | 10,000,000 keys | growth |          |",
        "| ours   |     100 |             150 |   1.50 | NOT FLAT |",
        "| theirs |     100 |             150 |   1.50 |          |",
    ] {
        assert!(page.lines().any(|found| found == line), "no line {line:?} in:\n{page}");
    }
    let results = Results { servers: vec![server], ..committed().1 };
    assert_eq!(Results::read(&results.json().unwrap()).unwrap(), results);
    assert_eq!(results.missed(), 1);
}

#[test]
fn an_update_replaces_its_section_and_keeps_the_others() {
    let (_, committed) = committed();
    let mut results = Results { servers: Vec::new(), ..committed };
    let other = Server { version: "8.0.0".to_owned(), ..measured("one", "a", 3.0) };
    for server in [measured("one", "a", 1.0), measured("two", "b", 1.0), measured("one", "c", 2.0), other] {
        results.merge(&server);
    }
    let found: Vec<_> = results.servers.iter().flat_map(|server| &server.sections).map(|section| &section.rows[0]).collect();
    let found: Vec<_> = found.iter().map(|row| (row.case.as_str(), row.ratio)).collect();
    assert_eq!(found, [("c", 2.0), ("b", 1.0), ("a", 3.0)]);
    assert_eq!(results.missed(), 2);
}

#[test]
fn bars_of_the_chart_for_half_and_twice_the_cost_lie_on_both_sides_of_the_line() {
    let (_, committed) = committed();
    let bar = |ratio| {
        let servers = vec![measured(groups()[0].title, "a<b", ratio)];
        let chart = bench::chart::chart(&Results { servers, ..committed.clone() });
        assert!(chart.contains("a&lt;b") && !chart.contains("a<b"), "a name is not escaped");
        let line = chart.lines().find(|line| line.starts_with("<rect class=\"s0\"") && line.contains("font-size=\"9\"")).unwrap();
        let number =
            |name: &str| -> f64 { line.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap() };
        (number(" x"), number("width"), line.contains('\u{25cf}'))
    };
    let ((half, left_width, _), (twice, right_width, _)) = (bar(0.5), bar(2.0));
    assert!((half + left_width - twice).abs() < 0.2, "{half} + {left_width} is not {twice}");
    assert!((left_width - right_width).abs() < 0.2 && left_width > 10.0, "{left_width} and {right_width}");
    assert!(bar(1.0).1 < 0.2 && bar(1e6).1 >= bar(8.0).1);
    assert!(bar(1.5).2 && !bar(0.5).2, "a dot marks a missed goal");
}

#[test]
fn percentiles_are_figures_that_were_measured() {
    let figures: Vec<f64> = (1..=1000).map(f64::from).collect();
    let at = |thousandths| bench::work::percentile(&figures, thousandths);
    assert_eq!((at(500), at(990), at(999), at(1000)), (500.0, 990.0, 999.0, 1000.0));
    assert_eq!(bench::work::percentile(&[7.0], 1), 7.0);
    assert!(bench::work::percentile(&[], 500).is_nan());
}

/// A server of one client that replies to each line `PING` with what `reply` returns for its number.
fn replying(reply: impl Fn(usize) -> &'static str + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let words = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok).filter(|line| line == "PING");
        for (number, _) in words.enumerate() {
            stream.write_all(reply(number).as_bytes()).unwrap();
        }
    });
    port
}

fn client(denied: Option<(&'static str, Duration)>, then: Option<Then>) -> [Client; 1] {
    let request = Request { ask: "PING".to_owned(), granted: "+PONG", denied, then };
    [Client { key: "k".to_owned(), name: "o".to_owned(), request }]
}

/// Otherwise a server that stalls would be charged for one request only.
#[test]
fn requests_at_a_fixed_rate_wait_from_their_planned_time_on() {
    let port = replying(|number| {
        if number == 0 {
            thread::sleep(Duration::from_millis(100));
        }
        "+PONG\r\n"
    });
    let outcome = load::run(port, &client(None, None), 200, Some(1000)).unwrap();
    assert_eq!(outcome.waits_ms.len(), 200);
    for (planned_ms, wait) in (0..100).zip(&outcome.waits_ms) {
        assert!(wait + f64::from(planned_ms) >= 100.0, "the request planned at {planned_ms} ms waited {wait} ms only");
    }
    assert!(outcome.seconds >= 0.199, "the last request came early: {} s", outcome.seconds);
}

#[test]
fn a_denied_client_asks_again_and_a_wrong_reply_is_an_error() {
    let port = replying(|number| if number % 3 == 2 { "+PONG\r\n" } else { ":0\r\n" });
    let pause = Duration::from_millis(5);
    let outcome = load::run(port, &client(Some((":0", pause)), None), 10, None).unwrap();
    assert!(outcome.waits_ms.iter().all(|&wait| wait >= 10.0), "{:?}", outcome.waits_ms);

    let then = Then { work: pause, command: "PING".to_owned(), reply: "+DONE" };
    let port = replying(|number| if number % 2 == 0 { "+PONG\r\n" } else { "+DONE\r\n" });
    let outcome = load::run(port, &client(None, Some(then.clone())), 10, None).unwrap();
    assert!(outcome.seconds >= 0.05 && outcome.waits_ms.len() == 10, "{} s", outcome.seconds);

    for wrong in [client(None, None), client(None, Some(then))] {
        let port = replying(|number| if number == 0 { "+PONG\r\n" } else { "-ERR no\r\n" });
        assert!(load::run(port, &wrong, 2, None).is_err());
    }
}
