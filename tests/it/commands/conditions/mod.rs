//! Compare-and-set and its family: `ATOMIC.CAS`, `CAD`, `MCAS`, `SET`, `DEL`, `PEXPIRE`, `HCAS` and `HSET`.

mod cas; // CAS and CAD: one expected value
mod effects; // replication, WATCH, keyspace events, field TTLs

use crate::support::{Server, Value, argv, each_server, eventually};

/// The stored values of the rows below; `None` is a missing key or field.
const STORED: [Option<&str>; 7] = [None, Some("4"), Some("5"), Some("6"), Some("4.5"), Some("5.0"), Some("x")];

/// An error, in a row.
const NAN: i64 = 9;

/// Every condition and its reply for each of [`STORED`]; `GT` and `LT` compare the new value 5.
const CONDITIONS: [(&str, [i64; 7]); 10] = [
    ("NX", [1, 0, 0, 0, 0, 0, 0]),
    ("XX", [-1, 1, 1, 1, 1, 1, 1]),
    ("IFEQ 5", [-1, 0, 1, 0, 0, 0, 0]),
    ("IFNE 5", [1, 1, 0, 1, 1, 1, 1]),
    ("IFGT 5", [-1, 0, 0, 1, 0, 0, NAN]),
    ("IFGE 5", [-1, 0, 1, 1, 0, 1, NAN]),
    ("IFLT 5", [-1, 1, 0, 0, 1, 0, NAN]),
    ("IFLE 5", [-1, 1, 1, 0, 1, 1, NAN]),
    ("GT", [1, 1, 0, 0, 1, 0, NAN]),
    ("LT", [1, 0, 0, 1, 0, 0, NAN]),
];

/// A command as the tables call it.
struct Subject {
    call: &'static str,
    read: &'static str,
    prepare: &'static str,
    /// The reply of [`Subject::read`] after the command applied.
    applied: Option<&'static str>,
    /// It takes `GT` and `LT`.
    has_new: bool,
}

const SUBJECTS: [Subject; 4] = [
    Subject { call: "ATOMIC.SET k 5", read: "GET k", prepare: "SET k", applied: Some("5"), has_new: true },
    Subject { call: "ATOMIC.HSET k f 5", read: "HGET k f", prepare: "HSET k f", applied: Some("5"), has_new: true },
    Subject { call: "ATOMIC.DEL k", read: "GET k", prepare: "SET k", applied: None, has_new: false },
    Subject { call: "ATOMIC.PEXPIRE k 60000", read: "PTTL k", prepare: "SET k", applied: None, has_new: false },
];

impl Subject {
    /// Runs the command with these options on a fresh key, and checks the reply and the key. 8 stands for a syntax error.
    #[track_caller]
    fn check(&self, server: &Server, options: &str, stored: Option<&str>, expected: i64) {
        let what = format!("{} {options} on {stored:?}", self.call);
        server.run("DEL k");
        if let Some(stored) = stored {
            server.run(&format!("{} {stored}", self.prepare));
        }
        let (before, changes) = (server.run(self.read), server.info("rdb_changes_since_last_save"));
        let reply = server.run(&format!("{} {options}", self.call));
        let number = match &reply {
            Value::Error(text) if text == "ERR stored value is not a number" => NAN,
            Value::Error(text) if text.starts_with("ERR syntax error near '") => 8,
            Value::Array(items) if items.len() == 2 => {
                assert_eq!(items[1], before, "{what}: the old value");
                items[0].integer()
            }
            _ => reply.integer(),
        };
        assert_eq!(number, expected, "{what}: {reply}");
        let after = server.run(self.read);
        if expected != 1 {
            assert_eq!(after, before, "{what}");
            assert_eq!(server.info("rdb_changes_since_last_save"), changes, "{what}");
        } else if self.read.starts_with("PTTL") {
            assert!((1..=60_000).contains(&after.integer()), "{what}: {after}");
        } else {
            assert_eq!(after, self.applied.map_or(Value::Null, Value::bulk), "{what}");
        }
    }

    /// The reply by the table, also for the commands that need an existing value.
    fn expected(&self, condition: &str, answers: [i64; 7], at: usize) -> i64 {
        match answers[at] {
            _ if !self.has_new && is_about_new(condition) => 8,
            _ if !self.has_new && at == 0 => -1,
            answer => answer,
        }
    }
}

fn is_about_new(condition: &str) -> bool {
    matches!(condition, "GT" | "LT")
}

#[test]
fn every_condition_decides_as_promised_in_every_command() {
    each_server(|server| {
        for subject in &SUBJECTS {
            for (condition, answers) in CONDITIONS {
                for (at, stored) in STORED.into_iter().enumerate() {
                    subject.check(server, condition, stored, subject.expected(condition, answers, at));
                    subject.check(server, &condition.to_lowercase(), stored, subject.expected(condition, answers, at));
                }
            }
        }
    });
}

#[test]
fn every_pair_of_conditions_is_their_conjunction_or_refused() {
    each_server(|server| {
        let pairs = CONDITIONS.into_iter().flat_map(|first| CONDITIONS.into_iter().map(move |second| (first, second)));
        for ((first, left), (second, right)) in pairs {
            let excluded = first == second || first == "NX" || second == "NX" || (is_about_new(first) && is_about_new(second));
            for subject in &SUBJECTS {
                for (at, stored) in STORED.into_iter().enumerate() {
                    let both = [subject.expected(first, left, at), subject.expected(second, right, at)];
                    let expected = match both {
                        _ if excluded || both.contains(&8) => 8,
                        _ if both.contains(&NAN) => NAN,
                        [left, right] => left.min(right),
                    };
                    subject.check(server, &format!("{first} {second}"), stored, expected);
                }
            }
        }
    });
}

#[test]
fn numbers_compare_exactly() {
    each_server(|server| {
        for (stored, options, expected) in [
            ("9007199254740993", "IFGT 9007199254740992", 1),
            ("9007199254740992", "IFGT 9007199254740992.0", 0),
            ("9007199254740993", "IFGT 9007199254740992.0", 1),
            ("9223372036854775807", "IFLT 9223372036854775808", 1),
            ("9223372036854775807", "IFLT inf", 1),
            ("-9223372036854775808", "IFGT -inf", 1),
            ("1.5", "IFGT 1 IFLT 2", 1),
            ("1e3", "IFGE 1000 IFLE 1000", 1),
            ("0", "IFGE -0 IFLE -0.0", 1),
        ] {
            server.call(&["SET", "k", stored]);
            assert_eq!(server.run(&format!("ATOMIC.DEL k {options}")), Value::Integer(expected), "{stored} {options}");
        }
        server.run("HSET h f 9007199254740993");
        assert_eq!(server.run("ATOMIC.HSET h f 9007199254740994 GT").array()[0], Value::Integer(1));
        assert_eq!(server.run("ATOMIC.HSET h f 9007199254740994.0 GT").array()[0], Value::Integer(0));
        assert_eq!(server.run("ATOMIC.HSET h f -Inf LT").array()[0], Value::Integer(1));
    });
}

#[test]
fn refusals_name_the_mistake_and_change_nothing() {
    const NUMBER: &str = "must be a number";
    each_server(|server| {
        server.run("SET k v PX 100000");
        let syntax = |near: &str| format!("ERR syntax error near '{near}'");
        let rows: Vec<(&str, String)> = vec![
            ("SET k 5 GET", "ERR at least one condition is required".into()),
            ("SET k 5 PX 1", "ERR at least one condition is required".into()),
            ("DEL k GET", "ERR at least one condition is required".into()),
            ("SET k 5 IFGT x", format!("ERR IFGT {NUMBER}")),
            ("SET k 5 IFGE nan", format!("ERR IFGE {NUMBER}")),
            ("DEL k IFLT 0x10", format!("ERR IFLT {NUMBER}")),
            ("PEXPIRE k 5 IFLE ''", format!("ERR IFLE {NUMBER}")),
            ("DEL k IFLE 1e999", format!("ERR IFLE {NUMBER}")),
            ("SET k x GT", format!("ERR value {NUMBER}")),
            ("SET missing x GT", format!("ERR value {NUMBER}")),
            ("HSET h f ' 1' LT", format!("ERR value {NUMBER}")),
            ("SET k 5 GT", "ERR stored value is not a number".into()),
            ("SET k 5 IFEQ other IFGT 1", "ERR stored value is not a number".into()),
            ("DEL k IFGT 1 GET", "ERR stored value is not a number".into()),
            ("SET k 5 XX XX", syntax("XX")),
            ("SET k 5 XX ifeq v IFEQ w", syntax("IFEQ")),
            ("SET k 5 GT LT", syntax("LT")),
            ("SET k 5 XX nx", syntax("nx")),
            ("SET k 5 NX IFNE 5", syntax("IFNE")),
            ("SET k 5 XX GET GET", syntax("GET")),
            ("SET k 5 XX PX 5 KEEPTTL", syntax("KEEPTTL")),
            ("SET k 5 XX PERSIST", syntax("PERSIST")),
            ("SET k 5 '\u{1}' XX", syntax("\\x01")),
            ("DEL k GT", syntax("GT")),
            ("PEXPIRE k 5 LT", syntax("LT")),
            ("DEL k XX PX 5", syntax("PX")),
            ("PEXPIRE k 5 XX GET", syntax("GET")),
            ("HSET k f 5 XX GET", syntax("GET")),
            ("HSET k f 5 XX PX 5", syntax("PX")),
            ("HCAS k f a b c", "ERR wrong number of arguments for 'atomic.hcas' command".into()),
            ("SET k 5", "ERR wrong number of arguments for 'atomic.set' command".into()),
            ("SET k 5 IFEQ", "ERR syntax error near 'IFEQ'".into()),
            ("SET k 5 XX PX 0", "ERR PX must be an integer between 1 and 4611686018427387903".into()),
            ("PEXPIRE k 0 XX", "ERR ms must be an integer between 1 and 31536000000".into()),
            ("PEXPIRE k 31536000001 XX", "ERR ms must be an integer between 1 and 31536000000".into()),
            ("MCAS k v a k v b", "ERR key must not be given twice".into()),
            ("MCAS k v a j v b k v c", "ERR key must not be given twice".into()),
            ("MCAS", "ERR wrong number of arguments for 'atomic.mcas' command".into()),
            ("MCAS k v", "ERR wrong number of arguments for 'atomic.mcas' command".into()),
            ("MCAS k v a j", "ERR wrong number of arguments for 'atomic.mcas' command".into()),
            ("MCAS k v a j v", "ERR wrong number of arguments for 'atomic.mcas' command".into()),
        ];
        let witness = || ["DUMP k", "PEXPIRETIME k", "DBSIZE"].map(|question| server.run(question));
        let (before, changes) = (witness(), server.info("rdb_changes_since_last_save"));
        for (call, expected) in rows {
            assert_eq!(server.run(&format!("ATOMIC.{call}")).error(), expected, "{call}");
            assert_eq!(witness(), before, "{call}");
        }
        assert_eq!(server.info("rdb_changes_since_last_save"), changes);
    });
}

#[test]
fn another_type_is_wrongtype_for_every_condition() {
    const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
    each_server(|server| {
        server.run("RPUSH list a");
        server.run("SET string a");
        for (condition, _) in CONDITIONS {
            for subject in SUBJECTS.iter().filter(|subject| subject.has_new || !is_about_new(condition)) {
                let key = if subject.call.contains("HSET") { "string" } else { "list" };
                let call = subject.call.replacen(" k", &format!(" {key}"), 1);
                assert_eq!(server.run(&format!("{call} {condition}")).error(), WRONGTYPE, "{call} {condition}");
                if !subject.call.contains("HSET") && !subject.call.contains("PEXPIRE") {
                    assert_eq!(server.run(&format!("{call} {condition} GET")).error(), WRONGTYPE, "{call} {condition} GET");
                }
            }
        }
        assert_eq!(server.run("ATOMIC.HCAS string f a b").error(), WRONGTYPE);
        assert_eq!(server.run("ATOMIC.MCAS string other b list a b").error(), WRONGTYPE);
        assert_eq!(server.run("TYPE list").text(), "list");
    });
}

#[test]
fn get_adds_the_old_value_in_both_protocols() {
    each_server(|server| {
        for mut connection in [server.connect(), server.connect().resp3()] {
            connection.run("FLUSHALL");
            let mut check = |call: &str, code: i64, old: Option<&str>| {
                let old = old.map_or(Value::Null, Value::bulk);
                assert_eq!(connection.run(call), Value::Array(vec![Value::Integer(code), old]), "{call}");
            };
            check("ATOMIC.SET k 1 GET XX", -1, None);
            check("ATOMIC.SET k 1 NX PX 100000 GET", 1, None);
            check("ATOMIC.SET k 2 GET NX", 0, Some("1"));
            check("ATOMIC.SET k 2 KEEPTTL IFEQ 1 get", 1, Some("1"));
            check("ATOMIC.SET k 1 GT GET", 0, Some("2"));
            check("ATOMIC.DEL k GET IFGT 2", 0, Some("2"));
            check("ATOMIC.DEL k IFNE 1 GET", 1, Some("2"));
            check("ATOMIC.DEL k XX GET", -1, None);
            check("ATOMIC.HSET h f 1 XX", -1, None);
            check("ATOMIC.HSET h f 1 LT", 1, None);
            check("ATOMIC.HSET h f 2 LT", 0, Some("1"));
            check("ATOMIC.HSET h f 0 LT XX", 1, Some("1"));
        }
    });
}

#[test]
fn a_write_changes_the_ttl_as_set_does() {
    each_server(|server| {
        let far = "4102444800000";
        for (options, expected) in [
            ("XX", -1),
            ("XX KEEPTTL", 4_000_000_000_000),
            ("keepttl XX", 4_000_000_000_000),
            ("PXAT 4102444800000 XX", 4_102_444_800_000),
            ("XX EXAT 4102444800", 4_102_444_800_000),
        ] {
            server.run("SET k v PXAT 4000000000000");
            assert_eq!(server.run(&format!("ATOMIC.SET k w {options}")), Value::Integer(1), "{options}");
            assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(expected), "{options}");
        }
        for (options, most) in [("XX PX 50000", 50_000), ("EX 50 XX", 50_000)] {
            server.run(&format!("SET k v PXAT {far}"));
            assert_eq!(server.run(&format!("ATOMIC.SET k w {options}")), Value::Integer(1), "{options}");
            assert!((most - 20_000..=most).contains(&server.run("PTTL k").integer()), "{options}");
        }
        assert_eq!(server.run("ATOMIC.PEXPIRE k 90000 IFEQ w"), Value::Integer(1));
        assert!((70_000..=90_000).contains(&server.run("PTTL k").integer()));
        assert_eq!(server.run("ATOMIC.MCAS k w v"), Value::integers(&[1, -1]));
        assert_eq!(server.run("PTTL k"), Value::Integer(-1));
        assert_eq!(server.run("ATOMIC.PEXPIRE k 90000 XX"), Value::Integer(1));
        assert!((70_000..=90_000).contains(&server.run("PTTL k").integer()));
        // A deadline in the past.
        assert_eq!(server.run("ATOMIC.SET k w XX PXAT 1"), Value::Integer(1));
        assert_eq!(server.run("ATOMIC.SET k w NX EXAT 1"), Value::Integer(1));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        server.run("HSET h f 1");
        server.run("PEXPIREAT h 4000000000000");
        assert_eq!(server.run("ATOMIC.HSET h f 2 GT").array()[0], Value::Integer(1));
        assert_eq!(server.run("ATOMIC.HCAS h f 2 3"), Value::Integer(1));
        assert_eq!(server.run("PEXPIRETIME h"), Value::Integer(4_000_000_000_000));
    });
}

#[test]
fn an_expired_key_is_a_missing_key() {
    each_server(|server| {
        server.run("DEBUG SET-ACTIVE-EXPIRE 0");
        server.run("SET k v PX 5");
        eventually("the key expires", || (server.run("ATOMIC.SET k w IFEQ x") == Value::Integer(-1)).then_some(()));
        server.run("SET k v PX 5");
        eventually("the key expires", || (server.run("ATOMIC.SET k w NX") == Value::Integer(1)).then_some(()));
        assert_eq!(server.run("PTTL k"), Value::Integer(-1));
    });
}

#[test]
fn values_are_bytes() {
    each_server(|server| {
        let odd = r#""\x00\xff\r\n ""#;
        let run = |call: &str| server.run(&call.replace("ODD", odd));
        let bytes = Value::Bulk(argv(odd)[0].clone());
        assert_eq!(run("ATOMIC.SET ODD ODD NX"), Value::Integer(1));
        assert_eq!(run("ATOMIC.SET ODD '' IFEQ ODD IFNE '' GET"), Value::Array(vec![Value::Integer(1), bytes.clone()]));
        assert_eq!(run("ATOMIC.DEL ODD IFEQ '\\x00'"), Value::Integer(0));
        assert_eq!(run("ATOMIC.DEL ODD IFEQ ''"), Value::Integer(1));
        assert_eq!(run("ATOMIC.HSET h ODD ODD NX"), Value::Array(vec![Value::Integer(1), Value::Null]));
        assert_eq!(run("ATOMIC.HSET h ODD '' IFEQ ODD"), Value::Array(vec![Value::Integer(1), bytes]));
        assert_eq!(run("ATOMIC.HCAS h ODD '' ODD"), Value::Integer(1));
        assert_eq!(run("ATOMIC.HCAS h '' '' ODD"), Value::Integer(-1));
        // Option names as values.
        assert_eq!(run("ATOMIC.SET k GET IFNE GET IFEQ GET"), Value::Integer(-1));
        assert_eq!(run("ATOMIC.SET k NX IFNE XX GET"), Value::Array(vec![Value::Integer(1), Value::Null]));
    });
}

#[test]
fn mcas_sets_all_or_none_and_returns_the_first_mismatch() {
    each_server(|server| {
        let check = |call: &str, expected: &[i64], values: [&str; 3]| {
            assert_eq!(server.run(call), Value::integers(expected), "{call}");
            assert_eq!(server.run("MGET a b c"), Value::Array(values.map(Value::bulk).to_vec()), "{call}");
        };
        server.run("MSET a 1 b 2 c 3");
        check("ATOMIC.MCAS a 1 x b 2 y c 3 z", &[1, -1], ["x", "y", "z"]);
        check("ATOMIC.MCAS c z 3 a x 1 b NO 2", &[0, 2], ["x", "y", "z"]);
        check("ATOMIC.MCAS c NO 3 a x 1 b NO 2", &[0, 0], ["x", "y", "z"]);
        check("ATOMIC.MCAS c z 3 missing x 1 b y 2", &[0, 1], ["x", "y", "z"]);
        check("ATOMIC.MCAS b y 2", &[1, -1], ["x", "2", "z"]);
        let keys: Vec<String> = (0..128).map(|at| format!("k{at}")).collect();
        keys.iter().for_each(|key| drop(server.call(&["SET", key, "old"])));
        let mut call = vec!["ATOMIC.MCAS"];
        keys.iter().for_each(|key| call.extend([key.as_str(), "old", "new"]));
        assert_eq!(server.call(&call), Value::integers(&[1, -1]));
        assert_eq!(server.call(&call), Value::integers(&[0, 0]));
        assert_eq!(server.run("GET k127"), Value::bulk("new"));
        // One key more than allowed, new or repeated.
        assert_eq!(server.call(&[&call[..], &["k", "new", "old"]].concat()).error(), "ERR at most 128 keys");
        assert_eq!(server.call(&[&call[..], &["k0", "new", "old"]].concat()).error(), "ERR at most 128 keys");
    });
}
