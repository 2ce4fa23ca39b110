//! The comparisons, as tables.

use super::calls;
use super::commands::*;
use super::count::rows::SERVERS_IFEQ;
use super::count::scripts::Script;
use super::scripts::{COMPILING, COMPUTING, LOADING, SCRIPTS};
use super::workload::{Target, Workload};

pub struct Case {
    pub name: &'static str,
    pub reference_name: &'static str,
    pub subject: Workload,
    pub reference: Workload,
    /// The highest ratio of the subject's CPU to the reference's.
    pub goal: Option<f64>,
    /// A command that a server answers with an error if it lacks the reference.
    pub needs: Option<&'static [&'static str]>,
}

/// The rows of one section.
pub struct Group {
    /// The name of the section for `--only`.
    pub name: &'static str,
    pub title: &'static str,
    /// The introduction of the section.
    pub about: &'static str,
    pub cases: Vec<Case>,
    /// The goal for the geometric mean of the ratios of all rows that have a goal.
    pub mean_goal: Option<f64>,
    /// The most rounds; the command line may ask for fewer.
    pub most_rounds: usize,
}

/// The name of the section that needs the peer.
pub const PEER: &str = "peer";

fn group(name: &'static str, title: &'static str, about: &'static str, cases: Vec<Case>) -> Group {
    Group { name, title, about, cases, mean_goal: None, most_rounds: usize::MAX }
}

/// Every group, in the order of the page.
pub fn groups() -> Vec<Group> {
    vec![
        group(
            "commands",
            "Native commands and the server's own",
            "The first rows have no goal: they show the noise, and the server's own cost of a read and of a TTL.",
            against_commands(),
        ),
        group(
            PEER,
            "Native commands and redis-cell",
            "CL.THROTTLE of redis-cell, on the same server program without this module.",
            against_peer(),
        ),
        Group {
            mean_goal: Some(1.0 / 3.5),
            ..group(
                "replaced",
                "Native commands and the scripts they replace",
                "The scripts are those that applications ship, run with EVALSHA.",
                against_scripts(),
            )
        },
        Group {
            mean_goal: Some(1.0 / 1.3),
            ..group(
                "engine",
                "Scripts on the module's engine and on the server's",
                "The same script, run with ATOMIC.EVALSHA and with EVALSHA.",
                engines(),
            )
        },
        group(
            "calls",
            "Scripts of a few calls",
            "The same for scripts that do little but call commands, or fail. \"Mixed\" calls read and write strings, hashes, lists, counters\nand TTLs.",
            calls(Workload::on_our_engine, "EVALSHA"),
        ),
        Group {
            mean_goal: Some(0.4),
            ..group(
                "computing",
                "Scripts that compute",
                "The same for scripts that call no command. This engine compiles scripts that run long and often to machine code.",
                computing(),
            )
        },
        Group {
            mean_goal: Some(1.0 / 1.3),
            ..group(
                "drop-in",
                "Drop-in mode",
                "The same commands with and without `intercept yes`: the cost of the command filter for other commands, and EVALSHA on\neither engine. The mean is that of the scripts.",
                dropped_in(),
            )
        },
        group(
            "drop-in-calls",
            "Scripts of a few calls in drop-in mode",
            "EVALSHA with and without `intercept yes`.",
            calls(Workload::in_drop_in_mode, WITHOUT_DROP_IN),
        ),
        group(
            "restricted",
            "Scripts of a few calls in drop-in mode, with a restricted user",
            "The same for a user whose rights the server must check for each call: `+@all -@dangerous`, and only the keys and channels of the\nbenchmark.",
            restricted(),
        ),
        group(
            "functions",
            "Functions and scripted commands",
            "ATOMIC.FCALL and FCALL of the same library; the commands of `lua/commands` and EVALSHA of a script that does the same\ntask with fewer checks.",
            named_code(),
        ),
        Group {
            most_rounds: 5,
            ..group(
                "compilation",
                "Compilation",
                "Scripts of 1 KiB that the server has not seen before: 10,240 by EVAL, 51,200 by SCRIPT LOAD. A side starts without scripts, and the figure\nis the mean over all of them.",
                compiling(),
            )
        },
    ]
}

const WITHOUT_DROP_IN: &str = "EVALSHA without drop-in mode";

fn case(
    (name, subject): (&'static str, Workload),
    (reference_name, reference): (&'static str, Workload),
    goal: Option<f64>,
) -> Case {
    Case { name, reference_name, subject, reference, goal, needs: None }
}

fn against_commands() -> Vec<Case> {
    let set = || ("SET", SET);
    let set_px = || ("SET PX", SET_PX);
    let set_del = || ("SET + DEL", SET_DEL);
    let (goal, denied) = (Some(1.3), Some(1.8));
    let set_ifeq = Case {
        needs: Some(&["SET", "key", "value", "IFEQ", "other"]),
        ..case(("CAS", CAS), ("SET IFEQ", SERVERS_IFEQ), Some(0.95))
    };
    vec![
        case(("SET", SET), set(), None),
        case(("GET", GET), set(), None),
        case(("SET PX", SET_PX), set(), None),
        case(("SET NX PX + DEL", SET_NX_DEL_TOKEN), ("SET + DEL", SET_DEL_TOKEN), None),
        case(("CAS", CAS), set(), goal),
        set_ifeq,
        case(("CAS, mismatch", CAS_MISMATCH), set(), goal),
        case(("SET + CAD", SET_CAD), set_del(), Some(1.35)),
        case(("CAD", CAD), ("DEL", DEL), None),
        case(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), set(), None),
        case(("RATELIMIT BUCKET, deny", BUCKET_DENY), set(), denied),
        case(("RATELIMIT FIXED, allow", FIXED_ALLOW), set_px(), goal),
        case(("RATELIMIT FIXED, deny", FIXED_DENY), set(), denied),
        case(("LOCK + UNLOCK", LOCK_UNLOCK), ("SET NX PX + DEL", SET_NX_DEL_TOKEN), Some(1.5)),
        case(("LOCK + UNLOCK", LOCK_UNLOCK), ("SET + DEL", SET_DEL_TOKEN), None),
        case(("LOCK WAIT, free + UNLOCK", LOCK_WAIT_UNLOCK), ("SET NX PX + DEL", SET_NX_DEL_TOKEN), Some(1.5)),
        case(("MLOCK, two keys + 2 UNLOCK", MLOCK_UNLOCK), ("2 SET + 2 DEL", SET_SET_DEL_DEL), goal),
        case(("SEMACQUIRE + SEMRELEASE", SEM), ("ZADD + ZREM", ZADD_ZREM), goal),
        case(("LOCK, held", LOCK_HELD), set(), None),
        case(("LOCKRENEW", LOCKRENEW), ("PEXPIRE", PEXPIRE), None),
        case(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), set_px(), Some(1.25)),
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
        case(("INCRBY", COUNT), ("INCRBY", INCRBY), Some(1.6)),
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
    let least = Some(1.0 / 1.9);
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

fn against_peer() -> Vec<Case> {
    let goal = Some(0.65);
    vec![
        case(("RATELIMIT BUCKET, allow", BUCKET_ALLOW), ("CL.THROTTLE, allow", THROTTLE_ALLOW.sent_to(Target::Peer)), goal),
        case(("RATELIMIT BUCKET, deny", BUCKET_DENY), ("CL.THROTTLE, deny", THROTTLE_DENY.sent_to(Target::Peer)), goal),
        case(("SET", SET), ("SET there", SET.sent_to(Target::Peer)), None),
    ]
}

fn dropped_in() -> Vec<Case> {
    let command = |name, workload: Workload| case((name, workload.in_drop_in_mode()), ("without drop-in mode", workload), None);
    let script = |&(name, workload): &(&'static str, Workload)| {
        case((name, workload.in_drop_in_mode()), (WITHOUT_DROP_IN, workload), Some(1.0))
    };
    let commands = [command("GET", GET), command("SET", SET), command("HSET", HSET)];
    commands.into_iter().chain(SCRIPTS.iter().map(script)).collect()
}

/// Each script of a few calls, on the module's engine in this way.
fn calls(ours: fn(Workload) -> Workload, reference_name: &'static str) -> Vec<Case> {
    let both = |script: &Script| case((script.title, ours(script.workload)), (reference_name, script.workload), Some(1.0));
    calls::scripts().map(both).collect()
}

fn restricted() -> Vec<Case> {
    let sent = |mut case: Case| {
        case.subject = case.subject.sent_to(Target::RestrictedUser);
        case.reference = case.reference.sent_to(Target::RestrictedUser);
        case
    };
    calls(Workload::in_drop_in_mode, WITHOUT_DROP_IN).into_iter().map(sent).collect()
}

fn compiling() -> Vec<Case> {
    vec![
        case(("ATOMIC.EVAL of a new script", COMPILING.on_our_engine()), ("EVAL", COMPILING), Some(1.3)),
        case(("EVAL in drop-in mode", COMPILING.in_drop_in_mode()), ("EVAL without drop-in mode", COMPILING), Some(1.3)),
        case(
            ("SCRIPT LOAD in drop-in mode", LOADING.in_drop_in_mode()),
            ("SCRIPT LOAD without drop-in mode", LOADING),
            Some(1.5),
        ),
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
        case((name, script.on_our_engine()), ("EVALSHA", script), Some(if name.starts_with("empty") { 1.0 / 1.7 } else { 1.0 }))
    };
    SCRIPTS.iter().map(both).collect()
}
