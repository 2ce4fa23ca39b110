//! A client that the server blocks for this module, and the ways in which the block ends: a reply, a timeout, a disconnection, and the
//! release of an undelivered grant.
//!
//! `RM_UnblockClient` only queues the client: the server makes the reply before it sleeps. A grant can be lost in between. So a grant
//! travels as a [`Delivery`], which records whether its reply was made. If the server releases it without a reply, the share is taken
//! back.

use std::ffi::{c_int, c_void};

use redis_module::raw;

use super::claim::{Answer, Claim, Terms};
use super::events;
use super::queues::{ClientId, Left, Place};
use super::state::{Task, is_draining, with};
use crate::error::{Error, Result, guarded};
use crate::keyspace::Keyspace;
use crate::primitives::time::{DurationMs, UnixMs};
use crate::server::acl::{Caller, Denied};
use crate::server::clock;
use crate::server::module_api::{Ctx, OwnedStr, Str, api};
use crate::server::reply::Reply;
use crate::server::slots;
use crate::settings;

/// A client that waits.
pub struct Waiter {
    pub blocked: Blocked,
    pub claim: Claim<'static>,
    pub terms: Terms,
    /// The denial with which the wait began.
    pub denied: Answer,
    /// The time at which the wait began.
    pub since: UnixMs,
    /// The time at which the wait ends; `None` for an indefinite wait.
    pub deadline: Option<UnixMs>,
}

impl Place for Waiter {
    fn owner(&self) -> Option<&[u8]> {
        self.claim.owner()
    }

    fn since(&self) -> UnixMs {
        self.since
    }
}

impl Waiter {
    /// Until when the place is kept if the connection closes now; `None` if it is not kept.
    fn kept_until(&self, now: UnixMs) -> Option<UnixMs> {
        let grace = DurationMs(settings::LINE_GRACE_MS.get());
        let until = self.deadline.into_iter().fold(now.plus(grace), UnixMs::min);
        (until > now && !is_draining()).then_some(until)
    }
}

/// The end of a wait, on its way to the client.
pub struct Delivery {
    pub client: ClientId,
    pub outcome: Result<Outcome>,
    /// The number of clients that still wait.
    pub waiters: usize,
    /// Whether the reply was made.
    pub is_delivered: bool,
}

impl Delivery {
    pub fn new(client: ClientId, outcome: Result<Outcome>) -> Self {
        Self { client, outcome, waiters: 0, is_delivered: false }
    }
}

/// The end of a wait without an error.
#[derive(Clone)]
pub enum Outcome {
    Granted(Answer),
    Denied(Answer),
}

/// The private data of an unblocked client.
struct Parcel {
    delivery: Delivery,
    terms: Terms,
}

impl Parcel {
    fn reply(&self, answer: Answer) -> Reply {
        (self.terms.layout)(answer, self.delivery.waiters)
    }
}

/// The server's handle of a blocked client. Dropping it without a delivery also unblocks the client.
pub struct Blocked(*mut raw::RedisModuleBlockedClient);

impl Blocked {
    /// Blocks the client of the running command; a zero `timeout` waits indefinitely. The caller has checked that the command may block.
    pub fn new(ctx: Ctx, timeout: DurationMs) -> Self {
        let timeout = i64::try_from(timeout.0).unwrap_or(i64::MAX / 4);
        // SAFETY: the context belongs to the running command. The callbacks have the signatures that the server expects, and their code
        // stays loaded, since the server does not unload a module with blocked clients.
        unsafe {
            let handle = api!(RedisModule_BlockClient)(ctx.raw(), Some(on_reply), Some(on_timeout), Some(on_release), timeout);
            api!(RedisModule_SetDisconnectCallback)(handle, Some(on_disconnect));
            Self(handle)
        }
    }

    /// Unblocks the client and starts the delivery.
    pub fn finish(self, delivery: Delivery, terms: Terms) {
        let parcel = Box::into_raw(Box::new(Parcel { delivery, terms }));
        // SAFETY: the handle is unblocked once, here or in `drop`. The server passes the parcel to `on_release`, which frees it.
        unsafe { api!(RedisModule_UnblockClient)(self.0, parcel.cast()) };
        std::mem::forget(self);
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the handle is unblocked once, here or in `finish`. The server also frees the handle of a disconnected client this way.
        unsafe { api!(RedisModule_UnblockClient)(self.0, std::ptr::null_mut()) };
    }
}

/// The parcel of the running callback, if it has one.
///
/// # Safety
/// `ctx` is the context of a callback about a blocked client, and the reference does not outlive the callback.
unsafe fn parcel<'a>(ctx: *mut raw::RedisModuleCtx) -> Option<&'a mut Parcel> {
    // SAFETY: the server returns null or the parcel that `finish` passed, which lives until `on_release`. No other reference to it exists,
    // since the server runs one callback at a time.
    unsafe { api!(RedisModule_GetBlockedClientPrivateData)(ctx).cast::<Parcel>().as_mut() }
}

/// The server makes the reply.
unsafe extern "C" fn on_reply(ctx: *mut raw::RedisModuleCtx, argv: *mut *mut raw::RedisModuleString, argc: c_int) -> c_int {
    // SAFETY: the server passes the context and the words of the blocked request, valid until this callback returns, as is the parcel.
    let (ctx, parcel, request) = unsafe { (Ctx::new(ctx), parcel(ctx), Str::slice(argv, argc)) };
    let sent = guarded(|| match parcel {
        Some(parcel) => deliver(ctx, parcel, request),
        None => Err(Error::Internal("unblocked without a delivery".to_owned())),
    });
    if let Err(error) = sent {
        ctx.reply_error(&error);
    }
    raw::REDISMODULE_OK as c_int
}

/// Replies to a request. `request` is its words, empty if the server no longer has them.
fn deliver(ctx: Ctx, parcel: &mut Parcel, request: &[Str<'_>]) -> Result<()> {
    let answer = match parcel.delivery.outcome.clone()? {
        Outcome::Granted(answer) => answer,
        Outcome::Denied(answer) => {
            parcel.reply(answer).send(ctx);
            return Ok(());
        }
    };
    // If this fails, `on_release` takes the grant back and the queue advances.
    check_permission(ctx, request)?;
    let client = parcel.delivery.client;
    with(|state| state.unread.delivered(client))?;
    parcel.delivery.is_delivered = true;
    parcel.reply(answer).send(ctx);
    Ok(())
}

/// Refuses a client whose user lost the permission for its request while it waited. The server has checked the user of another module
/// when the request came.
fn check_permission(ctx: Ctx, request: &[Str<'_>]) -> Result<()> {
    let (Some(name), Caller::User(user)) = (request.first(), ctx.user_of(ctx.client_id())) else { return Ok(()) };
    if user.may(request) {
        return Ok(());
    }
    let (denied, object) = match request.get(1).filter(|key| !user.may_update(**key)) {
        Some(key) => (Denied::Key, *key),
        None => (Denied::Command, *name),
    };
    ctx.log_denial(&user, denied, object);
    Err(Error::Text("NOPERM the user lost permission for this command or key while the client waited"))
}

/// The wait timed out, or CLIENT UNBLOCK ended it: the client leaves the queue and gets a denial.
unsafe extern "C" fn on_timeout(ctx: *mut raw::RedisModuleCtx, _: *mut *mut raw::RedisModuleString, _: c_int) -> c_int {
    // SAFETY: the server passes a context that is valid until this callback returns.
    let ctx = unsafe { Ctx::new(ctx) };
    let denied = guarded(|| {
        let left = leave(ctx, false)?.ok_or_else(|| Error::Internal("timed out without having waited".to_owned()))?;
        denied_reply(&Keyspace::new(ctx), &left)
    });
    match denied {
        Ok(reply) => reply.send(ctx),
        Err(error) => ctx.reply_error(&error),
    }
    raw::REDISMODULE_OK as c_int
}

/// The reply to a client that waited in vain. The transaction of a CLIENT UNBLOCK may have another slot of the cluster, in which the
/// server would then look up the key: there the reply repeats the denial with which the wait began.
fn denied_reply(keyspace: &Keyspace, left: &Left<Waiter>) -> Result<Reply> {
    let (resource, waiter) = (&left.resource, &left.waiter);
    let answer = if slots::has_table_per_slot() && keyspace.flags().is_in_exec() {
        waiter.denied.clone()
    } else {
        (resource.kind.operations().denial)(keyspace, OwnedStr::new(&resource.key).as_str(), &waiter.claim)?
    };
    let waiters = with(|state| state.queues.waiters(resource.db, resource.kind, &resource.key))?;
    Ok((waiter.terms.layout)(answer, waiters))
}

/// The client disconnected, or was unblocked with an error. On 7.0 also: it timed out between the grant and the reply.
unsafe extern "C" fn on_disconnect(ctx: *mut raw::RedisModuleCtx, _: *mut raw::RedisModuleBlockedClient) {
    // SAFETY: the server passes a context that is valid until this callback returns, as is the parcel.
    let (ctx, parcel) = unsafe { (Ctx::new(ctx), parcel(ctx)) };
    let _ = guarded(|| {
        let client = ctx.client_id();
        let closes = with(|state| state.closing == Some(client))?;
        let waited = leave(ctx, closes)?.is_some();
        match parcel {
            Some(parcel) if !waited && is_unanswered(ctx)? => deliver(ctx, parcel, &[]).or_else(|error| {
                ctx.reply_error(&error);
                Ok(())
            }),
            _ => Ok(()),
        }
    });
}

/// The server releases the parcel: an undelivered grant is taken back.
unsafe extern "C" fn on_release(ctx: *mut raw::RedisModuleCtx, parcel: *mut c_void) {
    // SAFETY: the server passes a context that is valid until this callback returns, and returns the box that `finish` made, once.
    let (ctx, parcel) = unsafe { (Ctx::new(ctx), Box::from_raw(parcel.cast::<Parcel>())) };
    let Delivery { client, outcome: Ok(Outcome::Granted(_)), is_delivered: false, .. } = parcel.delivery else { return };
    let _ = guarded(|| match with(|state| state.undelivered(client))? {
        Some(held) => events::post(ctx, Task::TakeBack(held)),
        None => Ok(()),
    });
}

/// Removes the client of this callback from its queue, and keeps the place of its owner for a while if its connection `closes`. If it was
/// the head, the next waiter may now be served.
fn leave(ctx: Ctx, closes: bool) -> Result<Option<Left<Waiter>>> {
    let (client, now) = (ctx.client_id(), clock::now().floor_ms());
    let keep = |waiter: &Waiter| if closes { waiter.kept_until(now) } else { None };
    let left = with(|state| state.queues.leave(client, keep))?;
    if let Some(left) = &left {
        if left.was_head && with(|state| state.queues.key_changed(left.resource.db, &left.resource.key))? {
            let visits = events::visits_of(left.resource.db, left.resource.key.clone());
            visits.into_iter().try_for_each(|visit| events::post(ctx, visit))?;
        }
        events::set_alarm(ctx)?;
    }
    Ok(left)
}

/// Whether the server unblocked this client without a reply, after the decision and before the reply. Only 7.0 does that, on a timeout;
/// later servers keep the client blocked until its reply is made. An error (CLIENT UNBLOCK ... ERROR, a demotion) calls this module in
/// the same way, so the client's output decides: if it is empty, the client timed out; if it has the length of such an error, the client
/// got that error. In any other case the connection is closed, because both a missing and a second reply would be worse.
fn is_unanswered(ctx: Ctx) -> Result<bool> {
    const ERRORS: [&[u8]; 3] = [
        b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n",
        b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
    ];
    let client = ctx.client_id();
    let closing = with(|state| state.closing == Some(client))?;
    if closing || events::has_jobs() {
        return Ok(false);
    }
    match ctx.client(client).and_then(|client| client.pending) {
        Some(0) => Ok(true),
        Some(length) if ERRORS.iter().any(|error| error.len() == length) => Ok(false),
        _ => {
            ctx.close_client(client);
            Ok(false)
        }
    }
}
