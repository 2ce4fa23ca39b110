//! What the server tells us, and when we ask it to wake us.
//!
//! Nothing is subscribed before somebody waits or binds: each event costs the server a context for every write. A callback only notes
//! what happened; the visit follows in a job at the end of the same execution unit where the server has such jobs (7.2), else in a timer
//! of 0 ms.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use redis_module::raw;

use super::queues::{Kind, Place};
use super::state::{Timer, Work, lines_are_empty, with};
use super::{eviction, visit};
use crate::error::{Error, Result, guarded};
use crate::keyspace::Keyspace;
use crate::primitives::time::DurationMs;
use crate::server::events::Data;
use crate::server::module_api::{Ctx, Str, api};
use crate::server::state::Moment;
use crate::server::{clock, events};

/// How long to wait before asking again whether writes are allowed.
const RETRY: DurationMs = DurationMs(10);

/// How many keys one timer visits before it lets others run.
const AT_ONCE: usize = 1000;

/// A timer rings after a day at the latest, and looks again: the server multiplies the time without a look at its range.
const LONGEST: DurationMs = DurationMs(86_400_000);

/// The events that can end a lock or a semaphore: everything but what only happens to keys of other types.
const KEY_EVENTS: c_int = raw::REDISMODULE_NOTIFY_GENERIC
    | raw::REDISMODULE_NOTIFY_STRING
    | raw::REDISMODULE_NOTIFY_LIST
    | raw::REDISMODULE_NOTIFY_SET
    | raw::REDISMODULE_NOTIFY_ZSET
    | raw::REDISMODULE_NOTIFY_EXPIRED
    | raw::REDISMODULE_NOTIFY_EVICTED
    | raw::REDISMODULE_NOTIFY_MODULE;

/// What is subscribed from the load on: a change of the settings that decide about eviction. Redis 7.0.0 has no such event.
pub fn start(ctx: Ctx) {
    let _ = events::subscribe(ctx, raw::REDISMODULE_EVENT_CONFIG, |_, _, _| {
        eviction::settings_changed();
        Ok(())
    });
}

/// Subscribes to everything that moves a line, once.
pub fn listen(ctx: Ctx) -> Result<()> {
    if with(|state| state.listens)? {
        return Ok(());
    }
    events::subscribe(ctx, raw::REDISMODULE_EVENT_FLUSHDB, on_flush)?;
    events::subscribe(ctx, raw::REDISMODULE_EVENT_SWAPDB, on_swap)?;
    events::subscribe(ctx, raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, on_role)?;
    events::subscribe(ctx, raw::REDISMODULE_EVENT_CLIENT_CHANGE, on_client)?;
    events::subscribe(ctx, raw::REDISMODULE_EVENT_EVENTLOOP, on_loop)?;
    let strays = ctx.info_field(c"server", c"valkey_version").is_some_and(|version| version.starts_with("8.1."));
    STRAYS.store(strays, Ordering::Relaxed);
    // SAFETY: the context belongs to the running callback. The server ends the subscription before it unloads the code of `on_key`.
    let status = unsafe { api!(RedisModule_SubscribeToKeyspaceEvents)(ctx.raw(), KEY_EVENTS, Some(on_key)) };
    if status != raw::REDISMODULE_OK as c_int {
        return Err(Error::Internal("key events were refused".to_owned()));
    }
    with(|state| state.listens = true)
}

/// Whether the server runs jobs at the end of the execution unit.
pub fn has_jobs() -> bool {
    // SAFETY: written once, at load.
    unsafe { raw::RedisModule_AddPostNotificationJob }.is_some()
}

/// A key changed. Runs inside the command that changed it, which must not be disturbed.
unsafe extern "C" fn on_key(
    raw: *mut raw::RedisModuleCtx,
    _kind: c_int,
    event: *const c_char,
    key: *mut raw::RedisModuleString,
) -> c_int {
    if !lines_are_empty() {
        let mut key = key;
        // SAFETY: the context and the key of this callback; one key is a slice of one.
        let (ctx, key) = unsafe { (Ctx::new(raw), Str::slice(&raw mut key, 1)) };
        let _ = guarded(|| key.first().map_or(Ok(()), |key| changed(ctx, key.bytes())));
    }
    if STRAYS.load(Ordering::Relaxed) {
        // SAFETY: the context of this callback; the event's name is a C string.
        unsafe { stay(Ctx::new(raw), CStr::from_ptr(event)) };
    }
    raw::REDISMODULE_OK as c_int
}

/// Whether this server is Valkey 8.1. Its early releases select the database of an event for the client whose command is running, when
/// a module listens, and do not select its own again: after MOVE the client goes on in the other database.
static STRAYS: AtomicBool = AtomicBool::new(false);

/// The database of the last `move_from`, which the `move_to` of the same command follows.
static MOVED_FROM: AtomicI32 = AtomicI32::new(0);

/// Selects the database again that the client of a MOVE had selected. (COPY ... DB has one event only, that of the other database.)
fn stay(ctx: Ctx, event: &CStr) {
    if event == c"move_from" {
        MOVED_FROM.store(ctx.db(), Ordering::Relaxed);
    } else if event == c"move_to" {
        ctx.select(MOVED_FROM.load(Ordering::Relaxed));
    }
}

fn changed(ctx: Ctx, key: &[u8]) -> Result<()> {
    let db = ctx.db();
    if !with(|state| state.queues.announce(db, key))? {
        return Ok(());
    }
    let key = Rc::from(key);
    if let Some(key) = add_job(ctx, key) {
        visit_of(db, key).into_iter().try_for_each(|work| post(ctx, work))?;
    }
    Ok(())
}

/// Visits of both lines that a key can have.
pub fn visit_of(db: i32, key: Rc<[u8]>) -> [Work; 2] {
    [Kind::Lock, Kind::Semaphore].map(|kind| Work::Visit(Place { key: key.clone(), db, kind }))
}

/// Asks for a visit at the end of this execution unit. Gives the key back when the server has no such jobs, or not now.
fn add_job(ctx: Ctx, key: Rc<[u8]>) -> Option<Rc<[u8]>> {
    // SAFETY: written once, at load.
    let Some(add) = (unsafe { raw::RedisModule_AddPostNotificationJob }) else { return Some(key) };
    let key = Box::into_raw(Box::new(key));
    // SAFETY: the context of the running callback; the server hands the box to `on_job` and then to `free_key`, once.
    let status = unsafe { add(ctx.raw(), Some(on_job), key.cast(), Some(free_key)) };
    if status == raw::REDISMODULE_OK as c_int {
        return None;
    }
    // SAFETY: the server refused it, so it is still ours.
    Some(*unsafe { Box::from_raw(key) })
}

unsafe extern "C" fn on_job(ctx: *mut raw::RedisModuleCtx, key: *mut c_void) {
    // SAFETY: the context of this callback, and the box that `add_job` passed.
    let (ctx, key) = unsafe { (Ctx::new(ctx), (*key.cast::<Rc<[u8]>>()).clone()) };
    let _ = guarded(|| {
        let db = ctx.db();
        let now = ctx.moment() == Moment::Now;
        for work in visit_of(db, key) {
            // Who waits for what the key does not hold any more was told so; that says nothing about the other line.
            let _ = guarded(|| if now { run(ctx, work) } else { post(ctx, work) });
        }
        Ok(())
    });
}

unsafe extern "C" fn free_key(key: *mut c_void) {
    // SAFETY: the box that `add_job` passed, freed once.
    drop(unsafe { Box::from_raw(key.cast::<Rc<[u8]>>()) });
}

/// All keys of a database, or of all, are gone.
fn on_flush(ctx: Ctx, sub: u64, data: Data) -> Result<()> {
    match data {
        Data::Flush { db } if sub == raw::REDISMODULE_SUBEVENT_FLUSHDB_END && !lines_are_empty() => {
            post_all(ctx, &|place| db.is_none_or(|db| db == place.db))
        }
        _ => Ok(()),
    }
}

/// Two databases were swapped: their lines stay, their keys went.
fn on_swap(ctx: Ctx, _: u64, data: Data) -> Result<()> {
    let Data::Swap { first: one, second: other } = data else { return Ok(()) };
    with(|state| {
        state.swaps.push((state.swapped, one, other));
        state.swapped = state.swapped.saturating_add(1);
        state.bindings.swap_dbs(one, other);
        state.fresh.values_mut().for_each(|held| held.place.swap_db(one, other));
        for work in &mut state.work {
            if let Work::GiveBack(held) = work {
                held.place.swap_db(one, other);
            }
        }
    })?;
    post_all(ctx, &|place| place.db == one || place.db == other)
}

/// This server became a replica. Most servers have unblocked every client by now; Valkey 9 leaves those of modules waiting.
fn on_role(ctx: Ctx, sub: u64, _: Data) -> Result<()> {
    if sub != raw::REDISMODULE_EVENT_REPLROLECHANGED_NOW_REPLICA || lines_are_empty() {
        return Ok(());
    }
    let places = with(|state| state.queues.places())?;
    places.iter().try_for_each(|place| visit::dismiss(ctx, place))
}

/// Has the lines visited, but for those to which a visit is on its way.
fn post_all(ctx: Ctx, which: &dyn Fn(&Place) -> bool) -> Result<()> {
    let places = with(|state| state.queues.announce_all(which))?;
    places.into_iter().try_for_each(|place| post(ctx, Work::Visit(place)))
}

/// A connection ends: what was bound to it is given back, and a grant that it cannot have read.
fn on_client(ctx: Ctx, sub: u64, data: Data) -> Result<()> {
    let Data::Client { id: client } = data else { return Ok(()) };
    if sub != raw::REDISMODULE_SUBEVENT_CLIENT_CHANGE_DISCONNECTED {
        return Ok(());
    }
    let (bound, fresh) = with(|state| {
        state.closing = Some(client);
        let bound = if state.bindings.count() > 0 { state.bindings.end(client) } else { Vec::new() };
        (bound, state.fresh.remove(&client))
    })?;
    // Nothing of it waits to be sent, or the client said QUIT behind its request: then it may have read its grant, and keeps it.
    let unread = fresh.filter(|_| !ctx.client(client).is_some_and(|it| it.closes_after_reply || it.pending == Some(0)));
    bound.into_iter().chain(unread).try_for_each(|held| post(ctx, Work::GiveBack(held)))
}

/// The server slept: every reply made before is on its way.
fn on_loop(_: Ctx, sub: u64, _: Data) -> Result<()> {
    if sub != raw::REDISMODULE_SUBEVENT_EVENTLOOP_AFTER_SLEEP {
        return Ok(());
    }
    with(|state| {
        state.fresh.clear();
        state.swaps.clear();
    })
}

/// Has something done from a timer, as soon as the running command is over.
pub fn post(ctx: Ctx, work: Work) -> Result<()> {
    let idle = with(|state| {
        state.work.push(work);
        state.work_timer.is_none()
    })?;
    if idle { set_work_timer(ctx, DurationMs(0)) } else { Ok(()) }
}

fn set_work_timer(ctx: Ctx, delay: DurationMs) -> Result<()> {
    let timer = create_timer(ctx, delay, on_work);
    with(|state| state.work_timer = Some(timer))
}

unsafe extern "C" fn on_work(ctx: *mut raw::RedisModuleCtx, _: *mut c_void) {
    // SAFETY: the context of this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    let _ = guarded(|| {
        with(|state| state.work_timer = None)?;
        match ctx.moment() {
            Moment::Later => set_work_timer(ctx, RETRY),
            Moment::Never => with(|state| state.work.clear()),
            Moment::Now => {
                let work = with(|state| {
                    let some = state.work.len().min(AT_ONCE);
                    state.work.drain(..some).collect::<Vec<_>>()
                })?;
                // A refusal of one (a key of another type) says nothing about the others.
                work.into_iter().for_each(|work| drop(guarded(|| run(ctx, work))));
                let done = with(|state| state.work.is_empty() || state.work_timer.is_some())?;
                if done { Ok(()) } else { set_work_timer(ctx, DurationMs(0)) }
            }
        }
    });
}

fn run(ctx: Ctx, work: Work) -> Result<()> {
    match work {
        Work::Visit(place) => {
            ctx.select(place.db);
            visit::look(&Keyspace::new(ctx), &place)
        }
        Work::GiveBack(held) => {
            ctx.select(held.place.db);
            visit::give_back(&Keyspace::new(ctx), &held)
        }
    }
}

/// Does now, as far as writes are allowed, what a timer was to do, and stops all timers. Nobody waits any more; what is not given back
/// lasts until its lease ends.
pub fn stop_timers(ctx: Ctx) -> Result<()> {
    let work = with(|state| mem::take(&mut state.work))?;
    if ctx.moment() == Moment::Now {
        work.into_iter().for_each(|work| drop(guarded(|| run(ctx, work))));
    }
    let timers = with(|state| {
        state.work.clear();
        [state.work_timer.take(), state.alarm.take()]
    })?;
    timers.into_iter().flatten().for_each(|timer| stop_timer(ctx, timer));
    Ok(())
}

fn stop_timer(ctx: Ctx, timer: Timer) {
    // SAFETY: the context of the running callback; the timer has not rung yet, since it is forgotten when it does.
    unsafe { api!(RedisModule_StopTimer)(ctx.raw(), timer.id, std::ptr::null_mut()) };
}

/// Makes the alarm ring no later than the earliest end of a lease that somebody waits for. One that rings too early looks again; one
/// that nobody needs is stopped, since a running timer keeps the module from being unloaded.
pub fn set_alarm(ctx: Ctx) -> Result<()> {
    let (set, next) = with(|state| (state.alarm, state.queues.next_alarm()))?;
    match (set, next) {
        (None, None) => Ok(()),
        (Some(timer), Some(next)) if timer.at <= next => Ok(()),
        (set, next) => {
            if let Some(timer) = set {
                stop_timer(ctx, timer);
            }
            let alarm = next.map(|at| create_timer(ctx, at.since(clock::system().floor_ms()), on_alarm));
            with(|state| state.alarm = alarm)
        }
    }
}

unsafe extern "C" fn on_alarm(ctx: *mut raw::RedisModuleCtx, _: *mut c_void) {
    // SAFETY: the context of this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    let _ = guarded(|| {
        with(|state| state.alarm = None)?;
        if ctx.moment() != Moment::Now {
            let timer = create_timer(ctx, RETRY, on_alarm);
            return with(|state| state.alarm = Some(timer));
        }
        let now = clock::now().floor_ms();
        let due = with(|state| state.queues.due(now, AT_ONCE))?;
        due.into_iter().for_each(|place| drop(guarded(|| run(ctx, Work::Visit(place)))));
        set_alarm(ctx)
    });
}

type OnTimer = unsafe extern "C" fn(*mut raw::RedisModuleCtx, *mut c_void);

fn create_timer(ctx: Ctx, delay: DurationMs, callback: OnTimer) -> Timer {
    let delay = delay.min(LONGEST);
    let at = clock::system().floor_ms().plus(delay);
    let period = i64::try_from(delay.0).unwrap_or(0);
    // SAFETY: the context of the running callback; the callback's code stays loaded, since the server does not unload a module with a
    // running timer.
    let id = unsafe { api!(RedisModule_CreateTimer)(ctx.raw(), period, Some(callback), std::ptr::null_mut()) };
    Timer { id, at }
}
