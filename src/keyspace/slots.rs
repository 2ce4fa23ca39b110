//! The slots of a cluster: a script that declares flags may use the keys of one slot only, unless it says otherwise.

use std::ffi::c_int;
use std::slice;

use redis_module::raw;

use super::module_api::{Ctx, OwnedStr, api};

/// The slot that a run uses: that of its first key.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneSlot(Option<u16>);

impl OneSlot {
    /// A run that declares this key, if any: the server has seen to it that all declared keys are in one slot.
    #[must_use]
    pub fn of(declared: Option<&[u8]>) -> Self {
        Self(declared.map(slot))
    }

    /// Whether all keys of the command are in the slot. A command that the server finds no keys in, or keys of several slots, it refuses
    /// itself.
    pub fn allows(&mut self, ctx: Ctx, argv: &[&[u8]]) -> bool {
        let mut slots = ctx.keys_of(argv).into_iter().filter_map(|at| argv.get(at)).map(|key| slot(key));
        let Some(first) = slots.next() else { return true };
        slots.any(|slot| slot != first) || *self.0.get_or_insert(first) == first
    }
}

impl Ctx {
    /// The positions of the keys among the words of a command.
    fn keys_of(self, argv: &[&[u8]]) -> Vec<usize> {
        let strings: Vec<_> = argv.iter().map(|arg| OwnedStr::new(arg)).collect();
        let words = OwnedStr::slice_as_str(&strings);
        let mut count: c_int = 0;
        // SAFETY: the server reads the words; what it answers is an array of `count` integers, or null, that we free.
        unsafe {
            let words = words.as_ptr().cast_mut().cast::<*mut raw::RedisModuleString>();
            let found = api!(RedisModule_GetCommandKeys)(
                self.raw(),
                words,
                c_int::try_from(argv.len()).unwrap_or(c_int::MAX),
                &raw mut count,
            );
            if found.is_null() {
                return Vec::new();
            }
            let positions = slice::from_raw_parts(found, usize::try_from(count).unwrap_or(0));
            let positions = positions.iter().filter_map(|&at| usize::try_from(at).ok()).collect();
            api!(RedisModule_Free)(found.cast());
            positions
        }
    }
}

/// The slot of a key: CRC16 (XMODEM) of what stands between the first `{` and the next `}`, or of all if that is empty.
fn slot(key: &[u8]) -> u16 {
    const LAST: u16 = 16_383;
    crc16(tag(key)) & LAST
}

fn tag(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let behind = key.get(open.saturating_add(1)..)?;
        behind.get(..behind.iter().position(|&byte| byte == b'}')?)
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

fn crc16(bytes: &[u8]) -> u16 {
    const POLYNOMIAL: u16 = 0x1021;
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, expected) in [("123456789", 0x31C3), ("a", 15_495), ("{a}b", 15_495), ("x{a}y{b}", 15_495), ("foo", 12_182)] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"{}a"), crc16(b"{}a") & 16_383);
        assert_eq!(slot(b"{a"), crc16(b"{a") & 16_383);
    }
}
