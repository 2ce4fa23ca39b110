//! The script cache, the scripts that the server's engine runs, and scripts as libraries of the server.

pub mod cache;
pub mod left_to_server;
pub mod library;
