//! Many bound holds: a renewal is cheap, and nothing is left when their connections have closed.

use std::time::Duration;

use super::super::in_one_write;
use super::{await_figure, figure};
use crate::support::locks::{close, granted};
use crate::support::{Connection, Server, Value, each_server, eventually};

const HOLDS: usize = 1000;

/// Long enough that a busy machine renews in time.
const LEASE: i64 = 9000;

/// The processor time of a thousand renewals is far below this. They come once in a third of the lease.
const CHEAP: Duration = Duration::from_millis(500);

fn used(server: &Server) -> i64 {
    server.info("used_memory").parse().unwrap()
}

/// The ends of all leases.
fn ends(connection: &mut Connection) -> Vec<i64> {
    let lines: Vec<String> = (0..HOLDS).map(|n| format!("PEXPIRETIME k{n}")).collect();
    in_one_write(connection, &lines).iter().map(Value::integer).collect()
}

/// Waits until each hold was renewed, and asserts that it was cheap.
#[track_caller]
fn expect_cheap_renewals(server: &Server, what: &str) {
    let mut control = server.connect();
    let before = (ends(&mut control), server.cpu_time());
    // A client that waits costs the server nothing, polls would.
    control.run("BLPOP none 3.5");
    let after = (ends(&mut control), server.cpu_time());
    let spent = after.1.checked_sub(before.1).unwrap();
    eprintln!("{}: {what}: {spent:?} of processor time for {HOLDS} renewals", server.binary.name);
    assert!(before.0.iter().zip(&after.0).all(|(before, after)| before < after), "{what}: not all are renewed");
    assert!(spent < CHEAP, "{what}: {spent:?}");
    assert_eq!((figure(server, "bound_lost"), figure(server, "bound_to_connections")), (0, 1000), "{what}");
}

#[test]
fn a_thousand_holds_of_one_connection_and_of_a_thousand() {
    each_server(|server| {
        // The first one also pays for the subscriptions.
        close(server, super::bound(server, "ATOMIC.LOCK first me 60000 BIND"));
        await_figure(server, "bound_to_connections", 0);
        let before = used(server);
        for connections in [1, HOLDS] {
            let mut holders: Vec<Connection> = (0..connections).map(|_| server.connect()).collect();
            for n in 0..HOLDS {
                let holder = &mut holders[n % connections];
                granted(&holder.run(&format!("ATOMIC.LOCK k{n} me {LEASE} BIND")));
            }
            expect_cheap_renewals(server, &format!("{connections} connections"));
            drop(holders);
            await_figure(server, "bound_to_connections", 0);
            eventually("all are free", || (server.run("DBSIZE") == Value::Integer(0)).then_some(()));
            eventually("the connections are gone", || (server.run("CLIENT LIST").text().lines().count() == 1).then_some(()));
            let left = used(server) - before;
            eprintln!("{}: {left} bytes more than before", server.binary.name);
        }
        let left = eventually("the memory is free", || Some(used(server) - before).filter(|left| *left < 256 * 1024));
        assert!(left < 256 * 1024);
        assert_eq!(["bound_lost", "waiting_clients", "vacant_places"].map(|name| figure(server, name)), [0, 0, 0]);
    });
}
