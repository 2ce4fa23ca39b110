//! Functions of libraries on a real server: they run here if they can, and else in the server's own engine.

use std::ffi::CStr;

use super::busy::Subject;
use super::client_reply::ClientReply;
use super::library_store;
use super::port::ServerPort;
use super::{Request, Scripting, engine};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::lua::{Candidate, Run};
use crate::server::args::Args;
use crate::server::clock::Frozen;
use crate::server::module_api::Ctx;
use crate::server::reply::Reply;

/// How a function is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By FCALL.
    Any,
    /// By FCALL_RO.
    ReadOnly,
}

impl Form {
    /// The command of the server that calls functions so.
    fn command(self) -> (&'static CStr, &'static str) {
        match self {
            Self::Any => (c"FCALL", "FCALL"),
            Self::ReadOnly => (c"FCALL_RO", "FCALL_RO"),
        }
    }
}

/// Calls the function that the arguments name and sends what it returns. The server answers for a function that is not here.
pub fn call(keyspace: &Keyspace, args: Args<'_>, form: Form) -> Result<Reply> {
    const BAD_COUNT: Error = Error::Text("ERR Bad number of keys provided");
    let ctx = keyspace.ctx();
    let words = args.rest();
    let mut scripting = engine()?;
    library_store::follow(ctx, &mut scripting);
    let name = words.first().map(|name| name.bytes()).unwrap_or_default();
    let (server, command) = form.command();
    let Some(function) = scripting.engine.functions().find(name) else {
        drop(scripting);
        return ctx.relay(server, words);
    };
    let request = Request::read(args, BAD_COUNT)?;
    let Scripting { engine, known_commands, natives, runs, failures, .. } = &mut *scripting;
    *runs = runs.saturating_add(1);
    super::forget_old_commands(known_commands);
    let _frozen = Frozen::new();
    let subject = Subject::Function(&request, command);
    let mut port = ServerPort::new(ctx, known_commands, natives, request.keys.0, subject);
    let mut reply = ClientReply(ctx);
    let run = Run {
        keys: &request.keys,
        args: &request.args,
        read_only: form == Form::ReadOnly,
        numbers: super::numbers(),
        leaves: false,
    };
    if engine.prepare_function(function, &mut port).is_err() {
        drop(port);
        drop(scripting);
        return ctx.relay(server, words);
    }
    let outcome = engine.call_function(function, &run, &mut port, &mut reply);
    if outcome.is_err() {
        *failures = failures.saturating_add(1);
    }
    outcome.map(|()| Reply::Sent)
}

impl Scripting {
    /// Runs the code of a library, which registers its functions.
    pub fn load_library(&mut self, ctx: Ctx, code: &[u8]) -> Result<Candidate> {
        let Self { engine, known_commands, natives, .. } = self;
        engine.load_library(code, &mut ServerPort::new(ctx, known_commands, natives, &[], Subject::Script))
    }
}
