//! Scripts and libraries in a cluster: ATOMIC.EVALSHA finds its script on any primary.

mod changed; // what changes while a call waits for its script
mod found; // scripts of other nodes, of nodes that join, after a reshard and a failover
mod hostile; // any bytes as messages, and messages that nobody expects
mod libraries; // function libraries: on all primaries, on a node that joins, after a migration
mod missed; // scripts that no node has, nodes that do not answer, calls that may not wait
mod unload; // the module of one node is unloaded while others send messages

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use redis_atomic::lua::Digest;
use sha1::Digest as _;

use crate::support::bus::Bus;
use crate::support::cluster::{Cluster, id};
use crate::support::{Binary, Server, Setup, Value, each_installed, eventually};

const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use ATOMIC.EVAL.";

/// The module's type of messages.
const TYPE: u8 = 167;

fn sha1(script: &str) -> String {
    String::from_utf8(Digest::of(script.as_bytes()).hex().to_vec()).unwrap()
}

/// Runs `body` on a cluster of this many primaries, on each server.
fn each_cluster(primaries: usize, body: impl Fn(&Cluster)) {
    each_installed(|binary| body(&Cluster::start(binary, primaries)));
}

#[track_caller]
fn load(node: &Server, script: &str) {
    assert_eq!(node.call(&["ATOMIC.SCRIPT", "LOAD", script]), Value::bulk(sha1(script)));
}

fn evalsha(node: &Server, script: &str) -> Value {
    node.call(&["ATOMIC.EVALSHA", &sha1(script), "0"])
}

fn noscript() -> Value {
    Value::Error(NOSCRIPT.to_owned())
}

/// The reply of a call whose script another node has. On a busy machine the script may come too late: a new load makes all nodes forget
/// that they did not find it.
#[track_caller]
fn pulled(from: &Server, script: &str, mut call: impl FnMut() -> Value) -> Value {
    eventually("the script comes in time", || {
        let reply = call();
        if reply != noscript() {
            return Some(reply);
        }
        load(from, script);
        None
    })
}

/// A figure of INFO's section about pulls.
#[track_caller]
fn figure(node: &Server, name: &str) -> u64 {
    node.info(&format!("atomic_pulls_{name}")).parse().unwrap()
}

/// Whether a script is stored, or only cached.
#[track_caller]
fn is_stored(node: &Server, script: &str) -> bool {
    let list = node.run("ATOMIC.SCRIPT LIST");
    let entry = list.array().iter().find(|entry| entry.field("sha1").unwrap().text() == sha1(script));
    let stored = entry.expect("a script that is known").field("stored").unwrap().integer() == 1;
    let library = node.run(&format!("FUNCTION LIST LIBRARYNAME atomic_{}", sha1(script)));
    assert_eq!(stored, library.array().len() == 1);
    stored
}

/// A message as `docs/adr/011-scripts-in-a-cluster.md` describes it.
fn message(kind: u8, script: &str, source: &str) -> Vec<u8> {
    let mut bytes = [&b"ATOMICsc\x01"[..], &[kind], &Digest::of(script.as_bytes()).bytes()].concat();
    let check: [u8; 20] = sha1::Sha1::digest(&bytes).into();
    bytes.extend_from_slice(&check[..4]);
    bytes.extend_from_slice(source.as_bytes());
    bytes
}

/// Stops or continues the process of a node.
fn signal(node: &Server, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &node.pid().to_string()]).status().unwrap().success());
}

/// Stops a node for the rest of the test, without the others noticing, and returns a connection to `node` on which the test speaks for it.
/// A node that runs would open its own connection again, and the server keeps only the last one.
#[track_caller]
fn play(node: &Server, others: &[&Server], stopped: &Server) -> Bus {
    for node in others.iter().chain([&node]) {
        assert_eq!(node.run("CONFIG SET cluster-node-timeout 1000000"), Value::ok());
    }
    let bus = Bus::open(node, stopped);
    signal(stopped, "STOP");
    bus
}

/// A node with the module, and another one for which the test answers.
struct Played {
    cluster: Cluster,
    bus: Bus,
    /// The id of the other node.
    other: String,
    /// A replica of the node.
    replica: Option<Server>,
}

impl Played {
    #[track_caller]
    fn start(binary: &Binary) -> Self {
        Self::of(Cluster::start(binary, 2), false)
    }

    #[track_caller]
    fn with_replica(binary: &Binary) -> Self {
        Self::of(Cluster::start(binary, 2), true)
    }

    #[track_caller]
    fn of(cluster: Cluster, has_replica: bool) -> Self {
        let replica = has_replica.then(|| cluster.replica_of(&cluster.nodes[0]));
        let other = id(&cluster.nodes[1]);
        let bus = play(&cluster.nodes[0], &replica.iter().collect::<Vec<_>>(), &cluster.nodes[1]);
        Self { cluster, bus, other, replica }
    }

    /// The node with the module.
    fn node(&self) -> &Server {
        &self.cluster.nodes[0]
    }

    #[track_caller]
    fn say(&mut self, kind: u8, script: &str, source: &str) {
        self.bus.send(0, TYPE, &message(kind, script, source));
    }

    /// Calls a script while the node does not know it, changes something while the call waits, and then lets the script come. Returns the
    /// script and the reply. A busy machine may be too late for the call; then it is tried again, with another script.
    #[track_caller]
    fn call(&mut self, head: &str, body: &str, rest: &[&str], user: &str, change: impl Fn(&Server)) -> (String, Value) {
        static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
        for _ in 0..100 {
            let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
            let script = format!("{head}\nlocal attempt = {attempt}\n{body}");
            // From a node that has just been heard of an answer is awaited.
            self.say(b'N', &script, "");
            let mut client = self.node().connect();
            assert_eq!(client.run(&format!("AUTH {user} x")), Value::ok());
            let found = figure(self.node(), "found");
            client.send(&[&["ATOMIC.EVALSHA", &sha1(&script)], rest].concat()).unwrap();
            let waits = || figure(self.node(), "waiting_clients") == 1;
            if (0..20).any(|_| waits()) {
                change(self.node());
                self.say(b'H', &script, "");
                self.say(b'S', &script, &script);
            }
            let reply = client.read().unwrap();
            if figure(self.node(), "found") > found {
                return (script, reply);
            }
        }
        panic!("the script never came in time");
    }
}
