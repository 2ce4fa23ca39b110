//! `ATOMIC.COMMANDS LIST`: lists the scripted commands.
//!
//! Reply: an array with a map per command, in the order of registration (RESP2 has flat arrays for the maps): `name`; the `file` and
//! `line` of the declaration, or null and 0 if the last RELOAD did not find it; `arity`; `flags`; for a command with keys, `access`
//! and either `keys`, `[first, last, step]`, or `numkeys`, the position of the number of keys. `calls` and `errors` count the runs of
//! its function on this server since it started or ATOMIC.SCRIPT RESETSTAT.

use super::READS;
use crate::commands::spec::{Command, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::lua::{Access, Declaration, Engine, Positions};
use crate::scripting;
use crate::scripting::scripted::{REGISTRY, ScriptedCommand};
use crate::server::args::Args;
use crate::server::reply::{Reply, number};

pub struct List;

impl Command for List {
    const SPEC: Spec = Spec {
        name: c"atomic.commands|list",
        flags: READS,
        categories: c"scripting",
        summary: c"Lists the scripted commands.",
        complexity: c"O(N) with N commands",
        since: c"0.1.0",
        arity: 2,
        keys: Keys::None,
        args: &[],
    };

    type Request<'a> = ();

    fn parse(args: Args<'_>) -> Result<()> {
        args.finish()
    }

    fn run(_keyspace: &Keyspace, (): ()) -> Result<Reply> {
        let scripting = scripting::engine()?;
        let slot = REGISTRY.try_borrow_mut().ok_or(Error::Recursion)?;
        let commands = slot.as_ref().map(|registry| registry.commands.as_slice()).unwrap_or_default();
        Ok(Reply::Array(commands.iter().map(|command| entry(command, &scripting.engine)).collect()))
    }
}

fn entry(command: &ScriptedCommand, engine: &Engine) -> Reply {
    let Declaration { name, arity, flags, keys, access, .. } = &command.declaration;
    let place = engine.command_place(command.number);
    let figures = engine.command_figures(command.number);
    let mut map = vec![
        ("name", Reply::Bulk(name.to_bytes().to_vec())),
        ("file", place.map_or(Reply::Null, |(file, _)| Reply::text(file))),
        ("line", Reply::Integer(place.map_or(0, |(_, line)| line.into()))),
        ("arity", Reply::Integer((*arity).into())),
        ("flags", Reply::Array(flags.names().map(Reply::text).collect())),
    ];
    let access = match access {
        Access::Read => "RO",
        Access::Update => "RW",
        Access::Overwrite => "OW",
    };
    match *keys {
        Positions::None => {}
        Positions::Range { first, last, step } => {
            map.extend([("access", Reply::text(access)), ("keys", Reply::from([first, last, step].map(i64::from)))]);
        }
        Positions::Counted(at) => map.extend([("access", Reply::text(access)), ("numkeys", Reply::Integer(at.into()))]),
    }
    map.extend([("calls", Reply::Integer(number(figures.calls))), ("errors", Reply::Integer(number(figures.errors)))]);
    Reply::Map(map)
}
