//! A watched run: one that can be undone, is traced, or must keep to its declared keys. It sees each call before and after it.
//!
//! Most runs are not watched, and cost nothing here. In a watched run the server runs every call: what this module could do without the
//! server would not be seen.

pub mod rollback;
mod saved;
mod trace;
pub mod undeclared;

use std::time::{Duration, Instant};

use self::rollback::{Rollback, Undone};
use self::saved::Replicates;
use self::undeclared::Policy;
use super::calls::{Calls, Facts, Invocation, Natives};
use crate::error::Result;
use crate::server::args::{is, parse_i64};
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::waiting::deferred::{self, Deferred};

pub use self::trace::{FIELDS, Trace};

/// What the command that starts a run wants to know of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Inspection {
    #[default]
    None,
    /// A report.
    Trace,
    /// A report of a run that is undone at its end.
    DryRun,
}

/// The command to run.
#[derive(Clone, Copy)]
pub enum Target<'n> {
    Command,
    Native(&'n Natives, usize),
}

impl Target<'_> {
    pub fn run<'c>(self, calls: &'c mut Calls<'_>, call: &Invocation<'_>) -> &'c [u8] {
        match self {
            Self::Command => calls.call(call),
            Self::Native(natives, index) => calls.run(natives, index, call),
        }
    }
}

/// The end of a watched run.
pub struct Ended {
    pub outcome: Result<()>,
    /// The fields of the report, if one is wanted.
    pub trace: Option<Trace>,
}

pub struct Watch<'a> {
    ctx: Ctx,
    /// The keys that the client declared.
    declared: &'a [Str<'a>],
    rollback: Option<Rollback>,
    /// Changes of waiting clients wait, too.
    deferred: Option<Deferred>,
    policy: Policy,
    uses: u64,
    trace: Option<Trace>,
    inspection: Inspection,
}

/// What happens to a call.
enum Verdict {
    Run,
    /// The reply of a call that does not run.
    Answer(Vec<u8>),
}

impl<'a> Watch<'a> {
    /// The watch of a run, if it needs one. `rolls_back` says that an error undoes it.
    pub fn new(ctx: Ctx, declared: &'a [Str<'a>], inspection: Inspection, rolls_back: bool) -> Result<Option<Self>> {
        let policy = Policy::configured();
        let replicates = match inspection {
            Inspection::DryRun => Some(Replicates::Nowhere),
            _ => rolls_back.then_some(Replicates::Everywhere),
        };
        if replicates.is_none() && policy == Policy::Allow && inspection == Inspection::None {
            return Ok(None);
        }
        Ok(Some(Self {
            ctx,
            declared,
            rollback: replicates.map(|replicates| Rollback::new(ctx, replicates)).transpose()?,
            deferred: replicates.map(|_| deferred::begin()),
            policy,
            uses: 0,
            trace: (inspection != Inspection::None).then(Trace::default),
            inspection,
        }))
    }

    /// Whether an error undoes the run.
    pub fn can_undo(&self) -> bool {
        self.rollback.is_some()
    }

    pub fn is_traced(&self) -> bool {
        self.trace.is_some()
    }

    /// The number of uses of undeclared keys.
    pub fn undeclared(&self) -> u64 {
        self.uses
    }

    /// Runs a call. `code` describes the code that makes it, for the log.
    pub fn call<'c>(
        &mut self,
        calls: &'c mut Calls<'_>,
        target: Target<'_>,
        (call, line): (&Invocation<'_>, u32),
        code: impl Fn() -> String,
    ) -> &'c [u8] {
        let started = Instant::now();
        let facts = calls.facts(call.argv);
        let verdict = match &facts {
            Some(facts) => self.judge(call, facts, code),
            None => Verdict::Run,
        };
        let reply = match verdict {
            Verdict::Answer(text) => calls.answer(text),
            // A dry run sends nothing to the replicas and the AOF.
            Verdict::Run if self.inspection == Inspection::DryRun => {
                target.run(calls, &Invocation { aof: false, replicas: false, ..*call })
            }
            Verdict::Run => target.run(calls, call),
        };
        self.record(call, line, started.elapsed(), reply, facts.as_ref());
        reply
    }

    fn judge(&mut self, call: &Invocation<'_>, facts: &Facts<'_>, code: impl Fn() -> String) -> Verdict {
        match self.admit(call, facts, code) {
            Err(error) => Verdict::Answer(format!("-{}\r\n", error.wire()).into_bytes()),
            Ok(Some(reply)) => Verdict::Answer(reply.to_vec()),
            Ok(None) => Verdict::Run,
        }
    }

    /// Prepares a call. Returns its reply if it does not run now.
    fn admit(&mut self, call: &Invocation<'_>, facts: &Facts<'_>, code: impl Fn() -> String) -> Result<Option<&'static [u8]>> {
        let name = call.argv.first().copied().unwrap_or_default();
        if self.policy != Policy::Allow || self.trace.is_some() {
            let undeclared = undeclared::of(facts, self.declared, name);
            self.uses = self.uses.saturating_add(u64::try_from(undeclared.len()).unwrap_or(u64::MAX));
            if let Some(trace) = &mut self.trace {
                undeclared.iter().for_each(|key| trace.used_undeclared(key));
            }
            undeclared::apply(self.ctx, self.policy, facts, &undeclared, code)?;
        }
        let Some(rollback) = &mut self.rollback else { return Ok(None) };
        if facts.publishes {
            let words: Vec<_> = call.argv.iter().map(|word| OwnedStr::new(word)).collect();
            // The server refuses it now, in its own words.
            if !self.ctx.caller_may(OwnedStr::slice_as_str(&words)) {
                return Ok(None);
            }
            rollback.hold(call.argv);
            return Ok(Some(b":0\r\n"));
        }
        rollback.prepare(self.ctx, name, facts).map(|()| None)
    }

    fn record(&mut self, call: &Invocation<'_>, line: u32, took: Duration, reply: &[u8], facts: Option<&Facts<'_>>) {
        if let ([name, db], Some(rollback)) = (call.argv, &mut self.rollback)
            && is(name, "select")
            && reply.first() != Some(&b'-')
        {
            parse_i64(db).and_then(|db| db.try_into().ok()).into_iter().for_each(|db| rollback.selected(db));
        }
        let Some(trace) = &mut self.trace else { return };
        trace.called(line, took, call.argv, reply);
        if let Some(facts) = facts.filter(|_| reply.first() != Some(&b'-')) {
            facts.written.iter().for_each(|(_, key)| trace.wrote(key));
        }
    }

    /// Ends the run: its writes stay, or they are undone.
    pub fn end(self, outcome: Result<()>) -> Ended {
        let Self { ctx, rollback, deferred, trace, inspection, .. } = self;
        let stays = outcome.is_ok() && inspection != Inspection::DryRun;
        let undone = match rollback {
            Some(rollback) if stays => {
                rollback.commit(ctx);
                Undone::default()
            }
            Some(rollback) => rollback.undo(ctx),
            None => Undone::default(),
        };
        if let Some(deferred) = deferred {
            deferred.end(ctx, stays);
        }
        let outcome = outcome.map_err(|error| if inspection == Inspection::DryRun { error } else { undone.tell(error) });
        Ended { outcome, trace }
    }
}
