//! What a script runs of our commands without a call of the server.
//!
//! The server's checks are made all the same, by the server: it tells what it has against the command (a user who may not, a key of
//! another node, a state that forbids the first write) without running it. What is saved is the dispatch: the statistics, the client, the
//! context and the reply that the server makes for each command. The same command is not checked again for the same key of the run.
//! A server that cannot tell dispatches instead of checking; and a run whose writes go elsewhere than usual always dispatches, since only
//! the server sees to that.

use std::ffi::CStr;

use redis_module::raw;

use super::keys::Keys;
use super::{Calls, Invocation, Modifiers, NOT_HERE, READ_ONLY, in_script_words};
use crate::error::{Error, Result, guarded};
use crate::keyspace::Keyspace;
use crate::keyspace::growth;
use crate::server::call::CallReply;
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::reply::Reply;

/// What a command does with the arguments behind its name.
pub type Run = fn(&Keyspace, &[Str<'_>]) -> Result<Reply>;

/// A command of ours that scripts can run so.
pub struct Native {
    /// Its name.
    pub name: &'static CStr,
    /// Whether it may write.
    pub write: bool,
    /// First word, last word (-1 is the last of the call) and step of its keys, when they are at fixed words.
    pub keys: Option<[i32; 3]>,
    /// What it does.
    pub run: Run,
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

/// All of them.
pub struct Natives {
    commands: Vec<Native>,
    /// Whether the server tells what it has against a command.
    checked: bool,
    /// In a cluster a slot that migrates refuses a key once the run has deleted it.
    cluster: bool,
}

impl Natives {
    /// These commands, on this server.
    #[must_use]
    pub fn new(ctx: Ctx, commands: Vec<Native>) -> Self {
        Self { commands, checked: ctx.tells_refusals(), cluster: ctx.flags().is_cluster() }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Native> {
        self.commands.get(index)
    }
}

/// A check of the server: the number of the command, and the key as its string.
pub(super) type Check = (usize, *mut raw::RedisModuleString);

/// The last checks that were passed. What they are about changes by other commands only, and while other clients are let in.
#[derive(Default)]
pub(super) struct Passed {
    checks: [Option<Check>; PASSED],
    next: usize,
}

const PASSED: usize = 8;

impl Passed {
    /// Remembers a check.
    pub fn add(&mut self, check: Check) {
        if let Some(place) = self.checks.get_mut(self.next % PASSED) {
            *place = Some(check);
        }
        self.next = self.next.wrapping_add(1);
    }

    fn has(&self, check: Check) -> bool {
        self.checks.contains(&Some(check))
    }
}

impl Calls<'_> {
    /// From here on all is checked again: the rights of the user, or the selected database, may have changed.
    pub fn forget_checks(&mut self) {
        self.passed = Passed::default();
    }

    /// Runs one of our commands, which `call` names too. The answer is that of [`Calls::call`].
    pub fn run(&mut self, natives: &Natives, index: usize, call: &Invocation<'_>) -> &[u8] {
        let Some(native) = natives.get(index).filter(|_| call.aof && call.replicas) else { return self.call(call) };
        let check = call.key.filter(|_| native.has_one_key() && !natives.cluster).map(|key| (index, key.raw()));
        let passed = check.is_some_and(|check| self.passed.has(check));
        if !passed && !natives.checked {
            return self.dispatch(call, check);
        }
        self.reply = None;
        if self.rules.read_only && native.write {
            return READ_ONLY;
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
                if NOT_HERE.iter().any(|words| refusal.text().starts_with(words)) {
                    self.rules.slots = slots_before;
                }
                let text = self.reply.insert(refusal).text();
                // No command ran, so that a refusal of their number is the server's.
                return in_script_words(text, true).unwrap_or(text);
            }
            check.into_iter().for_each(|check| self.passed.add(check));
        }
        self.apply(native, call, &args)
    }

    fn apply(&mut self, native: &Native, call: &Invocation<'_>, args: &[Str<'_>]) -> &[u8] {
        let exempt = self.writes > 0 || self.rules.allow_oom;
        let outcome = guarded(|| match growth::exempt(exempt, || (native.run)(&Keyspace::of_script(self.ctx), args))? {
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

    /// What the server has against the command now, if anything.
    fn refusal(&mut self, name: &CStr, call: &Invocation<'_>, args: &[Str<'_>]) -> Option<CallReply> {
        let ask = |as_user| {
            let modifiers = Modifiers::of(call, as_user, self.writes > 0, self.rules.allow_oom);
            CallReply::refusal(self.ctx, name, modifiers.bytes(), args)
        };
        let refusal = ask(self.as_user)?;
        // No command ran, so that the words are the server's.
        if self.as_user && refusal.says_no_user() {
            self.as_user = false;
            return self.refusal(name, call, args);
        }
        Some(refusal)
    }
}
