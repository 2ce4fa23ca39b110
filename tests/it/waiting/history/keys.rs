//! The keys of the model, and its claims on them.
//!
//! No lease ends in the model, and no due time comes: a score is past, far in the future, or the token of a lease.

use std::collections::BTreeMap;

use super::model::Model;

pub const CAPACITY: u64 = 5;
/// The list to which members move.
pub const LIST: &str = "q";

pub type Client = i64;
pub type Db = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Lock,
    Semaphore,
    Due,
}

pub const KINDS: [Kind; 3] = [Kind::Lock, Kind::Semaphore, Kind::Due];

#[derive(Debug, Clone, Copy)]
pub enum What {
    Lock { exclusive: bool, count: bool },
    Permits { n: u64, add: bool },
    Due { count: usize, lease: bool, list: bool },
}

#[derive(Debug, Clone, Copy)]
pub struct Claim {
    pub key: &'static str,
    pub owner: &'static str,
    pub what: What,
    pub bind: bool,
}

impl Claim {
    pub fn kind(&self) -> Kind {
        match self.what {
            What::Lock { .. } => Kind::Lock,
            What::Permits { .. } => Kind::Semaphore,
            What::Due { .. } => Kind::Due,
        }
    }

    /// The owner of a place.
    pub fn place(&self) -> Option<&'static str> {
        (self.kind() != Kind::Due).then_some(self.owner)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Eq, Ord)]
pub enum Score {
    Past(i64),
    Later,
    Lease(u64),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// The holders: fence and holds of each.
    Lock {
        exclusive: bool,
        holders: BTreeMap<&'static str, (u64, u64)>,
    },
    /// The lock of a client that used SET.
    Token,
    Permits(BTreeMap<&'static str, u64>),
    Set(BTreeMap<String, Score>),
    List(Vec<String>),
}

/// A member, its score before, and its score afterwards if it has a lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    pub member: String,
    pub was: Score,
    pub lease: Option<Score>,
}

impl Taken {
    /// The score in the reply.
    pub fn score(&self) -> Score {
        self.lease.unwrap_or(self.was)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Anything,
    Integer(i64),
    Failed,
    /// The client waits; the reply comes later.
    Nothing,
    /// The last number is the holds of the owner or the permits in use, then come the waiters.
    Granted {
        at: (&'static str, Kind),
        fence: u64,
        number: u64,
        waiters: usize,
    },
    Denied {
        waiters: usize,
    },
    Members(Vec<Taken>),
}

#[derive(Debug, Clone)]
pub enum Share {
    Holds { fence: u64, count: u64 },
    Permits(u64),
    Members(Vec<Taken>),
}

pub enum Outcome {
    Granted { reply: Reply, share: Option<Share>, is_new: bool },
    Denied { never: bool },
    Failed,
}

impl Model {
    pub fn is_of(&self, db: Db, key: &str, kind: Kind) -> bool {
        matches!(
            (self.data[db].get(key), kind),
            (None, _)
                | (Some(Stored::Lock { .. } | Stored::Token), Kind::Lock)
                | (Some(Stored::Permits(_)), Kind::Semaphore)
                | (Some(Stored::Set(_)), Kind::Due)
        )
    }

    /// Removes empty values.
    pub fn tidy(&mut self, db: Db) {
        self.data[db].retain(|_, stored| match stored {
            Stored::Lock { holders, .. } => !holders.is_empty(),
            Stored::Permits(owners) => !owners.is_empty(),
            Stored::Set(members) => !members.is_empty(),
            Stored::Token | Stored::List(_) => true,
        });
    }

    pub fn claim_now(&mut self, claim: &Claim) -> Outcome {
        let outcome = match claim.what {
            _ if !self.is_of(0, claim.key, claim.kind()) => Outcome::Failed,
            What::Lock { exclusive, count } => self.claim_lock(claim, exclusive, count),
            What::Permits { n, add } => self.claim_permits(claim, n, add),
            What::Due { count, lease, list } => self.claim_due(claim, count, lease, list),
        };
        self.tidy(0);
        outcome
    }

    fn claim_lock(&mut self, claim: &Claim, exclusive: bool, count: bool) -> Outcome {
        let fence = self.issued + 1;
        let empty = || Stored::Lock { exclusive, holders: BTreeMap::new() };
        let Stored::Lock { exclusive: is_exclusive, holders } = self.data[0].entry(claim.key).or_insert_with(empty) else {
            return Outcome::Denied { never: false };
        };
        let is_new = !holders.contains_key(claim.owner);
        let upgrades = !is_new && exclusive && !*is_exclusive;
        if is_new && !holders.is_empty() && (*is_exclusive || exclusive) {
            return Outcome::Denied { never: false };
        }
        if upgrades && holders.len() > 1 {
            return Outcome::Denied { never: true };
        }
        let (held, holds) = holders.entry(claim.owner).or_insert((fence, 0));
        let added = u64::from(is_new || count);
        *holds += added;
        if is_new || upgrades {
            (*held, *is_exclusive, self.issued) = (fence, *is_exclusive || exclusive, fence);
        }
        let share = (added > 0).then_some(Share::Holds { fence: *held, count: added });
        Outcome::Granted {
            reply: Reply::Granted { at: (claim.key, Kind::Lock), fence: *held, number: *holds, waiters: 0 },
            share,
            is_new,
        }
    }

    fn claim_permits(&mut self, claim: &Claim, n: u64, add: bool) -> Outcome {
        let Stored::Permits(owners) = self.data[0].entry(claim.key).or_insert(Stored::Permits(BTreeMap::new())) else {
            return Outcome::Failed;
        };
        let held = owners.get(claim.owner).copied().unwrap_or(0);
        let missing = if add { n } else { n.saturating_sub(held) };
        let in_use = owners.values().sum::<u64>() + missing;
        if missing > 0 && in_use > CAPACITY {
            return Outcome::Denied { never: false };
        }
        owners.insert(claim.owner, held + missing);
        let (fence, share) = (self.next(), (missing > 0).then_some(Share::Permits(missing)));
        Outcome::Granted {
            reply: Reply::Granted { at: (claim.key, Kind::Semaphore), fence, number: in_use, waiters: 0 },
            share,
            is_new: held == 0,
        }
    }

    fn claim_due(&mut self, claim: &Claim, count: usize, lease: bool, list: bool) -> Outcome {
        if list && !matches!(self.data[0].get(LIST), None | Some(Stored::List(_))) {
            return Outcome::Failed;
        }
        let Some(Stored::Set(members)) = self.data[0].get_mut(claim.key) else { return Outcome::Denied { never: false } };
        let mut due: Vec<(Score, String)> =
            members.iter().filter(|(_, score)| matches!(score, Score::Past(_))).map(|(m, score)| (*score, m.clone())).collect();
        due.sort();
        let mut taken = Vec::new();
        for (was, member) in due.into_iter().take(count) {
            members.remove(&member);
            let lease = lease.then(|| {
                self.issued += 1;
                Score::Lease(self.issued)
            });
            members.extend(lease.map(|lease| (member.clone(), lease)));
            taken.push(Taken { member, was, lease });
        }
        if taken.is_empty() {
            return Outcome::Denied { never: false };
        }
        let share = (!list).then(|| Share::Members(taken.clone()));
        if list && let Stored::List(values) = self.data[0].entry(LIST).or_insert(Stored::List(Vec::new())) {
            values.extend(taken.iter().map(|taken| taken.member.clone()));
        }
        Outcome::Granted { reply: Reply::Members(taken), share, is_new: false }
    }

    /// Whether the owner already holds what it claims.
    pub fn may_pass(&self, claim: &Claim) -> bool {
        match (self.data[0].get(claim.key), claim.what) {
            (Some(Stored::Lock { holders, .. }), What::Lock { .. }) => holders.contains_key(claim.owner),
            (Some(Stored::Permits(owners)), What::Permits { n, add: false }) => {
                owners.get(claim.owner).is_some_and(|held| *held >= n)
            }
            _ => false,
        }
    }
}
