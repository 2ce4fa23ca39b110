//! Commands of files on a real server.

use std::ffi::CString;

use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::lua::{CommandFile, Run};
use crate::scripting::busy::Subject;
use crate::scripting::client_reply::ClientReply;
use crate::scripting::port::ServerPort;
use crate::scripting::{Arguments, Scripting, engine};
use crate::server::clock::Frozen;
use crate::server::module_api::{Ctx, Str};
use crate::server::reply::Reply;

/// A call of a command.
pub struct Call<'a> {
    /// The number of the command.
    pub number: usize,
    /// Its name, for messages.
    pub name: &'a [u8],
    /// It may write.
    pub write: bool,
    /// The keys.
    pub keys: &'a [Str<'a>],
    /// The other arguments.
    pub args: &'a [Str<'a>],
}

impl Call<'_> {
    /// Runs the command and sends what its function returns.
    pub fn run(&self, keyspace: &Keyspace) -> Result<Reply> {
        let ctx = keyspace.ctx();
        let mut scripting = engine()?;
        let Scripting { engine, known_commands, natives, runs, failures, .. } = &mut *scripting;
        *runs = runs.saturating_add(1);
        crate::scripting::forget_old_commands(known_commands);
        let _frozen = Frozen::new();
        let mut port = ServerPort::new(ctx, known_commands, natives, self.keys, Subject::Command(self.name));
        let (keys, args) = (&Arguments(self.keys), &Arguments(self.args));
        let run = Run { keys, args, read_only: !self.write, numbers: crate::scripting::numbers(), leaves: false };
        let outcome = engine.call_command((self.number, self.name), &run, &mut port, &mut ClientReply(ctx));
        if outcome.is_err() {
            *failures = failures.saturating_add(1);
        }
        outcome.map(|()| Reply::Sent)
    }
}

impl Scripting {
    /// Runs the code of a file, which declares commands.
    pub fn load_command_file(&mut self, ctx: Ctx, name: &CString, code: &[u8]) -> Result<CommandFile> {
        let Self { engine, known_commands, natives, .. } = self;
        let mut port = ServerPort::new(ctx, known_commands, natives, &[], Subject::Command(name.to_bytes()));
        engine.load_command_file(name, code, &mut port)
    }
}
