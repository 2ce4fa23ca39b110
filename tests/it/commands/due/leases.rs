//! Leases and their tokens.

use super::*;

/// Leases all members of `k` that are due.
#[track_caller]
fn lease(connection: &mut Connection, options: &str) -> Vec<(String, f64)> {
    pairs(&connection.run(&format!("ATOMIC.ZPOPDUE k {options}")))
}

#[test]
fn a_lease_keeps_the_member_with_a_new_score() {
    each_server(|server| {
        let mut connection = server.connect();
        for (unit, per_second) in [("MS", 1000.0), ("S", 1.0)] {
            server.run("FLUSHALL");
            server.run("ZADD k 2 b 1 a 1.5 c");
            let before = ms(server) as f64 / 1000.0;
            let leased = lease(&mut connection, &format!("COUNT 2 UNIT {unit} LEASE 20000"));
            let after = ms(server) as f64 / 1000.0;
            assert_eq!(leased.iter().map(|(member, _)| member.as_str()).collect::<Vec<_>>(), ["a", "c"]);
            for (member, score) in &leased {
                let seconds = score / per_second;
                assert!((before + 20.0..after + 20.003).contains(&seconds), "{member} until {seconds}, now {before}");
                // The reply has the stored score to the last bit.
                assert_eq!(server.run(&format!("ZSCORE k {member}")).text().parse(), Ok(*score));
            }
            assert!(leased[0].1 != leased[1].1);
            // In the text of this server.
            let stored = server.run("ZRANGE k 1 1 WITHSCORES");
            server.run("ZADD k 1 b");
            let text = connection.run(&format!("ATOMIC.ZPOPDUE k UNIT {unit} LEASE 20000")).array()[1].clone();
            assert_eq!(text, server.run("ZSCORE k b"), "{stored}");
            let text = text.text();
            let digits = text.split('e').next().unwrap().bytes().filter(u8::is_ascii_digit).count();
            assert!(digits <= 17, "{text}");
        }
    });
}

#[test]
fn a_leased_member_is_finished_or_rescheduled_by_its_token_only() {
    each_server(|server| {
        let row = |setup: &str, call: &str, reply: i64, after: &str| {
            server.run("DEL k");
            if !setup.is_empty() {
                server.run(setup);
            }
            assert_eq!(server.run(&format!("ATOMIC.ZDONE {call}")), Value::Integer(reply), "{call} after {setup}");
            assert_eq!(brief(&server.run("ZRANGE k 0 -1 WITHSCORES")), after, "{call} after {setup}");
        };
        row("", "k m 1", -1, "[]");
        row("ZADD k 1 other", "k m 1", -1, r#"["other", "1"]"#);
        row("ZADD k 1 m", "k m 1", 1, "[]");
        row("ZADD k 1 m 5 n", "k m 1.0", 1, r#"["n", "5"]"#);
        row("ZADD k 1 m", "k m 1.0000001", 0, r#"["m", "1"]"#);
        row("ZADD k 1 m", "k m 1 AT 7.5", 1, r#"["m", "7.5"]"#);
        row("ZADD k 1 m", "k m 2 at 7.5", 0, r#"["m", "1"]"#);
        row("ZADD k 1 m", "k m 1 AT 1", 1, r#"["m", "1"]"#);
        row("ZADD k 1 m", "k m 1e0 AT +inf", 1, r#"["m", "inf"]"#);
        row("ZADD k -inf m", "k m -inf AT -5", 1, r#"["m", "-5"]"#);
        row("ZADD k 9007199254740993 m", "k m 9007199254740992", 1, "[]");
        // Resent after a lost reply, it does not affect the next worker.
        let mut connection = server.connect();
        server.run("ZADD k 1 m");
        let token = |connection: &mut Connection| connection.run("ATOMIC.ZPOPDUE k LEASE 50000").array()[1].text();
        let first = token(&mut connection);
        server.run("ZADD k 1 m");
        let second = token(&mut connection);
        assert_ne!(first, second);
        assert_eq!(server.run(&format!("ATOMIC.ZDONE k m {first}")), Value::Integer(0));
        assert_eq!(server.run(&format!("ATOMIC.ZDONE k m {first} AT 1")), Value::Integer(0));
        assert_eq!(server.run(&format!("ATOMIC.ZDONE k m {second} AT {LATER}")), Value::Integer(1));
        assert_eq!(server.run(&format!("ATOMIC.ZDONE k m {second}")), Value::Integer(0));
        assert_eq!(server.run(&format!("ATOMIC.ZDONE k m {LATER}")), Value::Integer(1));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
    });
}

#[test]
fn no_two_leases_of_a_member_have_the_same_token() {
    each_server(|server| {
        let mut connection = server.connect();
        // Within one transaction the clock stands still, on the servers that have one time for it.
        for unit in ["MS", "S"] {
            server.run("DEL k");
            connection.run("MULTI");
            for lease in [1000, 1000, 999, 2000, 1000, 1, 1000, 1001].repeat(100) {
                connection.run("ZADD k 1 m");
                connection.run(&format!("ATOMIC.ZPOPDUE k UNIT {unit} LEASE {lease}"));
            }
            let replies = connection.run("EXEC");
            let leased: Vec<_> =
                replies.array().iter().filter(|reply| matches!(reply, Value::Array(_))).flat_map(pairs).collect();
            assert_eq!(leased.len(), 800);
            let tokens: BTreeSet<u64> = leased.iter().map(|(_, score)| score.to_bits()).collect();
            assert_eq!(tokens.len(), 800, "{unit}");
        }
        // And within one call.
        let members: Vec<String> = (0..1000).map(|number| format!("1 m{number}")).collect();
        server.run("DEL k");
        server.run(&format!("ZADD k {}", members.join(" ")));
        let leased = lease(&mut connection, "COUNT 1000 LEASE 60000");
        let tokens: BTreeSet<u64> = leased.iter().map(|(_, score)| score.to_bits()).collect();
        assert_eq!((leased.len(), tokens.len()), (1000, 1000));
        for (member, _) in &leased {
            let score = server.run(&format!("ZSCORE k {member}")).text();
            assert_eq!(server.run(&format!("ATOMIC.ZDONE k {member} {score}")), Value::Integer(1));
        }
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
    });
}

#[test]
fn a_lease_that_ends_makes_the_member_due_again_and_not_before() {
    each_server(|server| {
        let mut connection = server.connect();
        server.run("ZADD k 1 m");
        let mut held = lease(&mut connection, "LEASE 30");
        for _ in 0..3 {
            let ends = held[0].1;
            let again = loop {
                let again = lease(&mut connection, "LEASE 30");
                if !again.is_empty() {
                    break again;
                }
            };
            assert!(micros(&mut connection) as f64 / 1000.0 >= ends, "before {ends}");
            let late = server.run(&format!("ATOMIC.ZDONE k m {ends}"));
            assert_eq!(late, Value::Integer(0), "a worker whose lease has ended finished what another one has");
            held = again;
        }
    });
}
