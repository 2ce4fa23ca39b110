//! The port through which a script reaches the server, and through which its result reaches the client.
//!
//! The engine knows these two traits and nothing of the module API; `commands/eval.rs` implements them on a real server, the
//! unit tests on a fake one. Neither trait may call back into the engine.

/// Severity of a `redis.log` line, as the server names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// `redis.LOG_DEBUG`
    Debug,
    /// `redis.LOG_VERBOSE`
    Verbose,
    /// `redis.LOG_NOTICE`
    Notice,
    /// `redis.LOG_WARNING`
    Warning,
}

/// What a running script may ask of the server.
pub trait Port {
    /// Runs one command as the calling user, in script mode, and replicates its effect. Returns the reply's RESP2 protocol
    /// text: always one complete, well-formed reply, an error reply included. The text stays valid until the next call.
    fn call(&mut self, argv: &[&[u8]]) -> &[u8];

    /// How many commands that may write have been applied by this run so far.
    fn writes(&self) -> u64;

    /// Writes one line into the server's log.
    fn log(&mut self, level: LogLevel, message: &[u8]);
}

/// Where the value that a script returns is written, in the order of the RESP protocol: an aggregate's header, then its
/// elements. A RESP2 client gets the server's own down-conversion of the RESP3 types.
pub trait ReplySink {
    /// An integer.
    fn integer(&mut self, value: i64);
    /// A bulk string.
    fn bulk(&mut self, value: &[u8]);
    /// A status reply. The text is rendered to printable ASCII.
    fn status(&mut self, value: &[u8]);
    /// An error reply. The text starts with its code and is rendered to printable ASCII.
    fn error(&mut self, value: &[u8]);
    /// The null of the client's protocol.
    fn null(&mut self);
    /// The head of an array; `len` replies follow.
    fn array(&mut self, len: usize);
    /// The head of a map; `len` pairs of replies follow.
    fn map(&mut self, len: usize);
    /// The head of a set; `len` replies follow.
    fn set(&mut self, len: usize);
    /// A double.
    fn double(&mut self, value: f64);
    /// A big number, as its digits.
    fn big_number(&mut self, digits: &[u8]);
    /// A verbatim string with its three-letter format.
    fn verbatim(&mut self, format: &[u8], value: &[u8]);
}
