//! `ATOMIC.WAITERS`, and the clients in `LOCKINFO` and `SEMINFO`: order, limits, permissions, and what each node knows.

use std::time::Instant;

use super::{Waiter, await_nobody_blocked, await_waiters, client_id, expect_denied, take, unlock};
use crate::commands::{changes_nothing, expect_range, expect_refused};
use crate::support::cluster::Cluster;
use crate::support::locks::close;
use crate::support::{Connection, RealReplica, Server, Value, argv, each_installed, each_server, eventually};

const FIELDS: [&str; 6] = ["key", "db", "kind", "waiters", "longest-wait-ms", "clients"];

/// One queue in a reply of WAITERS.
#[derive(Debug, Clone, PartialEq)]
struct Queue {
    key: Vec<u8>,
    db: i64,
    kind: String,
    waiters: i64,
    longest: i64,
    clients: Vec<i64>,
}

#[track_caller]
fn read(reply: &Value) -> Vec<Queue> {
    let queue = |queue: &Value| {
        let names: Vec<String> = queue.pairs().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, FIELDS, "{queue}");
        let field = |name| queue.field(name).unwrap();
        Queue {
            key: field("key").bytes().to_vec(),
            db: field("db").integer(),
            kind: field("kind").text(),
            waiters: field("waiters").integer(),
            longest: field("longest-wait-ms").integer(),
            clients: field("clients").array().iter().map(Value::integer).collect(),
        }
    };
    assert!(matches!(reply, Value::Array(_)), "{reply}");
    reply.array().iter().map(queue).collect()
}

#[track_caller]
fn queues(server: &Server) -> Vec<Queue> {
    read(&server.run("ATOMIC.WAITERS"))
}

/// The keys in the reply to a command of this connection.
#[track_caller]
fn keys(connection: &mut Connection, command: &str) -> Vec<String> {
    read(&connection.run(command)).into_iter().map(|queue| String::from_utf8(queue.key).unwrap()).collect()
}

/// Sends a command that must wait, and returns when the server has that many waiting clients more. With the id of the client.
#[track_caller]
fn wait(server: &Server, command: &str) -> (Waiter, i64) {
    wait_on(server, server.connect(), command)
}

#[track_caller]
fn wait_on(server: &Server, mut connection: Connection, command: &str) -> (Waiter, i64) {
    let id = client_id(&mut connection);
    let before = waiting_clients(server);
    let waiter = Waiter::on(connection, command);
    eventually("the client waits", || (waiting_clients(server) == before + 1).then_some(()));
    (waiter, id)
}

fn waiting_clients(server: &Server) -> i64 {
    server.info("atomic_locks_waiting_clients").parse().unwrap()
}

/// Waits until the first queue has waited for this long.
#[track_caller]
fn await_longest(server: &Server, ms: i64) {
    eventually("the wait is long", || (queues(server).first()?.longest >= ms).then_some(()));
}

#[test]
fn the_longest_wait_comes_first_whatever_the_kind_and_the_database() {
    each_server(|server| {
        assert_eq!(server.run("ATOMIC.WAITERS"), Value::Array(Vec::new()));
        let before = Instant::now();
        take(server, "z me 60000");
        server.run("ATOMIC.SEMACQUIRE s 1 me 60000");
        let (_z, first) = wait(server, "ATOMIC.LOCK z a 60000 WAIT 0");
        let (_s, second) = wait(server, "ATOMIC.SEMACQUIRE s 1 a 60000 WAIT 0");
        let mut other = server.connect();
        for command in ["SELECT 3", "ATOMIC.LOCK z me 60000"] {
            assert!(!matches!(other.run(command), Value::Error(_)));
        }
        let (_other, third) = {
            let mut connection = server.connect();
            connection.run("SELECT 3");
            wait_on(server, connection, "ATOMIC.LOCK z a 60000 WAIT 0")
        };
        let (_last, fourth) = wait(server, "ATOMIC.LOCK z b 60000 WAIT 0 SHARED");
        await_longest(server, 20);
        let listed = read(&changes_nothing(server, "ATOMIC.WAITERS"));
        let passed = i64::try_from(before.elapsed().as_millis()).unwrap() + 1;
        let shown: Vec<_> = listed.iter().map(|queue| (&queue.key[..], queue.db, queue.kind.as_str(), queue.waiters)).collect();
        assert_eq!(shown, [(&b"z"[..], 0, "lock", 2), (b"s", 0, "semaphore", 1), (b"z", 3, "lock", 1)]);
        assert_eq!(
            listed.iter().map(|queue| queue.clients.clone()).collect::<Vec<_>>(),
            [vec![first, fourth], vec![second], vec![third]]
        );
        let waits: Vec<i64> = listed.iter().map(|queue| queue.longest).collect();
        assert!((20..=passed).contains(&waits[0]) && waits.is_sorted_by(|a, b| a >= b) && waits[2] >= 0, "{waits:?} of {passed}");
        // The next in the queue has waited for a shorter time.
        unlock(server, "z", "me");
        eventually("z is handed off", || (queues(server)[0].key == b"s").then_some(()));
        let keys: Vec<_> = queues(server).into_iter().map(|queue| (queue.key, queue.clients)).collect();
        assert_eq!(keys, [(b"s".to_vec(), vec![second]), (b"z".to_vec(), vec![third]), (b"z".to_vec(), vec![fourth])]);
    });
}

#[test]
fn both_protocols_have_the_same_fields() {
    each_server(|server| {
        take(server, "k me 60000");
        let (_waiter, id) = wait(server, "ATOMIC.LOCK k a 60000 WAIT 0");
        let flat = server.run("ATOMIC.WAITERS");
        assert!(matches!(flat.array(), [Value::Array(fields)] if fields.len() == 2 * FIELDS.len()), "{flat}");
        let map = server.connect().resp3().run("ATOMIC.WAITERS");
        assert!(matches!(map.array(), [Value::Map(_)]), "{map}");
        for reply in [flat, map] {
            let [queue] = &read(&reply)[..] else { panic!("{reply}") };
            assert_eq!((queue.waiters, &queue.clients[..]), (1, &[id][..]));
        }
    });
}

#[test]
fn bad_arguments_are_named_and_count_limits_the_queues() {
    each_server(|server| {
        expect_range(server, "PING", "ATOMIC.WAITERS COUNT %", "COUNT", (1, 1000));
        let near = |what: &str| format!("ERR syntax error near '{what}'");
        expect_refused(
            server,
            &[
                ("ATOMIC.WAITERS 5", near("5")),
                ("ATOMIC.WAITERS COUNT", near("COUNT")),
                ("ATOMIC.WAITERS COUNT 5 6", near("6")),
                ("ATOMIC.WAITERS count 5 COUNT 5", near("COUNT")),
                (r#"ATOMIC.WAITERS "\xff\x00""#, near(r"\xff\x00")),
            ],
        );
        let mut waiters: Vec<Waiter> = Vec::new();
        for number in 0..12 {
            take(server, &format!("k{number} me 60000"));
            waiters.push(wait(server, &format!("ATOMIC.LOCK k{number} a 60000 WAIT 0")).0);
        }
        let expected: Vec<String> = (0..12).map(|number| format!("k{number}")).collect();
        let mut connection = server.connect();
        for (command, count) in [("", 10), ("COUNT 1", 1), ("count 3", 3), ("COUNT 12", 12), ("COUNT 1000", 12)] {
            assert_eq!(keys(&mut connection, &format!("ATOMIC.WAITERS {command}")), expected[..count], "{command}");
        }
    });
}

#[test]
fn a_queue_shows_ten_clients_and_counts_all() {
    each_server(|server| {
        take(server, "k me 60000");
        let (waiters, ids): (Vec<Waiter>, Vec<i64>) =
            (0..12).map(|number| wait(server, &format!("ATOMIC.LOCK k w{number} 60000 WAIT 0"))).unzip();
        let [queue] = &queues(server)[..] else { panic!("not one queue") };
        assert_eq!((queue.waiters, &queue.clients[..]), (12, &ids[..10]));
        assert_eq!(server.run(&format!("CLIENT UNBLOCK {}", ids[3])), Value::Integer(1));
        await_waiters(server, "k", 11);
        let expected: Vec<i64> = ids.iter().copied().filter(|id| *id != ids[3]).take(10).collect();
        assert_eq!(queues(server)[0].clients, expected);
        drop(waiters);
        await_nobody_blocked(server);
        server.run("CONFIG SET atomic.line-grace-ms 0");
        assert_eq!(queues(server), []);
    });
}

/// An owner that sends its request again has waited since its first request.
#[test]
fn a_repeated_request_does_not_shorten_the_wait() {
    each_server(|server| {
        server.run("CONFIG SET atomic.line-grace-ms 60000");
        take(server, "k me 60000");
        let (mut first, _) = wait(server, "ATOMIC.LOCK k w 60000 WAIT 0");
        await_longest(server, 20);
        let mut again = server.connect();
        let id = client_id(&mut again);
        let again = Waiter::on(again, "ATOMIC.LOCK k w 60000 WAIT 0");
        expect_denied(&first.reply(), 0);
        let of =
            |server: &Server| queues(server).into_iter().map(|queue| (queue.clients, queue.longest >= 20)).collect::<Vec<_>>();
        eventually("the second request has the place", || (of(server) == [(vec![id], true)]).then_some(()));
        assert_eq!(server.info("atomic_locks_vacant_places"), "0");
        // A queue in which no client waits is not shown.
        drop(again);
        eventually("the place is vacant", || (server.info("atomic_locks_vacant_places") == "1").then_some(()));
        assert_eq!((queues(server), waiting_clients(server)), (Vec::new(), 0));
        let queue = server.run("ATOMIC.LOCKINFO k").field("queue");
        assert_eq!(queue, Some(Value::Array(Vec::new())));
        let (_third, id) = wait(server, "ATOMIC.LOCK k w 60000 WAIT 0");
        assert_eq!((of(server), server.info("atomic_locks_vacant_places").as_str()), (vec![(vec![id], true)], "0"));
    });
}

#[test]
fn a_user_sees_the_keys_that_it_may_read() {
    each_server(|server| {
        let names = ["app:1", "web:1", "app:2", "app:3", "web:2"];
        let _waiters: Vec<Waiter> = names
            .map(|key| {
                take(server, &format!("{key} me 60000"));
                wait(server, &format!("ATOMIC.LOCK {key} a 60000 WAIT 0")).0
            })
            .into();
        for (keys_allowed, command, seen) in [
            ("~app:*", "ATOMIC.WAITERS", &["app:1", "app:2", "app:3"][..]),
            ("~app:*", "ATOMIC.WAITERS COUNT 2", &["app:1", "app:2"]),
            ("%R~app:*", "ATOMIC.WAITERS COUNT 1000", &["app:1", "app:2", "app:3"]),
            ("%W~app:* %R~web:*", "ATOMIC.WAITERS", &["web:1", "web:2"]),
            ("%W~*", "ATOMIC.WAITERS", &[]),
            ("", "ATOMIC.WAITERS", &[]),
            ("~*", "ATOMIC.WAITERS", &names),
            ("~app:3 ~w*1", "ATOMIC.WAITERS", &["web:1", "app:3"]),
        ] {
            assert_eq!(
                server.run(&format!("ACL SETUSER u reset on >pw {keys_allowed} -@all +atomic.waiters +client|list")),
                Value::ok()
            );
            let mut user = server.connect();
            assert_eq!(user.run("AUTH u pw"), Value::ok());
            assert_eq!(keys(&mut user, command), seen, "{keys_allowed}");
        }
    });
}

#[test]
fn only_an_administrator_may_list_the_waiters() {
    each_server(|server| {
        let has_categories = server.binary.is_valkey || server.binary.is_redis_from(7, 4);
        for (rules, allowed) in [
            ("+@all", true),
            ("+@all -@dangerous", false),
            ("+@all -@admin", false),
            ("+@all -client", has_categories),
            ("-@all +atomic.waiters", has_categories),
            ("-@all +atomic.waiters +client|list", true),
            ("-@all +@read +@write", false),
        ] {
            assert_eq!(server.run(&format!("ACL SETUSER u reset on >pw ~* {rules}")), Value::ok());
            let mut user = server.connect();
            assert_eq!(user.run("AUTH u pw"), Value::ok());
            match user.run("ATOMIC.WAITERS") {
                Value::Array(_) => assert!(allowed, "{rules}"),
                Value::Error(text) => assert!(!allowed && text.starts_with("NOPERM"), "{rules}: {text}"),
                other => panic!("{other}"),
            }
        }
        if !has_categories {
            let text = "NOPERM ATOMIC.WAITERS requires permission to run 'client|list' on this server";
            server.run("ACL SETUSER u reset on >pw ~* +atomic.waiters");
            let mut user = server.connect();
            user.run("AUTH u pw");
            assert_eq!(user.run("ATOMIC.WAITERS"), Value::Error(text.to_owned()));
        }
    });
}

#[test]
fn transactions_list_the_waiters_and_scripts_do_not() {
    each_server(|server| {
        take(server, "k me 60000");
        let (_waiter, id) = wait(server, "ATOMIC.LOCK k a 60000 WAIT 0");
        let mut connection = server.connect();
        for command in ["MULTI", "ATOMIC.WAITERS", "ATOMIC.UNLOCK k me", "ATOMIC.WAITERS"] {
            connection.run(command);
        }
        let replies = connection.run("EXEC");
        let [before, Value::Integer(0), after] = replies.array() else { panic!("{replies}") };
        assert_eq!((read(before)[0].clients.clone(), read(after)), (vec![id], Vec::new()));
        for eval in ["EVAL", "ATOMIC.EVAL"] {
            let reply = server.call(&[eval, "return redis.call('ATOMIC.WAITERS')", "0"]);
            assert!(reply.error().contains("not allowed from script"), "{eval}: {reply}");
        }
    });
}

#[test]
fn keys_and_owners_are_any_bytes() {
    each_server(|server| {
        let names: [&[u8]; 6] = [b"", b"\0", b"\r\n", b"\xff\xfe", b"%s%n", "\u{4e00}".as_bytes()];
        let mut waiters = Vec::new();
        for (number, name) in names.iter().enumerate() {
            server.call(&[b"ATOMIC.LOCK", *name, b"me", b"60000"]);
            let mut connection = server.connect();
            let owner: &[u8] = if name.is_empty() { b"\0" } else { name };
            connection.send(&[b"ATOMIC.LOCK", *name, owner, b"60000", b"WAIT", b"0"]).unwrap();
            eventually("it waits", || (waiting_clients(server) == i64::try_from(number).unwrap() + 1).then_some(()));
            assert_eq!(server.call(&[b"ATOMIC.LOCKINFO", *name]).field("queue"), Some(Value::Array(vec![Value::bulk(owner)])));
            waiters.push(connection);
        }
        assert_eq!(queues(server).into_iter().map(|queue| queue.key).collect::<Vec<_>>(), names);
    });
}

/// The cost of a report depends on the queues, not on their keys: the limit of time is far above it.
#[test]
fn thousands_of_queues_are_listed_in_the_order_of_their_waits() {
    const QUEUES: usize = 2000;
    each_server(|server| {
        let mut one = server.connect();
        for number in 0..QUEUES {
            one.run(&format!("ATOMIC.LOCK app:{number} me 600000"));
        }
        let mut clients: Vec<Connection> = Vec::new();
        for number in 0..QUEUES {
            let mut connection = server.connect();
            connection.send(&argv(&format!("ATOMIC.LOCK app:{number} you 600000 WAIT 0"))).unwrap();
            clients.push(connection);
        }
        eventually("all wait", || (waiting_clients(server) == i64::try_from(QUEUES).unwrap()).then_some(()));
        // Clients may have been served in another order than they connected.
        let listed = read(&one.run("ATOMIC.WAITERS COUNT 1000"));
        assert_eq!(listed.len(), 1000);
        assert!(listed.is_sorted_by(|a, b| a.longest >= b.longest), "not in order");
        assert!(listed.iter().all(|queue| queue.waiters == 1 && queue.clients.len() == 1));
        // A user that sees one key of them all.
        server.run("ACL SETUSER u reset on >pw ~app:1999 +@all");
        one.run("AUTH u pw");
        let used = server.cpu_time();
        for _ in 0..20 {
            assert_eq!(keys(&mut one, "ATOMIC.WAITERS"), ["app:1999"]);
        }
        let each = (server.cpu_time() - used) / 20;
        println!("{}: WAITERS over {QUEUES} queues, one of them visible: {each:?} of CPU time", server.binary.name);
        drop(clients);
        await_nobody_blocked(server);
    });
}

#[test]
fn each_node_lists_its_own_waiters() {
    each_installed(|binary| {
        let cluster = Cluster::start(binary, 2);
        let keys: Vec<String> = cluster
            .nodes
            .iter()
            .map(|node| {
                let here = |key: &String| !matches!(node.run(&format!("EXISTS {key}")), Value::Error(_));
                (0..100).map(|number| format!("k{number}")).find(here).unwrap()
            })
            .collect();
        let _waiters: Vec<Waiter> = keys
            .iter()
            .zip(&cluster.nodes)
            .map(|(key, node)| {
                take(node, &format!("{key} me 60000"));
                wait(node, &format!("ATOMIC.LOCK {key} a 60000 WAIT 0")).0
            })
            .collect();
        for (key, node) in keys.iter().zip(&cluster.nodes) {
            assert_eq!(queues(node).into_iter().map(|queue| queue.key).collect::<Vec<_>>(), [key.as_bytes()]);
        }
    });
}

#[test]
fn a_replica_knows_the_owners_and_no_clients() {
    each_server(|server| {
        let replica = RealReplica::with_module(server);
        let mut bound = server.connect();
        let id = client_id(&mut bound);
        bound.run("ATOMIC.LOCK k me 60000 BIND");
        let (_waiter, _) = wait(server, "ATOMIC.LOCK k a 60000 WAIT 0");
        let fields = |server: &Server| ["waiters", "bound", "queue"].map(|name| server.run("ATOMIC.LOCKINFO k").field(name));
        let pair = Value::Array(vec![Value::bulk("me"), Value::Integer(id)]);
        let shown = [Value::Integer(1), Value::Array(vec![pair]), Value::Array(vec![Value::bulk("a")])];
        assert_eq!(fields(server), shown.map(Some));
        replica.await_sync();
        let none = [Value::Integer(0), Value::Array(Vec::new()), Value::Array(Vec::new())];
        assert_eq!(fields(&replica.server), none.map(Some));
        assert_eq!(queues(&replica.server), []);
    });
}

/// The fields `bound` and `queue` of a lock or of a semaphore, with the owners as text.
fn clients(server: &Server, info: &str) -> (Vec<(String, i64)>, Vec<String>) {
    let reply = server.run(info);
    let field = |name: &str| reply.field(name).unwrap_or_else(|| panic!("no {name} in {reply}"));
    let pair = |pair: &Value| {
        let [owner, client] = pair.array() else { panic!("{pair}") };
        (owner.text(), client.integer())
    };
    (field("bound").array().iter().map(pair).collect(), field("queue").array().iter().map(Value::text).collect())
}

#[test]
fn a_bound_hold_shows_its_connection_for_as_long_as_it_is_bound() {
    for (acquire, info, release) in [
        ("ATOMIC.LOCK k % 60000 SHARED", "ATOMIC.LOCKINFO k", "ATOMIC.UNLOCK k"),
        ("ATOMIC.SEMACQUIRE k 9 % 60000", "ATOMIC.SEMINFO k", "ATOMIC.SEMRELEASE k"),
    ] {
        each_server(|server| {
            let acquire = |owner: &str| acquire.replace('%', owner);
            let bound = || clients(server, info).0;
            let mut connections: Vec<Connection> = (0..3).map(|_| server.connect()).collect();
            let ids: Vec<i64> = connections.iter_mut().map(client_id).collect();
            connections[0].run(&format!("{} BIND", acquire("a")));
            connections[1].run(&acquire("b"));
            connections[2].run(&format!("{} BIND", acquire("c")));
            assert_eq!(bound(), [("a".to_owned(), ids[0]), ("c".to_owned(), ids[2])], "{info}");
            // The last connection that asks for BIND has the hold.
            connections[1].run(&format!("{} BIND", acquire("a")));
            assert_eq!(bound(), [("a".to_owned(), ids[1]), ("c".to_owned(), ids[2])], "{info}");
            server.run("SWAPDB 0 4");
            server.run("SWAPDB 0 4");
            server.run(&format!("{release} c"));
            server.run(&acquire("c"));
            assert_eq!(bound(), [("a".to_owned(), ids[1])], "{info}");
            close(server, connections.remove(1));
            eventually("the hold is released", || bound().is_empty().then_some(()));
            connections[0].run(&format!("{} BIND", acquire("d")));
            assert_eq!(bound(), [("d".to_owned(), ids[0])], "{info}");
            server.run("ATOMIC.DRAIN ON");
            assert_eq!(bound(), [], "{info}");
        });
    }
}

#[test]
fn the_owners_that_wait_are_in_order_and_at_most_a_hundred() {
    for (acquire, info) in [("ATOMIC.LOCK k % 60000", "ATOMIC.LOCKINFO k"), ("ATOMIC.SEMACQUIRE k 1 % 60000", "ATOMIC.SEMINFO k")]
    {
        each_server(|server| {
            let acquire = |owner: &str| acquire.replace('%', owner);
            server.run(&acquire("me"));
            let owners: Vec<String> = (0..101).map(|number| format!("w{number}")).collect();
            let mut waiters: Vec<Waiter> =
                owners.iter().map(|owner| wait(server, &format!("{} WAIT 0", acquire(owner))).0).collect();
            let (bound, queue) = clients(server, info);
            assert_eq!((bound, &queue[..]), (Vec::new(), &owners[..100]), "{info}");
            assert_eq!(server.run(info).field("waiters"), Some(Value::Integer(101)));
            let id = client_id_of(server, 0);
            assert_eq!(server.run(&format!("CLIENT UNBLOCK {id}")), Value::Integer(1));
            waiters[0].reply();
            assert_eq!(clients(server, info).1, owners[1..], "{info}");
            // The lock of a client that locks with SET has a queue, too.
            if info.contains("LOCKINFO") {
                server.run("SET k token");
                assert_eq!(clients(server, info), (Vec::new(), owners[1..].to_vec()), "{info}");
            }
        });
    }
}

/// The id of a client in the first queue.
fn client_id_of(server: &Server, position: usize) -> i64 {
    queues(server)[0].clients[position]
}
