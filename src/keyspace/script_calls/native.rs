//! What a script runs of our commands without a call of the server.
//!
//! The server's checks are made all the same, by the server: it tells what it has against the command (a user who may not, a key of
//! another node, a state that forbids the first write) without running it. What is saved is the dispatch: the statistics, the client, the
//! context and the reply that the server makes for each command. A server that cannot tell dispatches, and so does a run whose writes go
//! elsewhere than usual, which only the server sees to.

use std::ffi::CStr;

use super::{Calls, Invocation, Modifiers, OTHER_SLOT, READ_ONLY, WRONG_ARITY, in_script_words, says_no_user};
use crate::error::{Error, Result, guarded};
use crate::keyspace::Keyspace;
use crate::keyspace::call::CallReply;
use crate::keyspace::module_api::{Ctx, OwnedStr, Str};
use crate::keyspace::reply::Reply;

/// What a command does with the arguments behind its name.
pub type Run = fn(&Keyspace, &[Str<'_>]) -> Result<Reply>;

/// A command of ours that scripts can run so.
pub struct Native {
    /// Its name.
    pub name: &'static CStr,
    /// Whether it may write.
    pub write: bool,
    /// What it does.
    pub run: Run,
}

/// All of them.
pub struct Natives {
    commands: Vec<Native>,
    /// Whether the server tells what it has against a command.
    checked: bool,
}

impl Natives {
    /// These commands, on this server.
    #[must_use]
    pub fn new(ctx: Ctx, commands: Vec<Native>) -> Self {
        Self { commands, checked: ctx.tells_refusals() }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Native> {
        self.commands.get(index)
    }
}

impl Calls<'_> {
    /// Runs one of our commands, which `call` names too. The answer is that of [`Calls::call`].
    pub fn run(&mut self, natives: &Natives, index: usize, call: &Invocation<'_>) -> &[u8] {
        match natives.get(index) {
            Some(native) if natives.checked && call.aof && call.replicas => self.run_natively(native, call),
            _ => self.call(call),
        }
    }

    fn run_natively(&mut self, native: &Native, call: &Invocation<'_>) -> &[u8] {
        self.reply = None;
        if self.rules.read_only && native.write {
            return READ_ONLY;
        }
        if let Some(slot) = &mut self.rules.one_slot
            && !slot.allows(self.ctx, call.argv)
        {
            return OTHER_SLOT;
        }
        let own = call.argv.get(1 + usize::from(call.key.is_some())..).unwrap_or_default();
        let own: Vec<_> = own.iter().map(|arg| OwnedStr::new(arg)).collect();
        let args: Vec<_> = call.key.into_iter().chain(own.iter().map(OwnedStr::as_str)).collect();
        if let Some(refusal) = self.refusal(native.name, call, &args) {
            let text = self.reply.insert(refusal).text();
            // No command ran, so that a refusal of their number is the server's.
            return in_script_words(text, true).unwrap_or(text);
        }
        let outcome = guarded(|| match (native.run)(&Keyspace::of_script(self.ctx), &args)? {
            Reply::Sent | Reply::Later => Err(Error::Internal("a command answered past its script".to_owned())),
            reply => Ok(reply),
        });
        self.text.clear();
        match outcome {
            Ok(reply) => {
                self.writes = self.writes.saturating_add(native.write.into());
                reply.encode(call.resp3, &mut self.text);
            }
            Err(Error::Arity) => return WRONG_ARITY,
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
        if self.as_user && says_no_user(&refusal) {
            self.as_user = false;
            return self.refusal(name, call, args);
        }
        Some(refusal)
    }
}
