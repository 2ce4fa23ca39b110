//! The server's own function store: `FUNCTION LOAD`, `DELETE` and `LIST` through `RM_Call`.
//!
//! A change replicates and reaches the AOF as the FUNCTION command itself. Listings are read from protocol text, without a copy: a
//! library can be large.

use crate::error::Result;
use crate::primitives::resp::Reader;
use crate::server::call::CallReply;
use crate::server::module_api::{Ctx, OwnedStr, Str};

/// Loads a library, but never replaces one of the same name. Fails with the server's error if memory is short or the library does not
/// compile. Replicates as `FUNCTION LOAD REPLACE`, so it replaces any library of that name on a replica.
pub fn load(ctx: Ctx, code: &[u8]) -> Result<()> {
    let words: [&[u8]; 3] = [b"LOAD", b"REPLACE", code];
    let [load, replace, code] = words.map(OwnedStr::new);
    CallReply::with(ctx, c"FUNCTION", c"vEM", &[load.as_str(), code.as_str()]).done()?;
    ctx.replicate(c"FUNCTION", &[load.as_str(), replace.as_str(), code.as_str()]);
    Ok(())
}

/// Whether there is a library of this name, in O(1): FUNCTION LIST takes time in the number of libraries. Loads code that registers
/// no function, which the server never keeps; the server looks up the name before it reads the code.
#[must_use]
pub fn has(ctx: Ctx, name: &[u8]) -> bool {
    let code = [b"#!lua name=", name, b"\n"].concat();
    CallReply::of(ctx, c"FUNCTION", c"vE", &[OwnedStr::new(b"LOAD"), OwnedStr::new(&code)]).text()
        != b"-ERR No functions registered\r\n"
}

pub fn delete(ctx: Ctx, name: &[u8]) -> Result<()> {
    CallReply::of(ctx, c"FUNCTION", c"v!E", &[b"DELETE", name].map(OwnedStr::new)).done()
}

/// Calls a FUNCTION subcommand that changes nothing. Its reply goes to the client.
pub fn relay(ctx: Ctx, subcommand: &[u8], words: &[Str<'_>]) -> Result<()> {
    let subcommand = OwnedStr::new(subcommand);
    CallReply::with(ctx, c"FUNCTION", c"vE0", &[&[subcommand.as_str()], words].concat()).relay(ctx)
}

/// Calls a FUNCTION subcommand that changes the store, and replicates it. Its reply goes to the client. Returns the library name in
/// the reply, if any.
pub fn change(ctx: Ctx, subcommand: &[u8], words: &[Str<'_>]) -> Result<Vec<u8>> {
    let subcommand = OwnedStr::new(subcommand);
    let reply = CallReply::with(ctx, c"FUNCTION", c"v!EM0", &[&[subcommand.as_str()], words].concat());
    reply.relay(ctx)?;
    Ok(reply.reader().string().unwrap_or_default().to_vec())
}

/// The engines of the server.
#[must_use]
pub fn engines(ctx: Ctx) -> Vec<Engine> {
    let reply = CallReply::of(ctx, c"FUNCTION", c"vE", &[OwnedStr::new(b"STATS")]);
    read_engines(reply.text()).unwrap_or_default()
}

/// An engine of the server, with its numbers of libraries and functions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Engine {
    pub name: Vec<u8>,
    pub libraries: i64,
    pub functions: i64,
}

/// All libraries, with their code.
#[must_use]
pub fn all(ctx: Ctx) -> Listing {
    Listing(CallReply::of(ctx, c"FUNCTION", c"vE", &[b"LIST".as_slice(), b"WITHCODE"].map(OwnedStr::new)))
}

/// The libraries whose name matches, with their code.
#[must_use]
pub fn codes(ctx: Ctx, pattern: &[u8]) -> Listing {
    let args: [&[u8]; 4] = [b"LIST", b"LIBRARYNAME", pattern, b"WITHCODE"];
    Listing(CallReply::of(ctx, c"FUNCTION", c"vE", &args.map(OwnedStr::new)))
}

/// The reply of FUNCTION LIST.
pub struct Listing(CallReply);

impl Listing {
    /// The libraries; none if the server refused.
    #[must_use]
    pub fn libraries(&self) -> Vec<Library<'_>> {
        read(self.0.text()).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Library<'a> {
    pub name: &'a [u8],
    /// The engine that runs it.
    pub engine: &'a [u8],
    /// Empty unless it was asked for.
    pub code: &'a [u8],
}

/// The reply of FUNCTION LIST. A field that a later server adds is skipped.
fn read(text: &[u8]) -> Option<Vec<Library<'_>>> {
    let mut reader = Reader::new(text);
    let count = reader.values()?;
    (0..count).map(|_| library(&mut reader)).collect()
}

fn library<'a>(reader: &mut Reader<'a>) -> Option<Library<'a>> {
    let mut library = Library::default();
    for _ in 0..pairs(reader)? {
        match reader.string()? {
            b"library_name" => library.name = reader.string()?,
            b"engine" => library.engine = reader.string()?,
            b"library_code" => library.code = reader.string()?,
            _ => reader.skip(1)?,
        }
    }
    Some(library)
}

/// The number of fields of a map, which RESP2 writes as an array.
fn pairs(reader: &mut Reader<'_>) -> Option<usize> {
    reader.values().map(|values| values / 2)
}

/// The reply of FUNCTION STATS.
fn read_engines(text: &[u8]) -> Option<Vec<Engine>> {
    let mut reader = Reader::new(text);
    for _ in 0..pairs(&mut reader)? {
        if reader.string()? == b"engines" {
            return (0..pairs(&mut reader)?).map(|_| engine(&mut reader)).collect();
        }
        reader.skip(1)?;
    }
    None
}

fn engine(reader: &mut Reader<'_>) -> Option<Engine> {
    let mut engine = Engine { name: reader.string()?.to_vec(), ..Engine::default() };
    for _ in 0..pairs(reader)? {
        match reader.string()? {
            b"libraries_count" => engine.libraries = reader.integer()?,
            b"functions_count" => engine.functions = reader.integer()?,
            _ => reader.skip(1)?,
        }
    }
    Some(engine)
}

#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"*2\r\n*8\r\n$12\r\nlibrary_name\r\n$1\r\na\r\n$6\r\nengine\r\n$3\r\nLUA\r\n$9\r\nfunctions\r\n*1\r\n*6\r\n$4\r\nname\r\n\
        $1\r\nf\r\n$11\r\ndescription\r\n$-1\r\n$5\r\nflags\r\n*1\r\n+no-writes\r\n$12\r\nlibrary_code\r\n$4\r\nx\r\ny\r\n\
        *6\r\n$12\r\nlibrary_name\r\n$2\r\nbb\r\n$6\r\nengine\r\n$3\r\nLUA\r\n$9\r\nfunctions\r\n*0\r\n";

    #[test]
    fn listings_are_read_with_and_without_code() {
        let expected =
            [Library { name: b"a", engine: b"LUA", code: b"x\r\ny" }, Library { name: b"bb", engine: b"LUA", code: b"" }];
        assert_eq!(read(TWO).unwrap(), expected);
        assert_eq!(read(b"*0\r\n").unwrap(), []);
        let maps = b"*1\r\n%3\r\n$12\r\nlibrary_name\r\n$1\r\na\r\n$3\r\nnew\r\n%1\r\n+k\r\n~2\r\n:1\r\n_\r\n$12\r\nlibrary_code\r\n$1\r\nc\r\n";
        assert_eq!(
            read(maps).unwrap(),
            [Library { name: b"a", engine: b"", code: b"c" }],
            "RESP3, and a field of a later server"
        );
    }

    #[test]
    fn any_other_text_is_refused_and_never_read_beyond_its_end() {
        for cut in 0..TWO.len() {
            assert_eq!(read(&TWO[..cut]), None, "the first {cut} bytes");
        }
        for wrong in [
            "",
            "-ERR x\r\n",
            "$1\r\na\r\n",
            "*1\r\n:1\r\n",
            "*9223372036854775807\r\n",
            "*1\r\n%9999999999999999999\r\n",
            "*x\r\n",
        ] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
