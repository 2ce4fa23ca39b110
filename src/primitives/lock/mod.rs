//! Locks: holders, their leases and their fences.
//!
//! A lock is one string that lists its holders. The key expires at the latest deadline; each holder is valid until its own. A string
//! without this module's header is the lock of a client that used `SET key token NX PX ms`. It is respected; its token releases and
//! renews it, but cannot acquire it again.
//!
//! A [`Draft`] makes the decisions: the key is read once, changed any number of times (a release and the next owner, a batch of readers),
//! and written once. In a lock with many readers, one reader changes only a small part. Holders keep their places; a released place is
//! reused by an owner with a name of the same length; only the parts that differ are written.
//!
//! Invariants: there is at most one exclusive owner, and no readers beside it. A holder whose deadline has passed is no longer an owner,
//! even if no client has acquired the lock since. A new ownership gets a fence above every fence that the caller or the stored lock has
//! seen. An owner that acquires the lock again keeps its holds and its fence, unless the request asks for more.

use smallvec::SmallVec;

use super::codec::{Bytes, Corrupt, Name, Reader, Writer};
use super::effect::{Effect, Expiry, differences};
use super::time::UnixMs;

mod draft;
#[cfg(test)]
mod tests;

pub use draft::{Again, Claim, Claimed, Draft, Release};

/// The name of this format in error messages.
pub const FORMAT: &str = "a lock (format LK1)";

pub const MAX_OWNER_BYTES: usize = 255;

/// The most holders of one lock.
pub const MAX_HOLDERS: usize = 1024;

/// The highest fence; the clock reaches it in 140,000 years. No fence is left after a crafted lock with this one: acquiring it is an error
/// until its TTL ends.
pub const MAX_FENCE: u64 = 1 << 62;

/// The most places, free ones included. A lock with more free places than taken ones is rewritten without them.
const MAX_PLACES: usize = 2 * MAX_HOLDERS + 1;

/// A lock with at least this many places writes only the parts that differ.
const LARGE: usize = 16;

const MAGIC: &[u8] = b"\xa7LK\x01";

/// Before the first holder: magic, mode, fence and number of places.
const HEADER_BYTES: usize = 4 + 1 + 8 + 2;
/// Beside the owner of a place: the owner's length, holds, deadline and fence.
const PLACE_BYTES: usize = 1 + 4 + 6 + 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Exclusive,
    /// The holders are readers.
    Shared,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The name that the client gave, 1 to [`MAX_OWNER_BYTES`] bytes.
    pub owner: Name,
    /// How many releases the owner needs. 0 marks a free place; only shared locks have one.
    pub holds: u32,
    /// The end of the lease.
    pub deadline: UnixMs,
    /// The fencing token of this ownership.
    pub fence: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The mode of all holders.
    pub mode: Mode,
    /// The highest fence of its holders, past ones included.
    pub fence: u64,
    /// At least one has holds.
    pub holders: SmallVec<[Holder; 1]>,
}

/// The value of a lock's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    Ours(Lock),
    /// The lock of a client that used `SET key token NX PX ms`.
    Foreign {
        token: Name,
        /// The expiry time of the key, if it has one.
        until: Option<UnixMs>,
    },
}

/// Whether the value of a key has this module's header. Otherwise it is another client's token.
#[must_use]
pub fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl Stored {
    /// Fails on bytes that have this module's header and are not a lock. `until`, the expiry time of the key, is that of a foreign lock.
    pub fn decode(bytes: &[u8], until: impl FnOnce() -> Option<UnixMs>) -> Result<Self, Corrupt> {
        if is_ours(bytes) {
            Ok(Self::Ours(Lock::decode(bytes)?))
        } else {
            Ok(Self::Foreign { token: Name::from_slice(bytes), until: until() })
        }
    }

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
        let mut lock = Self { mode, fence, holders: SmallVec::new() };
        for _ in 0..count {
            lock.holders.push(Holder::decode(&mut reader)?);
        }
        reader.finish()?;
        let credible = lock.holders.iter().all(|holder| holder.fence <= fence);
        if credible && (1..=MAX_HOLDERS).contains(&lock.taken().count()) { Ok(lock) } else { Err(Corrupt) }
    }

    fn encode(&self) -> Bytes {
        let holders: usize = self.holders.iter().map(Holder::encoded_len).sum();
        Writer::fill(HEADER_BYTES.saturating_add(holders), |out| {
            out.bytes(MAGIC);
            out.uint::<1>(if self.mode == Mode::Exclusive { 0 } else { 1 });
            out.uint::<8>(self.fence);
            out.uint::<2>(u64::try_from(self.holders.len()).unwrap_or(0));
            self.holders.iter().for_each(|holder| holder.encode(out));
        })
    }

    fn taken(&self) -> impl Iterator<Item = &Holder> {
        self.holders.iter().filter(|holder| holder.holds > 0)
    }

    /// Whether one more owner may acquire this held lock.
    fn admits(&self, mode: Mode) -> bool {
        (self.mode, mode) == (Mode::Shared, Mode::Shared) && self.taken().count() < MAX_HOLDERS
    }

    /// When the last lease ends.
    #[must_use]
    pub fn deadline(&self) -> UnixMs {
        self.taken().map(|holder| holder.deadline).max().unwrap_or(UnixMs(0))
    }

    /// Removes free places and the holders whose lease has ended. False if no holder is left.
    #[must_use]
    pub fn retain_valid(&mut self, now: UnixMs) -> bool {
        self.holders.retain(|holder| holder.holds > 0 && holder.deadline > now);
        !self.holders.is_empty()
    }

    /// Frees the places of the holders whose lease has ended. False if no holder is left.
    fn vacate(&mut self, now: UnixMs) -> bool {
        for holder in self.holders.iter_mut().filter(|holder| holder.deadline <= now) {
            holder.holds = 0;
        }
        self.taken().next().is_some()
    }

    /// Puts a new holder into a free place of the same size, or into a new place at the end. The other places do not move.
    fn add(&mut self, holder: Holder) {
        let fits = |place: &&mut Holder| place.holds == 0 && place.owner.len() == holder.owner.len();
        match self.holders.iter_mut().find(fits) {
            Some(place) => *place = holder,
            None => self.holders.push(holder),
        }
    }

    /// The write that turns the stored bytes `before` into this lock. It writes the parts that differ if they are few. It writes the whole
    /// lock, without free places, if the lock is small or most of its places are free.
    fn write(mut self, before: Option<&[u8]>) -> Effect<Bytes> {
        let until = self.deadline();
        if let Some(before) = before {
            let taken = self.taken().count();
            if self.holders.len().saturating_sub(taken) <= taken
                && let Some(parts) = differences(before, &self.encode())
            {
                return if parts.is_empty() { Effect::Expire(until) } else { Effect::Patch { parts, until } };
            }
        }
        self.holders.retain(|holder| holder.holds > 0);
        Effect::Put { value: self.encode(), expiry: Expiry::At(until) }
    }
}

impl Holder {
    fn decode(reader: &mut Reader) -> Result<Self, Corrupt> {
        let len = usize::try_from(reader.u64(1)?).map_err(|_| Corrupt)?;
        let owner = Name::from_slice(reader.bytes(len)?);
        let holds = u32::try_from(reader.u64(4)?).map_err(|_| Corrupt)?;
        let deadline = UnixMs(reader.u64(6)?);
        let fence = reader.u64(8)?;
        if owner.is_empty() { Err(Corrupt) } else { Ok(Self { owner, holds, deadline, fence }) }
    }

    fn encoded_len(&self) -> usize {
        self.owner.len().saturating_add(PLACE_BYTES)
    }

    fn encode(&self, out: &mut Writer<'_>) {
        out.uint::<1>(u64::try_from(self.owner.len()).unwrap_or(0));
        out.bytes(&self.owner);
        out.uint::<4>(self.holds.into());
        out.uint::<6>(self.deadline.0);
        out.uint::<8>(self.fence);
    }
}
