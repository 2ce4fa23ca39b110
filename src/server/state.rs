//! What the server says about itself and about the caller.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use redis_module::raw;

use super::key;
use super::module_api::{Ctx, api};

/// The state of the server and of the command that runs, as one set of flags. Asking costs: the server works its memory limit out.
#[derive(Debug, Clone, Copy)]
pub struct Flags(u32);

impl Flags {
    fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    /// Whether a script of the server's own engine runs.
    #[must_use]
    pub fn is_in_script(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LUA)
    }

    /// Whether the command may not block its client: in MULTI, in a script, for a caller that cannot wait.
    #[must_use]
    pub fn deny_blocking(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_MULTI | raw::REDISMODULE_CTX_FLAGS_LUA | raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING)
    }

    /// The same, for what a script does.
    #[must_use]
    pub fn of_script(self) -> Self {
        Self(self.0 | raw::REDISMODULE_CTX_FLAGS_LUA)
    }

    /// Whether the command was called by a script or a module, and not by its client. Valkey 9 gives such a call the id of the client.
    #[must_use]
    pub fn is_nested(self) -> bool {
        let in_exec = self.has(raw::REDISMODULE_CTX_FLAGS_MULTI);
        self.has(raw::REDISMODULE_CTX_FLAGS_LUA) || (self.has(raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING) && !in_exec)
    }

    /// Whether the command is one of a transaction that runs.
    #[must_use]
    pub fn is_in_exec(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_MULTI)
    }

    /// Whether the data is another server's.
    #[must_use]
    pub fn is_replica(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_SLAVE)
    }

    /// Whether the data is being loaded.
    #[must_use]
    pub fn is_loading(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LOADING | raw::REDISMODULE_CTX_FLAGS_ASYNC_LOADING)
    }

    /// Whether the server is a replica that takes writes from its master only.
    #[must_use]
    pub fn is_read_only_replica(self) -> bool {
        self.is_replica() && self.has(raw::REDISMODULE_CTX_FLAGS_READONLY)
    }

    /// Whether the server is a replica without a link to its master.
    #[must_use]
    pub fn is_stale(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_REPLICA_IS_STALE)
    }

    /// Whether the server uses more memory than it may.
    #[must_use]
    pub fn is_out_of_memory(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_OOM)
    }

    /// Whether the server is a node of a cluster.
    #[must_use]
    pub fn is_cluster(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_CLUSTER)
    }
}

/// When a write that no client asked for may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Now.
    Now,
    /// Not yet: clients are paused, for a failover or a shutdown perhaps, a script is in the middle of its run, or data is being loaded. The server aborts on a write that
    /// would reach its replicas meanwhile.
    Later,
    /// The data is another server's.
    Never,
}

/// A script is in the middle of its run, and the server sees to other clients meanwhile: see [`Ctx::yield_to_clients`].
static YIELDING: AtomicBool = AtomicBool::new(false);

impl Ctx {
    /// Lets the server answer its other clients, once the command that runs has taken `busy-reply-threshold`: nearly everything they
    /// ask is refused with `BUSY` and `why`. The server aborts unless the command is its client's own, outside of MULTI and of scripts.
    pub fn yield_to_clients(self, why: &CStr) {
        const CLIENTS: c_int = raw::REDISMODULE_YIELD_FLAG_CLIENTS as c_int;
        key::assert_none_is_open();
        YIELDING.store(true, Ordering::Relaxed);
        // SAFETY: the context belongs to the running command; the server uses the text during this call only.
        unsafe { api!(RedisModule_Yield)(self.raw(), CLIENTS, why.as_ptr()) };
        YIELDING.store(false, Ordering::Relaxed);
    }

    /// See [`Flags`].
    #[must_use]
    pub fn flags(self) -> Flags {
        // SAFETY: the context belongs to the running callback, here and below.
        Flags(unsafe { api!(RedisModule_GetContextFlags)(self.raw()) }.unsigned_abs())
    }

    /// See [`Moment`].
    #[must_use]
    pub fn moment(self) -> Moment {
        let flags = self.flags();
        if flags.is_replica() {
            Moment::Never
        } else if flags.is_loading() || YIELDING.load(Ordering::Relaxed) || self.writes_are_paused() {
            Moment::Later
        } else {
            Moment::Now
        }
    }

    /// Whether clients are paused, or their writes at least.
    #[must_use]
    pub fn writes_are_paused(self) -> bool {
        // SAFETY: takes nothing and reads the server's state.
        unsafe { api!(RedisModule_AvoidReplicaTraffic)() != 0 }
    }

    /// The number of the selected database.
    #[must_use]
    pub fn db(self) -> c_int {
        // SAFETY: see `flags`.
        unsafe { api!(RedisModule_GetSelectedDb)(self.raw()) }
    }

    /// Selects a database; its number came from [`Ctx::db`] or an event.
    pub fn select(self, db: c_int) {
        // SAFETY: see `flags`.
        unsafe { api!(RedisModule_SelectDb)(self.raw(), db) };
    }

    /// The id of the client whose command or callback this is.
    #[must_use]
    pub fn client_id(self) -> u64 {
        // SAFETY: see `flags`.
        unsafe { api!(RedisModule_GetClientId)(self.raw()) }
    }

    /// Whether that client is a connection, and not one that the server made up for a script or a module.
    #[must_use]
    pub fn has_connection(self) -> bool {
        self.is_connected(self.client_id())
    }

    /// Whether there is a connection with this id.
    #[must_use]
    pub fn is_connected(self, client: u64) -> bool {
        // SAFETY: a null asks only whether the id is that of a connection.
        let known = unsafe { api!(RedisModule_GetClientInfoById)(std::ptr::null_mut(), client) };
        known == raw::REDISMODULE_OK as c_int
    }

    /// Whether what this connection has sent may run later: it is in a transaction, or held.
    #[must_use]
    pub fn waits_to_run(self, client: u64) -> bool {
        self.client_is(client, raw::REDISMODULE_CLIENTINFO_FLAG_MULTI | raw::REDISMODULE_CLIENTINFO_FLAG_BLOCKED)
    }

    /// Whether what this connection sends is queued for its EXEC.
    #[must_use]
    pub fn is_in_multi(self, client: u64) -> bool {
        self.client_is(client, raw::REDISMODULE_CLIENTINFO_FLAG_MULTI)
    }

    fn client_is(self, client: u64, flags: u32) -> bool {
        // SAFETY: integers, for which zero is a value; the version is the one that every server fills in.
        unsafe {
            let mut info: raw::RedisModuleClientInfoV1 = std::mem::zeroed();
            info.version = 1;
            let known = api!(RedisModule_GetClientInfoById)((&raw mut info).cast(), client);
            known == raw::REDISMODULE_OK as c_int && info.flags & u64::from(flags) != 0
        }
    }

    /// Whether the server only asks where the keys of the command are.
    #[must_use]
    pub fn asks_for_keys(self) -> bool {
        // SAFETY: see `flags`.
        unsafe { api!(RedisModule_IsKeysPositionRequest)(self.raw()) != 0 }
    }

    /// Answers with the position of a key and what happens to it.
    pub fn key_at(self, position: usize, flags: u32) {
        let (position, flags) = (c_int::try_from(position).unwrap_or(c_int::MAX), c_int::try_from(flags).unwrap_or(0));
        // SAFETY: the server asked for keys; the position is that of an argument.
        unsafe { api!(RedisModule_KeyAtPosWithFlags)(self.raw(), position, flags) };
    }

    /// Closes a connection.
    pub fn close_client(self, client: u64) {
        // SAFETY: see `flags`; an unknown id is refused.
        unsafe { api!(RedisModule_DeauthenticateAndCloseClient)(self.raw(), client) };
    }
}
