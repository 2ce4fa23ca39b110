//! `cjson.*`, which is lua-cjson 2.1.0 as Redis has it: the same results, settings and errors.
//!
//! Tables are read and written raw. A level of nesting costs C stack, so there is a bound beyond the settings. Nothing here has a
//! destructor. Texts are built in the memory of the VM, so its limit bounds them.

mod decode;
mod encode;
mod settings;

use std::ffi::{CStr, c_int};

pub(in crate::lua) use self::settings::Settings;
use crate::lua::vm::stack::{Native, Stack, native};

const FUNCTIONS: &[(&CStr, Native)] =
    &[(c"encode", native(encode::encode)), (c"decode", native(decode::decode)), (c"new", native(new))];

/// Slots of the Lua stack for one level of nesting, with a reserve.
const SLOTS_PER_LEVEL: c_int = 8;

/// Pushes the table whose settings are those of the run.
pub(in crate::lua) fn open(s: Stack<'_>) {
    s.push_table(0, 0);
    s.set_readonly(-1, true);
    s.context().json_array.set(s.pin());
    push_namespace(s, |function, name| s.push_native(function, name));
}

/// Pushes another table, with settings of its own.
fn new(s: Stack<'_>) -> c_int {
    s.push_settings(Settings::default());
    let settings = s.top();
    push_namespace(s, |function, name| {
        s.push_copy(settings);
        s.push_native_with_value(function, name);
    });
    1
}

fn push_namespace(s: Stack<'_>, push: impl Fn(Native, &'static CStr)) {
    s.push_table(0, FUNCTIONS.len() + settings::FUNCTIONS.len() + 3);
    for &(name, function) in FUNCTIONS.iter().chain(settings::FUNCTIONS) {
        push(function, name);
        s.raw_set_field(-2, name);
    }
    s.push_null();
    s.raw_set_field(-2, c"null");
    s.push_bytes(b"cjson");
    s.raw_set_field(-2, c"_NAME");
    s.push_bytes(b"2.1.0");
    s.raw_set_field(-2, c"_VERSION");
}
