//! Clients that wait on the server for locks and semaphores: order, hand-offs, waiters that leave, and what must never happen.
//!
//! A waiter is a connection that has sent its command and not read the reply. Nothing sleeps: a test continues when the server reports that
//! the client waits, and reads replies with the harness' deadline.

mod bind; // locks that end with their connection
mod bound; // bound leases: renewals, losses, and what is left of them
mod cluster; // slots that leave, keys that migrate
mod due; // consumers of a sorted set whose members come due
mod fences; // growth of fences over restarts, failovers and clocks
mod gone; // keys that disappear while several clients wait
mod handoff; // every way in which a lock becomes free
mod history; // random histories of all kinds of claims against a naive model
mod leases; // leases and TTLs that run out, to the millisecond
mod leaving; // waiters that time out, vanish or are unblocked
mod memory; // what a waiting client costs
mod mlock; // several locks at once
mod model; // random clients against a naive model
mod order; // first come, first served; readers and writers; MAXQUEUE
mod places; // one place per owner: repeated requests, closed connections
mod replicated; // the exact stream of hand-offs, promotion and demotion
mod report; // what an operator sees: WAITERS, and the clients in LOCKINFO and SEMINFO
mod rights; // waiting clients whose user loses its permissions
mod safety; // pauses, failovers, shutdowns, unload
mod semaphore; // permits: large and small requests in one queue, leases, MAXQUEUE

use crate::commands::integers;
use crate::support::resp::encode;
use crate::support::{Connection, Server, Value, argv, eventually};

/// A client that waits.
pub struct Waiter {
    connection: Connection,
}

impl Waiter {
    /// Sends a command that must wait.
    #[track_caller]
    pub fn send(server: &Server, command: &str) -> Self {
        let mut connection = server.connect();
        connection.send(&argv(command)).unwrap();
        Self { connection }
    }

    /// [`Waiter::send`] on an existing connection.
    #[track_caller]
    pub fn on(mut connection: Connection, command: &str) -> Self {
        connection.send(&argv(command)).unwrap();
        Self { connection }
    }

    /// Sends a command and waits until `n` clients wait for `key`, or the reply is there: on a busy machine a short lease may end before.
    #[track_caller]
    pub fn queued(server: &Server, key: &str, n: i64, command: &str) -> Self {
        let mut waiter = Self::send(server, command);
        let queued = || (waiters(server, key) == n || waiter.has_reply()).then_some(());
        eventually(&format!("{n} waiters for {key}"), queued);
        waiter
    }

    /// The reply, as soon as it is there.
    #[track_caller]
    pub fn reply(&mut self) -> Value {
        self.connection.read().unwrap()
    }

    /// The reply, which must be a grant.
    #[track_caller]
    pub fn granted(&mut self) -> Grant {
        Grant::read(&self.reply())
    }

    /// The reply, which must be a denial with this number of waiters.
    #[track_caller]
    pub fn denied(&mut self, waiters: i64) {
        expect_denied(&self.reply(), waiters);
    }

    /// Asserts that no further reply came: the next reply is that to PING.
    #[track_caller]
    pub fn expect_nothing_more(&mut self) {
        assert_eq!(self.connection.run("PING"), Value::Status("PONG".to_owned()), "a reply too many");
    }

    /// Reads until the end of the wait: an error reply, or a closed connection.
    #[track_caller]
    pub fn reply_or_close(&mut self) {
        if let Ok(reply) = self.connection.read() {
            assert!(reply.error().starts_with("UNBLOCKED"), "{reply}");
        }
    }

    /// The connection, for further commands.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Whether the reply is there now. To assert "still waits", call this after another observed effect.
    pub fn has_reply(&mut self) -> bool {
        self.connection.has_input(std::time::Duration::from_millis(1))
    }
}

/// The number of waiters for a lock, from LOCKINFO; 0 when it is free.
#[track_caller]
pub fn waiters(server: &Server, key: &str) -> i64 {
    let info = server.call(&["ATOMIC.LOCKINFO", key]);
    info.field("waiters").map_or(0, |count| count.integer())
}

/// Waits until `n` clients wait for the lock.
#[track_caller]
pub fn await_waiters(server: &Server, key: &str, n: i64) {
    eventually(&format!("{n} waiters for {key}"), || (waiters(server, key) == n).then_some(()));
}

/// The grant of a lock or of permits: `[1, fence, ttl-ms or permits in use, holds or retry-after-ms, waiters]`.
#[derive(Debug)]
pub struct Grant {
    /// The fence.
    pub fence: i64,
    third: i64,
    fourth: i64,
    /// The number of waiters.
    pub waiters: i64,
}

impl Grant {
    /// Reads a reply that must be a grant.
    #[track_caller]
    pub fn read(reply: &Value) -> Self {
        assert!(matches!(reply, Value::Array(_)), "not a grant: {reply}");
        let numbers = integers(reply);
        let [1, fence, third, fourth, waiters] = numbers[..] else { panic!("not a grant: {numbers:?}") };
        assert!(fence > 0, "a grant without a fence: {numbers:?}");
        Self { fence, third, fourth, waiters }
    }

    /// The lease of a lock, in ms.
    pub fn ttl(&self) -> i64 {
        self.third
    }

    /// The holds of the owner of a lock.
    pub fn holds(&self) -> i64 {
        self.fourth
    }

    /// The permits of a semaphore that are in use.
    pub fn in_use(&self) -> i64 {
        self.third
    }

    /// retry-after-ms of a semaphore, 0 for a grant.
    pub fn retry(&self) -> i64 {
        self.fourth
    }
}

/// Asserts that a reply of `ATOMIC.LOCK` is a denial with this number of waiters.
#[track_caller]
pub fn expect_denied(reply: &Value, waiters: i64) {
    assert!(matches!(reply, Value::Array(_)), "not a denial: {reply}");
    let numbers = integers(reply);
    let is_denial = matches!(numbers[..], [0, 0, ttl, 0, others] if ttl >= -1 && others == waiters);
    assert!(is_denial, "not a denial with {waiters} waiting: {numbers:?}");
}

/// Acquires a lock, which must be granted: `take(server, "k me 60000")`.
#[track_caller]
pub fn take(server: &Server, arguments: &str) -> Grant {
    Grant::read(&server.run(&format!("ATOMIC.LOCK {arguments}")))
}

/// Releases one hold, which must be the last.
#[track_caller]
pub fn unlock(server: &Server, key: &str, owner: &str) {
    assert_eq!(server.call(&["ATOMIC.UNLOCK", key, owner]), Value::Integer(0), "UNLOCK {key} {owner}");
}

/// The owners of a lock, from LOCKINFO; none when it is free.
#[track_caller]
pub fn owners(server: &Server, key: &str) -> Vec<String> {
    let owners = server.call(&["ATOMIC.LOCKINFO", key]).field("owners");
    owners.map_or_else(Vec::new, |owners| owners.array().iter().map(|owner| owner.array()[0].text()).collect())
}

/// Sends all commands in one write and reads all replies: the server serves no other client in between.
#[track_caller]
pub fn in_one_write(connection: &mut Connection, commands: &[impl AsRef<str>]) -> Vec<Value> {
    let bytes: Vec<u8> = commands.iter().flat_map(|command| encode(&argv(command.as_ref()))).collect();
    connection.send_raw(&bytes).unwrap();
    commands.iter().map(|_| connection.read().unwrap()).collect()
}

/// Waits until no client of the server is blocked.
#[track_caller]
pub fn await_nobody_blocked(server: &Server) {
    eventually("no client is blocked", || (server.info("blocked_clients") == "0").then_some(()));
}

/// The client id, for `CLIENT KILL ID` and `CLIENT UNBLOCK`.
#[track_caller]
pub fn client_id(connection: &mut Connection) -> i64 {
    connection.run("CLIENT ID").integer()
}
