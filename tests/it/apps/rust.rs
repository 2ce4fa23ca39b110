//! Client libraries in Rust.
