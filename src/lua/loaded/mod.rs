//! Code that runs once and stays: function libraries and the files of scripted commands.

pub mod command_files;
pub mod declaration;
pub mod functions;
pub mod resident;
