//! The counted scripts.

use super::super::workload::Workload;

pub struct Script {
    pub title: &'static str,
    /// Its placeholder in the workload.
    pub name: &'static str,
    pub source: &'static str,
    pub workload: Workload,
}

pub const fn script(title: &'static str, name: &'static str, source: &'static str, workload: Workload) -> Script {
    Script { title, name, source, workload }
}

/// The sum of ten times the same call.
macro_rules! ten_calls {
    ($call:expr) => {
        concat!("local sum = 0 for i = 1, 10 do sum = sum + ", $call, " end return sum")
    };
}

pub const SCRIPTS: &[Script] = &[
    script("return 1", "return_1", "return 1", Workload::new(&[&["EVALSHA {return_1} 1 {k} -> :1"]])),
    script(
        "one GET",
        "one_get",
        "return redis.call('GET', KEYS[1])",
        Workload::new(&[&["EVALSHA {one_get} 1 {k} -> $16"]]).before(&["SET {k} {a}"]),
    ),
    script("one SET", "set", "return redis.call('SET', KEYS[1], ARGV[1])", Workload::new(&[&["EVALSHA {set} 1 {k} {a} -> +OK"]])),
    script(
        "GET + SET",
        "get_set",
        "local old = redis.call('GET', KEYS[1]) redis.call('SET', KEYS[1], ARGV[1]) return old",
        Workload::new(&[&["EVALSHA {get_set} 1 {k} {b} -> $16"]]).before(&["SET {k} {b}"]),
    ),
    script(
        "HGET + HSET",
        "hget_hset",
        "local old = redis.call('HGET', KEYS[1], 'f') redis.call('HSET', KEYS[1], 'f', ARGV[1]) return old",
        Workload::new(&[&["EVALSHA {hget_hset} 1 {k} {b} -> $16"]]).before(&["HSET {k} f {b}"]),
    ),
    script(
        "10 GETs",
        "ten_gets",
        ten_calls!("redis.call('GET', KEYS[1])"),
        Workload::new(&[&["EVALSHA {ten_gets} 1 {k} -> :10"]]).before(&["SET {k} 1"]),
    ),
    script(
        "10 HGETs",
        "ten_hgets",
        ten_calls!("redis.call('HGET', KEYS[1], 'f')"),
        Workload::new(&[&["EVALSHA {ten_hgets} 1 {k} -> :10"]]).before(&["HSET {k} f 1"]),
    ),
    script(
        "redis.pcall that fails",
        "redis_pcall",
        "if redis.pcall('INCR', KEYS[1]).err then return 1 end return 0",
        Workload::new(&[&["EVALSHA {redis_pcall} 1 {k} -> :1"]]).before(&["SET {k} {a}"]),
    ),
    script(
        "pcall(redis.call) that fails",
        "pcall",
        "if pcall(redis.call, 'INCR', KEYS[1]) then return 0 end return 1",
        Workload::new(&[&["EVALSHA {pcall} 1 {k} -> :1"]]).before(&["SET {k} {a}"]),
    ),
    script("error()", "error", "error('no')", Workload::new(&[&["EVALSHA {error} 1 {k} -> -..."]])),
    script(
        "PUBLISH",
        "publish",
        "return redis.call('PUBLISH', KEYS[1], ARGV[1])",
        Workload::new(&[&["EVALSHA {publish} 1 {k} {a} -> :0"]]),
    ),
    script(
        "RPUSH of 100 values + DEL",
        "rpush",
        "local values = {} for i = 1, 100 do values[i] = i end return redis.call('RPUSH', KEYS[1], unpack(values))",
        Workload::new(&[&["EVALSHA {rpush} 1 {k} -> :100", "DEL {k} -> :1"]]),
    ),
];
