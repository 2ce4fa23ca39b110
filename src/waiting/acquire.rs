//! The request for a lock or for permits: granted now, denied, or queued.

use super::blocked::{Blocked, Waiter};
use super::holding::{AcquireRequest, Decision, Denied, Held, Holding, Terms, Wait};
use super::queues::Resource;
use super::state::{is_draining, renewed, resource, with};
use super::visit::{self, next_look};
use super::{drain, events};
use crate::error::{Error, Result};
use crate::keyspace::{KeyEntry, Keyspace};
use crate::primitives::time::{DurationMs, UnixMicros};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

/// Requests a share of a key.
pub fn acquire<H: Holding>(keyspace: &Keyspace, key: Str<'_>, request: AcquireRequest<'_>, terms: Terms) -> Result<Reply> {
    if is_draining() {
        drain::refuse(keyspace.flags(), terms)?;
    }
    if terms.bind {
        check_connection(keyspace)?;
        events::listen(keyspace.ctx())?;
    }
    let (decision, waiters) = visit::visit::<H, _>(keyspace, key, |holding, entry, waiters| {
        let mut decision = decide(holding, entry, &request, waiters, keyspace.now())?;
        if let (Decision::Denied(denied), Some(_)) = (&mut decision, terms.wait) {
            // The key may expire before the lease does.
            denied.until = denied.until.into_iter().chain(entry.expiry()).min();
        }
        Ok((decision, waiters))
    })?;
    match decision {
        Decision::Granted(granted) => {
            // Shares that are already bound belong to the same lease.
            renewed(keyspace, H::KIND, key, &request.owner, granted.until)?;
            if terms.bind {
                let held = Held::new(&resource(keyspace, H::KIND, key), &request, &granted);
                with(|state| state.bindings.add(keyspace.ctx().client_id(), held, keyspace.now().floor_ms()))?;
            }
            Ok((terms.layout)(granted.answer, waiters))
        }
        Decision::Denied(denied) => match terms.wait.filter(|wait| may_wait(keyspace, *wait, &denied, waiters)) {
            Some(wait) => join(keyspace, &resource(keyspace, H::KIND, key), request, &denied, terms, wait.timeout),
            None => Ok((terms.layout)(denied.answer, waiters)),
        },
    }
}

/// A bound share needs a connection whose end the server reports.
fn check_connection(keyspace: &Keyspace) -> Result<()> {
    if keyspace.flags().is_nested() || !keyspace.ctx().has_connection() {
        return Err(Error::Text("ERR BIND needs a client connection: not allowed in scripts"));
    }
    Ok(())
}

/// Claims the share, unless that would overtake a waiter.
fn decide<H: Holding>(
    holding: &mut H,
    entry: &mut KeyEntry<'_>,
    request: &AcquireRequest<'_>,
    waiters: usize,
    now: UnixMicros,
) -> Result<Decision> {
    let overtakes = waiters > 0 && !holding.admits(&request.owner);
    if overtakes { Ok(Decision::Denied(holding.denied(entry, request)?)) } else { holding.claim(entry, request, now) }
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
    request: AcquireRequest<'_>,
    denied: &Denied,
    terms: Terms,
    timeout: DurationMs,
) -> Result<Reply> {
    let ctx = keyspace.ctx();
    events::listen(ctx)?;
    let until = next_look(denied.until, keyspace.now().floor_ms());
    let (blocked, request) = (Blocked::new(ctx, timeout), request.into_owned());
    let waiter = Waiter { blocked, request, terms, denied: denied.answer };
    with(|state| state.queues.join(resource, ctx.client_id(), waiter, until))?;
    events::set_alarm(ctx)?;
    Ok(Reply::Later)
}
