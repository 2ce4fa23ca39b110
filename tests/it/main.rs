//! The integration tests: one binary, real servers. `make test` runs them on every server it finds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness; // the harness itself, on servers without the module
#[allow(dead_code, unused_imports)] // a helper may be here before the first test that needs it
mod support; // real servers, a raw client, replicas as witnesses, transcripts as tests
