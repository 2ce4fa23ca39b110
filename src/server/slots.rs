//! The slots of a cluster, and the keys that a run may use there.
//!
//! Since Redis 7.4 and Valkey 8.0 a node keeps the keys of each slot in a separate table. While a client executes a command that declares
//! keys, the server looks up *every* key in the table of their slot; in EXEC, in that of the transaction's slot. It computes the slot of a
//! key only if no keys are declared. The server's own engine sets the slot for each call of a script. `RM_Call` and `RM_OpenKey` do not,
//! and a module cannot: the server would read and write a key of another slot in the wrong table, where no other command finds it.
//!
//! So a run knows the slot in which the server looks ([`Slots`]), and each call of the run is checked first.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use super::args::parse_i64;
use super::module_api::{Ctx, Str};
use crate::error::{Error, Result};

/// Error replies to scripts. The first two start alike, because clients know that text.
const OTHER_SLOT: &[u8] = b"-ERR Script attempted to access keys that do not hash to the same slot\r\n";
const UNDECLARED_SLOT: &[u8] =
    b"-ERR Script attempted to access keys that do not hash to the same slot (in a cluster: declare keys of one \
slot and use that slot only, or declare no keys)\r\n";
const UNDECLARED_IN_EXEC: &[u8] =
    b"-ERR Script attempted to access undeclared keys in MULTI (in a cluster: declare the keys)\r\n";
const ALL_KEYS: &[u8] =
    b"-ERR Script attempted to access the keys of all slots (in a cluster: declare no keys, and do not use MULTI)\r\n";

/// Whether this server is a node of a cluster. That never changes while it runs.
static CLUSTER: AtomicBool = AtomicBool::new(false);

/// Whether this server is a node of a cluster with a table for each slot.
static TABLES: AtomicBool = AtomicBool::new(false);

/// The slot of the command that runs another one for its client ([`within`]), or [`NO_COMMAND`].
static OUTER: AtomicU16 = AtomicU16::new(NO_COMMAND);

const NO_COMMAND: u16 = u16::MAX;

/// Reads the server's mode and version, at load.
pub fn look(ctx: Ctx) {
    let cluster = ctx.flags().is_cluster();
    let valkey = ctx.info_field(c"server", c"valkey_version").is_some();
    let redis = ctx.info_field(c"server", c"redis_version").unwrap_or_default();
    CLUSTER.store(cluster, Ordering::Relaxed);
    TABLES.store(cluster && (valkey || has_tables(&redis)), Ordering::Relaxed);
}

/// Whether a Redis of this version has a table for each slot. 7.3 is a preview of 7.4; an unreadable version counts as a new one.
fn has_tables(version: &str) -> bool {
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    parts.next().zip(parts.next()).is_none_or(|version| version >= (7, 3))
}

/// Whether this server is a node of a cluster.
#[must_use]
pub fn is_cluster() -> bool {
    CLUSTER.load(Ordering::Relaxed)
}

/// Whether this server looks up keys in the table of the slot that the client's command declares.
#[must_use]
pub fn has_table_per_slot() -> bool {
    TABLES.load(Ordering::Relaxed)
}

/// The number of slots that the kind of a run allows, regardless of the keys that it declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    One,
    /// All slots of this node.
    All,
}

/// The slots whose keys a run may use.
#[derive(Debug, Clone, Copy, Default)]
pub enum Slots {
    /// All slots of this node.
    #[default]
    All,
    /// The slot of the first key. The server computes the slot of each key.
    First(Option<u16>),
    /// The slot in which the server looks up all keys, and the error for a call with another key.
    Declared(u16, &'static [u8]),
    /// No slot: the slot in which the server looks is unknown.
    None,
}

impl Slots {
    /// The slots of a run for the command of `ctx`. `declared` is its first declared key, if any; the server has checked that all declared
    /// keys are in one slot.
    #[must_use]
    pub fn of_run(ctx: Ctx, declared: Option<&[u8]>, allowed: Allowed) -> Self {
        if !is_cluster() {
            return Self::All;
        }
        let first = declared.map(slot).or_else(|| outer().filter(|_| has_table_per_slot()));
        match (first, allowed) {
            (Some(slot), Allowed::One) if has_table_per_slot() => Self::Declared(slot, OTHER_SLOT),
            (Some(slot), Allowed::All) if has_table_per_slot() => Self::Declared(slot, UNDECLARED_SLOT),
            (None, _) if has_table_per_slot() && ctx.flags().is_in_exec() => Self::None,
            (_, Allowed::One) => Self::First(first),
            (_, Allowed::All) => Self::All,
        }
    }

    /// Whether the run may use every key, so that no check is needed.
    #[must_use]
    pub fn are_all(self) -> bool {
        matches!(self, Self::All)
    }

    /// Checks the keys of a command. If the server computes the slot of each key, it also refuses keys of several slots itself.
    pub fn check<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) -> std::result::Result<(), &'static [u8]> {
        let mut slots = keys.map(slot);
        let (allowed, refusal) = match self {
            Self::All => (true, OTHER_SLOT),
            Self::First(one) => {
                let Some(first) = slots.next() else { return Ok(()) };
                (slots.any(|slot| slot != first) || *one.get_or_insert(first) == first, OTHER_SLOT)
            }
            Self::Declared(declared, refusal) => (slots.all(|slot| slot == *declared), *refusal),
            Self::None => (slots.next().is_none(), UNDECLARED_IN_EXEC),
        };
        if allowed { Ok(()) } else { Err(refusal) }
    }

    /// Checks a command that reads the keys of all slots.
    pub fn check_all_keys(self) -> std::result::Result<(), &'static [u8]> {
        if matches!(self, Self::Declared(..) | Self::None) { Err(ALL_KEYS) } else { Ok(()) }
    }
}

/// Runs a command for the client of another command, whose first key is `key`. The server looks up all keys in the slot of that command, so
/// a run inside that declares no keys must keep to this slot, too.
pub fn within<R>(key: &[u8], run: impl FnOnce() -> R) -> R {
    /// Restores the slot, also on a panic.
    struct End(u16);
    impl Drop for End {
        fn drop(&mut self) {
            OUTER.store(self.0, Ordering::Relaxed);
        }
    }
    let slot = if is_cluster() { slot(key) } else { 0 };
    let _end = End(OUTER.swap(slot, Ordering::Relaxed));
    run()
}

fn outer() -> Option<u16> {
    Some(OUTER.load(Ordering::Relaxed)).filter(|slot| *slot != NO_COMMAND)
}

/// Refuses to relay a script or a function to the server's own engine if that would be unsafe, or if the engine would not find its keys: under
/// `RM_Call` that engine cannot set the slot of a call either.
///
/// It is unsafe [`within`] another command: while a slow script runs, the server frees the client that sent the outer command, if it
/// disconnects, and then crashes.
pub fn check_relay(ctx: Ctx, name: &CStr, args: &[Str<'_>]) -> Result<()> {
    let name = name.to_bytes();
    let runs = name.starts_with(b"EVAL") || name.starts_with(b"FCALL");
    let declares_keys = || args.get(1).is_none_or(|count| parse_i64(count.bytes()) != Some(0));
    let inside = outer().is_some();
    let no_slot = || has_table_per_slot() && (declares_keys() || ctx.flags().is_in_exec());
    if !runs || !(inside || no_slot()) {
        return Ok(());
    }
    Err(match name {
        b"EVALSHA" | b"EVALSHA_RO" => Error::NoScript,
        b"FCALL" | b"FCALL_RO" if inside => {
            Error::Text("ERR Function not found, or only the server's own engine can run it, which ATOMIC.IDEM cannot use")
        }
        _ if inside => Error::Text("ERR only the server's own engine can run this script, and ATOMIC.IDEM cannot use it"),
        b"FCALL" | b"FCALL_RO" => {
            Error::Text("ERR Function not found, or only the server's own engine can run it: in a cluster, call it with FCALL")
        }
        _ => Error::Text(
            "ERR only the server's own engine can run this script: in a cluster, that requires drop-in mode to be off",
        ),
    })
}

/// The slot of a key: CRC16 (XMODEM) of the bytes between the first `{` and the next `}`, or of the whole key if there are none.
fn slot(key: &[u8]) -> u16 {
    const LAST: u16 = 16_383;
    crc16(tag(key)) & LAST
}

fn tag(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = key.get(open.saturating_add(1)..)?;
        rest.get(..rest.iter().position(|&byte| byte == b'}')?)
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let [high, low] = u16::to_be_bytes(crc);
        (u16::from(low) << 8) ^ CRC16.get(usize::from(high ^ byte)).copied().unwrap_or(0)
    })
}

/// The CRC of each byte.
static CRC16: [u16; 256] = {
    const POLYNOMIAL: u16 = 0x1021;
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL };
            bit += 1;
        }
        #[allow(clippy::indexing_slicing, clippy::as_conversions)]
        {
            table[byte as usize] = crc;
        }
        byte += 1;
    }
    table
};

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

    #[test]
    fn tables_came_with_7_4() {
        for (version, expected) in [("7.0.15", false), ("7.2.4", false), ("7.3.240", true), ("8.0.2", true), ("10.0.0", true)] {
            assert_eq!(has_tables(version), expected, "{version}");
        }
        assert!(has_tables("255.255.255") && has_tables("unstable") && has_tables(""));
    }

    #[test]
    fn a_run_keeps_to_its_slots() {
        type Row = (Slots, &'static [&'static [&'static str]], Option<&'static [u8]>);
        let keys = |keys: &[&'static str]| keys.iter().map(|key| key.as_bytes()).collect::<Vec<_>>();
        let rows: &[Row] = &[
            (Slots::All, &[&["a"], &["b"], &["a", "b"]], None),
            (Slots::First(None), &[&[], &["{a}1"], &["a", "{a}2"]], None),
            (Slots::First(None), &[&["a"], &["b"]], Some(OTHER_SLOT)),
            (Slots::First(Some(15_495)), &[&["b"]], Some(OTHER_SLOT)),
            // The server refuses several slots in one command itself.
            (Slots::First(None), &[&["a", "b"], &["b"]], None),
            (Slots::Declared(15_495, UNDECLARED_SLOT), &[&[], &["a"], &["a", "{a}b"]], None),
            (Slots::Declared(15_495, UNDECLARED_SLOT), &[&["a", "b"]], Some(UNDECLARED_SLOT)),
            (Slots::Declared(15_495, OTHER_SLOT), &[&["b"]], Some(OTHER_SLOT)),
            (Slots::None, &[&[]], None),
            (Slots::None, &[&["a"]], Some(UNDECLARED_IN_EXEC)),
        ];
        for (slots, calls, refusal) in rows {
            let mut slots = *slots;
            let outcome = calls.iter().try_for_each(|call| slots.check(keys(call).into_iter()));
            assert_eq!(outcome.err(), *refusal, "{slots:?} {calls:?}");
        }
        assert!(Slots::All.check_all_keys().is_ok() && Slots::First(Some(1)).check_all_keys().is_ok());
        assert!(Slots::Declared(1, OTHER_SLOT).check_all_keys().is_err() && Slots::None.check_all_keys().is_err());
    }
}
