//! `ATOMIC.MLOCK`: several locks at once, all or none.

use super::{Grant, Waiter, in_one_write, owners, take, unlock};
use crate::commands::{OTHER_TYPES, WRONGTYPE, changes_nothing, deadline, expect_range, expect_refused, integers, timed};
use crate::support::{FakeReplica, Server, Value, each_server};

const DAMAGED: &str = "WRONGTYPE key does not hold a lock (format LK1)";

/// `[1, fence, ttl-ms]`: fence and ttl.
#[track_caller]
fn granted(reply: &Value) -> (i64, i64) {
    assert!(matches!(reply, Value::Array(_)), "not a grant: {reply}");
    let numbers = integers(reply);
    let [1, fence, ttl] = numbers[..] else { panic!("not a grant: {numbers:?}") };
    (fence, ttl)
}

/// `[0, index, ttl-ms]`: the ttl of the key that is held.
#[track_caller]
fn denied(reply: &Value, index: i64) -> i64 {
    assert!(matches!(reply, Value::Array(_)), "not a denial: {reply}");
    let numbers = integers(reply);
    let [0, at, ttl] = numbers[..] else { panic!("not a denial: {numbers:?}") };
    assert_eq!(at, index, "index of the held key in {numbers:?}");
    ttl
}

#[track_caller]
fn fence(server: &Server, key: &str) -> i64 {
    server.call(&["ATOMIC.LOCKINFO", key]).field("fence").unwrap_or_else(|| panic!("{key} is free")).integer()
}

#[test]
fn all_keys_are_acquired_together_with_one_fence_and_one_write_each() {
    each_server(|server| {
        let mut last = take(server, "before me 60000").fence;
        let mut replica = FakeReplica::attach(server);
        for keys in ["a", "a b", "a b c d e"] {
            let names: Vec<&str> = keys.split(' ').collect();
            let mut connection = server.connect();
            let asked = timed(&mut connection, &format!("ATOMIC.MLOCK me 60000 {keys}"));
            let (taken, ttl) = granted(&asked.reply);
            assert_eq!(ttl, 60_000);
            assert!(taken > last, "{taken} after {last}");
            last = taken;
            let sets: Vec<String> = names.iter().map(|name| format!("SET {name} <state> PXAT <deadline>")).collect();
            let stream = if sets.len() == 1 { sets } else { [vec!["MULTI".into()], sets, vec!["EXEC".into()]].concat() };
            replica.expect_stream(&stream.iter().map(String::as_str).collect::<Vec<_>>());
            for name in &names {
                assert_eq!((owners(server, name), fence(server, name)), (vec!["me".to_owned()], taken));
                let ends = deadline(server, name);
                assert!((asked.before / 1000 + 60_000..=asked.after / 1000 + 60_000).contains(&ends));
            }
            assert!(take(server, "after you 60000").fence > taken, "the fence counts for all later locks");
            unlock(server, "after", "you");
            names.iter().for_each(|name| unlock(server, name, "me"));
            replica.stream();
        }
    });
}

#[test]
fn one_held_key_denies_all_and_the_reply_names_it() {
    each_server(|server| {
        take(server, "c you 50000");
        take(server, "d you 40000");
        server.run("SET e token");
        for (keys, index, ttl) in
            [("a b c d e", 2, 50_000), ("c a", 0, 50_000), ("a d c", 1, 40_000), ("c", 0, 50_000), ("a e", 1, -1)]
        {
            let found = denied(&changes_nothing(server, &format!("ATOMIC.MLOCK me 60000 {keys}")), index);
            let close = if ttl == -1 { found == -1 } else { (ttl - 10_000..=ttl).contains(&found) };
            assert!(close, "{keys}: ttl {found}");
            assert_eq!(server.run("EXISTS a b"), Value::Integer(0));
        }
        server.run("SET f token PX 60000");
        assert!((1..=60_000).contains(&denied(&changes_nothing(server, "ATOMIC.MLOCK me 60000 f"), 0)));
        // Readers hold it, too. The owner that is one of them waits for the others.
        take(server, "s you 30000 SHARED");
        denied(&changes_nothing(server, "ATOMIC.MLOCK me 60000 a s"), 1);
        take(server, "s me 60000 SHARED");
        let ttl = denied(&changes_nothing(server, "ATOMIC.MLOCK me 60000 a s"), 1);
        assert!((20_000..=30_000).contains(&ttl), "the lease of the other reader, not {ttl}");
    });
}

/// The fences of these keys.
#[track_caller]
fn fences<const N: usize>(server: &Server, keys: [&str; N]) -> [i64; N] {
    keys.map(|key| fence(server, key))
}

#[test]
fn keys_that_the_owner_holds_count_as_free_and_all_get_one_fence() {
    each_server(|server| {
        let held = take(server, "b me 60000").fence;
        let _waiter = Waiter::queued(server, "b", 1, "ATOMIC.LOCK b w 60000 WAIT 0");
        let (taken, _) = granted(&server.run("ATOMIC.MLOCK me 60000 a b c"));
        assert!(taken > held);
        assert_eq!(fences(server, ["a", "b", "c"]), [taken; 3]);
        assert_eq!(take(server, "b me 10").fence, taken, "the fence of the last request");
        // A lease never gets shorter, and the reply has the shortest.
        let ends = deadline(server, "b");
        let (_, ttl) = granted(&server.run("ATOMIC.MLOCK me 10 b d"));
        assert!((1..=10).contains(&ttl) && deadline(server, "b") == ends, "{ttl}");
        let (again, ttl) = granted(&server.run("ATOMIC.MLOCK me 90000 b"));
        assert!(again > taken && ttl == 90_000 && deadline(server, "b") > ends);
        let (_, ttl) = granted(&server.run("ATOMIC.MLOCK me 10 b"));
        assert!((80_000..=90_000).contains(&ttl), "{ttl}");
        for key in ["a", "b", "c"] {
            unlock(server, key, "me");
        }
    });
}

#[test]
fn a_request_that_is_sent_again_gets_the_same_fence_and_changes_nothing() {
    const SETS: [&str; 4] = ["MULTI", "SET a <state> PXAT <deadline>", "SET b <state> PXAT <deadline>", "EXEC"];
    each_server(|server| {
        let (first, _) = granted(&server.run("ATOMIC.MLOCK me 60000 a b"));
        let mut replica = FakeReplica::attach(server);
        for keys in ["a b", "b a", "a", "b"] {
            let (again, ttl) = granted(&changes_nothing(server, &format!("ATOMIC.MLOCK me 1 {keys}")));
            assert_eq!(again, first, "{keys}");
            assert!((50_000..=60_000).contains(&ttl), "{keys}: {ttl}");
        }
        replica.expect_stream(&[]);
        assert_eq!(granted(&server.run("ATOMIC.MLOCK me 90000 a b")), (first, 90_000));
        replica.expect_stream(&SETS);
        // One of them was released and acquired since, so they no longer have one fence.
        unlock(server, "a", "me");
        take(server, "a me 90000");
        replica.stream();
        let (second, _) = granted(&server.run("ATOMIC.MLOCK me 1 a b"));
        replica.expect_stream(&SETS);
        assert!(second > first && fences(server, ["a", "b"]) == [second; 2]);
        assert_eq!(granted(&changes_nothing(server, "ATOMIC.MLOCK me 1 a b")).0, second);
        // A key that has gone is acquired again, with the others.
        server.run("DEL a");
        replica.stream();
        let (third, _) = granted(&server.run("ATOMIC.MLOCK me 60000 a b"));
        replica.expect_stream(&SETS);
        assert!(third > second && fences(server, ["a", "b"]) == [third; 2]);
    });
}

#[test]
fn the_only_reader_of_a_key_becomes_its_exclusive_owner() {
    each_server(|server| {
        take(server, "a me 60000 SHARED");
        let read = take(server, "b me 60000 SHARED").fence;
        let waiter = Waiter::queued(server, "b", 1, "ATOMIC.LOCK b w 60000 WAIT 0");
        let (taken, _) = granted(&server.run("ATOMIC.MLOCK me 10 a b"));
        assert!(taken > read && fences(server, ["a", "b"]) == [taken; 2]);
        for key in ["a", "b"] {
            assert_eq!(server.run(&format!("ATOMIC.LOCKINFO {key}")).field("mode"), Some(Value::bulk("exclusive")));
        }
        assert_eq!(granted(&changes_nothing(server, "ATOMIC.MLOCK me 10 a b")).0, taken);
        drop(waiter);
        // Holds that were counted stay.
        assert_eq!(take(server, "a me 60000 REENTRANT").holds(), 2);
        granted(&server.run("ATOMIC.MLOCK me 10 a c"));
        assert_eq!(server.run("ATOMIC.UNLOCK a me"), Value::Integer(1));
        unlock(server, "a", "me");
    });
}

#[test]
fn a_key_with_waiters_counts_as_held() {
    each_server(|server| {
        for free in ["DEL b", "ATOMIC.UNLOCK b you", "FLUSHALL"] {
            take(server, "b you 60000");
            let mut waiter = Waiter::queued(server, "b", 1, "ATOMIC.LOCK b w 60000 WAIT 0");
            let replies = in_one_write(&mut server.connect(), &["MULTI", free, "ATOMIC.MLOCK me 60000 a b", "EXEC"]);
            denied(&replies[3].array()[1], 1);
            waiter.granted();
            assert_eq!((owners(server, "a"), owners(server, "b")), (Vec::new(), vec!["w".to_owned()]), "{free}");
            unlock(server, "b", "w");
        }
    });
}

#[test]
fn each_key_is_released_separately_and_handed_off() {
    each_server(|server| {
        granted(&server.run("ATOMIC.MLOCK me 60000 a b"));
        let mut first = Waiter::queued(server, "a", 1, "ATOMIC.LOCK a w 60000 WAIT 0");
        let mut second = Waiter::queued(server, "b", 1, "ATOMIC.LOCK b w 60000 WAIT 0");
        unlock(server, "b", "me");
        second.granted();
        assert!(!first.has_reply());
        unlock(server, "a", "me");
        first.granted();
        // Also at the end of the lease.
        server.run("DEL a b");
        granted(&server.run("ATOMIC.MLOCK me 30 a b"));
        let mut waiting = ["a", "b"].map(|key| Waiter::send(server, &format!("ATOMIC.LOCK {key} w 60000 WAIT 0")));
        for waiter in &mut waiting {
            waiter.granted();
        }
    });
}

#[test]
fn a_foreign_value_refuses_all_even_after_a_held_key() {
    each_server(|server| {
        take(server, "held you 60000");
        let attempts = ["ATOMIC.MLOCK me 60000 a k", "ATOMIC.MLOCK me 60000 k a", "ATOMIC.MLOCK me 60000 held a k"];
        for setup in OTHER_TYPES {
            server.run(setup);
            expect_refused(server, &attempts.map(|attempt| (attempt, WRONGTYPE)));
            server.run("DEL k");
        }
        take(server, "k me 60000");
        server.run("APPEND k junk");
        expect_refused(server, &attempts.map(|attempt| (attempt, DAMAGED)));
    });
}

#[test]
fn mlock_refuses_unknown_options() {
    let arity = || "ERR wrong number of arguments for 'atomic.mlock' command".to_owned();
    let keys = |n: usize| (0..n).map(|key| format!("k{key}")).collect::<Vec<_>>().join(" ");
    let table = [
        ("ATOMIC.MLOCK".to_owned(), arity()),
        ("ATOMIC.MLOCK me 1000".to_owned(), arity()),
        ("ATOMIC.MLOCK me 1000 a a".to_owned(), "ERR key must not be given twice".to_owned()),
        ("ATOMIC.MLOCK me 1000 a b a".to_owned(), "ERR key must not be given twice".to_owned()),
        (format!("ATOMIC.MLOCK me 1000 {}", keys(129)), "ERR at most 128 keys".to_owned()),
        (format!("ATOMIC.MLOCK me 1000 {} k0", keys(128)), "ERR at most 128 keys".to_owned()),
        ("ATOMIC.MLOCK '' 1000 a".to_owned(), "ERR owner must be 1 to 255 bytes".to_owned()),
        (format!("ATOMIC.MLOCK {} 1000 a", "o".repeat(256)), "ERR owner must be 1 to 255 bytes".to_owned()),
    ];
    each_server(|server| {
        expect_refused(server, &table);
        expect_range(server, "PING", "ATOMIC.MLOCK me % a", "lease-ms", (1, 31_536_000_000));
        granted(&server.run(&format!("ATOMIC.MLOCK me 60000 {}", keys(128))));
        assert_eq!(server.run("DBSIZE"), Value::Integer(129));
    });
}

#[test]
fn mlock_works_in_transactions_and_scripts() {
    each_server(|server| {
        let script = "return redis.call('ATOMIC.MLOCK', ARGV[1], '60000', KEYS[1], KEYS[2])";
        for name in ["EVAL", "ATOMIC.EVAL"] {
            granted(&server.call(&[name, script, "2", "a", "b", "me"]));
            denied(&server.call(&[name, script, "2", "c", "b", "you"]), 1);
            server.run("DEL a b");
        }
        let replies = in_one_write(
            &mut server.connect(),
            &["MULTI", "ATOMIC.MLOCK me 60000 a b", "ATOMIC.LOCK a me 60000", "ATOMIC.MLOCK you 60000 c b", "EXEC"],
        );
        let (taken, _) = granted(&replies[4].array()[0]);
        assert_eq!(Grant::read(&replies[4].array()[1]).fence, taken);
        denied(&replies[4].array()[2], 1);
        let mut watcher = server.connect();
        for (lease, executes) in [(90_000, false), (1, true)] {
            watcher.run("WATCH b");
            // A longer lease writes; a denial does not.
            let owner = if executes { "you" } else { "me" };
            server.run(&format!("ATOMIC.MLOCK {owner} {lease} a b"));
            watcher.run("MULTI");
            watcher.run("PING");
            assert_eq!(watcher.run("EXEC") != Value::Null, executes, "{owner}");
        }
    });
}
