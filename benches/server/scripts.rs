//! The scripts and their workloads.
//!
//! `scripts/*.lua` are scripts that applications ship, as published, and two empty ones. Each is brought to a steady state: counters are
//! far below their limits, clocks advance, and keys that a script consumes are restored.

use super::workload::Workload;

/// The library of the measured functions.
pub const LIBRARY: &str = include_str!("scripts/library.lua");

/// The source of every script, by its name in the lines below.
pub const SOURCES: &[(&str, &str)] = &[
    ("acquire_lock_with_info", include_str!("scripts/acquire_lock_with_info.lua")),
    ("atomic_counter", include_str!("scripts/atomic_counter.lua")),
    ("cas", include_str!("scripts/cas.lua")),
    ("check_then_set", include_str!("scripts/check_then_set.lua")),
    ("checked_read", include_str!("scripts/checked_read.lua")),
    ("circular_buffer", include_str!("scripts/circular_buffer.lua")),
    ("compute_fib", include_str!("scripts/compute_fib.lua")),
    ("compute_json", include_str!("scripts/compute_json.lua")),
    ("compute_loops", include_str!("scripts/compute_loops.lua")),
    ("compute_pack", include_str!("scripts/compute_pack.lua")),
    ("compute_sort", include_str!("scripts/compute_sort.lua")),
    ("compute_split", include_str!("scripts/compute_split.lua")),
    ("compute_strings", include_str!("scripts/compute_strings.lua")),
    ("conditional_delete", include_str!("scripts/conditional_delete.lua")),
    ("conditional_set", include_str!("scripts/conditional_set.lua")),
    ("count_and_expire", include_str!("scripts/count_and_expire.lua")),
    ("counter_with_reset", include_str!("scripts/counter_with_reset.lua")),
    ("echo", include_str!("scripts/echo.lua")),
    ("empty", include_str!("scripts/empty.lua")),
    ("extend_lock", include_str!("scripts/extend_lock.lua")),
    ("fixed_window", include_str!("scripts/fixed_window.lua")),
    ("get", include_str!("scripts/get.lua")),
    ("get_or_set", include_str!("scripts/get_or_set.lua")),
    ("hash_get_with_defaults", include_str!("scripts/hash_get_with_defaults.lua")),
    ("hash_incr_with_bounds", include_str!("scripts/hash_incr_with_bounds.lua")),
    ("hash_set_if_greater", include_str!("scripts/hash_set_if_greater.lua")),
    ("increment", include_str!("scripts/increment.lua")),
    ("increment_with_limit", include_str!("scripts/increment_with_limit.lua")),
    ("leaky_bucket", include_str!("scripts/leaky_bucket.lua")),
    ("list_pop_with_min_size", include_str!("scripts/list_pop_with_min_size.lua")),
    ("lock_acquire", include_str!("scripts/lock_acquire.lua")),
    ("lock_release", include_str!("scripts/lock_release.lua")),
    ("pop_due", include_str!("scripts/pop_due.lua")),
    ("push_if_exists", include_str!("scripts/push_if_exists.lua")),
    ("push_trim_expire", include_str!("scripts/push_trim_expire.lua")),
    ("rate_limiter", include_str!("scripts/rate_limiter.lua")),
    ("release_lock", include_str!("scripts/release_lock.lua")),
    ("reserve_inventory", include_str!("scripts/reserve_inventory.lua")),
    ("return_one", include_str!("scripts/return_one.lua")),
    ("set_if_absent_ttl", include_str!("scripts/set_if_absent_ttl.lua")),
    ("set_if_missing", include_str!("scripts/set_if_missing.lua")),
    ("sliding_window", include_str!("scripts/sliding_window.lua")),
    ("sum_keys", include_str!("scripts/sum_keys.lua")),
    ("threshold_counter", include_str!("scripts/threshold_counter.lua")),
    ("token_bucket", include_str!("scripts/token_bucket.lua")),
    ("transfer", include_str!("scripts/transfer.lua")),
];

/// Scripts that only compute: calls, branches and sums, text, tables, codecs.
pub const COMPUTING: &[(&str, Workload)] = &[
    ("recursive calls", Workload::new(&[&["EVALSHA {compute_fib} 1 {k} -> :610"]])),
    ("loop with branches", Workload::new(&[&["EVALSHA {compute_loops} 1 {k} -> :2664666"]])),
    ("text in pieces", Workload::new(&[&["EVALSHA {compute_strings} 1 {k} -> :1692"]])),
    ("words of a text", Workload::new(&[&["EVALSHA {compute_split} 1 {k} -> :4"]])),
    ("sort, with and without comparator", Workload::new(&[&["EVALSHA {compute_sort} 1 {k} -> :2141695744"]])),
    ("cjson, both ways", Workload::new(&[&["EVALSHA {compute_json} 1 {k} -> :1311"]])),
    ("cmsgpack, both ways", Workload::new(&[&["EVALSHA {compute_pack} 1 {k} -> :75"]])),
];

/// About 1 KiB of source that is new to the server each time. Spaces separate words, so the script has none.
macro_rules! new_script {
    () => {
        concat!(
            new_script!(five "if(#KEYS==9)then(redis.call)('GET',KEYS[1]..':part');end;"),
            new_script!(five "if(#KEYS==8)then(redis.call)('SET',KEYS[1],ARGV[1]);end;"),
            new_script!(five "if(#ARGV>9)then(redis.log)(1,tostring(#ARGV-1)..'more');end;"),
            "return'{k}{new}'"
        )
    };
    (five $text:expr) => {
        concat!($text, $text, $text, $text, $text)
    };
}

pub const COMPILING: Workload = Workload::new(&[&[concat!("EVAL ", new_script!(), " 1 {k} -> $21")]]).fills_scripts(10_000);
pub const LOADING: Workload = Workload::new(&[&[concat!("SCRIPT LOAD ", new_script!(), " -> $40")]]).fills_scripts(50_000);

/// A run of every script, and of some on another path.
pub const SCRIPTS: &[(&str, Workload)] = &[
    ("empty", Workload::new(&[&["EVALSHA {empty} 1 {k} -> $-1"]])),
    ("empty, return 1", Workload::new(&[&["EVALSHA {return_one} 1 {k} -> :1"]])),
    ("get", Workload::new(&[&["EVALSHA {get} 1 {k} -> $16"]]).before(&["SET {k} {a}"])),
    (
        "cas",
        Workload::new(&[&["EVALSHA {cas} 1 {k} {a} {b} -> :1"], &["EVALSHA {cas} 1 {k} {b} {a} -> :1"]]).before(&["SET {k} {a}"]),
    ),
    ("cas, mismatch", Workload::new(&[&["EVALSHA {cas} 1 {k} {b} {a} -> :0"]]).before(&["SET {k} {a}"])),
    (
        "conditional_set",
        Workload::new(&[
            &["EVALSHA {conditional_set} 1 {k} {a} {b} -> +OK"],
            &["EVALSHA {conditional_set} 1 {k} {b} {a} -> +OK"],
        ])
        .before(&["SET {k} {a}"]),
    ),
    ("conditional_delete", Workload::new(&[&["EVALSHA {conditional_delete} 1 {k} {a} -> :1"]]).refill(&["SET {k} {a}"])),
    ("lock_acquire", Workload::new(&[&["EVALSHA {lock_acquire} 1 {k} {t} 30 -> :1"]]).refill(&["DEL {k}"])),
    ("lock_release", Workload::new(&[&["EVALSHA {lock_release} 1 {k} {t} -> :1"]]).refill(&["SET {k} {t} PX 600000"])),
    (
        "acquire_lock_with_info",
        Workload::new(&[&["EVALSHA {acquire_lock_with_info} 1 {k} {t} 30000 -> *2 :1"]]).refill(&["DEL {k}"]),
    ),
    (
        "acquire_lock_with_info, held",
        Workload::new(&[&["EVALSHA {acquire_lock_with_info} 1 {k} {t} 30000 -> *2 :0"]])
            .before(&["SET {k} another-owner PX 600000"]),
    ),
    ("release_lock", Workload::new(&[&["EVALSHA {release_lock} 1 {k} {t} -> :1"]]).refill(&["SET {k} {t} PX 600000"])),
    ("extend_lock", Workload::new(&[&["EVALSHA {extend_lock} 1 {k} {t} 600000 -> :1"]]).before(&["SET {k} {t} PX 600000"])),
    ("leaky_bucket", Workload::new(&[&["EVALSHA {leaky_bucket} 1 {k} 1000000 10 {sec} -> :1"]])),
    (
        "leaky_bucket, deny",
        Workload::new(&[&["EVALSHA {leaky_bucket} 1 {k} 1 0.000001 {sec} -> :0"]])
            .before(&["HSET {k} tokens 0 last_refill 1700000000"]),
    ),
    ("token_bucket", Workload::new(&[&["EVALSHA {token_bucket} 1 {k} 1000000 10 1 {now} -> *2 :1"]])),
    (
        "token_bucket, deny",
        Workload::new(&[&["EVALSHA {token_bucket} 1 {k} 1 0.000001 1 {now} -> *2 :0"]])
            .before(&["HSET {k} tokens 0 last_refill 1700000000000"]),
    ),
    (
        "fixed_window",
        Workload::new(&[&["EVALSHA {fixed_window} 1 {k} 1000000 3600 -> :1..."]]).before(&["SET {k} 100000 EX 3600"]),
    ),
    ("fixed_window, deny", Workload::new(&[&["EVALSHA {fixed_window} 1 {k} 1 3600 -> :-1"]]).before(&["SET {k} 100000 EX 3600"])),
    ("rate_limiter", Workload::new(&[&["EVALSHA {rate_limiter} 1 {k} 1000000 3600 -> :1"]]).before(&["SET {k} 100000 EX 3600"])),
    ("rate_limiter, deny", Workload::new(&[&["EVALSHA {rate_limiter} 1 {k} 1 3600 -> :0"]]).before(&["SET {k} 100000 EX 3600"])),
    (
        "count_and_expire",
        Workload::new(&[&["EVALSHA {count_and_expire} 1 {k} 3600 -> :1..."]]).before(&["SET {k} 100000 EX 3600"]),
    ),
    ("sliding_window", Workload::new(&[&["EVALSHA {sliding_window} 1 {k} 10000 1000 {now} -> *2 :1"]])),
    ("set_if_missing", Workload::new(&[&["EVALSHA {set_if_missing} 1 {k} {b} -> $6 EXISTS"]]).before(&["SET {k} {a}"])),
    ("set_if_absent_ttl", Workload::new(&[&["EVALSHA {set_if_absent_ttl} 1 {k} {a} 60 -> :1"]]).refill(&["DEL {k}"])),
    ("check_then_set", Workload::new(&[&["EVALSHA {check_then_set} 1 {k} {b} -> $3 SET"]]).refill(&["DEL {k}"])),
    ("get_or_set", Workload::new(&[&["EVALSHA {get_or_set} 1 {k} {b} 60 -> $16"]]).before(&["SET {k} {a}"])),
    (
        "threshold_counter",
        Workload::new(&[&["EVALSHA {threshold_counter} 1 {k} 1000000 1 -> $6 1..."]]).before(&["SET {k} 100000"]),
    ),
    ("increment", Workload::new(&[&["EVALSHA {increment} 1 {k} -> :1..."]]).before(&["SET {k} 100000"])),
    (
        "increment_with_limit",
        Workload::new(&[&["EVALSHA {increment_with_limit} 1 {k} 1 1000000 -> :1..."]]).before(&["SET {k} 100000"]),
    ),
    (
        "counter_with_reset",
        Workload::new(&[&["EVALSHA {counter_with_reset} 1 {k} 1000000 0 -> :1..."]]).before(&["SET {k} 100000"]),
    ),
    ("atomic_counter", Workload::new(&[&["EVALSHA {atomic_counter} 1 {k} -> :1..."]]).before(&["SET {k} 100000"])),
    ("checked_read", Workload::new(&[&["EVALSHA {checked_read} 1 {k} -> *2 :1 :100001"]]).before(&["SET {k} 100000"])),
    ("transfer", Workload::new(&[&["EVALSHA {transfer} 2 {k} {k}:2 1 -> *3 :1"]]).before(&["SET {k} 1000000", "SET {k}:2 0"])),
    (
        "reserve_inventory",
        Workload::new(&[&["EVALSHA {reserve_inventory} 2 {k} {k}:2 1 order-1 -> $8 RESERVED"]]).before(&["SET {k} 1000000"]),
    ),
    ("echo", Workload::new(&[&["EVALSHA {echo} 2 {k} {k}:2 1 2 -> *4 $12"]])),
    (
        "sum_keys",
        Workload::new(&[&["EVALSHA {sum_keys} 4 {k} {k}:2 {k}:3 {k}:4 -> :10"]]).before(&[
            "SET {k} 1",
            "SET {k}:2 2",
            "SET {k}:3 3",
            "SET {k}:4 4",
        ]),
    ),
    (
        "hash_incr_with_bounds",
        Workload::new(&[&["EVALSHA {hash_incr_with_bounds} 1 {k} stock 1 0 1000000 -> :1..."]])
            .before(&["HSET {k} stock 100000"]),
    ),
    ("hash_set_if_greater", Workload::new(&[&["EVALSHA {hash_set_if_greater} 1 {k} score {now} -> :1"]])),
    (
        "hash_get_with_defaults",
        Workload::new(&[&["EVALSHA {hash_get_with_defaults} 1 {k} a 0 b 0 c 0 -> *3 $1 1 $1 0"]]).before(&["HSET {k} a 1"]),
    ),
    (
        "list_pop_with_min_size",
        Workload::new(&[&["EVALSHA {list_pop_with_min_size} 1 {k} 1 -> $16"]]).refill(&["DEL {k}", "RPUSH {k} {a} {a} {a}"]),
    ),
    (
        "circular_buffer",
        Workload::new(&[&["EVALSHA {circular_buffer} 1 {k} {a} 10 -> :10"]]).before(&["RPUSH {k} 1 2 3 4 5 6 7 8 9 10"]),
    ),
    ("push_if_exists", Workload::new(&[&["EVALSHA {push_if_exists} 2 {k} {k}:2 x -> :1"]]).before(&["SET {k} {a}"])),
    (
        "push_trim_expire",
        Workload::new(&[&["EVALSHA {push_trim_expire} 1 {k} {a} 10 3600 -> *10"]]).before(&["RPUSH {k} 1 2 3 4 5 6 7 8 9 10"]),
    ),
];
