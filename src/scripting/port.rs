//! The port of a running script on a real server.

use super::busy::{Busy, Subject};
use super::calls::{CallRules, Calls, Invocation, Natives};
use super::watched::{Ended, Inspection, Target, Watch};
use super::words::{INVALID_ARITY, INVALID_COMMAND, Wording};
use super::{ServerFacts, admission};
use crate::error::{MESSAGE_BYTES, Result, printable};
use crate::lua::port::{CommandCall, LogLevel, Pause, Port, Protocol, Rules, ScriptFlags};
use crate::server::module_api::{Ctx, Str};
use crate::server::slots::{Allowed, Slots};
use crate::settings;

/// The maximum bytes of a message in one log line. The server adds the time and the module's name.
const LOG_LINE: usize = 1000;

pub struct ServerPort<'a> {
    ctx: Ctx,
    calls: Calls<'a>,
    words: &'a mut Wording,
    natives: &'a Natives,
    keys: &'a [Str<'a>],
    busy: Busy<'a>,
    inspection: Inspection,
    watch: Option<Watch<'a>>,
}

impl<'a> ServerPort<'a> {
    /// The port of a run with these keys, for the command of `ctx`.
    pub fn new(ctx: Ctx, facts: &'a mut ServerFacts, natives: &'a Natives, keys: &'a [Str<'a>], subject: Subject<'a>) -> Self {
        let ServerFacts { commands, words, .. } = facts;
        Self {
            ctx,
            calls: Calls::new(ctx, commands),
            words,
            natives,
            keys,
            busy: Busy::new(ctx, subject),
            inspection: Inspection::None,
            watch: None,
        }
    }

    /// Sets what the command that starts the run wants to know of it.
    pub fn inspect(&mut self, inspection: Inspection) {
        self.inspection = inspection;
    }

    /// Whether an error undoes the run.
    pub fn can_undo(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::can_undo)
    }

    /// Ends the run, whatever its outcome.
    pub fn end(&mut self, outcome: Result<()>) -> Ended {
        match self.watch.take() {
            Some(watch) => watch.end(outcome),
            None => Ended { outcome, trace: None },
        }
    }

    /// Sets what the run may do, and whether it is watched.
    fn set_rules(&mut self, rules: CallRules, flags: ScriptFlags) -> Result<()> {
        let rolls_back = !rules.read_only && (flags.rollback || settings::SCRIPT_ROLLBACK.get() == 1);
        self.watch = Watch::new(self.ctx, self.keys, self.inspection, rolls_back)?;
        let limit_every_write = !rules.allow_oom && settings::SCRIPT_OOM_EVERY_WRITE.get() == 1;
        self.calls.set_rules(CallRules { watched: self.watch.is_some(), limit_every_write, ..rules });
        Ok(())
    }

    fn run_call(&mut self, target: Target<'_>, call: CommandCall<'_>) -> &[u8] {
        let Self { ctx, calls, words, keys, busy, watch, .. } = self;
        let (invocation, line) = (invocation(keys, call), call.line);
        let reply = match watch {
            None => target.run(calls, &invocation),
            Some(watch) => watch.call(calls, target, (&invocation, line), || busy.describe()),
        };
        words.of_reply(*ctx, reply)
    }

    fn slots(&self, allowed: Allowed) -> Slots {
        Slots::of_run(self.ctx, self.keys.first().map(|key| key.bytes()), allowed)
    }
}

fn invocation<'c>(keys: &'c [Str<'c>], call: CommandCall<'c>) -> Invocation<'c> {
    Invocation {
        argv: call.argv,
        key: call.key.and_then(|index| keys.get(index).copied()),
        resp3: call.protocol == Protocol::Resp3,
        aof: call.replication.aof,
        replicas: call.replication.replicas,
    }
}

impl Port for ServerPort<'_> {
    fn begin(&mut self, run: Rules) -> Result<()> {
        self.busy.set_script(run.digest);
        let read_only = run.read_only;
        if self.busy.is_scripted_command() {
            let rules = CallRules { read_only, slots: self.slots(Allowed::One), ..Default::default() };
            return self.set_rules(rules, run.flags.unwrap_or_default());
        }
        let Some(flags) = run.flags else {
            admission::admit_undeclared(self.ctx)?;
            let rules = CallRules { read_only, slots: self.slots(Allowed::All), ..Default::default() };
            return self.set_rules(rules, ScriptFlags::default());
        };
        admission::admit(self.ctx, self.ctx.flags(), flags, read_only)?;
        let rules = CallRules {
            read_only: read_only || flags.no_writes,
            allow_oom: flags.allow_oom,
            slots: self.slots(if flags.allow_cross_slot_keys { Allowed::All } else { Allowed::One }),
            ..Default::default()
        };
        self.set_rules(rules, flags)
    }

    fn call(&mut self, call: CommandCall<'_>) -> &[u8] {
        self.run_call(Target::Command, call)
    }

    fn run(&mut self, native: usize, call: CommandCall<'_>) -> &[u8] {
        self.run_call(Target::Native(self.natives, native), call)
    }

    fn may_call(&mut self, argv: &[&[u8]]) -> std::result::Result<bool, &[u8]> {
        match self.calls.may_call(argv) {
            Some((allowed, true)) => Ok(allowed),
            Some((allowed, false)) => self.words.asked(self.ctx, INVALID_ARITY.as_bytes()).map_or(Ok(allowed), Err),
            None => Err(self.words.of_refusal(self.ctx, INVALID_COMMAND.as_bytes())),
        }
    }

    fn refusal(&mut self, text: &'static [u8]) -> &[u8] {
        self.words.of_refusal(self.ctx, text)
    }

    fn writes(&self) -> u64 {
        if self.can_undo() { 0 } else { self.calls.writes() }
    }

    fn wants_lines(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_traced)
    }

    fn undeclared(&self) -> u64 {
        self.watch.as_ref().map_or(0, Watch::undeclared)
    }

    fn pause(&mut self) -> Pause {
        self.calls.forget_checks();
        self.busy.pause(self.writes() > 0)
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        let level = match level {
            LogLevel::Debug => c"debug",
            LogLevel::Verbose => c"verbose",
            LogLevel::Notice => c"notice",
            LogLevel::Warning => c"warning",
        };
        // The server silently truncates longer log lines.
        let mut rest = printable(message, MESSAGE_BYTES);
        while rest.len() > LOG_LINE {
            let next = rest.split_off(LOG_LINE);
            self.ctx.log(level, &rest);
            rest = next;
        }
        self.ctx.log(level, &rest);
    }
}
