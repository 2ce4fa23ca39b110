//! What a waiting client costs. The pages give these figures; this prints them:
//! `cargo test --no-default-features --test it -- waiting::memory --nocapture`.

use super::take;
use crate::support::{Connection, Server, argv, each_server, eventually};

const CLIENTS: usize = 200;

/// The server makes two clients for each one that a module blocks (`moduleBlockClient`), each with a reply buffer of 16 KB. What comes on
/// top is ours.
const TWO_CLIENTS: i64 = 2 * (16 * 1024 + 2048);

fn used(server: &Server) -> i64 {
    server.info("used_memory").parse().unwrap()
}

/// Bytes per client that blocks with this command, after the server has taken back the buffers of idle clients.
fn cost(server: &Server, command: &dyn Fn(usize) -> String) -> i64 {
    let before = used(server);
    let clients: Vec<Connection> = (0..CLIENTS)
        .map(|number| {
            let mut connection = server.connect();
            connection.send(&argv(&command(number))).unwrap();
            connection
        })
        .collect();
    eventually("all are blocked and their buffers are small", || {
        let list = server.run("CLIENT LIST").text();
        let is_small = |line: &&str| [" flags=b ", " qbuf-free=0 ", " rbs=1024 "].iter().all(|field| line.contains(field));
        let small = list.lines().filter(is_small).count();
        (small >= clients.len()).then_some(())
    });
    (used(server) - before) / i64::try_from(CLIENTS).unwrap()
}

#[test]
fn a_waiter_costs_what_the_server_takes_for_it() {
    each_server(|server| {
        take(server, "k me 3600000");
        // The first one costs the subscriptions, too.
        drop(super::Waiter::queued(server, "k", 1, "ATOMIC.LOCK k first 60000 WAIT 0"));
        eventually("nobody waits", || (server.info("atomic_locks_waiting_clients") == "0").then_some(()));
        let blocked = cost(server, &|_| "BLPOP list 0".to_owned());
        eventually("the clients are gone", || (server.info("blocked_clients") == "0").then_some(()));
        let waiting = cost(server, &|number| format!("ATOMIC.LOCK k w{number} 60000 WAIT 0"));
        println!("{}: a waiting client takes {waiting} bytes, one of BLPOP {blocked}", server.binary.name);
        let more = waiting - blocked;
        assert!(more < TWO_CLIENTS + 1024, "{more} bytes more than for BLPOP");
    });
}
