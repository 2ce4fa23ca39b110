//! Drop-in mode: the server's own EVAL, FCALL, SCRIPT and FUNCTION are served by this module's engine.

pub mod admit;
pub mod filter;
pub mod known_users;
pub mod rename;
pub mod serve;
pub mod transactions;
