//! What the calling user may do.

use std::ffi::c_int;

use redis_module::raw;

use super::module_api::{Ctx, Str, api};

impl Ctx {
    /// Whether the calling user may run a command with these words. A caller without a user (another module, a replication link) may do
    /// everything.
    #[must_use]
    pub fn caller_may(self, words: &[Str<'_>]) -> bool {
        // SAFETY: the context belongs to the running command; an unknown id or a client without a user gives null. Name and user are ours
        // to free.
        unsafe {
            let name = api!(RedisModule_GetClientUserNameById)(self.raw(), self.client_id());
            if name.is_null() {
                return true;
            }
            let user = api!(RedisModule_GetModuleUserFromUserName)(name);
            api!(RedisModule_FreeString)(self.raw(), name);
            // A user that is not in the ACL, but another module's.
            if user.is_null() {
                return false;
            }
            let argv = words.as_ptr().cast_mut().cast::<*mut raw::RedisModuleString>();
            let allowed =
                api!(RedisModule_ACLCheckCommandPermissions)(user, argv, c_int::try_from(words.len()).unwrap_or(c_int::MAX));
            api!(RedisModule_FreeModuleUser)(user);
            allowed == raw::REDISMODULE_OK as c_int
        }
    }
}
