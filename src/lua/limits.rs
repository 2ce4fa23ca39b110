//! The limits of a run, and the reasons why a run is terminated.

/// The limits of the engine. They change between runs only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that scripts may hold in the VM, beyond what the VM itself needs: live values, garbage not collected yet, and the
    /// compiled scripts.
    pub memory_bytes: usize,
    /// Bytes that one run may add to what scripts hold; 0 sets no limit of its own.
    pub run_memory_bytes: usize,
    /// Milliseconds after which a run that has not written yet is terminated; 0 sets no limit.
    pub timeout_ms: u64,
    /// Milliseconds after which any run is terminated; 0 sets no limit.
    pub budget_ms: u64,
    /// Milliseconds after which a run that no client can kill is terminated; 0 sets no limit.
    pub unreachable_budget_ms: u64,
    /// Bytes of the arguments of one command that a script runs.
    pub argument_bytes: usize,
    /// Bytes of one reply. Each value counts as its data and [`VALUE_BYTES`].
    pub reply_bytes: usize,
    /// Scripts that compute much are compiled to machine code. Takes effect with the next VM.
    pub native_code: bool,
    /// Scripts have `getfenv`, `setfenv` and `newproxy`. A change replaces the VM.
    pub deprecated_api: bool,
    /// Levels of nesting in one reply. Deeper values become an error inside the reply, as in Redis. At most [`MAX_DEPTH`].
    pub reply_depth: usize,
}

impl Limits {
    /// Bytes that one run may add at most.
    pub fn memory_of_run(&self) -> usize {
        if self.run_memory_bytes == 0 { self.memory_bytes } else { self.memory_bytes.min(self.run_memory_bytes) }
    }
}

/// Bytes that a value in a reply counts besides its data.
pub const VALUE_BYTES: usize = 16;

/// The deepest reply, whatever the setting: a level costs C stack.
pub const MAX_DEPTH: usize = 1000;

/// Why a run is terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Termination {
    /// The allocator refused growth.
    Memory,
    /// `timeout_ms` passed before the first write.
    Timeout,
    /// `budget_ms` passed.
    Budget,
    /// `unreachable_budget_ms` passed in a run that no client can kill.
    UnreachableBudget,
    /// The code of a library took too long to load.
    Load,
    /// A client killed it, with this command.
    Killed(&'static str),
    /// The arguments of a command are larger than `argument_bytes`.
    Arguments,
    /// The returned value is larger than `reply_bytes`.
    Reply,
    /// Port or sink panicked. The panic has a text of its own.
    Panic,
}

impl Termination {
    /// The text of the error, without its position.
    pub fn text(self, limits: &Limits, writes: u64) -> String {
        let limit = match self {
            Self::Memory => format!("the memory limit of {} bytes", limits.memory_of_run()),
            Self::Timeout => format!("the time limit of {} ms", limits.timeout_ms),
            Self::Budget => format!("the time limit of {} ms", limits.budget_ms),
            Self::UnreachableBudget => {
                format!("the time limit of {} ms for scripts that SCRIPT KILL cannot reach", limits.unreachable_budget_ms)
            }
            Self::Load => return "ERR FUNCTION LOAD timeout".to_owned(),
            Self::Killed(command) => return format!("ERR Script killed by user with {command}."),
            Self::Arguments => format!("the argument limit of {} bytes", limits.argument_bytes),
            Self::Reply => format!("the reply limit of {} bytes", limits.reply_bytes),
            // The panic itself is the error; this is for who asks for a text all the same.
            Self::Panic => return "ERR internal error".to_owned(),
        };
        format!("ERR script exceeded {limit} ({writes} writes were applied)")
    }
}
