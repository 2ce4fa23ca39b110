//! ATOMIC.EVAL beside the server's own EVAL: the same script on the same data of the same server gives the same reply.

mod rows;

use std::collections::BTreeMap;

use super::in_common_words;
use crate::support::{Connection, Server, Value, argv, each_server};

/// What each script finds. One slot, for clusters.
const DATA: &[&str] = &["SET s text", "SET n 10", "RPUSH l a b c", "HSET h f v", "SADD set only", "ZADD z 1.5 a 2 b"];

const ARGUMENTS: &[&str] = &["2", "{k}a", "{k}b", "one", "2", ""];

fn answer(connection: &mut Connection, command: &str, arguments: &[Vec<u8>]) -> Value {
    connection.run("FLUSHDB");
    for line in DATA {
        connection.run(line);
    }
    in_common_words(&connection.call(&[&[command.as_bytes().to_vec()][..], arguments].concat()))
}

/// Both answers to each call, in both protocols; those that are not the same.
fn differing(server: &Server, calls: &[Vec<Vec<u8>>]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (protocol, mut connection) in [("RESP2", server.connect()), ("RESP3", server.connect().resp3())] {
        for call in calls {
            let theirs = answer(&mut connection, "EVAL", call);
            let ours = answer(&mut connection, "ATOMIC.EVAL", call);
            if theirs != ours {
                let name = call.iter().take(1).map(|script| String::from_utf8_lossy(script).into_owned()).collect::<String>();
                found.insert(format!("{name} {protocol}"), format!("{theirs:?} / {ours:?}"));
            }
        }
    }
    found
}

#[test]
fn explore() {
    each_server(|server| {
        let mut calls: Vec<_> = rows::SCRIPTS
            .iter()
            .map(|script| {
                [&[script.as_bytes().to_vec()][..], &ARGUMENTS.iter().map(|a| a.as_bytes().to_vec()).collect::<Vec<_>>()].concat()
            })
            .collect();
        calls.extend(rows::CALLS.iter().map(|line| argv(line)));
        for (k, v) in differing(server, &calls) {
            println!("@@ {} | {k:?} | {v}", server.binary.name);
        }
    });
}
