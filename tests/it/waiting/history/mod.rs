//! Random histories of locks, semaphores and due work over few keys and few owners, against a naive model that predicts every reply.
//!
//! A client sends several commands in one write, so that they run before the server makes the replies to the clients that they serve. A write
//! may be a transaction, and may end with a request that waits. Owners are few, so requests are repeated all the time: while the earlier one
//! waits, after its connection closed, and while its grant is on the way. After each write the model knows every reply, every key,
//! every place and every bound hold. `ATOMIC_SEED` repeats a history, `ATOMIC_STEPS` sets its length, and `ATOMIC_JOURNAL` how much of it
//! is printed.

mod commands;
mod keys;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{client_id, in_one_write};
use crate::commands::due::pairs;
use crate::commands::integers;
use crate::support::{Connection, RealReplica, Server, Setup, Value, argv, each_server_with, eventually, random, resp::encode};
use keys::{Client, KINDS, Kind, LIST, Reply, Score, Stored, Taken};
use model::Model;

const CLIENTS: usize = 9;
const STEPS: usize = 500;
const OWNERS: [&str; 3] = ["o0", "o1", "o2"];
const KEYS: [&str; 3] = ["k0", "k1", "k2"];
/// In ms. No lease ends by itself.
const LEASE: &str = "3600000";
/// The longest time for which a place is kept.
const GRACE: Duration = Duration::from_secs(60);
/// A score that no test reaches.
const LATER: f64 = 4_102_444_800_000.0;
/// Higher scores are those of leases, or far in the future.
const PAST: f64 = 1e9;

struct Connected {
    connection: Connection,
    id: Client,
}

impl Connected {
    fn open(server: &Server) -> Self {
        let mut connection = server.connect();
        Self { id: client_id(&mut connection), connection }
    }
}

struct World<'a> {
    server: &'a Server,
    /// The same server; the other database.
    other: Connection,
    model: Model,
    clients: Vec<Connected>,
    random: u64,
    /// No place is older.
    places_since: Instant,
    journal: Vec<String>,
    /// The number that the server issued for each fence of the model, for each queue.
    fences: BTreeMap<(&'static str, Kind), BTreeMap<u64, i64>>,
    /// The score that the server issued for each lease of the model.
    leases: BTreeMap<u64, String>,
}

/// A command, and the reply that the model predicts.
type Predicted = (String, Reply);

impl World<'_> {
    fn below(&mut self, limit: usize) -> usize {
        random::below(&mut self.random, limit)
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn step(&mut self) {
        // The server keeps no place for longer than this setting allows.
        if self.places_since.elapsed() > GRACE / 3 {
            self.places_since = Instant::now();
            let predicted = self.model.drain();
            self.send(0, vec![("ATOMIC.DRAIN ON".to_owned(), predicted)], false);
            self.settle(&BTreeSet::new());
        }
        match self.below(20) {
            0 => self.vanish(),
            1 => self.wait_shortly(),
            2 => self.end_lease(),
            _ => self.write(),
        }
        self.look();
    }

    fn idle(&mut self, first: usize) -> Option<usize> {
        let idle: Vec<usize> = (first..CLIENTS).filter(|n| !self.model.waiting(self.clients[*n].id)).collect();
        if idle.is_empty() { None } else { Some(self.one_of(&idle)) }
    }

    /// Several commands of one client in one write. The first client never waits, so that there is always one.
    fn write(&mut self) {
        let Some(n) = self.idle(0) else { return };
        let (id, in_multi) = (self.clients[n].id, self.below(4) == 0);
        let waits = n > 0 && !in_multi && self.below(3) > 0;
        let mut killed = BTreeSet::new();
        let mut commands: Vec<Predicted> = Vec::new();
        for _ in 0..self.below(5) + usize::from(!waits) {
            let predicted = self.command(id, in_multi, &mut killed);
            commands.extend(predicted);
            if !in_multi {
                self.model.end_of_unit();
            }
        }
        if waits {
            commands.push(self.ask(id, Some(0), false));
        }
        self.model.end_of_unit();
        self.send(n, commands, in_multi);
        self.settle(&killed);
        for n in (0..CLIENTS).filter(|n| killed.contains(&self.clients[*n].id)).collect::<Vec<_>>() {
            self.clients[n] = Connected::open(self.server);
        }
    }

    fn send(&mut self, n: usize, commands: Vec<Predicted>, in_multi: bool) {
        let (words, predicted): (Vec<String>, Vec<Reply>) = commands.into_iter().unzip();
        self.journal.push(format!(
            "client {}{}: {}",
            self.clients[n].id,
            if in_multi { " MULTI" } else { "" },
            words.join(" ; ")
        ));
        let connection = &mut self.clients[n].connection;
        let replies = if in_multi {
            let all = [&["MULTI".to_owned()], &words[..], &["EXEC".to_owned()]].concat();
            in_one_write(connection, &all).pop().unwrap().array().to_vec()
        } else {
            let bytes: Vec<u8> = words.iter().flat_map(|words| encode(&argv(words))).collect();
            connection.send_raw(&bytes).unwrap();
            predicted.iter().filter(|reply| **reply != Reply::Nothing).map(|_| connection.read().unwrap()).collect()
        };
        for ((words, predicted), reply) in words.iter().zip(predicted).zip(replies) {
            self.check(words, &predicted, &reply);
        }
    }

    /// A client closes its connection, if it can by QUIT.
    fn vanish(&mut self) {
        let n = self.below(CLIENTS);
        let mut gone = std::mem::replace(&mut self.clients[n], Connected::open(self.server));
        if !self.model.waiting(gone.id) && self.below(2) == 0 {
            gone.connection.run("QUIT");
        }
        self.journal.push(format!("client {} closes", gone.id));
        self.model.close(gone.id);
        drop(gone.connection);
        let list = format!("CLIENT LIST ID {}", gone.id);
        eventually("the server saw the end", || self.server.run(&list).text().trim().is_empty().then_some(()));
        self.settle(&BTreeSet::from([gone.id]));
    }

    fn wait_shortly(&mut self) {
        let Some(n) = self.idle(1) else { return };
        let id = self.clients[n].id;
        let predicted = self.ask(id, Some(15), false);
        self.model.end_of_unit();
        self.send(n, vec![predicted], false);
        self.settle(&BTreeSet::new());
        self.model.unblock(id, false);
        self.settle(&BTreeSet::new());
    }

    /// The lease of a hold that is not bound ends.
    fn end_lease(&mut self) {
        let (key, owner) = (self.one_of(&["k1", "k2"]), self.one_of(&OWNERS));
        let (kind, command) = match self.model.data[0].get(key) {
            Some(Stored::Lock { holders, .. }) if holders.contains_key(owner) => (Kind::Lock, "LOCKRENEW"),
            Some(Stored::Permits(owners)) if owners.contains_key(owner) => (Kind::Semaphore, "SEMRENEW"),
            _ => return,
        };
        if self.model.bindings.contains_key(&(0, key, kind, owner)) {
            return;
        }
        self.send(0, vec![(format!("ATOMIC.{command} {key} {owner} 5"), Reply::Integer(5))], false);
        self.model.change(key, |data| match data.get_mut(key) {
            Some(Stored::Lock { holders, .. }) => drop(holders.remove(owner)),
            Some(Stored::Permits(owners)) => drop(owners.remove(owner)),
            _ => {}
        });
        self.model.end_of_unit();
        self.settle(&BTreeSet::new());
    }

    /// Reads the replies to the clients that waited.
    fn settle(&mut self, closed: &BTreeSet<Client>) {
        for (id, predicted) in self.model.settle() {
            if let Some(n) = self.clients.iter().position(|client| client.id == id && !closed.contains(&id)) {
                let reply = self.clients[n].connection.read().unwrap();
                self.check(&format!("client {id} waited"), &predicted, &reply);
            }
        }
    }

    fn check(&mut self, what: &str, predicted: &Reply, reply: &Value) {
        self.journal.push(format!("    {what} -> {}", reply.to_string().replace('\n', " ")));
        let wrong = || format!("{what}: predicted {predicted:?}, got {reply}");
        assert!(matches!(reply, Value::Error(_)) == (*predicted == Reply::Failed), "{}", wrong());
        match predicted {
            Reply::Anything | Reply::Failed => {}
            Reply::Integer(n) => assert_eq!(*reply, Value::Integer(*n), "{}", wrong()),
            Reply::Nothing => panic!("{}", wrong()),
            Reply::Members(taken) => self.check_members(taken, reply),
            Reply::Denied { .. } if reply.array().is_empty() => {}
            Reply::Denied { waiters } => {
                let numbers = integers(reply);
                assert_eq!((numbers[0], numbers[1], numbers[4]), (0, 0, *waiters as i64), "{}", wrong());
            }
            Reply::Granted { at, fence, number, waiters } => {
                let numbers = integers(reply);
                // A grant of permits has 0 for the holds of a lock.
                let shown = if numbers[3] == 0 { numbers[2] } else { numbers[3] };
                assert_eq!((numbers[0], shown, numbers[4]), (1, *number as i64, *waiters as i64), "{}", wrong());
                self.check_fence(*at, *fence, numbers[1]);
            }
        }
    }

    /// The fences of a queue strictly grow in the order of its grants, and one grant has one fence.
    fn check_fence(&mut self, at: (&'static str, Kind), fence: u64, number: i64) {
        let fences = self.fences.entry(at).or_default();
        assert_eq!(*fences.entry(fence).or_insert(number), number, "two numbers for one fence");
        assert!(fences.range(..fence).next_back().is_none_or(|(_, earlier)| *earlier < number), "an earlier fence is higher");
        assert!(fences.range(fence + 1..).next().is_none_or(|(_, later)| *later > number), "a later fence is lower");
    }

    fn check_members(&mut self, predicted: &[Taken], reply: &Value) {
        let got: Vec<(String, String)> = reply.array().chunks(2).map(|pair| (pair[0].text(), pair[1].text())).collect();
        assert_eq!(
            got.iter().map(|(member, _)| member).collect::<Vec<_>>(),
            predicted.iter().map(|it| &it.member).collect::<Vec<_>>()
        );
        for (taken, (member, score)) in predicted.iter().zip(&got) {
            match taken.score() {
                Score::Past(was) => assert_eq!(score, &was.to_string(), "{member}"),
                Score::Lease(lease) => {
                    assert!(self.leases.values().all(|other| other != score), "two leases have the score {score}");
                    self.leases.insert(lease, score.clone());
                }
                Score::Later => panic!("{member} is not due"),
            }
        }
    }

    /// Compares the keys and the figures with the model, before a wrong place could end by itself.
    fn look(&mut self) {
        let deadline = Instant::now() + GRACE / 3;
        while let Some(difference) = self.difference() {
            assert!(Instant::now() < deadline, "{difference}");
        }
    }

    fn difference(&mut self) -> Option<String> {
        for (db, stored) in self.model.data.iter().enumerate() {
            for key in KEYS.into_iter().chain([LIST]) {
                let connection = if db == 0 { &mut self.clients[0].connection } else { &mut self.other };
                let (seen, expected) = (shown(connection, key), stored.get(key).map_or_else(String::new, |it| self.expected(it)));
                if seen != expected {
                    return Some(format!("  {key} of database {db} is [{seen}], not [{expected}]"));
                }
            }
        }
        let expected = [
            ("waiting_clients", self.model.waiting_clients()),
            ("vacant_places", self.model.vacant_places()),
            ("bound_to_connections", self.model.bindings.len()),
            ("places_taken_over", self.model.taken_over),
        ];
        let info = self.server.run("INFO everything").text();
        let wrong = |(name, count): (&str, usize)| {
            let line = format!("atomic_locks_{name}:{count}");
            (!info.lines().any(|shown| shown == line)).then(|| format!("  INFO has no line {line}"))
        };
        expected.into_iter().find_map(wrong)
    }

    fn expected(&self, stored: &Stored) -> String {
        match stored {
            Stored::Token => "token".to_owned(),
            Stored::List(values) => values.join(" "),
            Stored::Permits(owners) => owners.iter().map(|(owner, n)| format!("{owner}:{n} ")).collect(),
            Stored::Lock { exclusive, holders } => {
                let mode = if *exclusive { "exclusive " } else { "shared " };
                mode.chars()
                    .chain(holders.iter().flat_map(|(o, (_, n))| format!("{o}:{n} ").chars().collect::<Vec<_>>()))
                    .collect()
            }
            Stored::Set(members) => members
                .iter()
                .map(|(member, score)| match score {
                    Score::Past(score) => format!("{member}:{score} "),
                    Score::Later | Score::Lease(_) => format!("{member}:later "),
                })
                .collect(),
        }
    }
}

/// A key in the form of [`World::expected`].
fn shown(connection: &mut Connection, key: &str) -> String {
    let owners = |info: &Value| {
        let owners = info.field("owners").map_or_else(Vec::new, |owners| owners.array().to_vec());
        let mut owners: Vec<String> =
            owners.iter().map(|owner| format!("{}:{} ", owner.array()[0].text(), owner.array()[1].integer())).collect();
        owners.sort();
        owners.concat()
    };
    match connection.run(&format!("TYPE {key}")).text().as_str() {
        "string" => {
            let info = connection.run(&format!("ATOMIC.LOCKINFO {key}"));
            match info.field("mode").map(|mode| mode.text()) {
                // The key outlives the last lease by a moment.
                None => "ended".to_owned(),
                Some(mode) if mode == "string" => connection.run(&format!("GET {key}")).text(),
                Some(mode) => format!("{mode} {}", owners(&info)),
            }
        }
        "list" => connection.run(&format!("LRANGE {key} 0 -1")).array().iter().map(Value::text).collect::<Vec<_>>().join(" "),
        "zset" if key == "k1" => Some(owners(&connection.run(&format!("ATOMIC.SEMINFO {key}"))))
            .filter(|owners| !owners.is_empty())
            .unwrap_or_else(|| "ended".to_owned()),
        "zset" => {
            let mut members = pairs(&connection.run(&format!("ZRANGE {key} 0 -1 WITHSCORES")));
            members.sort_by(|one, other| one.0.cmp(&other.0));
            let score = |score: f64| if score < PAST { score.to_string() } else { "later".to_owned() };
            members.into_iter().map(|(member, at)| format!("{member}:{} ", score(at))).collect()
        }
        _ => String::new(),
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let length = std::env::var("ATOMIC_JOURNAL").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
            let skipped = self.journal.len().saturating_sub(length);
            self.journal.iter().skip(skipped).for_each(|line| eprintln!("{line}"));
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|number| number.parse().ok())
}

#[test]
fn random_histories_of_all_kinds_agree_with_a_naive_model() {
    each_server_with(&Setup::with_module().appendonly("no"), |server| {
        let random = random::seed();
        let replica = RealReplica::with_module(server);
        let mut other = server.connect();
        other.run("SELECT 1");
        let clients = (0..CLIENTS).map(|_| Connected::open(server)).collect();
        let (fences, leases, journal) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let (model, places_since) = (Model::default(), Instant::now());
        let mut world = World { server, other, model, clients, random, places_since, journal, fences, leases };
        world.model.jobs = server.binary.is_valkey || server.binary.is_redis_from(7, 2);
        world.model.keeps_places = world.below(2) == 0;
        server.run(&format!("CONFIG SET atomic.line-grace-ms {}", if world.model.keeps_places { GRACE.as_millis() } else { 0 }));
        (0..number("ATOMIC_STEPS").map_or(STEPS, |steps| steps as usize)).for_each(|_| world.step());
        assert!(KINDS.iter().all(|kind| world.model.grants.get(kind).is_some_and(|grants| *grants > 20)));
        replica.expect_same_data();
        server.run("ATOMIC.DRAIN ON");
        server.run("ATOMIC.DRAIN OFF");
        for name in ["waiting_clients", "vacant_places", "bound_to_connections"] {
            assert_eq!(server.info(&format!("atomic_locks_{name}")), "0", "{name}");
        }
        let digest = server.run("DEBUG DIGEST");
        assert_eq!(server.run("DEBUG LOADAOF"), Value::ok());
        assert_eq!(server.run("DEBUG DIGEST"), digest, "the digest of the append-only file");
    });
}
