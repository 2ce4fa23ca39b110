//! The counted rows, as tables.

use super::super::commands::*;
use super::super::workload::Workload;
use super::scripts::SCRIPTS;

pub struct Case {
    pub name: &'static str,
    pub ours: Workload,
    pub floor: Option<Workload>,
    pub compared_with: &'static str,
    pub compared: Workload,
    /// A command that a server answers with an error if it lacks the other side.
    pub needs: Option<&'static [&'static str]>,
}

/// The rows of one section.
pub struct Group {
    pub title: &'static str,
    /// The introduction of the section.
    pub about: &'static str,
    pub cases: Vec<Case>,
}

/// Every group, in the order of the page.
pub fn groups() -> Vec<Group> {
    vec![
        Group {
            title: "Commands",
            about: "The floor module has the same command in C, as the shortest correct sequence of API calls. It has no ATOMIC.IDEM.",
            cases: commands(),
        },
        Group {
            title: "Scripts",
            about: "The same script, run with ATOMIC.EVALSHA and with EVALSHA.",
            cases: SCRIPTS
                .iter()
                .map(|script| case((script.title, script.workload.on_our_engine()), ("EVALSHA", script.workload)))
                .collect(),
        },
    ]
}

fn case((name, ours): (&'static str, Workload), (compared_with, compared): (&'static str, Workload)) -> Case {
    Case { name, ours, floor: None, compared_with, compared, needs: None }
}

/// A command that the floor module has, too.
fn command(ours: (&'static str, Workload), compared: (&'static str, Workload)) -> Case {
    Case { floor: Some(ours.1.on_the_floor()), ..case(ours, compared) }
}

fn commands() -> Vec<Case> {
    let set = || ("SET", SET);
    let set_px = || ("SET PX", SET_PX);
    let set_ifeq =
        Case { needs: Some(&["SET", "key", "value", "IFEQ", "other"]), ..command(("CAS", CAS), ("SET IFEQ", SERVERS_IFEQ)) };
    vec![
        command(("CAS", CAS), set()),
        set_ifeq,
        command(("CAS, mismatch", CAS_MISMATCH), set()),
        command(("SET + CAD", SET_CAD), ("SET + DEL", SET_DEL)),
        command(("SET IFEQ", SET_IFEQ), set()),
        command(("INCRBY", COUNT), ("INCRBY", INCRBY)),
        command(("HCAS", HCAS), ("HSET", HSET)),
        command(("HINCRBY", COUNT_FIELD), ("HINCRBY", HINCRBY)),
        command(("GETORSET, found", GETORSET), ("GET", GET)),
        command(("ONCE, seen", ONCE_SEEN), ("SET NX PX, seen", SET_NX_PX_SEEN)),
        command(("PUSH, full", PUSH), ("RPUSH + LPOP", RPUSH_LPOP)),
        command(("RPUSH + POP", RPUSH_POP), ("RPUSH + LPOP", RPUSH_LPOP_ONE)),
        command(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), set_px()),
        command(("RATELIMIT BUCKET, deny", BUCKET_DENY), set()),
        command(("RATELIMIT FIXED, allow", FIXED_ALLOW), set_px()),
        command(("RATELIMIT SLIDING, allow", SLIDING_ALLOW), set_px()),
        command(("LOCK + UNLOCK", LOCK_UNLOCK), ("SET NX PX + DEL", SET_NX_DEL_TOKEN)),
        command(("LOCKRENEW", LOCKRENEW), ("PEXPIRE", PEXPIRE)),
        command(("SEMACQUIRE + SEMRELEASE", SEM), ("ZADD + ZREM", ZADD_ZREM)),
        command(("TRANSFER", TRANSFER), ("DECRBY + INCRBY", DECRBY_INCRBY)),
        case(("IDEM SET + DEL", IDEM_DEL), ("SET + SET PX + DEL", SET_SET_PX_DEL)),
        command(("ZADD + ZPOPDUE", ZADD_ZPOPDUE), ("ZADD + ZPOPMIN", ZADD_ZPOPMIN)),
    ]
}

pub const SERVERS_IFEQ: Workload =
    Workload::new(&[&["SET {k} {b} IFEQ {a} -> +OK"], &["SET {k} {a} IFEQ {b} -> +OK"]]).before(&["SET {k} {a}"]);
const SET_IFEQ: Workload =
    Workload::new(&[&["ATOMIC.SET {k} {b} IFEQ {a} -> :1"], &["ATOMIC.SET {k} {a} IFEQ {b} -> :1"]]).before(&["SET {k} {a}"]);
// One element stays, so that the list does.
const RPUSH_POP: Workload =
    Workload::new(&[&["RPUSH {k} {a} -> :2", "ATOMIC.POP {k} LEFT -> *1 $16"]]).before(&["RPUSH {k} {a}"]);
const RPUSH_LPOP_ONE: Workload = Workload::new(&[&["RPUSH {k} {a} -> :2", "LPOP {k} -> $16"]]).before(&["RPUSH {k} {a}"]);
const IDEM_DEL: Workload = Workload::new(&[&["ATOMIC.IDEM {k} 600000 SET {k}:2 {a} -> *2 :0 +OK", "DEL {k} -> :1"]]);
const SET_SET_PX_DEL: Workload = Workload::new(&[&["SET {k}:2 {a} -> +OK", "SET {k} {a} PX 600000 -> +OK", "DEL {k} -> :1"]]);
const ZADD_ZPOPDUE: Workload = Workload::new(&[&["ZADD {k} 1700000000000 {a} -> :1", "ATOMIC.ZPOPDUE {k} -> *2 $16"]]);
const ZADD_ZPOPMIN: Workload = Workload::new(&[&["ZADD {k} 1700000000000 {a} -> :1", "ZPOPMIN {k} -> *2 $16"]]);
