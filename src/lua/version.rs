//! The version of the server as scripts see it.

/// A version as scripts see it: `7.0.15` and `0x0007000f`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `redis.REDIS_VERSION`
    pub text: String,
    /// `redis.REDIS_VERSION_NUM`
    pub number: u32,
}

/// The versions that scripts see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// The version of Redis, or the one that Valkey is compatible with.
    pub redis: Version,
    /// `redis.VALKEY_VERSION` and its number, on a Valkey.
    pub valkey: Option<Version>,
}
