//! Accepted forms, ranges, and the error of each malformed request.

use super::{COMMANDS, MAX, YEAR, refusal};
use crate::commands::{expect_range, expect_refused};
use crate::support::{Value, each_server};

#[test]
fn unknown_words_are_refused_and_named() {
    let near = |what: &str| format!("ERR syntax error near '{what}'");
    each_server(|server| {
        server.run("ATOMIC.RATELIMIT k BUCKET 10 5 1000000");
        for name in COMMANDS {
            let arity = format!("ERR wrong number of arguments for '{}' command", name.to_lowercase());
            let table = [
                ("", &arity),
                (" k", &arity),
                (" k BUCKET 10 5", &near("BUCKET")),
                (" k FIXED 10", &arity),
                (" k FIXED 10 1000 COST", &near("COST")),
                (" k BUCKET 10 5 1000 cost", &near("cost")),
                (" k BUCKETS 10 5 1000", &near("BUCKETS")),
                (" k '' 10 5 1000", &near("")),
                (" k 10 5 1000", &near("10")),
                (" k COST 1 BUCKET 10 5 1000", &near("COST")),
                (" k BUCKET 10 5 1000 COST 1 COST 1", &near("COST")),
                (" k FIXED 10 1000 COST 1 cost 2", &near("cost")),
                (" k BUCKET 10 5 1000 1", &near("1")),
                (" k BUCKET 10 5 1000 COST 1 1", &near("1")),
                (r#" k "\xe4\xb8\x80\r\n\x00" 10 1000"#, &near(r"\xe4\xb8\x80\r\n\x00")),
            ];
            for (arguments, text) in table {
                expect_refused(server, &[(format!("{name}{arguments}"), text)]);
            }
        }
    });
}

#[test]
fn every_number_is_an_integer_in_its_range() {
    each_server(|server| {
        for name in COMMANDS {
            let check = |arguments: &str, argument: &str, range| {
                expect_range(server, "PING", &format!("{name} k {arguments}"), argument, range);
            };
            check("BUCKET % 5 1000", "capacity", (1, MAX));
            check("BUCKET 10 % 1000", "refill", (1, MAX));
            check("BUCKET 10 5 %", "period-ms", (1, YEAR));
            check("FIXED % 1000", "limit", (1, MAX));
            check("FIXED 10 %", "window-ms", (1, YEAR));
            check("SLIDING % 1000", "limit", (1, MAX));
            check("SLIDING 10 %", "window-ms", (1, YEAR));
            check("LOG % 1000", "limit", (1, 10_000));
            check("LOG 10 %", "window-ms", (1, YEAR));
            let min = if name == "ATOMIC.RATELIMIT" { 1 } else { 0 };
            check("BUCKET 10 5 1000 COST %", "COST", (min, MAX));
            check("FIXED 10 1000 COST %", "COST", (min, MAX));
        }
    });
}

#[test]
fn every_malformed_request_is_refused_with_its_reason() {
    each_server(|server| {
        let nine = "FIXED 1 1 ".repeat(9);
        let long = format!("FIXED 1 1 AS {}", "n".repeat(65));
        let both = ["ATOMIC.RATELIMIT k", "ATOMIC.RATELIMIT_RO k", "ATOMIC.MRATELIMIT 1 k"];
        for (policy, error) in [
            ("BUCKET 0 1 1", "ERR capacity must be an integer between 1 and 1000000000000"),
            ("BUCKET 1 1000000000001 1", "ERR refill must be an integer between 1 and 1000000000000"),
            ("BUCKET 1 1 31536000001", "ERR period-ms must be an integer between 1 and 31536000000"),
            ("FIXED -1 1", "ERR limit must be an integer between 1 and 1000000000000"),
            ("SLIDING 1 0", "ERR window-ms must be an integer between 1 and 31536000000"),
            ("LOG 10001 1", "ERR limit must be an integer between 1 and 10000"),
            ("LEAKY 1 1", "ERR syntax error near 'LEAKY'"),
            ("COST 1 FIXED 1 1", "ERR syntax error near 'COST'"),
            ("FIXED 1 1 AS ''", "ERR name must be 1 to 64 bytes"),
            (long.as_str(), "ERR name must be 1 to 64 bytes"),
            ("LOG 1 1 ALIGN", "ERR syntax error near 'ALIGN'"),
            ("FIXED 1 1 AS a ALIGN", "ERR syntax error near 'ALIGN'"),
            ("FIXED 1 1 AS a AS b", "ERR syntax error near 'AS'"),
            ("FIXED 1 1 FULL FULL", "ERR syntax error near 'FULL'"),
            ("FIXED 1 1 FULL FIXED 1 1", "ERR syntax error near 'FIXED'"),
            ("FIXED 1 1 COST 1 COST 1", "ERR syntax error near 'COST'"),
            ("FIXED 1 1 COST x", "ERR COST must be an integer between "),
            (nine.as_str(), "ERR syntax error near 'FIXED'"),
        ] {
            for command in both {
                let found = refusal(server, &format!("{command} {policy}"));
                assert!(found.starts_with(error), "{command} {policy}: {found}");
            }
        }
        for (command, error) in [
            ("ATOMIC.RATELIMIT k FIXED 1 1 UPTO 0", "ERR UPTO must be an integer between 1 and 1000000000000"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 FORCE 0", "ERR FORCE must be an integer between 1 and 1000000000000"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 REFUND 0", "ERR REFUND must be an integer between 1 and 1000000000000"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 COST 1 RESET", "ERR syntax error near 'RESET'"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 RESET UPTO 1", "ERR syntax error near 'UPTO'"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 FORCE 1 REFUND 1", "ERR syntax error near 'REFUND'"),
            ("ATOMIC.RATELIMIT_RO k FIXED 1 1 UPTO 1", "ERR syntax error near 'UPTO'"),
            ("ATOMIC.RATELIMIT_RO k FIXED 1 1 RESET", "ERR syntax error near 'RESET'"),
            ("ATOMIC.MRATELIMIT 1 k FIXED 1 1 FORCE 1", "ERR syntax error near 'FORCE'"),
            ("ATOMIC.MRATELIMIT 2 a b FIXED 1 1 FULL", "ERR syntax error near 'FULL'"),
            ("ATOMIC.MRATELIMIT 2 a b FIXED 1 1 FIXED 1 1 FIXED 1 1", "ERR syntax error near 'FIXED'"),
            ("ATOMIC.MRATELIMIT 2 a b FIXED 1 1", "ERR wrong number of arguments for 'ATOMIC.MRATELIMIT' command"),
            ("ATOMIC.MRATELIMIT 2 a a FIXED 1 1 FIXED 1 1", "ERR key must not be given twice"),
            ("ATOMIC.MRATELIMIT 2 a b FIXED 1 1 AS n FIXED 1 1 AS n", "ERR name must not be given twice"),
            ("ATOMIC.MRATELIMIT 0 a FIXED 1 1", "ERR numkeys must be an integer between 1 and 128"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 UPTO", "ERR syntax error near 'UPTO'"),
        ] {
            assert!(refusal(server, command).eq_ignore_ascii_case(error), "{command}: {}", refusal(server, command));
        }
        assert_eq!(server.run("DBSIZE"), Value::Integer(0));
    });
}
