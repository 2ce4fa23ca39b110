//! The state of the server, of the running command and of its client.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use redis_module::raw;

use super::module_api::{Ctx, api};
use super::open_keys;

/// The flags of a context: the state of the server and of the running command. Each request costs the server a check of its memory
/// limit.
#[derive(Debug, Clone, Copy)]
pub struct ContextFlags(u32);

impl ContextFlags {
    fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    /// Whether a script of the server's engine runs.
    #[must_use]
    pub fn is_in_script(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LUA)
    }

    /// Whether the command must not block its client: in a transaction, in a script, or for a client that cannot wait.
    #[must_use]
    pub fn deny_blocking(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_MULTI | raw::REDISMODULE_CTX_FLAGS_LUA | raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING)
    }

    /// The same flags, as a command called by a script would see them.
    #[must_use]
    pub fn of_script(self) -> Self {
        Self(self.0 | raw::REDISMODULE_CTX_FLAGS_LUA)
    }

    /// Whether a script or a module called the command, and not its client. Valkey 9 gives such a call the id of the client.
    #[must_use]
    pub fn is_nested(self) -> bool {
        let in_exec = self.has(raw::REDISMODULE_CTX_FLAGS_MULTI);
        self.has(raw::REDISMODULE_CTX_FLAGS_LUA) || (self.has(raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING) && !in_exec)
    }

    /// Whether EXEC runs the command.
    #[must_use]
    pub fn is_in_exec(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_MULTI)
    }

    #[must_use]
    pub fn is_replica(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_SLAVE)
    }

    /// Whether the server loads its data.
    #[must_use]
    pub fn is_loading(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LOADING | raw::REDISMODULE_CTX_FLAGS_ASYNC_LOADING)
    }

    /// Whether the server is a replica that accepts writes from its primary only.
    #[must_use]
    pub fn is_read_only_replica(self) -> bool {
        self.is_replica() && self.has(raw::REDISMODULE_CTX_FLAGS_READONLY)
    }

    /// Whether the server is a replica without a link to its primary.
    #[must_use]
    pub fn is_stale(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_REPLICA_IS_STALE)
    }

    /// Whether the server uses more memory than `maxmemory`.
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

/// Whether the module may write on its own, without a client's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Now,
    /// Not yet: clients are paused (possibly for a failover or a shutdown), a script is in the middle of its run, or the server loads its
    /// data. The server aborts if a write would reach its replicas in such a moment.
    Later,
    /// The server is a replica.
    Never,
}

/// A script is in the middle of its run and the server answers other clients: see [`Ctx::yield_to_clients`].
static YIELDING: AtomicBool = AtomicBool::new(false);

impl Ctx {
    /// Lets the server answer its other clients once the running command has taken `busy-reply-threshold`; it refuses nearly all of their
    /// commands with `BUSY` and `why`. The server aborts unless the client itself sent the running command, outside a transaction and
    /// a script.
    pub fn yield_to_clients(self, why: &CStr) {
        const CLIENTS: c_int = raw::REDISMODULE_YIELD_FLAG_CLIENTS as c_int;
        open_keys::assert_none();
        YIELDING.store(true, Ordering::Relaxed);
        // SAFETY: the context belongs to the running command; the server uses the text only during this call.
        unsafe { api!(RedisModule_Yield)(self.raw(), CLIENTS, why.as_ptr()) };
        YIELDING.store(false, Ordering::Relaxed);
    }

    /// See [`ContextFlags`].
    #[must_use]
    pub fn flags(self) -> ContextFlags {
        // SAFETY: the context belongs to the running callback.
        ContextFlags(unsafe { api!(RedisModule_GetContextFlags)(self.raw()) }.unsigned_abs())
    }

    /// Whether the server uses more memory than `maxmemory` at this moment, and not only when the command began.
    #[must_use]
    pub fn exceeds_memory(self) -> bool {
        // SAFETY: the function takes no argument and only reads the server's state. Without a limit it returns 0.
        unsafe { api!(RedisModule_GetUsedMemoryRatio)() > 1.0 }
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

    /// Whether CLIENT PAUSE, a failover or a shutdown pauses all clients or their writes.
    #[must_use]
    pub fn writes_are_paused(self) -> bool {
        // SAFETY: the function takes no argument and only reads the server's state.
        unsafe { api!(RedisModule_AvoidReplicaTraffic)() != 0 }
    }

    /// The number of the selected database.
    #[must_use]
    pub fn db(self) -> c_int {
        // SAFETY: the context belongs to the running callback.
        unsafe { api!(RedisModule_GetSelectedDb)(self.raw()) }
    }

    /// Selects a database. Its number comes from [`Ctx::db`] or from an event.
    pub fn select(self, db: c_int) {
        // SAFETY: the context belongs to the running callback; the server checks the number.
        unsafe { api!(RedisModule_SelectDb)(self.raw(), db) };
    }

    /// The id of the client of the running command or callback.
    #[must_use]
    pub fn client_id(self) -> u64 {
        // SAFETY: the context belongs to the running callback.
        unsafe { api!(RedisModule_GetClientId)(self.raw()) }
    }

    /// Whether that client is a connection, and not one that the server made for a script or a module.
    #[must_use]
    pub fn has_connection(self) -> bool {
        self.is_connected(self.client_id())
    }

    /// Whether a connection has this id.
    #[must_use]
    pub fn is_connected(self, client: u64) -> bool {
        // SAFETY: the server accepts null for the information and only looks the id up.
        let known = unsafe { api!(RedisModule_GetClientInfoById)(std::ptr::null_mut(), client) };
        known == raw::REDISMODULE_OK as c_int
    }

    /// Whether a command of this connection may run later: the connection is in a transaction, or blocked.
    #[must_use]
    pub fn waits_to_run(self, client: u64) -> bool {
        self.client_is(client, raw::REDISMODULE_CLIENTINFO_FLAG_MULTI | raw::REDISMODULE_CLIENTINFO_FLAG_BLOCKED)
    }

    /// Whether this connection is in a transaction, so that its commands are queued for EXEC.
    #[must_use]
    pub fn is_in_multi(self, client: u64) -> bool {
        self.client_is(client, raw::REDISMODULE_CLIENTINFO_FLAG_MULTI)
    }

    fn client_is(self, client: u64, flags: u32) -> bool {
        // SAFETY: the structure has only integers, so zero is valid. Every server fills in version 1.
        unsafe {
            let mut info: raw::RedisModuleClientInfoV1 = std::mem::zeroed();
            info.version = 1;
            let known = api!(RedisModule_GetClientInfoById)((&raw mut info).cast(), client);
            known == raw::REDISMODULE_OK as c_int && info.flags & u64::from(flags) != 0
        }
    }

    /// Whether the server only asks for the positions of the command's keys.
    #[must_use]
    pub fn asks_for_keys(self) -> bool {
        // SAFETY: the context belongs to the running command.
        unsafe { api!(RedisModule_IsKeysPositionRequest)(self.raw()) != 0 }
    }

    /// Reports the position of a key and how the command uses it.
    pub fn key_at(self, position: usize, flags: u32) {
        let (position, flags) = (c_int::try_from(position).unwrap_or(c_int::MAX), c_int::try_from(flags).unwrap_or(0));
        // SAFETY: the server asked for the keys of this command, and the position is that of an argument.
        unsafe { api!(RedisModule_KeyAtPosWithFlags)(self.raw(), position, flags) };
    }

    /// Closes a connection.
    pub fn close_client(self, client: u64) {
        // SAFETY: the context belongs to the running callback; the server refuses an unknown id.
        unsafe { api!(RedisModule_DeauthenticateAndCloseClient)(self.raw(), client) };
    }
}
