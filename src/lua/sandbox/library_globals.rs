//! What the code of a library sees: the globals of scripts, without the arguments of a run, and its own `redis` while it is loaded.
//!
//! Code that is loaded may only register functions: it sees another table `redis`, and no `atomic`. What it keeps of them it keeps, as in
//! Redis. Luau notes what an import such as `redis.call` stands for when it loads code, and uses the note as long as the globals count as
//! safe: so the code is compiled with the globals of a run, and these do not count as safe while it is loaded.

use crate::lua::api::{redis, register, register_command};
use crate::lua::sandbox;
use crate::lua::vm::stack::{Ref, Stack};

/// Pinned tables of the VM.
#[derive(Debug, Clone, Copy)]
pub(in crate::lua) struct Tables {
    /// The globals.
    pub globals: Ref,
    /// What code that is loaded sees as `redis`.
    pub loading_functions: Ref,
    /// The same for a file of commands.
    pub loading_commands: Ref,
    redis: Ref,
    atomic: Ref,
    nothing: Ref,
}

impl Default for Tables {
    fn default() -> Self {
        let nil = Ref::NIL;
        Self { globals: nil, loading_functions: nil, loading_commands: nil, redis: nil, atomic: nil, nothing: nil }
    }
}

impl Tables {
    /// Makes and pins the tables. The globals of scripts are on the top, complete, and stay there.
    pub fn pin(s: Stack) -> Self {
        s.raw_get_field(-1, c"atomic");
        let atomic = s.pin();
        redis::open_for_functions(s);
        s.set_readonly(-1, true);
        let redis = s.pin();
        let loading_functions = api(s, register::open);
        let loading_commands = api(s, register_command::open);
        let nothing = api(s, |s| s.push_table(0, 0));
        s.push_copy_of_table(s.context().names.get().globals);
        s.push_copy(-1);
        s.raw_set_field(-2, c"_G");
        for name in [c"redis", c"server"] {
            s.push_ref(redis);
            s.raw_set_field(-2, name);
        }
        s.set_readonly(-1, true);
        s.set_safe_globals(-1, true);
        Self { globals: s.pin(), loading_functions, loading_commands, redis, atomic, nothing }
    }
}

/// A read-only table in which a name that is missing is an error.
fn api(s: Stack, open: impl FnOnce(Stack)) -> Ref {
    open(s);
    sandbox::guard(s);
    s.pin()
}

/// The code of a library runs from here on, and sees this as `redis`.
pub(in crate::lua) fn begin(s: Stack, redis: Ref) {
    let tables = s.context().libraries.get();
    show(s, redis, tables.nothing);
}

/// The code of a library has run. Never raises: all these names exist.
pub(in crate::lua) fn end(s: Stack) {
    let tables = s.context().libraries.get();
    show(s, tables.redis, tables.atomic);
    s.push_ref(tables.globals);
    s.set_safe_globals(-1, true);
    s.pop(1);
}

fn show(s: Stack, redis: Ref, atomic: Ref) {
    s.push_ref(s.context().libraries.get().globals);
    s.set_readonly(-1, false);
    s.set_safe_globals(-1, false);
    for (name, table) in [(c"redis", redis), (c"server", redis), (c"atomic", atomic)] {
        s.push_ref(table);
        s.raw_set_field(-2, name);
    }
    s.set_readonly(-1, true);
    s.pop(1);
}
