//! Users of the ACL and their permissions.

use std::ffi::c_int;

use redis_module::raw;

use super::module_api::{Ctx, OwnedStr, Str, api};

/// The user on whose behalf a command runs.
pub enum Caller {
    /// No user, so every permission: a replication link, another module, or a closed connection.
    Nobody,
    /// A user that another module made and that the ACL does not know.
    Stranger,
    /// A user of the ACL.
    User(User),
}

/// A user of the ACL. Must not be kept after the running callback.
pub struct User(*mut raw::RedisModuleUser);

/// Whether the server accepts ACL categories for the commands of modules. Redis 7.0 does not.
#[must_use]
pub fn categories_exist() -> bool {
    // SAFETY: the load writes the pointer once, before any callback can run.
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

    /// Whether the caller may read a key.
    #[must_use]
    pub fn may_read(&self, key: Str<'_>) -> bool {
        match self {
            Self::Nobody => true,
            Self::Stranger => false,
            Self::User(user) => user.may_read(key),
        }
    }
}

impl User {
    #[must_use]
    pub fn named(name: Str<'_>) -> Option<Self> {
        // SAFETY: the borrow keeps the name alive; the caller owns the returned user.
        let user = unsafe { api!(RedisModule_GetModuleUserFromUserName)(name.raw()) };
        if user.is_null() { None } else { Some(Self(user)) }
    }

    /// Whether the user may run a command with these words. A command that does not exist is never allowed.
    ///
    /// Most servers read a command's number of keys without checking the number of words (redis/redis#14843), up to a few places past the
    /// last word. So this call pads a short list of words with copies of the name, which is not a number; a long list has its number of
    /// keys inside.
    #[must_use]
    pub fn may(&self, words: &[Str<'_>]) -> bool {
        /// Far beyond the position of any command's number of keys.
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
        // SAFETY: the user is alive until `drop`, and the borrow keeps the words alive. `Str` is a transparent pointer, and the server
        // does not write to the array.
        unsafe { api!(RedisModule_ACLCheckCommandPermissions)(self.0, argv, argc) == raw::REDISMODULE_OK as c_int }
    }

    /// Whether the user may read a key.
    #[must_use]
    pub fn may_read(&self, key: Str<'_>) -> bool {
        self.may_use(key, raw::REDISMODULE_CMD_KEY_ACCESS)
    }

    /// Whether the user may read and change a key.
    #[must_use]
    pub fn may_update(&self, key: Str<'_>) -> bool {
        self.may_use(key, raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE)
    }

    fn may_use(&self, key: Str<'_>, flags: u32) -> bool {
        // SAFETY: the user is alive until `drop`, and the borrow keeps the key name alive.
        unsafe { api!(RedisModule_ACLCheckKeyPermissions)(self.0, key.raw(), flags as c_int) == raw::REDISMODULE_OK as c_int }
    }

    /// What the user's rules plainly allow. `Unknown` if the server does not show the rules (before 7.0.6).
    #[must_use]
    pub fn rights(&self) -> Rights {
        // SAFETY: the load writes the pointer once, before any callback can run.
        let Some(rules) = (unsafe { raw::RedisModule_GetModuleUserACLString }) else { return Rights::Unknown };
        // SAFETY: the user is alive until `drop`.
        let rules = unsafe { rules(self.0) };
        if rules.is_null() {
            return Rights::Unknown;
        }
        // SAFETY: the server made the string for the caller, outside of any context.
        let rules = unsafe { OwnedStr::from_raw(rules) };
        Rights::of_rules(rules.as_str().bytes())
    }
}

/// What the rules of a user plainly allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Every command and every key.
    All,
    /// Commands and keys, each on its own: a command that is allowed is allowed for every key that is.
    Separate,
    Unknown,
}

impl Rights {
    fn of_rules(rules: &[u8]) -> Self {
        let words = || rules.split(|&byte| byte == b' ');
        let has = |wanted: &[u8]| words().any(|word| word == wanted);
        if has(b"~*") && has(b"+@all") && !words().any(|word| matches!(word.first(), Some(b'-' | b'(' | b'%'))) {
            return Self::All;
        }
        // A selector joins commands and keys. A first argument can be allowed on its own.
        if rules.contains(&b'(') || words().any(|word| matches!(word.first(), Some(b'+' | b'-')) && word.contains(&b'|')) {
            return Self::Unknown;
        }
        Self::Separate
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // SAFETY: `named` got this user from the server, and it is freed once. The ACL keeps its own.
        unsafe { api!(RedisModule_FreeModuleUser)(self.0) };
    }
}

/// The object of a denial in the ACL log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    Command,
    Key,
}

impl Ctx {
    /// The user on whose behalf this client's commands run.
    #[must_use]
    pub fn user_of(self, client: u64) -> Caller {
        self.user_name_of(client).map_or(Caller::Nobody, |name| User::named(name.as_str()).map_or(Caller::Stranger, Caller::User))
    }

    /// The name of this client's user.
    #[must_use]
    pub fn user_name_of(self, client: u64) -> Option<OwnedStr> {
        // SAFETY: the context belongs to the running callback and has no automatic memory, so the caller owns a returned name. The server
        // returns null for an unknown client and for one without a user.
        unsafe {
            let name = api!(RedisModule_GetClientUserNameById)(self.raw(), client);
            if name.is_null() { None } else { Some(OwnedStr::from_raw(name)) }
        }
    }

    /// The user on whose behalf the running command runs, also if a script or a module called it.
    #[must_use]
    pub fn caller(self) -> Caller {
        match self.user_of(self.client_id()) {
            // The client is no connection: the server made it for a call.
            Caller::Nobody if !self.has_no_user() => {
                // SAFETY: the context belongs to the running command, whose client has a user, and it has no automatic memory, so this
                // code owns the name.
                let name = unsafe { OwnedStr::from_raw(api!(RedisModule_GetCurrentUserName)(self.raw())) };
                User::named(name.as_str()).map_or(Caller::Stranger, Caller::User)
            }
            caller => caller,
        }
    }

    /// Whether the client of the running command may run a command with these words. Without a user (another module, a replication link)
    /// it may run everything.
    #[must_use]
    pub fn caller_may(self, words: &[Str<'_>]) -> bool {
        self.caller().may(words)
    }

    /// Adds a denial of the running command to the ACL log, under the name of its client.
    pub fn log_denial(self, user: &User, denied: Denied, object: Str<'_>) {
        let reason = match denied {
            Denied::Command => raw::RedisModuleACLLogEntryReason_REDISMODULE_ACL_LOG_CMD,
            Denied::Key => raw::RedisModuleACLLogEntryReason_REDISMODULE_ACL_LOG_KEY,
        };
        // SAFETY: the context belongs to the running command, and the user is alive; the server copies the object.
        unsafe { api!(RedisModule_ACLAddLogEntry)(self.raw(), user.0, object.raw(), reason) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_from_rules() {
        for (rules, rights) in [
            ("~* &* +@all", Rights::All),
            ("~* +@all -eval", Rights::Separate),
            ("%R~* +@all", Rights::Separate),
            ("~a -@all +eval", Rights::Separate),
            ("~a|b -@all +eval", Rights::Separate),
            ("~* +@all (~b -@all +eval)", Rights::Unknown),
            ("~* -@all +eval|x", Rights::Unknown),
            ("~* -@all +script|load +eval", Rights::Unknown),
            ("~a(b +@all", Rights::Unknown),
        ] {
            assert_eq!(Rights::of_rules(rules.as_bytes()), rights, "{rules}");
        }
    }
}
