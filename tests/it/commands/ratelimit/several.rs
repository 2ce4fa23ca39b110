//! Several policies at one key, several limiters in one call: all grant, or none is charged.

use super::{DAY, check, denied, granted, impossible, refusal};
use crate::support::{FakeReplica, Value, each_server};

#[test]
fn several_policies_grant_together_and_are_identified_by_name() {
    each_server(|server| {
        let both = format!("ATOMIC.RATELIMIT k FIXED 5 {DAY} AS burst LOG 3 {DAY} AS day");
        check(server, &format!("{both} COST 2"), granted(2, 3, 1).by(1));
        check(server, &format!("{both} COST 2"), denied(3, 1).by(1));
        check(server, &format!("{both} COST 4"), impossible(3, 1).by(1));
        let swapped = format!("ATOMIC.RATELIMIT_RO k LOG 3 {DAY} AS day FIXED 5 {DAY} AS burst");
        check(server, &format!("{swapped} COST 0"), granted(0, 3, 1));
        check(server, &format!("ATOMIC.RATELIMIT_RO k FIXED 5 {DAY} AS other COST 0"), granted(0, 5, 5));
        check(server, &format!("ATOMIC.RATELIMIT_RO k FIXED 5 {DAY} COST 0"), granted(0, 5, 3));
        let name = "n".repeat(64);
        check(server, &format!("ATOMIC.RATELIMIT j FIXED 5 {DAY} AS {name}"), granted(1, 5, 4));
        let eight = format!("LOG 5 {DAY} ").repeat(8);
        check(server, &format!("ATOMIC.RATELIMIT i {eight}"), granted(1, 5, 4));
    });
}

#[test]
fn several_limiters_are_charged_all_or_none() {
    each_server(|server| {
        let both = format!("ATOMIC.MRATELIMIT 2 {{u}}user {{u}}org FIXED 5 {DAY} LOG 3 {DAY}");
        let mut replica = FakeReplica::attach(server);
        check(server, &format!("{both} COST 2"), granted(2, 3, 1).by(1));
        replica.expect_stream(&["MULTI", "SET {u}user <state> PXAT <t>", "SET {u}org <state> PXAT <t>", "EXEC"]);
        check(server, &format!("{both} COST 2"), denied(3, 1).by(1));
        replica.expect_stream(&[]);
        check(server, &format!("ATOMIC.RATELIMIT_RO {{u}}user FIXED 5 {DAY} COST 0"), granted(0, 5, 3));
        // A foreign value at the last key: the first limiter is not charged.
        server.run("SET {u}other value");
        let foreign = format!("ATOMIC.MRATELIMIT 2 {{u}}user {{u}}other FIXED 5 {DAY} FIXED 5 {DAY}");
        assert_eq!(refusal(server, &foreign), "WRONGTYPE key does not hold a rate limit (format a1)");
        check(server, &format!("ATOMIC.RATELIMIT_RO {{u}}user FIXED 5 {DAY} COST 0"), granted(0, 5, 3));
        assert_eq!(server.run("GET {u}other"), Value::bulk("value"));
    });
}
