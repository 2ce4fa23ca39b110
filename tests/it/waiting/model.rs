//! Random clients on one lock, checked against what they may believe: they acquire, renew, release, vanish and stall, and sometimes a
//! client deletes the key.
//!
//! Every attempt has its own owner name, so LOCKINFO shows which attempt holds. Each knows from when to when it holds *for certain*
//! and how long it *possibly* holds, by the clock of this process around its replies. At every look at the lock must hold: each certain
//! holder is there; each holder there possibly holds; a writer is alone. Over the whole run, fences grow in the
//! order of the attempts, which is strict first come, first served. In the end all clients leave, and nothing is left.
//!
//! `ATOMIC_SEED` repeats the choices of a run; the clocks differ each time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Grant, await_nobody_blocked, client_id, take, unlock};
use crate::support::{Connection, DEADLINE, Server, Value, argv, each_server, eventually, random};

const CLIENTS: usize = 8;
const RUN: Duration = Duration::from_secs(3);

/// A run needs more grants than this.
const ENOUGH: usize = 50;
const LONG: Duration = Duration::from_secs(60);
/// Both clocks count whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);
/// How long the server may take to release the bound holds of a closed connection.
const CLOSING: Duration = Duration::from_millis(500);

enum State {
    Waiting,
    Held { certain: Instant, possible: Instant },
    Over { possible: Instant },
}

/// One request for the lock. Its index in the list is its place in the order of arrival, and its name.
struct Attempt {
    exclusive: bool,
    /// Its hold lasts as long as its connection.
    bound: bool,
    command: String,
    /// Whether its place in the order is certain.
    in_order: bool,
    lease: Duration,
    state: State,
    /// A moment before its first hold. Unknown when the lock was deleted while it waited: it may have held in between.
    not_yet: Option<Instant>,
    fence: Option<i64>,
}

struct Client {
    connection: Connection,
    id: i64,
    attempt: Option<usize>,
}

struct World<'a> {
    server: &'a Server,
    admin: Connection,
    clients: Vec<Client>,
    attempts: Vec<Attempt>,
    random: u64,
    /// The history, for the failure message.
    journal: Vec<String>,
}

fn name(attempt: usize) -> String {
    format!("a{attempt}")
}

impl Attempt {
    /// The end of its hold if it was granted or renewed before `now`. The server renews the lease of a bound hold.
    fn possible_end(&self, now: Instant) -> Instant {
        now + if self.bound { LONG } else { self.lease } + ROUNDING
    }
}

impl Client {
    fn connect(server: &Server) -> Self {
        let mut connection = server.connect();
        Self { id: client_id(&mut connection), connection, attempt: None }
    }
}

impl World<'_> {
    fn granted(&self) -> usize {
        self.attempts.iter().filter(|attempt| attempt.fence.is_some()).count()
    }

    fn below(&mut self, limit: usize) -> usize {
        random::below(&mut self.random, limit)
    }

    /// Runs a command on a connection that is not a client of the model.
    fn run(&mut self, command: &str) -> Value {
        let reply = self.admin.run(command);
        self.note(command, &reply);
        reply
    }

    fn note(&mut self, what: &str, reply: &Value) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() % 100_000_000;
        self.journal.push(format!("{at} {what} -> {}", reply.to_string().replace('\n', " ")));
    }

    fn step(&mut self) {
        let n = self.below(CLIENTS);
        let choice = self.below(100);
        match self.clients[n].attempt.map(|at| (at, &self.attempts[at].state)) {
            None | Some((_, State::Over { .. })) => self.acquire(n),
            Some((at, State::Waiting)) => match choice {
                0..=11 => self.vanish(n, at),
                12..=23 => self.unblock(n),
                24..=39 => self.resend(n, at),
                _ => {
                    self.settle_if_answered(n);
                }
            },
            Some((at, State::Held { .. })) => match choice {
                0..=49 => self.release(n, at),
                50..=59 => self.renew(n, at),
                60..=74 => self.vanish(n, at),
                75..=81 => self.acquire_again(n, at),
                82..=84 => self.clear(),
                _ => {}
            },
        }
        self.look();
    }

    fn acquire(&mut self, n: usize) {
        let lease = [Duration::from_millis(10 + self.below(30) as u64), LONG][self.below(2)];
        let (exclusive, bound) = (self.below(10) < 6, self.below(3) == 0);
        let wait = [None, Some(0), Some(0), Some(5 + self.below(60))][self.below(4)];
        let at = self.attempts.len();
        let mut command = format!("ATOMIC.LOCK k {} {}", name(at), lease.as_millis());
        command.push_str(if exclusive { "" } else { " SHARED" });
        command.push_str(if bound { " BIND" } else { "" });
        if let Some(ms) = wait {
            command.push_str(&format!(" WAIT {ms}"));
            command.push_str(if self.below(4) == 0 { " MAXQUEUE 5" } else { "" });
        }
        self.attempts.push(Attempt {
            exclusive,
            bound,
            lease,
            state: State::Waiting,
            not_yet: Some(Instant::now()),
            fence: None,
            command,
            in_order: true,
        });
        self.clients[n].attempt = Some(at);
        self.send(n, at);
    }

    fn send(&mut self, n: usize, at: usize) {
        let command = self.attempts[at].command.clone();
        self.clients[n].connection.send(&argv(&command)).unwrap();
        self.journal.push(format!("client {}: {command}", self.clients[n].id));
        // The next client may only send when this one has its reply or is in the queue.
        eventually("answered or blocked", || {
            let question = format!("CLIENT LIST ID {}", self.clients[n].id);
            (self.settle_if_answered(n) || self.admin.run(&question).text().contains(" flags=b ")).then_some(())
        });
    }

    /// Sends the request of a waiting client again on a new connection. The earlier connection closes before, or gets its reply after.
    fn resend(&mut self, n: usize, at: usize) {
        let closes = self.below(2) == 0;
        // A place is gone when its wait is over. A grant to a connection that closes may have been passed on.
        self.attempts[at].in_order &= !closes && self.attempts[at].command.contains(" WAIT 0");
        let mut earlier = std::mem::replace(&mut self.clients[n], Client::connect(self.server));
        self.clients[n].attempt = Some(at);
        if closes {
            let id = earlier.id;
            drop(earlier);
            eventually("the server saw the end", || {
                self.admin.run(&format!("CLIENT LIST ID {id}")).text().trim().is_empty().then_some(())
            });
            self.send(n, at);
            return;
        }
        self.send(n, at);
        let reply = earlier.connection.read().unwrap();
        self.note(&format!("{} by the earlier client {}", name(at), earlier.id), &reply);
        // Granted before the resend, or denied by it.
        let granted = reply.array()[0] == Value::Integer(1);
        assert!(!granted || self.attempts[at].fence.is_some(), "{} was granted on an earlier connection only", name(at));
        // A bound hold belongs to the last connection. The resend rebound it.
        drop(earlier);
    }

    /// Reads the reply of a waiting client when there is one.
    fn settle_if_answered(&mut self, n: usize) -> bool {
        let answered = self.clients[n].connection.has_input(Duration::from_millis(1));
        if answered {
            self.settle(n);
        }
        answered
    }

    /// Reads the reply of a client that waits.
    fn settle(&mut self, n: usize) {
        let reply = self.clients[n].connection.read().unwrap();
        let read = Instant::now();
        let at = self.clients[n].attempt.unwrap();
        self.note(&format!("{} by client {}", name(at), self.clients[n].id), &reply);
        let attempt = &mut self.attempts[at];
        if matches!(reply, Value::Error(_)) || reply.array()[0] == Value::Integer(0) {
            attempt.state = State::Over { possible: read };
            self.clients[n].attempt = None;
            return;
        }
        let grant = Grant::read(&reply);
        assert_eq!(grant.holds(), 1, "holds of {}", name(at));
        attempt.fence = Some(grant.fence);
        let certain = attempt.not_yet.map_or(read, |not_yet| not_yet + attempt.lease - ROUNDING);
        attempt.state = State::Held { certain, possible: attempt.possible_end(read) };
    }

    /// Runs a command for a holder: returns the reply, whether it certainly holds, and whether it possibly holds.
    fn ask_as_holder(&mut self, at: usize, command: &str) -> (Value, bool, bool) {
        let State::Held { certain, possible } = self.attempts[at].state else { panic!("{} does not hold", name(at)) };
        let sent = Instant::now();
        let reply = self.run(command);
        (reply, certain > Instant::now(), possible >= sent)
    }

    fn release(&mut self, n: usize, at: usize) {
        let (reply, certain, possible) = self.ask_as_holder(at, &format!("ATOMIC.UNLOCK k {} ALL", name(at)));
        let expected: &[i64] = if certain {
            &[0]
        } else if possible {
            &[0, -1]
        } else {
            &[-1]
        };
        assert!(expected.contains(&reply.integer()), "UNLOCK of {} answered {reply}, not one of {expected:?}", name(at));
        self.attempts[at].state = State::Over { possible: Instant::now() };
        self.clients[n].attempt = None;
    }

    fn renew(&mut self, n: usize, at: usize) {
        let lease = Duration::from_millis(10 + self.below(50) as u64);
        let sent = Instant::now();
        let (reply, certain, possible) =
            self.ask_as_holder(at, &format!("ATOMIC.LOCKRENEW k {} {}", name(at), lease.as_millis()));
        let renewed = reply.integer() != -1;
        assert!(if renewed { possible } else { !certain }, "LOCKRENEW of {} answered {reply}", name(at));
        let now = Instant::now();
        if renewed {
            self.attempts[at].lease = lease;
            self.attempts[at].state =
                State::Held { certain: sent + lease - ROUNDING, possible: self.attempts[at].possible_end(now) };
        } else {
            self.attempts[at].state = State::Over { possible: now };
            self.clients[n].attempt = None;
        }
    }

    fn acquire_again(&mut self, n: usize, at: usize) {
        let State::Held { certain, .. } = self.attempts[at].state else { return };
        if certain < Instant::now() + LONG / 2 {
            return;
        }
        let mode = if self.attempts[at].exclusive { "" } else { "SHARED" };
        let again = self.clients[n].connection.run(&format!("ATOMIC.LOCK k {} 10 WAIT 0 {mode}", name(at)));
        let again = Grant::read(&again);
        assert_eq!(Some(again.fence), self.attempts[at].fence, "{} acquired again with another fence", name(at));
        assert_eq!(again.holds(), 1);
    }

    /// Closes the connection of a holder or waiter; only where that, or the end of the lease, ends the hold.
    fn vanish(&mut self, n: usize, at: usize) {
        let attempt = &self.attempts[at];
        if attempt.lease == LONG && !attempt.bound {
            return;
        }
        let (id, kill) = (self.clients[n].id, self.below(2) == 0);
        let gone = std::mem::replace(&mut self.clients[n], Client::connect(self.server));
        if kill {
            assert_eq!(self.run(&format!("CLIENT KILL ID {id}")), Value::Integer(1));
        }
        drop(gone);
        eventually("the server saw the end", || {
            self.admin.run(&format!("CLIENT LIST ID {id}")).text().trim().is_empty().then_some(())
        });
        let attempt = &mut self.attempts[at];
        let lease = if attempt.bound { attempt.lease.min(CLOSING) } else { attempt.lease };
        attempt.state = State::Over { possible: Instant::now() + lease + ROUNDING };
    }

    fn unblock(&mut self, n: usize) {
        let how = ["", "TIMEOUT", "ERROR"][self.below(3)];
        self.run(&format!("CLIENT UNBLOCK {} {how}", self.clients[n].id));
        self.settle(n);
    }

    /// A client deletes the lock: from now on no client holds for certain.
    fn clear(&mut self) {
        let command = ["DEL k", "PEXPIRE k 1", "SET k token PX 5", "RENAME k elsewhere", "FLUSHALL"][self.below(5)];
        let sent = Instant::now();
        self.run(command);
        for attempt in &mut self.attempts {
            match &mut attempt.state {
                State::Held { certain, .. } => *certain = (*certain).min(sent),
                State::Waiting => attempt.not_yet = None,
                State::Over { .. } => {}
            }
        }
    }

    /// Reads the lock and checks it against the model.
    fn look(&mut self) {
        let sent = Instant::now();
        let info = self.run("ATOMIC.LOCKINFO k");
        let seen = Instant::now();
        let mode = info.field("mode").map_or_else(String::new, |mode| mode.text());
        let owners = info.field("owners").filter(|_| mode != "string");
        let owners: Vec<usize> = owners.map_or_else(Vec::new, |owners| {
            owners.array().iter().map(|owner| owner.array()[0].text()[1..].parse().unwrap()).collect()
        });
        for &at in &owners {
            if let Some(n) = self.clients.iter().position(|client| client.attempt == Some(at))
                && matches!(self.attempts[at].state, State::Waiting)
            {
                self.settle(n);
            }
            match self.attempts[at].state {
                State::Waiting => panic!("{} is an owner, but no client made this attempt", name(at)),
                State::Held { possible, .. } | State::Over { possible } => {
                    assert!(possible >= sent, "{} is an owner {:?} after its end: {info}", name(at), sent - possible);
                }
            }
        }
        let exclusive = owners.iter().filter(|at| self.attempts[**at].exclusive).count();
        assert!(exclusive == 0 || (owners.len() == 1 && mode == "exclusive"), "a writer is not alone: {info}");
        for (at, attempt) in self.attempts.iter_mut().enumerate() {
            match attempt.state {
                State::Held { certain, .. } => {
                    assert!(certain <= seen || owners.contains(&at), "{} lost the lock: {info}", name(at));
                }
                // Missing now, and not ended in between: then it was missing before, too.
                State::Waiting if attempt.not_yet.is_some_and(|not_yet| seen - not_yet < attempt.lease) => {
                    attempt.not_yet = Some(sent);
                }
                _ => {}
            }
        }
    }

    /// All clients leave: holders release, waiters are granted in turn and release.
    fn drain(&mut self) {
        eventually("all have left", || {
            for n in 0..CLIENTS {
                let Some(at) = self.clients[n].attempt else { continue };
                match self.attempts[at].state {
                    State::Held { .. } => self.release(n, at),
                    _ => {
                        self.settle_if_answered(n);
                    }
                }
                self.look();
            }
            self.clients.iter().all(|client| client.attempt.is_none()).then_some(())
        });
        eventually("the lock is free", || (self.admin.run("EXISTS k") == Value::Integer(0)).then_some(()));
        assert_eq!(self.admin.run("ATOMIC.LOCKINFO k"), Value::Array(Vec::new()));
        await_nobody_blocked(self.server);
        take(self.server, "k last 60000");
        unlock(self.server, "k", "last");
    }

    /// First come, first served: fences grow in the order of arrival.
    fn expect_order(&self) {
        let mut last = (0, 0);
        for (at, fence) in self
            .attempts
            .iter()
            .enumerate()
            .filter(|(_, attempt)| attempt.in_order)
            .filter_map(|(at, attempt)| Some((at, attempt.fence?)))
        {
            assert!(fence > last.1, "{} with {fence} came after {} with {}", name(at), name(last.0), last.1);
            last = (at, fence);
        }
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let skipped = self
                .journal
                .len()
                .saturating_sub(std::env::var("ATOMIC_JOURNAL").ok().and_then(|n| n.parse().ok()).unwrap_or(60));
            self.journal.iter().skip(skipped).for_each(|line| eprintln!("{line}"));
        }
    }
}

#[test]
fn random_clients_never_meet_never_get_stuck_and_are_served_in_order() {
    each_server(|server| {
        let random = random::seed();
        let mut world = World {
            server,
            admin: server.connect(),
            clients: (0..CLIENTS).map(|_| Client::connect(server)).collect(),
            attempts: Vec::new(),
            random,
            journal: Vec::new(),
        };
        let started = Instant::now();
        // A busy machine takes longer until there is something to judge.
        while started.elapsed() < RUN || (world.granted() <= ENOUGH && started.elapsed() < DEADLINE) {
            world.step();
        }
        world.drain();
        world.expect_order();
        let granted = world.granted();
        assert!(granted > ENOUGH, "only {granted} of {} attempts were granted", world.attempts.len());
    });
}
