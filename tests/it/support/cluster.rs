//! A cluster of real servers on this machine, built with the servers' own commands.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Binary, Server, Setup, Value, eventually};

/// The number of slots.
const SLOTS: usize = 16_384;

/// Primaries with an even share of the slots, each with the module loaded.
pub struct Cluster {
    /// In the order of their slots.
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// Starts `primaries` nodes. Returns when each knows all of them and serves its slots.
    #[track_caller]
    pub fn start(binary: &Binary, primaries: usize) -> Self {
        Self::start_with(binary, primaries, Setup::with_module())
    }

    /// [`Cluster::start`] with this configuration for each node.
    #[track_caller]
    pub fn start_with(binary: &Binary, primaries: usize, setup: Setup) -> Self {
        Self::of((0..primaries).map(|_| start_node_with(binary, setup.clone())).collect())
    }

    /// Starts a node with each of these configurations, which may lack the module.
    #[track_caller]
    pub fn start_each(binary: &Binary, setups: &[Setup]) -> Self {
        Self::of(setups.iter().map(|setup| start_node_with(binary, setup.clone())).collect())
    }

    #[track_caller]
    fn of(nodes: Vec<Server>) -> Self {
        let primaries = nodes.len();
        let cluster = Self { nodes };
        for (position, node) in cluster.nodes.iter().enumerate() {
            let [first, next] = [position, position + 1].map(|part| part * SLOTS / primaries);
            assert_eq!(node.run(&format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1)), Value::ok());
            // Otherwise nodes that meet can have the same epoch, and need time to correct it.
            assert_eq!(node.run(&format!("CLUSTER SET-CONFIG-EPOCH {}", position + 1)), Value::ok());
            cluster.join(node);
        }
        cluster.await_members(&cluster.nodes.iter().collect::<Vec<_>>());
        cluster
    }

    /// Adds a node without slots. Returns when all nodes know it.
    #[track_caller]
    pub fn add(&mut self, setup: Setup) {
        let node = start_node_with(&self.nodes[0].binary, setup);
        self.join(&node);
        self.nodes.push(node);
        self.await_members(&self.nodes.iter().collect::<Vec<_>>());
    }

    /// Starts a replica of a node. Returns when it is in sync and all nodes know it.
    #[track_caller]
    pub fn replica_of(&self, primary: &Server) -> Server {
        let replica = start_node(&primary.binary);
        self.join(&replica);
        self.await_members(&self.nodes.iter().chain([&replica]).collect::<Vec<_>>());
        assert_eq!(replica.run(&format!("CLUSTER REPLICATE {}", id(primary))), Value::ok());
        eventually("the replica's link is up", || (replica.info("master_link_status") == "up").then_some(()));
        let known = format!("slave {}", id(primary));
        for node in &self.nodes {
            eventually("the replica is known as one", || node.run("CLUSTER NODES").text().contains(&known).then_some(()));
        }
        replica
    }

    /// Migrates a slot with its keys in the classic way: key by key. Returns when all nodes know its new node.
    #[track_caller]
    pub fn migrate(&self, slot: i64, from: &Server, to: &Server) {
        begin_migration(slot, from, to);
        while let [key, ..] = from.run(&format!("CLUSTER GETKEYSINSLOT {slot} 10")).array() {
            move_key(&key.text(), from, to);
        }
        self.end_migration(slot, to);
        self.await_owner(slot, to);
    }

    /// Waits until all nodes have heard that a slot belongs to a node, and of the epoch in which it does: a migration that begins before can
    /// be undone by older news.
    #[track_caller]
    pub fn await_owner(&self, slot: i64, owner: &Server) {
        let epoch = |node: &Server| {
            let info = node.run("CLUSTER INFO").text();
            info.lines().find(|line| line.starts_with("cluster_current_epoch:")).map(str::to_owned)
        };
        let owns = |node: &Server| {
            let slots = node.run("CLUSTER SLOTS");
            slots.array().iter().any(|range| {
                let range = range.array();
                (range[0].integer()..=range[1].integer()).contains(&slot) && range[2].array()[2].text() == id(owner)
            })
        };
        eventually("all nodes know the new node of the slot", || {
            let agreed = self.nodes.iter().all(|node| owns(node) && epoch(node) == epoch(owner));
            agreed.then_some(())
        });
    }

    /// Assigns a slot to its new node after its keys have moved.
    #[track_caller]
    pub fn end_migration(&self, slot: i64, to: &Server) {
        let node = format!("CLUSTER SETSLOT {slot} NODE {}", id(to));
        assert_eq!(to.run(&node), Value::ok());
        for other in self.nodes.iter().filter(|other| other.port() != to.port()) {
            assert_eq!(other.run(&node), Value::ok());
        }
    }

    fn join(&self, node: &Server) {
        let [port, bus] = ["port", "cluster-port"].map(|name| setting(&self.nodes[0], name));
        if node.port() != self.nodes[0].port() {
            assert_eq!(node.run(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}")), Value::ok());
        }
    }

    #[track_caller]
    fn await_members(&self, members: &[&Server]) {
        let count = members.len().to_string();
        for node in members {
            eventually("the cluster is up", || {
                let info = node.run("CLUSTER INFO").text();
                let has = |name: &str, value: &str| info.lines().any(|line| line.trim() == format!("{name}:{value}"));
                let nodes = node.run("CLUSTER NODES").text();
                // A node without a link to another node cannot send its vote in a failover.
                let linked = !nodes.contains("handshake") && !nodes.contains("disconnected");
                let settled = linked && nodes.lines().count() == members.len();
                (settled && has("cluster_state", "ok") && has("cluster_known_nodes", &count)).then_some(())
            });
        }
    }
}

/// The id of a node.
#[track_caller]
pub fn id(node: &Server) -> String {
    node.run("CLUSTER MYID").text()
}

/// The slot of a key.
#[track_caller]
pub fn slot(node: &Server, key: &str) -> i64 {
    node.call(&["CLUSTER", "KEYSLOT", key]).integer()
}

/// A key in one of the node's slots.
#[track_caller]
pub fn key_of(node: &Server) -> String {
    let is_here = |key: &String| matches!(node.run(&format!("EXISTS {key}")), Value::Integer(_));
    (0..1000).map(|number| format!("k{number}")).find(is_here).expect("a node with slots")
}

/// A redirection: `MOVED 7 127.0.0.1:6379`, or ASK.
pub fn redirection(word: &str, slot: i64, to: &Server) -> Value {
    Value::Error(format!("{word} {slot} 127.0.0.1:{}", to.port()))
}

/// Begins the migration of a slot on both nodes.
#[track_caller]
pub fn begin_migration(slot: i64, from: &Server, to: &Server) {
    assert_eq!(to.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from))), Value::ok());
    assert_eq!(from.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to))), Value::ok());
}

/// Moves one key of a slot that migrates, unless a client has deleted it meanwhile.
#[track_caller]
pub fn move_key(key: &str, from: &Server, to: &Server) {
    let reply = from.call(&["MIGRATE", "127.0.0.1", &to.port().to_string(), key, "0", "5000"]);
    assert!(reply == Value::ok() || reply == Value::Status("NOKEY".to_owned()), "{reply}");
}

/// A node that knows no other node and serves no slot.
pub fn start_node(binary: &Binary) -> Server {
    start_node_with(binary, Setup::with_module())
}

fn start_node_with(binary: &Binary, setup: Setup) -> Server {
    let setup = setup
        .config("cluster-enabled yes")
        .config(&format!("cluster-port {}", free_bus_port()))
        .config("cluster-node-timeout 5000")
        .config("cluster-allow-replica-migration no");
    Server::start(binary, &setup)
}

/// A free port below the system's ephemeral ports, so that no other test takes it before the server does.
fn free_bus_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).unwrap();
    let candidate = || 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed) % 1000) % 12_000;
    eventually("a free port for the cluster's bus", || {
        let port = candidate();
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    })
}

/// A setting of a node.
pub fn setting(node: &Server, name: &str) -> String {
    node.run(&format!("CONFIG GET {name}")).field(name).unwrap().text()
}
