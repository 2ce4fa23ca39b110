//! Scripts from strangers, each a known way to crash, hang, fill, leave or deceive an engine, on every server.
//!
//! A row is a trick, a script and what it must come to. After each row the connection is in sync and the engine works; after each
//! group the memory is back. What limits end in general is in `limits`; what is known to kill other engines is also run without a
//! server, in `src/lua/tests/hostile.rs`.

mod bombs;
mod codecs;
mod commands;
mod errors;
mod escapes;
mod loops;
mod patterns;
mod ranges;
mod recursion;
mod sources;
mod traces;

use std::time::Duration;

use super::{eval, expect_working};
use crate::support::{Connection, Server, Setup, Value, each_server_with, eventually};

/// What a script must come to.
#[derive(Clone, Copy)]
enum Must {
    /// This reply, as redis-cli prints it.
    Answer(&'static str),
    /// An array of so many elements.
    Items(usize),
    /// An error that begins so.
    Fail(&'static str),
    /// The time limit ends it.
    EndInTime,
    /// The memory limit ends it.
    EndInMemory,
    /// A limit ends it, the machine's speed decides which.
    End,
    /// The time limit ends it, unless it is done by then.
    Soon,
}
use Must::{Answer, End, EndInMemory, EndInTime, Fail, Items, Soon};

/// The trick (with the CVE that is its class), the script, what it must come to.
type Row = (&'static str, &'static str, Must);

const MEMORY_LIMIT: u64 = 16 << 20;

/// The time limit of rows that end by it, and the most they may compute: a library that does not obey the limit takes longer.
const SHORT_MS: &str = "50";
/// That of all other rows: shorter than a connection waits.
const LONG_MS: &str = "100000";
const LATEST: Duration = Duration::from_secs(2);

const BY_TIME: &str = "ERR script exceeded the time limit of 50 ms (";
const BY_MEMORY: &str = "ERR script exceeded the memory limit of 16777216 bytes (";

impl Must {
    fn is_met_by(self, reply: &Value) -> bool {
        match (self, reply) {
            (Answer(text), reply) => reply.to_string() == text,
            (Items(count), Value::Array(items)) => items.len() == count,
            (Fail(start), Value::Error(text)) => super::in_words_of_redis(text).starts_with(start),
            (EndInTime, Value::Error(text)) => text.starts_with(BY_TIME),
            (EndInMemory, Value::Error(text)) => text.starts_with(BY_MEMORY),
            (End, Value::Error(text)) => text.starts_with(BY_TIME) || text.starts_with(BY_MEMORY),
            (Soon, _) => true,
            _ => false,
        }
    }
}

/// A server with little memory for scripts.
fn each_limited_server(body: impl Fn(&Server)) {
    let memory = MEMORY_LIMIT.to_string();
    let setup = Setup::with_module().module_args(&[
        "script-memory-limit",
        &memory,
        "script-argument-limit",
        &memory,
        "script-budget-ms",
        LONG_MS,
    ]);
    each_server_with(&setup.deprecated_api(), body);
}

fn set_budget(server: &Server, milliseconds: &str) {
    assert_eq!(server.run(&format!("CONFIG SET atomic.script-budget-ms {milliseconds}")), Value::ok());
}

/// Runs one script; what is wrong with its end, if something is.
fn check(server: &Server, connection: &mut Connection, trick: &str, script: &[u8], must: Must) -> Option<String> {
    let call = eval(script, "0");
    let (reply, taken) = if matches!(must, EndInTime | End | Soon) {
        set_budget(server, SHORT_MS);
        let cpu = server.cpu_time();
        let ended = (connection.call(&call), server.cpu_time() - cpu);
        set_budget(server, LONG_MS);
        ended
    } else {
        (connection.call(&call), Duration::ZERO)
    };
    let shown: String = String::from_utf8_lossy(script).chars().take(200).collect();
    expect_working(connection, &shown);
    let answer: String = reply.to_string().chars().take(500).collect();
    (taken > LATEST || !must.is_met_by(&reply)).then(|| format!("{trick}: {shown}\n    after computing for {taken:?}: {answer}"))
}

/// Runs the rows on every server, and looks at the memory before and after.
fn check_rows(rows: &[Row]) {
    check_scripts(&rows.iter().map(|&(trick, script, must)| (trick, script.as_bytes().to_vec(), must)).collect::<Vec<_>>());
}

fn check_scripts(rows: &[(&str, Vec<u8>, Must)]) {
    each_limited_server(|server| {
        let mut connection = server.connect();
        expect_working(&mut connection, "the start");
        let memory = || ["used_memory", "atomic_scripts_vm_memory"].map(|field| server.info(field).parse::<u64>().unwrap());
        server.run("FLUSHALL");
        let before = memory();
        let wrong: Vec<String> =
            rows.iter().filter_map(|(trick, script, must)| check(server, &mut connection, trick, script, *must)).collect();
        assert!(wrong.is_empty(), "{} of {} ended otherwise:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
        server.run("FLUSHALL");
        // Scripts and garbage below the limit's half may stay; the server frees big values in its own time.
        eventually("the memory is back", || {
            let [used, vm] = memory();
            (used <= before[0] + MEMORY_LIMIT && vm <= before[1] + MEMORY_LIMIT / 2).then_some(())
        });
    });
}
