//! Keeps this engine's function libraries in step with the server's function store, which is the source of truth.
//!
//! Changes by this module are applied at once. [`watch`] notes changes by others (FUNCTION itself, a replication link, a
//! data load), and the next function call applies them. The server runs the libraries that only its engine can load.

pub mod server_list;
pub mod watch;

use std::collections::{HashMap, HashSet};

use self::watch::{Follower, note_change};
use super::Scripting;
use super::script_store as scripts;
use crate::error::{Error, QUOTED_BYTES, Result, printable};
use crate::lua::library;
use crate::lua::{self, Digest};
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::settings;

/// Libraries that this engine cannot load: their name and the digest of their code, so that none is tried twice.
pub type RefusedLibraries = HashMap<Vec<u8>, Digest>;

/// Reads the store if it may have changed.
pub fn follow(ctx: Ctx, scripting: &mut Scripting) {
    watch::start(ctx);
    if watch::take_changed(ctx, Follower::Functions) {
        sync_all(ctx, scripting);
    }
}

fn sync_all(ctx: Ctx, scripting: &mut Scripting) {
    let listing = server_list::all(ctx);
    let ours = |library: &server_list::Library<'_>| !is_of_script(library.name) && is_lua(library.engine);
    let all: Vec<_> = listing.libraries().into_iter().filter(ours).collect();
    let stored: HashSet<&[u8]> = all.iter().map(|library| library.name).collect();
    let gone: Vec<_> =
        scripting.engine.functions().libraries().filter(|name| !stored.contains(name)).map(<[u8]>::to_vec).collect();
    gone.iter().for_each(|name| scripting.engine.remove_library(name));
    scripting.refused_libraries.retain(|name, _| stored.contains(name.as_slice()));
    for library in all {
        sync(ctx, scripting, library.name, library.code);
    }
}

/// Loads one library of the store, unless it is already loaded or known to be refused.
fn sync(ctx: Ctx, scripting: &mut Scripting, name: &[u8], code: &[u8]) {
    let known = scripting.engine.functions().holds(name, code);
    if known || scripting.refused_libraries.get(name).is_some_and(|refused| *refused == Digest::of(code)) {
        return;
    }
    if settings::INTERCEPT.get() == 1 && lua::differs(code) {
        scripting.engine.remove_library(name);
        scripting.refused_libraries.insert(name.to_vec(), Digest::of(code));
        return;
    }
    match scripting.load_library(ctx, code) {
        Ok(library) => {
            scripting.refused_libraries.remove(name);
            scripting.engine.put_library(name, library);
        }
        Err(why) => {
            scripting.engine.remove_library(name);
            // A library that exceeded a limit may load later, so it is tried again at the next change.
            if !scripting.engine.ended_by_limit() {
                scripting.refused_libraries.insert(name.to_vec(), Digest::of(code));
            }
            let name = printable(name, QUOTED_BYTES);
            ctx.log(
                c"warning",
                &format!("the server's own engine runs the functions of library {name}, because this engine cannot: {why}"),
            );
        }
    }
}

/// Whether a library of this name stores a script.
fn is_of_script(name: &[u8]) -> bool {
    library::digest(name).is_some()
}

fn is_lua(engine: &[u8]) -> bool {
    engine.eq_ignore_ascii_case(b"lua")
}

/// Lets the server check the arguments before the code and the first line. A library without code always fails, so that failure is
/// expected.
fn check_line(ctx: Ctx, before: &[Str<'_>], line: &[u8]) -> Result<()> {
    let line = OwnedStr::new(line);
    match server_list::change(ctx, b"LOAD", &[before, &[line.as_str()]].concat()) {
        Err(Error::Script(text)) if text != b"ERR No functions registered" => Err(Error::Script(text)),
        _ => Ok(()),
    }
}

/// `[REPLACE] code`
pub fn load(ctx: Ctx, scripting: &mut Scripting, words: &[Str<'_>]) -> Result<()> {
    let (code, before) = words.split_last().map_or((None, words), |(code, before)| (Some(code.bytes()), before));
    let line = code.and_then(lua::library_line);
    if let Some(line) = line {
        check_line(ctx, before, line)?;
    }
    let code = code.filter(|_| line.is_some());
    let candidate = code.map(|code| scripting.load_library(ctx, code)).transpose()?;
    let stored = server_list::change(ctx, b"LOAD", words);
    if let Some(candidate) = candidate {
        match &stored {
            Ok(name) if !is_of_script(name) => {
                scripting.refused_libraries.remove(name);
                scripting.engine.put_library(name, candidate);
            }
            _ => scripting.engine.discard_library(&candidate),
        }
    }
    if line.is_none() || stored.as_ref().is_ok_and(|name| is_of_script(name)) {
        note_change();
    }
    stored.map(drop)
}

/// `library-name`
pub fn delete(ctx: Ctx, scripting: &mut Scripting, words: &[Str<'_>]) -> Result<()> {
    server_list::change(ctx, b"DELETE", words)?;
    if let Some(name) = words.first() {
        scripting.engine.remove_library(name.bytes());
    }
    note_change();
    Ok(())
}

/// `[ASYNC|SYNC]`
pub fn flush(ctx: Ctx, scripting: &mut Scripting, words: &[Str<'_>]) -> Result<()> {
    server_list::change(ctx, b"FLUSH", words)?;
    note_change();
    scripts::reconcile(ctx, &mut scripting.engine);
    Ok(())
}

/// `payload [policy]`
pub fn restore(ctx: Ctx, scripting: &mut Scripting, words: &[Str<'_>]) -> Result<()> {
    server_list::change(ctx, b"RESTORE", words)?;
    note_change();
    scripts::reconcile(ctx, &mut scripting.engine);
    Ok(())
}
