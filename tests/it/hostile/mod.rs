//! Hostile input for every command, driven by `COMMAND DOCS`: a new command is attacked from the day it is registered.
//!
//! The oracle after each call: the reply is well formed; an error starts with an upper-case code, is printable ASCII, is not
//! a caught panic, and changed no key, replicated nothing and counted no change; the server still replies.

mod attacker;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use attacker::{Attacker, Witness, check_reply, set};

use crate::scripted::examples;
use crate::support::calls::{Call, Kind, LIBRARY, SCRIPT, SCRIPT_SHA1, forms};
use crate::support::docs::commands;
use crate::support::line::line;
use crate::support::{FakeReplica, Server, Value, argv, each_server_with};

/// Unexpected bytes for any argument.
const BYTES: &[&[u8]] = &[
    b"",
    b"\0",
    b"a\0b",
    b"\xff\xfe",
    b"\xc3\x28",
    "\u{4e00}".as_bytes(),
    "\u{e9}".as_bytes(),
    b"\r\n",
    b"x\r\n-ERR y\r\n",
    b"%s%n",
    b"0",
    b"-0",
    b"-1",
    b"1",
    b"+1",
    b"01",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"1e3",
    b"nan",
    b"18446744073709551616",
    b"1000000000000",
    b"1000000000001",
    b"31536000000",
    b"31536000001",
    b"-inf",
];

/// Strings that no integer argument may accept.
const NO_INTEGERS: &[&[u8]] = &[
    b"",
    b"x",
    b"1x",
    b" 1",
    b"1 ",
    b"1.5",
    b"0x10",
    b"\0",
    b"1\0",
    b"\xff",
    "\u{4e00}".as_bytes(),
    b"1\r\n",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"nan",
    b"inf",
];

/// A value of every type that is not the state of any command.
const TYPES: &[(&str, &str)] = &[
    ("list", "RPUSH %s v"),
    ("hash", "HSET %s v v"),
    ("set", "SADD %s v"),
    ("zset", "ZADD %s 1 v"),
    ("stream", "XADD %s 1-1 v v"),
];

/// A value of every type, and a missing key.
const VALUES: &[&[&str]] =
    &[&[], &["SET %s v"], &["SET %s 10"], &[TYPES[0].1], &[TYPES[1].1], &[TYPES[2].1], &[TYPES[3].1], &[TYPES[4].1]];

/// A key that has expired and still exists: only a command that reads it deletes it.
const EXPIRE: &[&str] = &["PEXPIRE %s 1", "DEBUG SLEEP 0.002"];

/// The ways to call a command: directly, from a script by name, and from a script as a function.
const DOORS: &[Option<&str>] = &[
    None,
    Some("return redis.call(unpack(ARGV))"),
    Some("local run = atomic[ARGV[1]:lower():match('^atomic%.(.+)$')] if not run then return end return run(unpack(ARGV, 2))"),
];

/// Commands for a type that they do not create in every form, so that an empty server does not show the type.
const WORKS_ON: &[(&str, &str)] = &[
    ("ATOMIC.HCAS", "hash"),
    ("ATOMIC.HSET", "hash"),
    ("ATOMIC.HMGETOR", "hash"),
    ("ATOMIC.POP", "list"),
    ("ATOMIC.ZPOPDUE", "zset"),
    ("ATOMIC.ZDONE", "zset"),
];

/// Strings that are not the state of any command.
const FOREIGN: &[&[u8]] =
    &[b"", b"\0", b"v", b"foreign", b"10", b"-1", b"9223372036854775807", b"\xff\xff\xff\xff", b"\r\n", b"nan"];

#[test]
fn a_key_of_another_type_is_refused_by_every_command() {
    attack(|attacker, calls| {
        for call in calls.iter().filter(|call| !call.keys().is_empty()) {
            let mut own_types = attacker.types_after(call);
            let listed = WORKS_ON.iter().filter(|(command, _)| call.argv()[0] == command.as_bytes());
            own_types.extend(listed.map(|(_, name)| (*name).to_owned()));
            // Contradicting options (a WRAP without MAX) are refused before the key is read.
            let wrong = matches!(attacker.strike(&call.argv(), &call.keys(), |_| Vec::new()), Value::Error(_));
            for (name, setup) in TYPES {
                let reply = attacker.strike(&call.argv(), &call.keys(), |key| vec![fill(setup, key)]);
                let refused = matches!(&reply, Value::Error(text) if wrong || text.starts_with("WRONGTYPE "));
                let excused = call.scripted || own_types.iter().any(|own| own == name);
                assert!(refused || excused, "{} on a {name}: {reply}", line(&call.argv()));
            }
            for value in FOREIGN {
                attacker.strike(&call.argv(), &call.keys(), |key| vec![set(key, value)]);
                attacker.strike(&call.argv(), &call.keys(), |key| vec![[set(key, value), argv("PX 60000")].concat()]);
            }
        }
    });
}

/// Redis 8.2 and later abort where older servers do not: a query on the handle of a missing key that only a value supports.
#[test]
fn every_command_is_sent_twice_to_every_kind_of_value() {
    attack(|attacker, calls| {
        for (call, argv) in calls.iter().flat_map(through_all_doors) {
            for setup in VALUES {
                let fill = |key: &[u8]| setup.iter().map(|command| fill(command, key)).collect();
                attacker.strikes(&[&argv, &argv], &call.keys(), fill, Witness::FromTheStart);
            }
        }
    });
}

#[test]
fn an_expired_key_that_still_exists_is_missing() {
    attack(|attacker, calls| {
        assert_eq!(attacker.server.run("DEBUG SET-ACTIVE-EXPIRE 0"), Value::ok());
        for (call, argv) in calls.iter().flat_map(through_all_doors) {
            let missing = attacker.strikes(&[&argv, &argv], &call.keys(), |_| Vec::new(), Witness::FromTheStart);
            for setup in &VALUES[1..] {
                let fill = |key: &[u8]| setup.iter().chain(EXPIRE).map(|command| fill(command, key)).collect();
                // Reading the key would delete it.
                let expired = attacker.strikes(&[&argv, &argv], &call.keys(), fill, Witness::AfterTheFirst);
                for (missing, expired) in missing.iter().zip(&expired) {
                    assert_eq!(shape(expired), shape(missing), "{} on an expired key after {setup:?}", line(&argv));
                }
            }
        }
    });
}

/// The forms of a call that names keys, by each of [`DOORS`].
fn through_all_doors(call: &Call) -> impl Iterator<Item = (&Call, Vec<Vec<u8>>)> {
    let keys = call.keys();
    let doors = if keys.is_empty() { &[] } else { DOORS };
    doors.iter().map(move |door| match door {
        None => (call, call.argv()),
        Some(script) => {
            let head = [argv("ATOMIC.EVAL"), vec![script.as_bytes().to_vec(), keys.len().to_string().into_bytes()]];
            (call, [head.concat(), keys.clone(), call.argv()].concat())
        }
    })
}

/// A reply without its numbers and times.
fn shape(reply: &Value) -> String {
    match reply {
        Value::Error(_) => reply.to_string(),
        Value::Array(items) => format!("array of {}", items.len()),
        other => format!("{:?}", std::mem::discriminant(other)),
    }
}

#[test]
fn damaged_state_is_refused_or_read_safely() {
    attack(|attacker, calls| {
        let keyed: Vec<&Call> = calls.iter().filter(|call| call.keys().len() == 1 && call.is_plain() && !call.scripted).collect();
        let states = attacker.states(&keyed);
        assert!(!states.is_empty(), "no command leaves a state to damage");
        for state in &states {
            for damaged in damages(state) {
                for call in &keyed {
                    attacker.strike(&call.argv(), &call.keys(), |key| vec![[set(key, &damaged), argv("PX 60000")].concat()]);
                }
            }
        }
    });
}

#[test]
fn hostile_bytes_in_any_argument_get_a_reply() {
    attack(|attacker, calls| {
        let long = vec![b'x'; 100_000];
        for call in calls {
            for position in call.words..call.slots.len() {
                for value in BYTES.iter().copied().chain([long.as_slice()]) {
                    attacker.strike_each(call, &with(call, position, value));
                }
            }
        }
    });
}

#[test]
fn every_integer_argument_refuses_other_strings() {
    attack(|attacker, calls| {
        for call in calls {
            for position in (0..call.slots.len()).filter(|&position| call.slots[position].kind == Kind::Integer) {
                for value in NO_INTEGERS {
                    let attempt = with(call, position, value);
                    for reply in attacker.strike_each(call, &attempt) {
                        assert!(matches!(reply, Value::Error(_)), "{} was accepted: {reply}", line(&attempt));
                    }
                }
            }
        }
    });
}

#[test]
fn missing_extra_and_repeated_arguments_are_refused() {
    attack(|attacker, calls| {
        for call in calls {
            let whole = call.argv();
            (call.words..whole.len()).for_each(|length| drop(attacker.strike_each(call, &whole[..length])));
            for missing in call.words..whole.len() {
                let mut attempt = whole.clone();
                attempt.remove(missing);
                attacker.strike_each(call, &attempt);
            }
            let optional: Vec<Vec<u8>> = call.slots.iter().filter(|slot| slot.optional).map(|slot| slot.bytes.clone()).collect();
            let junk =
                [vec![b"junk".to_vec()], vec![Vec::new()], vec![b"\0\r\n".to_vec()], vec![b"junk".to_vec(); 200], optional];
            for extra in junk.iter().filter(|extra| !extra.is_empty()) {
                let attempt = [whole.clone(), extra.clone()].concat();
                for reply in attacker.strike_each(call, &attempt) {
                    let refused = matches!(reply, Value::Error(_));
                    assert!(refused || call.repeats, "{} was accepted: {reply}", line(&attempt));
                }
            }
        }
    });
}

#[test]
fn every_form_of_every_command_replies_in_resp3_and_in_a_transaction() {
    attack(|attacker, calls| {
        attacker.connection = attacker.server.connect().resp3();
        for call in calls {
            attacker.strike_each(call, &call.argv());
            attacker.connection.run("MULTI");
            let queued = attacker.connection.call(&call.argv());
            check_reply(&queued, &call.argv());
            let executed = attacker.connection.run("EXEC");
            if !matches!(queued, Value::Error(_)) {
                executed.array().iter().for_each(|reply| check_reply(reply, &call.argv()));
            }
        }
    });
}

#[test]
fn every_command_has_a_form_that_succeeds() {
    attack(|attacker, calls| {
        let mut answered = BTreeMap::new();
        for call in calls {
            // Another command may have flushed it.
            load_script(attacker.server, calls);
            let mut argv = call.argv();
            let name = line(&argv[..call.words]);
            // These refuse scripts that write.
            match name.as_str() {
                "ATOMIC.EVAL_RO" => argv[1] = b"return 1".to_vec(),
                "ATOMIC.EVALSHA_RO" => argv[1] = attacker.server.call(&["ATOMIC.SCRIPT", "LOAD", "return 1"]).bytes().to_vec(),
                "ATOMIC.FCALL_RO" => {
                    let code = "#!lua name=reads\nredis.register_function{function_name='r', callback=function() end, flags={'no-writes'}}";
                    attacker.server.call(&["ATOMIC.FUNCTION", "LOAD", "REPLACE", code]);
                    argv[1] = b"r".to_vec();
                }
                "INVENTORY.RESERVE" | "TOP.INCR" => argv[3] = b"1".to_vec(),
                "ATOMIC.FUNCTION RESTORE" => argv[2] = attacker.server.call(&["ATOMIC.FUNCTION", "DUMP"]).bytes().to_vec(),
                _ => {}
            }
            let replies = attacker.strike_each(call, &argv);
            *answered.entry(name).or_insert(false) |= replies.iter().any(|reply| !matches!(reply, Value::Error(_)));
        }
        // Nothing runs that could be killed.
        assert_eq!(["SCRIPT", "FUNCTION"].map(|what| answered.remove(&format!("ATOMIC.{what} KILL"))), [Some(false); 2]);
        let refused: Vec<&String> = answered.iter().filter(|(_, answered)| !**answered).map(|(name, _)| name).collect();
        assert!(refused.is_empty(), "refused in every form, so that nothing else here proves anything about them: {refused:?}");
    });
}

#[test]
fn the_oracle_detects_a_change_with_an_error_a_missing_code_and_a_panic() {
    attack(|attacker, calls| {
        calls.iter().for_each(|call| drop(attacker.strike_each(call, &call.argv())));
        let key = [b"k".to_vec()];
        let script = |body: &str| argv(&format!("EVAL \"{body}\" 1 k"));
        let bad = [
            script("redis.call('SET', KEYS[1], 'x') return redis.error_reply('ERR no')"),
            script("redis.call('PUBLISH', 'c', 'x') return redis.error_reply('ERR no')"),
            script("return {1, redis.error_reply('lower case')}"),
            script("return redis.error_reply('ERR \\xe4\\xb8\\x80')"),
            argv("ATOMIC.DEBUG PANIC boom"),
        ];
        for attempt in bad {
            let struck = AssertUnwindSafe(|| attacker.strike(&attempt, &key, |_| Vec::new()));
            assert!(catch_unwind(struck).is_err(), "{} went unnoticed", line(&attempt));
        }
    });
}

/// Runs `body` on every server with all forms of all commands, then checks that the server still works.
fn attack(body: impl Fn(&mut Attacker, &[Call])) {
    // The example commands are attacked, too.
    each_server_with(&examples(), |server| {
        // From its first replica on, the server counts what it replicates, even without a replica.
        drop(FakeReplica::attach(server));
        let calls: Vec<Call> = commands(server).iter().flat_map(forms).collect();
        load_script(server, &calls);
        let mut attacker = Attacker { server, connection: server.connect(), answered: 0, refused: 0 };
        body(&mut attacker, &calls);
        let (answered, refused) = (attacker.answered, attacker.refused);
        assert!(answered + refused >= calls.len(), "{answered} answered and {refused} refused attempts are no attack");
        assert_eq!(server.connect().run("PING"), Value::Status("PONG".to_owned()));
    });
}

/// Loads the script that calls refer to by its digest, and the function that they name.
fn load_script(server: &Server, calls: &[Call]) {
    assert_eq!(server.call(&["ATOMIC.FUNCTION", "LOAD", "REPLACE", LIBRARY]), Value::bulk("hostile"));
    if calls.iter().any(|call| call.argv().contains(&SCRIPT_SHA1.as_bytes().to_vec())) {
        assert_eq!(server.call(&["ATOMIC.SCRIPT", "LOAD", SCRIPT]), Value::bulk(SCRIPT_SHA1));
    }
}

/// The state truncated, extended, with flipped bits, and with extreme numbers in place of its own.
fn damages(state: &[u8]) -> Vec<Vec<u8>> {
    let truncated = (0..state.len()).map(|length| state[..length].to_vec());
    let flipped = (0..state.len()).flat_map(|at| {
        [1 << (at % 8), 0x80, 0xff].map(|mask| {
            let mut damaged = state.to_vec();
            damaged[at] ^= mask;
            damaged
        })
    });
    let extreme = (0..state.len().saturating_sub(7)).flat_map(|at| {
        let numbers = [i64::MAX, i64::MIN];
        [numbers.map(i64::to_be_bytes), numbers.map(i64::to_le_bytes), [[0; 8], [0xff; 8]]].concat().into_iter().map(
            move |bytes| {
                let mut damaged = state.to_vec();
                damaged[at..at + 8].copy_from_slice(&bytes);
                damaged
            },
        )
    });
    let prolonged = [vec![0], vec![0xff; 8], vec![b'x'; 1000]].map(|junk| [state.to_vec(), junk].concat());
    truncated.chain(flipped).chain(extreme).chain(prolonged).collect()
}

fn with(call: &Call, position: usize, value: &[u8]) -> Vec<Vec<u8>> {
    let mut attempt = call.argv();
    attempt[position] = value.to_vec();
    attempt
}

fn fill(command: &str, key: &[u8]) -> Vec<Vec<u8>> {
    argv(command).into_iter().map(|word| if word == b"%s" { key.to_vec() } else { word }).collect()
}
