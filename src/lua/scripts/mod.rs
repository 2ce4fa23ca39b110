//! The script cache, and scripts as libraries of the server.

pub mod cache;
pub mod left;
pub mod library;
