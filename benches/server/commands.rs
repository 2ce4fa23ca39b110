//! The workloads of the native commands and of the server's own.
//!
//! Each is brought to a steady state, as the scripts are, and writes the same as the other side of its row; a denial writes nothing.

use super::workload::Workload;

pub const SET: Workload = Workload::new(&[&["SET {k} {a} -> +OK"], &["SET {k} {b} -> +OK"]]).before(&["SET {k} {b}"]);
pub const SET_PX: Workload = Workload::new(&[&["SET {k} {a} PX 600000 -> +OK"], &["SET {k} {b} PX 600000 -> +OK"]]);
pub const SET_DEL: Workload = Workload::new(&[&["SET {k} {a} -> +OK", "DEL {k} -> :1"]]);
pub const SET_DEL_TOKEN: Workload = Workload::new(&[&["SET {k} {t} -> +OK", "DEL {k} -> :1"]]);
pub const SET_NX_DEL_TOKEN: Workload = Workload::new(&[&["SET {k} {t} NX PX 600000 -> +OK", "DEL {k} -> :1"]]);
pub const DEL: Workload = Workload::new(&[&["DEL {k} -> :1"]]).refill(&["SET {k} {a}"]);
pub const GET: Workload = Workload::new(&[&["GET {k} -> $16"]]).before(&["SET {k} {a}"]);
pub const PEXPIRE: Workload = Workload::new(&[&["PEXPIRE {k} 600000 -> :1"]]).before(&["SET {k} {t} PX 600000"]);

pub const CAS: Workload =
    Workload::new(&[&["ATOMIC.CAS {k} {a} {b} -> :1"], &["ATOMIC.CAS {k} {b} {a} -> :1"]]).before(&["SET {k} {a}"]);
pub const CAS_MISMATCH: Workload = Workload::new(&[&["ATOMIC.CAS {k} {b} {a} -> :0"]]).before(&["SET {k} {a}"]);
pub const CAD: Workload = Workload::new(&[&["ATOMIC.CAD {k} {a} -> :1"]]).refill(&["SET {k} {a}"]);
pub const SET_CAD: Workload = Workload::new(&[&["SET {k} {a} -> +OK", "ATOMIC.CAD {k} {a} -> :1"]]);

// The first hit has a high cost, so that the key does not expire during the run.
pub const BUCKET_ALLOW: Workload = Workload::new(&[&["ATOMIC.RATELIMIT {k} BUCKET 1000000 10 1000 -> *6 :1"]])
    .before(&["ATOMIC.RATELIMIT {k} BUCKET 1000000 10 1000 COST 10000"]);
pub const BUCKET_DENY: Workload = Workload::new(&[&["ATOMIC.RATELIMIT {k} BUCKET 1 1 86400000 -> *6 :0"]])
    .before(&["ATOMIC.RATELIMIT {k} BUCKET 1 1 86400000"]);
// redis-cell's reply begins with 1 if it denies.
pub const THROTTLE_ALLOW: Workload =
    Workload::new(&[&["CL.THROTTLE {k} 1000000 10 1 -> *5 :0"]]).before(&["CL.THROTTLE {k} 1000000 10 1 10000"]);
pub const THROTTLE_DENY: Workload =
    Workload::new(&[&["CL.THROTTLE {k} 0 1 86400 -> *5 :1"]]).before(&["CL.THROTTLE {k} 0 1 86400"]);
pub const FIXED_ALLOW: Workload = Workload::new(&[&["ATOMIC.RATELIMIT {k} FIXED 1000000 3600000 -> *6 :1"]])
    .before(&["ATOMIC.RATELIMIT {k} FIXED 1000000 3600000"]);
pub const FIXED_DENY: Workload =
    Workload::new(&[&["ATOMIC.RATELIMIT {k} FIXED 1 3600000 -> *6 :0"]]).before(&["ATOMIC.RATELIMIT {k} FIXED 1 3600000"]);

pub const LOCK_UNLOCK: Workload = Workload::new(&[&["ATOMIC.LOCK {k} {t} 30000 -> *5 :1", "ATOMIC.UNLOCK {k} {t} -> :0"]]);
pub const LOCK_WAIT_UNLOCK: Workload =
    Workload::new(&[&["ATOMIC.LOCK {k} {t} 30000 WAIT 0 -> *5 :1", "ATOMIC.UNLOCK {k} {t} -> :0"]]);
pub const MLOCK_UNLOCK: Workload = Workload::new(&[&[
    "ATOMIC.MLOCK {t} 30000 {k} {k}:2 -> *3 :1",
    "ATOMIC.UNLOCK {k} {t} -> :0",
    "ATOMIC.UNLOCK {k}:2 {t} -> :0",
]]);
pub const SEM: Workload = Workload::new(&[&["ATOMIC.SEMACQUIRE {k} 10 {t} 30000 -> *5 :1", "ATOMIC.SEMRELEASE {k} {t} -> :0"]]);
pub const LOCK: Workload = Workload::new(&[&["ATOMIC.LOCK {k} {t} 30000 -> *5 :1"]]).refill(&["DEL {k}"]);
pub const UNLOCK: Workload = Workload::new(&[&["ATOMIC.UNLOCK {k} {t} -> :0"]]).refill(&["ATOMIC.LOCK {k} {t} 600000"]);
pub const LOCK_HELD: Workload =
    Workload::new(&[&["ATOMIC.LOCK {k} {t} 30000 -> *5 :0"]]).before(&["ATOMIC.LOCK {k} another-owner 600000"]);
pub const LOCKRENEW: Workload =
    Workload::new(&[&["ATOMIC.LOCKRENEW {k} {t} 600000 -> :600000"]]).before(&["ATOMIC.LOCK {k} {t} 600000"]);

pub const SET_SET_DEL_DEL: Workload =
    Workload::new(&[&["SET {k} {t} -> +OK", "SET {k}:2 {t} -> +OK", "DEL {k} -> :1", "DEL {k}:2 -> :1"]]);
pub const ZADD_ZREM: Workload = Workload::new(&[&["ZADD {k} 1700000000000 {t} -> :1", "ZREM {k} {t} -> :1"]]);

// The value grows from pass to pass.
pub const SET_NUMBER: Workload = Workload::new(&[&["SET {k} {now} -> +OK"]]).before(&["SET {k} 1"]);
pub const SET_SET: Workload =
    Workload::new(&[&["SET {k} {a} -> +OK", "SET {k}:2 {a} -> +OK"], &["SET {k} {b} -> +OK", "SET {k}:2 {b} -> +OK"]]);
pub const SET_PX_SET_PX: Workload = Workload::new(&[&["SET {k} {a} PX 600000 -> +OK", "SET {k}:2 {a} PX 600000 -> +OK"]]);
pub const SET_NX_PX_SEEN: Workload = Workload::new(&[&["SET {k} {b} NX PX 600000 -> $-1"]]).before(&["SET {k} {a} PX 600000"]);
pub const SET_PX_NEW: Workload = Workload::new(&[&["SET {k} {t} PX 600000 -> +OK"]]).refill(&["DEL {k}"]);
pub const HSET: Workload = Workload::new(&[&["HSET {k} f {a} -> :0"], &["HSET {k} f {b} -> :0"]]).before(&["HSET {k} f {b}"]);
pub const HSET_NUMBER: Workload = Workload::new(&[&["HSET {k} score {now} -> :0"]]).before(&["HSET {k} score 1"]);
pub const HMGET: Workload = Workload::new(&[&["HMGET {k} a b c -> *3 $1 1 $-1"]]).before(&["HSET {k} a 1"]);
pub const INCRBY: Workload = Workload::new(&[&["INCRBY {k} 1 -> :1..."]]).before(&["SET {k} 100000"]);
pub const HINCRBY: Workload = Workload::new(&[&["HINCRBY {k} stock 1 -> :1..."]]).before(&["HSET {k} stock 100000"]);
pub const DECRBY_INCRBY: Workload =
    Workload::new(&[&["DECRBY {k} 1 -> :1...", "INCRBY {k}:2 1 -> :1..."]]).before(&["SET {k} 1900000", "SET {k}:2 100000"]);
pub const RPUSH_LPOP: Workload = Workload::new(&[&["RPUSH {k} {a} -> :17", "LPOP {k} -> $16"]]).before(&[FULL_LIST]);
pub const LPOP: Workload = Workload::new(&[&["LPOP {k} -> $16"]]).refill(&["DEL {k}", "RPUSH {k} {a} {a} {a}"]);

const FULL_LIST: &str = "RPUSH {k} {a} {a} {a} {a} {a} {a} {a} {a} {a} {a} {a} {a} {a} {a} {a} {a}";
const TEN_ELEMENTS: &str = "RPUSH {k} 1 2 3 4 5 6 7 8 9 10";

pub const MCAS: Workload = Workload::new(&[
    &["ATOMIC.MCAS {k} {a} {b} {k}:2 {a} {b} -> *2 :1 :-1"],
    &["ATOMIC.MCAS {k} {b} {a} {k}:2 {b} {a} -> *2 :1 :-1"],
])
.before(&["SET {k} {a}", "SET {k}:2 {a}"]);
pub const SET_GT: Workload = Workload::new(&[&["ATOMIC.SET {k} {now} GT -> :1"]]).before(&["SET {k} 1"]);
pub const SET_NX_DENIED: Workload = Workload::new(&[&["ATOMIC.SET {k} {b} NX -> :0"]]).before(&["SET {k} {a}"]);
pub const SET_NX_EX: Workload = Workload::new(&[&["ATOMIC.SET {k} {a} NX EX 60 -> :1"]]).refill(&["DEL {k}"]);
pub const SET_DEL_IFEQ: Workload = Workload::new(&[&["SET {k} {a} -> +OK", "ATOMIC.DEL {k} IFEQ {a} -> :1"]]);
pub const PEXPIRE_IFEQ: Workload =
    Workload::new(&[&["ATOMIC.PEXPIRE {k} 600000 IFEQ {t} -> :1"]]).before(&["SET {k} {t} PX 600000"]);
pub const HCAS: Workload =
    Workload::new(&[&["ATOMIC.HCAS {k} f {a} {b} -> :1"], &["ATOMIC.HCAS {k} f {b} {a} -> :1"]]).before(&["HSET {k} f {a}"]);
pub const HSET_GT: Workload = Workload::new(&[&["ATOMIC.HSET {k} score {now} GT -> *2 :1"]]).before(&["HSET {k} score 1"]);
pub const HSET_GT_DENIED: Workload =
    Workload::new(&[&["ATOMIC.HSET {k} score {now} GT -> *2 :0"]]).before(&["HSET {k} score 9000000000000"]);
pub const HMGETOR: Workload = Workload::new(&[&["ATOMIC.HMGETOR {k} a 0 b 0 c 0 -> *3 $1 1 $1 0"]]).before(&["HSET {k} a 1"]);

pub const SLIDING_ALLOW: Workload = Workload::new(&[&["ATOMIC.RATELIMIT {k} SLIDING 1000000 3600000 -> *6 :1"]])
    .before(&["ATOMIC.RATELIMIT {k} SLIDING 1000000 3600000"]);
// The log holds as many hits as the script `sliding_window` keeps.
pub const SHORT_LOG_ALLOW: Workload =
    Workload::new(&[&["ATOMIC.RATELIMIT {k} LOG 1000 3600000 -> *6 :1"]]).before(&["ATOMIC.RATELIMIT {k} LOG 1000 3600000"; 10]);
// The limit leaves 800 hits for a run.
pub const LOG_ALLOW: Workload =
    Workload::new(&[&["ATOMIC.RATELIMIT {k} LOG 1000 3600000 -> *6 :1"]]).before(&["ATOMIC.RATELIMIT {k} LOG 1000 3600000"; 200]);
pub const TWO_POLICIES_ALLOW: Workload =
    Workload::new(&[&["ATOMIC.RATELIMIT {k} BUCKET 1000000 10 1000 FIXED 1000000 3600000 -> *6 :1"]])
        .before(&["ATOMIC.RATELIMIT {k} BUCKET 1000000 10 1000 FIXED 1000000 3600000 COST 10000"]);
pub const MRATELIMIT_ALLOW: Workload =
    Workload::new(&[&["ATOMIC.MRATELIMIT 2 {k} {k}:2 BUCKET 1000000 10 1000 FIXED 1000000 3600000 -> *6 :1"]])
        .before(&["ATOMIC.MRATELIMIT 2 {k} {k}:2 BUCKET 1000000 10 1000 FIXED 1000000 3600000 COST 10000"]);

pub const COUNT: Workload = Workload::new(&[&["ATOMIC.INCRBY {k} 1 -> *4 :1 :1..."]]).before(&["SET {k} 100000"]);
pub const COUNT_MAX: Workload = Workload::new(&[&["ATOMIC.INCRBY {k} 1 MAX 1000000 -> *4 :1 :1..."]]).before(&["SET {k} 100000"]);
pub const COUNT_BEYOND: Workload =
    Workload::new(&[&["ATOMIC.INCRBY {k} 1 MAX 100000 -> *4 :0 :100000"]]).before(&["SET {k} 100000"]);
pub const COUNT_SATURATE: Workload =
    Workload::new(&[&["ATOMIC.INCRBY {k} 1 MAX 1000000 SATURATE -> *4 :1 :1..."]]).before(&["SET {k} 100000"]);
pub const COUNT_WRAP: Workload =
    Workload::new(&[&["ATOMIC.INCRBY {k} 1 MAX 1000000 WRAP 0 -> *4 :1 :1..."]]).before(&["SET {k} 100000"]);
pub const COUNT_ENX: Workload =
    Workload::new(&[&["ATOMIC.INCRBY {k} 1 EX 3600 ENX -> *4 :1 :1..."]]).before(&["SET {k} 100000 EX 3600"]);
pub const COUNT_FIELD: Workload =
    Workload::new(&[&["ATOMIC.HINCRBY {k} stock 1 -> *4 :1 :1..."]]).before(&["HSET {k} stock 100000"]);
pub const COUNT_FIELD_SATURATE: Workload =
    Workload::new(&[&["ATOMIC.HINCRBY {k} stock 1 MIN 0 MAX 1000000 SATURATE -> *4 :1 :1..."]])
        .before(&["HSET {k} stock 100000"]);
pub const TRANSFER: Workload =
    Workload::new(&[&["ATOMIC.TRANSFER {k} {k}:2 1 -> *3 :1 :1..."]]).before(&["SET {k} 1900000", "SET {k}:2 100000"]);

pub const GETORSET: Workload = Workload::new(&[&["ATOMIC.GETORSET {k} {b} EX 60 -> *2 :0 $16"]]).before(&["SET {k} {a}"]);
pub const PUSH: Workload = Workload::new(&[&["ATOMIC.PUSH {k} RIGHT 16 VALUES {a} -> *2 :16 :1"]]).before(&[FULL_LIST]);
pub const PUSH_REJECT: Workload =
    Workload::new(&[&["ATOMIC.PUSH {k} RIGHT 16 REJECT VALUES {a} -> *2 :16 :1"]]).before(&[FULL_LIST]);
pub const PUSH_TEN: Workload = Workload::new(&[&["ATOMIC.PUSH {k} RIGHT 10 VALUES {a} -> *2 :10 :1"]]).before(&[TEN_ELEMENTS]);
pub const PUSH_PX_RANGE: Workload =
    Workload::new(&[&["ATOMIC.PUSH {k} LEFT 10 PX 3600000 RANGE VALUES {a} -> *3 :10 :1 *10 $16"]]).before(&[TEN_ELEMENTS]);
pub const POP: Workload = Workload::new(&[&["ATOMIC.POP {k} LEFT -> *1 $16"]]).refill(&["DEL {k}", "RPUSH {k} {a} {a} {a}"]);
pub const POP_KEEP: Workload =
    Workload::new(&[&["ATOMIC.POP {k} LEFT KEEP 1 -> *1 $16"]]).refill(&["DEL {k}", "RPUSH {k} {a} {a} {a}"]);

pub const ONCE: Workload = Workload::new(&[&["ATOMIC.ONCE {k} PX 60000 VALUE {a} -> *3 :1"]]).refill(&["DEL {k}"]);
pub const ONCE_SEEN: Workload =
    Workload::new(&[&["ATOMIC.ONCE {k} PX 600000 VALUE {b} -> *3 :0"]]).before(&["SET {k} {a} PX 600000"]);
pub const IDEM_NEW: Workload = Workload::new(&[&["ATOMIC.IDEMBEGIN {k} {t} 600000 -> *3 :1"]]).refill(&["DEL {k}"]);
pub const IDEM_IN_FLIGHT: Workload =
    Workload::new(&[&["ATOMIC.IDEMBEGIN {k} {t} 600000 -> *3 :2"]]).before(&["ATOMIC.IDEMBEGIN {k} {t} 600000"]);

pub const FCALL_EMPTY: Workload = Workload::new(&[&["FCALL empty 1 {k} -> $-1"]]);
pub const FCALL_CAS: Workload =
    Workload::new(&[&["FCALL cas 1 {k} {a} {b} -> :1"], &["FCALL cas 1 {k} {b} {a} -> :1"]]).before(&["SET {k} {a}"]);
pub const FCALL_CAS_MISMATCH: Workload = Workload::new(&[&["FCALL cas 1 {k} {b} {a} -> :0"]]).before(&["SET {k} {a}"]);
pub const INVENTORY: Workload = Workload::new(&[&["INVENTORY.RESERVE {k} {k}:2 1 -> *3 :1"]]).before(&["SET {k} 1000000"]);
pub const PUSH_IF_EXISTS: Workload = Workload::new(&[&["PUSH.IFEXISTS {k} {k}:2 x -> :..."]]).before(&["SET {k} {a}"]);
pub const SUM_KEYS: Workload = Workload::new(&[&["SUM.KEYS 4 {k} {k}:2 {k}:3 {k}:4 -> :10"]]).before(&[
    "SET {k} 1",
    "SET {k}:2 2",
    "SET {k}:3 3",
    "SET {k}:4 4",
]);
