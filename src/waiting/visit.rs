//! A visit: the key is read, whoever is next gets its turn, the key is written once, the clients are told.

use std::rc::Rc;

use super::blocked::{Blocked, Outcome, Verdict, Waiter};
use super::holding::{Answer, Denied, Held, Holding, Share, Wanted};
use super::queues::{ClientId, Kind, Line, Place};
use super::state::{lines_are_empty, with};
use super::{drain, events, redirect};
use crate::error::{Error, Result};
use crate::keyspace::{KeyEntry, Keyspace};
use crate::primitives::time::{DurationMs, UnixMs};
use crate::primitives::{lock, semaphore};
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::reply::{Reply, number};
use crate::server::slots;
use crate::server::state::ContextFlags;

/// How long a line in a cluster goes without a look at its slot, which may leave without any event at the key.
const SLOT_CHECK: DurationMs = DurationMs(1000);

/// A line is not looked at again for the same reason before this time, so that a key that stays as it is costs little.
const PAUSE: DurationMs = DurationMs(1);

/// On which terms a client asks.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Whether and how it waits.
    pub patience: Option<Patience>,
    /// Whether its share ends with its connection.
    pub bind: bool,
}

/// How a client waits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long; zero is for ever.
    pub wait: DurationMs,
    /// With this many waiting already it does not.
    pub max_queue: Option<usize>,
}

/// Reads a key, lets `act` decide about it, and serves its line before and after: everything in one write. `act` learns how many
/// clients wait.
pub fn visit<H: Holding, R>(
    keyspace: &Keyspace,
    key: Str<'_>,
    act: impl FnOnce(&mut H, &mut KeyEntry<'_>, usize) -> Result<R>,
) -> Result<R> {
    let mut turn = Turn::begin(keyspace, H::KIND, key)?;
    let mut entry = keyspace.entry(key);
    let mut holding = match H::read(&mut entry, keyspace.now()) {
        Ok(holding) => holding,
        Err(error) => {
            turn.refuse_all(&error);
            turn.end()?;
            return Err(error);
        }
    };
    turn.serve(&mut holding, &mut entry);
    let outcome = act(&mut holding, &mut entry, turn.waiters());
    turn.serve(&mut holding, &mut entry);
    turn.look_ahead(&holding, &mut entry);
    if let Err(error) = holding.effect(&mut entry).and_then(|effect| entry.apply(effect)) {
        turn.called.iter_mut().for_each(|(_, verdict)| verdict.outcome = Err(error.clone()));
        turn.end()?;
        return Err(error);
    }
    turn.end()?;
    outcome
}

/// The state of a key after its line was served, and how many still wait: for a decision about several keys.
pub fn settled<H: Holding>(keyspace: &Keyspace, key: Str<'_>) -> Result<(H, usize)> {
    let waiters = if lines_are_empty() { 0 } else { visit::<H, _>(keyspace, key, |_, _, waiters| Ok(waiters))? };
    Ok((H::read(&mut keyspace.entry(key), keyspace.now())?, waiters))
}

/// A visit that only looks whether the line moves on. Without a line the key, which may be of another type, is none of our business.
pub fn look(keyspace: &Keyspace, place: &Place) -> Result<()> {
    if with(|state| state.queues.waiters(place.db, place.kind, &place.key))? == 0 {
        return Ok(());
    }
    let key = OwnedStr::new(&place.key);
    match place.kind {
        Kind::Lock => visit::<lock::Draft, _>(keyspace, key.as_str(), |_, _, _| Ok(())),
        Kind::Semaphore => visit::<semaphore::Draft, _>(keyspace, key.as_str(), |_, _, _| Ok(())),
    }
}

/// Sends everybody who waits at a key away: the data is another server's now.
pub fn dismiss(ctx: Ctx, place: &Place) -> Result<()> {
    const UNBLOCKED: &str = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
    ctx.select(place.db);
    let (keyspace, key) = (Keyspace::new(ctx), OwnedStr::new(&place.key));
    let mut turn = Turn::begin(&keyspace, place.kind, key.as_str())?;
    turn.refuse_all(&Error::Text(UNBLOCKED));
    turn.end()
}

/// Answers everybody who waits at a key as if its time were over. Writes nothing.
pub fn turn_away(ctx: Ctx, place: &Place) -> Result<usize> {
    ctx.select(place.db);
    let (keyspace, key) = (Keyspace::new(ctx), OwnedStr::new(&place.key));
    match place.kind {
        Kind::Lock => deny_all::<lock::Draft>(&keyspace, key.as_str()),
        Kind::Semaphore => deny_all::<semaphore::Draft>(&keyspace, key.as_str()),
    }
}

fn deny_all<H: Holding>(keyspace: &Keyspace, key: Str<'_>) -> Result<usize> {
    let mut turn = Turn::begin(keyspace, H::KIND, key)?;
    let mut entry = keyspace.entry(key);
    match H::read(&mut entry, keyspace.now()) {
        Ok(holding) => turn.deny_all(&holding, &mut entry),
        Err(error) => turn.refuse_all(&error),
    }
    drop(entry);
    let answered = turn.called.len();
    turn.end()?;
    Ok(answered)
}

/// A visit that gives back what nobody holds any more.
pub fn give_back(keyspace: &Keyspace, held: &Held) -> Result<()> {
    let key = OwnedStr::new(&held.place.key);
    match held.place.kind {
        Kind::Lock => visit(keyspace, key.as_str(), |draft: &mut lock::Draft, entry, _| Holding::take_back(draft, entry, held)),
        Kind::Semaphore => {
            visit(keyspace, key.as_str(), |draft: &mut semaphore::Draft, entry, _| Holding::take_back(draft, entry, held))
        }
    }
}

/// The reply to a client that waited in vain. A transaction that unblocks it (`CLIENT UNBLOCK`) may be about another slot of the cluster, in
/// which the server would look for the key: then the reply tells of the moment when it began to wait.
pub fn denial(keyspace: &Keyspace, place: &Place, waiter: &Waiter) -> Result<Reply> {
    let numbers = if slots::has_table_per_slot() && keyspace.flags().is_in_exec() {
        waiter.denied
    } else {
        let key = OwnedStr::new(&place.key);
        match place.kind {
            Kind::Lock => denied::<lock::Draft>(keyspace, key.as_str(), &waiter.wanted)?.reply,
            Kind::Semaphore => denied::<semaphore::Draft>(keyspace, key.as_str(), &waiter.wanted)?.reply,
        }
    };
    let waiters = with(|state| state.queues.waiters(place.db, place.kind, &place.key))?;
    Ok(reply(numbers, waiters))
}

fn denied<H: Holding>(keyspace: &Keyspace, key: Str<'_>, wanted: &Wanted<'_>) -> Result<Denied> {
    let mut entry = keyspace.entry(key);
    H::read(&mut entry, keyspace.now())?.denied(&mut entry, wanted)
}

/// Asks for a share of a key: now, or when its turn comes.
pub fn acquire<H: Holding>(keyspace: &Keyspace, key: Str<'_>, wanted: Wanted<'_>, terms: Terms) -> Result<Reply> {
    let ctx = keyspace.ctx();
    if drain::is_on() {
        drain::refuse(keyspace.flags(), terms)?;
    }
    if terms.bind {
        if keyspace.flags().is_nested() || !ctx.has_connection() {
            return Err(Error::Text("ERR BIND needs a client connection: not allowed in scripts"));
        }
        events::listen(ctx)?;
    }
    let (answer, waiters) = visit::<H, _>(keyspace, key, |holding, entry, waiters| {
        let overtakes = waiters > 0 && !holding.admits(&wanted.owner);
        let mut answer = if overtakes {
            Answer::Denied(holding.denied(entry, &wanted)?)
        } else {
            holding.claim(entry, &wanted, keyspace.now())?
        };
        if let (Answer::Denied(denied), Some(_)) = (&mut answer, terms.patience) {
            denied.until = denied.until.into_iter().chain(entry.expiry()).min();
        }
        Ok((answer, waiters))
    })?;
    match answer {
        Answer::Granted(numbers, share, until) => {
            // Acquiring again may have prolonged what is bound already.
            super::prolong(keyspace, H::KIND, key, &wanted.owner, until)?;
            if terms.bind {
                let held = held(&place(keyspace, H::KIND, key), &wanted, share, until);
                with(|state| state.bindings.add(ctx.client_id(), held, keyspace.now().floor_ms()))?;
            }
            Ok(reply(numbers, waiters))
        }
        Answer::Denied(denied) => {
            let Some(patience) = terms.patience else { return Ok(reply(denied.reply, waiters)) };
            let flags = keyspace.flags();
            if !may_wait(flags, patience, &denied, waiters) {
                return Ok(reply(denied.reply, waiters));
            }
            events::listen(ctx)?;
            let waiter = Waiter {
                blocked: Blocked::new(ctx, patience.wait),
                wanted: wanted.kept(),
                bind: terms.bind,
                denied: denied.reply,
            };
            let until = soonest(denied.until, keyspace.now().floor_ms(), flags.is_cluster());
            queue(ctx, &place(keyspace, H::KIND, key), waiter, until)
        }
    }
}

fn may_wait(flags: ContextFlags, patience: Patience, denied: &Denied, waiters: usize) -> bool {
    let room = patience.max_queue.is_none_or(|most| waiters < most);
    room && !denied.never && !flags.deny_blocking() && !flags.is_replica() && !flags.is_loading()
}

fn queue(ctx: Ctx, place: &Place, waiter: Waiter, until: Option<UnixMs>) -> Result<Reply> {
    with(|state| state.queues.join(place, ctx.client_id(), waiter, until))?;
    events::set_alarm(ctx)?;
    Ok(Reply::Later)
}

/// When a line is looked at next without any event.
fn soonest(until: Option<UnixMs>, now: UnixMs, cluster: bool) -> Option<UnixMs> {
    let check = cluster.then_some(now.plus(SLOT_CHECK));
    until.into_iter().chain(check).min().map(|at| at.max(now.plus(PAUSE)))
}

fn place(keyspace: &Keyspace, kind: Kind, key: Str<'_>) -> Place {
    Place { key: Rc::from(key.bytes()), db: keyspace.ctx().db(), kind }
}

fn held(place: &Place, wanted: &Wanted<'_>, share: Share, until: UnixMs) -> Held {
    Held { place: place.clone(), owner: wanted.owner.as_ref().into(), share, until }
}

/// The reply of a claim with the count of waiters.
pub fn reply([a, b, c, d]: [i64; 4], waiters: usize) -> Reply {
    Reply::from([a, b, c, d, number(waiters)])
}

/// The line of a key during a visit. However the visit ends, the line goes back.
struct Turn<'k> {
    keyspace: &'k Keyspace,
    line: Option<Line<Waiter>>,
    cluster: bool,
    /// Who had its turn, and with which outcome.
    called: Vec<(Waiter, Verdict)>,
}

impl<'k> Turn<'k> {
    fn begin(keyspace: &'k Keyspace, kind: Kind, key: Str<'_>) -> Result<Self> {
        let mut turn = Self { keyspace, line: None, cluster: false, called: Vec::new() };
        if lines_are_empty() {
            return Ok(turn);
        }
        let db = keyspace.ctx().db();
        turn.line = with(|state| state.queues.visit(db, kind, key.bytes()))?;
        turn.cluster = turn.line.is_some() && keyspace.ctx().flags().is_cluster();
        if turn.cluster
            && let Some(elsewhere) = redirect::elsewhere(keyspace.ctx(), key)
        {
            turn.refuse_all(&elsewhere);
        }
        Ok(turn)
    }

    fn waiters(&self) -> usize {
        self.line.as_ref().map_or(0, Line::len)
    }

    /// Lets the heads of the line have what they ask for, as far as it goes.
    fn serve<H: Holding>(&mut self, holding: &mut H, entry: &mut KeyEntry<'_>) {
        let Some(line) = &mut self.line else { return };
        while let Some(head) = line.head() {
            let answer = holding.claim(entry, &head.wanted, self.keyspace.now());
            if matches!(answer, Ok(Answer::Denied(_))) {
                return;
            }
            let Some((client, waiter)) = line.pop() else { return };
            let outcome = answer.and_then(|answer| match answer {
                Answer::Granted(numbers, share, until) => {
                    Ok(Outcome::Granted(numbers, held(&line.place, &waiter.wanted, share, until)))
                }
                Answer::Denied(_) => Err(Error::Internal("a denial is no turn".to_owned())),
            });
            self.called.push((waiter, Verdict { client, outcome, waiters: 0, delivered: false }));
        }
    }

    /// When the head of the line may have its turn without any event.
    fn look_ahead<H: Holding>(&mut self, holding: &H, entry: &mut KeyEntry<'_>) {
        let Some(line) = &mut self.line else { return };
        if let Some(head) = line.head() {
            // What cannot be read now is looked at again soon.
            let until = holding.denied(entry, &head.wanted).map_or(Some(self.keyspace.now().floor_ms()), |denied| denied.until);
            // The key may end before the lease does.
            let until = until.into_iter().chain(entry.expiry()).min();
            line.until = soonest(until, self.keyspace.now().floor_ms(), self.cluster);
        }
    }

    fn refuse_all(&mut self, error: &Error) {
        let Some(line) = &mut self.line else { return };
        while let Some((client, waiter)) = line.pop() {
            self.called.push((waiter, Verdict { client, outcome: Err(error.clone()), waiters: 0, delivered: false }));
        }
    }

    fn deny_all<H: Holding>(&mut self, holding: &H, entry: &mut KeyEntry<'_>) {
        let Some(line) = &mut self.line else { return };
        while let Some((client, waiter)) = line.pop() {
            let outcome = holding.denied(entry, &waiter.wanted).map(|denied| Outcome::Denied(denied.reply));
            self.called.push((waiter, Verdict { client, outcome, waiters: 0, delivered: false }));
        }
    }

    /// Puts the line back and unblocks who had its turn.
    fn end(mut self) -> Result<()> {
        if self.line.is_none() {
            return Ok(());
        }
        let waiters = self.waiters();
        self.put_back();
        events::set_alarm(self.keyspace.ctx())?;
        for (waiter, verdict) in self.called.drain(..) {
            waiter.blocked.finish(Verdict { waiters, ..verdict }, waiter.bind);
        }
        Ok(())
    }

    fn put_back(&mut self) {
        let Some(line) = self.line.take() else { return };
        let clients: Vec<ClientId> = self.called.iter().map(|(_, verdict)| verdict.client).collect();
        let granted = self.called.iter().filter(|(_, verdict)| matches!(verdict.outcome, Ok(Outcome::Granted(..)))).count();
        // The state is only in use by whoever is further up the stack, and nobody calls a visit from there.
        let _ = with(|state| {
            clients.into_iter().for_each(|client| state.queues.served(client));
            state.handed_over = state.handed_over.saturating_add(u64::try_from(granted).unwrap_or(0));
            state.queues.put_back(line);
        });
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.put_back();
    }
}
