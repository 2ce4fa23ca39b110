//! The scripts that the engine knows, by the SHA1 of their source: the one place that knows digests.
//!
//! A script that was loaded stays until the cache is flushed. Scripts that only EVAL has seen are evictable: they are bounded
//! in count and in bytes, and the least recently used goes first. Sources are kept, so that a script outlives the VM it was
//! compiled in: what is compiled carries the VM's number and is compiled again, when it is used, if that is not the current
//! one.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use sha1::{Digest as _, Sha1};

use super::port::Flags;
use super::stack::Ref;

/// At most this many evictable scripts, as in Redis.
pub const EVICTABLE_SCRIPTS: usize = 500;

/// At most this many bytes of source in evictable scripts.
pub const EVICTABLE_BYTES: usize = 16 << 20;

/// The SHA1 of a script's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 20]);

impl Digest {
    /// The digest of a source.
    #[must_use]
    pub fn of(source: &[u8]) -> Self {
        Self(Sha1::digest(source).into())
    }

    /// Reads 40 hexadecimal digits of either case; `None` for anything else.
    #[must_use]
    pub fn parse(hex: &[u8]) -> Option<Self> {
        let (pairs, rest) = hex.as_chunks::<2>();
        let pairs: &[[u8; 2]; 20] = pairs.try_into().ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut bytes = [0; 20];
        let mut wrong = 0;
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            let (high, low) = (nibble(high), nibble(low));
            *byte = high << 4 | low;
            wrong |= high | low;
        }
        (wrong & NO_DIGIT == 0).then_some(Self(bytes))
    }

    /// 40 hexadecimal digits in lower case.
    #[must_use]
    pub fn hex(self) -> [u8; 40] {
        let mut hex = [0; 40];
        for (pair, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        hex
    }
}

/// A bit that no digit has.
const NO_DIGIT: u8 = 0x80;

/// The values of hexadecimal digits. Every EVALSHA reads forty.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [NO_DIGIT; 256];
    let mut at = 0;
    #[allow(clippy::indexing_slicing)]
    while at < 16 {
        nibbles[b"0123456789abcdef"[at] as usize] = at as u8;
        nibbles[b"0123456789ABCDEF"[at] as usize] = at as u8;
        at += 1;
    }
    nibbles
};

fn nibble(digit: u8) -> u8 {
    // A byte is always within.
    NIBBLES.get(usize::from(digit)).copied().unwrap_or(NO_DIGIT)
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) }
}

/// Hashes a digest by mixing its first bytes with a secret: the bytes are uniform already, and without the secret nobody can
/// choose scripts that collide.
#[derive(Clone)]
struct DigestHash {
    secret: u64,
}

impl Default for DigestHash {
    fn default() -> Self {
        Self { secret: RandomState::new().build_hasher().finish() }
    }
}

impl BuildHasher for DigestHash {
    type Hasher = DigestHasher;

    fn build_hasher(&self) -> DigestHasher {
        DigestHasher { secret: self.secret, hash: 0 }
    }
}

struct DigestHasher {
    secret: u64,
    hash: u64,
}

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        let first = bytes.first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first));
        let mixed = u128::from(first ^ self.secret) * 0x9E37_79B9_7F4A_7C15;
        let [a, b, c, d, e, f, g, h, rest @ ..] = mixed.to_le_bytes();
        self.hash ^= u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ u64::from_le_bytes(rest);
    }

    /// The length that a hashed array writes first: always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// A function in a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compiled {
    /// The VM's number.
    pub vm: u64,
    /// The function.
    pub function: Ref,
    /// What the script declares.
    pub flags: Option<Flags>,
}

/// A script.
pub(super) struct Script {
    /// Its source.
    pub source: Box<[u8]>,
    /// The function, if it was compiled.
    pub compiled: Option<Compiled>,
    kept: bool,
    used: u64,
}

/// What INFO shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Scripts.
    pub scripts: usize,
    /// Bytes of their sources.
    pub bytes: usize,
    /// Scripts that were evicted since the engine started.
    pub evicted: u64,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Cache {
    scripts: HashMap<Digest, Script, DigestHash>,
    clock: u64,
    bytes: usize,
    evictable: usize,
    evictable_bytes: usize,
    evicted: u64,
}

impl Cache {
    /// Whether the script is known.
    pub fn contains(&self, digest: Digest) -> bool {
        self.scripts.contains_key(&digest)
    }

    /// The source of a script.
    pub fn source(&self, digest: Digest) -> Option<&[u8]> {
        self.scripts.get(&digest).map(|script| &*script.source)
    }

    /// The script, which has now been used.
    pub fn get(&mut self, digest: Digest) -> Option<&mut Script> {
        self.clock += 1;
        let script = self.scripts.get_mut(&digest)?;
        script.used = self.clock;
        Some(script)
    }

    /// Adds a script that is not known yet.
    pub fn insert(&mut self, digest: Digest, source: &[u8], compiled: Compiled) {
        self.clock += 1;
        let script = Script { source: source.into(), compiled: Some(compiled), kept: false, used: self.clock };
        self.bytes += source.len();
        self.evictable += 1;
        self.evictable_bytes += source.len();
        self.scripts.insert(digest, script);
    }

    /// A known script is never evicted from now on.
    pub fn keep(&mut self, digest: Digest) {
        if let Some(script) = self.scripts.get_mut(&digest).filter(|script| !script.kept) {
            script.kept = true;
            self.evictable -= 1;
            self.evictable_bytes -= script.source.len();
        }
    }

    /// Removes the least recently used evictable script while there are too many. The one used last is never removed.
    pub fn evict(&mut self) -> Option<Script> {
        if self.evictable <= 1 || (self.evictable <= EVICTABLE_SCRIPTS && self.evictable_bytes <= EVICTABLE_BYTES) {
            return None;
        }
        let evictable = self.scripts.iter().filter(|(_, script)| !script.kept);
        let (&digest, _) = evictable.min_by_key(|(_, script)| script.used)?;
        let script = self.scripts.remove(&digest)?;
        self.bytes -= script.source.len();
        self.evictable -= 1;
        self.evictable_bytes -= script.source.len();
        self.evicted += 1;
        Some(script)
    }

    /// Forgets all scripts.
    pub fn clear(&mut self) {
        *self = Self { evicted: self.evicted, ..Self::default() };
    }

    /// What there is.
    pub fn stats(&self) -> CacheStats {
        CacheStats { scripts: self.scripts.len(), bytes: self.bytes, evicted: self.evicted }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const COMPILED: Compiled = Compiled { vm: 0, function: Ref::NIL, flags: None };

    fn add(cache: &mut Cache, source: &[u8]) -> Digest {
        let digest = Digest::of(source);
        cache.insert(digest, source, COMPILED);
        digest
    }

    #[test]
    fn digest_reads_what_it_writes_in_any_case() {
        let digest = Digest::of(b"return 1");
        assert_eq!(&digest.hex(), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(Digest::parse(b"E0E1F9fabfc9d4800c877a703b823ac0578ff8db"), Some(digest));
        for wrong in [&b""[..], b"e0", b"g0e1f9fabfc9d4800c877a703b823ac0578ff8db", b"e0e1f9fabfc9d4800c877a703b823ac0578ff8dbe"]
        {
            assert_eq!(Digest::parse(wrong), None);
        }
    }

    #[test]
    fn least_recently_used_is_evicted_and_kept_scripts_stay() {
        let mut cache = Cache::default();
        let digests: Vec<_> = (0..=EVICTABLE_SCRIPTS).map(|i| add(&mut cache, format!("return {i}").as_bytes())).collect();
        cache.get(digests[0]);
        assert!(cache.evict().is_some());
        assert!(cache.evict().is_none());
        assert!(cache.contains(digests[0]) && !cache.contains(digests[1]));
        cache.keep(digests[2]);
        add(&mut cache, b"a");
        assert!(cache.evict().is_none());
        add(&mut cache, b"b");
        assert!(cache.evict().is_some());
        assert!(cache.contains(digests[2]) && !cache.contains(digests[3]));
        assert_eq!(cache.stats().evicted, 2);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut cache = Cache::default();
        let big = vec![b'-'; EVICTABLE_BYTES + 1];
        let first = add(&mut cache, b"a");
        let last = add(&mut cache, &big);
        assert!(cache.evict().is_some());
        assert!(cache.evict().is_none(), "the script that was just used stays");
        assert!(!cache.contains(first) && cache.contains(last));
        assert_eq!(cache.stats().bytes, big.len());
        cache.clear();
        assert_eq!(cache.stats(), CacheStats { scripts: 0, bytes: 0, evicted: 1 });
    }
}
