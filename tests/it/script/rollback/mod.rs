//! All or nothing: an error undoes every write of a run that asks for it.

mod causes; // each way in which a run can fail
mod commands; // each kind of key and each command that reaches beyond one key
mod model; // random programs that are stopped anywhere
mod places; // transactions, drop-in mode, libraries, files, limits of the server
mod streams; // what replicas, the AOF, WATCH and subscribers see
mod waiting; // clients that wait for a lock, and bindings

use std::collections::BTreeMap;

use super::eval;
use crate::support::{Connection, Server, Value};

/// A script that is all or nothing.
fn whole(body: &str) -> String {
    format!("#!lua flags=rollback\n{body}")
}

/// The type of a key, the end of its TTL, and the ends of the TTLs of its fields.
type KeyState = (Value, Value, Vec<Value>);

/// The data: for each database the digest, and for each key its type and the end of its TTL.
#[derive(Debug, PartialEq)]
struct Data {
    digest: Value,
    keys: BTreeMap<(usize, Vec<u8>), KeyState>,
}

/// The databases that tests use.
const DATABASES: usize = 3;

/// The data of a server, with what the digest leaves out.
#[track_caller]
fn data(server: &Server) -> Data {
    let mut connection = server.connect();
    let mut keys = BTreeMap::new();
    for database in 0..DATABASES {
        assert_eq!(connection.run(&format!("SELECT {database}")), Value::ok());
        for key in connection.run("KEYS *").array() {
            let key = key.bytes().to_vec();
            let of = |connection: &mut Connection, words: &[&[u8]]| {
                let (name, rest) = words.split_first().unwrap();
                connection.call(&[&[*name, &key], rest].concat())
            };
            let kind = of(&mut connection, &[b"TYPE"]);
            let expiry = of(&mut connection, &[b"PEXPIRETIME"]);
            let more = match kind.text().as_str() {
                "stream" => vec![group_state(&mut connection, &key)],
                "hash" => vec![field_expiries(&mut connection, &key)],
                _ => Vec::new(),
            };
            keys.insert((database, key), (kind, expiry, more));
        }
    }
    Data { digest: server.run("DEBUG DIGEST"), keys }
}

/// The groups of a stream, their pending entries, and what the stream remembers of deleted ones.
fn group_state(connection: &mut Connection, key: &[u8]) -> Value {
    let call = |connection: &mut Connection, words: &[&[u8]]| connection.call(words);
    let groups = call(connection, &[b"XINFO", b"GROUPS", key]);
    let pending: Vec<Value> = groups
        .array()
        .iter()
        .map(|group| {
            let name = group.field("name").unwrap();
            call(connection, &[b"XPENDING", key, name.bytes()])
        })
        .collect();
    let stream = call(connection, &[b"XINFO", b"STREAM", key]);
    let facts = ["length", "last-generated-id", "max-deleted-entry-id", "entries-added"];
    let facts = facts.iter().map(|name| stream.field(name).unwrap_or(Value::Null));
    Value::Array(pending.into_iter().chain([groups.clone()]).chain(facts).collect())
}

/// The ends of the fields of a hash, where the server has such.
fn field_expiries(connection: &mut Connection, key: &[u8]) -> Value {
    let fields = connection.call(&[b"HKEYS".as_slice(), key]);
    let mut fields: Vec<Vec<u8>> = fields.array().iter().map(|field| field.bytes().to_vec()).collect();
    fields.sort();
    let count = fields.len().to_string().into_bytes();
    let words = [vec![b"HPEXPIRETIME".to_vec(), key.to_vec(), b"FIELDS".to_vec(), count], fields].concat();
    match connection.call(&words) {
        Value::Error(text) if text.starts_with("ERR unknown command") => Value::Null,
        reply => reply,
    }
}

/// Runs a script that fails, and asserts its error and that nothing changed.
#[track_caller]
fn expect_undone(server: &Server, body: &str, rest: &str, error: &str) {
    let before = data(server);
    let reply = server.call(&eval(whole(body), rest));
    assert!(matches!(&reply, Value::Error(text) if text.contains(error)), "{body}: {reply}, expected {error}");
    assert_eq!(data(server), before, "{body}");
}
