//! The load and unload of the module, and its registration with the server.

pub mod config;
pub mod events;
mod exports;
pub mod info;
pub mod load;
mod refusal;
mod register;
mod required;
pub mod tested;
mod unload;
mod version;
