//! First come, first served: which clients are granted, queued or denied at once, and their replies.

use super::{Grant, Waiter, await_nobody_blocked, await_waiters, expect_denied, in_one_write, owners, take, unlock, waiters};
use crate::commands::{changes_nothing, expect_range, expect_refused, integers};
use crate::support::{FakeReplica, Server, Value, each_server};

/// Queues `ATOMIC.LOCK k <arguments>` as the n-th waiter for `k`.
#[track_caller]
fn queue(server: &Server, n: i64, arguments: &str) -> Waiter {
    Waiter::queued(server, "k", n, &format!("ATOMIC.LOCK k {arguments}"))
}

#[test]
fn waiting_clients_get_the_lock_in_order_of_arrival() {
    each_server(|server| {
        let mut last = take(server, "k me 60000").fence;
        let mut waiting: Vec<Waiter> = (0..30).map(|n| queue(server, n + 1, &format!("w{n} 60000 WAIT 0"))).collect();
        let mut owner = "me".to_owned();
        for (n, waiter) in (0..).zip(&mut waiting) {
            assert!(!waiter.has_reply(), "w{n} has a reply before its turn");
            unlock(server, "k", &owner);
            let grant = waiter.granted();
            assert_eq!((grant.holds(), grant.waiters), (1, 29 - n), "holds and waiters of w{n}");
            assert!((55_001..=60_000).contains(&grant.ttl()), "ttl of w{n}: {}", grant.ttl());
            assert!(grant.fence > last, "fence of w{n}: {} after {last}", grant.fence);
            last = grant.fence;
            owner = format!("w{n}");
            assert_eq!(owners(server, "k"), [owner.as_str()]);
            assert_eq!(server.run("ATOMIC.LOCKINFO k").field("fence"), Some(Value::Integer(last)));
        }
        unlock(server, "k", &owner);
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        waiting.iter_mut().for_each(Waiter::expect_nothing_more);
        await_nobody_blocked(server);
    });
}

#[test]
fn a_request_that_does_not_wait_never_overtakes() {
    each_server(|server| {
        // The lock is free for a moment in which only the head of the queue may acquire it.
        let ways: &[&[&str]] = &[
            &["ATOMIC.UNLOCK k me", "ATOMIC.LOCK k late 60000"],
            &["DEL k", "ATOMIC.LOCK k late 60000"],
            &["DEL k", "ATOMIC.LOCK k late 60000 SHARED"],
            &["DEL k", "ATOMIC.LOCK k late 60000 WAIT 1000 MAXQUEUE 1"],
            &["MULTI", "DEL k", "ATOMIC.LOCK k late 60000", "EXEC"],
            &["MULTI", "ATOMIC.UNLOCK k me", "ATOMIC.LOCK k late 60000", "EXEC"],
            &["FLUSHALL ASYNC", "ATOMIC.LOCK k late 60000"],
            &["SWAPDB 0 1", "ATOMIC.LOCK k late 60000"],
            &["EVAL \"redis.call('DEL', KEYS[1]) return redis.call('ATOMIC.LOCK', KEYS[1], 'late', '60000')\" 1 k"],
            &["ATOMIC.EVAL \"redis.call('DEL', KEYS[1]) return redis.call('ATOMIC.LOCK', KEYS[1], 'late', '60000')\" 1 k"],
            &[
                "EVAL \"redis.call('ATOMIC.UNLOCK', KEYS[1], 'me') return redis.call('ATOMIC.LOCK', KEYS[1], 'late', '60000')\" 1 k",
            ],
            &["PEXPIRE k 1", "DEBUG SLEEP 0.01", "ATOMIC.LOCK k late 60000"],
            &["ATOMIC.LOCKRENEW k me 1", "DEBUG SLEEP 0.01", "ATOMIC.LOCK k late 60000"],
        ];
        for way in ways {
            take(server, "k me 60000");
            let mut first = queue(server, 1, "first 60000 WAIT 0");
            let mut second = queue(server, 2, "second 60000 WAIT 0");
            let replies = in_one_write(&mut server.connect(), way);
            let late = replies.last().unwrap();
            let late = if way[0] == "MULTI" { late.array().last().unwrap() } else { late };
            assert_eq!(integers(late)[..2], [0, 0], "{way:?}: {late}");
            first.granted();
            assert_eq!(owners(server, "k"), ["first"], "{way:?}");
            unlock(server, "k", "first");
            second.granted();
            unlock(server, "k", "second");
            server.run("FLUSHALL");
        }
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
    });
}

#[test]
fn a_request_in_the_free_moment_queues_at_the_end() {
    each_server(|server| {
        take(server, "k me 60000");
        let mut first = queue(server, 1, "first 60000 WAIT 0");
        let mut late = server.connect();
        let bytes =
            ["DEL k", "ATOMIC.LOCK k late 60000 WAIT 0"].map(|line| crate::support::resp::encode(&crate::support::argv(line)));
        late.send_raw(&bytes.concat()).unwrap();
        assert_eq!(late.read().unwrap(), Value::Integer(1));
        first.granted();
        await_waiters(server, "k", 1);
        unlock(server, "k", "first");
        Grant::read(&late.read().unwrap());
        assert_eq!(owners(server, "k"), ["late"]);
    });
}

#[test]
fn readers_are_granted_together_up_to_the_next_writer() {
    each_server(|server| {
        take(server, "k me 60000");
        let mut first: Vec<Waiter> = (0..3).map(|n| queue(server, n + 1, &format!("r{n} 60000 WAIT 0 SHARED"))).collect();
        let mut writer = queue(server, 4, "w 60000 WAIT 0");
        let mut second: Vec<Waiter> = (3..5).map(|n| queue(server, n + 2, &format!("r{n} 60000 SHARED WAIT 0"))).collect();
        let mut replica = FakeReplica::attach(server);
        unlock(server, "k", "me");
        let grants: Vec<Grant> = first.iter_mut().map(Waiter::granted).collect();
        assert!(grants.windows(2).all(|pair| pair[0].fence < pair[1].fence), "a fence of its own for each: {grants:?}");
        assert!(grants.iter().all(|grant| (grant.holds(), grant.waiters) == (1, 3)), "{grants:?}");
        replica.expect_stream(&["SET k <state> PXAT <deadline>"]);
        assert_eq!(owners(server, "k"), ["r0", "r1", "r2"]);
        assert_eq!(waiters(server, "k"), 3);
        for (reader, left) in [("r1", ["r0", "r2"].as_slice()), ("r0", &["r2"])] {
            unlock(server, "k", reader);
            assert_eq!(owners(server, "k"), left);
            assert!(!writer.has_reply(), "the writer has the lock beside {left:?}");
        }
        unlock(server, "k", "r2");
        let written = writer.granted();
        assert!(written.fence > grants[2].fence);
        assert_eq!((written.waiters, owners(server, "k")), (2, vec!["w".to_owned()]));
        assert!(second.iter_mut().all(|reader| !reader.has_reply()));
        unlock(server, "k", "w");
        assert!(second.iter_mut().all(|reader| reader.granted().fence > written.fence));
        assert_eq!(owners(server, "k"), ["r3", "r4"]);
        assert_eq!(server.run("ATOMIC.LOCKINFO k").field("mode"), Some(Value::bulk("shared")));
    });
}

#[test]
fn later_readers_do_not_starve_a_waiting_writer() {
    each_server(|server| {
        take(server, "k r0 60000 SHARED");
        assert_eq!(take(server, "k r1 60000 SHARED").holds(), 1, "readers hold it together");
        let mut writer = queue(server, 1, "w 60000 WAIT 0");
        expect_denied(&changes_nothing(server, "ATOMIC.LOCK k r2 60000 SHARED"), 1);
        let mut reader = queue(server, 2, "r3 60000 SHARED WAIT 0");
        unlock(server, "k", "r0");
        assert!(!reader.has_reply() && !writer.has_reply());
        unlock(server, "k", "r1");
        assert_eq!(writer.granted().waiters, 1);
        assert!(!reader.has_reply(), "reader and writer together");
        unlock(server, "k", "w");
        assert_eq!(reader.granted().waiters, 0);
        assert_eq!(owners(server, "k"), ["r3"]);
    });
}

#[test]
fn a_holder_acquires_again_at_once_despite_the_queue() {
    each_server(|server| {
        let fence = take(server, "k me 60000").fence;
        let mut writer = queue(server, 1, "w 60000 WAIT 0");
        for (holds, options) in [(2, ""), (3, "WAIT 0"), (4, "SHARED"), (5, "SHARED WAIT 0"), (6, "WAIT 0 MAXQUEUE 1")] {
            let again = take(server, &format!("k me 60000 {options}"));
            assert_eq!((again.fence, again.holds(), again.waiters), (fence, holds - 1, 1), "{options}");
            let again = take(server, &format!("k me 60000 REENTRANT {options}"));
            assert_eq!((again.fence, again.holds(), again.waiters), (fence, holds, 1), "{options}");
            assert_eq!(server.run("ATOMIC.LOCKINFO k").field("mode"), Some(Value::bulk("exclusive")), "{options}");
        }
        for left in (1..6).rev() {
            assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(left));
            assert!(!writer.has_reply());
        }
        unlock(server, "k", "me");
        writer.granted();
        unlock(server, "k", "w");
        // A reader does so past a waiting writer.
        let fence = take(server, "k a 60000 SHARED").fence;
        let higher = take(server, "k b 60000 SHARED").fence;
        assert!(higher > fence);
        let mut writer = queue(server, 1, "w 60000 WAIT 0");
        for (holds, options) in [(1, ""), (2, "REENTRANT")] {
            let again = take(server, &format!("k a 60000 SHARED {options}"));
            assert_eq!((again.fence, again.holds(), again.waiters), (fence, holds, 1), "{options}");
        }
        let info = server.run("ATOMIC.LOCKINFO k");
        assert_eq!(info.field("fence"), Some(Value::Integer(higher)), "the highest fence");
        unlock(server, "k", "b");
        assert_eq!(server.run("ATOMIC.UNLOCK k a"), Value::Integer(1));
        assert!(!writer.has_reply());
        unlock(server, "k", "a");
        writer.granted();
    });
}

#[test]
fn a_reader_that_requests_exclusive_mode_beside_others_is_denied_at_once() {
    each_server(|server| {
        take(server, "k me 90000 SHARED");
        take(server, "k other 40000 SHARED");
        let denied_at_once = |owner: &str, waiters: i64, ttl: i64| {
            for options in ["", "WAIT 0", "WAIT 1000 MAXQUEUE 1000", "BIND", "WAIT 0 BIND", "REENTRANT WAIT 0"] {
                let reply = changes_nothing(server, &format!("ATOMIC.LOCK k {owner} 60000 {options}"));
                expect_denied(&reply, waiters);
                let shown = reply.array()[2].integer();
                assert!((ttl - 10_000..=ttl).contains(&shown), "{options}: the lease of the other reader, not {shown}");
            }
        };
        denied_at_once("me", 0, 40_000);
        denied_at_once("other", 0, 90_000);
        let mut writer = queue(server, 1, "w 60000 WAIT 0");
        denied_at_once("me", 1, 40_000);
        // Alone it passes the waiter.
        unlock(server, "k", "other");
        let read = server.run("ATOMIC.LOCKINFO k").field("fence").unwrap().integer();
        let written = take(server, "k me 60000 WAIT 0");
        assert!(written.fence > read && !writer.has_reply());
        assert_eq!((written.holds(), written.waiters), (1, 1));
        assert_eq!(server.run("ATOMIC.LOCKINFO k").field("mode"), Some(Value::bulk("exclusive")));
        unlock(server, "k", "me");
        assert!(writer.granted().fence > written.fence);
        expect_denied(&server.run("ATOMIC.LOCK k me 60000"), 0);
    });
}

#[test]
fn a_waiter_that_must_no_longer_wait_is_denied_and_the_next_one_is_served() {
    each_server(|server| {
        // A client copies a lock to the key, in which the waiting writer is one of two readers.
        take(server, "copy me 60000 SHARED");
        take(server, "copy other 60000 SHARED");
        take(server, "k x 60000");
        let mut writer = queue(server, 1, "me 60000 WAIT 0");
        let mut reader = queue(server, 2, "r 60000 WAIT 0 SHARED");
        let mut last = queue(server, 3, "w 60000 WAIT 0");
        server.run("COPY copy k REPLACE");
        writer.denied(1);
        assert_eq!(reader.granted().waiters, 1);
        assert_eq!(owners(server, "k"), ["me", "other", "r"]);
        assert!(!last.has_reply());
        for owner in ["me", "other", "r"] {
            unlock(server, "k", owner);
        }
        last.granted();
        await_nobody_blocked(server);
    });
}

#[test]
fn maxqueue_denies_at_once_from_exactly_that_length_on() {
    each_server(|server| {
        take(server, "k me 60000");
        let mut waiting = vec![queue(server, 1, "w0 60000 WAIT 0 MAXQUEUE 1")];
        expect_denied(&changes_nothing(server, "ATOMIC.LOCK k late 60000 WAIT 0 MAXQUEUE 1"), 1);
        waiting.push(queue(server, 2, "w1 60000 MAXQUEUE 2 WAIT 0"));
        waiting.push(queue(server, 3, "w2 60000 WAIT 0"));
        for bound in 1..=3 {
            let refused = format!("ATOMIC.LOCK k late 60000 WAIT 0 MAXQUEUE {bound}");
            expect_denied(&changes_nothing(server, &refused), 3);
        }
        waiting.push(queue(server, 4, "w3 60000 WAIT 0 MAXQUEUE 4"));
        // A waiter is not denied later, and a free lock needs no queue.
        unlock(server, "k", "me");
        for (n, waiter) in waiting.iter_mut().enumerate() {
            waiter.granted();
            unlock(server, "k", &format!("w{n}"));
        }
        take(server, "k me 60000 WAIT 0 MAXQUEUE 1");
    });
}

#[test]
fn options_may_come_in_any_order_and_only_once() {
    let near = |what: &str| format!("ERR syntax error near '{what}'");
    let refused = [
        ("WAIT", "WAIT"),
        ("SHARED WAIT", "WAIT"),
        ("MAXQUEUE", "MAXQUEUE"),
        ("WAIT 10 MAXQUEUE", "MAXQUEUE"),
        ("MAXQUEUE 1", "MAXQUEUE"),
        ("SHARED MAXQUEUE 1 BIND", "MAXQUEUE"),
        ("WAIT 10 WAIT 10", "WAIT"),
        ("SHARED SHARED", "SHARED"),
        ("REENTRANT SHARED REENTRANT", "REENTRANT"),
        ("BIND WAIT 10 BIND", "BIND"),
        ("WAIT 10 MAXQUEUE 1 MAXQUEUE 1", "MAXQUEUE"),
        ("junk", "junk"),
        ("''", ""),
        ("1000", "1000"),
        ("WAIT 10 junk", "junk"),
        ("SHARED=1", "SHARED=1"),
        (r#"WAIT 10 "\xe4\xb8\x80\x00\r\n""#, r"\xe4\xb8\x80\x00\r\n"),
        ("EXCLUSIVE", "EXCLUSIVE"),
        ("NOWAIT", "NOWAIT"),
    ];
    let table = refused.map(|(options, what)| (format!("ATOMIC.LOCK k me 60000 {options}"), near(what)));
    let wrong_number = [
        ("ATOMIC.LOCK k me 60000 WAIT ten", "ERR WAIT must be an integer between 0 and 31536000000"),
        ("ATOMIC.LOCK k me 60000 WAIT SHARED", "ERR WAIT must be an integer between 0 and 31536000000"),
        ("ATOMIC.LOCK k me 60000 WAIT 1 MAXQUEUE 0", "ERR MAXQUEUE must be an integer between 1 and 1000000"),
    ];
    each_server(|server| {
        expect_refused(server, &table);
        expect_refused(server, &wrong_number);
        expect_range(server, "PING", "ATOMIC.LOCK k me 1000 WAIT %", "WAIT", (0, 31_536_000_000));
        expect_range(server, "PING", "ATOMIC.LOCK k me 1000 WAIT 0 MAXQUEUE %", "MAXQUEUE", (1, 1_000_000));
        server.run("FLUSHALL");
        take(server, "held other 60000");
        let _first = Waiter::queued(server, "held", 1, "ATOMIC.LOCK held w 60000 WAIT 0");
        for options in permutations(&["WAIT 0", "SHARED", "reEntrant", "bInD", "maxqueue 1"]) {
            let mut connection = server.connect();
            Grant::read(&connection.run(&format!("ATOMIC.LOCK k me 60000 {options}")));
            assert_eq!(server.run("ATOMIC.LOCKINFO k").field("mode"), Some(Value::bulk("shared")), "{options}");
            expect_denied(&connection.run(&format!("ATOMIC.LOCK held me 60000 {options}")), 1);
            drop(connection);
            crate::support::eventually("the bound lock is free", || owners(server, "k").is_empty().then_some(()));
        }
    });
}

/// Every permutation of the words, each as one line.
fn permutations(words: &[&str]) -> Vec<String> {
    if words.is_empty() {
        return vec![String::new()];
    }
    let mut lines = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let rest = [&words[..at], &words[at + 1..]].concat();
        lines.extend(permutations(&rest).into_iter().map(|line| format!("{word} {line}")));
    }
    lines
}

#[test]
fn where_blocking_is_not_allowed_wait_replies_at_once_as_if_it_had_timed_out() {
    let script = "return redis.call('ATOMIC.LOCK', KEYS[1], 'late', '60000', 'WAIT', ARGV[1])";
    each_server(|server| {
        take(server, "k me 60000");
        let mut waiter = queue(server, 1, "w 60000 WAIT 0");
        for wait in ["0", "1", "60000"] {
            let command = format!("ATOMIC.LOCK k late 60000 WAIT {wait}");
            let shared = format!("{command} SHARED MAXQUEUE 1000");
            let replies = in_one_write(&mut server.connect(), &["MULTI", &command, &shared, "EXEC"]);
            replies[3].array().iter().for_each(|reply| expect_denied(reply, 1));
            for name in ["EVAL", "ATOMIC.EVAL"] {
                expect_denied(&server.call(&[name, script, "1", "k", wait]), 1);
            }
        }
        assert_eq!(waiters(server, "k"), 1);
        unlock(server, "k", "me");
        waiter.granted();
        unlock(server, "k", "w");
        // A free lock is still granted.
        let replies =
            in_one_write(&mut server.connect(), &["MULTI", "ATOMIC.LOCK k a 60000 WAIT 0", "ATOMIC.UNLOCK k a", "EXEC"]);
        Grant::read(&replies[3].array()[0]);
        for (name, key) in [("EVAL", "one"), ("ATOMIC.EVAL", "two")] {
            Grant::read(&server.call(&[name, script, "1", key, "0"]));
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn replies_have_one_shape_in_both_protocols() {
    each_server(|server| {
        for resp3 in [false, true] {
            let connect = || if resp3 { server.connect().resp3() } else { server.connect() };
            take(server, "k me 60000");
            let mut granted = Waiter::on(connect(), "ATOMIC.LOCK k w 60000 WAIT 0");
            await_waiters(server, "k", 1);
            expect_denied(&connect().run("ATOMIC.LOCK k late 60000 WAIT 20"), 1);
            let mut timed_out = Waiter::on(connect(), "ATOMIC.LOCK k late 60000 WAIT 20");
            timed_out.denied(1);
            unlock(server, "k", "me");
            let grant = granted.granted();
            assert_eq!((grant.holds(), grant.waiters), (1, 0));
            unlock(server, "k", "w");
            let info = connect().run("ATOMIC.LOCKINFO k");
            assert_eq!(info, if resp3 { Value::Map(Vec::new()) } else { Value::Array(Vec::new()) });
        }
    });
}

#[test]
fn lockinfo_shows_every_reader_and_the_number_of_waiters() {
    each_server(|server| {
        let first = take(server, "k a 60000 SHARED").fence;
        let second = take(server, "k b 90000 SHARED").fence;
        take(server, "k a 60000 SHARED REENTRANT");
        assert!(second > first);
        let _waiting = [queue(server, 1, "w 60000 WAIT 0"), queue(server, 2, "r 60000 WAIT 0 SHARED")];
        for mut connection in [server.connect(), server.connect().resp3()] {
            let info = connection.run("ATOMIC.LOCKINFO k");
            let names: Vec<String> = info.pairs().into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["mode", "owners", "fence", "ttl", "waiters", "bound", "queue"]);
            assert_eq!(info.field("mode"), Some(Value::bulk("shared")));
            assert_eq!(info.field("fence"), Some(Value::Integer(second)));
            assert_eq!(info.field("waiters"), Some(Value::Integer(2)));
            let owners = info.field("owners").unwrap();
            let shown: Vec<(String, i64)> =
                owners.array().iter().map(|owner| (owner.array()[0].text(), owner.array()[1].integer())).collect();
            assert_eq!(shown, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
            let ttls: Vec<i64> = owners.array().iter().map(|owner| owner.array()[2].integer()).collect();
            assert!((50_000..=60_000).contains(&ttls[0]) && (80_000..=90_000).contains(&ttls[1]), "{ttls:?}");
            assert_eq!(info.field("ttl"), Some(Value::Integer(ttls[1])), "the last lease");
        }
    });
}

#[test]
fn at_most_1024_readers_hold_a_lock_and_the_next_one_waits() {
    each_server(|server| {
        let lines: Vec<String> = (0..1024).map(|n| format!("ATOMIC.LOCK k r{n} 60000 SHARED")).collect();
        let mut connection = server.connect();
        let replies: Vec<Value> = lines.chunks(128).flat_map(|part| in_one_write(&mut connection, part)).collect();
        let fences: Vec<i64> = replies.iter().map(|reply| Grant::read(reply).fence).collect();
        assert!(fences.windows(2).all(|pair| pair[0] < pair[1]), "fences do not grow");
        expect_denied(&changes_nothing(server, "ATOMIC.LOCK k more 60000 SHARED"), 0);
        assert_eq!(take(server, "k r7 60000 SHARED").holds(), 1, "a reader sends its request again");
        assert_eq!(take(server, "k r7 60000 SHARED REENTRANT").holds(), 2, "a reader acquires again");
        assert_eq!(server.run("ATOMIC.UNLOCK k r7"), Value::Integer(1));
        let mut more = queue(server, 1, "more 60000 SHARED WAIT 0");
        let mut next = queue(server, 2, "next 60000 SHARED WAIT 0");
        unlock(server, "k", "r500");
        assert_eq!(more.granted().waiters, 1);
        let names = owners(server, "k");
        assert_eq!((names.len(), names.last().map(String::as_str)), (1024, Some("more")));
        assert!(!next.has_reply(), "1025 readers");
        unlock(server, "k", "r0");
        next.granted();
    });
}
