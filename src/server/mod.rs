//! The server as this module sees it: the C API and nothing else. All `unsafe` of this side is here.

pub mod acl;
pub mod args;
pub mod call;
pub mod clock;
pub mod command_filter;
pub mod events;
pub mod kept;
pub mod key;
pub mod module_api;
pub mod reply;
pub mod slots;
pub mod spec;
pub mod state;
pub mod thread;
