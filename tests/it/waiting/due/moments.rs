//! The moment at which a consumer gets a member: never early, prompt while the server is idle, and soon after a step of the clock.
//!
//! How late it comes is printed. Only the best of several tries is judged, since in the others the machine may have been busy.

use super::{LATER, Waiter, await_blocked, names, queued};
use crate::commands::due::pairs;
use crate::commands::{await_micros, micros};
use crate::support::{Server, Setup, Value, each_server_with, eventually};

const HOUR: i64 = 3_600_000_000;

/// How late the best of several tries may be, in microseconds.
const PROMPT: i64 = 50_000;

/// The server's clock in microseconds.
pub fn now(server: &Server) -> i64 {
    micros(&mut server.connect())
}

/// The server's cron runs once a second here, so that only the module's timer acts.
fn each_quiet_server(body: impl Fn(&Server)) {
    each_server_with(&Setup::with_module().config("hz 1"), body);
}

/// Reads the reply, which must come at `due` (in ms) or later. Returns how many microseconds later.
#[track_caller]
fn lateness(server: &Server, waiter: &mut Waiter, due: i64) -> i64 {
    assert_eq!(waiter.taken(), "m");
    let late = now(server) - due * 1000;
    assert!(late >= 0, "{late} us early");
    late
}

/// Repeats until one try is prompt.
#[track_caller]
fn expect_prompt(what: &str, once: impl Fn() -> i64) {
    let mut late = vec![once()];
    while late.last().is_none_or(|late| *late >= PROMPT) {
        assert!(late.len() < 10, "{what}: late every time: {late:?}");
        late.push(once());
    }
    eprintln!("{what}: {late:?} us late");
}

#[test]
fn a_consumer_gets_a_member_at_its_moment() {
    each_quiet_server(|server| {
        for (unit, per_second) in [("MS", 1.0), ("S", 1000.0)] {
            for options in ["", "LEASE 1", "COUNT 9"] {
                expect_prompt(&format!("{unit} {options}"), || {
                    server.run("FLUSHALL");
                    let due = now(server) / 1000 + 90;
                    server.run(&format!("ZADD k {} m {LATER} later", due as f64 / per_second));
                    lateness(server, &mut Waiter::send(server, &format!("ATOMIC.ZPOPDUE k UNIT {unit} WAIT 0 {options}")), due)
                });
            }
        }
    });
}

#[test]
fn an_earlier_moment_moves_the_hand_off_forward_and_a_later_one_back() {
    each_quiet_server(|server| {
        for (what, change) in [
            ("an earlier member", "ZADD k <due> m"),
            ("the same member earlier", "ZADD k <due> other ; ZADD k 4102444800000 other ; ZADD k <due> m"),
            ("the same member later", "ZADD k <soon> m ; ZADD k <due> m"),
            ("a member after one that is removed", "ZADD k <soon> other <due> m ; ZREM k other"),
            ("rescheduled by its score", "ZADD k <soon> m ; ATOMIC.ZDONE k m <soon> AT <due>"),
        ] {
            expect_prompt(what, || {
                server.run("FLUSHALL");
                server.run(&format!("ZADD k {LATER} later"));
                let mut waiter = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0");
                let due = now(server) / 1000 + 120;
                let script = change.replace("<due>", &due.to_string()).replace("<soon>", &(due - 60).to_string());
                super::in_one_write(&mut server.connect(), &script.split(" ; ").collect::<Vec<_>>());
                lateness(server, &mut waiter, due)
            });
        }
    });
}

#[test]
fn the_end_of_a_lease_hands_the_member_to_the_next_consumer() {
    each_quiet_server(|server| {
        expect_prompt("the end of a lease", || {
            server.run("FLUSHALL");
            server.run("ZADD k 1 m");
            let (_, token) = pairs(&server.run("ATOMIC.ZPOPDUE k LEASE 80"))[0].clone();
            lateness(server, &mut Waiter::send(server, "ATOMIC.ZPOPDUE k WAIT 0"), token.ceil() as i64)
        });
    });
}

/// A server whose clock the test sets, and its usual period of the cron: a step is noticed when the server wakes up.
fn each_server_with_a_clock(body: impl Fn(&Server)) {
    each_server_with(&Setup::with_module().with_clock().config("hz 10"), |server| {
        let real = now(server);
        server.set_clock(HOUR);
        assert!(now(server) - real >= HOUR, "the server has a clock of its own");
        server.set_clock(0);
        body(server);
    });
}

#[test]
fn after_a_step_forward_a_member_comes_due_within_a_second() {
    each_server_with_a_clock(|server| {
        for options in ["", "LEASE 500", "COUNT 5"] {
            server.set_clock(0);
            server.run("FLUSHALL");
            let due = now(server) / 1000 + 1_800_000;
            server.run(&format!("ZADD k {due} m"));
            let mut waiter = queued(server, 1, &format!("ATOMIC.ZPOPDUE k WAIT 0 {options}"));
            let stepped = std::time::Instant::now();
            server.set_clock(HOUR);
            assert_eq!(waiter.taken(), "m");
            eprintln!("noticed after {:?}", stepped.elapsed());
        }
    });
}

#[test]
fn after_a_step_back_no_member_comes_early() {
    each_server_with_a_clock(|server| {
        server.set_clock(HOUR);
        server.run("FLUSHALL");
        let due = now(server) / 1000 + 300;
        server.run(&format!("ZADD k {due} m"));
        let mut waiter = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0");
        server.set_clock(0);
        // The real time passes the delay of the old timer.
        await_micros(&mut server.connect(), (due + 300) * 1000 - HOUR);
        waiter.expect_waiting();
        // A second waiter looks at the same clock.
        assert_eq!(server.run("ATOMIC.ZPOPDUE k"), Value::Array(Vec::new()));
        // What is due by the new clock is served: the waiter does not wait for the old moment.
        let soon = now(server) / 1000 + 100;
        server.run(&format!("ZADD k {soon} n"));
        assert_eq!(waiter.taken(), "n");
        assert!(now(server) >= soon * 1000);
        // And the first one when the clock reaches it.
        let mut waiter = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0");
        server.set_clock(HOUR);
        lateness(server, &mut waiter, due);
    });
}

#[test]
fn after_steps_of_the_clock_leases_keep_their_tokens_apart() {
    each_server_with_a_clock(|server| {
        let mut tokens = Vec::new();
        for ahead in [0, HOUR, 0, -HOUR, HOUR, 0, 1000, -1000, 0] {
            server.set_clock(ahead);
            for _ in 0..20 {
                server.run("ZADD k 1 m");
                let (_, token) = pairs(&server.run("ATOMIC.ZPOPDUE k LEASE 60000"))[0].clone();
                assert!(token * 1000.0 >= now(server) as f64, "a lease that is over at once");
                tokens.push(token.to_bits());
            }
        }
        let count = tokens.len();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), count);
        // A stale token never finishes the member that another worker has.
        server.run("ZADD k 1 m");
        let (_, last) = pairs(&server.run("ATOMIC.ZPOPDUE k LEASE 60000"))[0].clone();
        for token in tokens {
            assert_eq!(server.run(&format!("ATOMIC.ZDONE k m {}", f64::from_bits(token))), Value::Integer(0));
        }
        assert_eq!(server.run(&format!("ATOMIC.ZDONE k m {last}")), Value::Integer(1));
    });
}

#[test]
fn a_timeout_and_a_member_race_and_one_of_them_wins() {
    each_quiet_server(|server| {
        let mut outcomes = [0, 0];
        for round in 0..40 {
            server.run("FLUSHALL");
            let due = now(server) / 1000 + 15 + round % 3;
            server.run(&format!("ZADD k {due} m"));
            let reply = server.connect().run("ATOMIC.ZPOPDUE k WAIT 15");
            let got = names(&reply) == "m";
            outcomes[usize::from(got)] += 1;
            assert_eq!(server.run("EXISTS k"), Value::Integer(i64::from(!got)), "{reply}");
        }
        eprintln!("{} timed out, {} got the member", outcomes[0], outcomes[1]);
        await_blocked(server, 0);
        eventually("the last one is due", || (names(&server.run("ATOMIC.ZPOPDUE k")) == "m" || outcomes[1] > 0).then_some(()));
    });
}
