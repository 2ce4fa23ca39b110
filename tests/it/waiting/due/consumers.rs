//! Many consumers: they die and lose nothing, ten thousand wait at once, and a slot of a cluster moves while they wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Waiter, await_blocked, members, names, queued};
use crate::commands::due::pairs;
use crate::support::cluster::{Cluster, begin_migration, id, move_key, redirection, slot};
use crate::support::resp::encode;
use crate::support::{
    Binary, Connection, DEADLINE, Server, Setup, Value, argv, each_installed, each_server, each_server_with, eventually,
};

#[test]
fn consumers_that_die_lose_nothing_with_a_lease() {
    const JOBS: usize = 150;
    each_server(|server| {
        let jobs: Vec<String> = (0..JOBS).map(|job| format!("1 j{job}")).collect();
        server.run(&format!("ZADD k {}", jobs.join(" ")));
        // Per job: how often it was begun, and how often it was finished.
        let (begun, finished) = (Mutex::new(BTreeMap::<String, usize>::new()), Mutex::new(BTreeMap::<String, usize>::new()));
        let left = AtomicUsize::new(JOBS);
        let work = |worker: usize| {
            let mut connection = server.connect();
            let mut turn = worker;
            while left.load(Ordering::Relaxed) > 0 {
                turn += 1;
                connection.send(&argv("ATOMIC.ZPOPDUE k LEASE 60 WAIT 30 COUNT 2")).unwrap();
                if turn.is_multiple_of(7) {
                    // It dies while it waits, or before it has read the reply.
                    connection = server.connect();
                    continue;
                }
                for (member, token) in pairs(&connection.read().unwrap()) {
                    *begun.lock().unwrap().entry(member.clone()).or_default() += 1;
                    turn += 1;
                    match turn % 5 {
                        // It dies before it has finished.
                        0 => connection = server.connect(),
                        // It is too slow: by now another worker may have the job.
                        1 => std::thread::sleep(Duration::from_millis(90)),
                        _ => {}
                    }
                    if !turn.is_multiple_of(5) && connection.run(&format!("ATOMIC.ZDONE k {member} {token}")) == Value::Integer(1)
                    {
                        *finished.lock().unwrap().entry(member).or_default() += 1;
                        left.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
        };
        std::thread::scope(|scope| (0..5).for_each(|worker| drop(scope.spawn(move || work(worker * 3)))));
        let (begun, finished) = (begun.into_inner().unwrap(), finished.into_inner().unwrap());
        assert_eq!(finished.len(), JOBS, "jobs were lost");
        assert!(finished.values().all(|times| *times == 1), "a job was finished twice: {finished:?}");
        assert!(begun.values().any(|times| *times > 1), "no worker died with a job");
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
    });
}

#[test]
fn ten_thousand_consumers_wait_in_one_queue() {
    const CONSUMERS: usize = 10_000;
    each_server_with(&Setup::with_module().config("maxclients 10100"), |server| {
        let command = encode(&argv("ATOMIC.ZPOPDUE k WAIT 0"));
        let mut waiters: Vec<Connection> = (0..CONSUMERS)
            .map(|_| {
                let mut connection = server.connect();
                connection.send_raw(&command).unwrap();
                connection
            })
            .collect();
        await_blocked(server, CONSUMERS);
        // One job goes to one consumer, and costs the same as with few of them.
        let before = server.cpu_time();
        for job in 0..1000 {
            server.run(&format!("ZADD k {job} j{job}"));
        }
        let spent = server.cpu_time() - before;
        eprintln!("{} us of CPU time per job", spent.as_micros() / 1000);
        // All others at once.
        let jobs: Vec<String> = (1000..CONSUMERS).map(|job| format!("{job} j{job}")).collect();
        server.run(&format!("ZADD k {}", jobs.join(" ")));
        let got: BTreeSet<String> = waiters.iter_mut().map(|waiter| names(&waiter.read().unwrap())).collect();
        assert_eq!(got.len(), CONSUMERS, "a job was lost or given twice");
        assert_eq!((server.run("EXISTS k"), server.info("blocked_clients")), (Value::Integer(0), "0".to_owned()));
        // And they leave without a trace.
        for waiter in waiters.iter_mut().take(2000) {
            waiter.send_raw(&command).unwrap();
        }
        await_blocked(server, 2000);
        drop(waiters);
        await_blocked(server, 0);
        server.run("ZADD k 1 last");
        assert_eq!(names(&server.run("ATOMIC.ZPOPDUE k")), "last");
    });
}

/// Runs `body` on a cluster of two nodes: the node with the slot of the keys `{m}...`, and the other.
fn each_pair(body: impl Fn(&Cluster, &Server, &Server)) {
    each_installed(|binary: &Binary| {
        let cluster = Cluster::start(binary, 2);
        let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
        if a.run("EXISTS {m}") == Value::Integer(0) { body(&cluster, a, b) } else { body(&cluster, b, a) }
    });
}

#[test]
fn consumers_of_a_slot_that_moves_are_redirected_and_no_member_is_lost() {
    each_pair(|cluster, from, to| {
        let slot = slot(from, "{m}");
        let far = super::LATER;
        from.run(&format!("ZADD {{m}}k {far} c"));
        let crossed = from.run("ATOMIC.ZMOVEDUE {m}k {n}l");
        assert!(crossed.error().starts_with("CROSSSLOT"), "{crossed}");
        let mut asked = [
            queued(from, 1, "ATOMIC.ZPOPDUE {m}k WAIT 0"),
            queued(from, 2, "ATOMIC.ZMOVEDUE {m}k {m}l WAIT 0"),
            queued(from, 3, "ATOMIC.ZPOPDUE {m}k WAIT 0 LEASE 5000"),
        ];
        // A key that is missing has no event when its slot leaves.
        let mut moved = queued(from, 4, "ATOMIC.ZPOPDUE {m}none WAIT 0");
        begin_migration(slot, from, to);
        move_key("{m}k", from, to);
        for waiter in &mut asked {
            assert_eq!(waiter.reply(), redirection("ASK", slot, to));
        }
        cluster.end_migration(slot, to);
        let reply = moved.reply();
        assert!(["ASK", "MOVED"].map(|word| redirection(word, slot, to)).contains(&reply), "{reply}");
        assert_eq!(from.run("ATOMIC.ZPOPDUE {m}k WAIT 0"), redirection("MOVED", slot, to));
        assert_eq!((members(to, "{m}k"), from.run("DBSIZE")), ("c".to_owned(), Value::Integer(0)));
        let mut waiter = queued(to, 1, "ATOMIC.ZMOVEDUE {m}k {m}l WAIT 0");
        to.run("ZADD {m}k 1 a");
        assert_eq!(names(&waiter.reply()), "a");
        assert_eq!(to.run("LRANGE {m}l 0 -1"), Value::Array(vec![Value::bulk("a")]));
    });
}

#[test]
fn a_slot_that_is_reassigned_without_its_keys_redirects_its_consumers() {
    each_pair(|_, from, to| {
        let slot = slot(from, "{m}");
        let mut waiter = queued(from, 1, "ATOMIC.ZPOPDUE {m}k WAIT 0");
        assert_eq!(to.run(&format!("CLUSTER SETSLOT {slot} NODE {}", id(to))), Value::ok());
        to.run("CLUSTER BUMPEPOCH");
        assert_eq!(waiter.reply(), redirection("MOVED", slot, to));
        assert_eq!(from.run("DBSIZE"), Value::Integer(0));
    });
}

#[test]
fn a_slot_that_is_migrated_as_a_whole_takes_its_leases_along() {
    each_pair(|_, from, to| {
        if !from.binary.is_valkey_from(9, 0) {
            return;
        }
        let slot = slot(from, "{m}");
        from.run(&format!("ZADD {{m}}k 1 a {} c", super::LATER));
        let (member, token) = pairs(&from.run("ATOMIC.ZPOPDUE {m}k LEASE 3600000"))[0].clone();
        let mut waiters = [queued(from, 1, "ATOMIC.ZPOPDUE {m}k WAIT 0"), queued(from, 2, "ATOMIC.ZMOVEDUE {m}none {m}l WAIT 0")];
        assert_eq!(from.run(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {}", id(to))), Value::ok());
        for waiter in &mut waiters {
            assert_eq!(waiter.reply(), redirection("MOVED", slot, to));
        }
        assert_eq!(to.run(&format!("ATOMIC.ZDONE {{m}}k {member} {token}")), Value::Integer(1));
        assert_eq!(members(to, "{m}k"), "c");
        eventually("the source has nothing left", || (from.run("DBSIZE") == Value::Integer(0)).then_some(()));
    });
}

#[test]
fn slots_move_to_and_fro_while_consumers_work() {
    const JOBS: usize = 120;
    each_pair(|cluster, a, b| {
        let slot = slot(a, "{m}");
        let left = AtomicUsize::new(JOBS);
        let deadline = Instant::now() + DEADLINE;
        let finished = Mutex::new(BTreeMap::<String, usize>::new());
        let ask = |connections: &mut [Connection; 2], at: &mut usize, command: &str| loop {
            let reply = connections[*at].run(command);
            let Value::Error(text) = &reply else { return Some(reply) };
            assert!(
                ["MOVED ", "ASK ", "CLUSTERDOWN ", "TRYAGAIN "].iter().any(|code| text.starts_with(code)),
                "{command}: {text}"
            );
            if text.starts_with("MOVED ") {
                *at = 1 - *at;
            } else if text.starts_with("ASK ") {
                let other = &mut connections[1 - *at];
                other.run("ASKING");
                match other.run(command) {
                    Value::Error(_) => {}
                    reply => return Some(reply),
                }
            }
            if Instant::now() > deadline {
                return None;
            }
        };
        let work = || {
            let (mut connections, mut at) = ([a.connect(), b.connect()], 0);
            while left.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
                let Some(reply) = ask(&mut connections, &mut at, "ATOMIC.ZPOPDUE {m}k LEASE 1000 WAIT 50") else { return };
                for (member, token) in pairs(&reply) {
                    let done = ask(&mut connections, &mut at, &format!("ATOMIC.ZDONE {{m}}k {member} {token}"));
                    if done == Some(Value::Integer(1)) {
                        *finished.lock().unwrap().entry(member).or_default() += 1;
                        left.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            (0..3).for_each(|_| drop(scope.spawn(work)));
            let (mut connections, mut at) = ([a.connect(), b.connect()], 0);
            let (mut from, mut to) = (a, b);
            for job in 0..JOBS {
                ask(&mut connections, &mut at, &format!("ZADD {{m}}k 1 j{job}"));
                if job % 20 == 10 {
                    cluster.migrate(slot, from, to);
                    (from, to) = (to, from);
                }
            }
        });
        let finished = finished.into_inner().unwrap();
        assert_eq!(finished.len(), JOBS, "jobs were lost");
        assert!(finished.values().all(|times| *times == 1), "{finished:?}");
        for node in [a, b] {
            eventually("no consumer is left", || (node.info("blocked_clients") == "0").then_some(()));
        }
    });
}

#[test]
fn a_promoted_replica_has_the_leases() {
    each_server(|server| {
        let replica = crate::support::RealReplica::with_module(server);
        server.run("ZADD k 1 a 2 b 3 c");
        let mut waiter = Waiter::send(server, "ATOMIC.ZPOPDUE k WAIT 0 LEASE 600000");
        let (member, token) = pairs(&waiter.reply())[0].clone();
        server.run("ATOMIC.ZMOVEDUE k l");
        replica.expect_same_data();
        server.kill_9();
        let promoted = &replica.server;
        assert_eq!(promoted.run("REPLICAOF NO ONE"), Value::ok());
        assert_eq!(names(&promoted.run("ATOMIC.ZPOPDUE k COUNT 9")), "c");
        assert_eq!(promoted.run(&format!("ATOMIC.ZDONE k {member} {token}")), Value::Integer(1));
        assert_eq!(promoted.run("LRANGE l 0 -1"), Value::Array(vec![Value::bulk("b")]));
    });
}
