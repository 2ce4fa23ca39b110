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
fn all_keys_are_taken_together_with_one_fence_and_one_write_each() {
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
fn one_held_key_denies_all_and_is_named() {
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
        // Readers hold it, too; a reader does not become a writer by it.
        take(server, "s you 60000 SHARED");
        denied(&changes_nothing(server, "ATOMIC.MLOCK me 60000 a s"), 1);
        take(server, "s me 60000 SHARED");
        let upgrade = changes_nothing(server, "ATOMIC.MLOCK me 60000 a s");
        assert!(matches!(upgrade, Value::Error(_)) || integers(&upgrade)[0] == 0, "{upgrade}");
    });
}

#[test]
fn keys_that_the_owner_holds_are_entered_again_and_keep_their_fence() {
    each_server(|server| {
        let held = take(server, "b me 60000").fence;
        let _waiter = Waiter::queued(server, "b", 1, "ATOMIC.LOCK b w 60000 WAIT 0");
        let (taken, _) = granted(&server.run("ATOMIC.MLOCK me 60000 a b c"));
        assert!(taken > held);
        assert_eq!([fence(server, "a"), fence(server, "b"), fence(server, "c")], [taken, held, taken]);
        assert_eq!(server.run("ATOMIC.UNLOCK b me"), Value::Integer(1), "entered again");
        assert_eq!(server.run("ATOMIC.UNLOCK a me"), Value::Integer(0));
        // Entering again never makes a lease shorter.
        let ends = deadline(server, "b");
        granted(&server.run("ATOMIC.MLOCK me 10 a b"));
        assert_eq!(deadline(server, "b"), ends);
        granted(&server.run("ATOMIC.MLOCK me 90000 b"));
        assert!(deadline(server, "b") > ends);
    });
}

#[test]
fn a_key_that_others_wait_for_counts_as_held() {
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
fn each_key_is_given_back_by_itself_and_handed_on() {
    each_server(|server| {
        granted(&server.run("ATOMIC.MLOCK me 60000 a b"));
        let mut first = Waiter::queued(server, "a", 1, "ATOMIC.LOCK a w 60000 WAIT 0");
        let mut second = Waiter::queued(server, "b", 1, "ATOMIC.LOCK b w 60000 WAIT 0");
        unlock(server, "b", "me");
        second.granted();
        assert!(!first.has_reply());
        unlock(server, "a", "me");
        first.granted();
        // And at the end of the lease.
        server.run("DEL a b");
        granted(&server.run("ATOMIC.MLOCK me 30 a b"));
        let mut waiting = ["a", "b"].map(|key| Waiter::send(server, &format!("ATOMIC.LOCK {key} w 60000 WAIT 0")));
        for waiter in &mut waiting {
            waiter.granted();
        }
    });
}

#[test]
fn what_is_no_lock_refuses_all_even_behind_a_key_that_is_held() {
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
fn mlock_refuses_what_it_does_not_know() {
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
        for (lease, executes) in [(60_000, false), (1, true)] {
            watcher.run("WATCH b");
            // Entering a lock again writes; a denial does not.
            let owner = if executes { "you" } else { "me" };
            server.run(&format!("ATOMIC.MLOCK {owner} {lease} a b"));
            watcher.run("MULTI");
            watcher.run("PING");
            assert_eq!(watcher.run("EXEC") != Value::Null, executes, "{owner}");
        }
    });
}
