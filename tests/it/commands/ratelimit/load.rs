//! Many requests: a burst gets exactly the capacity, a saturated bucket exactly its rate.

use std::thread;

use super::Reply;
use crate::commands::{micros, pipelined, timed};
use crate::support::{Value, each_server};

#[test]
fn a_burst_of_many_clients_gets_exactly_the_capacity() {
    each_server(|server| {
        for policy in ["BUCKET 1000 1 31536000000", "FIXED 1000 31536000000"] {
            let request = format!("ATOMIC.RATELIMIT k {policy}");
            let granted = |replies: Vec<Value>| replies.iter().filter(|reply| Reply::read(reply).outcome.granted == 1).count();
            let granted: Vec<usize> = thread::scope(|scope| {
                let clients: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| granted(pipelined(&mut server.connect(), &request, 500)))).collect();
                clients.into_iter().map(|client| client.join().unwrap()).collect()
            });
            assert_eq!(granted.iter().sum::<usize>(), 1000, "{policy}: {granted:?}");
            server.run("DEL k");
            let replies = pipelined(&mut server.connect(), &request, 1001);
            let remaining: Vec<i64> = replies.iter().map(|reply| Reply::read(reply).outcome.remaining).collect();
            assert_eq!(remaining, (0..1000).rev().chain([0]).collect::<Vec<i64>>());
            server.run("DEL k");
        }
    });
}

#[test]
fn a_saturated_bucket_grants_its_capacity_and_its_rate() {
    each_server(|server| {
        let mut connection = server.connect();
        // Each takes a second to fill, so a slow client never finds it full.
        for (capacity, policy) in [(1000, "1000 1000 1000"), (1000, "1000 1 1"), (10_000, "10000 1000000 100000")] {
            let per_second = capacity;
            server.run("FLUSHALL");
            let request = format!("ATOMIC.RATELIMIT k BUCKET {policy}");
            let first = timed(&mut connection, &format!("{request} COST {capacity}"));
            let mut granted = Reply::read(&first.reply).outcome.granted;
            let (mut before, mut after) = (0, 0);
            // Until 200 ms have passed and a pipeline emptied the bucket: then the bounds on the granted units are one unit wide.
            while after < first.before + 200_000 {
                let mut denied = 0;
                while denied == 0 {
                    before = micros(&mut connection);
                    let grants = pipelined(&mut connection, &request, 100)
                        .iter()
                        .filter(|reply| Reply::read(reply).outcome.granted == 1)
                        .count();
                    granted += i64::try_from(grants).unwrap();
                    denied = 100 - grants;
                    after = micros(&mut connection);
                }
            }
            let most = capacity + (after - first.before) * per_second / 1_000_000 + 1;
            let least = capacity + (before - first.after) * per_second / 1_000_000 - 1;
            assert!((least..=most).contains(&granted), "{policy}: {granted} units, and not {least}..={most}");
        }
    });
}
