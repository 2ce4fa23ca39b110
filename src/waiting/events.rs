//! The events that advance a queue, and the timers of this module.
//!
//! Nothing is subscribed before a client waits or binds: each keyspace event costs the server a context for every write. A callback only
//! records the change. The visit follows in a job at the end of the same execution unit if the server has such jobs (7.2), otherwise in
//! a timer of 0 ms.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use redis_module::raw;

use super::bindings::{Bindings, Holder};
use super::claim::Hold;
use super::queues::{Kind, Resource};
use super::state::{Task, Timer, is_idle, is_timed, with};
use super::{visit, warnings};
use crate::error::{Error, Result, guarded, printable};
use crate::keyspace::Keyspace;
use crate::primitives::time::DurationMs;
use crate::server::events::Data;
use crate::server::module_api::{Ctx, OwnedStr, Str, api};
use crate::server::state::Moment;
use crate::server::{clock, events, slots};

/// The delay before the next check whether writes are allowed.
const RETRY: DurationMs = DurationMs(10);

/// The number of visits in one timer; the rest follow in the next, so that clients are served in between.
const BATCH: usize = 1000;

/// The longest delay of a timer; after it the timer is set again. The server multiplies a delay without an overflow check.
const LONGEST: DurationMs = DurationMs(86_400_000);

/// The longest name of a key or an owner in the log, in bytes.
const NAME: usize = 64;

/// The keyspace events that can advance a queue: all but those of other types only.
const KEY_EVENTS: c_int = raw::REDISMODULE_NOTIFY_GENERIC
    | raw::REDISMODULE_NOTIFY_STRING
    | raw::REDISMODULE_NOTIFY_LIST
    | raw::REDISMODULE_NOTIFY_SET
    | raw::REDISMODULE_NOTIFY_ZSET
    | raw::REDISMODULE_NOTIFY_EXPIRED
    | raw::REDISMODULE_NOTIFY_EVICTED
    | raw::REDISMODULE_NOTIFY_MODULE;

/// Subscribes, at load, to changes of the settings that decide about eviction. Redis 7.0.0 has no such event.
pub fn start(ctx: Ctx) {
    let _ = events::subscribe(ctx, raw::REDISMODULE_EVENT_CONFIG, |_, _, _| {
        warnings::settings_changed();
        Ok(())
    });
}

/// Subscribes to all events that advance a queue, once.
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

/// Whether the server runs jobs at the end of an execution unit.
pub fn has_jobs() -> bool {
    // SAFETY: the load writes the pointer once, before any callback can run.
    unsafe { raw::RedisModule_AddPostNotificationJob }.is_some()
}

/// A key changed. Runs inside the command that changed it, and must not disturb that command.
unsafe extern "C" fn on_key(
    raw: *mut raw::RedisModuleCtx,
    _kind: c_int,
    event: *const c_char,
    key: *mut raw::RedisModuleString,
) -> c_int {
    if !is_idle() {
        let mut key = key;
        // SAFETY: the server passes a context and one key, valid until this callback returns; `key` is an array of one.
        let (ctx, key) = unsafe { (Ctx::new(raw), Str::slice(&raw mut key, 1)) };
        let _ = guarded(|| key.first().map_or(Ok(()), |key| changed(ctx, key.bytes())));
    }
    if STRAYS.load(Ordering::Relaxed) {
        // SAFETY: the server passes a context and the event's name, a C string, valid until this callback returns.
        unsafe { keep_database(Ctx::new(raw), CStr::from_ptr(event)) };
    }
    raw::REDISMODULE_OK as c_int
}

/// Whether this server is Valkey 8.1. With a subscribed module its early releases select the database of an event for the client of the
/// running command and do not select the client's own again: after MOVE the client is in the other database.
static STRAYS: AtomicBool = AtomicBool::new(false);

/// The database of the last `move_from`, which the `move_to` of the same command follows.
static MOVED_FROM: AtomicI32 = AtomicI32::new(0);

/// Selects the database of a client of MOVE again. (COPY ... DB has one event only, that of the other database.)
fn keep_database(ctx: Ctx, event: &CStr) {
    if event == c"move_from" {
        MOVED_FROM.store(ctx.db(), Ordering::Relaxed);
    } else if event == c"move_to" {
        ctx.select(MOVED_FROM.load(Ordering::Relaxed));
    }
}

fn changed(ctx: Ctx, key: &[u8]) -> Result<()> {
    let db = ctx.db();
    if !with(|state| state.queues.key_changed(db, key))? {
        return Ok(());
    }
    let key = Rc::from(key);
    if let Some(key) = add_job(ctx, key) {
        visits_of(db, key).into_iter().try_for_each(|visit| post(ctx, visit))?;
    }
    Ok(())
}

/// Visits of all queues that a key can have.
pub fn visits_of(db: i32, key: Rc<[u8]>) -> [Task; Kind::ALL.len()] {
    Kind::ALL.map(|kind| Task::Visit(Resource { key: key.clone(), db, kind }))
}

/// Requests a visit at the end of this execution unit. Returns the key if the server has no such jobs, or accepts none now.
fn add_job(ctx: Ctx, key: Rc<[u8]>) -> Option<Rc<[u8]>> {
    // SAFETY: the load writes the pointer once, before any callback can run.
    let Some(add) = (unsafe { raw::RedisModule_AddPostNotificationJob }) else { return Some(key) };
    let key = Box::into_raw(Box::new(key));
    // SAFETY: the context belongs to the running callback. The server passes the box to `on_job` and then once to `free_key`.
    let status = unsafe { add(ctx.raw(), Some(on_job), key.cast(), Some(free_key)) };
    if status == raw::REDISMODULE_OK as c_int {
        return None;
    }
    // SAFETY: the server refused the job, so the box still belongs to this function.
    Some(*unsafe { Box::from_raw(key) })
}

unsafe extern "C" fn on_job(ctx: *mut raw::RedisModuleCtx, key: *mut c_void) {
    // SAFETY: the server passes a context that is valid until this callback returns, and the box that `add_job` made.
    let (ctx, key) = unsafe { (Ctx::new(ctx), (*key.cast::<Rc<[u8]>>()).clone()) };
    let _ = guarded(|| {
        let db = ctx.db();
        let now = ctx.moment() == Moment::Now;
        for task in visits_of(db, key) {
            // An error has been reported to the waiters of this queue; the other queues still need their visits.
            let _ = guarded(|| if now { run(ctx, task) } else { post(ctx, task) });
        }
        Ok(())
    });
}

unsafe extern "C" fn free_key(key: *mut c_void) {
    // SAFETY: the server passes the box that `add_job` made, once.
    drop(unsafe { Box::from_raw(key.cast::<Rc<[u8]>>()) });
}

/// All keys of a database, or of all databases, were removed.
fn on_flush(ctx: Ctx, sub: u64, data: Data) -> Result<()> {
    match data {
        Data::Flush { db } if sub == raw::REDISMODULE_SUBEVENT_FLUSHDB_END && !is_idle() => {
            post_visits(ctx, &|resource| db.is_none_or(|db| db == resource.db))
        }
        _ => Ok(()),
    }
}

/// Two databases were swapped: the queues stay, and their keys moved away.
fn on_swap(ctx: Ctx, _: u64, data: Data) -> Result<()> {
    let Data::Swap { first: one, second: other } = data else { return Ok(()) };
    with(|state| {
        state.bindings.swap_dbs(one, other);
        state.unread.swap_dbs(one, other);
        for task in &mut state.tasks {
            if let Task::TakeBack(held) = task {
                held.resource.swap_db(one, other);
            }
        }
    })?;
    post_visits(ctx, &|resource| resource.db == one || resource.db == other)
}

/// This server became a replica. Most servers have unblocked every client by now; Valkey 9 leaves those of modules blocked.
fn on_role(ctx: Ctx, sub: u64, _: Data) -> Result<()> {
    if sub != raw::REDISMODULE_EVENT_REPLROLECHANGED_NOW_REPLICA {
        return Ok(());
    }
    // The leases of bound holds end by themselves: the new primary knows of no binding.
    let resources = with(|state| {
        state.bindings = Bindings::new();
        state.queues.resources()
    })?;
    resources.iter().try_for_each(|resource| visit::dismiss(ctx, resource))?;
    set_alarm(ctx)
}

/// Schedules a visit of each of these resources that has none scheduled.
fn post_visits(ctx: Ctx, which: &dyn Fn(&Resource) -> bool) -> Result<()> {
    let resources = with(|state| state.queues.resources_changed(which))?;
    resources.into_iter().try_for_each(|resource| post(ctx, Task::Visit(resource)))
}

/// A connection closes: its bound shares are taken back, and a grant that the client cannot have read.
fn on_client(ctx: Ctx, sub: u64, data: Data) -> Result<()> {
    let Data::Client { id: client } = data else { return Ok(()) };
    if sub != raw::REDISMODULE_SUBEVENT_CLIENT_CHANGE_DISCONNECTED {
        return Ok(());
    }
    let (bound, unread) = with(|state| state.close(client))?;
    // If the server has sent all output, or the client sent QUIT after its request, the client may have read its grant and keeps it.
    let unread = unread.filter(|_| !ctx.client(client).is_some_and(|it| it.closes_after_reply || it.pending == Some(0)));
    bound.into_iter().chain(unread).try_for_each(|held| post(ctx, Task::TakeBack(held)))?;
    set_alarm(ctx)
}

/// The server has slept, so every reply made before was sent. It sleeps at most for the period of its cron, so a step of the clock is
/// noticed here.
fn on_loop(ctx: Ctx, sub: u64, _: Data) -> Result<()> {
    if sub != raw::REDISMODULE_SUBEVENT_EVENTLOOP_AFTER_SLEEP {
        return Ok(());
    }
    let alarm = with(|state| {
        state.unread.forget_delivered();
        state.alarm
    })?;
    match alarm {
        Some(timer) if timer.is_off(clock::system().floor_ms()) => {
            stop_timer(ctx, timer);
            with(|state| state.alarm = None)?;
            set_alarm(ctx)
        }
        _ => Ok(()),
    }
}

/// Schedules a task in a timer, right after the running command.
pub fn post(ctx: Ctx, task: Task) -> Result<()> {
    let idle = with(|state| {
        state.tasks.push(task);
        state.task_timer.is_none()
    })?;
    if idle { set_task_timer(ctx, DurationMs(0)) } else { Ok(()) }
}

fn set_task_timer(ctx: Ctx, delay: DurationMs) -> Result<()> {
    let timer = create_timer(ctx, delay, on_tasks);
    with(|state| state.task_timer = Some(timer))
}

unsafe extern "C" fn on_tasks(ctx: *mut raw::RedisModuleCtx, _: *mut c_void) {
    // SAFETY: the server passes a context that is valid until this callback returns.
    let ctx = unsafe { Ctx::new(ctx) };
    let _ = guarded(|| {
        with(|state| state.task_timer = None)?;
        match ctx.moment() {
            Moment::Later => set_task_timer(ctx, RETRY),
            Moment::Never => with(|state| state.tasks.clear()),
            Moment::Now => {
                let tasks = with(|state| {
                    let batch = state.tasks.len().min(BATCH);
                    state.tasks.drain(..batch).collect::<Vec<_>>()
                })?;
                // An error of one task (a key of another type) does not concern the others.
                tasks.into_iter().for_each(|task| drop(guarded(|| run(ctx, task))));
                let done = with(|state| state.tasks.is_empty() || state.task_timer.is_some())?;
                if done { Ok(()) } else { set_task_timer(ctx, DurationMs(0)) }
            }
        }
    });
}

fn run(ctx: Ctx, task: Task) -> Result<()> {
    match task {
        Task::Visit(resource) => {
            ctx.select(resource.db);
            visit::advance(&Keyspace::new(ctx), &resource)
        }
        Task::TakeBack(held) => {
            ctx.select(held.resource.db);
            visit::take_back(&Keyspace::new(ctx), &held)
        }
    }
}

/// Runs the scheduled tasks now, if writes are allowed, and stops all timers. No client waits any more. A share that cannot be taken back
/// now lasts until its lease ends.
pub fn stop_timers(ctx: Ctx) -> Result<()> {
    let tasks = with(|state| mem::take(&mut state.tasks))?;
    if ctx.moment() == Moment::Now {
        tasks.into_iter().for_each(|task| drop(guarded(|| run(ctx, task))));
    }
    let timers = with(|state| {
        state.tasks.clear();
        [state.task_timer.take(), state.alarm.take()]
    })?;
    timers.into_iter().flatten().for_each(|timer| stop_timer(ctx, timer));
    Ok(())
}

fn stop_timer(ctx: Ctx, timer: Timer) {
    // SAFETY: the context belongs to the running callback. The timer has not fired, since each timer callback first forgets its timer.
    unsafe { api!(RedisModule_StopTimer)(ctx.raw(), timer.id, std::ptr::null_mut()) };
}

/// Sets the alarm to fire no later than the earliest moment at which a waiter may be served or a bound lease must be renewed. An alarm
/// that fires too early is set again. An alarm that is not needed is stopped, because a running timer prevents the unload of the module.
pub fn set_alarm(ctx: Ctx) -> Result<()> {
    if !is_timed() {
        return Ok(());
    }
    let (set, next) = with(|state| (state.alarm, state.next_alarm()))?;
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
    // SAFETY: the server passes a context that is valid until this callback returns.
    let ctx = unsafe { Ctx::new(ctx) };
    let _ = guarded(|| {
        with(|state| state.alarm = None)?;
        match ctx.moment() {
            Moment::Now => {}
            Moment::Later => {
                let timer = create_timer(ctx, RETRY, on_alarm);
                return with(|state| state.alarm = Some(timer));
            }
            // No client waits on a replica, and what clients acquire on one that they may write to is a plain lease.
            Moment::Never => return with(|state| state.bindings = Bindings::new()),
        }
        let now = clock::now().floor_ms();
        let (due, renewals) = with(|state| (state.queues.due(now, BATCH), state.bindings.due(now, BATCH)))?;
        due.into_iter().for_each(|resource| drop(guarded(|| run(ctx, Task::Visit(resource)))));
        renewals.into_iter().for_each(|(resource, hold)| drop(guarded(|| renew(ctx, resource, &hold))));
        set_alarm(ctx)
    });
}

/// Renews the lease of a bound hold. A hold that its owner has lost is unbound. In a cluster the lease of a hold whose slot has left this
/// node ends by itself.
fn renew(ctx: Ctx, resource: Resource, hold: &Hold<'_>) -> Result<()> {
    ctx.select(resource.db);
    let (keyspace, key) = (Keyspace::new(ctx), OwnedStr::new(&resource.key));
    let moved = slots::is_cluster() && !ctx.is_local(key.as_str());
    let kept = if moved { None } else { visit::keep(&keyspace, &resource, hold).ok().flatten() };
    let now = keyspace.now().floor_ms();
    let holder = Holder { resource, owner: (*hold.owner).into() };
    let report = with(|state| {
        if let Some(until) = kept {
            state.bindings.renewed(&holder, None, until, now);
            return false;
        }
        state.bindings.forget(&holder);
        !moved && state.lost_binding(now)
    })?;
    if report {
        let name = |bytes| printable(bytes, NAME);
        let (kind, key, owner) = (holder.resource.kind.name(), name(&holder.resource.key), name(&holder.owner));
        ctx.log(
            c"warning",
            &format!("{owner} lost the {kind} {key} while its connection is open: the lease ended, or the key changed"),
        );
    }
    Ok(())
}

type OnTimer = unsafe extern "C" fn(*mut raw::RedisModuleCtx, *mut c_void);

fn create_timer(ctx: Ctx, delay: DurationMs, callback: OnTimer) -> Timer {
    let delay = delay.min(LONGEST);
    let at = clock::system().floor_ms().plus(delay);
    let period = i64::try_from(delay.0).unwrap_or(0);
    // SAFETY: the context belongs to the running callback. The callback's code stays loaded, since the server does not unload a module
    // with a running timer.
    let id = unsafe { api!(RedisModule_CreateTimer)(ctx.raw(), period, Some(callback), std::ptr::null_mut()) };
    Timer { id, at, delay }
}
