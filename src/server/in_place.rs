//! Replication through the client's own argument vector: docs/adr/009-replicate-in-place.md.
//!
//! `RM_Replicate` looks its command up by name and makes strings of its arguments, which costs half a SET. `RM_ReplicateVerbatim` takes
//! references to the words of the running command instead. So the words of the effect stand in the vector during that call.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use redis_module::raw;
use smallvec::SmallVec;

use super::module_api::{Ctx, Str, api};
use crate::settings;

/// The longest vector that is used.
const LONGEST: usize = 16;

/// Whether this server is one of the tested ones, whose streams the tests compare word by word. Others get `RM_Replicate`.
static TESTED: AtomicBool = AtomicBool::new(false);

/// Records whether this server is a tested one, at load.
pub fn allow(tested: bool) {
    TESTED.store(tested, Ordering::Relaxed);
}

/// Whether a command of so many words replicates in place.
#[must_use]
pub fn is_on(words: usize) -> bool {
    words <= LONGEST && TESTED.load(Ordering::Relaxed) && settings::REPLICATE_IN_PLACE.get() != 0
}

/// The word that fills a shorter command up to the length of the vector.
#[derive(Debug, Clone, Copy)]
pub enum Pad<'a> {
    /// The command must have the length of the vector.
    None,
    /// The word is repeated at the end.
    End(Str<'a>),
    /// The word is repeated after the command's name and key.
    Second(Str<'a>),
}

/// The words of a command, copied, so that no reference to the vector is alive while its elements are exchanged.
pub type Words<'a> = SmallVec<[Str<'a>; LONGEST]>;

/// The argument vector of the running command, in which the server keeps it.
#[derive(Debug, Clone, Copy)]
pub struct ArgVector {
    first: NonNull<*mut raw::RedisModuleString>,
    len: usize,
}

impl ArgVector {
    /// # Safety
    /// The server passed this vector of `len` words to the command that is running, the value does not outlive that command, and no
    /// reference to the vector is used while the value is.
    #[must_use]
    pub unsafe fn new(first: *mut *mut raw::RedisModuleString, len: usize) -> Option<Self> {
        NonNull::new(first).filter(|_| len <= LONGEST).map(|first| Self { first, len })
    }

    /// The last word, if the vector has that many.
    #[must_use]
    pub fn last_of<'a>(self, words: usize) -> Option<Str<'a>>
    where
        Self: 'a,
    {
        let last = words.checked_sub(1).filter(|_| words == self.len)?;
        // SAFETY: the vector has `len` words, which outlive the running command and so this value (`new`).
        Some(unsafe { Str::kept(self.first.as_ptr().add(last).read()) })
    }

    /// Whether a command of that many words stands in the vector.
    #[must_use]
    pub fn has_room_for(self, words: usize) -> bool {
        words <= self.len
    }

    /// Replicates a command of `words`, if that many stand in the vector; `pad` fills up what is left. Answers whether it did.
    pub fn replicate(self, ctx: Ctx, words: &[Str<'_>], pad: Pad<'_>) -> bool {
        let Some(missing) = self.len.checked_sub(words.len()) else { return false };
        let (at, pad) = match pad {
            Pad::End(pad) => (words.len(), pad.raw()),
            Pad::Second(pad) => (2, pad.raw()),
            Pad::None if missing == 0 => (words.len(), ptr::null_mut()),
            Pad::None => return false,
        };
        let Some((head, tail)) = words.split_at_checked(at) else { return false };
        let mut vector = [ptr::null_mut(); LONGEST];
        let Some(kept) = vector.get_mut(..self.len) else { return false };
        // SAFETY: the load writes the function once, before any command runs. The vector has `len` words and no reference to it is in use
        // (`new`). `head`, the filling and `tail` have `len` words together, and `Str` is a transparent pointer. The server reads the words and
        // takes references, so they may leave the vector again; its own words are back before anything else can look: nothing between may
        // panic or return.
        unsafe {
            let send = api!(RedisModule_ReplicateVerbatim);
            let own = self.first.as_ptr();
            ptr::copy_nonoverlapping(own, kept.as_mut_ptr(), self.len);
            ptr::copy_nonoverlapping(head.as_ptr().cast(), own, head.len());
            (0..missing).for_each(|index| own.add(head.len()).add(index).write(pad));
            ptr::copy_nonoverlapping(tail.as_ptr().cast(), own.add(head.len()).add(missing), tail.len());
            send(ctx.raw());
            ptr::copy_nonoverlapping(kept.as_ptr(), own, self.len);
        }
        true
    }
}
