//! Constant words as strings of the server, made once and kept: the hot path does not allocate them again.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use redis_module::raw;

use super::module_api::{OwnedStr, Str};
use super::thread::ServerThread;

/// A constant word with its string.
pub struct Kept {
    word: &'static str,
    string: AtomicPtr<raw::RedisModuleString>,
}

pub static PXAT: Kept = Kept::new("PXAT");
pub static KEEPTTL: Kept = Kept::new("KEEPTTL");
pub static NX: Kept = Kept::new("NX");
pub static XX: Kept = Kept::new("XX");

/// The words that have a string, for [`free_all`].
static MADE: ServerThread<Vec<&'static Kept>> = ServerThread::new(Vec::new());

impl Kept {
    #[must_use]
    pub const fn new(word: &'static str) -> Self {
        Self { word, string: AtomicPtr::new(ptr::null_mut()) }
    }

    #[must_use]
    pub fn word(&self) -> &'static str {
        self.word
    }

    /// The string, which lives until [`free_all`]. The first call makes it.
    #[must_use]
    pub fn as_str(&'static self) -> Str<'static> {
        let mut string = self.string.load(Ordering::Relaxed);
        if string.is_null() {
            string = ManuallyDrop::new(OwnedStr::new(self.word.as_bytes())).raw();
            self.string.store(string, Ordering::Relaxed);
            if let Some(mut made) = MADE.try_borrow_mut() {
                made.push(self);
            }
        }
        // SAFETY: the module owns the string until `free_all`, which only the end of the module calls.
        unsafe { Str::kept(string) }
    }
}

/// Frees the strings when the module ends. The server's own references stay valid.
pub fn free_all() {
    let made = MADE.try_borrow_mut().map(|mut made| std::mem::take(&mut *made)).unwrap_or_default();
    for kept in made {
        let string = kept.string.swap(ptr::null_mut(), Ordering::Relaxed);
        if !string.is_null() {
            // SAFETY: `as_str` made this string, and the swap lets no second caller free it.
            drop(unsafe { OwnedStr::from_raw(string) });
        }
    }
}
