//! The comparisons, as tables.

use super::commands::*;
use super::scripts::{COMPILING, COMPUTING, SCRIPTS};
use super::workload::Workload;

pub struct Case {
    pub name: &'static str,
    pub reference_name: &'static str,
    pub subject: Workload,
    pub reference: Workload,
    /// The highest ratio of the subject's CPU to the reference's.
    pub goal: Option<f64>,
}

/// The rows of one section.
pub struct Group {
    pub title: &'static str,
    /// The introduction of the section.
    pub about: &'static str,
    pub cases: Vec<Case>,
    /// The goal for the geometric mean of all ratios.
    pub mean_goal: Option<f64>,
}

/// Every group, in the order of the page.
pub fn groups() -> Vec<Group> {
    vec![
        Group {
            title: "Native commands and the server's own",
            about: "The first rows have no goal: they show the noise, and the server's own cost of a read and of a TTL.",
            cases: against_commands(),
            mean_goal: None,
        },
        Group {
            title: "Native commands and the scripts they replace",
            about: "The scripts are those that applications ship, run with EVALSHA.",
            cases: against_scripts(),
            mean_goal: Some(0.25),
        },
        Group {
            title: "Scripts on the module's engine and on the server's",
            about: "The same script, run with ATOMIC.EVALSHA and with EVALSHA.",
            cases: engines(),
            mean_goal: Some(1.0 / 1.2),
        },
        Group {
            title: "Scripts that compute",
            about: "The same for scripts that call no command. This engine compiles scripts that run long and often to machine code.",
            cases: computing(),
            mean_goal: Some(0.5),
        },
        Group {
            title: "Drop-in mode",
            about: "The same commands with and without `intercept yes`: the cost of the command filter for other commands, and EVALSHA on\neither engine.",
            cases: dropped_in(),
            mean_goal: None,
        },
        Group {
            title: "Functions and scripted commands",
            about: "ATOMIC.FCALL and FCALL of the same library; the commands of `lua/commands` and EVALSHA of a script that does the same\ntask with fewer checks.",
            cases: named_code(),
            mean_goal: None,
        },
        Group {
            title: "Compilation",
            about: "A script of 1 KiB that the server has not seen before.",
            cases: vec![case((COMPILING.0, COMPILING.1.on_our_engine()), ("EVAL", COMPILING.1), Some(1.5))],
            mean_goal: None,
        },
    ]
}

fn case(
    (name, subject): (&'static str, Workload),
    (reference_name, reference): (&'static str, Workload),
    goal: Option<f64>,
) -> Case {
    Case { name, reference_name, subject, reference, goal }
}

fn against_commands() -> Vec<Case> {
    let set = || ("SET", SET);
    let set_px = || ("SET PX", SET_PX);
    let set_del = || ("SET + DEL", SET_DEL);
    let (goal, denied) = (Some(1.3), Some(1.0));
    vec![
        case(("SET", SET), set(), None),
        case(("GET", GET), set(), None),
        case(("SET PX", SET_PX), set(), None),
        case(("SET NX PX + DEL", SET_NX_DEL_TOKEN), ("SET + DEL", SET_DEL_TOKEN), None),
        case(("CAS", CAS), set(), goal),
        case(("CAS, mismatch", CAS_MISMATCH), set(), goal),
        case(("SET + CAD", SET_CAD), set_del(), goal),
        case(("CAD", CAD), ("DEL", DEL), None),
        case(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), set(), goal),
        case(("RATELIMIT BUCKET, deny", BUCKET_DENY), set(), denied),
        case(("RATELIMIT FIXED, allow", FIXED_ALLOW), set(), goal),
        case(("RATELIMIT FIXED, deny", FIXED_DENY), set(), denied),
        case(("LOCK + UNLOCK", LOCK_UNLOCK), ("SET + DEL", SET_DEL_TOKEN), goal),
        case(("LOCK WAIT, free + UNLOCK", LOCK_WAIT_UNLOCK), ("SET + DEL", SET_DEL_TOKEN), goal),
        case(("MLOCK, two keys + 2 UNLOCK", MLOCK_UNLOCK), ("2 SET + 2 DEL", SET_SET_DEL_DEL), goal),
        case(("SEMACQUIRE + SEMRELEASE", SEM), ("ZADD + ZREM", ZADD_ZREM), goal),
        case(("LOCK, held", LOCK_HELD), set(), None),
        case(("LOCKRENEW", LOCKRENEW), ("PEXPIRE", PEXPIRE), None),
        case(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), set_px(), goal),
        case(("RATELIMIT SLIDING, allow", SLIDING_ALLOW), set_px(), goal),
        case(("RATELIMIT LOG, 10 hits, allow", SHORT_LOG_ALLOW), set_px(), goal),
        case(("RATELIMIT LOG, 200 hits, allow", LOG_ALLOW), set_px(), goal),
        case(("RATELIMIT, two policies, allow", TWO_POLICIES_ALLOW), set_px(), goal),
        case(("MRATELIMIT, two keys, allow", MRATELIMIT_ALLOW), ("SET PX + SET PX", SET_PX_SET_PX), goal),
        case(("MCAS, two keys", MCAS), ("SET + SET", SET_SET), goal),
        case(("SET GT", SET_GT), ("SET", SET_NUMBER), goal),
        case(("SET NX, denied", SET_NX_DENIED), set(), denied),
        case(("SET + DEL IFEQ", SET_DEL_IFEQ), set_del(), goal),
        case(("PEXPIRE IFEQ", PEXPIRE_IFEQ), ("PEXPIRE", PEXPIRE), goal),
        case(("HCAS", HCAS), ("HSET", HSET), goal),
        case(("HSET GT", HSET_GT), ("HSET", HSET_NUMBER), goal),
        case(("HSET GT, denied", HSET_GT_DENIED), set(), denied),
        case(("HMGETOR", HMGETOR), ("HMGET", HMGET), goal),
        case(("INCRBY", COUNT), ("INCRBY", INCRBY), goal),
        case(("INCRBY MAX", COUNT_MAX), ("INCRBY", INCRBY), goal),
        case(("INCRBY MAX, beyond", COUNT_BEYOND), set(), denied),
        case(("HINCRBY", COUNT_FIELD), ("HINCRBY", HINCRBY), goal),
        case(("TRANSFER", TRANSFER), ("DECRBY + INCRBY", DECRBY_INCRBY), goal),
        case(("GETORSET, found", GETORSET), ("GET", GET), goal),
        case(("PUSH, full", PUSH), ("RPUSH + LPOP", RPUSH_LPOP), goal),
        case(("PUSH REJECT, full", PUSH_REJECT), set(), denied),
        case(("POP", POP), ("LPOP", LPOP), goal),
        case(("ONCE, seen", ONCE_SEEN), ("SET NX PX, seen", SET_NX_PX_SEEN), goal),
        case(("IDEMBEGIN, new", IDEM_NEW), ("SET PX", SET_PX_NEW), goal),
        case(("IDEMBEGIN, in flight", IDEM_IN_FLIGHT), set(), denied),
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
        case(("LOCKRENEW", LOCKRENEW), script("extend_lock"), least),
        case(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), script("leaky_bucket"), least),
        case(("RATELIMIT BUCKET, deny", BUCKET_DENY), script("leaky_bucket, deny"), least),
        case(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), script("token_bucket"), least),
        case(("RATELIMIT BUCKET, deny", BUCKET_DENY), script("token_bucket, deny"), least),
        case(("RATELIMIT FIXED, allow", FIXED_ALLOW), script("fixed_window"), least),
        case(("RATELIMIT FIXED, deny", FIXED_DENY), script("fixed_window, deny"), least),
        case(("RATELIMIT FIXED, allow", FIXED_ALLOW), script("rate_limiter"), least),
        case(("RATELIMIT FIXED, deny", FIXED_DENY), script("rate_limiter, deny"), least),
        case(("RATELIMIT FIXED, allow", FIXED_ALLOW), script("count_and_expire"), least),
        case(("RATELIMIT SLIDING, allow", SLIDING_ALLOW), script("sliding_window"), least),
        case(("RATELIMIT LOG, 10 hits, allow", SHORT_LOG_ALLOW), script("sliding_window"), least),
        case(("INCRBY EX ENX", COUNT_ENX), script("count_and_expire"), least),
        case(("INCRBY", COUNT), script("increment"), least),
        case(("INCRBY", COUNT), script("atomic_counter"), least),
        case(("INCRBY MAX SATURATE", COUNT_SATURATE), script("increment_with_limit"), least),
        case(("INCRBY MAX WRAP", COUNT_WRAP), script("counter_with_reset"), least),
        case(("INCRBY MAX WRAP", COUNT_WRAP), script("threshold_counter"), least),
        case(("HINCRBY SATURATE", COUNT_FIELD_SATURATE), script("hash_incr_with_bounds"), least),
        case(("TRANSFER", TRANSFER), script("transfer"), least),
        case(("HSET GT", HSET_GT), script("hash_set_if_greater"), least),
        case(("HMGETOR", HMGETOR), script("hash_get_with_defaults"), least),
        case(("SET NX EX", SET_NX_EX), script("set_if_absent_ttl"), least),
        case(("ONCE", ONCE), script("set_if_absent_ttl"), least),
        case(("GETORSET, found", GETORSET), script("get_or_set"), least),
        case(("PUSH, full", PUSH_TEN), script("circular_buffer"), least),
        case(("PUSH PX RANGE, full", PUSH_PX_RANGE), script("push_trim_expire"), least),
        case(("POP KEEP", POP_KEEP), script("list_pop_with_min_size"), least),
    ]
}

fn dropped_in() -> Vec<Case> {
    let command =
        |name, workload: Workload, goal| case((name, workload.in_drop_in_mode()), ("without drop-in mode", workload), goal);
    let script = |name, known| {
        let workload = named(known);
        case((name, workload.in_drop_in_mode()), ("EVALSHA without drop-in mode", workload), Some(1.0))
    };
    vec![
        command("GET in drop-in mode", GET, None),
        command("SET in drop-in mode", SET, None),
        command("HSET in drop-in mode", HSET, None),
        script("empty script in drop-in mode", "empty"),
        script("cas, mismatch, in drop-in mode", "cas, mismatch"),
    ]
}

fn named_code() -> Vec<Case> {
    let function = |name, workload: Workload| case((name, workload.on_our_engine()), ("FCALL", workload), Some(1.0));
    let command = |name, workload, script| case((name, workload), ("EVALSHA", named(script)), Some(1.0));
    vec![
        function("ATOMIC.FCALL, empty function", FCALL_EMPTY),
        function("ATOMIC.FCALL, compare-and-set", FCALL_CAS),
        function("ATOMIC.FCALL, mismatch", FCALL_CAS_MISMATCH),
        command("INVENTORY.RESERVE", INVENTORY, "reserve_inventory"),
        command("PUSH.IFEXISTS", PUSH_IF_EXISTS, "push_if_exists"),
        command("SUM.KEYS", SUM_KEYS, "sum_keys"),
    ]
}

/// The script workload with this name.
fn named(name: &str) -> Workload {
    let found = SCRIPTS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no script workload is called {name:?}")).1
}

fn computing() -> Vec<Case> {
    COMPUTING.iter().map(|&(name, script)| case((name, script.on_our_engine()), ("EVALSHA", script), Some(1.0))).collect()
}

fn engines() -> Vec<Case> {
    let both = |&(name, script): &(&'static str, Workload)| {
        case((name, script.on_our_engine()), ("EVALSHA", script), Some(if name.starts_with("empty") { 1.0 / 1.6 } else { 1.0 }))
    };
    SCRIPTS.iter().map(both).collect()
}
