//! A claim: granted now, denied, or queued.

use super::blocked::{Blocked, Waiter};
use super::claim::{Claim, Claimable, Decision, Denied, Terms, Wait};
use super::queues::{Resource, Ticket};
use super::state::{is_draining, resource, with};
use super::visit::{self, Claimed, next_look};
use super::{drain, events, warnings};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::primitives::time::{DurationMs, UnixMs};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

/// Claims a share of a key.
pub fn acquire<C: Claimable>(keyspace: &Keyspace, key: Str<'_>, claim: Claim<'_>, terms: Terms) -> Result<Reply> {
    if is_draining() {
        drain::refuse(keyspace.flags(), terms)?;
    }
    if terms.bind {
        check_connection(keyspace)?;
        warnings::warn_of_idle_timeout(keyspace.ctx());
        events::listen(keyspace.ctx())?;
    }
    let can_wait = terms.wait.is_some() && may_block(keyspace);
    let bind = terms.bind.then(|| keyspace.ctx().client_id());
    let Claimed { decision, waiters, places, place } = visit::claim::<C>(keyspace, key, &claim, can_wait, bind)?;
    let denied = match decision {
        Decision::Granted(granted) => {
            return Ok((terms.layout)(granted.answer, waiters));
        }
        Decision::Denied(denied) => denied,
    };
    let has_room = |wait: &Wait| place.is_some() || wait.max_queue.is_none_or(|most| places < most);
    match terms.wait.filter(|wait| can_wait && !denied.never && has_room(wait)) {
        Some(wait) => join(keyspace, &resource(keyspace, C::KIND, key), claim, denied, terms, wait.timeout, place),
        None => Ok((terms.layout)(denied.answer, waiters)),
    }
}

/// A bound hold needs a connection whose end the server reports.
fn check_connection(keyspace: &Keyspace) -> Result<()> {
    if keyspace.flags().is_nested() || !keyspace.ctx().has_connection() {
        return Err(Error::Text("ERR BIND needs a client connection: not allowed in scripts"));
    }
    Ok(())
}

/// Whether a client may wait here. In a transaction and in a script WAIT never waits.
fn may_block(keyspace: &Keyspace) -> bool {
    let flags = keyspace.flags();
    !flags.deny_blocking() && !flags.is_replica() && !flags.is_loading()
}

/// Blocks the client and adds it to the queue of the resource.
fn join(
    keyspace: &Keyspace,
    resource: &Resource,
    claim: Claim<'_>,
    denied: Denied,
    terms: Terms,
    timeout: DurationMs,
    place: Option<Ticket>,
) -> Result<Reply> {
    let ctx = keyspace.ctx();
    events::listen(ctx)?;
    let now = keyspace.now().floor_ms();
    let until = next_look(resource.kind, denied.until, now);
    let (blocked, claim) = (Blocked::new(ctx, timeout), claim.into_owned());
    let waiter = Waiter { blocked, claim, terms, denied: denied.answer, since: now, deadline: end_of_wait(timeout, now) };
    with(|state| state.queues.join(resource, ctx.client_id(), waiter, until, place))?;
    events::set_alarm(ctx)?;
    Ok(Reply::Later)
}

/// The time at which the client stops waiting; `None` for an indefinite wait.
fn end_of_wait(timeout: DurationMs, now: UnixMs) -> Option<UnixMs> {
    (timeout.0 > 0).then(|| now.plus(timeout))
}
