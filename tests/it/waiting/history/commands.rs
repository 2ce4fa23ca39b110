//! The commands of a random history, each with the reply that the model predicts.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{CAPACITY, Claim, Client, LIST, Reply, Score, Stored, What};
use super::{KEYS, LATER, LEASE, OWNERS, Predicted, World};

impl World<'_> {
    fn claim(&mut self) -> Claim {
        let key = self.one_of(&KEYS);
        let what = match (key, self.below(3)) {
            ("k0", 0..=1) => What::Due { count: 1 + self.below(3), lease: self.below(2) == 0, list: false },
            ("k1", 0..=1) => What::Permits { n: 1 + self.below(4) as u64, add: self.below(3) == 0 },
            _ => What::Lock { exclusive: self.below(2) == 0, count: self.below(5) == 0 },
        };
        let what = match what {
            What::Due { count, .. } if self.below(3) == 0 => What::Due { count, lease: false, list: true },
            what => what,
        };
        let bind = !matches!(what, What::Due { .. }) && self.below(2) == 0;
        Claim { key, owner: self.owner(key), what, bind }
    }

    /// An owner. Often the next one in a queue of the key, so that requests of one owner meet.
    fn owner(&mut self, key: &'static str) -> &'static str {
        let any = self.one_of(&OWNERS);
        if self.below(3) == 0 { self.model.next_owner(key).unwrap_or(any) } else { any }
    }

    /// A claim of a client: with WAIT, its time in ms. Predicts its reply.
    pub fn ask(&mut self, client: Client, wait: Option<u64>, in_multi: bool) -> Predicted {
        let claim = self.claim();
        let most = (wait.is_some() && self.below(4) == 0).then(|| self.below(4) + 1);
        let (key, owner) = (claim.key, claim.owner);
        let mut words = match claim.what {
            What::Lock { exclusive, count } => {
                let (mode, again) = (if exclusive { "" } else { " SHARED" }, if count { " REENTRANT" } else { "" });
                format!("ATOMIC.LOCK {key} {owner} {LEASE}{mode}{again}")
            }
            What::Permits { n, add } => {
                format!("ATOMIC.SEMACQUIRE {key} {} {owner} {LEASE} PERMITS {n}{}", CAPACITY, if add { " ADD" } else { "" })
            }
            What::Due { count, list: true, .. } => format!("ATOMIC.ZMOVEDUE {key} {LIST} COUNT {count}"),
            What::Due { count, lease, .. } => {
                format!("ATOMIC.ZPOPDUE {key} COUNT {count}{}", if lease { format!(" LEASE {LEASE}000") } else { String::new() })
            }
        };
        words.extend(wait.map(|ms| format!(" WAIT {ms}")));
        words.extend(most.map(|most| format!(" MAXQUEUE {most}")));
        words.push_str(if claim.bind { " BIND" } else { "" });
        (words, self.model.claim(claim, client, wait.is_some(), most, in_multi))
    }

    /// A command that does not wait. `None` if there is nothing to do for it.
    pub fn command(&mut self, sender: Client, in_multi: bool, killed: &mut BTreeSet<Client>) -> Option<Predicted> {
        let key = self.one_of(&KEYS);
        let owner = self.owner(key);
        // Not for long: a drained server and keys of another type grant nothing.
        if self.model.draining && !in_multi && self.below(2) == 0 {
            self.model.draining = false;
            return Some(("ATOMIC.DRAIN OFF".to_owned(), Reply::Anything));
        }
        let usual = match self.model.data[0].get(key) {
            None => true,
            Some(Stored::Permits(_)) => key == "k1",
            Some(Stored::Set(_)) => key == "k0",
            Some(Stored::Lock { .. }) => key == "k2",
            Some(Stored::Token | Stored::List(_)) => false,
        };
        if !usual && self.below(4) == 0 {
            self.model.change(key, |data| drop(data.remove(key)));
            return Some((format!("DEL {key}"), Reply::Anything));
        }
        Some(match self.below(40) {
            0..=8 => {
                let all = self.below(2) == 0;
                (format!("ATOMIC.UNLOCK {key} {owner}{}", if all { " ALL" } else { "" }), self.model.unlock(key, owner, all))
            }
            9..=12 => {
                let (owner, n) = (self.owner("k1"), self.one_of(&[1, 2, CAPACITY, CAPACITY]));
                (format!("ATOMIC.SEMRELEASE k1 {owner} PERMITS {n}"), self.model.release("k1", owner, n))
            }
            13..=20 => self.ask(sender, None, in_multi),
            21..=24 => return self.kill(sender, killed),
            25..=27 => return self.unblock(killed),
            28 if !in_multi && !self.model.draining => ("ATOMIC.DRAIN ON".to_owned(), self.model.drain()),
            28..=35 => self.add_or_remove(),
            _ => return self.change(key, in_multi),
        })
    }

    fn kill(&mut self, sender: Client, killed: &mut BTreeSet<Client>) -> Option<Predicted> {
        let alive = |id: &Client| *id != sender && !killed.contains(id);
        let all: Vec<Client> = self.clients.iter().map(|client| client.id).filter(alive).collect();
        // Rather one whose grant is on its way.
        let unread: Vec<Client> = all.iter().copied().filter(|id| self.model.is_unread(*id)).collect();
        let id = self.one_of(if unread.is_empty() { &all } else { &unread });
        killed.insert(id);
        self.model.close(id);
        Some((format!("CLIENT KILL ID {id}"), Reply::Integer(1)))
    }

    fn unblock(&mut self, killed: &BTreeSet<Client>) -> Option<Predicted> {
        let waits = |id: &Client| !killed.contains(id) && self.model.waiting(*id);
        let all: Vec<Client> = self.clients.iter().map(|client| client.id).filter(waits).collect();
        if all.is_empty() {
            return None;
        }
        let (id, how) = (self.one_of(&all), self.one_of(&["", " TIMEOUT", " ERROR"]));
        self.model.unblock(id, how == " ERROR");
        Some((format!("CLIENT UNBLOCK {id}{how}"), Reply::Integer(1)))
    }

    fn add_or_remove(&mut self) -> Predicted {
        let member = format!("m{}", self.below(8));
        let is_set = matches!(self.model.data[0].get("k0"), None | Some(Stored::Set(_)));
        let reply = if is_set { Reply::Anything } else { Reply::Failed };
        let score = if self.below(3) > 0 { Score::Past(1 + self.below(3) as i64) } else { Score::Later };
        let removes = self.below(5) == 0;
        let words = match score {
            _ if removes => format!("ZREM k0 {member}"),
            Score::Past(score) => format!("ZADD k0 {score} {member}"),
            _ => format!("ZADD k0 {LATER} {member}"),
        };
        if is_set {
            self.model.change("k0", |data| {
                if let Stored::Set(members) = data.entry("k0").or_insert(Stored::Set(BTreeMap::new())) {
                    if removes {
                        members.remove(&member);
                    } else {
                        members.insert(member, score);
                    }
                }
            });
        }
        (words, reply)
    }

    fn change(&mut self, key: &'static str, in_multi: bool) -> Option<Predicted> {
        let words = match self.below(9) {
            // Outside of a transaction, Redis 8 blocks the client until a thread has flushed, and serves the waiters meanwhile.
            0 if in_multi => {
                self.model.flush();
                "FLUSHDB".to_owned()
            }
            1 => {
                self.model.swap();
                "SWAPDB 0 1".to_owned()
            }
            2 => {
                self.model.change(key, |data| drop(data.insert(key, Stored::Token)));
                format!("SET {key} token")
            }
            3 if self.model.data[0].contains_key(key) => {
                self.model.change(key, |data| drop(data.remove(key)));
                format!("RENAME {key} elsewhere")
            }
            4 if self.model.data[0].contains_key("k2") => {
                self.model.change("k0", |data| data.remove("k2").into_iter().for_each(|lock| drop(data.insert("k0", lock))));
                self.model.change("k2", |_| {});
                "RENAME k2 k0".to_owned()
            }
            5 if !self.model.data[0].contains_key(key) => {
                self.model.change(key, |data| drop(data.insert(key, Stored::List(vec!["x".to_owned()]))));
                format!("RPUSH {key} x")
            }
            6 => {
                self.model.change(LIST, |data| drop(data.insert(LIST, Stored::Token)));
                format!("SET {LIST} token")
            }
            7 => {
                self.model.change(LIST, |data| drop(data.remove(LIST)));
                format!("DEL {LIST}")
            }
            _ => {
                self.model.change(key, |data| drop(data.remove(key)));
                format!("DEL {key}")
            }
        };
        Some((words, Reply::Anything))
    }
}
