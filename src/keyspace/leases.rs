//! The tokens of leases on members of sorted sets: one source for the whole process.

use crate::error::{Error, Result};
use crate::primitives::due::Tokens;
use crate::server::clock;
use crate::server::thread::ServerThread;

static TOKENS: ServerThread<Option<Tokens>> = ServerThread::new(None);

/// Runs a decision that may issue tokens. It must not call the server, which may call back.
pub fn issuing<R>(decide: impl FnOnce(&mut Tokens) -> R) -> Result<R> {
    let mut tokens = TOKENS.try_borrow_mut().ok_or_else(|| Error::Internal("the tokens of leases are in use".to_owned()))?;
    Ok(decide(tokens.get_or_insert_with(|| Tokens::new(clock::system().0))))
}
