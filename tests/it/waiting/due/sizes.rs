//! Sizes: a set of a million members, a member of a megabyte, a consumer for each of ten thousand keys. And a restart.

use std::time::Duration;

use super::{LATER, await_blocked, names, queued};
use crate::commands::due::pairs;
use crate::support::{Connection, Server, Setup, Value, argv, each_server, each_server_with};

/// The CPU time of leasing and finishing 500 jobs that come before `members` others, whose scores begin at `first`.
fn cost(server: &Server, members: usize, first: i64, options: &str) -> Duration {
    const CHUNK: usize = 1000;
    const FILL: &str = "local args = {} \
        for n = ARGV[2], ARGV[2] + ARGV[3] do args[#args + 1] = ARGV[1] + n args[#args + 1] = n end \
        redis.call('ZADD', KEYS[1], unpack(args))";
    server.run("FLUSHALL");
    for from in (1..=members).step_by(CHUNK) {
        server.call(&["EVAL", FILL, "1", "k", &first.to_string(), &from.to_string(), &(CHUNK - 1).to_string()]);
    }
    assert_eq!(server.run("ZCARD k").integer(), i64::try_from(members).unwrap());
    let mut consumer = server.connect();
    let before = server.cpu_time();
    for _ in 0..500 {
        consumer.send(&argv(&format!("ATOMIC.ZPOPDUE k LEASE 3600000 {options}"))).unwrap();
        if options.is_empty() {
            assert!(!consumer.read().unwrap().array().is_empty());
            continue;
        }
        server.run("ZADD k 0 job");
        let (member, token) = pairs(&consumer.read().unwrap())[0].clone();
        assert_eq!(server.run(&format!("ATOMIC.ZDONE k {member} {token}")), Value::Integer(1));
    }
    server.cpu_time() - before
}

#[test]
fn a_million_members_cost_no_more_than_a_thousand() {
    each_server(|server| {
        for (first, options) in [(LATER, "WAIT 0"), (0, "")] {
            let [small, large] = [1000, 1_000_000].map(|members| cost(server, members, first, options));
            eprintln!("{options:?}: 500 jobs take {small:?} of CPU time, with a million other members {large:?}");
            // To pass over the others once per job would take seconds.
            assert!(large < small + Duration::from_millis(500), "{options:?}: {small:?} and {large:?}");
        }
    });
}

#[test]
fn a_member_of_a_megabyte_is_handed_over_whole() {
    each_server(|server| {
        let large: Vec<u8> = (0_u32..1 << 20).map(|n| (n % 251) as u8).collect();
        let add = || assert_eq!(server.call(&[&b"ZADD"[..], b"k", b"1", &large]), Value::Integer(1));
        let mut waiter = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0 LEASE 3600000");
        add();
        let leased = waiter.reply();
        assert!(leased.array()[0].bytes() == large);
        let token = leased.array()[1].bytes();
        assert_eq!(server.call(&[&b"ATOMIC.ZDONE"[..], b"k", &large, token]), Value::Integer(1));
        add();
        assert!(server.run("ATOMIC.ZMOVEDUE k l").array()[0].bytes() == large);
        assert!(server.run("LINDEX l 0").bytes() == large);
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
    });
}

#[test]
fn ten_thousand_keys_have_a_consumer_each() {
    const KEYS: usize = 10_000;
    each_server_with(&Setup::with_module().config("maxclients 10100"), |server| {
        let used = || server.info("used_memory").parse::<usize>().unwrap();
        let before = used();
        let mut consumers: Vec<Connection> = (0..KEYS)
            .map(|key| {
                let mut connection = server.connect();
                connection.send(&argv(&format!("ATOMIC.ZPOPDUE k{key} WAIT 0"))).unwrap();
                connection
            })
            .collect();
        await_blocked(server, KEYS);
        eprintln!("{} bytes per connection with a consumer", (used() - before) / KEYS);
        let spent = server.cpu_time();
        // From the last to the first: the order of the keys does not matter.
        for key in (0..KEYS).rev() {
            server.run(&format!("ZADD k{key} 1 j{key}"));
        }
        eprintln!("{} us of CPU time per job", (server.cpu_time() - spent).as_micros() / KEYS as u128);
        for (key, consumer) in consumers.iter_mut().enumerate() {
            assert_eq!(names(&consumer.read().unwrap()), format!("j{key}"));
        }
        assert_eq!(server.run("DBSIZE"), Value::Integer(0));
        await_blocked(server, 0);
    });
}

#[test]
fn after_kill_9_leases_and_moved_members_are_as_they_were() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        let mut waiter = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0 LEASE 3600000");
        server.run(&format!("ZADD k 1 leased 2 moved 3 taken {LATER} later"));
        let (member, token) = pairs(&waiter.reply())[0].clone();
        assert_eq!(names(&server.run("ATOMIC.ZMOVEDUE k l")), "moved");
        assert_eq!(names(&server.run("ATOMIC.ZPOPDUE k")), "taken");
        server.kill_9();
        server.start_again();
        assert_eq!(server.run("ATOMIC.ZPOPDUE k COUNT 9"), Value::Array(Vec::new()));
        assert_eq!(super::members(server, "k"), "leased later");
        assert_eq!(server.run("LRANGE l 0 -1"), Value::Array(vec![Value::bulk("moved")]));
        assert_eq!(server.run(&format!("ATOMIC.ZDONE k {member} {token}")), Value::Integer(1));
    });
}
