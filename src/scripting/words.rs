//! The server's own wording of the errors that scripts get.
//!
//! Servers, and releases of one server, word the same error differently. A table by version would go stale with the next package, so
//! this module asks the server. The first time a script is refused in one of these ways, the server's own engine runs a script that
//! is refused in the same way, and its error is cached. That script has no user, may not write, and only makes mistakes. If the
//! server cannot be asked (its EVAL was renamed, or one of its own scripts is running), the error has the wording of Redis.

use crate::server::call::CallReply;
use crate::server::module_api::{Ctx, OwnedStr};

/// The command does not exist.
pub const UNKNOWN: &str = "ERR Unknown Redis command called from script";
/// The call has the wrong number of arguments.
pub const WRONG_ARITY: &str = "ERR Wrong number of args calling Redis command from script";
/// Scripts may not call the command.
pub const NOT_FOR_SCRIPTS: &str = "ERR This Redis command is not allowed from script";
/// `acl_check_cmd` for a command that does not exist.
pub const INVALID_COMMAND: &str = "ERR Invalid command passed to redis.acl_check_cmd()";
/// `acl_check_cmd` with the wrong number of arguments for the command. Only some servers refuse that.
pub const INVALID_ARITY: &str = "ERR Wrong number of args for redis.acl_check_cmd()";

/// An error in the wording of Redis, and a call of a `redis` function that provokes it. An empty argument stands for a table. The
/// commands are this module's, because a server cannot rename those.
const REFUSALS: [(&str, &[&str]); 11] = [
    (UNKNOWN, &["pcall", "atomic.no.such.command"]),
    (WRONG_ARITY, &["pcall", "atomic.eval"]),
    (NOT_FOR_SCRIPTS, &["pcall", "atomic.eval", "return 1", "0"]),
    (INVALID_COMMAND, &[ACL_CHECK, "atomic.no.such.command"]),
    (INVALID_ARITY, &[ACL_CHECK, "atomic.eval"]),
    ("ERR Please specify at least one argument for this redis lib call", &["pcall"]),
    ("ERR Lua redis lib command arguments must be strings or integers", &["pcall", ""]),
    ("ERR redis.log() requires two arguments or more.", &["log"]),
    ("ERR Invalid debug level.", &["log", "99", "x"]),
    ("ERR redis.setresp() requires one argument.", &[SETRESP]),
    ("ERR redis.set_repl() requires one argument.", &["set_repl"]),
];

const SETRESP: &str = "setresp";

/// Valkey 9.1 and later crash when a script without a user calls it.
const ACL_CHECK: &str = "acl_check_cmd";

/// Makes the call that its arguments describe and returns the text of the error.
const PROVOKE: &[u8] = b"#!lua flags=no-writes,allow-stale\n\
    local call = {unpack(ARGV, 2)}\n\
    for i, argument in ipairs(call) do if argument == '' then call[i] = {} end end\n\
    local ok, answer = pcall(redis[ARGV[1]], unpack(call))\n\
    return type(answer) == 'table' and answer.err or (not ok and answer)";

/// The text before the reason when the ACL forbids a call: how `RM_Call` returns it, and how scripts get it.
const FORBIDDEN: [(&[u8], &[u8]); 3] = [
    // Redis 7.0. It ends the reason with a full stop, which its own scripts do not get.
    (FORBIDDEN_BY_7_0, b"-ERR The user executing the script "),
    (b"-NOPERM User ", b"-ERR ACL failure in script: User "),
    (b"-NOPERM No permissions to access a ", b"-ERR ACL failure in script: No permissions to access a "),
];

const FORBIDDEN_BY_7_0: &[u8] = b"-ERR acl verification failed, ";

/// The server's answers so far.
#[derive(Default)]
pub struct Wording {
    asked: [Option<Answer>; REFUSALS.len()],
    /// The last reply that was reworded.
    text: Vec<u8>,
}

/// The server's answer to one of [`REFUSALS`].
enum Answer {
    /// The error, as protocol text.
    Refuses(Box<[u8]>),
    /// The server does not refuse that call, or cannot be asked.
    Nothing,
}

impl Wording {
    /// The reply to a script's command. An error gets the server's wording.
    pub fn of_reply<'t>(&'t mut self, ctx: Ctx, reply: &'t [u8]) -> &'t [u8] {
        if reply.first() != Some(&b'-') {
            return reply;
        }
        if let Some(((theirs, words), rest)) = FORBIDDEN.iter().find_map(|row| Some((row, reply.strip_prefix(row.0)?))) {
            let reason = if *theirs == FORBIDDEN_BY_7_0 { rest.strip_suffix(b".\r\n") } else { rest.strip_suffix(b"\r\n") };
            self.text = [words, reason.unwrap_or(rest).trim_ascii_end(), b"\r\n"].concat();
            return &self.text;
        }
        let text = reply.strip_prefix(b"-").and_then(|text| text.strip_suffix(b"\r\n")).unwrap_or_default();
        self.ask(ctx, text).unwrap_or(reply)
    }

    /// The server's wording of an error that is given in the wording of Redis.
    pub fn of_refusal<'t>(&'t mut self, ctx: Ctx, text: &'t [u8]) -> &'t [u8] {
        self.asked(ctx, text).unwrap_or(text)
    }

    /// The server's wording of an error; `None` if the server does not refuse that call.
    pub fn asked(&mut self, ctx: Ctx, text: &[u8]) -> Option<&[u8]> {
        self.ask(ctx, text)?.strip_prefix(b"-")?.strip_suffix(b"\r\n")
    }

    fn ask(&mut self, ctx: Ctx, text: &[u8]) -> Option<&[u8]> {
        let at = REFUSALS.iter().position(|(refusal, _)| refusal.as_bytes() == text)?;
        let (place, (refusal, call)) = (self.asked.get_mut(at)?, REFUSALS.get(at)?);
        if place.is_none() {
            // The server aborts when one of its scripts runs another.
            if ctx.flags().is_in_script() {
                return None;
            }
            *place = Some(provoke(ctx, refusal, call));
        }
        match place {
            Some(Answer::Refuses(text)) => Some(text),
            _ => None,
        }
    }
}

fn provoke(ctx: Ctx, refusal: &str, call: &[&str]) -> Answer {
    let text = if call.first() == Some(&ACL_CHECK) {
        // A server that would crash calls the table `server`.
        let answer = answer(ctx, &[SETRESP]).unwrap_or_default();
        match answer.strip_prefix("ERR ").and_then(|text| text.split_once('.')) {
            None => None,
            Some(("redis", _)) => self::answer(ctx, call),
            Some((table, _)) => (refusal == INVALID_COMMAND).then(|| refusal.replace(" redis.", &format!(" {table}."))),
        }
    } else {
        answer(ctx, call)
    };
    text.map_or(Answer::Nothing, |text| Answer::Refuses(format!("-{}\r\n", text.trim_end()).into_bytes().into()))
}

/// The error of this call in the server's engine.
fn answer(ctx: Ctx, call: &[&str]) -> Option<String> {
    let words = [PROVOKE, b"0"].into_iter().chain(call.iter().map(|word| word.as_bytes()));
    let reply = CallReply::of(ctx, c"EVAL", c"vE", &words.map(OwnedStr::new).collect::<Vec<_>>());
    reply.bulk().filter(|text| text.starts_with("ERR "))
}

#[allow(clippy::indexing_slicing)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_one_row() {
        for (at, (text, call)) in REFUSALS.iter().enumerate() {
            assert!(text.starts_with("ERR ") && !call.is_empty(), "{text}");
            assert!(REFUSALS[..at].iter().all(|(other, others)| other != text && others != call), "{text}");
        }
    }
}
