//! BIND: a hold lasts as long as its connection. `bind` is about which hold ends with which connection; here are the lease that the server
//! renews meanwhile, how the owner loses it, and what is left when the process, the primary or the slot goes.

mod left; // the process, the role, the slot or the module ends
mod lost; // the hold goes while its connection lives
mod many; // thousands of bound holds
mod renewed; // renewals, and the requests that change a bound lease

use crate::commands::deadline;
use crate::support::{Connection, Server, Value, eventually};

/// Runs a request with BIND on a new connection.
#[track_caller]
fn bound(server: &Server, request: &str) -> Connection {
    let mut connection = server.connect();
    super::Grant::read(&connection.run(request));
    connection
}

#[track_caller]
fn figure(server: &Server, name: &str) -> i64 {
    server.info(&format!("atomic_locks_{name}")).parse().unwrap()
}

#[track_caller]
fn await_figure(server: &Server, name: &str, value: i64) {
    eventually(&format!("{name} is {value}"), || (figure(server, name) == value).then_some(()));
}

/// Waits until a lease ends later than `before`. Returns its end.
#[track_caller]
fn await_renewal(server: &Server, key: &str, before: i64) -> i64 {
    eventually(&format!("{key} is renewed"), || Some(deadline(server, key)).filter(|end| *end > before))
}

#[track_caller]
fn await_free(server: &Server, key: &str) {
    eventually(&format!("{key} is free"), || (server.call(&["EXISTS", key]) == Value::Integer(0)).then_some(()));
}
