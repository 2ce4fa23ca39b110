//! Helpers for tests of locks: grants, denials, owners, stored bytes, and closed connections.

use std::time::Duration;

use super::{Connection, Server, Setup, Value, eventually};

/// A time that no test reaches, in ms since the epoch.
pub const LATER: i64 = 4_102_444_800_000;

/// A server on which only the test's own commands move the replication offset.
pub fn quiet() -> Setup {
    Setup::with_module().config("repl-ping-replica-period 3600")
}

/// The fence of a grant; panics on anything else.
#[track_caller]
pub fn granted(reply: &Value) -> i64 {
    let numbers: Vec<i64> = match reply {
        Value::Array(items) => items.iter().map(Value::integer).collect(),
        _ => panic!("expected a grant, got {reply}"),
    };
    assert_eq!(numbers[0], 1, "not granted: {numbers:?}");
    assert!(numbers[1] > 0, "a grant without a fence: {numbers:?}");
    numbers[1]
}

/// Asserts that a lock or a permit was denied.
#[track_caller]
pub fn not_granted(reply: &Value) {
    assert_eq!(reply.array()[..2], [Value::Integer(0), Value::Integer(0)], "not denied: {reply}");
}

/// The highest fence of a lock, from LOCKINFO; panics when it is free.
#[track_caller]
pub fn fence(server: &Server, key: &str) -> i64 {
    let info = server.call(&["ATOMIC.LOCKINFO", key]);
    info.field("fence").unwrap_or_else(|| panic!("{key} is free")).integer()
}

/// The replicated write of a lock: `SET key state PXAT deadline`, with the server's current values.
#[track_caller]
pub fn put(server: &Server, key: &str) -> Vec<Vec<u8>> {
    let state = server.call(&["GET", key]);
    let ends = server.call(&["PEXPIRETIME", key]).integer().to_string();
    [b"SET", key.as_bytes(), state.bytes(), b"PXAT", ends.as_bytes()].map(<[u8]>::to_vec).to_vec()
}

/// A holder for [`stored`]: owner, holds, deadline in ms, fence.
pub type Holder<'a> = (&'a [u8], u32, i64, u64);

/// A lock in its stored format (LK1), with these holders.
pub fn stored(mode: u8, fence: u64, holders: &[Holder]) -> Vec<u8> {
    let mut bytes = b"\xa7LK\x01".to_vec();
    bytes.push(mode);
    bytes.extend(fence.to_be_bytes());
    bytes.extend(u16::try_from(holders.len()).unwrap().to_be_bytes());
    for (owner, holds, deadline, fence) in holders {
        bytes.push(u8::try_from(owner.len()).unwrap());
        bytes.extend(*owner);
        bytes.extend(holds.to_be_bytes());
        bytes.extend(&deadline.to_be_bytes()[2..]);
        bytes.extend(fence.to_be_bytes());
    }
    bytes
}

/// Closes a connection. Returns when the server has noticed.
#[track_caller]
pub fn close(server: &Server, mut connection: Connection) {
    let id = connection.run("CLIENT ID").integer();
    drop(connection);
    eventually("the connection is gone", || server.run(&format!("CLIENT LIST ID {id}")).text().trim().is_empty().then_some(()));
}

/// Drops the owner of a blocked client's connection. Returns when the server has noticed.
#[track_caller]
pub fn vanish<T>(server: &Server, waiter: T) {
    let blocked = || server.info("blocked_clients").parse::<i64>().unwrap();
    let before = blocked();
    drop(waiter);
    eventually("the blocked client is gone", || (blocked() < before).then_some(()));
}

/// Asserts that the server unblocked a waiter because it is no longer a primary: an error, and the end of the connection.
#[track_caller]
pub fn expect_unblocked(connection: &mut Connection) {
    let reply = connection.read().unwrap();
    assert!(reply.error().starts_with("UNBLOCKED "), "{reply}");
    connection.expect_close();
}

/// Asserts that nothing arrives on a connection for 30 ms, which is long for a server.
#[track_caller]
pub fn expect_silence(connection: &mut Connection) {
    assert!(!connection.has_input(Duration::from_millis(30)), "an answer: {}", connection.read().unwrap());
}
