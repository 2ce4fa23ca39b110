//! Code that runs once and stays: function libraries and command files.

mod chunk;
pub mod command_files;
pub mod functions;
