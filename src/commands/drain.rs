//! `ATOMIC.DRAIN ON|OFF`: stops all waiting on this server, so that the module can be unloaded.
//!
//! ON denies every waiting client as if its WAIT had ended, and answers `TRYAGAIN` to every later request with WAIT or BIND;
//! holds that are bound to connections become plain leases. Requests without those options work as usual. OFF allows waiting
//! again. Draining is state of this node: not replicated, not stored, and off after a load. INFO shows it as `atomic_locks_draining`.
//! Reply: the number of clients answered; 0 for OFF, and for ON when no client was waiting. A server counts a client as blocked
//! until its reply is made, which takes one turn of the event loop.
//! Replicates nothing, except the release of holds whose connection closed shortly before.
//! Errors: a syntax error; a refusal in MULTI and in scripts. Where modules have no ACL categories (Redis 7.0), `NOPERM` for a
//! user without permission to run `MODULE UNLOAD`.

use super::admin;
use super::spec::{Arg, Command, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::server::args::{Args, is, syntax};
use crate::server::reply::{Reply, number};
use crate::waiting::drain;

pub struct Drain;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    On,
    Off,
}

impl Command for Drain {
    const SPEC: Spec = Spec {
        name: c"atomic.drain",
        flags: c"admin allow-stale deny-script",
        categories: c"",
        summary: c"Denies all waiting clients and refuses new waits, so that the module can be unloaded.",
        complexity: c"O(N) with N waiting clients",
        since: c"0.1.0",
        arity: 2,
        keys: Keys::None,
        args: &[Arg::one_of(c"switch", &[Arg::word(c"on", c"ON"), Arg::word(c"off", c"OFF")])],
    };

    type Request<'a> = Switch;

    fn parse(mut args: Args<'_>) -> Result<Switch> {
        let switch = args.bytes()?;
        args.finish()?;
        match switch {
            on if is(on, "ON") => Ok(Switch::On),
            off if is(off, "OFF") => Ok(Switch::Off),
            other => Err(syntax(other)),
        }
    }

    fn run(keyspace: &Keyspace, switch: Switch) -> Result<Reply> {
        let (ctx, flags) = (keyspace.ctx(), keyspace.flags());
        if flags.is_in_exec() || flags.is_nested() {
            return Err(Error::Text("ERR ATOMIC.DRAIN is not allowed in transactions or in calls of modules"));
        }
        const REFUSAL: &str = "NOPERM ATOMIC.DRAIN requires permission to run 'module|unload' on this server";
        admin::check(ctx, [b"MODULE", b"UNLOAD", b"atomic"], REFUSAL)?;
        let answered = match switch {
            Switch::On => drain::start(ctx)?,
            Switch::Off => {
                drain::stop();
                0
            }
        };
        ctx.log(
            c"notice",
            &format!("draining is {}: {answered} waiting clients were answered", if drain::is_on() { "on" } else { "off" }),
        );
        Ok(Reply::Integer(number(answered)))
    }
}
