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

impl Served {
    pub const ALL: [Self; 8] =
        [Self::Eval, Self::EvalSha, Self::EvalRo, Self::EvalShaRo, Self::Script, Self::FCall, Self::FCallRo, Self::Function];

    /// The command of this name, ignoring case.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|served| served.c_name().to_bytes().eq_ignore_ascii_case(name))
    }

    /// The server's name, for `RM_Call`.
    pub fn c_name(self) -> &'static CStr {
        match self {
            Self::Eval => c"EVAL",
            Self::EvalSha => c"EVALSHA",
            Self::EvalRo => c"EVAL_RO",
            Self::EvalShaRo => c"EVALSHA_RO",
            Self::Script => c"SCRIPT",
            Self::FCall => c"FCALL",
            Self::FCallRo => c"FCALL_RO",
            Self::Function => c"FUNCTION",
        }
    }

    /// The server's name.
    pub fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or_default()
    }

    /// The server's name as a string of the server.
    pub fn original(self) -> Str<'static> {
        static ORIGINAL: [Kept; 8] = [
            Kept::new("EVAL"),
            Kept::new("EVALSHA"),
            Kept::new("EVAL_RO"),
            Kept::new("EVALSHA_RO"),
            Kept::new("SCRIPT"),
            Kept::new("FCALL"),
            Kept::new("FCALL_RO"),
            Kept::new("FUNCTION"),
        ];
        let [eval, evalsha, eval_ro, evalsha_ro, script, fcall, fcall_ro, function] = &ORIGINAL;
        let kept = match self {
            Self::Eval => eval,
            Self::EvalSha => evalsha,
            Self::EvalRo => eval_ro,
            Self::EvalShaRo => evalsha_ro,
            Self::Script => script,
            Self::FCall => fcall,
            Self::FCallRo => fcall_ro,
            Self::Function => function,
        };
        kept.as_str()
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
        let [eval, evalsha, eval_ro, evalsha_ro, script, fcall, fcall_ro, function, ..] = &STAND_INS;
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

    /// The read-only command of this module, for a script or function that declares that it writes nothing: the server runs that one
    /// while writes are paused.
    pub fn read_only_stand_in(self) -> Option<&'static StandIn> {
        let [.., eval, evalsha, fcall] = &STAND_INS;
        match self {
            Self::Eval => Some(eval),
            Self::EvalSha => Some(evalsha),
            Self::FCall => Some(fcall),
            Self::EvalRo | Self::EvalShaRo | Self::Script | Self::FCallRo | Self::Function => None,
        }
    }
}

/// A command of this module that serves one of the server's.
pub struct StandIn {
    /// The command that the client sent.
    pub command: Served,
    /// The command's name, in a spelling that only the filter uses.
    spelling: Kept,
}

static STAND_INS: [StandIn; 11] = [
    StandIn { command: Served::Eval, spelling: Kept::new("ATOMIC.Eval") },
    StandIn { command: Served::EvalSha, spelling: Kept::new("ATOMIC.EvalSha") },
    StandIn { command: Served::EvalRo, spelling: Kept::new("ATOMIC.Eval_Ro") },
    StandIn { command: Served::EvalShaRo, spelling: Kept::new("ATOMIC.EvalSha_Ro") },
    StandIn { command: Served::Script, spelling: Kept::new("ATOMIC.Script") },
    StandIn { command: Served::FCall, spelling: Kept::new("ATOMIC.FCall") },
    StandIn { command: Served::FCallRo, spelling: Kept::new("ATOMIC.FCall_Ro") },
    StandIn { command: Served::Function, spelling: Kept::new("ATOMIC.Function") },
    StandIn { command: Served::Eval, spelling: Kept::new("ATOMIC.EVAL_Ro") },
    StandIn { command: Served::EvalSha, spelling: Kept::new("ATOMIC.EVALSHA_Ro") },
    StandIn { command: Served::FCall, spelling: Kept::new("ATOMIC.FCALL_Ro") },
];

impl StandIn {
    /// The stand-in with exactly this spelling.
    pub fn by_spelling(name: &[u8]) -> Option<&'static Self> {
        STAND_INS.iter().find(|stand_in| stand_in.spelling.word().as_bytes() == name)
    }

    /// Its name as a string of the server.
    pub fn name(&'static self) -> Str<'static> {
        self.spelling.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_own_stand_ins_in_a_distinct_spelling() {
        for command in Served::ALL {
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
