//! A client whose user loses its permissions while it waits is refused when its turn comes, and the next waiter is granted.

use super::{Waiter, await_waiters, owners, take, unlock};
use crate::support::{Connection, Server, Value, argv, each_server, eventually};

/// A connection of the user `u`, who still has all permissions.
fn user(server: &Server) -> Connection {
    assert_eq!(server.run("ACL SETUSER u reset on >pw ~* &* +@all"), Value::ok());
    let mut connection = server.connect();
    assert_eq!(connection.run("AUTH u pw"), Value::ok());
    connection
}

#[test]
fn a_user_without_permissions_does_not_get_the_lock_and_the_next_waiter_does() {
    for rules in ["-atomic.lock", "resetkeys", "resetkeys ~other", "resetkeys %R~k", "-@all", "resetkeys -@all"] {
        each_server(|server| {
            server.run("ACL LOG RESET");
            take(server, "k me 60000");
            let mut without = Waiter::on(user(server), "ATOMIC.LOCK k lost 60000 WAIT 0");
            await_waiters(server, "k", 1);
            let mut next = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k next 60000 WAIT 0");
            assert_eq!(server.run(&format!("ACL SETUSER u {rules}")), Value::ok());
            unlock(server, "k", "me");
            let reply = without.reply();
            assert!(reply.error().starts_with("NOPERM "), "{rules}: {reply}");
            assert_eq!(next.granted().waiters, 0, "{rules}");
            assert_eq!(owners(server, "k"), ["next"], "{rules}");
            let log = server.run("ACL LOG");
            let entry = &log.array()[0];
            let (reason, object) = if rules.starts_with('-') { ("command", "ATOMIC.LOCK") } else { ("key", "k") };
            assert_eq!(entry.field("reason"), Some(Value::bulk(reason)), "{rules}: {log}");
            assert_eq!(entry.field("object"), Some(Value::bulk(object)), "{rules}: {log}");
        });
    }
}

#[test]
fn a_user_without_permissions_does_not_get_permits() {
    each_server(|server| {
        server.run("ATOMIC.SEMACQUIRE s 2 me 60000 PERMITS 2");
        let waiting = |n: i64| {
            eventually("they wait", || {
                (server.run("ATOMIC.SEMINFO s").field("waiters") == Some(Value::Integer(n))).then_some(())
            });
        };
        let mut without = Waiter::on(user(server), "ATOMIC.SEMACQUIRE s 2 lost 60000 WAIT 0 PERMITS 2");
        waiting(1);
        let mut next = Waiter::send(server, "ATOMIC.SEMACQUIRE s 2 next 60000 WAIT 0 PERMITS 2");
        waiting(2);
        server.run("ACL SETUSER u resetkeys");
        assert_eq!(server.run("ATOMIC.SEMRELEASE s me PERMITS 2"), Value::Integer(0));
        assert!(without.reply().error().starts_with("NOPERM "));
        next.granted();
    });
}

/// Also for a user with few other permissions.
#[test]
fn a_user_with_permissions_gets_the_lock() {
    each_server(|server| {
        take(server, "k me 60000");
        let mut waiter = Waiter::on(user(server), "ATOMIC.LOCK k w 60000 WAIT 0 SHARED BIND");
        await_waiters(server, "k", 1);
        assert_eq!(server.call(&argv("ACL SETUSER u resetkeys ~k -@all +atomic.lock")), Value::ok());
        unlock(server, "k", "me");
        waiter.granted();
    });
}
