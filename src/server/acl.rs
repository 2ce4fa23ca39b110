//! What a user may do.

use std::ffi::c_int;

use redis_module::raw;

use super::module_api::{Ctx, OwnedStr, Str, api};

/// For whom a command runs.
pub enum Caller {
    /// For no user, who may do everything: a replication link, another module, a connection that is gone.
    Nobody,
    /// For another module's user, of whom the ACL knows nothing.
    Stranger,
    /// For a user of the ACL.
    User(User),
}

/// A user of the ACL. Not to be kept beyond the callback that is running.
pub struct User(*mut raw::RedisModuleUser);

/// Whether the server takes ACL categories for the commands of modules. Redis 7.0 does not.
#[must_use]
pub fn categories_exist() -> bool {
    // SAFETY: the pointer is written once, at load.
    unsafe { raw::RedisModule_SetCommandACLCategories }.is_some()
}

impl Caller {
    /// Whether the caller may run a command with these words.
    #[must_use]
    pub fn may(&self, words: &[Str<'_>]) -> bool {
        match self {
            Self::Nobody => true,
            Self::Stranger => false,
            Self::User(user) => user.may(words),
        }
    }
}

impl User {
    /// The user with this name.
    #[must_use]
    pub fn named(name: Str<'_>) -> Option<Self> {
        // SAFETY: the name is a string of the server; the user is ours to free.
        let user = unsafe { api!(RedisModule_GetModuleUserFromUserName)(name.raw()) };
        if user.is_null() { None } else { Some(Self(user)) }
    }

    /// Whether the user may run a command with these words. Nobody may run what does not exist.
    ///
    /// Most servers look for a command's number of keys without a look at how many words there are (redis/redis#14843), one or a few
    /// places behind the last: so words stand there, which are no numbers. A command that takes as many words as there are needs none.
    #[must_use]
    pub fn may(&self, words: &[Str<'_>]) -> bool {
        /// Far behind the place of any command's number of keys.
        const FEW: usize = 16;
        let Some(&name) = words.first() else { return false };
        let mut few = [name; 2 * FEW];
        let argv = match few.get_mut(..words.len()) {
            Some(start) if start.len() <= FEW => {
                start.copy_from_slice(words);
                few.as_ptr()
            }
            _ => words.as_ptr(),
        };
        let argv = argv.cast_mut().cast::<*mut raw::RedisModuleString>();
        let argc = c_int::try_from(words.len()).unwrap_or(c_int::MAX);
        // SAFETY: the user is alive until `drop`, and so are the words; `Str` is a transparent pointer, and the server changes none.
        unsafe { api!(RedisModule_ACLCheckCommandPermissions)(self.0, argv, argc) == raw::REDISMODULE_OK as c_int }
    }
}

impl User {
    /// Whether the user may read and change a key.
    #[must_use]
    pub fn may_update(&self, key: Str<'_>) -> bool {
        const FLAGS: u32 = raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE;
        // SAFETY: the user is alive until `drop`, and so is the key.
        unsafe { api!(RedisModule_ACLCheckKeyPermissions)(self.0, key.raw(), FLAGS as c_int) == raw::REDISMODULE_OK as c_int }
    }

    /// Whether the user may run every command with every key, as far as its rules say so plainly. Not where the server does not show them
    /// (before 7.0.6).
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        // SAFETY: the pointer is written once, at load.
        let Some(rules) = (unsafe { raw::RedisModule_GetModuleUserACLString }) else { return false };
        // SAFETY: the user is alive until `drop`; the string is ours to free.
        let rules = unsafe { rules(self.0) };
        if rules.is_null() {
            return false;
        }
        // SAFETY: as above.
        let rules = unsafe { OwnedStr::from_raw(rules) };
        let words = || rules.as_str().bytes().split(|&byte| byte == b' ');
        let has = |wanted: &[u8]| words().any(|word| word == wanted);
        has(b"~*") && has(b"+@all") && !words().any(|word| matches!(word.first(), Some(b'-' | b'(' | b'%')))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // SAFETY: made by `named`, freed once; the user in the ACL stays.
        unsafe { api!(RedisModule_FreeModuleUser)(self.0) };
    }
}

/// What a refusal in the ACL's log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The command.
    Command,
    /// One of its keys.
    Key,
}

impl Ctx {
    /// For whom this client's commands run.
    #[must_use]
    pub fn user_of(self, client: u64) -> Caller {
        self.user_name_of(client).map_or(Caller::Nobody, |name| User::named(name.as_str()).map_or(Caller::Stranger, Caller::User))
    }

    /// The name of this client's user.
    #[must_use]
    pub fn user_name_of(self, client: u64) -> Option<OwnedStr> {
        // SAFETY: the context belongs to the running callback and has no automatic memory; an unknown client or one without a user gives
        // null, and a name is ours to free.
        unsafe {
            let name = api!(RedisModule_GetClientUserNameById)(self.raw(), client);
            if name.is_null() { None } else { Some(OwnedStr::from_raw(name)) }
        }
    }

    /// Whether the calling user may run a command with these words. A caller without a user (another module, a replication link) may do
    /// everything.
    #[must_use]
    pub fn caller_may(self, words: &[Str<'_>]) -> bool {
        self.user_of(self.client_id()).may(words)
    }

    /// Writes a refusal of the running command into the ACL's log, in the name of its client.
    pub fn log_refusal(self, user: &User, what: Refused, object: Str<'_>) {
        let reason = match what {
            Refused::Command => raw::RedisModuleACLLogEntryReason_REDISMODULE_ACL_LOG_CMD,
            Refused::Key => raw::RedisModuleACLLogEntryReason_REDISMODULE_ACL_LOG_KEY,
        };
        // SAFETY: the context belongs to the running command; the server copies the object.
        unsafe { api!(RedisModule_ACLAddLogEntry)(self.raw(), user.0, object.raw(), reason) };
    }
}
