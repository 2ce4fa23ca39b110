//! Each family of native commands: grammar, replies, state, times and replication; and the helpers that these tests share.
//!
//! A time in a reply ("in 200 ms") counts from a moment that the client does not see. [`Timed`] brackets that moment with the
//! server's own clock, and a [`Moment`] is the interval that follows: two replies about the same moment must overlap.

mod compat; // other modules' names, with the module argument `compat yes`
mod conditions; // compare-and-set and the conditional commands
mod counters; // bounded counters, in strings and hashes, and transfers between them
pub mod due; // members of a sorted set that come due, without waiting
mod fences; // ATOMIC.FENCE: the highest number wins
mod idem; // any command, once
mod idempotency; // once per period, once per request
mod lists; // lists of bounded length
mod locks; // ownership, leases, fences, clients that lock with `SET NX PX`
mod ratelimit; // every policy: grammar, replies, times, state, replication
mod resend; // replies that are lost, and clients that send again
pub mod rows; // tables that several families share
mod semaphores; // permits, leases, the stored format, replication and persistence
mod times; // no time in a reply is longer than requested
mod values; // get or set, defaults; and what these share with lists and idempotency

use crate::support::line::{line, quoted};
use crate::support::resp::encode;
use crate::support::{Connection, Server, Value, argv, eventually};

/// The server's own error for a key of another type.
pub const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// Commands that create a value of each type but string at `k`.
pub const OTHER_TYPES: &[&str] = &["RPUSH k v", "HSET k v v", "SADD k v", "ZADD k 1 v", "XADD k 1-1 v v"];

/// Strings that Redis does not read as integers.
const NO_INTEGERS: &[&str] = &[
    "''",
    "x",
    "01",
    "+1",
    "' 1'",
    "'1 '",
    "-0",
    "-01",
    "1.0",
    "1e3",
    "0x1",
    r#""1\x00""#,
    r#""1\r\n""#,
    r#""\xe4\xb8\x80""#,
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551617",
];

/// Every key of database 0 with its bytes and its deadline, and the server's count of changes.
pub fn everything(server: &Server) -> Vec<String> {
    let mut keys: Vec<Vec<u8>> = server.run("KEYS *").array().iter().map(|key| key.bytes().to_vec()).collect();
    keys.sort();
    let shown = |key: &Vec<u8>| {
        let asked = [&b"DUMP"[..], b"PEXPIRETIME"].map(|question| server.call(&[question, key]).to_string());
        format!("{} {}", quoted(key), asked.join(" "))
    };
    let changes = format!("{} changes", server.info("rdb_changes_since_last_save"));
    keys.iter().map(shown).chain([changes]).collect()
}

/// Runs `command`, and asserts that no key and no count of changes moved.
#[track_caller]
pub fn changes_nothing(server: &Server, command: &str) -> Value {
    let before = everything(server);
    let reply = server.run(command);
    assert_eq!(everything(server), before, "{command} answered {reply}, and yet something changed");
    reply
}

/// Asserts that each command is refused with exactly this text and changes nothing.
#[track_caller]
pub fn expect_refused<C: AsRef<str>, T: AsRef<str>>(server: &Server, table: &[(C, T)]) {
    for (command, text) in table {
        let (command, text) = (command.as_ref(), text.as_ref());
        assert_eq!(changes_nothing(server, command), Value::Error(text.to_owned()), "{command}");
    }
}

/// Asserts that the `%` of `template` accepts exactly the integers of `range`, and that the error names argument and range. Each
/// accepted call runs on a database that holds only what `setup` created.
#[track_caller]
pub fn expect_range(server: &Server, setup: &str, template: &str, argument: &str, range: (i64, i64)) {
    let (min, max) = range;
    let outside = [min - 1, max + 1, i64::MIN, i64::MAX].map(|number| number.to_string());
    server.run("FLUSHALL");
    server.run(setup);
    for bad in NO_INTEGERS.iter().copied().chain(outside.iter().map(String::as_str)) {
        let text = format!("ERR {argument} must be an integer between {min} and {max}");
        expect_refused(server, &[(template.replace('%', bad), text)]);
    }
    for good in [min, min + 1, max - 1, max] {
        server.run("FLUSHALL");
        server.run(setup);
        let command = template.replace('%', &good.to_string());
        let reply = server.run(&command);
        assert!(!matches!(reply, Value::Error(_)), "{command}: {reply}");
    }
}

/// The server's clock, in microseconds.
pub fn micros(connection: &mut Connection) -> i64 {
    clock(&connection.run("TIME"))
}

fn clock(reply: &Value) -> i64 {
    let [seconds, micros] = [0, 1].map(|part| reply.array()[part].text().parse::<i64>().unwrap());
    seconds * 1_000_000 + micros
}

/// Waits until the server's clock has reached `until`.
pub fn await_micros(connection: &mut Connection, until: i64) {
    eventually("the server's clock gets there", || (micros(connection) >= until).then_some(()));
}

/// A reply, and the server's clock in microseconds before and after the command.
#[derive(Debug)]
pub struct Timed {
    pub before: i64,
    pub reply: Value,
    pub after: i64,
}

/// Runs a command between two readings of the server's clock, in one round trip.
#[track_caller]
pub fn timed(connection: &mut Connection, command: &str) -> Timed {
    let bytes = [argv("TIME"), argv(command), argv("TIME")].map(|arguments| encode(&arguments)).concat();
    connection.send_raw(&bytes).unwrap();
    let [before, reply, after] = [0, 1, 2].map(|_| connection.read().unwrap_or_else(|error| panic!("{command}: {error}")));
    Timed { before: clock(&before), reply, after: clock(&after) }
}

impl Timed {
    /// The integers of the reply.
    #[track_caller]
    pub fn integers(&self) -> Vec<i64> {
        integers(&self.reply)
    }

    /// The moment that is `wait` ms away by the reply, which rounds up.
    pub fn moment(&self, wait: i64) -> Moment {
        Moment { after: self.before + (wait - 1) * 1000, until: self.after + wait * 1000 }
    }
}

/// A moment that lies after `after` and not after `until`, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub after: i64,
    pub until: i64,
}

impl Moment {
    /// Narrows this moment by another reply about it; panics when the two do not overlap.
    #[track_caller]
    pub fn expect_same(&mut self, other: Self) {
        let both = Self { after: self.after.max(other.after), until: self.until.min(other.until) };
        assert!(both.after < both.until, "not one moment: {self:?} and {other:?}");
        *self = both;
    }
}

/// The integers of an array.
#[track_caller]
pub fn integers(reply: &Value) -> Vec<i64> {
    reply.array().iter().map(Value::integer).collect()
}

/// Sends the same command many times in a pipeline; returns all replies.
#[track_caller]
pub fn pipelined(connection: &mut Connection, command: &str, times: usize) -> Vec<Value> {
    let one = encode(&argv(command));
    let mut replies = Vec::with_capacity(times);
    // In batches, so that full buffers never block both sides.
    while replies.len() < times {
        let part = (times - replies.len()).min(200);
        connection.send_raw(&one.repeat(part)).unwrap();
        replies.extend((0..part).map(|_| connection.read().unwrap_or_else(|error| panic!("{command}: {error}"))));
    }
    replies
}

/// When a key expires, in ms since the epoch; panics without a TTL.
#[track_caller]
pub fn deadline(server: &Server, key: &str) -> i64 {
    let deadline = server.call(&["PEXPIRETIME", key]).integer();
    assert!(deadline > 0, "{key} has no TTL: {deadline}");
    deadline
}

/// The arguments of a command as one line for the tables above.
pub fn command(arguments: &[&[u8]]) -> String {
    line(&arguments.iter().map(|argument| argument.to_vec()).collect::<Vec<_>>())
}

#[test]
fn two_replies_about_one_moment_must_overlap() {
    let early = Timed { before: 10_000, reply: Value::Null, after: 10_400 }.moment(5);
    let mut moment = early;
    moment.expect_same(Timed { before: 12_000, reply: Value::Null, after: 12_100 }.moment(3));
    assert_eq!((moment.after, moment.until), (14_000, 15_100));
    let apart = std::panic::catch_unwind(move || moment.expect_same(Moment { after: 15_100, until: 20_000 }));
    assert!(apart.is_err(), "two different moments passed as one");
}
