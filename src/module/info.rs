//! The module's section of INFO.

use std::ffi::{CStr, CString, c_int, c_ulonglong};

use redis_module::raw;

use super::version::{BUILD, PACKAGE};
use crate::error::guarded;
use crate::scripting::{self, cluster};
use crate::server::module_api::{Ctx, api};
use crate::waiting;

pub fn register(ctx: Ctx) {
    // SAFETY: the context belongs to the running load.
    unsafe { api!(RedisModule_RegisterInfoFunc)(ctx.raw(), Some(report)) };
}

unsafe extern "C" fn report(info: *mut raw::RedisModuleInfoCtx, _for_crash_report: c_int) {
    let _ = guarded(|| {
        about(info);
        if let Some(figures) = scripting::figures() {
            section(info, "scripts", &figures);
        }
        section(info, "locks", &waiting::figures()?);
        if let Ok(figures) = cluster::figures() {
            section(info, "pulls", &figures);
        }
        Ok(())
    });
}

/// The module's version, in a section with the module's own name.
fn about(info: *mut raw::RedisModuleInfoCtx) {
    open(info, c"");
    for (name, value) in [(c"version", PACKAGE), (c"build", BUILD)] {
        let Ok(value) = CString::new(value) else { continue };
        // SAFETY: the server passed `info` to the running `report`; it copies both strings.
        unsafe { api!(RedisModule_InfoAddFieldCString)(info, name.as_ptr(), value.as_ptr()) };
    }
}

/// The section of a family. The server prefixes each name with the module's, so a figure is `atomic_<family>_<figure>`.
fn section(info: *mut raw::RedisModuleInfoCtx, family: &str, figures: &[(&str, u64)]) {
    let Ok(name) = CString::new(family) else { return };
    open(info, &name);
    for (figure, value) in figures {
        if let Ok(name) = CString::new(format!("{family}_{figure}")) {
            field(info, &name, *value);
        }
    }
}

fn open(info: *mut raw::RedisModuleInfoCtx, section: &CStr) {
    // SAFETY: the server passed `info` to the running `report`; it copies the name.
    unsafe { api!(RedisModule_InfoAddSection)(info, section.as_ptr()) };
}

fn field(info: *mut raw::RedisModuleInfoCtx, name: &CStr, value: u64) {
    // SAFETY: the server passed `info` to the running `report`; it copies the name.
    unsafe { api!(RedisModule_InfoAddFieldULongLong)(info, name.as_ptr(), value as c_ulonglong) };
}
