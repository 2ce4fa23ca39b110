//! One run of the engine for a command: the steps before and after it, which scripts, functions and scripted commands share.

use std::ffi::CString;
use std::time::Instant;

use super::busy::Subject;
use super::client_reply::ClientReply;
use super::port::ServerPort;
use super::request::{Arguments, Request};
use super::watched::{Ended, Inspection};
use super::{Scripting, engine, library_store, script_store};
use crate::error::{Error, Result, guarded};
use crate::keyspace::Keyspace;
use crate::lua::{Candidate, CommandFile, Engine, NumberText, Run};
use crate::server::args::Args;
use crate::server::clock::Frozen;
use crate::server::module_api::{Ctx, Str};
use crate::server::reply::Reply;
use crate::settings;

/// How a run depends on the command that starts it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunMode {
    /// The run may not write.
    pub read_only: bool,
    /// The command stands in for one of the server's, in drop-in mode.
    pub standing_in: bool,
    /// The command wants to know what the run does.
    pub inspection: Inspection,
}

impl RunMode {
    /// How a run converts numbers to text. A stand-in does it as the server does.
    fn numbers(self) -> NumberText {
        let exact = settings::SCRIPT_EXACT_NUMBERS.get() == 1 && !self.standing_in;
        if exact { NumberText::Exact } else { NumberText::Lua51 }
    }
}

impl Scripting {
    /// Runs code in the engine and sends its result. A run that is left to the server's own engine is not counted.
    ///
    /// An error as the whole result undoes a run that can be undone, as an error of the code does.
    fn run<'a>(
        &'a mut self,
        ctx: Ctx,
        keys: &'a [Str<'a>],
        (subject, inspection): (Subject<'a>, Inspection),
        body: impl FnOnce(&mut Engine, &mut ServerPort<'a>, &mut ClientReply) -> Result<()>,
    ) -> Result<Reply> {
        let Self { engine, server_facts, natives, runs, failures, .. } = self;
        server_facts.forget_if_stale();
        let _frozen = Frozen::new();
        let mut port = ServerPort::new(ctx, server_facts, natives, keys, subject);
        port.inspect(inspection);
        let mut reply = ClientReply::new(ctx, inspection != Inspection::None);
        let (started, memory) = (Instant::now(), engine.stats().vm_bytes);
        let outcome = guarded(|| body(engine, &mut port, &mut reply));
        let returned = reply.take_error();
        let outcome = match &returned {
            Some(error) if port.can_undo() => Err(error.clone()),
            _ => outcome,
        };
        let Ended { outcome, trace } = port.end(outcome);
        if outcome != Err(Error::LeftToServer) {
            *runs = runs.saturating_add(1);
            *failures = failures.saturating_add(outcome.is_err().into());
        }
        match (trace, returned) {
            (Some(trace), returned) => {
                let memory = engine.stats().vm_bytes.saturating_sub(memory);
                reply.report(outcome.err().or(returned).as_ref(), trace, started.elapsed(), memory);
            }
            (None, Some(error)) if outcome.is_ok() => ctx.reply_error(&error),
            (None, _) => outcome?,
        }
        Ok(Reply::Sent)
    }

    /// Runs the code of a library, which registers its functions.
    pub fn load_library(&mut self, ctx: Ctx, code: &[u8]) -> Result<Candidate> {
        let Self { engine, server_facts, natives, .. } = self;
        engine.load_library(code, &mut ServerPort::new(ctx, server_facts, natives, &[], Subject::Script))
    }

    /// Runs the code of a file, which declares commands.
    pub fn load_command_file(&mut self, ctx: Ctx, name: &CString, code: &[u8]) -> Result<CommandFile> {
        let Self { engine, server_facts, natives, .. } = self;
        let mut port = ServerPort::new(ctx, server_facts, natives, &[], Subject::Command(name.to_bytes()));
        engine.load_command_file(name, code, &mut port)
    }
}

/// How a command names its script.
#[derive(Debug, Clone, Copy)]
pub enum ScriptArgument {
    Source,
    Sha,
}

/// Runs a script and sends its result.
pub fn script(keyspace: &Keyspace, request: &Request<'_>, argument: ScriptArgument, mode: RunMode) -> Result<Reply> {
    let ctx = keyspace.ctx();
    engine()?.run(ctx, request.keys.0, (Subject::Script, mode.inspection), |engine, port, reply| {
        let RunMode { read_only, standing_in, .. } = mode;
        let run = Run { keys: &request.keys, args: &request.args, read_only, numbers: mode.numbers(), leaves: standing_in };
        let script = request.script;
        match argument {
            ScriptArgument::Source => engine.eval(script, &run, port, reply),
            ScriptArgument::Sha => match engine.eval_sha(script, &run, port, reply) {
                Err(Error::NoScript) if script_store::find(ctx, engine, script).is_some() => {
                    engine.eval_sha(script, &run, port, reply)
                }
                outcome => outcome,
            },
        }
    })
}

/// Calls the function that the arguments name and sends its result. The server serves a function that does not run here.
pub fn function(keyspace: &Keyspace, args: Args<'_>, mode: RunMode) -> Result<Reply> {
    const BAD_COUNT: Error = Error::Text("ERR Bad number of keys provided");
    const NOT_HERE: Error = Error::Text("ERR Function not found, or only the server's own engine can run it");
    let ctx = keyspace.ctx();
    let words = args.rest();
    let mut scripting = engine()?;
    library_store::follow(ctx, &mut scripting);
    let name = words.first().map(|name| name.bytes()).unwrap_or_default();
    let server = if mode.read_only { c"FCALL_RO" } else { c"FCALL" };
    let relay = || if mode.inspection == Inspection::None { ctx.relay(server, words) } else { Err(NOT_HERE) };
    let Some(function) = scripting.engine.functions().find(name) else {
        drop(scripting);
        return relay();
    };
    let request = Request::read(args, BAD_COUNT)?;
    let subject = Subject::Function(&request, server);
    let outcome = scripting.run(ctx, request.keys.0, (subject, mode.inspection), |engine, port, reply| {
        engine.prepare_function(function, port).map_err(|_| Error::LeftToServer)?;
        let (keys, args) = (&request.keys, &request.args);
        let run = Run { keys, args, read_only: mode.read_only, numbers: mode.numbers(), leaves: false };
        engine.call_function(function, &run, port, reply)
    });
    drop(scripting);
    match outcome {
        Err(Error::LeftToServer) => relay(),
        outcome => outcome,
    }
}

/// A call of a scripted command.
pub struct ScriptedCall<'a> {
    /// The command's number in the engine.
    pub number: usize,
    /// Its name, for error messages.
    pub name: &'a [u8],
    pub keys: &'a [Str<'a>],
    /// The other arguments.
    pub args: &'a [Str<'a>],
}

/// Runs a scripted command and sends the result of its function.
pub fn command(keyspace: &Keyspace, call: &ScriptedCall<'_>, mode: RunMode) -> Result<Reply> {
    engine()?.run(keyspace.ctx(), call.keys, (Subject::Command(call.name), mode.inspection), |engine, port, reply| {
        let (keys, args) = (&Arguments(call.keys), &Arguments(call.args));
        let run = Run { keys, args, read_only: mode.read_only, numbers: mode.numbers(), leaves: false };
        engine.call_command((call.number, call.name), &run, port, reply)
    })
}
