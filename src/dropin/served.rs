//! The server's commands that this module serves, and the names that the filter gives them.
//!
//! Such a name is that of this module's command in a distinct spelling. So the handler knows, even in a transaction, which command
//! the client sent. A client that types this spelling itself only needs one more permission.

use std::ffi::CStr;

use crate::server::kept::Kept;
use crate::server::module_api::Str;

/// A command of the server that this module serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    Eval,
    EvalSha,
    EvalRo,
    EvalShaRo,
    Script,
    FCall,
    FCallRo,
    Function,
}

/// What the first argument of a command names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstArgument {
    /// A script, by its source.
    Source,
    /// A script, by its SHA1.
    Digest,
    Function,
    Subcommand,
}

/// All that is known about a command.
struct Row {
    command: Served,
    name: &'static CStr,
    /// The same name as a string of the server.
    original: Kept,
    stand_in: StandIn,
    read_only: Option<StandIn>,
}

const fn row(command: Served, name: &'static CStr, spelling: &'static str, read_only: Option<&'static str>) -> Row {
    let word = match name.to_str() {
        Ok(word) => word,
        Err(_) => "",
    };
    let read_only = match read_only {
        Some(spelling) => Some(StandIn { command, spelling: Kept::new(spelling) }),
        None => None,
    };
    Row { command, name, original: Kept::new(word), stand_in: StandIn { command, spelling: Kept::new(spelling) }, read_only }
}

static ROWS: [Row; 8] = [
    row(Served::Eval, c"EVAL", "ATOMIC.Eval", Some("ATOMIC.EVAL_Ro")),
    row(Served::EvalSha, c"EVALSHA", "ATOMIC.EvalSha", Some("ATOMIC.EVALSHA_Ro")),
    row(Served::EvalRo, c"EVAL_RO", "ATOMIC.Eval_Ro", None),
    row(Served::EvalShaRo, c"EVALSHA_RO", "ATOMIC.EvalSha_Ro", None),
    row(Served::Script, c"SCRIPT", "ATOMIC.Script", None),
    row(Served::FCall, c"FCALL", "ATOMIC.FCall", Some("ATOMIC.FCALL_Ro")),
    row(Served::FCallRo, c"FCALL_RO", "ATOMIC.FCall_Ro", None),
    row(Served::Function, c"FUNCTION", "ATOMIC.Function", None),
];

impl Served {
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.command)
    }

    /// The command of this name, ignoring case.
    pub fn named(name: &[u8]) -> Option<Self> {
        ROWS.iter().find(|row| row.name.to_bytes().eq_ignore_ascii_case(name)).map(|row| row.command)
    }

    fn row(self) -> &'static Row {
        let [eval, evalsha, eval_ro, evalsha_ro, script, fcall, fcall_ro, function] = &ROWS;
        match self {
            Self::Eval => eval,
            Self::EvalSha => evalsha,
            Self::EvalRo => eval_ro,
            Self::EvalShaRo => evalsha_ro,
            Self::Script => script,
            Self::FCall => fcall,
            Self::FCallRo => fcall_ro,
            Self::Function => function,
        }
    }

    /// The server's name, for `RM_Call`.
    pub fn c_name(self) -> &'static CStr {
        self.row().name
    }

    /// The server's name.
    pub fn name(self) -> &'static str {
        self.row().original.word()
    }

    /// The server's name as a string of the server.
    pub fn original(self) -> Str<'static> {
        self.row().original.as_str()
    }

    pub fn first_argument(self) -> FirstArgument {
        match self {
            Self::Eval | Self::EvalRo => FirstArgument::Source,
            Self::EvalSha | Self::EvalShaRo => FirstArgument::Digest,
            Self::FCall | Self::FCallRo => FirstArgument::Function,
            Self::Script | Self::Function => FirstArgument::Subcommand,
        }
    }

    /// The command of this module that serves it.
    pub fn stand_in(self) -> &'static StandIn {
        &self.row().stand_in
    }

    /// The read-only command of this module, for a script or function that declares that it writes nothing: the server runs that one
    /// while writes are paused.
    pub fn read_only_stand_in(self) -> Option<&'static StandIn> {
        self.row().read_only.as_ref()
    }
}

/// A command of this module that serves one of the server's.
pub struct StandIn {
    /// The command that the client sent.
    pub command: Served,
    /// The command's name, in a spelling that only the filter uses.
    spelling: Kept,
}

impl StandIn {
    /// The stand-in with exactly this spelling.
    #[inline]
    pub fn by_spelling(name: &[u8]) -> Option<&'static Self> {
        // Clients write a name in one case: this decides for nearly every command of theirs.
        let is_mixed = matches!(name, [b'A'..=b'Z', .., b'a'..=b'z']);
        if is_mixed { Self::find(name) } else { None }
    }

    #[cold]
    fn find(name: &[u8]) -> Option<&'static Self> {
        let mut all = ROWS.iter().flat_map(|row| std::iter::once(&row.stand_in).chain(&row.read_only));
        all.find(|stand_in| stand_in.spelling.word().as_bytes() == name)
    }

    /// Its name.
    pub fn word(&'static self) -> &'static str {
        self.spelling.word()
    }

    /// Its name as a string of the server.
    pub fn name(&'static self) -> Str<'static> {
        self.spelling.as_str()
    }
}

/// A command that runs a script or a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptCommand {
    /// One of this module's.
    Own,
    /// One of the server's, and the name by which this module's engine runs it.
    Servers(&'static str),
}

/// For a command that another command runs for its client, which the filter does not see; `None` if it runs no script and no function.
pub fn script_command(name: &[u8]) -> Option<ScriptCommand> {
    const PREFIX: &[u8] = b"ATOMIC.";
    let of = |name| Served::named(name).filter(|served| served.first_argument() != FirstArgument::Subcommand);
    match name.split_at_checked(PREFIX.len()) {
        Some((prefix, name)) if prefix.eq_ignore_ascii_case(PREFIX) => of(name).map(|_| ScriptCommand::Own),
        _ => of(name).map(|served| ScriptCommand::Servers(served.stand_in().word())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_that_run_scripts_are_script_commands() {
        for (name, expected) in [
            ("eval", Some(ScriptCommand::Servers("ATOMIC.Eval"))),
            ("FCALL_RO", Some(ScriptCommand::Servers("ATOMIC.FCall_Ro"))),
            ("atomic.evalsha", Some(ScriptCommand::Own)),
            ("ATOMIC.FCall", Some(ScriptCommand::Own)),
            ("SCRIPT", None),
            ("ATOMIC.FUNCTION", None),
            ("ATOMIC.", None),
            ("GET", None),
        ] {
            assert_eq!(script_command(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn each_command_has_its_own_stand_ins_in_a_distinct_spelling() {
        for command in Served::all() {
            assert_eq!(command.row().command, command);
            assert_eq!(command.name().as_bytes(), command.c_name().to_bytes());
            for stand_in in std::iter::once(command.stand_in()).chain(command.read_only_stand_in()) {
                assert_eq!(stand_in.command, command);
                let word = stand_in.spelling.word();
                assert!(word.starts_with("ATOMIC.") && word != word.to_uppercase(), "{word}");
                assert!(StandIn::by_spelling(word.as_bytes()).is_some_and(|found| std::ptr::eq(found, stand_in)));
            }
            let ours = command.stand_in().spelling.word().to_uppercase();
            assert_eq!(ours.strip_prefix("ATOMIC."), Some(command.name()));
        }
    }
}
