//! Replies of commands become Lua values (`read`), and the value that a script returns becomes a reply (`write`).
//!
//! Both directions are total: any bytes and any value give a result or a clean refusal. Names of fields are pinned strings,
//! because pushing one then neither allocates nor raises.

mod read;
mod write;

use std::ffi::c_int;

pub(super) use self::read::{Malformed, Pushed, push_reply, push_with_code};
pub(super) use self::write::{measure, write};
use super::vm::stack::{Ref, Stack};

/// What a level of a reply takes of the Lua stack, and some.
const SLOTS_PER_LEVEL: c_int = 8;

/// Pinned values.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub globals: Ref,
    pub prelude_globals: Ref,
    pub keys: Ref,
    pub argv: Ref,
    pub err: Ref,
    pub ignore_error_stats_update: Ref,
    ok: Ref,
    double: Ref,
    big_number: Ref,
    verbatim_string: Ref,
    map: Ref,
    set: Ref,
    format: Ref,
    string: Ref,
    /// `{ok = 'OK'}`
    ok_reply: Ref,
}

impl Default for Names {
    fn default() -> Self {
        let nil = Ref::NIL;
        Self {
            globals: nil,
            prelude_globals: nil,
            keys: nil,
            argv: nil,
            err: nil,
            ignore_error_stats_update: nil,
            ok: nil,
            double: nil,
            big_number: nil,
            verbatim_string: nil,
            map: nil,
            set: nil,
            format: nil,
            string: nil,
            ok_reply: nil,
        }
    }
}

impl Names {
    /// Pins the names, and the globals of the prelude and of scripts, which are on the top in this order and stay there.
    pub fn pin(s: Stack) -> Self {
        let name = |text: &[u8]| {
            s.push_bytes(text);
            s.pin()
        };
        let global = |index| {
            s.push_copy(index);
            s.pin()
        };
        Self {
            globals: global(-1),
            prelude_globals: global(-2),
            keys: name(b"KEYS"),
            argv: name(b"ARGV"),
            err: name(b"err"),
            ignore_error_stats_update: name(b"ignore_error_stats_update"),
            ok: name(b"ok"),
            double: name(b"double"),
            big_number: name(b"big_number"),
            verbatim_string: name(b"verbatim_string"),
            map: name(b"map"),
            set: name(b"set"),
            format: name(b"format"),
            string: name(b"string"),
            ok_reply: {
                s.push_table(0, 1);
                s.push_bytes(b"OK");
                s.raw_set_field(-2, c"ok");
                s.pin()
            },
        }
    }
}

/// Towards zero. What does not fit becomes the smallest integer, which is what Redis' cast gives on x86-64.
pub(super) fn truncated(value: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&value) {
        // In range, so that only the fraction is lost, which is the point.
        #[allow(clippy::cast_possible_truncation)]
        let integer = value as i64;
        integer
    } else {
        i64::MIN
    }
}
