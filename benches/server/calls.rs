//! Scripts of a few calls, which most scripts in use are: those that `make count` counts, and more.

use super::count::scripts::{SCRIPTS, Script, script};
use super::workload::Workload;

/// All of them.
pub fn scripts() -> impl Iterator<Item = &'static Script> {
    SCRIPTS.iter().chain(MORE)
}

const MORE: &[Script] = &[
    script(
        "one HSET",
        "one_hset",
        "return redis.call('HSET', KEYS[1], 'f', ARGV[1])",
        Workload::new(&[&["EVALSHA {one_hset} 1 {k} {a} -> :0"], &["EVALSHA {one_hset} 1 {k} {b} -> :0"]])
            .before(&["HSET {k} f {b}"]),
    ),
    script(
        "one DEL",
        "one_del",
        "return redis.call('DEL', KEYS[1])",
        Workload::new(&[&["EVALSHA {one_del} 1 {k} -> :1"]]).refill(&["SET {k} {a}"]),
    ),
    script(
        "one DEL, missing",
        "one_del",
        "return redis.call('DEL', KEYS[1])",
        Workload::new(&[&["EVALSHA {one_del} 1 {k} -> :0"]]),
    ),
    script(
        "10 GETs of 1000 bytes",
        "ten_long_gets",
        "local sum = 0 for i = 1, 10 do sum = sum + #redis.call('GET', KEYS[1]) end return sum",
        Workload::new(&[&["EVALSHA {ten_long_gets} 1 {k} -> :10000"]]).before(&["SET {k} {long}"]),
    ),
    script(
        "20 mixed calls",
        "mixed",
        MIXED,
        Workload::new(&[
            &["EVALSHA {mixed} 4 {k} {k}:2 {k}:3 {k}:4 {a} -> :35"],
            &["EVALSHA {mixed} 4 {k} {k}:2 {k}:3 {k}:4 {b} -> :35"],
        ]),
    ),
    script(
        "redis.pcall, WRONGTYPE",
        "probe",
        "if redis.pcall('HGET', KEYS[1], 'f').err then return 1 end return 0",
        Workload::new(&[&["EVALSHA {probe} 1 {k} -> :1"]]).before(&["SET {k} {a}"]),
    ),
    script(
        "pcall(redis.call), WRONGTYPE",
        "raised_probe",
        "if pcall(redis.call, 'HGET', KEYS[1], 'f') then return 0 end return 1",
        Workload::new(&[&["EVALSHA {raised_probe} 1 {k} -> :1"]]).before(&["SET {k} {a}"]),
    ),
    script(
        "redis.call, WRONGTYPE",
        "wrong_type",
        "return redis.call('HGET', KEYS[1], 'f')",
        Workload::new(&[&["EVALSHA {wrong_type} 1 {k} -> -WRONGTYPE..."]]).before(&["SET {k} {a}"]),
    ),
];

const MIXED: &str = "local sum = 0 \
    for i = 1, 2 do \
      redis.call('SET', KEYS[1], ARGV[1]) \
      sum = sum + #redis.call('GET', KEYS[1]) \
      redis.call('HSET', KEYS[2], 'f', i) \
      sum = sum + redis.call('HGET', KEYS[2], 'f') \
      redis.call('INCR', KEYS[3]) \
      redis.call('PEXPIRE', KEYS[3], 600000) \
      redis.call('RPUSH', KEYS[4], ARGV[1]) \
      redis.call('LPOP', KEYS[4]) \
      redis.call('EXISTS', KEYS[1]) \
      redis.call('PTTL', KEYS[3]) \
    end \
    return sum";
