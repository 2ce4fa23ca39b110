//! The commands that a dry run may call: called without replication, they send nothing to the replicas and the AOF.
//!
//! `tests/it/script/dry_run.rs` runs each command of each tested server and compares the stream. What is not here is refused: HEXPIRE of a
//! past time, for one, sends an HDEL that no one asked for.

use crate::server::args::is;

#[rustfmt::skip]
const QUIET: &[&str] = &[
    "append", "bitfield", "bitop", "blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin", "copy", "decr",
    "decrby", "del", "delex", "delifeq", "expire", "expireat", "geoadd", "georadius", "georadiusbymember", "geosearchstore", "getdel",
    "getex", "getset", "hdel", "hgetdel", "hincrby", "hincrbyfloat", "hmset", "hpersist", "hset", "hsetnx", "incr", "incrby",
    "incrbyfloat", "linsert", "lmove", "lmpop", "lpop", "lpush", "lpushx", "lrem", "lset", "ltrim", "move", "mset", "msetex", "msetnx",
    "persist", "pexpire", "pexpireat", "pfadd", "pfcount", "pfmerge", "psetex", "rename", "renamenx", "restore", "rpop", "rpoplpush",
    "rpush", "rpushx", "sadd", "sdiffstore", "set", "setbit", "setex", "setnx", "setrange", "sinterstore", "smove", "sort", "spop", "srem",
    "sunionstore", "unlink", "xack", "xackdel", "xadd", "xautoclaim", "xcfgset", "xclaim", "xdel", "xdelex", "xgroup", "xreadgroup",
    "xsetid", "xtrim", "zadd", "zdiffstore", "zincrby", "zinterstore", "zmpop", "zpopmax", "zpopmin", "zrangestore", "zrem",
    "zremrangebylex", "zremrangebyrank", "zremrangebyscore", "zunionstore",
];

/// Whether the command is one of them. Those of this module are: the server withholds what they replicate.
pub(super) fn is_quiet(name: &[u8]) -> bool {
    QUIET.iter().any(|quiet| is(name, quiet))
}
