//! A client that the server holds blocked for us, and the four ways in which that ends: a reply, a timeout, a disconnection, and the
//! release of what was handed over with the reply.
//!
//! `RM_UnblockClient` only queues: the reply is made when the server is about to sleep. What happens to the client in between is the
//! gap in which a grant can be lost. So a grant travels as a [`Verdict`] that knows whether its reply was made; when it is released
//! without, the share is given back.

use std::ffi::{c_int, c_void};

use redis_module::raw;

use super::holding::{Held, Wanted};
use super::queues::ClientId;
use super::state::{Work, with};
use super::{events, visit};
use crate::error::{Error, Result, guarded};
use crate::keyspace::Keyspace;
use crate::primitives::time::DurationMs;
use crate::server::acl::{Caller, Denied};
use crate::server::module_api::{Ctx, Str, api};

/// A client that waits.
pub struct Waiter {
    /// Its blocked state.
    pub blocked: Blocked,
    /// What it asked for.
    pub wanted: Wanted<'static>,
    /// Whether its share ends with its connection.
    pub bind: bool,
    /// The numbers of the denial when it began to wait.
    pub denied: [i64; 4],
}

/// What a client is told when its turn came.
pub struct Verdict {
    /// The client.
    pub client: ClientId,
    /// What became of its request.
    pub outcome: Result<Outcome>,
    /// How many still wait behind it.
    pub waiters: usize,
    /// Whether the reply was made.
    pub delivered: bool,
}

/// How a request that waited ends, if not with an error.
#[derive(Clone)]
pub enum Outcome {
    /// With the numbers of this reply, and what the client has from then on.
    Granted([i64; 4], Held),
    /// With the numbers of this reply.
    Denied([i64; 4]),
}

/// A verdict on its way.
struct Parcel {
    verdict: Verdict,
    bind: bool,
    /// The number of the next swap of databases when the verdict was made.
    swapped: u64,
}

impl Parcel {
    /// Follows the swaps of databases that came between the verdict and now.
    fn follow(&mut self) -> Result<()> {
        let since = self.swapped;
        match &mut self.verdict.outcome {
            Ok(Outcome::Granted(_, held)) => with(|state| state.follow(&mut held.place, since)),
            Ok(Outcome::Denied(_)) | Err(_) => Ok(()),
        }
    }
}

/// The server's handle of a blocked client. One that is dropped without a verdict is unblocked all the same.
pub struct Blocked(*mut raw::RedisModuleBlockedClient);

impl Blocked {
    /// Blocks the client of the running command; a zero `wait` is for ever. The caller has made sure that it may be blocked.
    pub fn new(ctx: Ctx, wait: DurationMs) -> Self {
        let wait = i64::try_from(wait.0).unwrap_or(i64::MAX / 4);
        // SAFETY: the context belongs to the running command; the callbacks have the signatures that the server expects, and their
        // code stays loaded, since the server does not unload a module with blocked clients.
        unsafe {
            let handle = api!(RedisModule_BlockClient)(ctx.raw(), Some(on_reply), Some(on_timeout), Some(on_release), wait);
            api!(RedisModule_SetDisconnectCallback)(handle, Some(on_disconnect));
            Self(handle)
        }
    }

    /// Unblocks the client with a verdict.
    pub fn finish(self, verdict: Verdict, bind: bool) {
        let swapped = with(|state| state.swapped).unwrap_or(0);
        let parcel = Box::into_raw(Box::new(Parcel { verdict, bind, swapped }));
        // SAFETY: the handle is unblocked once, here or in `drop`; the server gives the parcel back to `on_release`.
        unsafe { api!(RedisModule_UnblockClient)(self.0, parcel.cast()) };
        std::mem::forget(self);
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the handle is unblocked once, here or in `finish`. This is also how the server frees one whose client is gone.
        unsafe { api!(RedisModule_UnblockClient)(self.0, std::ptr::null_mut()) };
    }
}

/// The parcel that belongs to the callback that is running, if there is one.
///
/// # Safety
/// `ctx` is the context of a callback about a blocked client, and the reference does not outlive the callback.
unsafe fn parcel<'a>(ctx: *mut raw::RedisModuleCtx) -> Option<&'a mut Parcel> {
    // SAFETY: the server returns what `finish` passed, or null.
    unsafe { api!(RedisModule_GetBlockedClientPrivateData)(ctx).cast::<Parcel>().as_mut() }
}

/// Makes the reply.
unsafe extern "C" fn on_reply(ctx: *mut raw::RedisModuleCtx, argv: *mut *mut raw::RedisModuleString, argc: c_int) -> c_int {
    // SAFETY: the context of this callback, its parcel, and the words of the request that was blocked.
    let (ctx, parcel, request) = unsafe { (Ctx::new(ctx), parcel(ctx), Str::slice(argv, argc)) };
    let told = guarded(|| match parcel {
        Some(parcel) => deliver(ctx, parcel, request),
        None => Err(Error::Internal("unblocked without a verdict".to_owned())),
    });
    if let Err(error) = told {
        ctx.reply_error(&error);
    }
    raw::REDISMODULE_OK as c_int
}

/// Makes the reply to a request, whose words are none where the server does not have them any more.
fn deliver(ctx: Ctx, parcel: &mut Parcel, request: &[Str<'_>]) -> Result<()> {
    parcel.follow()?;
    parcel.swapped = u64::MAX;
    let (numbers, held) = match parcel.verdict.outcome.clone()? {
        Outcome::Granted(numbers, held) => (numbers, held),
        Outcome::Denied(numbers) => {
            visit::reply(numbers, parcel.verdict.waiters).send(ctx);
            return Ok(());
        }
    };
    // A grant that is not delivered is given back when the verdict is released, and the line moves on.
    still_may(ctx, request)?;
    let (client, bind) = (parcel.verdict.client, parcel.bind);
    let now = crate::server::clock::now().floor_ms();
    with(|state| {
        // It may have acquired again what is bound already.
        state.bindings.prolong(&held.holder(), held.until);
        if bind { state.bindings.add(client, held, now) } else { drop(state.fresh.insert(client, held)) }
    })?;
    parcel.verdict.delivered = true;
    visit::reply(numbers, parcel.verdict.waiters).send(ctx);
    Ok(())
}

/// Refuses a client whose user lost the right to what it asked for while it waited. What a user of another module may do the server has
/// settled when the request came.
fn still_may(ctx: Ctx, request: &[Str<'_>]) -> Result<()> {
    let (Some(name), Caller::User(user)) = (request.first(), ctx.user_of(ctx.client_id())) else { return Ok(()) };
    if user.may(request) {
        return Ok(());
    }
    let (what, object) = match request.get(1).filter(|key| !user.may_update(**key)) {
        Some(key) => (Denied::Key, *key),
        None => (Denied::Command, *name),
    };
    ctx.log_denial(&user, what, object);
    Err(Error::Text("NOPERM the user lost permission for this command or key while the client waited"))
}

/// Its time is over, or somebody unblocked it: it leaves the line and is told why not.
unsafe extern "C" fn on_timeout(ctx: *mut raw::RedisModuleCtx, _: *mut *mut raw::RedisModuleString, _: c_int) -> c_int {
    // SAFETY: the context of this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    let denied = guarded(|| {
        let left = leave(ctx)?.ok_or_else(|| Error::Internal("timed out without having waited".to_owned()))?;
        visit::denial(&Keyspace::new(ctx), &left.place, &left.waiter)
    });
    match denied {
        Ok(reply) => reply.send(ctx),
        Err(error) => ctx.reply_error(&error),
    }
    raw::REDISMODULE_OK as c_int
}

/// The client is gone, or was unblocked with an error. On 7.0 also: it timed out after its turn came and before the reply was made.
unsafe extern "C" fn on_disconnect(ctx: *mut raw::RedisModuleCtx, _: *mut raw::RedisModuleBlockedClient) {
    // SAFETY: the context of this callback, and its parcel.
    let (ctx, parcel) = unsafe { (Ctx::new(ctx), parcel(ctx)) };
    let _ = guarded(|| {
        let waited = leave(ctx)?.is_some();
        match parcel {
            Some(parcel) if !waited && is_unanswered(ctx)? => deliver(ctx, parcel, &[]).or_else(|error| {
                ctx.reply_error(&error);
                Ok(())
            }),
            _ => Ok(()),
        }
    });
}

/// The verdict is released: what nobody was told of is given back.
unsafe extern "C" fn on_release(ctx: *mut raw::RedisModuleCtx, parcel: *mut c_void) {
    // SAFETY: the context of this callback; the server hands back what `finish` passed, once.
    let (ctx, mut parcel) = unsafe { (Ctx::new(ctx), Box::from_raw(parcel.cast::<Parcel>())) };
    let _ = guarded(|| {
        parcel.follow()?;
        match parcel.verdict {
            Verdict { outcome: Ok(Outcome::Granted(_, held)), delivered: false, .. } => events::post(ctx, Work::GiveBack(held)),
            _ => Ok(()),
        }
    });
}

/// Takes the client of this callback out of its line. If it was the head, the next one may have its turn now.
fn leave(ctx: Ctx) -> Result<Option<super::queues::Left<Waiter>>> {
    let client = ctx.client_id();
    let left = with(|state| state.queues.leave(client))?;
    if let Some(left) = &left {
        if left.was_head && with(|state| state.queues.announce(left.place.db, &left.place.key))? {
            events::visit_of(left.place.db, left.place.key.clone()).into_iter().try_for_each(|work| events::post(ctx, work))?;
        }
        events::set_alarm(ctx)?;
    }
    Ok(left)
}

/// Whether the server unblocked this client without any reply, between its verdict and the reply. Only 7.0 does, for a timeout; later
/// servers keep such a client blocked until its reply is made. An error (CLIENT UNBLOCK ... ERROR, a demotion) looks the same to us, so
/// the client's output tells: nothing in it is a timeout, exactly an error is that error, and for anything else the connection is closed,
/// since both a missing and a second reply would be worse.
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
