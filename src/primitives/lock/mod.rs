//! Leases: who owns a lock, until when, and with which fencing number.
//!
//! A lock is one string with its holders; the key's TTL is the latest deadline, and each holder is valid until its own. A string
//! without our header is the lock of another client, taken with `SET key token NX PX ms`: it is respected, released and renewed by
//! its token, and never entered again.
//!
//! Decisions are made on a [`Draft`]: the key is read once, changed any number of times (a release and the next owner, a batch of
//! readers), and written once. What one owner changes in a lock with many readers is a small part of it: their places stay where they are,
//! one that is given back is free for another owner with a name as long, and only the parts that differ are written.
//!
//! What must stay true: at most one exclusive owner, and no readers beside it; a holder whose deadline passed is not the owner any
//! more, even if nobody took the lock since; a new ownership gets a fence above every fence that the caller or the state has seen;
//! re-entry keeps the fence.

use super::codec::{Corrupt, Reader, put_uint};
use super::effect::{Effect, Expiry, differences};
use super::time::UnixMs;

mod draft;
#[cfg(test)]
mod tests;

pub use draft::{Claim, Claimed, Draft, Release};

/// What an error calls this format.
pub const FORMAT: &str = "a lock (format LK1)";

/// The longest owner name.
pub const MAX_OWNER_BYTES: usize = 255;

/// The most holders that one lock can have.
pub const MAX_HOLDERS: usize = 1024;

/// The highest fence; the clock reaches it in 140,000 years. A crafted lock that carries it cannot be succeeded: taking it is an error
/// until its TTL ends.
pub const MAX_FENCE: u64 = 1 << 62;

/// The most places, free ones included: a lock in which more are free than taken is written anew without them.
const MAX_PLACES: usize = 2 * MAX_HOLDERS + 1;

/// From this many places on, only the parts that differ are written.
const LARGE: usize = 16;

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
    /// How often the owner took the lock and did not give it back. 0 is a free place, only in a lock with readers.
    pub holds: u32,
    /// The end of the lease.
    pub deadline: UnixMs,
    /// The fencing number of this ownership.
    pub fence: u64,
}

/// A lock as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The mode of all holders.
    pub mode: Mode,
    /// The highest fencing number of its holders, past ones included.
    pub fence: u64,
    /// At least one that holds it.
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
        let most = if mode == Mode::Exclusive { 1 } else { MAX_PLACES };
        if fence > MAX_FENCE || !(1..=most).contains(&count) {
            return Err(Corrupt);
        }
        let holders = (0..count).map(|_| Holder::decode(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        reader.finish()?;
        let lock = Self { mode, fence, holders };
        let credible = lock.holders.iter().all(|holder| holder.fence <= fence);
        if credible && (1..=MAX_HOLDERS).contains(&lock.taken().count()) { Ok(lock) } else { Err(Corrupt) }
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

    /// The places that are not free.
    fn taken(&self) -> impl Iterator<Item = &Holder> {
        self.holders.iter().filter(|holder| holder.holds > 0)
    }

    /// When the last lease ends.
    #[must_use]
    pub fn deadline(&self) -> UnixMs {
        self.taken().map(|holder| holder.deadline).max().unwrap_or(UnixMs(0))
    }

    /// Only the holders whose lease has not ended, without free places; `None` when nobody is left.
    #[must_use]
    pub fn valid(mut self, now: UnixMs) -> Option<Self> {
        self.holders.retain(|holder| holder.holds > 0 && holder.deadline > now);
        if self.holders.is_empty() { None } else { Some(self) }
    }

    /// The same with the places free whose lease has ended; `None` when nobody is left.
    fn vacated(mut self, now: UnixMs) -> Option<Self> {
        for holder in self.holders.iter_mut().filter(|holder| holder.deadline <= now) {
            holder.holds = 0;
        }
        if self.taken().next().is_none() { None } else { Some(self) }
    }

    /// A place for a new holder: a free one that is as large, else a new one at the end. The other places stay where they are.
    fn add(&mut self, holder: Holder) {
        let fits = |place: &&mut Holder| place.holds == 0 && place.owner.len() == holder.owner.len();
        match self.holders.iter_mut().find(fits) {
            Some(place) => *place = holder,
            None => self.holders.push(holder),
        }
    }

    /// The write that turns the stored bytes `before` into this lock: of the parts that differ, when those are few. The whole is written
    /// without free places when it is small, or most of them are free.
    fn write(mut self, before: Option<&[u8]>) -> Effect<Vec<u8>> {
        let until = self.deadline();
        let taken = self.taken().count();
        if let Some(before) = before
            && self.holders.len().saturating_sub(taken) <= taken
            && let Some(parts) = differences(before, &self.encode())
        {
            return if parts.is_empty() { Effect::Expire(until) } else { Effect::Patch { parts, until } };
        }
        self.holders.retain(|holder| holder.holds > 0);
        Effect::Put { value: self.encode(), expiry: Expiry::At(until) }
    }
}

impl Holder {
    fn decode(reader: &mut Reader) -> Result<Self, Corrupt> {
        let len = usize::try_from(reader.u64(1)?).map_err(|_| Corrupt)?;
        let owner = reader.bytes(len)?.to_vec();
        let holds = u32::try_from(reader.u64(4)?).map_err(|_| Corrupt)?;
        let deadline = UnixMs(reader.u64(6)?);
        let fence = reader.u64(8)?;
        if owner.is_empty() { Err(Corrupt) } else { Ok(Self { owner, holds, deadline, fence }) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(out, u128::try_from(self.owner.len()).unwrap_or(0), 1);
        out.extend(&self.owner);
        put_uint(out, self.holds.into(), 4);
        put_uint(out, self.deadline.0.into(), 6);
        put_uint(out, self.fence.into(), 8);
    }
}
