//! Layer 4: composition. What happens when the server loads and unloads the module, and what it is told about it.

pub mod config;
pub mod events;
pub mod info;
pub mod load;
mod register;
mod required;
mod unload;
