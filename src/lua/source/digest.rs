//! The SHA1 of a script, which is its name: parsing, formatting and hashing.

use std::hash::{BuildHasher, Hasher, RandomState};

use sha1::{Digest as _, Sha1};

/// The SHA1 of a script's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 20]);

impl Digest {
    /// The digest of a source.
    #[must_use]
    pub fn of(source: &[u8]) -> Self {
        Self(Sha1::digest(source).into())
    }

    #[must_use]
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn bytes(self) -> [u8; 20] {
        self.0
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

/// A bit that no value of a digit has.
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

/// Hashes a digest by mixing its first bytes with a secret. The bytes are uniform already; without the secret a client could
/// choose scripts that collide.
#[derive(Clone)]
pub(in crate::lua) struct DigestHash {
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

pub(in crate::lua) struct DigestHasher {
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

    /// A hashed array writes its length first, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
