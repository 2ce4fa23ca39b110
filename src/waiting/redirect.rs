//! Redirection of waiters whose slot has left this node.
//!
//! The server redirects clients that block on its own lists and streams, but not those that a module blocks. So in a cluster a visit first
//! checks that this node serves the key. If it does not, the waiters are redirected to the node that does, at its address in CLUSTER
//! NODES, or told that the cluster is down.

use crate::error::Error;
use crate::server::module_api::{Ctx, Str};

/// The redirection for a key that another node serves, as an error reply; `None` if this node serves it.
pub fn elsewhere(ctx: Ctx, key: Str<'_>) -> Option<Error> {
    if ctx.is_local(key) {
        return None;
    }
    let redirected = ctx.slot_of(key).zip(ctx.cluster_nodes()).and_then(|(slot, nodes)| redirection(&nodes, slot));
    Some(redirected.map_or(Error::Text("CLUSTERDOWN The cluster is down"), |text| Error::Script(text.into_bytes())))
}

/// Whether the key's slot belongs to this node. A node that imports the slot serves its keys under ASKING only.
pub fn owns_slot(ctx: Ctx, key: Str<'_>) -> bool {
    let owns = |(slot, nodes): (u16, String)| nodes.lines().filter_map(Node::parse).any(|node| node.is_myself && node.has(slot));
    ctx.slot_of(key).zip(ctx.cluster_nodes()).is_some_and(owns)
}

/// One line of `CLUSTER NODES`.
struct Node<'a> {
    id: &'a str,
    address: &'a str,
    is_myself: bool,
    slots: Vec<&'a str>,
}

impl<'a> Node<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(' ');
        let id = fields.next()?;
        // host:port@bus-port[,hostname]
        let address = fields.next()?.split('@').next()?;
        let is_myself = fields.next()?.split(',').any(|flag| flag == "myself");
        // The primary's id, ping, pong, epoch and link state come before the slots.
        Some(Self { id, address, is_myself, slots: fields.skip(5).collect() })
    }

    fn has(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
        })
    }

    /// The node to which this node migrates a slot: `[93->-id]`.
    fn migrates(&self, slot: u16) -> Option<&'a str> {
        let prefix = format!("[{slot}->-");
        self.slots.iter().find_map(|text| text.strip_prefix(prefix.as_str())?.strip_suffix(']'))
    }
}

/// `MOVED slot address`, or `ASK slot address` while this node migrates the slot.
fn redirection(nodes: &str, slot: u16) -> Option<String> {
    let nodes: Vec<_> = nodes.lines().filter_map(Node::parse).collect();
    let owner = nodes.iter().find(|node| node.has(slot))?;
    if !owner.is_myself {
        return Some(format!("MOVED {slot} {}", owner.address));
    }
    let target = owner.migrates(slot)?;
    let target = nodes.iter().find(|node| node.id == target)?;
    Some(format!("ASK {slot} {}", target.address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
07c3 127.0.0.1:30004@31004,host slave e7d1 0 1426238317239 4 connected
67ed 127.0.0.1:30002@31002,host master - 0 1426238316232 2 connected 5461-10922
e7d1 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5459 5460 [93->-67ed] [94-<-67ed]
";

    #[test]
    fn a_slot_that_has_left_is_moved_and_one_that_leaves_is_asked() {
        assert_eq!(redirection(NODES, 10922).as_deref(), Some("MOVED 10922 127.0.0.1:30002"));
        assert_eq!(redirection(NODES, 93).as_deref(), Some("ASK 93 127.0.0.1:30002"));
        assert_eq!(redirection(NODES, 5460), None);
        assert_eq!(redirection(NODES, 10923), None);
        assert_eq!(redirection("", 1), None);
    }
}
