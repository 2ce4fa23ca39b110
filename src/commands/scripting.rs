//! Temporary.
use crate::error::Result;
use crate::keyspace::module_api::Ctx;
use std::ffi::CStr;
/// x
pub fn start(_ctx: Ctx) -> Result<()> {
    Ok(())
}
/// x
pub fn stop() {}
/// x
pub fn figures() -> Option<Vec<(&'static CStr, u64)>> {
    None
}
