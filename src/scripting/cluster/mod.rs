//! EVALSHA finds its script anywhere in the cluster: a script that this node does not know is pulled from another primary.
//!
//! The client is blocked meanwhile, for at most 200 ms, and its call then runs as if it came now. Whatever may have changed is checked
//! again: the user's permissions, the slot, the role, a pause.
//!
//! Messages arrive at any time, also in the middle of a script that yields, so they are only kept ([`on_message`]). A timer handles them,
//! between the commands of clients ([`on_timer`]). `docs/adr/011-scripts-in-a-cluster.md` has the reasons.

mod message;
mod pulls;

use std::ffi::CString;
use std::time::Instant;

use self::message::{Body, MAX_SOURCE, Message, Refusal};
use self::pulls::{Admission, Client, Counts, Ended, Pulls};
use super::{Request, RunMode, engine, script_store};
use crate::error::{Error, Result, guarded};
use crate::keyspace::Keyspace;
use crate::lua::Digest;
use crate::server::acl::Caller;
use crate::server::args::Args;
use crate::server::blocked::{Blocked, Blocking};
use crate::server::call::{CallReply, Memory, is_denial};
use crate::server::cluster::{self, NodeId};
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::reply::Reply;
use crate::server::slots;
use crate::server::state::Moment;
use crate::server::thread::ServerThread;
use crate::server::timer::Timer;
use crate::settings;
use crate::waiting;

/// The most messages and bytes that wait for the timer. It fires right after the event that brought them, unless a script yields or the
/// server loads its data.
const MAX_MESSAGES: usize = 256;
const MAX_BYTES: usize = 1 << 20;

const NOT_PERMITTED: Error = Error::Text("NOPERM the user lost permission for this command or key while the client waited");

struct State {
    pulls: Pulls<Blocked<Waiting>>,
    /// Messages for the next timer, and the bytes of their sources.
    inbox: Vec<(NodeId, Message)>,
    inbox_bytes: usize,
    /// The timer, and when it fires.
    timer: Option<(Instant, Timer)>,
}

static STATE: ServerThread<Option<State>> = ServerThread::new(None);

/// Reads or changes the state. `act` must not run a command of the server. Fails if this is no node of a cluster.
fn with<R>(act: impl FnOnce(&mut State) -> R) -> Result<R> {
    let none = || Error::Internal("not in a cluster".to_owned());
    let mut slot = STATE.try_borrow_mut().ok_or_else(none)?;
    slot.as_mut().map(act).ok_or_else(none)
}

/// Starts to answer other nodes, at the end of the load.
pub fn start(ctx: Ctx) {
    if !slots::is_cluster() {
        return;
    }
    if let Some(mut slot) = STATE.try_borrow_mut() {
        *slot = Some(State { pulls: Pulls::new(), inbox: Vec::new(), inbox_bytes: 0, timer: None });
    }
    cluster::receive(ctx, on_message);
}

/// Stops answering, at unload. No client waits and no timer runs, or the server would not unload the module.
pub fn stop(ctx: Ctx) {
    cluster::stop(ctx);
    if let Some(mut slot) = STATE.try_borrow_mut() {
        *slot = None;
    }
}

/// The fields of INFO; none if this is no node of a cluster.
pub fn figures() -> Result<[(&'static str, u64); 7]> {
    with(|state| {
        let Counts { asked, found, missed, answered, limited, dropped } = state.pulls.counts;
        let waiting = u64::try_from(state.pulls.waiting()).unwrap_or(u64::MAX);
        [
            ("asked", asked),
            ("found", found),
            ("missed", missed),
            ("answered", answered),
            ("limited", limited),
            ("dropped", dropped),
            ("waiting_clients", waiting),
        ]
    })
}

/// Sets the counters to zero.
pub fn reset_stats() {
    let _ = with(|state| state.pulls.counts = Counts::default());
}

fn send(ctx: Ctx) -> impl FnMut(NodeId, &Message) -> bool {
    move |to, message| ctx.send_to(to, &message.encode())
}

/// Pulls the script of a call of EVALSHA that this node does not know. `None` if it cannot be found this way.
pub fn pull(keyspace: &Keyspace, request: &Request<'_>, mode: RunMode) -> Option<Reply> {
    let digest = Digest::parse(request.script).filter(|_| is_on(mode) && may_wait(keyspace))?;
    let (ctx, now) = (keyspace.ctx(), Instant::now());
    let admission = with(|state| state.pulls.admit(digest, now)).ok()?;
    if admission == Admission::Refused || !is_own_call(ctx, request, mode) {
        return None;
    }
    if admission == Admission::Begin {
        let nodes = ctx.other_primaries();
        with(|state| state.pulls.begin(digest, &nodes, now, &mut send(ctx))).ok().filter(|waits| *waits)?;
    }
    let client = Client { id: ctx.client_id(), read_only: mode.read_only, handle: Blocked::new(ctx) };
    with(|state| {
        drop(state.pulls.join(digest, client));
        state.schedule(ctx);
    })
    .ok()?;
    Some(Reply::Later)
}

fn is_on(mode: RunMode) -> bool {
    let setting = if mode.standing_in { &settings::INTERCEPT_SCRIPT_PULL } else { &settings::SCRIPT_PULL };
    settings::SCRIPT_PULL.get() == 1 && setting.get() == 1
}

/// Whether the client may be blocked, on a node that may store the script.
fn may_wait(keyspace: &Keyspace) -> bool {
    let (ctx, flags) = (keyspace.ctx(), keyspace.flags());
    slots::is_cluster()
        && !flags.deny_blocking()
        && ctx.moment() == Moment::Now
        && ctx.has_connection()
        && !waiting::drain::is_on()
}

/// Whether this node serves the call itself. A call under ASKING would be refused when it is resumed, and one that stands in for the
/// server's command may have its script in the server's cache.
fn is_own_call(ctx: Ctx, request: &Request<'_>, mode: RunMode) -> bool {
    let is_in_servers_cache = || {
        let (exists, sha) = (OwnedStr::new(b"EXISTS"), OwnedStr::new(request.script));
        mode.standing_in && ctx.native_flags(c"SCRIPT", &[exists.as_str(), sha.as_str()]) == [true]
    };
    request.keys.0.first().is_none_or(|key| waiting::owns_slot(ctx, *key)) && !is_in_servers_cache()
}

/// A client has loaded a script: tells the nodes that remember that this one lacked it.
pub fn announce(ctx: Ctx, digest: Digest) {
    let nodes = with(|state| {
        state.pulls.forget_miss(digest);
        state.pulls.take_denied(digest, Instant::now())
    });
    let (mut send, message) = (send(ctx), Message { digest, body: Body::Loaded });
    for node in nodes.into_iter().flatten() {
        // A node that cannot be reached forgets by itself.
        let _ = send(node, &message);
    }
}

impl State {
    /// Sets the timer for the next work, if there is any.
    fn schedule(&mut self, ctx: Ctx) {
        let now = Instant::now();
        let next = if self.inbox.is_empty() { self.pulls.next_deadline() } else { Some(now) };
        let Some(next) = next else { return };
        if let Some((at, timer)) = self.timer.take() {
            if at <= next {
                self.timer = Some((at, timer));
                return;
            }
            timer.stop(ctx);
        }
        self.timer = Some((next, Timer::start(ctx, next.saturating_duration_since(now), on_timer)));
    }

    /// Keeps a message for the timer.
    fn keep(&mut self, from: NodeId, message: Message) -> bool {
        let bytes = if let Body::Source(source) = &message.body { source.len() } else { 0 };
        let bytes = self.inbox_bytes.saturating_add(bytes);
        let has_room = self.inbox.len() < MAX_MESSAGES && bytes <= MAX_BYTES;
        if has_room {
            self.inbox_bytes = bytes;
            self.inbox.push((from, message));
        }
        has_room
    }
}

/// A message has arrived.
fn on_message(ctx: Ctx, from: NodeId, bytes: &[u8]) {
    let message = Message::decode(bytes);
    if matches!(message, Err(Refusal::Foreign)) {
        return;
    }
    let _ = with(|state| {
        if message.is_ok_and(|message| state.keep(from, message)) {
            state.schedule(ctx);
        } else {
            Counts::add_to(&mut state.pulls.counts.dropped);
        }
    });
}

/// Handles the messages that have arrived, and ends the pulls whose time is over.
fn on_timer(ctx: Ctx) {
    let messages = with(|state| {
        (state.timer, state.inbox_bytes) = (None, 0);
        std::mem::take(&mut state.inbox)
    });
    for (from, message) in messages.into_iter().flatten() {
        let _ = guarded(|| handle(ctx, from, message));
    }
    let ended = with(|state| state.pulls.expire(Instant::now(), &mut send(ctx)));
    ended.into_iter().flatten().for_each(|pull| finish(ctx, pull));
    let _ = with(|state| state.schedule(ctx));
}

fn handle(ctx: Ctx, from: NodeId, message: Message) -> Result<()> {
    with(|state| state.pulls.heard_of(from))?;
    match message.body {
        Body::Ask => answer(ctx, from, message.digest, false),
        Body::Fetch => answer(ctx, from, message.digest, true),
        _ => {
            let ended = with(|state| state.pulls.heard(from, message, Instant::now(), &mut send(ctx)))?;
            ended.into_iter().for_each(|pull| finish(ctx, pull));
            Ok(())
        }
    }
}

/// Answers a node with a script, or tells whether this node has it.
fn answer(ctx: Ctx, to: NodeId, digest: Digest, is_fetched: bool) -> Result<()> {
    if ctx.flags().is_loading() {
        return Ok(());
    }
    let mut scripting = engine()?;
    let is_on = settings::SCRIPT_PULL.get() == 1;
    let known = if is_on { script_store::find(ctx, &mut scripting.engine, &digest.hex()) } else { None };
    let source = known.and_then(|digest| scripting.engine.source(digest)).filter(|source| source.len() <= MAX_SOURCE);
    with(|state| {
        let State { pulls, .. } = state;
        let body = match source {
            None => {
                pulls.denied(digest, to, Instant::now());
                Body::Lack
            }
            Some(source) if pulls.may_send(to, digest, source.len(), is_fetched, Instant::now()) => {
                Counts::add_to(&mut pulls.counts.answered);
                Body::Source(source.to_vec())
            }
            Some(_) if is_fetched => {
                Counts::add_to(&mut pulls.counts.dropped);
                return;
            }
            Some(_) => Body::Have,
        };
        // A node that cannot be reached any more does not wait for long.
        let _ = send(ctx)(to, &Message { digest, body });
    })
}

/// Keeps the script of a pull and resumes its clients.
fn finish(ctx: Ctx, pull: Ended<Blocked<Waiting>>) {
    if let Some(source) = &pull.source {
        // A script that does not compile here stays unknown.
        let _ = guarded(|| keep(ctx, source, &pull.clients));
    }
    pull.clients.into_iter().for_each(|client| drop(client.handle));
}

/// Stores a script for a client that may load it, and otherwise caches it. While the server may not write, it only caches.
fn keep(ctx: Ctx, source: &[u8], clients: &[Client<Blocked<Waiting>>]) -> Result<()> {
    let mut scripting = engine()?;
    let is_loader = |client: &Client<_>| !client.read_only && may_load(ctx, client.id);
    if ctx.moment() == Moment::Now && clients.iter().any(is_loader) {
        script_store::load(ctx, &mut scripting, source).map(drop)
    } else {
        scripting.engine.load(source).map(drop)
    }
}

fn may_load(ctx: Ctx, client: u64) -> bool {
    let words = [&b"ATOMIC.SCRIPT"[..], b"LOAD", b""].map(OwnedStr::new);
    match ctx.user_of(client) {
        Caller::User(user) => user.may(OwnedStr::slice_as_str(&words)),
        Caller::Nobody | Caller::Stranger => false,
    }
}

/// A client that waits for a script.
struct Waiting;

impl Blocking for Waiting {
    /// Runs the call anew. It cannot wait again, and where it must not run the client sends the source, as for any NOSCRIPT.
    fn resumed(ctx: Ctx, request: &[Str<'_>]) -> Result<Reply> {
        let (name, args) = request.split_first().ok_or(Error::Arity)?;
        if ctx.moment() != Moment::Now {
            return Err(Error::NoScript);
        }
        let keys = Request::parse(Args::new(args))?.keys;
        if let Some(error) = keys.0.first().and_then(|key| waiting::elsewhere(ctx, *key)) {
            return Err(error);
        }
        let name = CString::new(name.bytes()).map_err(|_| Error::NoScript)?;
        let reply = CallReply::as_caller(ctx, &name, Memory::Limited, args);
        reply.relay(ctx).map_err(|error| if is_denial(&error) { NOT_PERMITTED } else { error })?;
        Ok(Reply::Sent)
    }

    fn timed_out(ctx: Ctx) -> Result<Reply> {
        Self::gone(ctx);
        Err(Error::NoScript)
    }

    fn gone(ctx: Ctx) {
        let client = ctx.client_id();
        let left = with(|state| state.pulls.leave(client));
        drop(left);
    }
}
