//! `ATOMIC.LOCK`, `UNLOCK`, `LOCKRENEW` and `LOCKINFO`: grammar, ownership, leases, fences, and clients that lock with `SET NX PX`.

mod stored; // the stored format

use super::{Moment, Timed, await_micros, changes_nothing, command, deadline, expect_range, expect_refused, integers, timed};
use crate::support::{Connection, FakeReplica, Server, Value, each_server};

const YEAR: i64 = 31_536_000_000;

/// The release script of the clients that lock with `SET key token NX PX ms`.
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

/// A reply of LOCK. No client waits in these tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reply {
    granted: bool,
    fence: i64,
    ttl: i64,
    holds: i64,
}

impl Reply {
    #[track_caller]
    fn read(reply: &Value) -> Self {
        let [granted, fence, ttl, holds, waiters] = integers(reply)[..] else { panic!("not five integers: {reply}") };
        assert!([0, 1].contains(&granted) && waiters == 0, "{reply}");
        Self { granted: granted == 1, fence, ttl, holds }
    }
}

/// A denial: the lock is held for `ttl` ms more, -1 without a TTL.
fn denied(ttl: i64) -> Reply {
    Reply { granted: false, fence: 0, ttl, holds: 0 }
}

/// Calls LOCK.
#[track_caller]
fn lock(server: &Server, arguments: &str) -> Reply {
    Reply::read(&server.run(&format!("ATOMIC.LOCK {arguments}")))
}

#[test]
fn lock_commands_refuse_unknown_options_and_name_them() {
    let arity = |name: &str| format!("ERR wrong number of arguments for 'atomic.{name}' command");
    let near = |what: &str| format!("ERR syntax error near '{what}'");
    let owner = || "ERR owner must be 1 to 255 bytes".to_owned();
    let long = "o".repeat(256);
    let table = [
        ("ATOMIC.LOCK".to_owned(), arity("lock")),
        ("ATOMIC.LOCK k me".to_owned(), arity("lock")),
        ("ATOMIC.LOCK k me 1000 WAITING 10".to_owned(), near("WAITING")),
        ("ATOMIC.LOCK k me 1000 REENTRANT reentrant".to_owned(), near("reentrant")),
        ("ATOMIC.LOCK k me 1000 SHARED REENTRANT junk".to_owned(), near("junk")),
        ("ATOMIC.LOCK k '' 1000".to_owned(), owner()),
        (format!("ATOMIC.LOCK k {long} 1000"), owner()),
        ("ATOMIC.UNLOCK k".to_owned(), arity("unlock")),
        ("ATOMIC.UNLOCK k me ONE".to_owned(), near("ONE")),
        ("ATOMIC.UNLOCK k me ''".to_owned(), near("")),
        ("ATOMIC.UNLOCK k me ALL ALL".to_owned(), near("ALL")),
        ("ATOMIC.UNLOCK k me all junk".to_owned(), near("junk")),
        (r#"ATOMIC.UNLOCK k me "\xe4\xb8\x80\x00""#.to_owned(), near(r"\xe4\xb8\x80\x00")),
        ("ATOMIC.UNLOCK k ''".to_owned(), owner()),
        (format!("ATOMIC.UNLOCK k {long}"), owner()),
        ("ATOMIC.LOCKRENEW k me".to_owned(), arity("lockrenew")),
        ("ATOMIC.LOCKRENEW k me 1000 1000".to_owned(), arity("lockrenew")),
        ("ATOMIC.LOCKRENEW k '' 1000".to_owned(), owner()),
        (format!("ATOMIC.LOCKRENEW k {long} 1000"), owner()),
        ("ATOMIC.LOCKINFO".to_owned(), arity("lockinfo")),
        ("ATOMIC.LOCKINFO k me".to_owned(), arity("lockinfo")),
    ];
    each_server(|server| {
        lock(server, "k me 60000");
        expect_refused(server, &table);
        assert!(lock(server, &format!("other {} 60000", "o".repeat(255))).granted);
    });
}

#[test]
fn a_lease_is_an_integer_in_its_range() {
    each_server(|server| {
        expect_range(server, "PING", "ATOMIC.LOCK k me %", "lease-ms", (1, YEAR));
        expect_range(server, "ATOMIC.LOCK k me 60000", "ATOMIC.LOCKRENEW k me %", "lease-ms", (1, YEAR));
    });
}

#[test]
fn one_owner_at_a_time_and_a_denial_changes_nothing() {
    each_server(|server| {
        let mut connection = server.connect();
        let taken = timed(&mut connection, "ATOMIC.LOCK k me 60000");
        let reply = Reply::read(&taken.reply);
        assert_eq!((reply.granted, reply.ttl, reply.holds), (true, 60_000, 1));
        assert_eq!(server.run("TYPE k"), Value::Status("string".to_owned()));
        let ends = deadline(server, "k");
        assert!((taken.before / 1000 + 60_000..=taken.after / 1000 + 60_000).contains(&ends));
        for other in ["you", "m", "mee", "ME", r#""me\x00""#] {
            let reply = Reply::read(&changes_nothing(server, &format!("ATOMIC.LOCK k {other} 100000")));
            assert_eq!(reply, denied(reply.ttl), "{other}");
            assert!((1..=60_000).contains(&reply.ttl), "{reply:?}");
            assert_eq!(changes_nothing(server, &format!("ATOMIC.UNLOCK k {other}")), Value::Integer(-1));
            assert_eq!(changes_nothing(server, &format!("ATOMIC.UNLOCK k {other} ALL")), Value::Integer(-1));
            assert_eq!(changes_nothing(server, &format!("ATOMIC.LOCKRENEW k {other} 100000")), Value::Integer(-1));
        }
        assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(0));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        assert!(lock(server, "k you 1000").granted);
    });
}

#[test]
fn a_denial_returns_the_time_until_the_lease_ends() {
    each_server(|server| {
        let mut connection = server.connect();
        server.run("ATOMIC.LOCK k me 45678");
        let ends = deadline(server, "k");
        for ask in 0..3 {
            let asked = timed(&mut connection, "ATOMIC.LOCK k you 1");
            let ttl = Reply::read(&asked.reply).ttl;
            assert!((ends - asked.after / 1000..=ends - asked.before / 1000).contains(&ttl), "ask {ask}: {ttl}");
        }
        server.run("SET foreign token");
        assert_eq!(lock(server, "foreign you 1000"), denied(-1));
    });
}

#[test]
fn a_free_lock_cannot_be_released_or_renewed() {
    each_server(|server| {
        for attempt in ["ATOMIC.UNLOCK k me", "ATOMIC.UNLOCK k me ALL", "ATOMIC.LOCKRENEW k me 1000"] {
            assert_eq!(changes_nothing(server, attempt), Value::Integer(-1), "{attempt}");
        }
        assert_eq!(server.run("ATOMIC.LOCKINFO k"), Value::Array(Vec::new()));
        assert_eq!(server.connect().resp3().run("ATOMIC.LOCKINFO k"), Value::Map(Vec::new()));
        assert_eq!(server.run("DBSIZE"), Value::Integer(0));
    });
}

#[test]
fn a_request_that_is_sent_again_gets_the_same_reply_and_changes_nothing() {
    each_server(|server| {
        for mode in ["", "SHARED"] {
            let first = lock(server, &format!("k me 60000 {mode}"));
            for options in ["", "WAIT 0", "WAIT 1000 MAXQUEUE 1", "SHARED", "SHARED WAIT 0"] {
                // A lease that is not longer than what is left.
                let again = changes_nothing(server, &format!("ATOMIC.LOCK k me 1 {mode} {}", options.replace(mode, "")));
                let again = Reply::read(&again);
                assert_eq!((again.granted, again.fence, again.holds), (true, first.fence, 1), "{mode} {options}");
                assert!((50_000..=60_000).contains(&again.ttl), "{again:?}");
            }
            let shown = server.run("ATOMIC.LOCKINFO k").field("mode").unwrap().text();
            assert_eq!(shown, if mode.is_empty() { "exclusive" } else { "shared" });
            assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(0), "{mode}: one release is enough");
        }
    });
}

#[test]
fn only_a_request_that_extends_the_lease_replicates() {
    const PUT: &str = "SET k <state> PXAT <deadline>";
    let table: &[(&str, &[&str])] = &[
        ("ATOMIC.LOCK k me 60000 SHARED", &[PUT]),
        ("ATOMIC.LOCK k me 10 SHARED", &[]),
        ("ATOMIC.LOCK k me 90000 SHARED", &[PUT]),
        ("ATOMIC.LOCK k me 10", &[PUT]), // the only reader becomes the writer
        ("ATOMIC.LOCK k me 10", &[]),
        ("ATOMIC.LOCK k me 10 SHARED", &[]),
        ("ATOMIC.LOCK k me 10 REENTRANT", &[PUT]),
        ("ATOMIC.LOCK k me 10", &[]),
        ("ATOMIC.LOCK k me 120000", &[PUT]),
        ("ATOMIC.LOCK k you 10 SHARED", &[]),
        ("ATOMIC.UNLOCK k me", &[PUT]),
        ("ATOMIC.UNLOCK k me", &["DEL k"]),
        ("ATOMIC.LOCK k a 60000 SHARED", &[PUT]),
        ("ATOMIC.LOCK k b 60000 SHARED", &[PUT]),
        ("ATOMIC.LOCK k a 90000", &[]), // denied: another reader
        ("ATOMIC.LOCK k a 90000 WAIT 0 BIND REENTRANT", &[]),
    ];
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for (command, stream) in table {
            assert!(!matches!(server.run(command), Value::Error(_)), "{command}");
            replica.expect_stream(stream);
        }
    });
}

#[test]
fn a_granted_request_restores_the_ttl_that_another_client_has_changed() {
    each_server(|server| {
        lock(server, "k me 60000");
        let ends = deadline(server, "k");
        for change in ["PERSIST k", "PEXPIRE k 5000", "PEXPIRE k 90000"] {
            server.run(change);
            let again = lock(server, "k me 1");
            assert!((50_000..=60_000).contains(&again.ttl), "{change}: {again:?}");
            assert_eq!(deadline(server, "k"), ends, "{change}: the key must live as long as the reply says");
        }
    });
}

#[test]
fn the_only_reader_becomes_the_exclusive_owner_with_a_new_fence() {
    each_server(|server| {
        for options in ["", "WAIT 0", "BIND", "WAIT 0 MAXQUEUE 1"] {
            let read = lock(server, "k me 60000 SHARED");
            let mut connection = server.connect();
            let written = Reply::read(&connection.run(&format!("ATOMIC.LOCK k me 10 {options}")));
            assert_eq!((written.granted, written.holds), (true, 1), "{options}");
            assert!(written.fence > read.fence, "{options}: {} after {}", written.fence, read.fence);
            assert!((50_000..=60_000).contains(&written.ttl), "{options}: the lease got shorter: {written:?}");
            let shown = info(&mut server.connect(), "k");
            assert_eq!((shown.0.as_str(), shown.1, shown.2), ("exclusive", written.fence, 1));
            assert_eq!(lock(server, "k me 10").fence, written.fence, "sent again");
            assert!(!lock(server, "k you 10 SHARED").granted);
            assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(0));
        }
        // REENTRANT counts this request, too.
        lock(server, "k me 60000 SHARED");
        assert_eq!(lock(server, "k me 60000 REENTRANT").holds, 2);
        assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(1));
        assert_eq!(server.run("ATOMIC.LOCKINFO k").field("mode"), Some(Value::bulk("exclusive")));
    });
}

#[test]
fn a_reentrant_lock_counts_its_holds() {
    each_server(|server| {
        let first = lock(server, "k me 60000 REENTRANT");
        assert_eq!(first.holds, 1);
        for holds in 2..=4 {
            let again = lock(server, "k me 60000 reentrant");
            assert_eq!((again.granted, again.fence, again.holds), (true, first.fence, holds));
        }
        assert_eq!(lock(server, "k me 1").holds, 4, "without REENTRANT: the holds that it has");
        for left in (1..=3).rev() {
            let ends = deadline(server, "k");
            assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(left));
            assert_eq!(deadline(server, "k"), ends, "releasing one hold moved the lease");
            assert!(!lock(server, "k you 1000").granted);
        }
        assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(0));
        assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(-1));
    });
}

#[test]
fn unlock_all_releases_every_hold() {
    each_server(|server| {
        for option in ["ALL", "all", "aLL"] {
            (0..3).for_each(|_| assert!(lock(server, "k me 60000 REENTRANT").granted));
            assert_eq!(server.run(&format!("ATOMIC.UNLOCK k me {option}")), Value::Integer(0));
            assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        }
    });
}

#[test]
fn acquiring_again_never_shortens_a_lease_and_renewing_may() {
    each_server(|server| {
        let mut connection = server.connect();
        lock(server, "k me 60000");
        let ends = deadline(server, "k");
        let shorter = timed(&mut connection, "ATOMIC.LOCK k me 10");
        assert_eq!(deadline(server, "k"), ends);
        let ttl = Reply::read(&shorter.reply).ttl;
        assert!((ends - shorter.after / 1000..=ends - shorter.before / 1000).contains(&ttl), "{ttl}");
        assert_eq!(lock(server, "k me 90000").ttl, 90_000);
        assert!(deadline(server, "k") > ends);
        for lease in [120_000, 30_000, 31_536_000_000_i64] {
            let renewed = timed(&mut connection, &format!("ATOMIC.LOCKRENEW k me {lease}"));
            assert_eq!(renewed.reply, Value::Integer(lease));
            let ends = deadline(server, "k");
            assert!((renewed.before / 1000 + lease..=renewed.after / 1000 + lease).contains(&ends), "{lease}");
        }
        assert_eq!(info(&mut connection, "k").2, 1, "renewing adds no hold");
    });
}

/// Mode, fence, holds and ttl of a lock that `me` owns alone.
#[track_caller]
fn info(connection: &mut Connection, key: &str) -> (String, i64, i64, i64) {
    let reply = connection.run(&format!("ATOMIC.LOCKINFO {key}"));
    let field = |name: &str| reply.field(name).unwrap_or_else(|| panic!("no {name} in {reply}"));
    let owners = field("owners");
    let [owner] = owners.array() else { panic!("not one owner: {reply}") };
    assert_eq!((owner.array()[0].clone(), owner.array()[2].clone()), (Value::bulk("me"), field("ttl")));
    (field("mode").text(), field("fence").integer(), owner.array()[1].integer(), field("ttl").integer())
}

#[test]
fn lockinfo_shows_owner_holds_fence_and_ttl_in_both_protocols() {
    each_server(|server| {
        let fence = lock(server, "k me 60000").fence;
        lock(server, "k me 60000 REENTRANT");
        let flat = changes_nothing(server, "ATOMIC.LOCKINFO k");
        let names: Vec<Value> = flat.array().iter().step_by(2).cloned().collect();
        assert_eq!(names, ["mode", "owners", "fence", "ttl", "waiters", "bound", "queue"].map(Value::bulk));
        assert_eq!(flat.field("waiters"), Some(Value::Integer(0)));
        let mut resp3 = server.connect().resp3();
        let Value::Map(pairs) = resp3.run("ATOMIC.LOCKINFO k") else { panic!("no map in RESP3") };
        assert_eq!(pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names);
        for mut connection in [server.connect(), resp3] {
            let ends = deadline(server, "k");
            let asked = timed(&mut connection, "ATOMIC.LOCKINFO k");
            let (mode, shown, holds, ttl) = info(&mut connection, "k");
            assert_eq!((mode.as_str(), shown, holds), ("exclusive", fence, 2));
            assert!(ttl <= ends - asked.before / 1000 && ttl > 0, "{ttl}");
        }
        server.run("SET foreign me PX 60000");
        let (mode, fence, holds, ttl) = info(&mut server.connect(), "foreign");
        assert_eq!((mode.as_str(), fence, holds), ("string", 0, 1));
        assert!((1..=60_000).contains(&ttl));
        server.run("PERSIST foreign");
        assert_eq!(info(&mut server.connect(), "foreign").3, -1);
    });
}

#[test]
fn fences_grow_strictly_across_releases_keys_and_transactions() {
    each_server(|server| {
        let mut connection = server.connect();
        let first: Timed = timed(&mut connection, "ATOMIC.LOCK a me 60000");
        let mut last = Reply::read(&first.reply).fence;
        assert!((first.before..=first.after).contains(&last), "the first fence is the clock in microseconds: {last}");
        for round in 0..50 {
            let key = ["a", "b", "c"][round % 3];
            server.run(&format!("ATOMIC.UNLOCK {key} me"));
            let fence = lock(server, &format!("{key} me 60000")).fence;
            assert!(fence > last, "{fence} after {last}");
            last = fence;
        }
        connection.run("MULTI");
        (0..20).for_each(|key| drop(connection.run(&format!("ATOMIC.LOCK t{key} me 60000"))));
        for reply in connection.run("EXEC").array() {
            let fence = Reply::read(reply).fence;
            assert!(fence > last, "{fence} after {last}");
            last = fence;
        }
    });
}

#[test]
fn an_ended_lease_has_no_owner_even_while_its_key_exists() {
    each_server(|server| {
        let mut connection = server.connect();
        let first = timed(&mut connection, "ATOMIC.LOCK k me 20");
        server.run("PERSIST k");
        await_micros(&mut connection, first.after + 20_000);
        assert_eq!(server.run("EXISTS k"), Value::Integer(1));
        assert_eq!(changes_nothing(server, "ATOMIC.LOCKRENEW k me 60000"), Value::Integer(-1));
        assert_eq!(changes_nothing(server, "ATOMIC.UNLOCK k me"), Value::Integer(-1));
        assert_eq!(server.run("ATOMIC.LOCKINFO k"), Value::Array(Vec::new()));
        let again = lock(server, "k me 60000");
        assert_eq!(again.holds, 1, "the old holds came back");
        assert!(again.fence > Reply::read(&first.reply).fence, "the old ownership came back");
        assert!(deadline(server, "k") > 0);
        server.run("ATOMIC.UNLOCK k me");
        // With its TTL: the lock is free when the lease ends, not before.
        let first = timed(&mut connection, "ATOMIC.LOCK k me 30");
        loop {
            let asked = timed(&mut connection, "ATOMIC.LOCK k you 60000");
            let reply = Reply::read(&asked.reply);
            if reply.granted {
                assert!(asked.after >= first.before + 29_000, "taken {} us too early", first.before + 29_000 - asked.after);
                assert!(reply.fence > Reply::read(&first.reply).fence);
                break;
            }
            assert!(asked.before < first.after + 30_000, "still held after the lease");
            let mut ends = Moment { after: first.before + 28_999, until: first.after + 30_000 };
            ends.expect_same(Moment {
                after: asked.before + (reply.ttl - 1) * 1000,
                until: asked.after + (reply.ttl + 1) * 1000,
            });
        }
        assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(-1));
    });
}

#[test]
fn owners_and_keys_are_bytes() {
    each_server(|server| {
        for name in [&b"\0"[..], b"\r\n", "\u{4e00}".as_bytes(), b"\xff\xfe", b"a b", b"1", &[b'o'; 255]] {
            let taken = server.call(&[b"ATOMIC.LOCK", name, name, b"60000"]);
            assert!(Reply::read(&taken).granted);
            let info = server.call(&[b"ATOMIC.LOCKINFO", name]);
            assert_eq!(info.field("owners").unwrap().array()[0].array()[0], Value::bulk(name));
            assert_eq!(server.call(&[b"ATOMIC.LOCKRENEW", name, name, b"1000"]), Value::Integer(1000));
            assert_eq!(server.run(&command(&[b"ATOMIC.UNLOCK", name, name])), Value::Integer(0));
        }
        assert!(Reply::read(&server.call(&["ATOMIC.LOCK", "", "me", "1000"])).granted, "an empty key is a key");
    });
}

#[test]
fn a_string_lock_of_another_client_is_respected() {
    each_server(|server| {
        for token in ["token", "10", &"t".repeat(100)] {
            assert_eq!(server.call(&["SET", "k", token, "NX", "PX", "60000"]), Value::ok());
            for owner in ["me", token] {
                let reply = Reply::read(&changes_nothing(server, &format!("ATOMIC.LOCK k {owner} 100000")));
                assert_eq!(reply, denied(reply.ttl), "{owner} entered");
                assert!((1..=60_000).contains(&reply.ttl), "{reply:?}");
            }
            assert_eq!(changes_nothing(server, "ATOMIC.UNLOCK k me"), Value::Integer(-1));
            assert_eq!(changes_nothing(server, "ATOMIC.LOCKRENEW k me 1000"), Value::Integer(-1));
            let mut connection = server.connect();
            for lease in [90_000, 30_000] {
                let renewed = timed(&mut connection, &format!("ATOMIC.LOCKRENEW k {token} {lease}"));
                assert_eq!(renewed.reply, Value::Integer(lease));
                let ends = deadline(server, "k");
                assert!((renewed.before / 1000 + lease..=renewed.after / 1000 + lease).contains(&ends), "{lease}");
                assert_eq!(server.run("GET k"), Value::bulk(token), "renewing changed the token");
            }
            for option in ["", "ALL"] {
                server.call(&["SET", "k", token, "PX", "60000"]);
                assert_eq!(server.run(&format!("ATOMIC.UNLOCK k {token} {option}")), Value::Integer(0));
                assert_eq!(server.run("EXISTS k"), Value::Integer(0));
            }
        }
        server.run("SET k token");
        assert_eq!(server.run("ATOMIC.LOCKRENEW k token 1000"), Value::Integer(1000), "a lock without a TTL gets one");
        assert!(deadline(server, "k") > 0);
    });
}

#[test]
fn a_client_that_locks_with_set_cannot_acquire_or_release_our_lock() {
    each_server(|server| {
        let release = |token: &[u8]| server.call(&[b"EVAL", RELEASE.as_bytes(), b"1", b"k", token]);
        let fence = lock(server, "k me 60000").fence;
        assert_eq!(changes_nothing(server, "SET k token NX PX 60000"), Value::Null);
        for token in [&b"token"[..], b"me", b""] {
            assert_eq!(release(token), Value::Integer(0));
        }
        assert_eq!(lock(server, "k me 60000").fence, fence, "the lock is what it was");
        server.run("ATOMIC.UNLOCK k me ALL");
        assert_eq!(server.run("SET k token NX PX 60000"), Value::ok());
        assert!(!lock(server, "k me 60000").granted);
        assert_eq!(release(b"token"), Value::Integer(1));
        assert!(lock(server, "k me 60000").granted);
    });
}
