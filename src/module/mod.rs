//! Layer 4: composition. What happens when the server loads and unloads the module, and what it is told about it.

pub mod config;
pub mod events;
mod exports;
pub mod info;
pub mod load;
mod register;
mod required;
pub mod tested;
mod unload;
