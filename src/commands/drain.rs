//! `ATOMIC.DRAIN ON|OFF`: let no client wait on this server, so that the module can be unloaded.
//!
//! ON answers every waiting client as if its time were over, and from then on `TRYAGAIN` to every request with WAIT or BIND; holds that
//! are bound to connections become plain leases. Requests without those options go on as ever. OFF lets requests wait again. Draining is
//! this node's state: it is not replicated, not stored, and off after a load. INFO shows it as `atomic_locks_draining`.
//! Reply: the number of clients that were answered; 0 for OFF, and for ON when nobody was waiting. The servers count a client as
//! blocked until its reply was made, which takes one turn of the event loop.
//! Replicates: nothing, but for what closed connections had bound and was not given back yet.
//! Errors: a syntax error; a refusal in MULTI and in scripts. Where modules have no ACL categories (Redis 7.0) `NOPERM` to a user without
//! the right to `MODULE UNLOAD`.

use super::spec::{Arg, Command, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::server::acl::categories_exist;
use crate::server::args::{Args, is, syntax};
use crate::server::module_api::OwnedStr;
use crate::server::reply::{Reply, number};
use crate::waiting::drain;

/// See the top of this file.
pub struct Drain;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Nobody waits.
    On,
    /// As ever.
    Off,
}

impl Command for Drain {
    const SPEC: Spec = Spec {
        name: c"atomic.drain",
        flags: c"admin allow-stale deny-script",
        categories: c"",
        summary: c"Answers every waiting client and lets no request wait, so that the module can be unloaded.",
        complexity: c"O(N) in the number of waiting clients",
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
            return Err(Error::Text("ERR ATOMIC.DRAIN is not allowed in transactions and scripts"));
        }
        if !categories_exist() {
            let unload = [&b"MODULE"[..], b"UNLOAD", b"atomic"].map(OwnedStr::new);
            if !ctx.caller_may(OwnedStr::slice_as_str(&unload)) {
                return Err(Error::Text("NOPERM ATOMIC.DRAIN takes the permission to run 'module|unload' on this server"));
            }
        }
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
