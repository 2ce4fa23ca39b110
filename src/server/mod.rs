//! The server as this module sees it. This layer wraps the C API and knows nothing above it.

pub mod acl;
pub mod args;
pub mod blocked;
pub mod call;
pub mod clock;
pub mod cluster;
pub mod command_filter;
pub mod events;
pub mod expirations;
pub mod in_place;
pub mod kept;
pub mod key;
pub mod module_api;
pub mod open_keys;
pub mod readers;
pub mod reply;
pub mod score_range;
pub mod slots;
pub mod spec;
pub mod state;
pub mod thread;
pub mod timer;
