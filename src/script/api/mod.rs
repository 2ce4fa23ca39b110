//! What scripts can call, one file per namespace. Each is told about in one row of `sandbox`.

pub(super) mod base;
pub(super) mod math;
pub(super) mod redis;
