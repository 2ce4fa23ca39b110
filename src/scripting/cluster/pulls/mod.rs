//! The pulls of this node as data: which nodes were asked for a script, what they answered, and which clients wait.
//!
//! A pull asks every other primary for the script. A node that has it sends it at once if it is short ([`SHORT`]). Otherwise it only says
//! so, and the pull fetches the script from the first such node. A pull ends when the script has come, when all nodes lack it, or after
//! [`LIMIT`]. Nothing here calls the server: `send` passes a message to a node, and is false if there is
//! no connection to it.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::message::{Body, Message};
use crate::lua::Digest;
use crate::server::cluster::NodeId;

/// The longest time that a client waits.
pub const LIMIT: Duration = Duration::from_millis(200);

/// How long a script that no node had counts as unknown without asking again.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The longest source with which a node answers a question. A question reaches all nodes, and a message has 2 KiB anyway.
pub const SHORT: usize = 4 << 10;

/// The most bytes, with the heads of the messages, of short scripts that are sent to a node in a time of [`LIMIT`]. One fetched script may
/// be on its way, too. The connection carries heartbeats.
const WINDOW: usize = 256 << 10;

/// The head that the server gives to a message.
const HEAD: usize = 2300;

const MAX_MISSES: usize = 1024;
const MAX_DENIALS: usize = 1024;
const MAX_CLIENTS: usize = 1000;
const PER_SECOND: u32 = 100;

pub type Send<'a> = &'a mut dyn FnMut(NodeId, &Message) -> bool;

/// A client that waits; the handle resumes it.
pub struct Client<H> {
    pub id: u64,
    /// It sent a read-only command, so it may not store the script.
    pub read_only: bool,
    pub handle: H,
}

/// A pull that has ended.
pub struct Ended<H> {
    /// The script; `None` if it was not found.
    pub source: Option<Vec<u8>>,
    pub clients: Vec<Client<H>>,
}

/// What a client that needs a script can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Wait for a pull that is under way.
    Join,
    /// Wait for a new pull.
    Begin,
    /// Not wait: nobody had the script a short time ago, or too many clients wait.
    Refused,
}

/// The figures of INFO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pulls of this node.
    pub asked: u64,
    pub found: u64,
    pub missed: u64,
    /// Scripts that this node sent to others.
    pub answered: u64,
    /// Calls that a limit kept from pulling.
    pub limited: u64,
    /// Messages that were malformed or too many.
    pub dropped: u64,
}

impl Counts {
    pub fn add_to(count: &mut u64) {
        *count = count.saturating_add(1);
    }
}

struct Pull<H> {
    digest: Digest,
    deadline: Instant,
    /// The nodes that were asked.
    asked: Vec<NodeId>,
    /// Those of them whose answer is worth waiting for.
    awaited: Vec<NodeId>,
    /// The nodes that have the script, and from which it was not fetched yet.
    holders: Vec<NodeId>,
    fetching: Option<NodeId>,
    clients: Vec<Client<H>>,
}

impl<H> Pull<H> {
    fn is_hopeless(&self) -> bool {
        self.awaited.is_empty() && self.holders.is_empty() && self.fetching.is_none()
    }
}

/// What this node knows of another one.
#[derive(Default)]
struct Peer {
    /// It did not answer the last pull: it lacks the module, or does not respond. It is asked, but not awaited.
    is_silent: bool,
    /// The script that is fetched from it. One at a time.
    fetching: Option<Digest>,
    /// The scripts that this node sent to it less than [`LIMIT`] ago, without fetched ones that it has acknowledged.
    sending: Vec<Sent>,
}

struct Sent {
    digest: Digest,
    bytes: usize,
    at: Instant,
    /// It was fetched, and not sent as the answer to a question.
    is_fetched: bool,
}

/// At most [`PER_SECOND`] pulls.
#[derive(Default)]
struct Budget {
    window: Option<Instant>,
    used: u32,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let is_open = |since: Instant| now.duration_since(since) < Duration::from_secs(1);
        if !self.window.is_some_and(is_open) {
            *self = Self { window: Some(now), used: 0 };
        }
        let has_left = self.used < PER_SECOND;
        self.used = self.used.saturating_add(u32::from(has_left));
        has_left
    }
}

pub struct Pulls<H> {
    /// In the order of their deadlines.
    pulls: Vec<Pull<H>>,
    peers: HashMap<NodeId, Peer>,
    /// Scripts that no node had, in the order of the times at which that was found out.
    misses: VecDeque<(Digest, Instant)>,
    /// The nodes that asked for a script that this node lacked, in the order of those times.
    denials: VecDeque<(Digest, NodeId, Instant)>,
    budget: Budget,
    pub counts: Counts,
}

impl<H> Pulls<H> {
    #[must_use]
    pub fn new() -> Self {
        Self {
            pulls: Vec::new(),
            peers: HashMap::new(),
            misses: VecDeque::new(),
            denials: VecDeque::new(),
            budget: Budget::default(),
            counts: Counts::default(),
        }
    }

    /// The number of clients that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pulls.iter().map(|pull| pull.clients.len()).sum()
    }

    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.pulls.first().map(|pull| pull.deadline)
    }

    pub fn admit(&mut self, digest: Digest, now: Instant) -> Admission {
        if self.misses.iter().any(|&(missed, at)| missed == digest && now.duration_since(at) < REMEMBERED) {
            return Admission::Refused;
        }
        if self.waiting() >= MAX_CLIENTS {
            Counts::add_to(&mut self.counts.limited);
            return Admission::Refused;
        }
        if self.position(digest).is_some() { Admission::Join } else { Admission::Begin }
    }

    /// Asks the other primaries for a script. Whether an answer is worth waiting for.
    pub fn begin(&mut self, digest: Digest, nodes: &[NodeId], now: Instant, send: Send<'_>) -> bool {
        if !self.budget.take(now) {
            Counts::add_to(&mut self.counts.limited);
            return false;
        }
        Counts::add_to(&mut self.counts.asked);
        self.peers.retain(|node, _| nodes.contains(node));
        let ask = Message { digest, body: Body::Ask };
        let reached: Vec<NodeId> = nodes.iter().copied().filter(|node| send(*node, &ask)).collect();
        let awaited: Vec<NodeId> = reached.iter().copied().filter(|node| !self.peer(*node).is_silent).collect();
        if awaited.is_empty() {
            Counts::add_to(&mut self.counts.missed);
            self.remember(digest, now);
            return false;
        }
        let deadline = now.checked_add(LIMIT).unwrap_or(now);
        let (holders, clients) = (Vec::new(), Vec::new());
        self.pulls.push(Pull { digest, deadline, asked: reached, awaited, holders, fetching: None, clients });
        true
    }

    /// Lets a client wait for a pull. The client is returned if there is no such pull.
    pub fn join(&mut self, digest: Digest, client: Client<H>) -> Option<Client<H>> {
        match self.pulls.iter_mut().find(|pull| pull.digest == digest) {
            Some(pull) => {
                pull.clients.push(client);
                None
            }
            None => Some(client),
        }
    }

    /// Removes a client.
    pub fn leave(&mut self, id: u64) -> Option<Client<H>> {
        self.pulls.iter_mut().find_map(|pull| {
            let position = pull.clients.iter().position(|client| client.id == id)?;
            Some(pull.clients.swap_remove(position))
        })
    }

    /// Notes that a node asked for a script that this node lacks.
    pub fn denied(&mut self, digest: Digest, to: NodeId, now: Instant) {
        if self.denials.len() >= MAX_DENIALS {
            self.denials.pop_front();
        }
        self.denials.push_back((digest, to, now));
    }

    /// The nodes that may remember that this node lacked a script.
    pub fn take_denied(&mut self, digest: Digest, now: Instant) -> Vec<NodeId> {
        self.denials.retain(|(.., at)| now.duration_since(*at) < REMEMBERED);
        let mut nodes: Vec<NodeId> = Vec::new();
        for (_, node, _) in self.denials.iter().filter(|(denied, ..)| *denied == digest) {
            if !nodes.contains(node) {
                nodes.push(*node);
            }
        }
        self.denials.retain(|(denied, ..)| *denied != digest);
        nodes
    }

    /// Notes that somebody has a script.
    pub fn forget_miss(&mut self, digest: Digest) {
        self.misses.retain(|(missed, _)| *missed != digest);
    }

    /// Notes a message of a node: it has the module.
    pub fn heard_of(&mut self, from: NodeId) {
        self.peer(from).is_silent = false;
    }

    /// Whether a script of this length may be sent to a node that asked for it or fetches it. If so, it counts as sent.
    pub fn may_send(&mut self, to: NodeId, digest: Digest, length: usize, is_fetched: bool, now: Instant) -> bool {
        let sending = &mut self.peer(to).sending;
        sending.retain(|sent| now.duration_since(sent.at) < LIMIT);
        let bytes = length.saturating_add(HEAD);
        let all = sending.iter().fold(bytes, |sum, sent| sum.saturating_add(sent.bytes));
        let has_room = if is_fetched { !sending.iter().any(|sent| sent.is_fetched) } else { length <= SHORT && all <= WINDOW };
        if has_room {
            sending.push(Sent { digest, bytes, at: now, is_fetched });
        }
        has_room
    }

    /// Handles what a node said about a script. Returns the pull if that ended it.
    pub fn heard(&mut self, from: NodeId, message: Message, now: Instant, send: Send<'_>) -> Option<Ended<H>> {
        let Message { digest, body } = message;
        match body {
            Body::Have => self.has(from, digest, send),
            Body::Lack => self.lacks(from, digest, now, send),
            Body::Source(source) => self.came(from, digest, source, send),
            Body::Got => {
                self.peer(from).sending.retain(|sent| sent.digest != digest);
                None
            }
            Body::Loaded => {
                self.forget_miss(digest);
                None
            }
            Body::Ask | Body::Fetch => None,
        }
    }

    fn has(&mut self, from: NodeId, digest: Digest, send: Send<'_>) -> Option<Ended<H>> {
        let Some(position) = self.position(digest) else {
            // It came too late, and a call that comes now need not be refused.
            self.forget_miss(digest);
            return None;
        };
        if let Some(pull) = self.pulls.get_mut(position) {
            let awaited = pull.awaited.len();
            pull.awaited.retain(|node| *node != from);
            // Each node answers once. A silent one is not awaited.
            if awaited > pull.awaited.len() || !pull.holders.contains(&from) {
                pull.holders.push(from);
            }
        }
        self.fetch_all(send);
        None
    }

    fn lacks(&mut self, from: NodeId, digest: Digest, now: Instant, send: Send<'_>) -> Option<Ended<H>> {
        if self.peer(from).fetching == Some(digest) {
            self.peer(from).fetching = None;
        }
        if let Some(pull) = self.pulls.iter_mut().find(|pull| pull.digest == digest) {
            pull.awaited.retain(|node| *node != from);
            pull.holders.retain(|node| *node != from);
            pull.fetching = pull.fetching.filter(|node| *node != from);
        }
        self.fetch_all(send);
        let position = self.position(digest)?;
        if !self.pulls.get(position)?.is_hopeless() {
            return None;
        }
        Counts::add_to(&mut self.counts.missed);
        self.remember(digest, now);
        Some(Ended { source: None, clients: self.pulls.remove(position).clients })
    }

    /// A script that was fetched is acknowledged. One that comes after the end of its pull is forgotten.
    fn came(&mut self, from: NodeId, digest: Digest, source: Vec<u8>, send: Send<'_>) -> Option<Ended<H>> {
        if self.peer(from).fetching == Some(digest) {
            self.peer(from).fetching = None;
            let _ = send(from, &Message { digest, body: Body::Got });
        }
        let Some(position) = self.pulls.iter().position(|pull| pull.digest == digest && pull.asked.contains(&from)) else {
            self.forget_miss(digest);
            return None;
        };
        let pull = self.pulls.remove(position);
        if let Some(node) = pull.fetching {
            self.peer(node).fetching = None;
        }
        self.fetch_all(send);
        Counts::add_to(&mut self.counts.found);
        Some(Ended { source: Some(source), clients: pull.clients })
    }

    /// Ends the pulls whose time is over.
    pub fn expire(&mut self, now: Instant, send: Send<'_>) -> Vec<Ended<H>> {
        let due = self.pulls.iter().take_while(|pull| pull.deadline <= now).count();
        let due: Vec<Pull<H>> = self.pulls.drain(..due).collect();
        for pull in &due {
            Counts::add_to(&mut self.counts.missed);
            pull.awaited.iter().for_each(|node| self.peer(*node).is_silent = true);
            if let Some(node) = pull.fetching {
                self.peer(node).fetching = None;
            } else if pull.holders.is_empty() {
                self.remember(pull.digest, now);
            }
        }
        self.fetch_all(send);
        due.into_iter().map(|pull| Ended { source: None, clients: pull.clients }).collect()
    }

    /// Tells idle nodes to send the scripts that they have, one each.
    fn fetch_all(&mut self, send: Send<'_>) {
        for pull in self.pulls.iter_mut().filter(|pull| pull.fetching.is_none()) {
            let digest = pull.digest;
            while let Some(at) = pull.holders.iter().position(|node| self.peers.entry(*node).or_default().fetching.is_none()) {
                let node = pull.holders.remove(at);
                if send(node, &Message { digest, body: Body::Fetch }) {
                    self.peers.entry(node).or_default().fetching = Some(digest);
                    pull.fetching = Some(node);
                    break;
                }
            }
        }
    }

    fn position(&self, digest: Digest) -> Option<usize> {
        self.pulls.iter().position(|pull| pull.digest == digest)
    }

    fn peer(&mut self, node: NodeId) -> &mut Peer {
        self.peers.entry(node).or_default()
    }

    fn remember(&mut self, digest: Digest, now: Instant) {
        self.forget_miss(digest);
        if self.misses.len() >= MAX_MISSES {
            self.misses.pop_front();
        }
        self.misses.push_back((digest, now));
    }
}
