//! Reads and writes stored states: a cursor over bytes that fails instead of panicking, and a writer of the same fields.
//!
//! Integers are big-endian and as wide as their documented range. Each format starts with its own magic bytes and version. A decoder
//! accepts exactly what its encoder writes and returns [`Corrupt`] for everything else, trailing bytes included. `docs/design.md`
//! describes the layouts: if you change one here, give it a new version there.

use smallvec::SmallVec;

/// An encoded state, a member or a name. The common ones need no allocation: the lock of an owner whose name is a UUID has 70 bytes.
pub type Bytes = SmallVec<[u8; INLINE]>;

const INLINE: usize = 72;

/// The name of an owner. A common one needs no allocation.
pub type Name = SmallVec<[u8; 40]>;

/// The bytes are not a state of the expected format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

/// A cursor over stored bytes.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `len` bytes.
    #[inline]
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(Corrupt)?;
        self.0 = tail;
        Ok(head)
    }

    /// The next `width` bytes (at most 16) as an unsigned integer.
    pub fn uint(&mut self, width: usize) -> Result<u128, Corrupt> {
        Ok(self.bytes(width)?.iter().fold(0, |value, &byte| (value << 8) | u128::from(byte)))
    }

    /// The next `width` bytes (at most 8) as an unsigned integer.
    #[inline]
    pub fn u64(&mut self, width: usize) -> Result<u64, Corrupt> {
        let bytes = self.bytes(width)?;
        if width > 8 {
            return Err(Corrupt);
        }
        Ok(bytes.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte)))
    }

    /// Fails unless the next bytes are `expected`.
    pub fn literal(&mut self, expected: &[u8]) -> Result<(), Corrupt> {
        if self.bytes(expected.len())? == expected { Ok(()) } else { Err(Corrupt) }
    }

    /// Fails if any bytes are left.
    pub fn finish(self) -> Result<(), Corrupt> {
        if self.0.is_empty() { Ok(()) } else { Err(Corrupt) }
    }
}

/// Fills a state whose length is known: a field of constant width costs a few instructions, but each growth of a vector costs many.
pub struct Writer<'a>(&'a mut [u8]);

impl<'a> Writer<'a> {
    /// A state of this length.
    #[inline]
    pub fn fill(len: usize, fill: impl FnOnce(&mut Writer<'_>)) -> Bytes {
        let mut out = if len <= INLINE { Bytes::from_buf_and_len([0; INLINE], len) } else { Bytes::from_elem(0, len) };
        let mut writer = Writer(&mut out);
        fill(&mut writer);
        debug_assert!(writer.0.is_empty(), "{} bytes are missing", writer.0.len());
        out
    }

    #[must_use]
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    /// The low `N` bytes of `value`, which must fit: the caller knows the field's range.
    #[inline]
    pub fn uint<const N: usize>(&mut self, value: u64) {
        debug_assert!(N >= 8 || value >> (8 * N) == 0, "value wider than its field");
        if let Some((field, rest)) = std::mem::take(&mut self.0).split_first_chunk_mut::<N>()
            && let Some(low) = value.to_be_bytes().last_chunk::<N>()
        {
            *field = *low;
            self.0 = rest;
        }
    }

    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        if let Some((field, rest)) = std::mem::take(&mut self.0).split_at_mut_checked(bytes.len()) {
            field.copy_from_slice(bytes);
            self.0 = rest;
        }
    }
}

/// Appends the low `width` bytes of `value`, which must fit: the caller knows the field's range.
#[inline]
pub fn put_uint(out: &mut Bytes, value: u128, width: usize) {
    let bytes = value.to_be_bytes();
    debug_assert!(width >= 16 || value >> (8 * width) == 0, "value wider than its field");
    out.extend_from_slice(bytes.get(bytes.len().saturating_sub(width)..).unwrap_or(&bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_round_trip() {
        let mut out = Bytes::new();
        put_uint(&mut out, 0x01_02_03, 3);
        put_uint(&mut out, u128::from(u64::MAX), 8);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.u64(3), Ok(0x01_02_03));
        assert_eq!(reader.u64(8), Ok(u64::MAX));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_writer_fills_what_a_reader_reads() {
        let out = Writer::fill(4 + 80, |out| {
            out.bytes(b"x");
            out.uint::<3>(0x01_02_03);
            (0..10).for_each(|_| out.uint::<8>(u64::MAX));
        });
        let mut reader = Reader::new(&out);
        assert_eq!((reader.literal(b"x"), reader.u64(3)), (Ok(()), Ok(0x01_02_03)));
        assert!((0..10).all(|_| reader.u64(8) == Ok(u64::MAX)) && reader.finish() == Ok(()));
    }

    #[test]
    fn short_wrong_and_trailing_bytes_are_corrupt() {
        assert_eq!(Reader::new(b"ab").bytes(3), Err(Corrupt));
        assert_eq!(Reader::new(b"ab").literal(b"ac"), Err(Corrupt));
        assert_eq!(Reader::new(b"ab").finish(), Err(Corrupt));
        assert_eq!(Reader::new(&[1; 9]).u64(9), Err(Corrupt));
    }
}
