//! What each command does when it is sent again because its reply was lost: a row per command, and per option that changes the answer.
//!
//! The section `## If the reply is lost` of the command's page has the same claims, in the same words: [`super::pages`] compares them.
//!
//! Replies and states are in the form of [`brief`](crate::commands::rows::brief). `<name>` and `...` stand for any text, and `<ms>` for a time, since
//! all times here are about a minute. Setup commands are separated by `;`. One that begins with `=` defines `$last`, `?` marks one that waits,
//! `&` one that keeps the server busy, and `~` one that runs while the client under test waits. `$library` is a library of functions.

/// What happens when the command is sent again.
pub enum Again {
    /// The dataset stays as the first call left it, and the reply is the same, apart from times.
    Same,
    /// The dataset stays, and the reply is this one.
    Other(&'static str),
    /// The command takes effect again: its reply, and the state afterwards.
    Twice(&'static str, &'static str),
}

pub use Again::{Other, Same, Twice};

impl Again {
    /// The words of the pages.
    pub fn claim(&self) -> &'static str {
        match self {
            Self::Same => "once, same reply",
            Self::Other(_) => "once, another reply",
            Self::Twice(..) => "twice",
        }
    }
}

/// The command and its option as the page names them, the setup, the call, its reply, what sending it again does, a question about the
/// dataset, and the answer after the first call.
pub struct Row {
    pub form: &'static str,
    pub setup: &'static str,
    pub call: &'static str,
    pub reply: &'static str,
    pub again: Again,
    pub question: &'static str,
    pub state: &'static str,
}

impl Row {
    /// `SEMACQUIRE` of `SEMACQUIRE with ADD`.
    pub fn command(&self) -> &'static str {
        self.form.split(" with ").next().unwrap_or_default()
    }
}

macro_rules! rows {
    ($(($form:expr, $setup:expr, $call:expr, $reply:expr, $again:expr, $question:expr, $state:expr)),* $(,)?) => {
        &[$(Row { form: $form, setup: $setup, call: $call, reply: $reply, again: $again, question: $question, state: $state }),*]
    };
}

const HELD: &str = r#"["mode", "exclusive", "owners", [["me", 1, <ms>]], "fence", <fence>, "ttl", <ms>, ..."#;
const HELD_TWICE: &str = r#"["mode", "exclusive", "owners", [["me", 2, <ms>]], ..."#;
const ONE_PERMIT: &str = r#"["in-use", 1, "owners", [["me", 1, <ms>]], ..."#;
const TWO_PERMITS: &str = r#"["in-use", 2, "owners", [["me", 2, <ms>]], ..."#;
const LIBRARY: &str = r#"[["library_name", "lib", ..."#;
const LEFT: &str = "ATOMIC.RATELIMIT_RO k FIXED 9 60000 COST 0";
const BUSY_SCRIPT: &str = "CONFIG SET busy-reply-threshold 5;&ATOMIC.EVAL \"while true do end\" 0";
const BUSY_FUNCTION: &str = "ATOMIC.FUNCTION LOAD $library;CONFIG SET busy-reply-threshold 5;&ATOMIC.FCALL spin 0";
const TWO_DUE: &str = "ZADD {d}k 1 a 2 b";
const SCRIPT: &str = "=ATOMIC.SCRIPT LOAD \"return redis.call('INCR', KEYS[1])\"";
const READING: &str = "SET k 5;=ATOMIC.SCRIPT LOAD \"return redis.call('GET', KEYS[1])\"";

#[rustfmt::skip]
pub const ROWS: &[Row] = rows![
    // compare-and-set
    ("CAS", "SET k a", "ATOMIC.CAS k a b", "1", Other("0"), "GET k", r#""b""#),
    ("CAD", "SET k a", "ATOMIC.CAD k a", "1", Other("-1"), "EXISTS k", "0"),
    ("MCAS", "MSET {m}a 1 {m}b 2", "ATOMIC.MCAS {m}a 1 3 {m}b 2 4", "[1, -1]", Other("[0, 0]"), "MGET {m}a {m}b", r#"["3", "4"]"#),
    ("SET with GT", "SET k 1", "ATOMIC.SET k 2 GT", "1", Other("0"), "GET k", r#""2""#),
    ("SET with NX", "", "ATOMIC.SET k a NX GET", "[1, nil]", Other(r#"[0, "a"]"#), "GET k", r#""a""#),
    ("SET with XX", "SET k a", "ATOMIC.SET k b XX", "1", Same, "GET k", r#""b""#),
    ("DEL", "SET k a", "ATOMIC.DEL k IFEQ a", "1", Other("-1"), "EXISTS k", "0"),
    ("PEXPIRE", "SET k a", "ATOMIC.PEXPIRE k 60000 IFEQ a", "1", Same, "PTTL k", "<ms>"),
    ("HCAS", "HSET k f a", "ATOMIC.HCAS k f a b", "1", Other("0"), "HGET k f", r#""b""#),
    ("HSET with GT", "HSET k f 1", "ATOMIC.HSET k f 2 GT", r#"[1, "1"]"#, Other(r#"[0, "2"]"#), "HGET k f", r#""2""#),
    // counters
    ("INCRBY", "", "ATOMIC.INCRBY k 3", "[1, 3, 3, -1]", Twice("[1, 6, 3, -1]", r#""6""#), "GET k", r#""3""#),
    ("HINCRBY", "", "ATOMIC.HINCRBY k f 3", "[1, 3, 3, -1]", Twice("[1, 6, 3, -1]", r#""6""#), "HGET k f", r#""3""#),
    ("TRANSFER", "SET {a}s 10", "ATOMIC.TRANSFER {a}s {a}d 3", "[1, 7, 3]", Twice("[1, 4, 6]", r#"["4", "6"]"#), "MGET {a}s {a}d", r#"["7", "3"]"#),
    // drain
    ("DRAIN ON", "ATOMIC.LOCK k other 60000;?ATOMIC.LOCK k waiter 60000 WAIT 0", "ATOMIC.DRAIN ON", "1", Other("0"), "ATOMIC.LOCK j me 60000 WAIT 0", "TRYAGAIN draining..."),
    ("DRAIN OFF", "ATOMIC.DRAIN ON", "ATOMIC.DRAIN OFF", "0", Same, "ATOMIC.LOCK j me 60000 WAIT 0", "[1, <fence>, <ms>, 1, 0]"),
    // due
    ("ZPOPDUE", TWO_DUE, "ATOMIC.ZPOPDUE {d}k", r#"["a", "1"]"#, Twice(r#"["b", "2"]"#, "[]"), "ZRANGE {d}k 0 -1", r#"["b"]"#),
    ("ZPOPDUE with WAIT", "~ZADD {d}k 1 a 2 b", "ATOMIC.ZPOPDUE {d}k WAIT 0", r#"["a", "1"]"#, Twice(r#"["b", "2"]"#, "[]"), "ZRANGE {d}k 0 -1", r#"["b"]"#),
    ("ZPOPDUE with LEASE", TWO_DUE, "ATOMIC.ZPOPDUE {d}k LEASE 60000", r#"["a", "<score>"]"#, Twice(r#"["b", "<score>"]"#, "[]"), "ZRANGE {d}k -inf 2 BYSCORE", r#"["b"]"#),
    ("ZMOVEDUE", TWO_DUE, "ATOMIC.ZMOVEDUE {d}k {d}l", r#"["a", "1"]"#, Twice(r#"["b", "2"]"#, r#"["a", "b"]"#), "LRANGE {d}l 0 -1", r#"["a"]"#),
    ("ZMOVEDUE with WAIT", "~ZADD {d}k 1 a 2 b", "ATOMIC.ZMOVEDUE {d}k {d}l WAIT 0", r#"["a", "1"]"#, Twice(r#"["b", "2"]"#, r#"["a", "b"]"#), "LRANGE {d}l 0 -1", r#"["a"]"#),
    ("ZDONE", "ZADD k 5 a", "ATOMIC.ZDONE k a 5", "1", Other("-1"), "EXISTS k", "0"),
    ("ZDONE with AT", "ZADD k 5 a", "ATOMIC.ZDONE k a 5 AT 9", "1", Other("0"), "ZSCORE k a", r#""9""#),
    // fences
    ("FENCE", "", "ATOMIC.FENCE k 7", "1", Same, "ATOMIC.FENCE k 6", "0"),
    // functions
    ("FCALL", "ATOMIC.FUNCTION LOAD $library", "ATOMIC.FCALL inc 1 k", "1", Twice("2", r#""2""#), "GET k", r#""1""#),
    ("FCALL_RO", "SET k 5;ATOMIC.FUNCTION LOAD $library", "ATOMIC.FCALL_RO get 1 k", r#""5""#, Same, "GET k", r#""5""#),
    ("FUNCTION LOAD", "", "ATOMIC.FUNCTION LOAD $library", r#""lib""#, Other("ERR Library 'lib' already exists"), "ATOMIC.FUNCTION LIST", LIBRARY),
    ("FUNCTION LOAD with REPLACE", "", "ATOMIC.FUNCTION LOAD REPLACE $library", r#""lib""#, Same, "ATOMIC.FUNCTION LIST", LIBRARY),
    ("FUNCTION DELETE", "ATOMIC.FUNCTION LOAD $library", "ATOMIC.FUNCTION DELETE lib", "OK", Other("ERR Library not found"), "ATOMIC.FUNCTION LIST", "[]"),
    ("FUNCTION FLUSH", "ATOMIC.FUNCTION LOAD $library", "ATOMIC.FUNCTION FLUSH", "OK", Same, "ATOMIC.FUNCTION LIST", "[]"),
    ("FUNCTION LIST", "ATOMIC.FUNCTION LOAD $library", "ATOMIC.FUNCTION LIST", LIBRARY, Same, "ATOMIC.FUNCTION LIST", LIBRARY),
    ("FUNCTION DUMP", "ATOMIC.FUNCTION LOAD $library", "ATOMIC.FUNCTION DUMP", r#""<payload>""#, Same, "ATOMIC.FUNCTION LIST", LIBRARY),
    ("FUNCTION RESTORE", "ATOMIC.FUNCTION LOAD $library;=ATOMIC.FUNCTION DUMP;ATOMIC.FUNCTION FLUSH", "ATOMIC.FUNCTION RESTORE $last", "OK", Other("ERR Library lib already exists"), "ATOMIC.FUNCTION LIST", LIBRARY),
    ("FUNCTION RESTORE with REPLACE", "ATOMIC.FUNCTION LOAD $library;=ATOMIC.FUNCTION DUMP;ATOMIC.FUNCTION FLUSH", "ATOMIC.FUNCTION RESTORE $last REPLACE", "OK", Same, "ATOMIC.FUNCTION LIST", LIBRARY),
    ("FUNCTION STATS", "ATOMIC.FUNCTION LOAD $library", "ATOMIC.FUNCTION STATS", r#"["running_script", nil, ..."#, Same, "ATOMIC.FUNCTION LIST", LIBRARY),
    ("FUNCTION KILL", BUSY_FUNCTION, "ATOMIC.FUNCTION KILL", "OK", Other("NOTBUSY <text>"), "PING", "PONG"),
    ("FUNCTION HELP", "", "ATOMIC.FUNCTION HELP", "[ATOMIC.FUNCTION <subcommand>...", Same, "DBSIZE", "0"),
    // idempotency
    ("IDEM", "", "ATOMIC.IDEM {i}r 60000 ATOMIC.INCRBY {i}k 3", "[0, [1, 3, 3, -1]]", Other("[1, [1, 3, 3, -1]]"), "GET {i}k", r#""3""#),
    ("IDEMBEGIN", "", "ATOMIC.IDEMBEGIN k f 60000", r#"[1, <ms>, "<token>"]"#, Other("[2, <ms>, nil]"), "PTTL k", "<ms>"),
    ("IDEMBEGIN with TOKEN", "", "ATOMIC.IDEMBEGIN k f 60000 TOKEN t", r#"[1, <ms>, "t"]"#, Same, "PTTL k", "<ms>"),
    ("IDEMEND", "ATOMIC.IDEMBEGIN k f 10000 TOKEN t", "ATOMIC.IDEMEND k t r PX 60000", "1", Same, "ATOMIC.IDEMBEGIN k f 5", r#"[3, <ms>, "r"]"#),
    ("IDEMABORT", "ATOMIC.IDEMBEGIN k f 60000 TOKEN t", "ATOMIC.IDEMABORT k t", "1", Other("-1"), "EXISTS k", "0"),
    // locks
    ("LOCK", "", "ATOMIC.LOCK k me 60000", "[1, <fence>, <ms>, 1, 0]", Same, "ATOMIC.LOCKINFO k", HELD),
    ("LOCK with WAIT", "ATOMIC.LOCK k other 60000;~ATOMIC.UNLOCK k other", "ATOMIC.LOCK k me 60000 WAIT 0", "[1, <fence>, <ms>, 1, 0]", Same, "ATOMIC.LOCKINFO k", HELD),
    ("LOCK with REENTRANT", "", "ATOMIC.LOCK k me 60000 REENTRANT", "[1, <fence>, <ms>, 1, 0]", Twice("[1, <fence>, <ms>, 2, 0]", HELD_TWICE), "ATOMIC.LOCKINFO k", HELD),
    ("MLOCK", "", "ATOMIC.MLOCK me 60000 {m}a {m}k", "[1, <fence>, <ms>]", Same, "ATOMIC.LOCKINFO {m}k", HELD),
    ("UNLOCK", "ATOMIC.LOCK k me 60000", "ATOMIC.UNLOCK k me", "0", Other("-1"), "EXISTS k", "0"),
    ("UNLOCK with ALL", "ATOMIC.LOCK k me 60000;ATOMIC.LOCK k me 60000 REENTRANT", "ATOMIC.UNLOCK k me ALL", "0", Other("-1"), "EXISTS k", "0"),
    ("UNLOCK with holds left", "ATOMIC.LOCK k me 60000;ATOMIC.LOCK k me 60000 REENTRANT", "ATOMIC.UNLOCK k me", "1", Twice("0", "0"), "EXISTS k", "1"),
    ("LOCKRENEW", "ATOMIC.LOCK k me 10000", "ATOMIC.LOCKRENEW k me 60000", "<ms>", Same, "ATOMIC.LOCKINFO k", HELD),
    ("LOCKINFO", "ATOMIC.LOCK k me 60000", "ATOMIC.LOCKINFO k", HELD, Same, "ATOMIC.LOCKINFO k", HELD),
    // ratelimit
    ("RATELIMIT", "", "ATOMIC.RATELIMIT k FIXED 9 60000", "[1, 9, 8, 0, <ms>, 0]", Twice("[1, 9, 7, 0, <ms>, 0]", "[0, 9, 7, 0, <ms>, 0]"), LEFT, "[0, 9, 8, 0, <ms>, 0]"),
    ("RATELIMIT with REFUND", "ATOMIC.RATELIMIT k FIXED 9 60000 COST 5", "ATOMIC.RATELIMIT k FIXED 9 60000 REFUND 1", "[1, 9, 5, 0, <ms>, 0]", Twice("[1, 9, 6, 0, <ms>, 0]", "[0, 9, 6, 0, <ms>, 0]"), LEFT, "[0, 9, 5, 0, <ms>, 0]"),
    ("RATELIMIT with RESET", "ATOMIC.RATELIMIT k FIXED 9 60000", "ATOMIC.RATELIMIT k FIXED 9 60000 RESET", "[0, 9, 9, 0, 0, 0]", Same, "EXISTS k", "0"),
    ("RATELIMIT_RO", "ATOMIC.RATELIMIT k FIXED 9 60000", "ATOMIC.RATELIMIT_RO k FIXED 9 60000", "[1, 9, <left>, 0, <ms>, 0]", Same, LEFT, "[0, 9, 8, 0, <ms>, 0]"),
    ("MRATELIMIT", "", "ATOMIC.MRATELIMIT 2 k j FIXED 9 60000 FIXED 9 60000", "[1, 9, 8, 0, <ms>, 0]", Twice("[1, 9, 7, 0, <ms>, 0]", "[0, 9, 7, 0, <ms>, 0]"), LEFT, "[0, 9, 8, 0, <ms>, 0]"),
    ("CL.THROTTLE", "", "CL.THROTTLE k 8 9 60", "[0, 9, 8, -1, <seconds>]", Twice("[0, 9, 7, -1, <seconds>]", "[0, 9, 7, -1, <seconds>]"), "CL.THROTTLE k 8 9 60 0", "[0, 9, 8, -1, <seconds>]"),
    // scripted commands
    ("COMMANDS LIST", "", "ATOMIC.COMMANDS LIST", r#"[["name", "inventory.reserve", ..."#, Same, "DBSIZE", "0"),
    ("COMMANDS RELOAD", "", "ATOMIC.COMMANDS RELOAD", "OK", Same, "SUM.KEYS 1 k", "0"),
    ("COMMANDS HELP", "", "ATOMIC.COMMANDS HELP", "[ATOMIC.COMMANDS <subcommand>...", Same, "DBSIZE", "0"),
    ("INVENTORY.RESERVE", "SET {p}s 5", "INVENTORY.RESERVE {p}s {p}o 2", "[1, 3, 1]", Twice("[1, 1, 2]", r#""1""#), "GET {p}s", r#""3""#),
    // trace
    ("EVALTRACE", "", "ATOMIC.EVALTRACE \"return redis.call('INCR', KEYS[1])\" 1 k", r#"["reply", 1, ..."#, Twice(r#"["reply", 2, ..."#, r#""2""#), "GET k", r#""1""#),
    ("FCALLTRACE", "ATOMIC.FUNCTION LOAD $library", "ATOMIC.FCALLTRACE inc 1 k", r#"["reply", 1, ..."#, Twice(r#"["reply", 2, ..."#, r#""2""#), "GET k", r#""1""#),
    ("EVALDRYRUN", "", "ATOMIC.EVALDRYRUN \"return redis.call('INCR', KEYS[1])\" 1 k", r#"["reply", 1, ..."#, Other(r#"["reply", 1, ..."#), "EXISTS k", "0"),
    ("FCALLDRYRUN", "ATOMIC.FUNCTION LOAD $library", "ATOMIC.FCALLDRYRUN inc 1 k", r#"["reply", 1, ..."#, Other(r#"["reply", 1, ..."#), "EXISTS k", "0"),
    // scripts
    ("EVAL", "", "ATOMIC.EVAL \"return redis.call('INCR', KEYS[1])\" 1 k", "1", Twice("2", r#""2""#), "GET k", r#""1""#),
    ("EVALSHA", SCRIPT, "ATOMIC.EVALSHA $last 1 k", "1", Twice("2", r#""2""#), "GET k", r#""1""#),
    ("EVAL_RO", "SET k 5", "ATOMIC.EVAL_RO \"return redis.call('GET', KEYS[1])\" 1 k", r#""5""#, Same, "GET k", r#""5""#),
    ("EVALSHA_RO", READING, "ATOMIC.EVALSHA_RO $last 1 k", r#""5""#, Same, "GET k", r#""5""#),
    ("SCRIPT LOAD", "", "ATOMIC.SCRIPT LOAD 'return 1'", r#""e0e1f9fabfc9d4800c877a703b823ac0578ff8db""#, Same, "ATOMIC.SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "[1]"),
    ("SCRIPT EXISTS", SCRIPT, "ATOMIC.SCRIPT EXISTS $last", "[1]", Same, "DBSIZE", "0"),
    ("SCRIPT SHOW", SCRIPT, "ATOMIC.SCRIPT SHOW $last", r#""return <text>""#, Same, "DBSIZE", "0"),
    ("SCRIPT LIST", SCRIPT, "ATOMIC.SCRIPT LIST", r#"[["sha1", ..."#, Same, "DBSIZE", "0"),
    ("SCRIPT STATS", "", "ATOMIC.SCRIPT STATS", "[...", Same, "DBSIZE", "0"),
    ("SCRIPT CHECK", "", "ATOMIC.SCRIPT CHECK 'x = 1'", r#"[["line", ..."#, Same, "DBSIZE", "0"),
    ("SCRIPT RESETSTAT", "", "ATOMIC.SCRIPT RESETSTAT", "OK", Same, "DBSIZE", "0"),
    ("SCRIPT FLUSH", "ATOMIC.SCRIPT LOAD 'return 1'", "ATOMIC.SCRIPT FLUSH", "OK", Same, "ATOMIC.SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "[0]"),
    ("SCRIPT KILL", BUSY_SCRIPT, "ATOMIC.SCRIPT KILL", "OK", Other("NOTBUSY <text>"), "PING", "PONG"),
    ("SCRIPT HELP", "", "ATOMIC.SCRIPT HELP", "[ATOMIC.SCRIPT <subcommand>...", Same, "DBSIZE", "0"),
    // semaphores
    ("SEMACQUIRE", "", "ATOMIC.SEMACQUIRE k 3 me 60000", "[1, <fence>, 1, 0, 0]", Other("[1, <fence>, 1, 0, 0]"), "ATOMIC.SEMINFO k", ONE_PERMIT),
    ("SEMACQUIRE with WAIT", "ATOMIC.SEMACQUIRE k 1 other 60000;~ATOMIC.SEMRELEASE k other", "ATOMIC.SEMACQUIRE k 1 me 60000 WAIT 0", "[1, <fence>, 1, 0, 0]", Other("[1, <fence>, 1, 0, 0]"), "ATOMIC.SEMINFO k", ONE_PERMIT),
    ("SEMACQUIRE with ADD", "", "ATOMIC.SEMACQUIRE k 3 me 60000 ADD", "[1, <fence>, 1, 0, 0]", Twice("[1, <fence>, 2, 0, 0]", TWO_PERMITS), "ATOMIC.SEMINFO k", ONE_PERMIT),
    ("SEMRELEASE", "ATOMIC.SEMACQUIRE k 3 me 60000", "ATOMIC.SEMRELEASE k me", "0", Other("-1"), "EXISTS k", "0"),
    ("SEMRELEASE with permits left", "ATOMIC.SEMACQUIRE k 3 me 60000 PERMITS 2", "ATOMIC.SEMRELEASE k me", "1", Twice("0", "[]"), "ATOMIC.SEMINFO k", ONE_PERMIT),
    ("SEMRENEW", "ATOMIC.SEMACQUIRE k 3 me 10000", "ATOMIC.SEMRENEW k me 60000", "<ms>", Same, "ATOMIC.SEMINFO k", ONE_PERMIT),
    ("SEMINFO", "ATOMIC.SEMACQUIRE k 3 me 60000", "ATOMIC.SEMINFO k", ONE_PERMIT, Same, "ATOMIC.SEMINFO k", ONE_PERMIT),
    // values
    ("GETORSET", "", "ATOMIC.GETORSET k v", r#"[1, "v"]"#, Other(r#"[0, "v"]"#), "GET k", r#""v""#),
    ("HMGETOR", "", "ATOMIC.HMGETOR k f v", r#"["v"]"#, Same, "EXISTS k", "0"),
    ("PUSH", "", "ATOMIC.PUSH k RIGHT 5 VALUES a", "[1, 0]", Twice("[2, 0]", r#"["a", "a"]"#), "LRANGE k 0 -1", r#"["a"]"#),
    ("POP", "RPUSH k a b c", "ATOMIC.POP k LEFT", r#"["a"]"#, Twice(r#"["b"]"#, r#"["c"]"#), "LRANGE k 0 -1", r#"["b", "c"]"#),
    ("ONCE", "", "ATOMIC.ONCE k PX 60000 VALUE me", r#"[1, <ms>, "me"]"#, Other(r#"[0, <ms>, "me"]"#), "GET k", r#""me""#),
    // waiters
    ("WAITERS", "", "ATOMIC.WAITERS", "[]", Same, "DBSIZE", "0"),
];
