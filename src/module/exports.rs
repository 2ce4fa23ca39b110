//! The symbols by which the server finds the module.
//!
//! The macro of the `redis-module` crate would define them. It also registers features that this module does not use, and logs a warning
//! at each load for every API function that the server lacks for them.

use std::ffi::c_int;

use redis_module::{Context, decode_args, raw};

use super::load::{on_load, on_unload};
use super::version::VERSION;

/// Called by the server when it loads the module. Nothing may allocate before the API is known: the allocator is the server's.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn RedisModule_OnLoad(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    const API: c_int = raw::REDISMODULE_APIVER_1 as c_int;
    // SAFETY: the server's context; the name is a constant, which the server copies.
    let known = unsafe { raw::Export_RedisModule_Init(ctx, c"atomic".as_ptr(), VERSION, API) };
    if known != raw::REDISMODULE_OK as c_int {
        return known;
    }
    on_load(&Context::new(ctx), &decode_args(ctx, argv, argc)) as c_int
}

/// Called by the server before it unloads the module.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn RedisModule_OnUnload(ctx: *mut raw::RedisModuleCtx) -> c_int {
    on_unload(&Context::new(ctx)) as c_int
}
