//! Keys that a run uses and that the client did not declare: `script-undeclared-keys`.
//!
//! Such a script does not work in a cluster, or only by luck. Counting them finds it before there is a cluster.

use std::collections::HashSet;

use crate::error::{Error, Result, quoted};
use crate::scripting::calls::Facts;
use crate::server::module_api::{Ctx, Str};
use crate::server::thread::ServerThread;
use crate::settings;

/// The most names of code that are remembered as logged. Beyond it, all are forgotten.
const MOST_LOGGED: usize = 1000;

/// The code whose undeclared keys are in the log.
static LOGGED: ServerThread<Option<HashSet<String>>> = ServerThread::new(None);

/// What happens to a call with undeclared keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Allow,
    Log,
    Deny,
}

impl Policy {
    pub fn configured() -> Self {
        match settings::SCRIPT_UNDECLARED_KEYS.get() {
            0 => Self::Allow,
            1 => Self::Log,
            _ => Self::Deny,
        }
    }
}

/// The undeclared keys of a call: keys, patterns of SORT, and the name of a command that names no keys.
pub fn of<'w>(facts: &Facts<'w>, declared: &[Str<'_>], name: &'w [u8]) -> Vec<&'w [u8]> {
    let is_declared = |key: &[u8]| declared.iter().any(|declared| declared.bytes() == key);
    let keys = facts.keys.iter().chain(&facts.patterns).copied().filter(|key| !is_declared(key));
    let mut undeclared: Vec<&[u8]> = Vec::new();
    for key in keys.chain(facts.is_keyless.then_some(name)) {
        if !undeclared.contains(&key) {
            undeclared.push(key);
        }
    }
    undeclared
}

/// Applies the policy to a call with undeclared keys. `code` describes the code that runs, for the log.
pub fn apply(ctx: Ctx, policy: Policy, facts: &Facts<'_>, undeclared: &[&[u8]], code: impl Fn() -> String) -> Result<()> {
    let Some(first) = undeclared.first() else { return Ok(()) };
    let what = if facts.is_keyless {
        format!("calls '{}', which uses keys that KEYS does not have", quoted(first))
    } else {
        format!("uses the key '{}', which KEYS does not have", quoted(first))
    };
    if policy == Policy::Deny {
        return Err(Error::Script(format!("ERR the script {what} (script-undeclared-keys)").into_bytes()));
    }
    if policy == Policy::Log && is_new(code()) {
        ctx.log(c"warning", &format!("undeclared keys: a script {what}. {}", code()));
    }
    Ok(())
}

fn is_new(code: String) -> bool {
    let Some(mut logged) = LOGGED.try_borrow_mut() else { return false };
    let logged = logged.get_or_insert_default();
    if logged.len() >= MOST_LOGGED {
        logged.clear();
    }
    logged.insert(code)
}

/// Forgets what was logged, when the engine stops.
pub fn forget() {
    if let Some(mut logged) = LOGGED.try_borrow_mut() {
        *logged = None;
    }
}
