//! `ATOMIC.SEMACQUIRE`, `SEMRELEASE`, `SEMRENEW` and `SEMINFO`: grammar, permits, leases and the stored format; `witnesses` covers
//! replicas, events, memory and restarts.

mod witnesses;

use super::{
    OTHER_TYPES, WRONGTYPE, await_micros, changes_nothing, deadline, expect_range, expect_refused, integers, pipelined, timed,
};
use crate::support::line::line;
use crate::support::{FakeReplica, Server, Value, each_server, eventually, locks};

const YEAR: i64 = 31_536_000_000;
const FOREIGN: &str = "WRONGTYPE key does not hold a semaphore (format SM1)";

/// A time that no test reaches, in ms since the epoch.
const LATER: i64 = 4_102_444_800_000;

/// Every command of the family, in a form that works on a semaphore at `k`.
const ATTEMPTS: [&str; 4] =
    ["ATOMIC.SEMACQUIRE k 10 me 60000", "ATOMIC.SEMRELEASE k me", "ATOMIC.SEMRENEW k me 60000", "ATOMIC.SEMINFO k"];

/// The member that stores the lease of an owner.
fn lease(owner: &[u8]) -> Vec<u8> {
    [b"\xa7SM\x01\0", owner].concat()
}

/// The member that counts the permits of an owner with several.
fn count(owner: &str) -> Vec<u8> {
    [b"\xa7SM\x01\x01", owner.as_bytes()].concat()
}

/// The member that counts all permits.
fn total() -> Vec<u8> {
    b"\xa7SM\x01\x02".to_vec()
}

/// A member, quoted for a command line.
fn word(member: &[u8]) -> String {
    line(&[member.to_vec()])
}

/// A reply of SEMACQUIRE. No client waits in these tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reply {
    granted: bool,
    fence: i64,
    in_use: i64,
    /// ms until enough permits could be free; -1 if never.
    retry: i64,
}

impl Reply {
    #[track_caller]
    fn read(reply: &Value) -> Self {
        let [granted, fence, in_use, retry, waiters] = integers(reply)[..] else { panic!("not five integers: {reply}") };
        assert!([0, 1].contains(&granted) && waiters == 0, "{reply}");
        Self { granted: granted == 1, fence, in_use, retry }
    }

    /// Asserts a grant, with this many permits in use now.
    #[track_caller]
    fn expect_granted(self, in_use: i64) {
        assert_eq!((self.granted, self.in_use, self.retry), (true, in_use, 0), "{self:?}");
    }
}

/// A denial while this many permits are in use.
fn denied(in_use: i64, retry: i64) -> Reply {
    Reply { granted: false, fence: 0, in_use, retry }
}

/// Calls SEMACQUIRE. Grants have a fence, denials have none.
#[track_caller]
fn acquire(server: &Server, arguments: &str) -> Reply {
    let reply = Reply::read(&server.run(&format!("ATOMIC.SEMACQUIRE {arguments}")));
    assert_eq!(reply.granted, reply.fence > 0, "{reply:?}");
    reply
}

/// The stored members and their scores, by score.
fn stored(server: &Server) -> Vec<(Vec<u8>, i64)> {
    let reply = server.run("ZRANGE k 0 -1 WITHSCORES");
    reply.array().chunks(2).map(|pair| (pair[0].bytes().to_vec(), pair[1].text().parse().unwrap())).collect()
}

/// When the leases end, the earliest first.
fn ends(server: &Server) -> Vec<i64> {
    stored(server).into_iter().map(|(_, end)| end).filter(|end| *end >= 0).collect()
}

/// Owners and their permits, by name.
fn owners(server: &Server) -> Vec<(String, i64)> {
    let info = server.run("ATOMIC.SEMINFO k");
    info.field("owners").map_or_else(Vec::new, |owners| {
        owners.array().iter().map(|owner| (owner.array()[0].text(), owner.array()[1].integer())).collect()
    })
}

#[test]
fn semaphore_commands_refuse_unknown_options_and_name_them() {
    let arity = |name: &str| format!("ERR wrong number of arguments for 'atomic.sem{name}' command");
    let near = |what: &str| format!("ERR syntax error near '{what}'");
    let owner = || "ERR owner must be 1 to 255 bytes".to_owned();
    let long = "o".repeat(256);
    let acquire = |rest: &str| format!("ATOMIC.SEMACQUIRE k 10 me 1000 {rest}");
    let table = [
        ("ATOMIC.SEMACQUIRE k 10 me".to_owned(), arity("acquire")),
        ("ATOMIC.SEMACQUIRE k 10 '' 1000".to_owned(), owner()),
        (format!("ATOMIC.SEMACQUIRE k 10 {long} 1000"), owner()),
        (acquire("junk"), near("junk")),
        (acquire("''"), near("")),
        (acquire("PERMITS"), near("PERMITS")),
        (acquire("PERMITS 1 permits 1"), near("permits")),
        (acquire("ADD PERMITS 1 add"), near("add")),
        (acquire("ADD 2"), near("2")),
        (acquire("REENTRANT"), near("REENTRANT")),
        (acquire("WAIT"), near("WAIT")),
        (acquire("WAIT 5 WAIT 5"), near("WAIT")),
        (acquire("BIND bind"), near("bind")),
        (acquire("WAIT 5 MAXQUEUE"), near("MAXQUEUE")),
        (acquire("WAIT 5 MAXQUEUE 1 MAXQUEUE 1"), near("MAXQUEUE")),
        (acquire("MAXQUEUE 1"), near("MAXQUEUE")),
        (acquire("maxqueue 1 BIND"), near("MAXQUEUE")),
        (acquire("SHARED"), near("SHARED")),
        ("ATOMIC.SEMRELEASE k".to_owned(), arity("release")),
        ("ATOMIC.SEMRELEASE k ''".to_owned(), owner()),
        (format!("ATOMIC.SEMRELEASE k {long}"), owner()),
        ("ATOMIC.SEMRELEASE k me ALL".to_owned(), near("ALL")),
        ("ATOMIC.SEMRELEASE k me PERMITS".to_owned(), near("PERMITS")),
        ("ATOMIC.SEMRELEASE k me PERMITS 1 PERMITS".to_owned(), near("PERMITS")),
        ("ATOMIC.SEMRENEW k me".to_owned(), arity("renew")),
        ("ATOMIC.SEMRENEW k me 1000 1000".to_owned(), arity("renew")),
        ("ATOMIC.SEMRENEW k '' 1000".to_owned(), owner()),
        ("ATOMIC.SEMINFO".to_owned(), arity("info")),
        ("ATOMIC.SEMINFO k me".to_owned(), arity("info")),
    ];
    each_server(|server| {
        self::acquire(server, "k 10 me 60000");
        expect_refused(server, &table);
        for options in ["permits 2 add WAIT 0 MAXQUEUE 1 BIND", "BIND maxqueue 1000000 wait 31536000000 PERMITS 2 ADD"] {
            assert!(self::acquire(server, &format!("fresh 10 {} 1000 {options}", "o".repeat(255))).granted, "{options}");
        }
    });
}

#[test]
fn integers_have_their_ranges() {
    each_server(|server| {
        let taken = "ATOMIC.SEMACQUIRE k 10 me 60000";
        expect_range(server, "PING", "ATOMIC.SEMACQUIRE k % me 60000", "capacity", (1, 10_000));
        expect_range(server, "PING", "ATOMIC.SEMACQUIRE k 10 me %", "lease-ms", (1, YEAR));
        expect_range(server, "PING", "ATOMIC.SEMACQUIRE k 10000 me 60000 PERMITS %", "PERMITS", (1, 10_000));
        expect_range(server, "PING", "ATOMIC.SEMACQUIRE k 10 me 60000 WAIT %", "WAIT", (0, YEAR));
        expect_range(server, "PING", "ATOMIC.SEMACQUIRE k 10 me 60000 WAIT 1 MAXQUEUE %", "MAXQUEUE", (1, 1_000_000));
        expect_range(server, taken, "ATOMIC.SEMRELEASE k me PERMITS %", "PERMITS", (1, 10_000));
        expect_range(server, taken, "ATOMIC.SEMRENEW k me %", "lease-ms", (1, YEAR));
    });
}

#[test]
fn a_foreign_or_damaged_value_is_refused_and_kept() {
    each_server(|server| {
        server.call(&[b"ZADD", &b"k"[..], LATER.to_string().as_bytes(), &lease(b"me")]);
        assert_eq!(server.run(ATTEMPTS[2]), Value::Integer(60_000), "the semaphore that the rows damage is not valid");
        let damaged = [
            (LATER.to_string(), b"v".to_vec()),
            (LATER.to_string(), Vec::new()),
            (LATER.to_string(), lease(b"")),
            (LATER.to_string(), count("me")),
            (LATER.to_string(), total()),
            ("-2".to_owned(), count("me")),
            ("-20000".to_owned(), total()),
            (LATER.to_string(), lease(&[b'o'; 256])),
            (LATER.to_string(), b"\xa7SM\x02\0me".to_vec()),
            ("1".to_owned(), b"v".to_vec()),
            ("0.5".to_owned(), lease(b"me")),
            ("-1".to_owned(), lease(b"me")),
            ("inf".to_owned(), lease(b"me")),
            ("-inf".to_owned(), lease(b"me")),
            ("1e300".to_owned(), lease(b"me")),
        ];
        for (score, member) in damaged {
            for company in [false, true] {
                server.run("DEL k");
                if company {
                    server.call(&[b"ZADD", &b"k"[..], (LATER - 1).to_string().as_bytes(), &lease(b"you")]);
                }
                server.call(&[b"ZADD", &b"k"[..], score.as_bytes(), &member]);
                server.run("PEXPIRE k 60000000");
                expect_refused(server, &ATTEMPTS.map(|attempt| (attempt, FOREIGN)));
            }
        }
        for setup in OTHER_TYPES.iter().copied().filter(|setup| !setup.starts_with("ZADD")).chain(["SET k v"]) {
            server.run("DEL k");
            server.run(setup);
            expect_refused(server, &ATTEMPTS.map(|attempt| (attempt, WRONGTYPE)));
        }
    });
}

#[test]
fn permits_are_granted_up_to_the_capacity_and_a_denial_changes_nothing() {
    each_server(|server| {
        let mut connection = server.connect();
        acquire(server, "k 3 a 60000 PERMITS 2").expect_granted(2);
        acquire(server, "k 3 b 30000").expect_granted(3);
        let ends = ends(server);
        // The lease of one permit ends first, that of two permits second.
        for (request, end) in [
            ("3 c 1", ends[0]),
            ("3 a 1 ADD", ends[0]),
            ("3 a 1 PERMITS 3", ends[0]),
            ("3 b 1 PERMITS 2", ends[1]), // the end of its own lease does not help it
            ("3 b 1 ADD", ends[0]),
            ("3 c 1 PERMITS 2", ends[1]),
            ("2 c 1", ends[1]),
        ] {
            let asked = timed(&mut connection, &format!("ATOMIC.SEMACQUIRE k {request}"));
            let reply = Reply::read(&asked.reply);
            assert_eq!(reply, denied(3, reply.retry), "{request}");
            let due = end - asked.after / 1000..=end - asked.before / 1000;
            assert!(due.contains(&reply.retry), "{request}: {reply:?}, due {due:?}");
            changes_nothing(server, &format!("ATOMIC.SEMACQUIRE k {request}"));
        }
        for (key, in_use) in [("k", 3), ("free", 0)] {
            let never = changes_nothing(server, &format!("ATOMIC.SEMACQUIRE {key} 1 c 1000 PERMITS 2"));
            assert_eq!(Reply::read(&never), denied(in_use, -1), "{key}");
        }
        // The capacity belongs to the request.
        acquire(server, "k 4 c 1000").expect_granted(4);
        assert_eq!(owners(server), [("a".to_owned(), 2), ("b".to_owned(), 1), ("c".to_owned(), 1)]);
    });
}

#[test]
fn every_grant_has_a_higher_fence() {
    each_server(|server| {
        let mut last = 0;
        for request in ["k 10 a 60000", "k 10 a 60000", "k 10 a 60000 ADD", "k 10 b 60000 PERMITS 3", "other 10 a 60000"] {
            let fence = acquire(server, request).fence;
            assert!(fence > last, "{request}: {fence} after {last}");
            last = fence;
        }
        let of_lock = locks::granted(&server.run("ATOMIC.LOCK lock me 60000"));
        assert!(of_lock > last, "locks and semaphores share one sequence");
        assert!(acquire(server, "k 10 a 60000").fence > of_lock);
    });
}

#[test]
fn permits_are_released_and_the_key_expires_with_the_last_lease() {
    each_server(|server| {
        acquire(server, "k 10 a 60000 PERMITS 3");
        acquire(server, "k 10 b 50000");
        let ends = ends(server);
        assert_eq!(server.run("ATOMIC.SEMRELEASE k a"), Value::Integer(2));
        assert_eq!((self::ends(server), deadline(server, "k")), (ends.clone(), ends[1]));
        assert_eq!(server.run("ATOMIC.SEMRELEASE k a permits 2"), Value::Integer(0));
        assert_eq!((self::ends(server), deadline(server, "k")), (vec![ends[0]], ends[0]), "the key expires with the last lease");
        for none in ["ATOMIC.SEMRELEASE k a", "ATOMIC.SEMRELEASE k c PERMITS 10000", "ATOMIC.SEMRELEASE missing a"] {
            assert_eq!(changes_nothing(server, none), Value::Integer(-1), "{none}");
        }
        assert_eq!(server.run("ATOMIC.SEMRELEASE k b PERMITS 10000"), Value::Integer(0), "more than there are");
        assert_eq!(server.run("DBSIZE"), Value::Integer(0));
        assert!(acquire(server, "k 1 c 1000").granted);
    });
}

#[test]
fn a_request_that_is_sent_again_takes_no_permit_and_needs_no_room() {
    each_server(|server| {
        let first = acquire(server, "k 3 a 60000 PERMITS 2");
        acquire(server, "k 3 b 60000").expect_granted(3);
        let mut last = first.fence;
        for request in ["3 a 1 PERMITS 2", "2 a 1 PERMITS 2", "1 a 1", "3 a 1 WAIT 0 PERMITS 2", "3 a 1 PERMITS 1"] {
            let again = Reply::read(&changes_nothing(server, &format!("ATOMIC.SEMACQUIRE k {request}")));
            again.expect_granted(3);
            assert!(again.fence > last, "{request}: every reply has its own fence");
            last = again.fence;
        }
        assert_eq!(owners(server), [("a".to_owned(), 2), ("b".to_owned(), 1)], "and none is taken away");
        // A longer lease moves the end of all of them.
        let end = ends(server)[1];
        acquire(server, "k 3 a 90000").expect_granted(3);
        assert!(deadline(server, "k") > end && ends(server)[1] == deadline(server, "k"));
        // What is missing is taken, if there is room.
        assert!(!acquire(server, "k 3 a 1 PERMITS 3").granted);
        acquire(server, "k 4 a 1 PERMITS 3").expect_granted(4);
        acquire(server, "k 4 a 1 PERMITS 3").expect_granted(4);
        assert_eq!(server.run("ATOMIC.SEMRELEASE k a PERMITS 3"), Value::Integer(0));
        // The TTL that another client has changed is restored.
        let end = ends(server)[0];
        server.run("PEXPIRE k 5000");
        acquire(server, "k 4 b 1").expect_granted(1);
        assert_eq!(deadline(server, "k"), end);
    });
}

#[test]
fn permits_of_an_owner_end_together_and_acquiring_more_never_shortens_the_lease() {
    each_server(|server| {
        acquire(server, "k 10 a 60000");
        let end = ends(server);
        acquire(server, "k 10 a 20 ADD").expect_granted(2);
        assert_eq!((ends(server), owners(server)), (end.clone(), vec![("a".to_owned(), 2)]));
        acquire(server, "k 10 a 90000 PERMITS 2 ADD").expect_granted(4);
        assert!(ends(server)[0] >= end[0] + 30_000);
        assert_eq!(deadline(server, "k"), ends(server)[0]);
        assert_eq!(stored(server), [(count("a"), -4), (total(), -4), (lease(b"a"), ends(server)[0])]);
    });
}

#[test]
fn renewing_moves_all_permits_of_the_owner_and_no_others() {
    each_server(|server| {
        let mut connection = server.connect();
        acquire(server, "k 10 a 60000 PERMITS 3");
        acquire(server, "k 10 b 40000");
        let other = stored(server).into_iter().find(|(member, _)| *member == lease(b"b")).unwrap().1;
        for ms in [90_000, 10_000] {
            let renewed = timed(&mut connection, &format!("ATOMIC.SEMRENEW k a {ms}"));
            assert_eq!(renewed.reply, Value::Integer(ms));
            let due = renewed.before / 1000 + ms..=renewed.after / 1000 + ms;
            for (member, end) in stored(server).into_iter().filter(|(_, end)| *end >= 0) {
                let ours = member != lease(b"b");
                assert_eq!(ours, due.contains(&end), "{} ends at {end}", line(&[member]));
            }
            assert_eq!(Some(&deadline(server, "k")), ends(server).last());
        }
        assert_eq!(deadline(server, "k"), other);
        for none in ["ATOMIC.SEMRENEW k c 1000", "ATOMIC.SEMRENEW missing a 1000"] {
            assert_eq!(changes_nothing(server, none), Value::Integer(-1), "{none}");
        }
    });
}

#[test]
fn info_shows_owners_permits_and_leases() {
    each_server(|server| {
        assert_eq!(server.run("ATOMIC.SEMINFO k"), Value::Array(Vec::new()));
        assert_eq!(server.connect().resp3().run("ATOMIC.SEMINFO k"), Value::Map(Vec::new()));
        acquire(server, "k 10 b 60000 PERMITS 3");
        acquire(server, "k 10 a 40000");
        let ends = ends(server);
        let mut connection = server.connect().resp3();
        let asked = timed(&mut connection, "ATOMIC.SEMINFO k");
        let info = asked.reply.clone();
        let names: Vec<String> = info.pairs().iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, ["in-use", "owners", "ttl", "waiters", "bound", "queue"]);
        assert_eq!((info.field("in-use"), info.field("waiters")), (Some(Value::Integer(4)), Some(Value::Integer(0))));
        let due = |end: i64| end - asked.after / 1000..=end - asked.before / 1000;
        assert!(due(ends[1]).contains(&info.field("ttl").unwrap().integer()));
        let owners = info.field("owners").unwrap();
        for (owner, (name, permits, end)) in owners.array().iter().zip([("a", 1, ends[0]), ("b", 3, ends[1])]) {
            assert_eq!((owner.array()[0].text().as_str(), owner.array()[1].integer()), (name, permits));
            assert!(due(end).contains(&owner.array()[2].integer()), "{owner}");
        }
        assert_eq!(owners.array().len(), 2);
        assert_eq!(changes_nothing(server, "ATOMIC.SEMINFO k").array().len(), 12);
    });
}

#[test]
fn a_lease_ends_while_others_continue() {
    each_server(|server| {
        let mut connection = server.connect();
        acquire(server, "k 2 a 60000");
        let short = timed(&mut connection, "ATOMIC.SEMACQUIRE k 2 b 30");
        loop {
            let asked = timed(&mut connection, "ATOMIC.SEMACQUIRE k 2 c 60000");
            let reply = Reply::read(&asked.reply);
            if reply.granted {
                assert!(asked.after >= short.before + 29_000, "taken {} us too early", short.before + 29_000 - asked.after);
                assert_eq!(reply.in_use, 2);
                break;
            }
            assert!(asked.before < short.after + 30_000, "still in use after the lease");
        }
        assert_eq!(owners(server), [("a".to_owned(), 1), ("c".to_owned(), 1)]);
        assert_eq!(stored(server).len(), 2, "the ended lease is removed by the next change");
        // An ended lease has no owner, even while it is stored; cleaning up alone is not a change.
        let short = timed(&mut connection, "ATOMIC.SEMACQUIRE k 3 b 20");
        await_micros(&mut connection, short.after + 20_000);
        for none in ["ATOMIC.SEMRENEW k b 60000", "ATOMIC.SEMRELEASE k b", "ATOMIC.SEMACQUIRE k 2 b 60000"] {
            let reply = changes_nothing(server, none);
            let refused = reply == Value::Integer(-1) || {
                let reply = Reply::read(&reply);
                reply == denied(2, reply.retry)
            };
            assert!(refused, "{none}: {reply}");
        }
        assert_eq!((owners(server).len(), stored(server).len()), (2, 3));
        assert_eq!(server.run("ATOMIC.SEMRELEASE k a"), Value::Integer(0));
        assert_eq!(stored(server).len(), 1);
    });
}

#[test]
fn the_key_expires_with_the_last_lease() {
    each_server(|server| {
        acquire(server, "k 2 a 25");
        acquire(server, "k 2 b 20");
        eventually("the key is gone", || (server.run("EXISTS k") == Value::Integer(0)).then_some(()));
        acquire(server, "k 2 a 60000");
        server.run("PERSIST k");
        acquire(server, "k 2 b 30000");
        assert_eq!(Some(&deadline(server, "k")), ends(server).last(), "a change sets the TTL again");
    });
}

#[test]
fn owners_are_bytes() {
    each_server(|server| {
        for name in [&b"\0"[..], b"\r\n", "\u{4e00}".as_bytes(), b"\xff\xfe", b"a b", b"1", &[b'o'; 255]] {
            assert!(Reply::read(&server.call(&[b"ATOMIC.SEMACQUIRE", name, b"2", name, b"60000"])).granted);
            let info = server.call(&[b"ATOMIC.SEMINFO", name]);
            assert_eq!(info.field("owners").unwrap().array()[0].array()[0], Value::bulk(name));
            assert_eq!(server.call(&[b"ATOMIC.SEMRENEW", name, name, b"1000"]), Value::Integer(1000));
            assert_eq!(server.call(&[b"ATOMIC.SEMRELEASE", name, name]), Value::Integer(0));
        }
        assert!(Reply::read(&server.call(&["ATOMIC.SEMACQUIRE", "", "2", "me", "1000"])).granted, "an empty key is a key");
    });
}

#[test]
fn a_full_semaphore_is_stored_in_a_few_members() {
    each_server(|server| {
        acquire(server, "k 10000 a 60000 PERMITS 9999").expect_granted(9999);
        acquire(server, "k 10000 b 50000").expect_granted(10_000);
        assert!(!acquire(server, "k 10000 c 50000 PERMITS 10000").granted);
        assert_eq!(server.run("ZCARD k"), Value::Integer(4));
        assert_eq!(server.run("ATOMIC.SEMRENEW k a 70000"), Value::Integer(70_000));
        assert_eq!(server.run("ATOMIC.SEMRELEASE k a PERMITS 5000"), Value::Integer(4999));
        assert_eq!(owners(server), [("a".to_owned(), 4999), ("b".to_owned(), 1)]);
        assert_eq!(server.run("ATOMIC.SEMRELEASE k a PERMITS 5000"), Value::Integer(0));
        assert_eq!(server.run("ZCARD k"), Value::Integer(2));
        let mut connection = server.connect();
        let replies = pipelined(&mut connection, "ATOMIC.SEMACQUIRE k 1000 a 60000 ADD", 1000);
        assert_eq!(replies.iter().filter(|reply| Reply::read(reply).granted).count(), 999);
        assert_eq!(server.run("ZCARD k"), Value::Integer(4));
        // Many owners have many members; a change of one owner touches few of them.
        server.run("DEL k");
        let fill = "for i = 1, 2000 do redis.call('ATOMIC.SEMACQUIRE', KEYS[1], 10000, 'owner-' .. i, 60000) end";
        assert_eq!(server.call(&["ATOMIC.EVAL", fill, "1", "k"]), Value::Null);
        acquire(server, "k 2001 owner-1 60000 ADD").expect_granted(2001);
        assert_eq!(server.run("ZCARD k"), Value::Integer(2002));
        assert!(!acquire(server, "k 2001 owner-2 60000 ADD").granted);
    });
}

#[test]
fn the_stream_of_a_request_does_not_grow_with_its_permits() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let owner = "o".repeat(255);
        acquire(server, &format!("k 10000 {owner} 60000 PERMITS 10000"));
        replica.stream();
        for command in [
            format!("RENEW k {owner} 70000"),
            format!("RELEASE k {owner} PERMITS 4000"),
            format!("ACQUIRE k 10000 {owner} 1000 ADD"),
        ] {
            server.run(&format!("ATOMIC.SEM{command}"));
            let sent: usize = replica.commands().iter().flatten().map(Vec::len).sum();
            assert!((1..1000).contains(&sent), "{command}: {sent} bytes");
        }
    });
}

#[test]
fn an_edited_sorted_set_is_read_and_repaired() {
    each_server(|server| {
        let add = |member: &[u8], score: i64| server.call(&[b"ZADD", &b"k"[..], score.to_string().as_bytes(), member]);
        // An ended lease, a running lease, a count without a lease, and a total that is too high.
        [(lease(b"a"), 1000), (lease(b"b"), LATER), (count("c"), -3), (total(), -5)]
            .iter()
            .for_each(|(member, score)| drop(add(member, *score)));
        assert_eq!(owners(server), [("b".to_owned(), 1)]);
        assert_eq!(changes_nothing(server, "ATOMIC.SEMRELEASE k c"), Value::Integer(-1), "a count without a lease");
        acquire(server, "k 5 c 60000").expect_granted(5);
        assert_eq!(owners(server), [("b".to_owned(), 1), ("c".to_owned(), 1)]);
        assert_eq!(deadline(server, "k"), LATER);
        assert_eq!(server.run("ATOMIC.SEMRELEASE k c"), Value::Integer(0));
        assert_eq!(server.run("ATOMIC.SEMRELEASE k b"), Value::Integer(0));
        assert!(acquire(server, "other 1 b 60000").granted);
        server.run("DEL k");
        acquire(server, "k 1 b 60000").expect_granted(1);
    });
}
