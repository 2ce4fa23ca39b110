//! The one way from the server into a command.
//!
//! Every entry from C passes [`guarded`]: a panic behind it becomes an error reply, since one that reached the server would abort it.
//! A handler returns its reply as a value, so that nothing was sent when it panics or fails.

use std::ffi::c_int;
use std::ops::Range;

use redis_module::raw;

use super::spec::{Command, KeyFlags, Spec};
use crate::error::{Error, Result, guarded};
use crate::keyspace::Keyspace;
use crate::scripting::calls::NativeFn;
use crate::server::args::{Args, parse_i64};
use crate::server::module_api::{Ctx, Str};
use crate::server::reply::Reply;

/// A command as the server knows it: its metadata and where it enters.
pub struct Entry {
    /// The metadata.
    pub spec: &'static Spec,
    /// The function that the server calls; `None` for a container of subcommands.
    pub function: raw::RedisModuleCmdFunc,
    /// What the command does, without the server around it; `None` for a container.
    pub run: Option<NativeFn>,
}

impl Entry {
    /// The same command under another name.
    #[must_use]
    pub const fn under(self, spec: &'static Spec) -> Self {
        Self { spec, ..self }
    }

    /// A command that only has subcommands.
    #[must_use]
    pub const fn container(spec: &'static Spec) -> Self {
        Self { spec, function: None, run: None }
    }
}

/// The entry of a command.
#[must_use]
pub const fn entry<C: Command>() -> Entry {
    Entry { spec: &const { C::SPEC }, function: Some(call::<C>), run: Some(run::<C>) }
}

fn run<C: Command>(keyspace: &Keyspace, args: &[Str<'_>]) -> Result<Reply> {
    C::run(keyspace, C::parse(Args::new(args))?)
}

unsafe extern "C" fn call<C: Command>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: the server calls this with the context and the arguments of the command that runs until we return.
    let (ctx, argv) = unsafe { (Ctx::new(ctx), Str::slice(argv, argc)) };
    if let Some((at, flags)) = const { C::SPEC.keys.counted() }
        && ctx.asks_for_keys()
    {
        let _ = guarded(|| {
            counted(argv, at).for_each(|position| ctx.key_at(position, flags.bits()));
            Ok(())
        });
        return raw::REDISMODULE_OK as c_int;
    }
    let skipped = const { words(C::SPEC.name.to_bytes()) };
    let outcome = guarded(|| {
        let mut run = || run::<C>(&Keyspace::new(ctx), argv.get(skipped..).unwrap_or_default());
        match const { C::WRAPPER } {
            Some(wrapper) => wrapper(ctx, argv, &mut run),
            None => run(),
        }
    });
    send(ctx, outcome)
}

/// Commands whose names are only known at load: which of them is called, the first word says.
pub trait Named {
    /// Calls `tell` with the position of each key in a call, if it has all of them, and what happens to it.
    fn keys(argv: &[Str<'_>], tell: impl FnMut(usize, KeyFlags));

    /// Runs the command.
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
    // SAFETY: the server calls this with the context and the arguments of the command that runs until we return.
    let (ctx, argv) = unsafe { (Ctx::new(ctx), Str::slice(argv, argc)) };
    if ctx.asks_for_keys() {
        let _ = guarded(|| {
            N::keys(argv, |position, flags| ctx.key_at(position, flags.bits()));
            Ok(())
        });
        return raw::REDISMODULE_OK as c_int;
    }
    send(ctx, guarded(|| N::run(&Keyspace::new(ctx), argv)))
}

fn send(ctx: Ctx, outcome: Result<Reply>) -> c_int {
    // The replies of a finished command are plain data: sending them cannot panic on them.
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

/// The positions of counted keys. None when their number is wrong: then the command answers what is.
fn counted(argv: &[Str<'_>], at: usize) -> Range<usize> {
    let count = argv.get(at).and_then(|count| parse_i64(count.bytes())).and_then(|count| usize::try_from(count).ok());
    let first = at.saturating_add(1);
    let end = first.saturating_add(count.unwrap_or(0));
    if end <= argv.len() { first..end } else { 0..0 }
}

/// How many arguments the name takes: two for `CONTAINER|NAME`.
const fn words(name: &[u8]) -> usize {
    match name {
        [] => 1,
        [b'|', ..] => 2,
        [_, rest @ ..] => words(rest),
    }
}
