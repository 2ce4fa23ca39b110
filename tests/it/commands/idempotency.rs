//! `ATOMIC.ONCE`, `ATOMIC.IDEMBEGIN`, `ATOMIC.IDEMEND` and `ATOMIC.IDEMABORT`: phases, leases, tokens and stored responses.

use super::rows::{brief, check};
use crate::support::{Server, Setup, Value, argv, each_server, each_server_with, eventually};

#[test]
fn only_the_first_call_in_a_period_is_first() {
    each_server(|server| {
        check(
            server,
            &[
                ("", "ATOMIC.ONCE k PX 90000 VALUE v", "[1, 90000, \"v\"]", "GET k", "\"v\""),
                ("", "ATOMIC.ONCE k value v px 90000", "[1, 90000, \"v\"]", "GET k", "\"v\""),
                ("", "ATOMIC.ONCE k PX 90000", "[1, 90000, \"\"]", "GET k", "\"\""),
                ("SET k w", "ATOMIC.ONCE k PX 90000 VALUE v", "[0, -1, \"w\"]", "PTTL k", "-1"),
                (r#"SET k "\xff""#, "ATOMIC.ONCE k PX 90000", r#"[0, -1, "\xff"]"#, "STRLEN k", "1"),
            ],
        );
        server.run("DEL k");
        server.run("ATOMIC.ONCE k PX 90000 VALUE v");
        let again = server.run("ATOMIC.ONCE k PX 500000 VALUE w");
        let ttl = again.array()[1].integer();
        assert!((45000..=90000).contains(&ttl) && server.run("PTTL k").integer() <= 90000, "{again}");
        assert_eq!((again.array()[0].integer(), again.array()[2].text()), (0, "v".to_owned()));
        server.run("DEL k");
        server.run("ATOMIC.ONCE k PX 1");
        eventually("the period is over", || (server.run("ATOMIC.ONCE k PX 90000").array()[0].integer() == 1).then_some(()));
        for (call, text) in [
            ("ATOMIC.ONCE k VALUE v", "ERR PX is required"),
            ("ATOMIC.ONCE k PX 0", "ERR PX must be an integer between 1 and 4611686018427387903"),
            ("ATOMIC.ONCE k PX 5 PX 5", "ERR syntax error near 'PX'"),
            ("ATOMIC.ONCE k PX 5 VALUE v VALUE v", "ERR syntax error near 'VALUE'"),
            ("ATOMIC.ONCE k EX 5", "ERR syntax error near 'EX'"),
        ] {
            assert_eq!(server.run(call).error(), text, "{call}");
        }
    });
}

pub fn begin(server: &Server, fingerprint: &str) -> (i64, i64, Value) {
    let reply = server.run(&format!("ATOMIC.IDEMBEGIN k {fingerprint} 90000"));
    let items = reply.array();
    assert_eq!(items.len(), 3, "{reply}");
    (items[0].integer(), items[1].integer(), items[2].clone())
}

#[test]
fn a_request_runs_once() {
    each_server(|server| {
        let (phase, ttl, token) = begin(server, "f");
        assert_eq!((phase, ttl), (1, 90000));
        let (phase, ttl, nothing) = begin(server, "f");
        assert!(phase == 2 && (45000..=90000).contains(&ttl) && nothing == Value::Null);
        let (phase, ttl, nothing) = begin(server, "g");
        assert!(phase == 4 && (45000..=90000).contains(&ttl) && nothing == Value::Null);
        assert!((45000..=90000).contains(&server.run("PTTL k").integer()), "the key lives as long as the lease");
        let end = |token: &str, ms| server.run(&format!(r#"ATOMIC.IDEMEND k {token} "\x00\xff" PX {ms}"#)).integer();
        assert_eq!(end("wrong", 500_000), 0);
        assert_eq!(end(&token.text(), 500_000), 1);
        assert!((250_000..=500_000).contains(&server.run("PTTL k").integer()));
        assert_eq!(end("wrong", 5), 0, "another attempt stores nothing");
        let expires = server.run("PEXPIRETIME k");
        assert_eq!(end(&token.text(), 5), 1, "the attempt that ended ends again");
        assert_eq!(server.run("PEXPIRETIME k"), expires, "a response is stored once");
        assert_eq!(server.run(&format!("ATOMIC.IDEMABORT k {}", token.text())), Value::Integer(0));
        let (phase, ttl, response) = begin(server, "f");
        assert!(phase == 3 && (250_000..=500_000).contains(&ttl) && response == Value::bulk(b"\x00\xff"));
        assert_eq!(begin(server, "g").0, 4);
        server.run("PERSIST k");
        assert_eq!(begin(server, "f").1, -1);
        server.run("DEL k");
        assert_eq!(end(&token.text(), 5), -1);
        assert_eq!(server.run("ATOMIC.IDEMABORT k x"), Value::Integer(-1));
    });
}

#[test]
fn an_attempt_that_names_itself_gets_its_answers_again() {
    each_server(|server| {
        let named = |token: &str| brief(&server.run(&format!("ATOMIC.IDEMBEGIN k f 90000 TOKEN {token}")));
        assert_eq!(named("a"), "[1, 90000, \"a\"]");
        let expires = server.run("PEXPIRETIME k");
        let again = server.run("ATOMIC.IDEMBEGIN k f 500000 token a");
        let ttl = again.array()[1].integer();
        assert_eq!((again.array()[0].integer(), again.array()[2].text()), (1, "a".to_owned()));
        assert!((1..=90000).contains(&ttl) && server.run("PEXPIRETIME k") == expires, "the lease does not get longer: {again}");
        assert!(named("b").starts_with("[2, ") && begin(server, "f").0 == 2 && begin(server, "g").0 == 4);
        // Each end of the same attempt has the same answer, whatever response it carries.
        for response in ["first", "first", "second"] {
            assert_eq!(server.run(&format!("ATOMIC.IDEMEND k a {response} PX 500000")), Value::Integer(1));
            assert_eq!((begin(server, "f").0, begin(server, "f").2), (3, Value::bulk("first")));
        }
        assert_eq!(server.run("ATOMIC.IDEMEND k b second PX 500000"), Value::Integer(0));
        assert_eq!(server.run("ATOMIC.IDEMABORT k a"), Value::Integer(0), "a stored response stays");
        assert!(named("a").starts_with("[3, ") && named("b").starts_with("[3, "));
        server.run("DEL k");
        // Another attempt takes over after the lease.
        server.run("ATOMIC.IDEMBEGIN k f 1 TOKEN a");
        eventually("the lease is over", || (named("b") == "[1, 90000, \"b\"]").then_some(()));
        assert!(named("a").starts_with("[2, "));
        assert_eq!(server.run("ATOMIC.IDEMEND k a r PX 5"), Value::Integer(0));
        assert_eq!(server.run("ATOMIC.IDEMABORT k b"), Value::Integer(1));
        assert_eq!(server.run("ATOMIC.IDEMABORT k b"), Value::Integer(-1));
    });
}

#[test]
fn a_token_is_any_bytes_and_outlives_a_restart() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        let long = "x".repeat(255);
        for token in [r#""\x00\xff""#, r#""\xe4\xb8\x80""#, "17", &long] {
            server.run("FLUSHALL");
            let begun = server.run(&format!("ATOMIC.IDEMBEGIN k f 90000 TOKEN {token}"));
            assert_eq!(begun.array()[2], Value::Bulk(argv(token).remove(0)));
            server.kill_9();
            server.start_again();
            assert_eq!(server.run(&format!("ATOMIC.IDEMBEGIN k f 90000 TOKEN {token}")).array()[0], Value::Integer(1));
            for _ in 0..2 {
                assert_eq!(server.run(&format!("ATOMIC.IDEMEND k {token} r PX 90000")), Value::Integer(1));
                server.kill_9();
                server.start_again();
            }
        }
    });
}

#[test]
fn records_of_the_first_version_still_work() {
    const IN_FLIGHT: &str = r#"SET k "\xa7ID\x01\x00\x01f\x00\x00\x00\x00\x00\x00\x00\x11\xff\xff\xff\xff\xff\xff" PX 90000"#;
    const DONE: &str = r#"SET k "\xa7ID\x01\x01\x01f\x00\x00\x00\x00\x00\x01r" PX 90000"#;
    each_server(|server| {
        server.run(IN_FLIGHT);
        assert!(begin(server, "f").0 == 2 && begin(server, "g").0 == 4);
        assert_eq!(server.run("ATOMIC.IDEMEND k 18 r PX 90000"), Value::Integer(0));
        assert_eq!(server.run("ATOMIC.IDEMEND k 17 r PX 90000"), Value::Integer(1));
        assert_eq!(begin(server, "f").2, Value::bulk("r"));
        server.run(IN_FLIGHT);
        assert_eq!(server.run("ATOMIC.IDEMABORT k 17"), Value::Integer(1));
        server.run(DONE);
        assert_eq!((begin(server, "f").0, begin(server, "f").2), (3, Value::bulk("r")));
        assert_eq!(server.run("ATOMIC.IDEMEND k 17 r PX 90000"), Value::Integer(0), "it does not know who ended it");
    });
}

#[test]
fn an_aborted_or_expired_request_can_begin_again() {
    each_server(|server| {
        let first = begin(server, "f").2.text();
        assert_eq!(server.run("ATOMIC.IDEMABORT k x"), Value::Integer(0));
        assert_eq!(server.run(&format!("ATOMIC.IDEMABORT k {first}")), Value::Integer(1));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        server.run("ATOMIC.IDEMBEGIN k f 1");
        let second = eventually("the lease is over", || Some(begin(server, "g")).filter(|begun| begun.0 == 1)).2.text();
        assert!(second.parse::<u64>().unwrap() > first.parse::<u64>().unwrap(), "tokens are never used twice");
        assert_eq!(server.run(&format!("ATOMIC.IDEMEND k {first} r PX 5")), Value::Integer(0));
        // A lease ends on time, even if its key was made persistent.
        server.run("DEL k");
        server.run("MULTI");
        server.run("ATOMIC.IDEMBEGIN k f 20");
        server.run("PERSIST k");
        let token = server.run("EXEC").array()[0].array()[2].text();
        let begun = eventually("the lease is over", || Some(begin(server, "f")).filter(|begun| begun.0 == 1));
        assert_ne!(begun.2.text(), token);
        assert_eq!(server.run(&format!("ATOMIC.IDEMEND k {token} r PX 5")), Value::Integer(0));
    });
}

#[test]
fn malformed_requests_and_foreign_values_are_refused() {
    each_server(|server| {
        let long = "x".repeat(256);
        let fingerprint = "ERR fingerprint must be 1 to 255 bytes";
        for (call, text) in [
            ("ATOMIC.IDEMBEGIN k \"\" 5", fingerprint),
            (&format!("ATOMIC.IDEMBEGIN k {long} 5"), fingerprint),
            ("ATOMIC.IDEMBEGIN k f 0", "ERR lease-ms must be an integer between 1 and 31536000000"),
            ("ATOMIC.IDEMBEGIN k f 31536000001", "ERR lease-ms must be an integer between 1 and 31536000000"),
            ("ATOMIC.IDEMBEGIN k f 5 TOKEN \"\"", "ERR TOKEN must be 1 to 255 bytes"),
            (&format!("ATOMIC.IDEMBEGIN k f 5 TOKEN {long}"), "ERR TOKEN must be 1 to 255 bytes"),
            ("ATOMIC.IDEMBEGIN k f 5 TOKEN", "ERR syntax error near 'TOKEN'"),
            ("ATOMIC.IDEMBEGIN k f 5 TOKEN a TOKEN a", "ERR syntax error near 'TOKEN'"),
            ("ATOMIC.IDEMBEGIN k f 5 PX 5", "ERR syntax error near 'PX'"),
            ("ATOMIC.IDEMEND k t r PX 0", "ERR PX must be an integer between 1 and 4611686018427387903"),
            ("ATOMIC.IDEMEND k t r EX 5", "ERR syntax error near 'EX'"),
        ] {
            assert_eq!(server.run(call).error(), text);
        }
        assert_eq!(server.run(&format!("ATOMIC.IDEMBEGIN k {} 5", &long[1..])).array()[0].integer(), 1);
        for value in ["", "foreign", "10", "\\xa7ID\\x01", "\\xa7ID\\x02", "\\xa7ID\\x03\\x00\\x01f", "\\xa7LK\\x01"] {
            server.run(&format!("SET k \"{value}\""));
            for call in ["ATOMIC.IDEMBEGIN k f 5", "ATOMIC.IDEMEND k t r PX 5", "ATOMIC.IDEMABORT k t"] {
                let reply = server.run(call);
                assert_eq!(reply.error(), "WRONGTYPE key does not hold an idempotency record (format ID2)", "{call}");
            }
        }
    });
}
