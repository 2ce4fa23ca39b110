//! Random commands on one sorted set and its waiting consumers, against a naive model.
//!
//! Every score is either long past or far in the future, so the clock does not matter, and after each command the model knows which consumers
//! have which members. Leases last for the whole run. `ATOMIC_SEED` repeats a run.

use std::collections::{BTreeMap, VecDeque};

use super::{LATER, Waiter, await_blocked};
use crate::commands::due::pairs;
use crate::support::locks::vanish;
use crate::support::{Server, Value, each_server, eventually, random};

const STEPS: usize = 400;

/// What a consumer asks for.
#[derive(Clone, Copy, Debug)]
struct Ask {
    count: usize,
    lease: bool,
    list: bool,
}

impl Ask {
    fn command(self) -> String {
        let list = if self.list { "ZMOVEDUE k l" } else { "ZPOPDUE k" };
        format!("ATOMIC.{list} COUNT {} WAIT 0{}", self.count, if self.lease { " LEASE 30000000000" } else { "" })
    }
}

/// The set, the list and the queue as they must be.
#[derive(Default)]
struct Model {
    scores: BTreeMap<String, f64>,
    list: Vec<String>,
    queue: VecDeque<(usize, Ask)>,
}

impl Model {
    /// Takes what is due. The new scores of leased members are not known yet.
    fn take(&mut self, ask: Ask) -> Vec<String> {
        let mut due: Vec<(f64, String)> =
            self.scores.iter().filter(|(_, score)| **score < 1e9).map(|(member, score)| (*score, member.clone())).collect();
        due.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let taken: Vec<String> = due.into_iter().take(ask.count).map(|(_, member)| member).collect();
        for member in &taken {
            if ask.lease {
                self.scores.insert(member.clone(), LATER as f64);
            } else {
                self.scores.remove(member);
            }
        }
        if ask.list {
            self.list.extend(taken.iter().cloned());
        }
        taken
    }

    /// Serves the queue. Returns who got what.
    fn serve(&mut self) -> Vec<(usize, Vec<String>)> {
        let mut served = Vec::new();
        while let Some((client, ask)) = self.queue.front().copied() {
            let taken = self.take(ask);
            if taken.is_empty() {
                break;
            }
            self.queue.pop_front();
            served.push((client, taken));
        }
        served
    }
}

struct World<'a> {
    server: &'a Server,
    model: Model,
    waiters: BTreeMap<usize, Waiter>,
    next: usize,
    random: u64,
    journal: Vec<String>,
}

impl World<'_> {
    fn below(&mut self, limit: usize) -> usize {
        random::below(&mut self.random, limit)
    }

    fn member(&mut self) -> String {
        format!("m{}", self.below(12))
    }

    fn ask(&mut self) -> Ask {
        let list = self.below(3) == 0;
        Ask { count: 1 + self.below(3), lease: !list && self.below(2) == 0, list }
    }

    fn run(&mut self, command: &str) -> Value {
        self.journal.push(command.to_owned());
        let reply = self.server.run(command);
        self.journal.push(format!("  {}", reply.to_string().replace('\n', " ")));
        reply
    }

    fn step(&mut self) {
        match self.below(10) {
            0..=3 => self.add(),
            4 => {
                let member = self.member();
                self.run(&format!("ZREM k {member}"));
                self.model.scores.remove(&member);
            }
            5 => self.pop(),
            6..=7 => self.wait(),
            8 => self.leave(),
            _ => self.finish_or_clear(),
        }
        self.settle();
    }

    fn add(&mut self) {
        let members: Vec<(String, f64)> = (0..1 + self.below(4))
            .map(|_| {
                let due = self.below(3) > 0;
                (self.member(), if due { 1.0 + self.below(5) as f64 } else { LATER as f64 })
            })
            .collect();
        let words: Vec<String> = members.iter().map(|(member, score)| format!("{score} {member}")).collect();
        self.run(&format!("ZADD k {}", words.join(" ")));
        self.model.scores.extend(members);
    }

    fn pop(&mut self) {
        let ask = self.ask();
        let reply = self.run(&ask.command().replace(" WAIT 0", ""));
        let expected = if self.model.queue.is_empty() { self.model.take(ask) } else { Vec::new() };
        assert_eq!(taken(&reply), expected, "{ask:?}");
    }

    fn wait(&mut self) {
        if self.waiters.len() >= 6 {
            return;
        }
        let ask = self.ask();
        self.journal.push(format!("{}: {}", self.next, ask.command()));
        let mut waiter = Waiter::send(self.server, &ask.command());
        let expected = if self.model.queue.is_empty() { self.model.take(ask) } else { Vec::new() };
        if expected.is_empty() {
            await_blocked(self.server, self.waiters.len() + 1);
            self.model.queue.push_back((self.next, ask));
            self.waiters.insert(self.next, waiter);
        } else {
            assert_eq!(taken(&waiter.reply()), expected, "{ask:?}");
        }
        self.next += 1;
    }

    fn leave(&mut self) {
        let Some(at) = (!self.model.queue.is_empty()).then(|| self.below(self.model.queue.len())) else { return };
        let (client, _) = self.model.queue.remove(at).unwrap();
        self.journal.push(format!("{client} leaves"));
        vanish(self.server, self.waiters.remove(&client).unwrap());
    }

    fn finish_or_clear(&mut self) {
        let member = self.member();
        match self.below(4) {
            0 => {
                let clear = ["DEL k", "RENAME k elsewhere", "FLUSHDB", "UNLINK k l"][self.below(4)];
                self.run(clear);
                self.model.scores.clear();
                if ["FLUSHDB", "UNLINK k l"].contains(&clear) {
                    self.model.list.clear();
                }
            }
            choice => {
                let score = self.run(&format!("ZSCORE k {member}"));
                let known = self.model.scores.contains_key(&member);
                assert_eq!(score != Value::Null, known, "{member}");
                let token = if known { score.text() } else { "1".to_owned() };
                let (wrong, at) = (choice == 1, choice == 2);
                let given = if wrong { "2.25" } else { &token };
                let reply = self.run(&format!("ATOMIC.ZDONE k {member} {given}{}", if at { " AT 3" } else { "" }));
                let expected = if !known {
                    -1
                } else if wrong {
                    0
                } else {
                    1
                };
                assert_eq!(reply, Value::Integer(expected), "{member} {given}");
                if expected == 1 && at {
                    self.model.scores.insert(member, 3.0);
                } else if expected == 1 {
                    self.model.scores.remove(&member);
                }
            }
        }
    }

    /// Reads the replies of the consumers that the model has served, and compares the keys.
    fn settle(&mut self) {
        for (client, expected) in self.model.serve() {
            let reply = self.waiters.remove(&client).unwrap().reply();
            self.journal.push(format!("  {client} got {}", reply.to_string().replace('\n', " ")));
            assert_eq!(taken(&reply), expected, "consumer {client}");
        }
        let stored = pairs(&self.run("ZRANGE k 0 -1 WITHSCORES"));
        let expected: BTreeMap<String, bool> = self.model.scores.iter().map(|(m, score)| (m.clone(), *score < 1e9)).collect();
        let stored: BTreeMap<String, bool> = stored.into_iter().map(|(member, score)| (member, score < 1e9)).collect();
        assert_eq!(stored, expected);
        let list: Vec<String> = self.run("LRANGE l 0 -1").array().iter().map(Value::text).collect();
        assert_eq!(list, self.model.list);
        for (client, waiter) in &mut self.waiters {
            assert!(!waiter.connection().has_input(std::time::Duration::ZERO), "consumer {client} got something");
        }
    }
}

#[track_caller]
fn taken(reply: &Value) -> Vec<String> {
    pairs(reply).into_iter().map(|(member, _)| member).collect()
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let skipped = self.journal.len().saturating_sub(60);
            self.journal.iter().skip(skipped).for_each(|line| eprintln!("{line}"));
        }
    }
}

#[test]
fn random_commands_and_consumers_agree_with_a_naive_model() {
    each_server(|server| {
        let random = random::seed();
        let mut world = World { server, model: Model::default(), waiters: BTreeMap::new(), next: 0, random, journal: Vec::new() };
        (0..STEPS).for_each(|_| world.step());
        let served = world.next - world.waiters.len();
        assert!(served > 20, "only {served} consumers were served");
        world.waiters.clear();
        eventually("all have left", || (server.info("blocked_clients") == "0").then_some(()));
    });
}
