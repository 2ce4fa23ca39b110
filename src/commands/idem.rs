//! `ATOMIC.IDEM key ttl-ms command [arg ...]`: runs a command once and returns its stored reply to every repetition.
//!
//! `key` names the request. `ttl-ms` (1..=31536000000) is how long the reply is kept, counted from the call. `command` is any command that
//! a script may call, but not a blocking one, SELECT, MIGRATE or ATOMIC.IDEM itself, nor one with `key` among its keys; outside of scripts
//! also EVAL, EVALSHA, FCALL, their `_RO` forms and this module's forms of them. This module's engine runs all of those: the server
//! protects the client of a slow script from being freed only if that client sent the script itself.
//! Reply: `[0, reply]` the command has run now; `[1, reply]` it had run before, and this was its reply. An error of the command is an
//! error, and is not stored. A reply is stored as the first client's protocol has it; a client of the other protocol gets it converted.
//! The caller needs the permissions for the command, its keys and its channels, on a repetition too.
//! TTL: `ttl-ms`. Replicates: the effects of the command, then `SET key record PXAT t`; a repetition and an error of the server nothing.
//! Errors: those of the command; `cannot run '<command>'` with the reason; `mismatch` when the key belongs to a call with other words; DONE
//! when the command has run and its reply was too large to keep; WRONGTYPE when the key holds anything but such a record, and then nothing runs; ttl out of range.

use std::ffi::CString;

use super::registered;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::dropin::{self, ScriptCommand};
use crate::error::{Error, Result, quoted};
use crate::keyspace::{Found, Keyspace, growth};
use crate::primitives::replay::{Answer, FORMAT, Record, WordsDigest, answer};
use crate::primitives::time::DurationMs;
use crate::scripting;
use crate::scripting::calls::Inner;
use crate::server::acl::{Caller, Denied};
use crate::server::args::{Args, is};
use crate::server::call::{CallReply, Memory, is_denial};
use crate::server::module_api::{Ctx, Str};
use crate::server::reply::Reply;
use crate::server::slots;

/// The position of the inner command, counted from the name.
const INNER: usize = 3;

/// Commands that scripts may call and that cannot run here, with the reason.
const REFUSED: &[(&str, &str)] = &[("SELECT", "its effect would end with it"), ("MIGRATE", "it moves keys to another server")];

/// Options that need the client itself: it waits, or its connection holds what it gets.
const CLIENTS_OPTIONS: &[&str] = &["WAIT", "BIND"];

const MISMATCH: Error = Error::Text("ERR mismatch: the key belongs to a call with other words");
const TOO_LARGE: Error = Error::Text("DONE the command has run, and its reply was too large to keep");
const NOT_PERMITTED: Error =
    Error::Text("NOPERM this user has no permissions to run the command in ATOMIC.IDEM, or to use its keys");

pub struct Idem;

pub struct Request<'a> {
    key: Str<'a>,
    ttl: DurationMs,
    /// The inner command, its name first.
    words: &'a [Str<'a>],
}

impl Command for Idem {
    const SPEC: Spec = Spec {
        name: c"atomic.idem",
        flags: c"write",
        categories: c"string",
        summary: c"Runs a command once and returns its stored reply to every repetition.",
        complexity: c"Depends on the command; O(N) in the length of the stored reply for a repetition",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::WithInner { at: INNER, flags: KeyFlags::Update },
        args: &[Arg::KEY, Arg::integer(c"ttl-ms"), Arg::string(c"command"), Arg::string(c"arg").optional().multiple()],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, ttl) = (args.take()?, args.duration("ttl-ms")?);
        let words = args.rest();
        if words.is_empty() { Err(Error::Arity) } else { Ok(Request { key, ttl, words }) }
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let ctx = keyspace.ctx();
        // The TTL counts from here.
        let until = keyspace.now().floor_ms().plus(request.ttl);
        let name = request.admitted(keyspace)?;
        let words = WordsDigest::of(request.words.iter().map(|word| word.bytes()));
        let stored = keyspace.read(request.key, decode)?;
        match answer(stored, words) {
            Answer::Run => {
                let memory = if growth::is_exempt() { Memory::Exempt } else { Memory::Limited };
                let args = request.words.get(1..).unwrap_or_default();
                let reply = slots::within(request.key.bytes(), || CallReply::as_caller(ctx, &name, memory, args));
                reply.done().map_err(|error| if is_denial(&error) { NOT_PERMITTED } else { error })?;
                // A script may have written to the key: the record replaces that, or the command would run again.
                keyspace.entry(request.key).apply(Record::new(words, reply.text()).put(until))?;
                send(ctx, 0, || reply.relay(ctx))
            }
            repeated => {
                request.check_permission(ctx)?;
                match repeated {
                    Answer::Replay(text) => send(ctx, 1, || {
                        ctx.reply_protocol(&text);
                        Ok(())
                    }),
                    Answer::TooLarge => Err(TOO_LARGE),
                    Answer::Run | Answer::Mismatch => Err(MISMATCH),
                }
            }
        }
    }
}

/// Sends `[code, reply]`.
fn send(ctx: Ctx, code: i64, reply: impl FnOnce() -> Result<()>) -> Result<Reply> {
    ctx.reply_array(2);
    ctx.reply_integer(code);
    reply()?;
    Ok(Reply::Sent)
}

/// The server's words for a command that does not exist begin like this, too.
fn unknown(name: &[u8]) -> Error {
    Error::Script(format!("ERR unknown command '{}'", quoted(name)).into_bytes())
}

/// Whether a call of a command with the flag `blocking` needs the client itself. A command of this module does by its options.
fn may_block(name: &[u8], args: &[&[u8]]) -> bool {
    if is(name, "XREAD") || is(name, "XREADGROUP") {
        return args.iter().take_while(|word| !is(word, "STREAMS")).any(|word| is(word, "BLOCK"));
    }
    let Some(own) = registered().find(|entry| name.eq_ignore_ascii_case(entry.spec.name.to_bytes())) else { return true };
    // Options follow the fixed arguments, so no value of the client is taken for one.
    let fixed = own.spec.args.iter().take_while(|arg| !arg.optional).count();
    args.iter().skip(fixed).any(|word| CLIENTS_OPTIONS.iter().any(|option| is(word, option)))
}

fn decode(mut found: Found<'_>) -> Result<Record> {
    Record::decode(found.bytes()).map_err(|_| Error::ForeignValue { expected: FORMAT })
}

impl Request<'_> {
    /// Refuses a command that must not run here, the same for the first call and for a repetition. Returns the name by which to call it.
    fn admitted(&self, keyspace: &Keyspace) -> Result<CString> {
        let ctx = keyspace.ctx();
        let words: Vec<&[u8]> = self.words.iter().map(|word| word.bytes()).collect();
        let [name, args @ ..] = words.as_slice() else { return Err(Error::Arity) };
        let inner = Inner::of(ctx, &words).ok_or_else(|| unknown(name))?;
        let refused = |why: &str| Error::Script(format!("ERR ATOMIC.IDEM cannot run '{}': {why}", quoted(name)).into_bytes());
        if name.eq_ignore_ascii_case(Idem::SPEC.name.to_bytes()) {
            return Err(refused("a call cannot contain another one"));
        }
        let mut call = inner.name.clone();
        if let Some(command) = dropin::script_command(name) {
            if keyspace.flags().is_in_script() || scripting::is_running() {
                return Err(Error::Recursion);
            }
            if let ScriptCommand::Servers(stand_in) = command {
                call = CString::new(stand_in).unwrap_or_default();
            }
        } else if inner.noscript {
            return Err(refused("it is not allowed in scripts"));
        }
        if let Some((_, why)) = REFUSED.iter().find(|(command, _)| is(name, command)) {
            return Err(refused(why));
        }
        if inner.blocking && may_block(name, args) {
            return Err(refused("it can block the client or bind to its connection"));
        }
        let keys = inner.keys(ctx, &words);
        if keys.contains(&self.key.bytes()) {
            return Err(refused("it names the key of ATOMIC.IDEM"));
        }
        inner.check_slot(ctx, self.key, &keys)?;
        Ok(call)
    }

    /// The server checks the permissions of a command that runs; a stored reply is for those who could run it now.
    fn check_permission(&self, ctx: Ctx) -> Result<()> {
        let caller = ctx.caller();
        if caller.may(self.words) {
            return Ok(());
        }
        if let (Caller::User(user), Some(name)) = (&caller, self.words.first()) {
            ctx.log_denial(user, Denied::Command, *name);
        }
        Err(NOT_PERMITTED)
    }
}
