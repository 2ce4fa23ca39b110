//! The arguments of a command that runs a script or a function.

use std::ffi::CStr;

use crate::error::{Error, Result};
use crate::lua::port::Strings;
use crate::server::args::{Args, parse_i64};
use crate::server::module_api::Str;

/// `script|sha1 numkeys key [key ...] arg [arg ...]`
pub struct Request<'a> {
    /// The script or its SHA1.
    pub script: &'a [u8],
    pub keys: Arguments<'a>,
    pub args: Arguments<'a>,
}

/// Arguments of the command, which a script sees as strings.
#[derive(Clone, Copy)]
pub struct Arguments<'a>(pub &'a [Str<'a>]);

impl Strings for Arguments<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn string(&self, index: usize) -> &[u8] {
        self.0.get(index).map_or(&[], |string| string.bytes())
    }
}

impl<'a> Request<'a> {
    /// Reads the arguments. Errors are the server's own.
    pub fn parse(args: Args<'a>) -> Result<Self> {
        Self::read(args, Error::Text("ERR value is not an integer or out of range"))
    }

    /// The same, with `bad_count` as the error for a number of keys that is not an integer.
    pub fn read(mut args: Args<'a>, bad_count: Error) -> Result<Self> {
        let script = args.bytes()?;
        let count = parse_i64(args.bytes()?).ok_or(bad_count)?;
        let count = usize::try_from(count).map_err(|_| Error::Text("ERR Number of keys can't be negative"))?;
        let (keys, args) =
            args.rest().split_at_checked(count).ok_or(Error::Text("ERR Number of keys can't be greater than number of args"))?;
        Ok(Self { script, keys: Arguments(keys), args: Arguments(args) })
    }
}

impl Request<'_> {
    /// The words of the command that made this request.
    pub fn command(&self, name: &CStr) -> Vec<Vec<u8>> {
        let count = self.keys.count().to_string();
        let strings = |list: &Arguments<'_>| list.0.iter().map(|string| string.bytes().to_vec()).collect::<Vec<_>>();
        let mut words = vec![name.to_bytes().to_vec(), self.script.to_vec(), count.into_bytes()];
        words.extend(strings(&self.keys));
        words.extend(strings(&self.args));
        words
    }
}
