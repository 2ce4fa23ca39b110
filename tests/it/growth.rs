//! What a command replicates does not grow with what it leaves alone: the same command in a small and in a large key.

use crate::support::{Connection, FakeReplica, Server, Value, each_server};

/// Brings the key `k` to a size and returns the command to measure.
type Row = (&'static str, [usize; 2], fn(&mut Connection, usize) -> String);

/// Offsets of `SETRANGE`, counts and the like have more digits in a larger key.
const DIGITS: usize = 32;

const ROWS: &[Row] = &[
    ("SEMRENEW of one of n owners", [10, 5000], |connection, n| {
        pipeline(connection, n, |owner| format!("ATOMIC.SEMACQUIRE k 10000 owner{owner} 600000"));
        "ATOMIC.SEMRENEW k owner7 700000".to_owned()
    }),
    ("SEMRENEW of n permits", [10, 10_000], |connection, n| {
        connection.run(&format!("ATOMIC.SEMACQUIRE k 10000 owner 600000 PERMITS {n}"));
        "ATOMIC.SEMRENEW k owner 700000".to_owned()
    }),
    ("SEMRELEASE of one of n permits", [10, 10_000], |connection, n| {
        connection.run(&format!("ATOMIC.SEMACQUIRE k 10000 owner 600000 PERMITS {n}"));
        "ATOMIC.SEMRELEASE k owner".to_owned()
    }),
    ("LOCKRENEW of one of n readers", [32, 1024], |connection, n| {
        pipeline(connection, n, |owner| format!("ATOMIC.LOCK k {owner:0254} 600000 SHARED"));
        format!("ATOMIC.LOCKRENEW k {:0254} 700000", 7)
    }),
    ("UNLOCK of one of n readers", [32, 1024], |connection, n| {
        pipeline(connection, n, |owner| format!("ATOMIC.LOCK k {owner:0254} 600000 SHARED"));
        format!("ATOMIC.UNLOCK k {:0254}", 7)
    }),
    ("a hit in a log of n hits", [100, 10_000], |connection, n| {
        pipeline(connection, n - 1, |_| "ATOMIC.RATELIMIT k LOG 10000 3600000".to_owned());
        "ATOMIC.RATELIMIT k LOG 10000 3600000".to_owned()
    }),
    ("ZPOPDUE of one of n members", [10, 10_000], |connection, n| {
        pipeline(connection, n, |member| format!("ZADD k 1 member{member:05}"));
        "ATOMIC.ZPOPDUE k".to_owned()
    }),
    ("PUSH to n elements", [10, 10_000], |connection, n| {
        pipeline(connection, n, |_| "RPUSH k x".to_owned());
        format!("ATOMIC.PUSH k RIGHT {n} VALUES y")
    }),
];

fn pipeline(connection: &mut Connection, count: usize, line: impl Fn(usize) -> String) {
    let words: Vec<Vec<u8>> = (0..count).map(|index| line(index).into_bytes()).collect();
    for chunk in words.chunks(500) {
        for line in chunk {
            connection.send(&line.split(|byte| *byte == b' ').collect::<Vec<_>>()).unwrap();
        }
        for _ in chunk {
            let reply = connection.read().unwrap();
            assert!(!matches!(reply, Value::Error(_)), "{reply}");
        }
    }
}

fn replicated(server: &Server, (what, _, prepare): &Row, size: usize) -> usize {
    server.run("FLUSHALL");
    let mut connection = server.connect();
    let command = prepare(&mut connection, size);
    let mut replica = FakeReplica::attach(server);
    let reply = connection.run(&command);
    assert!(!matches!(reply, Value::Error(_)), "{what}: {reply}");
    let bytes = replica.words_as_sent().iter().flatten().map(Vec::len).sum();
    assert!(bytes > 0, "{what}: {command} changed nothing: {reply}");
    bytes
}

#[test]
fn a_command_replicates_what_it_changed() {
    each_server(|server| {
        for row in ROWS {
            let [small, large] = row.1.map(|size| replicated(server, row, size));
            assert!(large <= small + DIGITS, "{}: {small} bytes, and {large} in the large key", row.0);
        }
    });
}
