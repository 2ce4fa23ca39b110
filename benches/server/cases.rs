//! The comparisons, as tables.

use super::scripts::SCRIPTS;
use super::workload::Workload;

/// One row of the report.
pub struct Case {
    /// What is measured, in the reader's words.
    pub name: &'static str,
    /// What it is compared with.
    pub reference_name: &'static str,
    /// The two sides.
    pub subject: Workload,
    /// See `subject`.
    pub reference: Workload,
    /// At most this many times the reference's CPU.
    pub goal: Option<f64>,
}

/// Rows that are read together.
pub struct Group {
    /// The heading.
    pub title: &'static str,
    /// What the rows say, for the report.
    pub about: &'static str,
    /// The rows.
    pub cases: Vec<Case>,
    /// The goal for the geometric mean of all ratios.
    pub mean_goal: Option<f64>,
}

/// Every group, in the order of the report.
pub fn groups() -> Vec<Group> {
    vec![
        Group {
            title: "Native commands and the server's own",
            about: "The first rows have no goal: they show the noise, and what the server itself takes for a read and for a TTL.",
            cases: against_commands(),
            mean_goal: None,
        },
        Group {
            title: "Native commands and the scripts they replace",
            about: "The scripts are those that applications carry with them, run by EVALSHA.",
            cases: against_scripts(),
            mean_goal: Some(0.25),
        },
        Group {
            title: "Scripts on the module's engine and on the server's",
            about: "The same script by ATOMIC.EVALSHA and by EVALSHA.",
            cases: engines(),
            mean_goal: Some(1.0 / 1.2),
        },
    ]
}

const SET: Workload = Workload::new(&[&["SET {k} {a} -> +OK"], &["SET {k} {b} -> +OK"]]).before(&["SET {k} {b}"]);
const SET_PX: Workload = Workload::new(&[&["SET {k} {a} PX 600000 -> +OK"], &["SET {k} {b} PX 600000 -> +OK"]]);
const SET_DEL: Workload = Workload::new(&[&["SET {k} {a} -> +OK", "DEL {k} -> :1"]]);
const SET_DEL_TOKEN: Workload = Workload::new(&[&["SET {k} {t} -> +OK", "DEL {k} -> :1"]]);
const SET_NX_DEL_TOKEN: Workload = Workload::new(&[&["SET {k} {t} NX PX 600000 -> +OK", "DEL {k} -> :1"]]);
const DEL: Workload = Workload::new(&[&["DEL {k} -> :1"]]).refill(&["SET {k} {a}"]);
const GET: Workload = Workload::new(&[&["GET {k} -> $16"]]).before(&["SET {k} {a}"]);
const PEXPIRE: Workload = Workload::new(&[&["PEXPIRE {k} 600000 -> :1"]]).before(&["SET {k} {t} PX 600000"]);

const CAS: Workload =
    Workload::new(&[&["ATOMIC.CAS {k} {a} {b} -> :1"], &["ATOMIC.CAS {k} {b} {a} -> :1"]]).before(&["SET {k} {a}"]);
const CAS_MISMATCH: Workload = Workload::new(&[&["ATOMIC.CAS {k} {b} {a} -> :0"]]).before(&["SET {k} {a}"]);
const CAD: Workload = Workload::new(&[&["ATOMIC.CAD {k} {a} -> :1"]]).refill(&["SET {k} {a}"]);
const SET_CAD: Workload = Workload::new(&[&["SET {k} {a} -> +OK", "ATOMIC.CAD {k} {a} -> :1"]]);

// The first hit costs much, so that the key's TTL outlives the run.
const BUCKET_ALLOW: Workload = Workload::new(&[&["ATOMIC.RATELIMIT {k} BUCKET 1000000 10 1000 -> *6 :1"]])
    .before(&["ATOMIC.RATELIMIT {k} BUCKET 1000000 10 1000 COST 10000"]);
const BUCKET_DENY: Workload = Workload::new(&[&["ATOMIC.RATELIMIT {k} BUCKET 1 1 86400000 -> *6 :0"]])
    .before(&["ATOMIC.RATELIMIT {k} BUCKET 1 1 86400000"]);
const FIXED_ALLOW: Workload = Workload::new(&[&["ATOMIC.RATELIMIT {k} FIXED 1000000 3600000 -> *6 :1"]])
    .before(&["ATOMIC.RATELIMIT {k} FIXED 1000000 3600000"]);
const FIXED_DENY: Workload =
    Workload::new(&[&["ATOMIC.RATELIMIT {k} FIXED 1 3600000 -> *6 :0"]]).before(&["ATOMIC.RATELIMIT {k} FIXED 1 3600000"]);

const LOCK_UNLOCK: Workload = Workload::new(&[&["ATOMIC.LOCK {k} {t} 30000 -> *5 :1", "ATOMIC.UNLOCK {k} {t} -> :0"]]);
const LOCK: Workload = Workload::new(&[&["ATOMIC.LOCK {k} {t} 30000 -> *5 :1"]]).refill(&["DEL {k}"]);
const UNLOCK: Workload = Workload::new(&[&["ATOMIC.UNLOCK {k} {t} -> :0"]]).refill(&["ATOMIC.LOCK {k} {t} 600000"]);
const LOCK_HELD: Workload =
    Workload::new(&[&["ATOMIC.LOCK {k} {t} 30000 -> *5 :0"]]).before(&["ATOMIC.LOCK {k} another-owner 600000"]);
const RENEW: Workload = Workload::new(&[&["ATOMIC.RENEW {k} {t} 600000 -> :600000"]]).before(&["ATOMIC.LOCK {k} {t} 600000"]);

fn case(
    (name, subject): (&'static str, Workload),
    (reference_name, reference): (&'static str, Workload),
    goal: Option<f64>,
) -> Case {
    Case { name, reference_name, subject, reference, goal }
}

fn against_commands() -> Vec<Case> {
    let set = || ("SET", SET);
    let set_del = || ("SET + DEL", SET_DEL);
    vec![
        case(("SET", SET), set(), None),
        case(("GET", GET), set(), None),
        case(("SET PX", SET_PX), set(), None),
        case(("SET NX PX + DEL", SET_NX_DEL_TOKEN), ("SET + DEL", SET_DEL_TOKEN), None),
        case(("CAS", CAS), set(), Some(1.3)),
        case(("CAS, mismatch", CAS_MISMATCH), set(), Some(1.3)),
        case(("SET + CAD", SET_CAD), set_del(), Some(1.3)),
        case(("CAD", CAD), ("DEL", DEL), None),
        case(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), set(), Some(1.3)),
        case(("RATELIMIT BUCKET, deny", BUCKET_DENY), set(), Some(1.0)),
        case(("RATELIMIT FIXED, allow", FIXED_ALLOW), set(), Some(1.3)),
        case(("RATELIMIT FIXED, deny", FIXED_DENY), set(), Some(1.0)),
        case(("LOCK + UNLOCK", LOCK_UNLOCK), ("SET + DEL", SET_DEL_TOKEN), Some(1.3)),
        case(("LOCK, held", LOCK_HELD), set(), None),
        case(("RENEW", RENEW), ("PEXPIRE", PEXPIRE), None),
    ]
}

fn against_scripts() -> Vec<Case> {
    let least = Some(0.4);
    let script = |name| (name, named(name));
    vec![
        case(("CAS", CAS), script("cas"), least),
        case(("CAS", CAS), script("conditional_set"), least),
        case(("CAS, mismatch", CAS_MISMATCH), script("cas, mismatch"), least),
        case(("CAD", CAD), script("conditional_delete"), least),
        case(("LOCK", LOCK), script("lock_acquire"), least),
        case(("LOCK", LOCK), script("acquire_lock_with_info"), least),
        case(("LOCK, held", LOCK_HELD), script("acquire_lock_with_info, held"), least),
        case(("UNLOCK", UNLOCK), script("lock_release"), least),
        case(("UNLOCK", UNLOCK), script("release_lock"), least),
        case(("RENEW", RENEW), script("extend_lock"), least),
        case(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), script("leaky_bucket"), least),
        case(("RATELIMIT BUCKET, deny", BUCKET_DENY), script("leaky_bucket, deny"), least),
        case(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), script("token_bucket"), least),
        case(("RATELIMIT BUCKET, deny", BUCKET_DENY), script("token_bucket, deny"), least),
        case(("RATELIMIT FIXED, allow", FIXED_ALLOW), script("fixed_window"), least),
        case(("RATELIMIT FIXED, deny", FIXED_DENY), script("fixed_window, deny"), least),
        case(("RATELIMIT FIXED, allow", FIXED_ALLOW), script("rate_limiter"), least),
        case(("RATELIMIT FIXED, deny", FIXED_DENY), script("rate_limiter, deny"), least),
        case(("RATELIMIT FIXED, allow", FIXED_ALLOW), script("count_and_expire"), least),
    ]
}

/// The script workload of that name.
fn named(name: &str) -> Workload {
    let found = SCRIPTS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no script workload is called {name:?}")).1
}

fn engines() -> Vec<Case> {
    let both = |&(name, script): &(&'static str, Workload)| {
        case((name, script.on_our_engine()), ("EVALSHA", script), Some(if name.starts_with("empty") { 1.0 / 1.6 } else { 1.0 }))
    };
    SCRIPTS.iter().map(both).collect()
}
