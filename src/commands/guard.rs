//! The one entry from the server into a command.
//!
//! Every entry from C goes through [`guarded`]: a panic becomes an error reply, because a panic that reached the server would abort it. A
//! handler returns its reply as a value, so it has sent nothing when it panics or fails. The exception is a script, whose result is sent
//! when it is complete (`Reply::Sent`).

use std::ffi::c_int;
use std::ops::Range;

use redis_module::raw;

use super::spec::{Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result, guarded};
use crate::keyspace::Keyspace;
use crate::scripting::calls::NativeFn;
use crate::server::args::{Args, parse_i64};
use crate::server::in_place::{self, ArgVector, Words};
use crate::server::module_api::{Ctx, Str};
use crate::server::reply::Reply;

/// A command as it is registered: its metadata and its functions.
pub struct Entry {
    pub spec: &'static Spec,
    /// The function that the server calls; `None` for a container of subcommands.
    pub function: raw::RedisModuleCmdFunc,
    /// The function that scripts call without the server; `None` for a container.
    pub run: Option<NativeFn>,
}

impl Entry {
    /// The same command under another name.
    #[must_use]
    pub const fn under(self, spec: &'static Spec) -> Self {
        Self { spec, ..self }
    }

    /// A container of subcommands.
    #[must_use]
    pub const fn container(spec: &'static Spec) -> Self {
        Self { spec, function: None, run: None }
    }
}

#[must_use]
pub const fn entry<C: Command>() -> Entry {
    Entry { spec: &const { C::SPEC }, function: Some(call::<C>), run: Some(run::<C>) }
}

fn run<C: Command>(keyspace: &Keyspace, args: &[Str<'_>]) -> Result<Reply> {
    C::run(keyspace, C::parse(Args::new(args))?)
}

unsafe extern "C" fn call<C: Command>(
    ctx: *mut raw::RedisModuleCtx,
    vector: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: the server passes the context and the `argc` arguments of the running command, valid until this function returns.
    let (ctx, argv) = unsafe { (Ctx::new(ctx), Str::slice(vector, argc)) };
    if const { C::SPEC.keys.are_reported() } && ctx.asks_for_keys() {
        return report_keys(|| keys(ctx, &C::SPEC, argv));
    }
    let skipped = const { words(C::SPEC.name.to_bytes()) };
    let outcome = guarded(|| {
        if const { replicates_in_place::<C>() } && in_place::is_on(argv.len()) {
            let copied = Words::from_slice(argv);
            // SAFETY: the vector is that of the running command, which reads the copy from here on.
            let vector = unsafe { ArgVector::new(vector, argv.len()) };
            return run::<C>(&Keyspace::of_command(ctx, vector), copied.get(skipped..).unwrap_or_default());
        }
        let mut run = || run::<C>(&Keyspace::new(ctx), argv.get(skipped..).unwrap_or_default());
        match const { C::WRAPPER } {
            Some(wrapper) => wrapper(ctx, argv, &mut run),
            None => run(),
        }
    });
    send(ctx, outcome)
}

/// Commands whose names are only known at load. The first word of a call is the command's name.
pub trait Named {
    /// Calls `tell` with the position of each key in a call and how the command uses it, if the call has all keys.
    fn keys(argv: &[Str<'_>], tell: impl FnMut(usize, KeyFlags));

    fn run(keyspace: &Keyspace, argv: &[Str<'_>]) -> Result<Reply>;
}

/// The entry of commands whose names are only known at load.
#[must_use]
pub const fn named<N: Named>() -> raw::RedisModuleCmdFunc {
    Some(call_named::<N>)
}

unsafe extern "C" fn call_named<N: Named>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: the server passes the context and the `argc` arguments of the running command, valid until this function returns.
    let (ctx, argv) = unsafe { (Ctx::new(ctx), Str::slice(argv, argc)) };
    if ctx.asks_for_keys() {
        return report_keys(|| N::keys(argv, |position, flags| ctx.key_at(position, flags.bits())));
    }
    send(ctx, guarded(|| N::run(&Keyspace::new(ctx), argv)))
}

/// Answers a request for the keys of a call.
fn report_keys(report: impl FnOnce()) -> c_int {
    let _ = guarded(|| {
        report();
        Ok(())
    });
    raw::REDISMODULE_OK as c_int
}

fn send(ctx: Ctx, outcome: Result<Reply>) -> c_int {
    // The reply of a finished command is plain data, so sending it should not panic; if it does, the server must not see the panic.
    let _ = guarded(|| {
        match outcome {
            Ok(reply) => reply.send(ctx),
            Err(Error::Arity) => ctx.reply_wrong_arity(),
            Err(error) => ctx.reply_error(&error),
        }
        Ok(())
    });
    raw::REDISMODULE_OK as c_int
}

/// Reports the keys of a call whose positions depend on its words.
///
/// The server calls this before its other checks, so the words may be any. A call inside a call of the same command is not looked into: it
/// is refused when it runs, and the words of a client must not decide how deep this recurses.
fn keys(ctx: Ctx, spec: &Spec, argv: &[Str<'_>]) {
    match spec.keys {
        Keys::Counted { at, flags, .. } => counted(argv, at).for_each(|position| ctx.key_at(position, flags.bits())),
        Keys::WithInner { at, flags } => {
            if argv.len() > 1 {
                ctx.key_at(1, flags.bits());
            }
            let words = argv.get(at..).unwrap_or_default();
            let is_other = |name: &Str<'_>| !name.bytes().eq_ignore_ascii_case(spec.name.to_bytes());
            if words.first().is_some_and(is_other) {
                ctx.report_keys_of(words, at);
            }
        }
        Keys::None | Keys::Range(..) => {}
    }
}

/// The positions of counted keys. None if their number is wrong; the command itself then returns the error.
fn counted(argv: &[Str<'_>], at: usize) -> Range<usize> {
    let count = argv.get(at).and_then(|count| parse_i64(count.bytes())).and_then(|count| usize::try_from(count).ok());
    let first = at.saturating_add(1);
    let end = first.saturating_add(count.unwrap_or(0));
    if end <= argv.len() { first..end } else { 0..0 }
}

/// Whether a command writes and runs no other command.
const fn replicates_in_place<C: Command>() -> bool {
    let writes = matches!(C::SPEC.flags.to_bytes(), [b'w', b'r', b'i', b't', b'e', ..]);
    // A command without keys, or with keys that it reports itself, runs scripts or other commands.
    writes && matches!(C::SPEC.keys, Keys::Range(..))
}

/// The number of words in the name: two for `CONTAINER|NAME`.
const fn words(name: &[u8]) -> usize {
    match name {
        [] => 1,
        [b'|', ..] => 2,
        [_, rest @ ..] => words(rest),
    }
}
