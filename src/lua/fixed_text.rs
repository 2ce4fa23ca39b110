//! A short text in a fixed array. It has no destructor, so a Lua error may jump past it.

use std::ffi::CStr;
use std::fmt;

/// At most `N - 1` bytes. Bytes that do not fit are dropped.
pub(super) struct FixedText<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> FixedText<N> {
    pub const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub fn push(&mut self, byte: u8) {
        if self.len + 1 < N
            && let Some(place) = self.bytes.get_mut(self.len)
        {
            *place = byte;
            self.len += 1;
        }
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        let room = (N - 1).saturating_sub(self.len);
        let fitting = bytes.get(..room).unwrap_or(bytes);
        let end = self.len + fitting.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(fitting);
            self.len = end;
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The text up to its first NUL.
    pub fn c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Write for FixedText<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.extend(text.as_bytes());
        Ok(())
    }
}
