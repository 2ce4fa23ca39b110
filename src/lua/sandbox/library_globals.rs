//! The globals of libraries and command files: those of scripts, without the arguments of a run, and with another `redis` during
//! a load.
//!
//! Code may only register functions while it loads, so it sees another table `redis`, and no `atomic`. It may keep values of that
//! table, as in Redis. When Luau loads code, it resolves imports such as `redis.call`, and uses the result as long as the globals
//! count as safe. So the code is compiled with the globals of a run, and these do not count as safe during a load.

use crate::lua::api::{redis, register, register_command};
use crate::lua::sandbox;
use crate::lua::vm::pinned::{LibraryTables, Ref};
use crate::lua::vm::stack::{Quiet, Stack};

impl LibraryTables {
    /// Makes and pins the tables. The globals of scripts, complete, are on the top and stay there.
    pub fn pin(s: Stack<'_>) -> Self {
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

/// Pins a read-only table. Access to a missing name in it is an error.
fn api(s: Stack<'_>, open: impl FnOnce(Stack<'_>)) -> Ref {
    open(s);
    sandbox::guard(s);
    s.pin()
}

/// Before the code of a library runs: it sees this table as `redis`.
pub(in crate::lua) fn begin(s: Quiet<'_>, redis: Ref) {
    let tables = s.context().libraries.get();
    show(s, redis, tables.nothing);
}

/// After the code of a library has run.
pub(in crate::lua) fn end(s: Quiet<'_>) {
    let tables = s.context().libraries.get();
    show(s, tables.redis, tables.atomic);
    s.push_ref(tables.globals);
    s.set_safe_globals(-1, true);
    s.pop(1);
}

/// Replaces `redis`, `server` and `atomic`, which the globals have since `pin`.
fn show(s: Quiet<'_>, redis: Ref, atomic: Ref) {
    s.push_ref(s.context().libraries.get().globals);
    s.set_readonly(-1, false);
    s.set_safe_globals(-1, false);
    for (name, table) in [(c"redis", redis), (c"server", redis), (c"atomic", atomic)] {
        s.push_ref(table);
        s.replace_field(-2, name);
    }
    s.set_readonly(-1, true);
    s.pop(1);
}
