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
        let hex: &[u8; 40] = hex.try_into().ok()?;
        let mut bytes = [0; 20];
        let mut wrong = 0;
        for (bytes, digits) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(hex.as_chunks::<8>().0) {
            let (value, errors) = eight(u64::from_be_bytes(*digits));
            *bytes = value.to_be_bytes();
            wrong |= errors;
        }
        (wrong == 0).then_some(Self(bytes))
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

/// The value of eight hexadecimal digits, one in each byte, the first one highest; and not zero if one of them is no digit. Every
/// EVALSHA reads forty.
fn eight(digits: u64) -> (u32, u64) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES * 0x80;
    // In lower case; the digits 0 to 9 stay as they are. A byte above 127 is none, and without its top bit no sum below carries.
    let lower = (digits | (ONES * 0x20)) & !HIGH;
    let at_least = |byte: u64| (lower + ONES * (0x80 - byte)) & HIGH;
    let is_number = at_least(0x30) & !at_least(0x3a);
    let is_letter = at_least(0x61) & !at_least(0x67);
    // The codes 16 to 25 become numbers only by the bit of lower case.
    let wrong = HIGH & (!(is_number | is_letter) | digits | (is_number & !(digits << 2)));
    let nibbles = (lower & (ONES * 0x0f)) + (is_letter >> 7) * 9;
    // Two digits make a byte: of each pair the first is in the byte above.
    let pairs = (nibbles >> 4 | nibbles) & 0x00ff_00ff_00ff_00ff;
    let words = (pairs >> 8 | pairs) & 0x0000_ffff_0000_ffff;
    let value = (words >> 16 | words) & 0xffff_ffff;
    (u32::try_from(value).unwrap_or(0), wrong)
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

#[allow(clippy::indexing_slicing)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_reads_what_it_writes_in_any_case() {
        let digest = Digest::of(b"return 1");
        assert_eq!(&digest.hex(), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(Digest::parse(b"E0E1F9fabfc9d4800c877a703b823ac0578ff8db"), Some(digest));
        for at in 0..40 {
            for byte in 0..=u8::MAX {
                let mut hex = digest.hex();
                hex[at] = byte;
                assert_eq!(Digest::parse(&hex).is_some(), byte.is_ascii_hexdigit(), "{byte} at {at}");
                assert!(Digest::parse(&hex).is_none_or(|digest| digest.hex() == hex.to_ascii_lowercase()[..]));
            }
        }
        for wrong in [&b""[..], b"e0", b"g0e1f9fabfc9d4800c877a703b823ac0578ff8db", b"e0e1f9fabfc9d4800c877a703b823ac0578ff8dbe"]
        {
            assert_eq!(Digest::parse(wrong), None);
        }
    }
}
