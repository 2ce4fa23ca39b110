//! A claim: granted now, denied, or queued.

use super::blocked::{Blocked, Waiter};
use super::claim::{Claim, Claimable, Decision, Denied, Terms, Wait};
use super::queues::Resource;
use super::state::{acquired, is_draining, resource, with};
use super::visit::{self, next_look};
use super::{drain, events, warnings};
use crate::error::{Error, Result};
use crate::keyspace::{KeyEntry, Keyspace};
use crate::primitives::time::{DurationMs, UnixMicros};
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
    let (decision, waiters) = visit::visit::<C, _>(keyspace, key, |state, entry, waiters| {
        let mut decision = decide(state, entry, &claim, waiters, keyspace.now())?;
        if let (Decision::Denied(denied), Some(_)) = (&mut decision, terms.wait) {
            // The key may expire before the lease does.
            denied.until = denied.until.into_iter().chain(entry.expiry()).min();
        }
        Ok((decision, waiters))
    })?;
    match decision {
        Decision::Granted(granted) => {
            if let Some(hold) = &granted.hold {
                let bind = terms.bind.then(|| keyspace.ctx().client_id());
                acquired(&resource(keyspace, C::KIND, key), hold, bind, keyspace.now().floor_ms())?;
                events::set_alarm(keyspace.ctx())?;
            }
            Ok((terms.layout)(granted.answer, waiters))
        }
        Decision::Denied(denied) => match terms.wait.filter(|wait| may_wait(keyspace, *wait, &denied, waiters)) {
            Some(wait) => join(keyspace, &resource(keyspace, C::KIND, key), claim, denied, terms, wait.timeout),
            None => Ok((terms.layout)(denied.answer, waiters)),
        },
    }
}

/// A bound hold needs a connection whose end the server reports.
fn check_connection(keyspace: &Keyspace) -> Result<()> {
    if keyspace.flags().is_nested() || !keyspace.ctx().has_connection() {
        return Err(Error::Text("ERR BIND needs a client connection: not allowed in scripts"));
    }
    Ok(())
}

/// Makes the claim, unless that would overtake a waiter.
fn decide<C: Claimable>(
    state: &mut C,
    entry: &mut KeyEntry<'_>,
    claim: &Claim<'_>,
    waiters: usize,
    now: UnixMicros,
) -> Result<Decision> {
    let overtakes = waiters > 0 && !state.may_pass(entry, claim)?;
    if overtakes { Ok(Decision::Denied(state.denied(entry, claim)?)) } else { state.claim(entry, claim, now) }
}

fn may_wait(keyspace: &Keyspace, wait: Wait, denied: &Denied, waiters: usize) -> bool {
    let has_room = wait.max_queue.is_none_or(|most| waiters < most);
    let flags = keyspace.flags();
    has_room && !denied.never && !flags.deny_blocking() && !flags.is_replica() && !flags.is_loading()
}

/// Blocks the client and adds it to the queue of the resource.
fn join(
    keyspace: &Keyspace,
    resource: &Resource,
    claim: Claim<'_>,
    denied: Denied,
    terms: Terms,
    timeout: DurationMs,
) -> Result<Reply> {
    let ctx = keyspace.ctx();
    events::listen(ctx)?;
    let until = next_look(denied.until, keyspace.now().floor_ms());
    let (blocked, claim) = (Blocked::new(ctx, timeout), claim.into_owned());
    let waiter = Waiter { blocked, claim, terms, denied: denied.answer };
    with(|state| state.queues.join(resource, ctx.client_id(), waiter, until))?;
    events::set_alarm(ctx)?;
    Ok(Reply::Later)
}
