//! Native commands that a script runs without a call through the server.
//!
//! The server still makes its checks: it reports whether it would refuse the command (a user without permission, a key of another
//! node, a state that forbids the first write) without running it. This saves the dispatch: the statistics, the client, the context
//! and the reply that the server creates for each command. A check is not repeated for the same command and key of a run. If the
//! server cannot report refusals, the first call is dispatched instead. A run that has changed where its writes replicate always
//! dispatches, because only the server can do that.

use std::ffi::CStr;

use redis_module::raw;

use super::keys::Keys;
use super::{CLUSTER_REFUSALS, Calls, Invocation, Modifiers, OUT_OF_MEMORY, READ_ONLY, script_wording};
use crate::error::{Error, Result, guarded};
use crate::keyspace::Keyspace;
use crate::keyspace::growth;
use crate::server::call::CallReply;
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::reply::Reply;

/// Runs a command. The arguments exclude its name.
pub type NativeFn = fn(&Keyspace, &[Str<'_>]) -> Result<Reply>;

/// A command that scripts can run this way.
pub struct Native {
    pub name: &'static CStr,
    pub write: bool,
    pub deny_oom: bool,
    /// First word, last word (-1 is the last of the call) and step of its keys, if they are at fixed positions.
    pub keys: Option<[i32; 3]>,
    pub run: NativeFn,
}

impl Native {
    /// Whether its first argument is its only key.
    fn has_one_key(&self) -> bool {
        self.keys == Some([1, 1, 1])
    }

    fn key_words(&self) -> Keys {
        let range =
            self.keys.and_then(|[first, last, step]| Some((usize::try_from(first).ok()?, last, usize::try_from(step).ok()?)));
        range.map_or(Keys::Api, |(first, last, step)| Keys::Range(first, last.into(), step))
    }
}

/// All native commands.
pub struct Natives {
    commands: Vec<Native>,
    /// Whether the server can report a refusal without running the command.
    checked: bool,
    /// Whether this is a cluster. There, a migrating slot refuses a key that the run has deleted, so each call is checked.
    cluster: bool,
}

impl Natives {
    #[must_use]
    pub fn new(ctx: Ctx, commands: Vec<Native>) -> Self {
        Self { commands, checked: ctx.tells_refusals(), cluster: ctx.flags().is_cluster() }
    }

    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Native> {
        self.commands.get(index)
    }
}

/// A check by the server: the number of the command, and the key.
pub(super) type Check = (usize, *mut raw::RedisModuleString);

/// The last checks that passed. They are valid until another command runs or the run yields to other clients.
#[derive(Default)]
pub(super) struct PassedChecks {
    checks: [Option<Check>; PASSED],
    next: usize,
}

const PASSED: usize = 8;

impl PassedChecks {
    pub fn add(&mut self, check: Check) {
        if let Some(place) = self.checks.get_mut(self.next % PASSED) {
            *place = Some(check);
        }
        self.next = self.next.wrapping_add(1);
    }

    pub fn has(&self, check: Check) -> bool {
        self.checks.contains(&Some(check))
    }
}

impl Calls<'_> {
    /// Forgets all checks: the user's permissions or the selected database may have changed.
    pub fn forget_checks(&mut self) {
        self.passed = PassedChecks::default();
        self.direct.forget();
    }

    /// Runs a native command, which `call` also names. Returns the same reply as [`Calls::call`].
    pub fn run(&mut self, natives: &Natives, index: usize, call: &Invocation<'_>) -> &[u8] {
        let Some(native) = natives.get(index).filter(|_| call.aof && call.replicas) else { return self.call(call) };
        let check = call.key.filter(|_| native.has_one_key() && !natives.cluster).map(|key| (index, key.raw()));
        let passed = check.is_some_and(|check| self.passed.has(check));
        if !passed && !natives.checked {
            return match self.known.find(self.ctx, call.argv) {
                Ok(known) => self.dispatch(known, call, check),
                Err(refusal) => refusal,
            };
        }
        self.reply = None;
        if self.rules.read_only && native.write {
            return READ_ONLY;
        }
        if native.deny_oom && self.rules.limit_every_write && self.ctx.exceeds_memory() {
            return OUT_OF_MEMORY;
        }
        let slots_before = self.rules.slots;
        if !slots_before.are_all()
            && let Err(refusal) = self.rules.slots.check(native.key_words().find(self.ctx, call.argv).into_iter())
        {
            return refusal;
        }
        let own = call.argv.get(1 + usize::from(call.key.is_some())..).unwrap_or_default();
        let own: Vec<_> = own.iter().map(|arg| OwnedStr::new(arg)).collect();
        let args: Vec<_> = call.key.into_iter().chain(own.iter().map(OwnedStr::as_str)).collect();
        if !passed {
            if let Some(refusal) = self.refusal(native.name, call, &args) {
                if CLUSTER_REFUSALS.iter().any(|words| refusal.text().starts_with(words)) {
                    self.rules.slots = slots_before;
                }
                let text = self.reply.insert(refusal).text();
                // No command ran, so an error about the number of arguments is the server's.
                return script_wording(text, true).unwrap_or(text);
            }
            check.into_iter().for_each(|check| self.passed.add(check));
        }
        self.apply(native, call, &args)
    }

    fn apply(&mut self, native: &Native, call: &Invocation<'_>, args: &[Str<'_>]) -> &[u8] {
        let limit = self.rules.memory_limit(self.writes);
        let outcome = guarded(|| match growth::within(limit, || (native.run)(&Keyspace::of_script(self.ctx), args))? {
            Reply::Sent | Reply::Later => Err(Error::Internal("a command answered past its script".to_owned())),
            reply => Ok(reply),
        });
        self.text.clear();
        match outcome {
            Ok(reply) => {
                self.writes = self.writes.saturating_add(native.write.into());
                reply.encode(call.resp3, &mut self.text);
            }
            Err(Error::Arity) => {
                let name = native.name.to_string_lossy();
                self.text.extend_from_slice(format!("-ERR wrong number of arguments for '{name}' command\r\n").as_bytes());
            }
            Err(error) => self.text.extend_from_slice(format!("-{}\r\n", error.wire()).as_bytes()),
        }
        &self.text
    }

    /// The server's refusal of the command, if any.
    fn refusal(&mut self, name: &CStr, call: &Invocation<'_>, args: &[Str<'_>]) -> Option<CallReply> {
        let ask = |as_user| {
            let modifiers = Modifiers::of(call, as_user, self.writes > 0, self.rules.allow_oom);
            CallReply::refusal(self.ctx, name, modifiers.bytes(), args)
        };
        let refusal = ask(self.as_user)?;
        // No command ran, so the error is the server's.
        if self.as_user && refusal.says_no_user() {
            self.as_user = false;
            return self.refusal(name, call, args);
        }
        Some(refusal)
    }
}
