//! The port of a running script on a real server.

use super::admission;
use crate::error::{MESSAGE_BYTES, Result, printable};
use crate::keyspace::module_api::{Ctx, Str};
use crate::keyspace::script_calls::{self, Calls, Invocation, KnownCommands, Natives};
use crate::keyspace::slots::OneSlot;
use crate::script::port::{Call, LogLevel, Pause, Port, Protocol, Rules};

use super::busy::{Busy, Subject};

/// See the module's documentation.
pub struct ServerPort<'a> {
    ctx: Ctx,
    calls: Calls<'a>,
    natives: &'a Natives,
    keys: &'a [Str<'a>],
    busy: Busy<'a>,
}

impl<'a> ServerPort<'a> {
    /// The port of a run with these keys, for the command that `ctx` belongs to.
    pub fn new(ctx: Ctx, known: &'a mut KnownCommands, natives: &'a Natives, keys: &'a [Str<'a>], subject: Subject<'a>) -> Self {
        Self { ctx, calls: Calls::new(ctx, known), natives, keys, busy: Busy::new(ctx, subject) }
    }

    fn slot_of_keys(&self) -> OneSlot {
        OneSlot::of(self.keys.first().map(|key| key.bytes()))
    }
}

fn invocation<'c>(keys: &'c [Str<'c>], call: Call<'c>) -> Invocation<'c> {
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
        self.busy.watch(rules.digest);
        if self.busy.is_command() {
            let one_slot = admission::is_cluster().then(|| self.slot_of_keys());
            self.calls.obey(script_calls::Rules { read_only: rules.read_only, one_slot, ..Default::default() });
            return Ok(());
        }
        let Some(flags) = rules.flags else {
            admission::admit_undeclared(self.ctx)?;
            self.calls.obey(script_calls::Rules { read_only: rules.read_only, ..Default::default() });
            return Ok(());
        };
        let server = self.ctx.flags();
        admission::admit(self.ctx, server, flags, rules.read_only)?;
        let one_slot = server.is_cluster() && !flags.allow_cross_slot_keys;
        self.calls.obey(script_calls::Rules {
            read_only: rules.read_only || flags.no_writes,
            allow_oom: flags.allow_oom,
            one_slot: one_slot.then(|| self.slot_of_keys()),
        });
        Ok(())
    }

    fn call(&mut self, call: Call<'_>) -> &[u8] {
        self.calls.call(&invocation(self.keys, call))
    }

    fn run(&mut self, native: usize, call: Call<'_>) -> &[u8] {
        self.calls.run(self.natives, native, &invocation(self.keys, call))
    }

    fn may_call(&mut self, argv: &[&[u8]]) -> std::result::Result<bool, &'static [u8]> {
        self.calls.may_call(argv)
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
        self.ctx.log(level, &printable(message, MESSAGE_BYTES));
    }
}
