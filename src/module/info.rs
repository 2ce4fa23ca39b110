//! The module's section of INFO.

use std::ffi::{CStr, c_int, c_ulonglong};

use redis_module::raw;

use crate::commands::guard::guarded;
use crate::commands::scripting;
use crate::keyspace::module_api::{Ctx, api};

/// Registers the section.
pub fn register(ctx: Ctx) {
    // SAFETY: the context belongs to the load that is running.
    unsafe { api!(RedisModule_RegisterInfoFunc)(ctx.raw(), Some(report)) };
}

unsafe extern "C" fn report(info: *mut raw::RedisModuleInfoCtx, _for_crash_report: c_int) {
    let _ = guarded(|| {
        let Some(figures) = scripting::figures() else { return Ok(()) };
        // SAFETY: the server's context, valid until we return.
        unsafe { api!(RedisModule_InfoAddSection)(info, c"scripts".as_ptr()) };
        for (name, value) in figures {
            field(info, name, value);
        }
        Ok(())
    });
}

fn field(info: *mut raw::RedisModuleInfoCtx, name: &CStr, value: u64) {
    // SAFETY: called from `report` with the server's context; the name is a constant.
    unsafe { api!(RedisModule_InfoAddFieldULongLong)(info, name.as_ptr(), value as c_ulonglong) };
}
