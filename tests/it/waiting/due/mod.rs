//! Consumers that wait for members of a sorted set to come due: order, what wakes them, what they get, and consumers that leave.

mod consumers; // consumers that die, many of them, a cluster
mod model; // random commands against a naive model
mod moments; // never early, prompt, and after steps of the clock
mod sizes; // large sets and members, many keys, a restart

use super::{Waiter, await_nobody_blocked, client_id, in_one_write};
use crate::commands::WRONGTYPE;
use crate::commands::due::pairs;
use crate::support::locks::{expect_unblocked, vanish};
use crate::support::{FakeReplica, Server, Setup, Value, argv, each_server, each_server_with, eventually};

/// A time that no test reaches, in ms since the epoch.
const LATER: i64 = 4_102_444_800_000;

/// Sends a command and waits until `n` clients of the server are blocked.
#[track_caller]
fn queued(server: &Server, n: usize, command: &str) -> Waiter {
    let waiter = Waiter::send(server, command);
    await_blocked(server, n);
    waiter
}

#[track_caller]
fn await_blocked(server: &Server, n: usize) {
    eventually(&format!("{n} clients are blocked"), || (server.info("blocked_clients") == n.to_string()).then_some(()));
}

impl Waiter {
    /// The members in the reply, separated by spaces.
    #[track_caller]
    fn taken(&mut self) -> String {
        names(&self.reply())
    }

    #[track_caller]
    fn expect_waiting(&mut self) {
        assert!(!self.has_reply(), "an answer: {}", self.reply());
    }
}

#[track_caller]
fn names(reply: &Value) -> String {
    pairs(reply).iter().map(|(member, _)| member.as_str()).collect::<Vec<_>>().join(" ")
}

/// The members of `k`, the lowest score first.
fn members(server: &Server, key: &str) -> String {
    let reply = server.call(&["ZRANGE", key, "0", "-1"]);
    reply.array().iter().map(Value::text).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_first_that_waits_is_the_first_served() {
    each_server(|server| {
        let mut line: Vec<Waiter> = (0..6).map(|n| queued(server, n + 1, "ATOMIC.ZPOPDUE k WAIT 0 COUNT 2")).collect();
        // One member, then several at once, then more than the next one takes.
        server.run("ZADD k 1 a");
        assert_eq!(line[0].taken(), "a");
        server.run("ZADD k 3 d 2 c 1 b");
        assert_eq!([line[1].taken(), line[2].taken()], ["b c", "d"]);
        server.run(&format!("ZADD k 5 e 6 f 7 g 8 h {LATER} later"));
        assert_eq!([line[3].taken(), line[4].taken()], ["e f", "g h"]);
        line[5].expect_waiting();
        // A request without WAIT finds nothing while a consumer waits.
        assert_eq!(server.run("ATOMIC.ZPOPDUE k"), Value::Array(Vec::new()));
        let pipelined = in_one_write(&mut server.connect(), &["ZADD k 9 i", "ATOMIC.ZPOPDUE k"]);
        assert_eq!((names(&pipelined[1]), line[5].taken()), (String::new(), "i".to_owned()));
        assert_eq!(members(server, "k"), "later");
        await_nobody_blocked(server);
    });
}

#[test]
fn every_command_that_adds_a_member_serves_the_waiters() {
    each_server(|server| {
        let dump = |server: &Server| {
            server.run("ZADD dumped 1 a");
            let dump = server.run("DUMP dumped");
            server.run("DEL dumped");
            dump.bytes().to_vec()
        };
        for (setup, command) in [
            ("", "ZADD k 1 a"),
            ("", "ZINCRBY k 1 a"),
            ("ZADD k 4102444800000 a", "ZINCRBY k -4102444799999 a"),
            ("ZADD k 4102444800000 a", "ZADD k LT 1 a"),
            ("ZADD k 4102444800000 a", "ATOMIC.ZDONE k a 4102444800000 AT 1"),
            ("ZADD {k}j 1 a", "ZUNIONSTORE k 1 {k}j"),
            ("ZADD {k}j 1 a", "ZINTERSTORE k 1 {k}j"),
            ("ZADD {k}j 1 a", "ZDIFFSTORE k 1 {k}j"),
            ("ZADD {k}j 1 a", "ZRANGESTORE k {k}j 0 -1"),
            // The score is a geohash, which is low in this corner of the map.
            ("GEOADD {k}j -180 -85 a", "GEOSEARCHSTORE k {k}j FROMLONLAT -180 -85 BYRADIUS 1 km"),
            ("", "GEOADD k -180 -85 a"),
            ("ZADD {k}j 1 a", "RENAME {k}j k"),
            ("ZADD {k}j 1 a", "RENAMENX {k}j k"),
            ("ZADD {k}j 1 a", "COPY {k}j k"),
            ("", "RESTORE"),
            ("", "MULTI ; ZADD k 1 a ; ZADD k 2 b ; EXEC"),
            ("", "EVAL \"redis.call('ZADD', KEYS[1], 1, 'a')\" 1 k"),
            ("", "ATOMIC.EVAL \"redis.call('ZADD', KEYS[1], 1, 'a')\" 1 k"),
            ("SELECT 5 ; ZADD k 1 a", "SELECT 5 ; MOVE k 0"),
            ("SELECT 5 ; ZADD k 1 a", "SELECT 5 ; COPY k k DB 0"),
            ("SELECT 5 ; ZADD k 1 a", "SWAPDB 0 5"),
        ] {
            server.run("FLUSHALL");
            let mut connection = server.connect();
            let mut run = |commands: &str| {
                for line in commands.split(" ; ").filter(|line| !line.is_empty()) {
                    let reply = if line == "RESTORE" {
                        let dump = dump(server);
                        connection.call(&[&b"RESTORE"[..], b"k", b"0", &dump])
                    } else {
                        connection.run(line)
                    };
                    assert!(!matches!(reply, Value::Error(_)), "{line}: {reply}");
                }
            };
            run(setup);
            let mut waiter = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0");
            run(command);
            assert_eq!(waiter.taken(), "a", "{command} after {setup:?}");
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn a_member_that_was_added_silently_is_noticed_within_a_second() {
    each_server(|server| {
        let mut waiter = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0");
        let before = std::time::Instant::now();
        assert_eq!(server.run("ATOMIC.DEBUG ZADD k 1 silent"), Value::ok());
        assert_eq!(waiter.taken(), "silent");
        // The bound leaves time for a busy machine.
        assert!(before.elapsed() < std::time::Duration::from_secs(10), "noticed after {:?}", before.elapsed());
    });
}

#[test]
fn a_key_that_goes_leaves_the_waiters_waiting() {
    each_server(|server| {
        let mut waiter = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0");
        for (setup, gone) in [
            ("ZADD k 4102444800000 c", "DEL k"),
            ("ZADD k 4102444800000 c", "UNLINK k"),
            ("ZADD k 4102444800000 c", "ZREM k c"),
            ("ZADD k 4102444800000 c", "ZREMRANGEBYRANK k 0 -1"),
            ("ZADD k 4102444800000 c", "RENAME k gone"),
            ("ZADD k 4102444800000 c", "MOVE k 3"),
            ("ZADD k 4102444800000 c", "PEXPIRE k 1"),
            ("ZADD k 4102444800000 c", "FLUSHDB"),
            ("ZADD k 4102444800000 c", "FLUSHALL"),
            ("ZADD k 4102444800000 c", "SWAPDB 0 1"),
            ("ZADD k 4102444800000 c", "ATOMIC.ZDONE k c 4102444800000"),
        ] {
            server.run("FLUSHALL");
            server.run(setup);
            server.run(gone);
            eventually("the key is gone", || (server.run("EXISTS k") == Value::Integer(0)).then_some(()));
            waiter.expect_waiting();
        }
        server.run("ZADD k 1 a");
        assert_eq!(waiter.taken(), "a");
    });
}

#[test]
fn a_key_of_another_type_answers_every_waiter() {
    each_server(|server| {
        // An event announces all of these but the hash and the stream, which are noticed within a second.
        for other in ["SET k v", "RPUSH k v", "SADD k v", "HSET k f v", "XADD k 1-1 f v", "SET j v ; RENAME j k"] {
            let mut waiters = [1, 2].map(|n| queued(server, n, "ATOMIC.ZPOPDUE k WAIT 0"));
            other.split(" ; ").for_each(|command| drop(server.run(command)));
            for waiter in &mut waiters {
                assert_eq!(waiter.reply(), Value::Error(WRONGTYPE.to_owned()), "{other}");
            }
            server.run("DEL k");
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn a_wait_in_vain_ends_with_an_empty_array() {
    each_server(|server| {
        for command in ["ZPOPDUE k WAIT 20", "ZPOPDUE k WAIT 20 LEASE 5", "ZMOVEDUE k l WAIT 20"] {
            assert_eq!(server.connect().run(&format!("ATOMIC.{command}")), Value::Array(Vec::new()), "{command}");
            server.run(&format!("ZADD k {LATER} c"));
        }
        let mut connection = server.connect();
        let id = client_id(&mut connection);
        let mut waiter = Waiter::on(connection, "ATOMIC.ZPOPDUE k WAIT 0");
        await_blocked(server, 1);
        server.run(&format!("CLIENT UNBLOCK {id}"));
        assert_eq!(waiter.taken(), "");
        // A full queue.
        let _waiters = [1, 2].map(|n| queued(server, n, "ATOMIC.ZPOPDUE k WAIT 0 MAXQUEUE 2"));
        assert_eq!(server.run("ATOMIC.ZPOPDUE k WAIT 0 MAXQUEUE 2"), Value::Array(Vec::new()));
        let _third = queued(server, 3, "ATOMIC.ZPOPDUE k WAIT 0 MAXQUEUE 3");
        assert_eq!(members(server, "k"), "c");
    });
}

#[test]
fn a_draining_server_answers_the_waiters_and_refuses_others() {
    each_server(|server| {
        let mut waiters = ["ZPOPDUE k WAIT 0", "ZMOVEDUE k l WAIT 0"];
        let mut waiters: Vec<Waiter> =
            waiters.iter_mut().enumerate().map(|(n, command)| queued(server, n + 1, &format!("ATOMIC.{command}"))).collect();
        assert_eq!(server.run("ATOMIC.DRAIN ON"), Value::Integer(2));
        waiters.iter_mut().for_each(|waiter| assert_eq!(waiter.taken(), ""));
        assert!(server.run("ATOMIC.ZPOPDUE k WAIT 0").error().starts_with("TRYAGAIN "));
        server.run("ZADD k 1 a");
        assert_eq!(names(&server.run("ATOMIC.ZPOPDUE k")), "a");
        server.run("ATOMIC.DRAIN OFF");
    });
}

#[test]
fn a_waiter_moves_members_to_its_list_and_a_wrong_list_moves_nothing() {
    each_server(|server| {
        server.run("SET wrong v");
        let mut wrong = queued(server, 1, "ATOMIC.ZMOVEDUE k late WAIT 0");
        let mut left = queued(server, 2, "ATOMIC.ZMOVEDUE k l LEFT WAIT 0 COUNT 2");
        let mut right = queued(server, 3, "ATOMIC.ZMOVEDUE k l WAIT 0 COUNT 2");
        // The list of the first becomes something else while it waits.
        server.run("RENAME wrong late");
        server.run("ZADD k 1 a 2 b 3 c");
        assert_eq!(wrong.reply(), Value::Error(WRONGTYPE.to_owned()));
        assert_eq!([left.taken(), right.taken()], ["a b", "c"]);
        let list = server.run("LRANGE l 0 -1");
        assert_eq!(list, Value::Array(["b", "a", "c"].map(Value::bulk).to_vec()));
        assert_eq!((server.run("EXISTS k"), server.run("GET late")), (Value::Integer(0), Value::bulk("v")));
        // A consumer of the list is woken, too.
        let mut popping = queued(server, 1, "BLPOP m 0");
        let mut moving = queued(server, 2, "ATOMIC.ZMOVEDUE k m WAIT 0");
        server.run("ZADD k 1 z");
        assert_eq!((moving.taken(), popping.reply().array()[1].text()), ("z".to_owned(), "z".to_owned()));
        await_nobody_blocked(server);
    });
}

/// True where a module can write in the execution unit of the command that caused an event: from 7.2 on.
fn has_jobs(server: &Server) -> bool {
    server.binary.is_valkey || server.binary.is_redis_from(7, 2)
}

#[test]
fn a_hand_off_is_one_change_in_the_stream() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for (options, expected) in [
            ("ZPOPDUE k WAIT 0", &["ZREM k a"][..]),
            ("ZPOPDUE k WAIT 0 LEASE 50000", &["ZADD k XX <token> a"]),
            ("ZMOVEDUE k l WAIT 0", &["ZREM k a", "RPUSH l a"]),
            ("ZMOVEDUE k l LEFT WAIT 0", &["ZREM k a", "LPUSH l a"]),
        ] {
            server.run("FLUSHALL");
            let mut waiter = queued(server, 1, &format!("ATOMIC.{options}"));
            replica.stream();
            server.run("ZADD k 1 a");
            assert_eq!(waiter.taken(), "a");
            let (add, many) = (["ZADD k 1 a"], expected.len() > 1);
            // On 7.0 a timer writes, after the command.
            let stream: Vec<&str> = if has_jobs(server) {
                ["MULTI"].into_iter().chain(add).chain(expected.iter().copied()).chain(["EXEC"]).collect()
            } else {
                let (begin, end) = if many { (&["MULTI"][..], &["EXEC"][..]) } else { (&[][..], &[][..]) };
                [&add, begin, expected, end].concat()
            };
            replica.expect_stream(&stream);
        }
        // Waiting, and a wait in vain.
        server.run("FLUSHALL");
        server.run(&format!("ZADD k {LATER} c"));
        replica.stream();
        assert_eq!(server.connect().run("ATOMIC.ZPOPDUE k WAIT 20"), Value::Array(Vec::new()));
        let gone = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0");
        vanish(server, gone);
        replica.expect_stream(&[]);
    });
}

#[test]
fn a_hand_off_by_the_timer_is_one_change_in_the_stream() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for (options, expected) in
            [("ZPOPDUE k WAIT 0", &["ZREM k a"][..]), ("ZMOVEDUE k l WAIT 0", &["MULTI", "ZREM k a", "RPUSH l a", "EXEC"])]
        {
            let soon = moments::now(server) / 1000 + 50;
            server.run(&format!("ZADD k {soon} a"));
            replica.stream();
            assert_eq!(names(&server.connect().run(&format!("ATOMIC.{options}"))), "a");
            replica.expect_stream(expected);
        }
    });
}

/// The commands in one write, each as words, with `act` on the client `id` in the same iteration of the event loop.
fn at_once(server: &Server, add: &str, act: &str, in_transaction: bool) {
    let mut commands = vec![add.to_owned(), act.to_owned()];
    if in_transaction {
        commands.insert(0, "MULTI".to_owned());
        commands.push("EXEC".to_owned());
    }
    in_one_write(&mut server.connect(), &commands);
}

#[test]
fn a_consumer_that_is_killed_before_its_reply_loses_nothing() {
    each_server(|server| {
        for (options, in_transaction) in [("", false), ("", true), ("LEASE 50000", false), ("LEASE 50000", true)] {
            let what = format!("{options} {in_transaction}");
            let wait = || {
                let mut connection = server.connect();
                (client_id(&mut connection), Waiter::on(connection, &format!("ATOMIC.ZPOPDUE k WAIT 0 COUNT 2 {options}")))
            };
            let (first, mut killed) = wait();
            await_blocked(server, 1);
            let (_, mut second) = wait();
            await_blocked(server, 2);
            at_once(server, "ZADD k 1 a 2 b", &format!("CLIENT KILL ID {first}"), in_transaction);
            killed.connection().expect_close();
            assert_eq!(second.taken(), "a b", "{what}");
            server.run("DEL k");
            // Without another consumer the members are back, with their scores and the TTL of the set.
            let (alone, mut killed) = wait();
            await_blocked(server, 1);
            let mut replica = FakeReplica::attach(server);
            let add = format!(
                "ATOMIC.EVAL \"redis.call('ZADD', KEYS[1], 1, 'a', 2.5, 'b') redis.call('PEXPIREAT', KEYS[1], {LATER})\" 1 k"
            );
            at_once(server, &add, &format!("CLIENT KILL ID {alone}"), in_transaction);
            killed.connection().expect_close();
            eventually("the members are back", || {
                let scores = server.run("ZMSCORE k a b");
                (scores == Value::Array(["1", "2.5"].map(Value::bulk).to_vec())).then_some(())
            });
            assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(LATER), "{what}");
            let stream = replica.stream();
            let back: &[&str] =
                if options.is_empty() { &["ZADD k NX 1 a 2.5 b", "PEXPIREAT k 4102444800000"] } else { &["ZADD k XX 1 a 2.5 b"] };
            let plain: Vec<&str> = stream.iter().map(String::as_str).filter(|line| !["MULTI", "EXEC"].contains(line)).collect();
            // Redis 7.0 and a transaction kill the consumer before the visit, which then takes nothing.
            let is_taken = plain.len() > 2;
            let expected = if is_taken { back } else { &["ZADD k 1 a 2.5 b", "PEXPIREAT k 4102444800000"] };
            assert!(plain.ends_with(expected), "{what}: {stream:#?}");
            assert!(is_taken || in_transaction || server.info("redis_version").starts_with("7.0."), "{what}: {stream:#?}");
            server.run("DEL k");
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn a_member_that_was_changed_meanwhile_is_not_put_back() {
    each_server(|server| {
        for (options, meanwhile, expected) in [
            ("", "ZADD k 7 a", "[\"a\", \"7\"]"),
            ("LEASE 50000", "ZADD k 7 a", "[\"a\", \"7\"]"),
            ("LEASE 50000", "ZREM k a", "[]"),
        ] {
            let mut connection = server.connect();
            let id = client_id(&mut connection);
            let mut killed = Waiter::on(connection, &format!("ATOMIC.ZPOPDUE k WAIT 0 {options}"));
            await_blocked(server, 1);
            // The change comes before the member can be put back: on 7.0 the hand-off follows the transaction.
            if has_jobs(server) {
                let commands = ["ZADD k 1 a".to_owned(), format!("CLIENT KILL ID {id}"), meanwhile.to_owned()];
                in_one_write(&mut server.connect(), &commands);
                killed.connection().expect_close();
                await_nobody_blocked(server);
                let shown = crate::commands::rows::brief(&server.run("ZRANGE k 0 -1 WITHSCORES"));
                assert_eq!(shown, expected, "{options} {meanwhile}");
            }
            server.run("DEL k");
            drop(killed);
            await_nobody_blocked(server);
        }
    });
}

#[test]
fn a_consumer_that_is_unblocked_before_its_reply_gets_exactly_one() {
    each_server(|server| {
        for how in ["", "TIMEOUT", "ERROR"] {
            for in_transaction in [false, true] {
                let mut connection = server.connect();
                let id = client_id(&mut connection);
                let mut first = Waiter::on(connection, "ATOMIC.ZPOPDUE k WAIT 0");
                await_blocked(server, 1);
                let mut second = queued(server, 2, "ATOMIC.ZPOPDUE k WAIT 0");
                at_once(server, "ZADD k 1 a", &format!("CLIENT UNBLOCK {id} {how}"), in_transaction);
                let reply = first.reply();
                first.expect_nothing_more();
                let got = if let Value::Error(text) = &reply {
                    assert!(text.starts_with("UNBLOCKED ") && how == "ERROR", "{how}: {text}");
                    String::new()
                } else {
                    names(&reply)
                };
                if got.is_empty() {
                    assert_eq!(second.taken(), "a", "{how} {in_transaction}");
                } else {
                    second.expect_waiting();
                    server.run("ZADD k 1 b");
                    assert_eq!(second.taken(), "b");
                }
                assert_eq!(server.run("EXISTS k"), Value::Integer(0));
            }
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn a_user_that_loses_its_permissions_gets_nothing_and_the_next_one_does() {
    each_server(|server| {
        for (command, rules) in
            [("ZPOPDUE k WAIT 0", "-atomic.zpopdue"), ("ZPOPDUE k WAIT 0", "resetkeys"), ("ZMOVEDUE k l WAIT 0", "resetkeys ~k")]
        {
            assert_eq!(server.run("ACL SETUSER u reset on >pw ~* &* +@all"), Value::ok());
            let mut connection = server.connect();
            assert_eq!(connection.run("AUTH u pw"), Value::ok());
            let mut without = Waiter::on(connection, &format!("ATOMIC.{command}"));
            await_blocked(server, 1);
            let mut next = queued(server, 2, "ATOMIC.ZPOPDUE k WAIT 0");
            server.run(&format!("ACL SETUSER u {rules}"));
            server.run("ZADD k 1 a");
            assert!(without.reply().error().starts_with("NOPERM "), "{rules}");
            if command.starts_with("ZMOVEDUE") {
                // A move has happened when its reply is made.
                next.expect_waiting();
                assert_eq!(server.run("LRANGE l 0 -1"), Value::Array(vec![Value::bulk("a")]));
                server.run("ZADD k 1 a");
            }
            assert_eq!(next.taken(), "a", "{rules}");
        }
    });
}

#[test]
fn nothing_is_taken_while_writes_are_paused() {
    each_server_with(&Setup::with_module().config("repl-ping-replica-period 3600"), |server| {
        let mut replica = FakeReplica::attach(server);
        let due = moments::now(server) / 1000 + 150;
        server.run(&format!("ZADD k {due} a"));
        let mut waiter = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0");
        replica.stream();
        server.run("CLIENT PAUSE 1000000 WRITE");
        let offset = server.info("master_repl_offset");
        crate::commands::await_micros(&mut server.connect(), (due + 60) * 1000);
        waiter.expect_waiting();
        assert_eq!(server.info("master_repl_offset"), offset);
        server.run("CLIENT UNPAUSE");
        assert_eq!(waiter.taken(), "a");
        replica.expect_stream(&["ZREM k a"]);
    });
}

#[test]
fn a_primary_that_is_demoted_unblocks_its_consumers_and_takes_nothing() {
    each_server(|server| {
        let due = moments::now(server) / 1000 + 100;
        server.run(&format!("ZADD k {due} a"));
        let mut waiters = [1, 2].map(|n| queued(server, n, "ATOMIC.ZPOPDUE k WAIT 0"));
        server.run("REPLICAOF 127.0.0.1 1");
        waiters.iter_mut().for_each(|waiter| expect_unblocked(waiter.connection()));
        crate::commands::await_micros(&mut server.connect(), (due + 30) * 1000);
        assert_eq!(members(server, "k"), "a");
        server.run("REPLICAOF NO ONE");
        assert_eq!(server.connect().run("ATOMIC.ZPOPDUE k WAIT 0").array()[0], Value::bulk("a"));
    });
}

#[test]
fn a_module_with_waiting_consumers_is_not_unloaded() {
    each_server(|server| {
        let mut waiter = queued(server, 1, "ATOMIC.ZPOPDUE k WAIT 0");
        assert!(matches!(server.run("MODULE UNLOAD atomic"), Value::Error(_)));
        server.run("ZADD k 1 a");
        assert_eq!(waiter.taken(), "a");
        if server.unloads() {
            eventually("the module can be unloaded", || (server.run("MODULE UNLOAD atomic") == Value::ok()).then_some(()));
        }
        assert_eq!(server.call(&argv("ZADD k 1 a")), Value::Integer(1));
    });
}
