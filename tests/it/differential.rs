//! Native commands and the scripts that they replace run the same random program on one server, and must reach the same decisions and
//! the same final state. The server's own EVAL runs the scripts of `lua/reference`.
//!
//! Where the native command is better on purpose (its own clock, integers, no write for a denial) the pair compares what both
//! promise, and the page of the command says what differs.

use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::support::installed::root;
use crate::support::{Server, Value, each_server};

type Step = fn([i64; 3]) -> (Vec<String>, String);

/// A script, the command that replaces it, and how their replies compare.
struct Pair {
    script: &'static str,
    keys: usize,
    /// Maps the step's three small numbers to the arguments of script and command, after the keys `s0`, `s1` or `n0`, `n1`.
    step: Step,
    /// Whether the script's reply and the command's reply agree.
    same: fn(&Value, &Value) -> bool,
    /// Whether the stored values are equal, too.
    same_state: bool,
    /// A command of another client on the key between two steps, or nothing.
    meanwhile: fn([i64; 3]) -> Option<String>,
}

const fn pair(script: &'static str, step: Step, same: fn(&Value, &Value) -> bool) -> Pair {
    Pair { script, keys: 1, step, same, same_state: true, meanwhile: |_| None }
}

fn strings<const N: usize>(arguments: [i64; N]) -> Vec<String> {
    arguments.map(|number| number.to_string()).to_vec()
}

fn nth(value: &Value, index: usize) -> Value {
    value.array()[index].clone()
}

fn equal(script: &Value, native: &Value) -> bool {
    script == native
}

/// The script returns the value; the command returns it as its second element.
fn second(script: &Value, native: &Value) -> bool {
    *script == nth(native, 1)
}

/// 1 or 0 against 1, 0 or -1.
fn applied(script: &Value, native: &Value) -> bool {
    (*script == Value::Integer(1)) == (*native == Value::Integer(1))
}

/// A client sets the key to a small number, or deletes it.
fn values([a, b, c]: [i64; 3]) -> Option<String> {
    match c {
        0 => Some("DEL KEY".to_owned()),
        1..=3 => Some(format!("SET KEY {}", a * 3 - b)),
        _ => None,
    }
}

/// A client acquires the lock, or deletes it.
fn tokens([a, _, c]: [i64; 3]) -> Option<String> {
    match c {
        0 => Some("DEL KEY".to_owned()),
        1..=4 => Some(format!("SET KEY {a} NX PX 100000")),
        _ => None,
    }
}

const STRINGS: &[Pair] = &[
    Pair {
        meanwhile: values,
        ..pair("compare_and_set", |[a, b, _]| (strings([a, b]), format!("ATOMIC.CAS n0 {a} {b}")), applied)
    },
    Pair { meanwhile: values, ..pair("compare_and_delete", |[a, ..]| (strings([a]), format!("ATOMIC.CAD n0 {a}")), applied) },
    Pair {
        meanwhile: values,
        ..pair("set_if_absent", |[a, ..]| (strings([a, 1000]), format!("ATOMIC.SET n0 {a} NX EX 1000")), applied)
    },
    Pair {
        meanwhile: values,
        ..pair("get_or_set", |[a, ..]| (strings([a, 1000]), format!("ATOMIC.GETORSET n0 {a} EX 1000")), second)
    },
    Pair {
        meanwhile: tokens,
        ..pair(
            "lock_release",
            |[a, ..]| (strings([a]), format!("ATOMIC.UNLOCK n0 {a}")),
            |script, native| (*script == Value::Integer(1)) == (*native == Value::Integer(0)),
        )
    },
    Pair {
        meanwhile: tokens,
        ..pair(
            "lock_extend",
            |[a, ..]| (strings([a, 500_000]), format!("ATOMIC.LOCKRENEW n0 {a} 500000")),
            |script, native| (*script == Value::Integer(1)) == (*native == Value::Integer(500_000)),
        )
    },
];

const COUNTERS: &[Pair] = &[
    Pair { meanwhile: values, ..pair("increment", |_| (Vec::new(), "ATOMIC.INCRBY n0 1".to_owned()), second) },
    pair(
        "increment_with_limit",
        |[a, b, _]| (strings([a, b + 5]), format!("ATOMIC.INCRBY n0 {a} MAX {} SATURATE", b + 5)),
        second,
    ),
    pair(
        "counter_with_reset",
        |[a, b, _]| (strings([a + 1, b + 10, 0]), format!("ATOMIC.INCRBY n0 {} MAX {} WRAP 0", a + 1, b + 10)),
        |script, native| {
            let reset = nth(script, 0) == Value::Integer(1);
            second(&nth(script, 1), native) && reset == (nth(native, 0) == Value::Integer(2))
        },
    ),
    Pair {
        keys: 2,
        meanwhile: |[a, b, c]| (c < 2).then(|| format!("SET KEY {}", a + b)),
        ..pair("transfer", |[a, ..]| (strings([a + 1]), format!("ATOMIC.TRANSFER n0 n1 {}", a + 1)), equal)
    },
    pair(
        "hash_increment_with_bounds",
        |[a, b, _]| {
            let (delta, min, max) = (a - 4, -b, 9);
            let arguments = [vec!["f".to_owned()], strings([delta, min, max])].concat();
            (arguments, format!("ATOMIC.HINCRBY n0 f {delta} MIN {min} MAX {max} SATURATE"))
        },
        second,
    ),
];

const COLLECTIONS: &[Pair] = &[
    // The script reads a missing field as 0, so the values are above 0.
    pair(
        "hash_set_if_greater",
        |[a, b, _]| (vec![format!("f{b}"), (a + 1).to_string()], format!("ATOMIC.HSET n0 f{b} {} GT", a + 1)),
        |script, native| applied(script, &nth(native, 0)),
    ),
    Pair {
        meanwhile: |[a, b, _]| Some(format!("HSET KEY f{a} {b}")),
        ..pair(
            "hash_get_with_defaults",
            |[a, b, _]| {
                let arguments = [format!("f{a}"), "d".to_owned(), format!("f{b}"), "e".to_owned()].to_vec();
                (arguments, format!("ATOMIC.HMGETOR n0 f{a} d f{b} e"))
            },
            equal,
        )
    },
    Pair {
        meanwhile: |[a, b, _]| Some(format!("RPUSH KEY {a} {b}")),
        ..pair(
            "list_pop_with_minimum",
            |[a, ..]| (strings([a]), format!("ATOMIC.POP n0 LEFT KEEP {a}")),
            |script, native| native.array().first().map_or(*script == Value::Null, |first| first == script),
        )
    },
    pair(
        "circular_buffer",
        |[a, b, _]| (strings([a, b + 1]), format!("ATOMIC.PUSH n0 RIGHT {} VALUES {a}", b + 1)),
        |script, native| *script == nth(native, 0),
    ),
    pair(
        "push_trim_expire",
        |[a, b, _]| (strings([a, b + 1, 1000]), format!("ATOMIC.PUSH n0 LEFT {} PX 1000000 RANGE VALUES {a}", b + 1)),
        |script, native| *script == nth(native, 2),
    ),
];

/// States and clocks differ by design, so time stands still: for the script by its argument, for ours by a refill of one unit a year.
const LIMITS: &[Pair] = &[
    Pair {
        same_state: false,
        ..pair(
            "fixed_window",
            |_| (strings([9, 1000]), "ATOMIC.RATELIMIT n0 FIXED 9 1000000".to_owned()),
            |script, native| (script.integer() > 0) == (nth(native, 0).integer() > 0),
        )
    },
    Pair {
        same_state: false,
        ..pair(
            "token_bucket",
            |[a, ..]| (strings([20, 1, a + 1, 0]), format!("ATOMIC.RATELIMIT n0 BUCKET 20 1 31536000000 COST {}", a + 1)),
            |script, native| {
                let granted = nth(script, 0).integer() == 1;
                granted == (nth(native, 0).integer() > 0) && (!granted || nth(script, 1) == nth(native, 2))
            },
        )
    },
    Pair {
        same_state: false,
        ..pair(
            "sliding_window",
            |_| (strings([100_000, 9, 1_000_000, unique()]), "ATOMIC.RATELIMIT n0 LOG 9 100000".to_owned()),
            |script, native| {
                let granted = nth(script, 0) == nth(native, 0);
                granted && (nth(script, 0).integer() == 0 || nth(script, 1) == nth(native, 2))
            },
        )
    },
    Pair {
        same_state: false,
        meanwhile: |[_, _, c]| (c < 2).then(|| "DEL KEY".to_owned()),
        ..pair(
            "lock_acquire",
            |_| (strings([unique(), 100_000]), format!("ATOMIC.LOCK n0 {} 100000", unique())),
            |script, native| nth(script, 0) == nth(native, 0),
        )
    },
];

/// A number that was never returned before.
fn unique() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// Small numbers from a seed, the same on every machine.
fn numbers(seed: u64) -> impl FnMut() -> [i64; 3] {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    move || {
        [(); 3].map(|()| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from((state >> 33) % 9).unwrap()
        })
    }
}

/// The value of a key, independent of its encoding.
fn state(server: &Server, key: &str) -> (Value, Vec<Value>, bool) {
    let kind = server.run(&format!("TYPE {key}"));
    let value = match kind.text().as_str() {
        "string" => vec![server.run(&format!("GET {key}"))],
        "list" => server.run(&format!("LRANGE {key} 0 -1")).array().to_vec(),
        "hash" => {
            let mut fields: Vec<Value> = server.run(&format!("HGETALL {key}")).array().to_vec();
            fields.sort_by_key(|field| format!("{field:?}"));
            fields
        }
        _ => Vec::new(),
    };
    (kind, value, server.run(&format!("PTTL {key}")).integer() > 0)
}

fn run(server: &Server, pair: &Pair, seed: u64) {
    server.run("FLUSHALL");
    let source = fs::read_to_string(root().join("lua/reference").join(format!("{}.lua", pair.script))).unwrap();
    let mut next = numbers(seed);
    for step in 0..60 {
        if let Some(command) = (pair.meanwhile)(next()) {
            let index = step % pair.keys;
            for side in ["s", "n"] {
                server.run(&command.replace("KEY", &format!("{side}{index}")));
            }
        }
        let (arguments, command) = (pair.step)(next());
        let keys: Vec<String> = (0..pair.keys).map(|index| format!("s{index}")).collect();
        let call = [vec!["EVAL".to_owned(), source.clone(), pair.keys.to_string()], keys, arguments].concat();
        let (script, native) = (server.call(&call), server.run(&command));
        assert!(
            (pair.same)(&script, &native),
            "{} seed {seed} step {step}: {command} -> {native:?}, script -> {script:?}",
            pair.script
        );
        for index in (0..pair.keys).filter(|_| pair.same_state) {
            let (left, right) = (state(server, &format!("s{index}")), state(server, &format!("n{index}")));
            assert_eq!(left, right, "{} seed {seed} step {step}: states differ after {command}", pair.script);
        }
    }
}

fn check(pairs: &[Pair]) {
    each_server(|server| {
        for pair in pairs {
            (1..=8).for_each(|seed| run(server, pair, seed));
        }
    });
}

#[test]
fn strings_and_locks_decide_as_their_scripts() {
    check(STRINGS);
}

#[test]
fn counters_decide_as_their_scripts() {
    check(COUNTERS);
}

#[test]
fn hashes_and_lists_decide_as_their_scripts() {
    check(COLLECTIONS);
}

#[test]
fn limits_decide_as_their_scripts() {
    check(LIMITS);
}

#[test]
fn every_reference_script_has_a_pair() {
    let known: Vec<&str> =
        [STRINGS, COUNTERS, COLLECTIONS, LIMITS].iter().flat_map(|pairs| pairs.iter().map(|pair| pair.script)).collect();
    for entry in fs::read_dir(root().join("lua/reference")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(known.contains(&name.as_str()), "lua/reference/{name}.lua is compared with nothing");
    }
}
