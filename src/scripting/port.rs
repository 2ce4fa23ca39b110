//! The port of a running script on a real server.

use super::busy::{Busy, Subject};
use super::calls::{CallRules, Calls, Invocation, Natives};
use super::words::{INVALID_ARITY, INVALID_COMMAND, Wording};
use super::{ServerFacts, admission};
use crate::error::{MESSAGE_BYTES, Result, printable};
use crate::lua::port::{CommandCall, LogLevel, Pause, Port, Protocol, Rules};
use crate::server::module_api::{Ctx, Str};
use crate::server::slots::{Allowed, Slots};

/// The maximum bytes of a message in one log line. The server adds the time and the module's name.
const LOG_LINE: usize = 1000;

pub struct ServerPort<'a> {
    ctx: Ctx,
    calls: Calls<'a>,
    words: &'a mut Wording,
    natives: &'a Natives,
    keys: &'a [Str<'a>],
    busy: Busy<'a>,
}

impl<'a> ServerPort<'a> {
    /// The port of a run with these keys, for the command of `ctx`.
    pub fn new(ctx: Ctx, facts: &'a mut ServerFacts, natives: &'a Natives, keys: &'a [Str<'a>], subject: Subject<'a>) -> Self {
        let ServerFacts { commands, words, .. } = facts;
        Self { ctx, calls: Calls::new(ctx, commands), words, natives, keys, busy: Busy::new(ctx, subject) }
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
    fn begin(&mut self, rules: Rules) -> Result<()> {
        self.busy.set_script(rules.digest);
        let read_only = rules.read_only;
        if self.busy.is_scripted_command() {
            self.calls.set_rules(CallRules { read_only, slots: self.slots(Allowed::One), ..Default::default() });
            return Ok(());
        }
        let Some(flags) = rules.flags else {
            admission::admit_undeclared(self.ctx)?;
            self.calls.set_rules(CallRules { read_only, slots: self.slots(Allowed::All), ..Default::default() });
            return Ok(());
        };
        admission::admit(self.ctx, self.ctx.flags(), flags, read_only)?;
        self.calls.set_rules(CallRules {
            read_only: read_only || flags.no_writes,
            allow_oom: flags.allow_oom,
            slots: self.slots(if flags.allow_cross_slot_keys { Allowed::All } else { Allowed::One }),
        });
        Ok(())
    }

    fn call(&mut self, call: CommandCall<'_>) -> &[u8] {
        self.words.of_reply(self.ctx, self.calls.call(&invocation(self.keys, call)))
    }

    fn run(&mut self, native: usize, call: CommandCall<'_>) -> &[u8] {
        self.words.of_reply(self.ctx, self.calls.run(self.natives, native, &invocation(self.keys, call)))
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
        self.calls.writes()
    }

    fn pause(&mut self) -> Pause {
        self.calls.forget_checks();
        self.busy.pause(self.calls.writes() > 0)
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
