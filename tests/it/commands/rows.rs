//! Tables of commands with their replies and effects, one row per case.

use crate::support::{FakeReplica, Server, Value};

/// A reply on one line: `[1, 8, "v", nil]`; an error as its text.
pub fn brief(reply: &Value) -> String {
    match reply {
        Value::Integer(number) => number.to_string(),
        Value::Null => "nil".to_owned(),
        Value::Error(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(brief).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// Rows: setup, the call, its reply, a query and its reply afterwards. Each row runs on an empty server.
#[track_caller]
pub fn check(server: &Server, rows: &[(&str, &str, &str, &str, &str)]) {
    for (prepare, call, expected, question, answer) in rows {
        server.run("FLUSHALL");
        prepare.split(';').filter(|line| !line.trim().is_empty()).for_each(|line| drop(server.run(line)));
        assert_eq!(brief(&server.run(call)), *expected, "{call} after {prepare:?}");
        assert_eq!(brief(&server.run(question)), *answer, "{question} after {call} after {prepare:?}");
    }
}

/// Rows: setup, the call, its exact stream.
#[track_caller]
pub fn check_streams(server: &Server, rows: &[(&str, &str, &[&str])]) {
    let mut replica = FakeReplica::attach(server);
    for (prepare, call, stream) in rows {
        server.run("FLUSHALL");
        prepare.split(';').filter(|line| !line.trim().is_empty()).for_each(|line| drop(server.run(line)));
        replica.stream();
        let reply = server.run(call);
        assert!(!matches!(reply, Value::Error(_)), "{call}: {reply}");
        replica.expect_stream(stream);
    }
}

/// Rows: setup, a call that is a no-op. It replicates nothing, counts as no change and touches no watched key.
#[track_caller]
pub fn check_changes_nothing(server: &Server, rows: &[(&str, &str)]) {
    let mut replica = FakeReplica::attach(server);
    let mut watcher = server.connect();
    for (prepare, call) in rows {
        server.run("FLUSHALL");
        prepare.split(';').filter(|line| !line.trim().is_empty()).for_each(|line| drop(server.run(line)));
        watcher.run("WATCH k j");
        replica.stream();
        let state = |server: &Server| {
            (server.info("rdb_changes_since_last_save"), server.run("DEBUG DIGEST"), server.run("PEXPIRETIME k"))
        };
        let before = state(server);
        server.run(call);
        assert_eq!(state(server), before, "{call} after {prepare:?}");
        replica.expect_stream(&[]);
        watcher.run("MULTI");
        watcher.run("PING");
        assert_ne!(watcher.run("EXEC"), Value::Null, "{call} after {prepare:?} touched the watched key");
    }
}
