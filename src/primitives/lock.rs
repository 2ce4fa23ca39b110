//! Leases: who owns a lock, until when, and with which fencing number.
//!
//! A lock is one string with its holders; the key's TTL is the latest deadline, and each holder is valid until its own. A string
//! without our header is the lock of another client, taken with `SET key token NX PX ms`: it is respected, released and renewed by
//! its token, and never entered again.
//!
//! What must stay true: at most one exclusive owner; a holder whose deadline passed is not the owner any more, even if nobody took
//! the lock since; a new ownership gets a fence above every fence that the caller or the state has seen; re-entry keeps the fence.

use super::codec::{Corrupt, Reader, put_uint};
use super::effect::{Effect, Expiry};
use super::time::{DurationMs, UnixMs};

#[cfg(test)]
mod tests;

/// What an error calls this format.
pub const FORMAT: &str = "a lock (format LK1)";

/// The longest owner name.
pub const MAX_OWNER_BYTES: usize = 255;

/// The most holders that one lock can have.
pub const MAX_HOLDERS: usize = 1024;

/// The highest fence; the clock reaches it in 140,000 years. A crafted lock that carries it cannot be succeeded: taking it is an error
/// until its TTL ends.
pub const MAX_FENCE: u64 = 1 << 62;

const MAGIC: &[u8] = b"\xa7LK\x01";

/// Whether the holders exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One owner.
    Exclusive,
    /// Readers.
    Shared,
}

/// One owner of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The name that the client gave, 1 to [`MAX_OWNER_BYTES`] bytes.
    pub owner: Vec<u8>,
    /// How often the owner took the lock and did not give it back; at least 1.
    pub holds: u32,
    /// The end of the lease.
    pub deadline: UnixMs,
}

/// A lock as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The mode of all holders.
    pub mode: Mode,
    /// The fencing number of the youngest ownership.
    pub fence: u64,
    /// At least one.
    pub holders: Vec<Holder>,
}

/// What a lock's key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// A lock of ours.
    Ours(Lock),
    /// Another client's token and when its key ends.
    Foreign {
        /// The value of the key.
        token: Vec<u8>,
        /// The end of the key's TTL, if it has one.
        until: Option<UnixMs>,
    },
}

/// Whether the value of a key has our header; else it is another client's token.
#[must_use]
pub fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl Stored {
    /// Reads the value of a lock's key. Fails on bytes that have our header and are not a lock.
    pub fn decode(bytes: &[u8], until: Option<UnixMs>) -> Result<Self, Corrupt> {
        if is_ours(bytes) { Ok(Self::Ours(Lock::decode(bytes)?)) } else { Ok(Self::Foreign { token: bytes.to_vec(), until }) }
    }

    /// The stored fence, if there is one.
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        match self {
            Self::Ours(lock) => Some(lock.fence),
            Self::Foreign { .. } => None,
        }
    }
}

impl Lock {
    fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes);
        reader.literal(MAGIC)?;
        let mode = match reader.u64(1)? {
            0 => Mode::Exclusive,
            1 => Mode::Shared,
            _ => return Err(Corrupt),
        };
        let fence = reader.u64(8)?;
        let count = usize::try_from(reader.u64(2)?).map_err(|_| Corrupt)?;
        let most = if mode == Mode::Exclusive { 1 } else { MAX_HOLDERS };
        if fence > MAX_FENCE || !(1..=most).contains(&count) {
            return Err(Corrupt);
        }
        let holders = (0..count).map(|_| Holder::decode(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { mode, fence, holders })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend(MAGIC);
        put_uint(&mut out, if self.mode == Mode::Exclusive { 0 } else { 1 }, 1);
        put_uint(&mut out, self.fence.into(), 8);
        put_uint(&mut out, u128::try_from(self.holders.len()).unwrap_or(0), 2);
        for holder in &self.holders {
            holder.encode(&mut out);
        }
        out
    }

    /// When the last lease ends.
    #[must_use]
    pub fn deadline(&self) -> UnixMs {
        self.holders.iter().map(|holder| holder.deadline).max().unwrap_or(UnixMs(0))
    }

    /// Only the holders whose lease has not ended; `None` when nobody is left.
    #[must_use]
    pub fn valid(mut self, now: UnixMs) -> Option<Self> {
        self.holders.retain(|holder| holder.deadline > now);
        if self.holders.is_empty() { None } else { Some(self) }
    }

    fn put(&self) -> Effect<Vec<u8>> {
        Effect::Put { value: self.encode(), expiry: Expiry::At(self.deadline()) }
    }
}

impl Holder {
    fn decode(reader: &mut Reader) -> Result<Self, Corrupt> {
        let len = usize::try_from(reader.u64(1)?).map_err(|_| Corrupt)?;
        let owner = reader.bytes(len)?.to_vec();
        let holds = u32::try_from(reader.u64(4)?).map_err(|_| Corrupt)?;
        let deadline = UnixMs(reader.u64(6)?);
        if owner.is_empty() || holds == 0 { Err(Corrupt) } else { Ok(Self { owner, holds, deadline }) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(out, u128::try_from(self.owner.len()).unwrap_or(0), 1);
        out.extend(&self.owner);
        put_uint(out, self.holds.into(), 4);
        put_uint(out, self.deadline.0.into(), 6);
    }
}

/// The answer to an attempt to take a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquired {
    /// The caller is the owner.
    Granted {
        /// The fencing number of the ownership.
        fence: u64,
        /// How long the lease lasts.
        ttl: DurationMs,
        /// How often the owner holds the lock now.
        holds: u32,
    },
    /// Somebody else is.
    Held {
        /// How long the latest lease lasts; `None` for another client's lock without a TTL.
        ttl: Option<DurationMs>,
    },
}

/// Takes the lock for `lease`, or enters it again. `fence` is the number that a new ownership gets, unless the state has seen a
/// higher one. Fails when there is no higher one.
pub fn acquire(
    stored: Option<Stored>,
    owner: &[u8],
    lease: DurationMs,
    fence: u64,
    now: UnixMs,
) -> Result<(Acquired, Effect<Vec<u8>>), Corrupt> {
    let seen = stored.as_ref().and_then(Stored::fence).unwrap_or(0);
    let deadline = now.plus(lease);
    let (lock, holds) = match stored {
        Some(Stored::Foreign { until, .. }) => {
            return Ok((Acquired::Held { ttl: until.map(|until| until.since(now)) }, Effect::Keep));
        }
        Some(Stored::Ours(lock)) => match lock.valid(now) {
            None => (taken(owner, deadline, fence.max(seen.saturating_add(1))), 1),
            Some(lock) => match reenter(lock, owner, deadline) {
                Ok(reentered) => reentered,
                Err(lock) => return Ok((Acquired::Held { ttl: Some(lock.deadline().since(now)) }, Effect::Keep)),
            },
        },
        None => (taken(owner, deadline, fence), 1),
    };
    if lock.fence > MAX_FENCE {
        return Err(Corrupt);
    }
    let granted = Acquired::Granted { fence: lock.fence, ttl: lock.deadline().since(now), holds };
    Ok((granted, lock.put()))
}

fn taken(owner: &[u8], deadline: UnixMs, fence: u64) -> Lock {
    Lock { mode: Mode::Exclusive, fence, holders: vec![Holder { owner: owner.to_vec(), holds: 1, deadline }] }
}

/// The lock with one more hold of `owner`, and how many that makes; the lock as it was when another owner has it. A lease never gets
/// shorter by entering again.
fn reenter(mut lock: Lock, owner: &[u8], deadline: UnixMs) -> Result<(Lock, u32), Lock> {
    if lock.mode == Mode::Shared {
        return Err(lock);
    }
    let Some(holder) = lock.holders.iter_mut().find(|holder| holder.owner == owner) else { return Err(lock) };
    holder.holds = holder.holds.saturating_add(1);
    holder.deadline = holder.deadline.max(deadline);
    let holds = holder.holds;
    Ok((lock, holds))
}

/// How much of a lock is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// One hold.
    One,
    /// Every hold of the owner.
    All,
}

/// Gives the lock back. The outcome is how many holds the owner has left, or `None` when it was not the owner.
#[must_use]
pub fn release(stored: Option<Stored>, owner: &[u8], release: Release, now: UnixMs) -> (Option<u32>, Effect<Vec<u8>>) {
    match stored {
        Some(Stored::Foreign { token, .. }) if token == owner => (Some(0), Effect::Delete),
        Some(Stored::Ours(lock)) => release_ours(lock, owner, release, now),
        _ => (None, Effect::Keep),
    }
}

fn release_ours(lock: Lock, owner: &[u8], release: Release, now: UnixMs) -> (Option<u32>, Effect<Vec<u8>>) {
    let Some(mut lock) = lock.valid(now) else { return (None, Effect::Keep) };
    let Some(holder) = lock.holders.iter_mut().find(|holder| holder.owner == owner) else { return (None, Effect::Keep) };
    let left = match release {
        Release::One => holder.holds.saturating_sub(1),
        Release::All => 0,
    };
    if left > 0 {
        holder.holds = left;
        return (Some(left), lock.put());
    }
    lock.holders.retain(|holder| holder.owner != owner);
    let effect = if lock.holders.is_empty() { Effect::Delete } else { lock.put() };
    (Some(0), effect)
}

/// Lets the owner's lease end `lease` from now. The outcome is the new TTL, or `None` when it was not the owner.
#[must_use]
pub fn renew(stored: Option<Stored>, owner: &[u8], lease: DurationMs, now: UnixMs) -> (Option<DurationMs>, Effect<Vec<u8>>) {
    let deadline = now.plus(lease);
    match stored {
        Some(Stored::Foreign { token, .. }) if token == owner => (Some(lease), Effect::Expire(deadline)),
        Some(Stored::Ours(lock)) => {
            let Some(mut lock) = lock.valid(now) else { return (None, Effect::Keep) };
            let Some(holder) = lock.holders.iter_mut().find(|holder| holder.owner == owner) else { return (None, Effect::Keep) };
            holder.deadline = deadline;
            (Some(lease), lock.put())
        }
        _ => (None, Effect::Keep),
    }
}
