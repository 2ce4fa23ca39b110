//! ATOMIC.SCRIPT LIST, SHOW, STATS, RESETSTAT and HELP.

use super::{eval, evalsha, sha1};
use crate::support::{Server, Value, each_server};

const GOOD: &str = "return 1";
const BAD: &str = "error('always')";
const SLOW: &str = "local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + i % 7 end return n";

fn stats(server: &Server, script: &str) -> Value {
    server.run(&format!("ATOMIC.SCRIPT STATS {}", sha1(script)))
}

#[track_caller]
fn number(map: &Value, name: &str) -> i64 {
    map.field(name).unwrap_or_else(|| panic!("no {name} in {map}")).integer()
}

#[test]
fn calls_and_errors_are_counted_per_script() {
    each_server(|server| {
        server.call(&["ATOMIC.SCRIPT", "LOAD", GOOD]);
        for _ in 0..3 {
            server.call(&evalsha(GOOD, "0"));
            server.call(&eval(GOOD, "0"));
            server.call(&eval(BAD, "0"));
        }
        server.call(&eval("return redis.pcall('GET')", "0"));
        server.call(&evalsha("return 'unknown'", "0"));
        let counts = |script| {
            let stats = stats(server, script);
            (number(&stats, "calls"), number(&stats, "errors"), number(&stats, "stored"), number(&stats, "bytes"))
        };
        assert_eq!(counts(GOOD), (6, 0, 1, 8));
        assert_eq!(counts(BAD), (3, 3, 0, 15));
        assert_eq!(counts("return redis.pcall('GET')").1, 0, "an error that the script returns is a reply");
        let all = server.run("ATOMIC.SCRIPT STATS");
        let expected = [
            ("scripts", 3),
            ("bytes", 48),
            ("stored", 1),
            ("stored-bytes", 8),
            ("stored-memory", redis_atomic::lua::stored_memory(8) as i64),
            ("store-refused", 0),
            ("evicted", 0),
            ("calls", 11),
            ("errors", 4),
        ];
        for (name, value) in expected {
            assert_eq!(number(&all, name), value, "{name}");
        }
        assert!(number(&all, "vm-memory") > 10_000);
        assert_eq!(all.pairs().len(), 10);
    });
}

#[test]
fn times_are_plausible_and_ordered() {
    each_server(|server| {
        for _ in 0..200 {
            server.call(&eval(SLOW, "0 10"));
        }
        let fast = stats(server, SLOW);
        for _ in 0..3 {
            server.call(&eval(SLOW, "0 3000000"));
        }
        let slow = stats(server, SLOW);
        let times = |stats: &Value| ["p50-us", "p99-us", "max-us", "total-us"].map(|name| number(stats, name));
        for [p50, p99, max, total] in [times(&fast), times(&slow)] {
            assert!(1 <= p50 && p50 <= p99 && p99 <= max && max <= total, "{p50} {p99} {max} {total}");
        }
        let ([_, _, _, before], [p50, p99, max, total]) = (times(&fast), times(&slow));
        assert!(p50 < 1000, "most runs were fast: {p50}");
        assert!(p99 > 2000 && max > 2000, "1 of 100 was slow: {p99}, {max}");
        assert!(total >= before + 2 * max / 2 && total <= before + 4 * max, "{before} {total} {max}");
    });
}

#[test]
fn memory_counts_the_compiled_script() {
    each_server(|server| {
        let long = format!("local t = {{}} {} return #t", "t[#t + 1] = 'x' .. #t ".repeat(300));
        server.call(&["ATOMIC.SCRIPT", "LOAD", GOOD]);
        server.call(&["ATOMIC.SCRIPT", "LOAD", &long]);
        let (small, large) = (number(&stats(server, GOOD), "memory"), number(&stats(server, &long), "memory"));
        assert!(0 < small && small < 2000 && 10 * small < large, "{small} {large}");
        server.shut_down("SAVE");
        server.start_again();
        assert_eq!(number(&stats(server, &long), "memory"), 0, "not compiled yet");
        server.call(&evalsha(&long, "0"));
        assert!(number(&stats(server, &long), "memory") > small);
    });
}

#[test]
fn resetstat_zeroes_the_counters_and_nothing_else() {
    each_server(|server| {
        server.call(&["ATOMIC.SCRIPT", "LOAD", GOOD]);
        server.call(&eval(GOOD, "0"));
        server.call(&eval(BAD, "0"));
        assert_eq!(server.run("ATOMIC.SCRIPT RESETSTAT"), Value::ok());
        for script in [GOOD, BAD] {
            let stats = stats(server, script);
            for name in ["calls", "errors", "p50-us", "p99-us", "max-us", "total-us"] {
                assert_eq!(number(&stats, name), 0, "{name}");
            }
            assert!(number(&stats, "memory") > 0);
        }
        let all = server.run("ATOMIC.SCRIPT STATS");
        let values = ["calls", "errors", "evicted", "store-refused", "scripts", "stored"].map(|name| number(&all, name));
        assert_eq!(values, [0, 0, 0, 0, 2, 1]);
        assert_eq!(
            (server.info("atomic_scripts_runs"), server.info("atomic_scripts_failures")),
            ("0".to_owned(), "0".to_owned())
        );
        server.call(&evalsha(GOOD, "0"));
        assert_eq!(number(&stats(server, GOOD), "calls"), 1);
    });
}

#[test]
fn list_shows_every_script_in_digest_order() {
    each_server(|server| {
        assert_eq!(server.run("ATOMIC.SCRIPT LIST"), Value::Array(Vec::new()));
        server.call(&["ATOMIC.SCRIPT", "LOAD", GOOD]);
        server.call(&evalsha(GOOD, "0"));
        for script in [BAD, SLOW, BAD] {
            server.call(&eval(script, "0 1"));
        }
        let mut expected = [(sha1(GOOD), 8, 1, 1), (sha1(BAD), 15, 0, 2), (sha1(SLOW), SLOW.len() as i64, 0, 1)];
        expected.sort();
        for mut connection in [server.connect(), server.connect().resp3()] {
            let list = connection.run("ATOMIC.SCRIPT LIST");
            let entry = |entry: &Value| {
                let [bytes, stored, calls] = ["bytes", "stored", "calls"].map(|name| number(entry, name));
                (entry.field("sha1").unwrap().text(), bytes, stored, calls)
            };
            assert_eq!(list.array().iter().map(entry).collect::<Vec<_>>(), expected);
        }
        let mut three = server.connect().resp3();
        for command in ["ATOMIC.SCRIPT STATS".to_owned(), format!("ATOMIC.SCRIPT STATS {}", sha1(GOOD))] {
            assert!(matches!(three.run(&command), Value::Map(_)), "{command} is a map in RESP3");
        }
        assert!(matches!(three.run("ATOMIC.SCRIPT LIST").array()[0], Value::Map(_)));
    });
}

#[test]
fn list_continues_after_a_sha1_and_is_bounded() {
    each_server(|server| {
        let scripts: Vec<String> = (0..1100).map(|number| format!("return {number}")).collect();
        scripts.iter().for_each(|script| drop(server.call(&["ATOMIC.SCRIPT", "LOAD", script])));
        let mut expected: Vec<String> = scripts.iter().map(sha1).collect();
        expected.sort();
        let page = |words: &str| {
            let list = server.run(&format!("ATOMIC.SCRIPT LIST {words}"));
            list.array().iter().map(|entry| entry.field("sha1").unwrap().text()).collect::<Vec<_>>()
        };
        assert_eq!(page(""), expected[..1000]);
        assert_eq!(page(&expected[999]), expected[1000..]);
        assert_eq!(page("COUNT 10000"), expected);
        assert_eq!(page(&format!("{} COUNT 2", expected[6])), expected[7..9]);
        assert_eq!(page(&"0".repeat(40)), expected[..1000]);
        assert_eq!(page(&"F".repeat(40)), [""; 0]);
        let mut pages = Vec::new();
        while pages.len() < expected.len() {
            let last = pages.last().cloned().unwrap_or_default();
            let next = page(&format!("{last} COUNT 97"));
            assert!(!next.is_empty() && next.len() <= 97);
            pages.extend(next);
        }
        assert_eq!(pages, expected);
        for (words, error) in [
            ("COUNT", "ERR syntax error near 'COUNT'"),
            ("COUNT 0", "ERR COUNT must be an integer between 1 and 10000"),
            ("COUNT 10001", "ERR COUNT must be an integer between 1 and 10000"),
            ("COUNT x", "ERR COUNT must be an integer between 1 and 10000"),
            ("COUNT 1 COUNT 1", "ERR syntax error near 'COUNT'"),
            ("x", "ERR sha1 must be 40 hexadecimal digits"),
            ("0", "ERR sha1 must be 40 hexadecimal digits"),
        ] {
            assert_eq!(server.run(&format!("ATOMIC.SCRIPT LIST {words}")).error(), error, "{words}");
        }
        let sha = &expected[0];
        for words in [format!("{sha} {sha}"), format!("COUNT 1 {sha}")] {
            assert!(server.run(&format!("ATOMIC.SCRIPT LIST {words}")).error().starts_with("ERR syntax error near "), "{words}");
        }
    });
}

#[test]
fn show_returns_the_exact_source_for_a_digest_in_either_case() {
    each_server(|server| {
        let source = b"\r\nreturn 1 --\xff\x80\n";
        server.call(&eval(source, "0"));
        let sha = sha1(source);
        for sha in [sha.clone(), sha.to_uppercase()] {
            assert_eq!(server.run(&format!("ATOMIC.SCRIPT SHOW {sha}")), Value::bulk(source));
        }
        let long = format!("{sha}0");
        for unknown in ["", "x", &sha[1..], &long, &"0".repeat(40)] {
            for verb in ["SHOW", "STATS"] {
                let reply = server.call(&["ATOMIC.SCRIPT", verb, unknown]);
                assert_eq!(reply.error(), "NOSCRIPT No matching script. Please use ATOMIC.EVAL.", "{verb} {unknown}");
            }
        }
    });
}

#[test]
fn help_names_every_subcommand() {
    each_server(|server| {
        let help = server.run("ATOMIC.SCRIPT HELP");
        let lines: Vec<&str> = help
            .array()
            .iter()
            .map(|line| match line {
                Value::Status(line) => line.as_str(),
                other => panic!("{other} is no status, as in the server's own HELP"),
            })
            .collect();
        assert!(lines[0].starts_with("ATOMIC.SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        let docs = server.run("COMMAND DOCS ATOMIC.SCRIPT").field("atomic.script").unwrap();
        for (name, _) in docs.field("subcommands").unwrap().pairs() {
            let verb = name.rsplit('|').next().unwrap().to_uppercase();
            assert!(lines.iter().any(|line| line.split(' ').next() == Some(&verb)), "HELP does not name {verb}");
        }
    });
}
