//! Words that the server takes as strings of its own, made once and kept: what runs often does not make them anew.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use redis_module::raw;

use super::module_api::{OwnedStr, Str};
use super::thread::ServerThread;

/// A word that is kept.
pub struct Kept {
    word: &'static str,
    string: AtomicPtr<raw::RedisModuleString>,
}

/// `PXAT`
pub static PXAT: Kept = Kept::new("PXAT");

/// `KEEPTTL`
pub static KEEPTTL: Kept = Kept::new("KEEPTTL");

/// The words whose strings were made.
static MADE: ServerThread<Vec<&'static Kept>> = ServerThread::new(Vec::new());

impl Kept {
    /// The word, of which there is no string yet.
    #[must_use]
    pub const fn new(word: &'static str) -> Self {
        Self { word, string: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The word itself.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.word
    }

    /// Its string, which lives until [`free_all`].
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
        // SAFETY: the string is ours until `free_all`, which only the unload of the module calls.
        unsafe { Str::kept(string) }
    }
}

/// Frees the strings, for the unload of the module. Who else holds one has a reference of its own.
pub fn free_all() {
    let made = MADE.try_borrow_mut().map(|mut made| std::mem::take(&mut *made)).unwrap_or_default();
    for kept in made {
        let string = kept.string.swap(ptr::null_mut(), Ordering::Relaxed);
        if !string.is_null() {
            // SAFETY: made by `as_str` and not freed since.
            drop(unsafe { OwnedStr::from_raw(string) });
        }
    }
}
