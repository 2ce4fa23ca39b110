//! Metadata of the commands on a server: `COMMAND INFO`, `DOCS` and `GETKEYS`, ACL categories and permissions.

use crate::support::docs::{command_names, commands};
use crate::support::{Server, Value, each_server};

/// One row per command and subcommand.
struct Row {
    name: &'static str,
    arity: i64,
    /// As `COMMAND INFO` returns them, without `module`, which all have.
    flags: &'static str,
    /// Flags of the one key spec, or none.
    key: Option<&'static str>,
    /// A call and the keys that the server finds in it.
    call: &'static str,
    keys: &'static [&'static str],
}

const READ: Option<&str> = Some("RO access");
const UPDATE: Option<&str> = Some("RW access update");
const DELETE: Option<&str> = Some("RW access delete");

#[rustfmt::skip]
const COMMANDS: &[Row] = &[
    Row { name: "atomic.cas", arity: -4, flags: "write denyoom fast", key: UPDATE, call: "ATOMIC.CAS k a b PX 5", keys: &["k"] },
    Row { name: "atomic.cad", arity: 3, flags: "write fast", key: DELETE, call: "ATOMIC.CAD k a", keys: &["k"] },
    Row { name: "atomic.mcas", arity: -4, flags: "write denyoom", key: UPDATE, call: "ATOMIC.MCAS k a b j c d", keys: &["k", "j"] },
    Row { name: "atomic.set", arity: -4, flags: "write denyoom fast", key: UPDATE, call: "ATOMIC.SET k 5 GT", keys: &["k"] },
    Row { name: "atomic.del", arity: -3, flags: "write fast", key: DELETE, call: "ATOMIC.DEL k XX", keys: &["k"] },
    Row { name: "atomic.pexpire", arity: -4, flags: "write fast", key: UPDATE, call: "ATOMIC.PEXPIRE k 5 XX", keys: &["k"] },
    Row { name: "atomic.hcas", arity: 5, flags: "write denyoom fast", key: UPDATE, call: "ATOMIC.HCAS k f a b", keys: &["k"] },
    Row { name: "atomic.hset", arity: -5, flags: "write denyoom fast", key: UPDATE, call: "ATOMIC.HSET k f 5 GT", keys: &["k"] },
    Row { name: "atomic.ratelimit", arity: -5, flags: "write fast", key: UPDATE, call: "ATOMIC.RATELIMIT k FIXED 1 1", keys: &["k"] },
    Row { name: "atomic.ratelimit_ro", arity: -5, flags: "readonly fast", key: READ, call: "ATOMIC.RATELIMIT_RO k FIXED 1 1", keys: &["k"] },
    Row { name: "atomic.mratelimit", arity: -6, flags: "write denyoom movablekeys", key: UPDATE,
          call: "ATOMIC.MRATELIMIT 2 k j FIXED 1 1 FIXED 1 1", keys: &["k", "j"] },
    Row { name: "atomic.lock", arity: -4, flags: "write denyoom blocking", key: UPDATE, call: "ATOMIC.LOCK k me 1", keys: &["k"] },
    Row { name: "atomic.mlock", arity: -4, flags: "write denyoom", key: UPDATE, call: "ATOMIC.MLOCK me 1 k j", keys: &["k", "j"] },
    Row { name: "atomic.unlock", arity: -3, flags: "write", key: DELETE, call: "ATOMIC.UNLOCK k me ALL", keys: &["k"] },
    Row { name: "atomic.lockrenew", arity: 4, flags: "write", key: UPDATE, call: "ATOMIC.LOCKRENEW k me 1", keys: &["k"] },
    Row { name: "atomic.fence", arity: -3, flags: "write fast", key: UPDATE, call: "ATOMIC.FENCE k 1 PX 5", keys: &["k"] },
    Row { name: "atomic.lockinfo", arity: 2, flags: "readonly", key: READ, call: "ATOMIC.LOCKINFO k", keys: &["k"] },
    Row { name: "atomic.semacquire", arity: -5, flags: "write denyoom blocking", key: UPDATE, call: "ATOMIC.SEMACQUIRE k 1 me 1", keys: &["k"] },
    Row { name: "atomic.semrelease", arity: -3, flags: "write", key: DELETE, call: "ATOMIC.SEMRELEASE k me", keys: &["k"] },
    Row { name: "atomic.semrenew", arity: 4, flags: "write", key: UPDATE, call: "ATOMIC.SEMRENEW k me 1", keys: &["k"] },
    Row { name: "atomic.seminfo", arity: 2, flags: "readonly", key: READ, call: "ATOMIC.SEMINFO k", keys: &["k"] },
    Row { name: "atomic.incrby", arity: -3, flags: "write denyoom fast", key: UPDATE, call: "ATOMIC.INCRBY k 1 MAX 5 ENX PX 5", keys: &["k"] },
    Row { name: "atomic.hincrby", arity: -4, flags: "write denyoom fast", key: UPDATE, call: "ATOMIC.HINCRBY k f 1", keys: &["k"] },
    Row { name: "atomic.transfer", arity: -4, flags: "write denyoom fast", key: UPDATE, call: "ATOMIC.TRANSFER k j 0", keys: &["k", "j"] },
    Row { name: "atomic.getorset", arity: -3, flags: "write denyoom fast", key: UPDATE, call: "ATOMIC.GETORSET k v", keys: &["k"] },
    Row { name: "atomic.hmgetor", arity: -4, flags: "readonly fast", key: READ, call: "ATOMIC.HMGETOR k f d", keys: &["k"] },
    Row { name: "atomic.push", arity: -6, flags: "write denyoom", key: UPDATE, call: "ATOMIC.PUSH k LEFT 1 VALUES v", keys: &["k"] },
    Row { name: "atomic.pop", arity: -3, flags: "write fast", key: DELETE, call: "ATOMIC.POP k LEFT", keys: &["k"] },
    Row { name: "atomic.zpopdue", arity: -2, flags: "write fast blocking", key: DELETE, call: "ATOMIC.ZPOPDUE k", keys: &["k"] },
    Row { name: "atomic.zmovedue", arity: -3, flags: "write blocking", key: UPDATE, call: "ATOMIC.ZMOVEDUE k j", keys: &["k", "j"] },
    Row { name: "atomic.zdone", arity: -4, flags: "write fast", key: DELETE, call: "ATOMIC.ZDONE k a 1", keys: &["k"] },
    Row { name: "atomic.once", arity: -4, flags: "write denyoom fast", key: UPDATE, call: "ATOMIC.ONCE k PX 5", keys: &["k"] },
    Row { name: "atomic.idembegin", arity: -4, flags: "write denyoom fast", key: UPDATE, call: "ATOMIC.IDEMBEGIN k f 5", keys: &["k"] },
    Row { name: "atomic.idemend", arity: 6, flags: "write", key: UPDATE, call: "ATOMIC.IDEMEND k t r PX 5", keys: &["k"] },
    Row { name: "atomic.idemabort", arity: 3, flags: "write fast", key: DELETE, call: "ATOMIC.IDEMABORT k t", keys: &["k"] },
    Row { name: "atomic.idem", arity: -4, flags: "write movablekeys", key: UPDATE, call: "ATOMIC.IDEM k 5 MSET a 1 b 2", keys: &["k", "a", "b"] },
    Row { name: "atomic.waiters", arity: -1, flags: "admin noscript stale", key: None, call: "ATOMIC.WAITERS COUNT 1", keys: &[] },
    Row { name: "atomic.drain", arity: 2, flags: "admin noscript stale", key: None, call: "ATOMIC.DRAIN ON", keys: &[] },
    Row { name: "atomic.eval", arity: -3, flags: "noscript stale no_mandatory_keys movablekeys", key: UPDATE,
          call: "ATOMIC.EVAL 'return 1' 2 a b c", keys: &["a", "b"] },
    Row { name: "atomic.evalsha", arity: -3, flags: "noscript stale no_mandatory_keys movablekeys", key: UPDATE,
          call: "ATOMIC.EVALSHA abc 2 a b c", keys: &["a", "b"] },
    Row { name: "atomic.eval_ro", arity: -3, flags: "noscript stale no_mandatory_keys movablekeys", key: READ,
          call: "ATOMIC.EVAL_RO 'return 1' 2 a b c", keys: &["a", "b"] },
    Row { name: "atomic.evalsha_ro", arity: -3, flags: "noscript stale no_mandatory_keys movablekeys", key: READ,
          call: "ATOMIC.EVALSHA_RO abc 2 a b c", keys: &["a", "b"] },
    Row { name: "atomic.fcall", arity: -3, flags: "noscript stale no_mandatory_keys movablekeys", key: UPDATE,
          call: "ATOMIC.FCALL f 2 a b c", keys: &["a", "b"] },
    Row { name: "atomic.fcall_ro", arity: -3, flags: "noscript stale no_mandatory_keys movablekeys", key: READ,
          call: "ATOMIC.FCALL_RO f 2 a b c", keys: &["a", "b"] },
    Row { name: "atomic.evaltrace", arity: -3, flags: "noscript stale no_mandatory_keys movablekeys", key: UPDATE,
          call: "ATOMIC.EVALTRACE 'return 1' 2 a b c", keys: &["a", "b"] },
    Row { name: "atomic.fcalltrace", arity: -3, flags: "noscript stale no_mandatory_keys movablekeys", key: UPDATE,
          call: "ATOMIC.FCALLTRACE f 2 a b c", keys: &["a", "b"] },
    Row { name: "atomic.evaldryrun", arity: -3, flags: "noscript stale no_mandatory_keys movablekeys", key: UPDATE,
          call: "ATOMIC.EVALDRYRUN 'return 1' 2 a b c", keys: &["a", "b"] },
    Row { name: "atomic.fcalldryrun", arity: -3, flags: "noscript stale no_mandatory_keys movablekeys", key: UPDATE,
          call: "ATOMIC.FCALLDRYRUN f 2 a b c", keys: &["a", "b"] },
    Row { name: "atomic.function", arity: -2, flags: "", key: None, call: "ATOMIC.FUNCTION LIST", keys: &[] },
    Row { name: "atomic.function|load", arity: -3, flags: "write denyoom noscript", key: None, call: "ATOMIC.FUNCTION LOAD x", keys: &[] },
    Row { name: "atomic.function|delete", arity: 3, flags: "write noscript", key: None, call: "ATOMIC.FUNCTION DELETE x", keys: &[] },
    Row { name: "atomic.function|list", arity: -2, flags: "noscript", key: None, call: "ATOMIC.FUNCTION LIST", keys: &[] },
    Row { name: "atomic.function|flush", arity: -2, flags: "write noscript", key: None, call: "ATOMIC.FUNCTION FLUSH", keys: &[] },
    Row { name: "atomic.function|dump", arity: 2, flags: "noscript", key: None, call: "ATOMIC.FUNCTION DUMP", keys: &[] },
    Row { name: "atomic.function|restore", arity: -3, flags: "write denyoom noscript", key: None,
          call: "ATOMIC.FUNCTION RESTORE x", keys: &[] },
    Row { name: "atomic.function|stats", arity: 2, flags: "noscript allow_busy", key: None, call: "ATOMIC.FUNCTION STATS", keys: &[] },
    Row { name: "atomic.function|kill", arity: 2, flags: "noscript allow_busy", key: None, call: "ATOMIC.FUNCTION KILL", keys: &[] },
    Row { name: "atomic.function|help", arity: 2, flags: "noscript loading stale", key: None, call: "ATOMIC.FUNCTION HELP", keys: &[] },
    Row { name: "atomic.script", arity: -2, flags: "", key: None, call: "ATOMIC.SCRIPT EXISTS x", keys: &[] },
    Row { name: "atomic.script|load", arity: 3, flags: "noscript stale", key: None, call: "ATOMIC.SCRIPT LOAD x", keys: &[] },
    Row { name: "atomic.script|exists", arity: -3, flags: "noscript stale", key: None, call: "ATOMIC.SCRIPT EXISTS x", keys: &[] },
    Row { name: "atomic.script|kill", arity: 2, flags: "noscript stale allow_busy", key: None, call: "ATOMIC.SCRIPT KILL", keys: &[] },
    Row { name: "atomic.script|flush", arity: -2, flags: "noscript stale", key: None, call: "ATOMIC.SCRIPT FLUSH", keys: &[] },
    Row { name: "atomic.script|list", arity: -2, flags: "noscript stale", key: None, call: "ATOMIC.SCRIPT LIST", keys: &[] },
    Row { name: "atomic.script|show", arity: 3, flags: "noscript stale", key: None, call: "ATOMIC.SCRIPT SHOW x", keys: &[] },
    Row { name: "atomic.script|stats", arity: -2, flags: "noscript stale", key: None, call: "ATOMIC.SCRIPT STATS", keys: &[] },
    Row { name: "atomic.script|resetstat", arity: 2, flags: "noscript stale", key: None, call: "ATOMIC.SCRIPT RESETSTAT", keys: &[] },
    Row { name: "atomic.script|check", arity: 3, flags: "noscript stale", key: None, call: "ATOMIC.SCRIPT CHECK x", keys: &[] },
    Row { name: "atomic.script|help", arity: 2, flags: "noscript stale", key: None, call: "ATOMIC.SCRIPT HELP", keys: &[] },
    Row { name: "atomic.commands", arity: -2, flags: "", key: None, call: "ATOMIC.COMMANDS LIST", keys: &[] },
    Row { name: "atomic.commands|list", arity: 2, flags: "noscript stale", key: None, call: "ATOMIC.COMMANDS LIST", keys: &[] },
    Row { name: "atomic.commands|reload", arity: 2, flags: "admin noscript stale", key: None, call: "ATOMIC.COMMANDS RELOAD", keys: &[] },
    Row { name: "atomic.commands|help", arity: 2, flags: "noscript stale", key: None, call: "ATOMIC.COMMANDS HELP", keys: &[] },
];

const WITHOUT_ARGUMENTS: &[&str] = &[
    "ATOMIC.SCRIPT FLUSH",
    "ATOMIC.SCRIPT KILL",
    "ATOMIC.SCRIPT RESETSTAT",
    "ATOMIC.SCRIPT HELP",
    "ATOMIC.FUNCTION DUMP",
    "ATOMIC.FUNCTION STATS",
    "ATOMIC.FUNCTION KILL",
    "ATOMIC.FUNCTION HELP",
    "ATOMIC.COMMANDS LIST",
    "ATOMIC.COMMANDS RELOAD",
    "ATOMIC.COMMANDS HELP",
];

/// The words of an array or set of statuses.
fn words(value: &Value) -> Vec<String> {
    let mut words: Vec<String> = value.array().iter().map(Value::text).collect();
    words.sort();
    words
}

fn sorted(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    words.sort();
    words
}

#[test]
fn every_command_has_a_row_here_and_every_row_a_command() {
    each_server(|server| {
        let mut rows: Vec<&str> = COMMANDS.iter().map(|row| row.name).filter(|name| !name.contains('|')).collect();
        rows.sort_unstable();
        assert_eq!(command_names(server), rows);
    });
}

#[test]
fn arity_flags_and_key_specs_match_the_rows() {
    each_server(|server| {
        for row in COMMANDS {
            let info = server.run(&format!("COMMAND INFO {}", row.name));
            let Value::Array(fields) = &info.array()[0] else { panic!("COMMAND INFO {}: {info}", row.name) };
            assert_eq!(fields[1], Value::Integer(row.arity), "arity of {}", row.name);
            // Only with this flag Redis 7.0 tracks the reads of a script for client-side caching.
            let tracks = !server.binary.is_valkey && !server.binary.is_redis_from(7, 2) && row.name.ends_with("_ro");
            let more = if tracks && !row.flags.contains("readonly") { "readonly" } else { "" };
            assert_eq!(words(&fields[2]), sorted(&format!("{} module {more}", row.flags)), "flags of {}", row.name);
            let specs = fields[8].array();
            let flags: Vec<Vec<String>> = specs.iter().map(|spec| words(&spec.field("flags").unwrap())).collect();
            let more = (row.name == WITH_INNER).then_some("RW access update incomplete");
            let expected: Vec<Vec<String>> = row.key.into_iter().chain(more).map(sorted).collect();
            assert_eq!(flags, expected, "key specs of {}", row.name);
        }
    });
}

/// The commands that count their keys. No range of words describes these, so the server has to ask the command for its keys, and some
/// cluster clients have to ask the server.
const COUNT_THEIR_KEYS: &[&str] = &[
    "atomic.mratelimit",
    "atomic.eval",
    "atomic.evalsha",
    "atomic.eval_ro",
    "atomic.evalsha_ro",
    "atomic.fcall",
    "atomic.fcall_ro",
    "atomic.evaltrace",
    "atomic.fcalltrace",
    "atomic.evaldryrun",
    "atomic.fcalldryrun",
];

/// The command with a key at a fixed position and those of the command that it runs, which no key spec describes.
const WITH_INNER: &str = "atomic.idem";

/// The words from `first` to `last`, each `step`: what a client does with the range that `COMMAND INFO` answers.
fn in_range<'a>(words: &[&'a str], [first, last, step]: [i64; 3]) -> Vec<&'a str> {
    if first == 0 {
        return Vec::new();
    }
    let last = if last < 0 { words.len() as i64 + last } else { last };
    (first..=last).step_by(step as usize).map(|at| words[at as usize]).collect()
}

#[test]
fn clients_find_the_keys_by_their_range_but_where_the_call_counts_them() {
    each_server(|server| {
        for row in COMMANDS {
            let info = server.run(&format!("COMMAND INFO {}", row.name));
            let fields = info.array()[0].array();
            let counts = COUNT_THEIR_KEYS.contains(&row.name);
            let movable = counts || row.name == WITH_INNER;
            assert_eq!(words(&fields[2]).contains(&"movablekeys".to_owned()), movable, "{}", row.name);
            let range = [3, 4, 5].map(|at| fields[at].integer());
            let call: Vec<&str> = row.call.split(' ').collect();
            let expected = match row.name {
                WITH_INNER => &row.keys[..1],
                _ if counts => &[],
                _ => row.keys,
            };
            assert_eq!(in_range(&call, range), expected, "{} {range:?}", row.name);
        }
    });
}

#[test]
fn the_server_finds_the_keys_of_every_call() {
    each_server(|server| {
        for row in COMMANDS {
            let found = server.run(&format!("COMMAND GETKEYS {}", row.call));
            if row.keys.is_empty() {
                assert!(found.error().contains("no key arguments"), "{}: {found}", row.call);
            } else {
                let expected = row.keys.iter().map(Value::bulk).collect();
                assert_eq!(found, Value::Array(expected), "{}", row.call);
            }
        }
        let refused = server.run("COMMAND GETKEYS ATOMIC.EVAL 'return 1' 3 a b");
        assert!(matches!(refused, Value::Error(_)) || refused == Value::Array(Vec::new()), "more keys than arguments: {refused}");
    });
}

#[test]
fn every_command_is_documented_completely() {
    each_server(|server| {
        for command in commands(server) {
            let name = command.words.join(" ");
            let prose = |field: &str| command.prose.iter().find(|(known, _)| known == field).map(|(_, text)| text.as_str());
            assert!(prose("summary").is_some_and(|text| text.ends_with('.') && text.len() > 10), "{name} has no summary");
            assert!(prose("since").is_some_and(|text| text.split('.').count() == 3), "{name} has no since");
            assert!(
                prose("complexity").is_some_and(|text| text.starts_with("O(") || text.starts_with("Depends on ")),
                "{name} has no complexity"
            );
            assert_eq!(prose("group"), Some("module"), "{name}");
            assert!(WITHOUT_ARGUMENTS.contains(&name.as_str()) || !command.arguments.is_empty(), "{name} documents no arguments");
        }
    });
}

/// Redis 7.4 and Valkey 8.0 let a module add a category.
fn has_category(server: &Server) -> bool {
    server.binary.is_redis_from(7, 4) || server.binary.is_valkey_from(8, 0)
}

#[test]
fn the_acl_category_atomic_holds_exactly_our_commands_where_the_server_has_it() {
    each_server(|server| {
        let categories = words(&server.run("ACL CAT"));
        assert_eq!(categories.contains(&"atomic".to_owned()), has_category(server), "{categories:?}");
        for row in COMMANDS {
            let info = server.run(&format!("COMMAND INFO {}", row.name));
            let ours = words(&info.array()[0].array()[6]).contains(&"@atomic".to_owned());
            assert_eq!(ours, has_category(server), "categories of {}", row.name);
        }
        if has_category(server) {
            let mut listed = words(&server.run("ACL CAT atomic"));
            listed.retain(|name| !name.starts_with("atomic.debug") && !name.contains('|'));
            // Valkey 8.0 leaves the commands of modules out of this list (valkey-io/valkey#1140); the permission itself works there.
            let forgets = listed.is_empty() && server.binary.is_of("valkey-8.0");
            assert!(forgets || listed == command_names(server), "{listed:?}");
        }
    });
}

/// Commands that write to the function store, but not on a replica: they have the category without the flag.
const CHANGE_THE_STORE: &[&str] = &["atomic.script|load", "atomic.script|flush"];

/// Redis 7.0 accepts no categories from modules, and gives their commands none.
#[test]
fn categories_follow_from_flags() {
    each_server(|server| {
        if server.binary.version == (7, 0) {
            return;
        }
        assert_eq!(server.run("ACL SETUSER reader on >pw ~* &* +@all -@write"), Value::ok());
        assert_eq!(server.run("ACL SETUSER writer on >pw ~* &* +@all -@read"), Value::ok());
        let mut reader = server.connect();
        assert_eq!(reader.run("AUTH reader pw"), Value::ok());
        let mut writer = server.connect();
        assert_eq!(writer.run("AUTH writer pw"), Value::ok());
        for row in COMMANDS {
            let info = server.run(&format!("COMMAND INFO {}", row.name));
            let categories = words(&info.array()[0].array()[6]);
            for (flag, category, denied) in [("write", "@write", &mut reader), ("readonly", "@read", &mut writer)] {
                let has_flag = row.flags.split(' ').any(|word| word == flag);
                let has = has_flag || (flag == "write" && CHANGE_THE_STORE.contains(&row.name));
                assert_eq!(categories.contains(&category.to_owned()), has, "{}: {categories:?}", row.name);
                let reply = denied.run(row.call);
                let refused = matches!(&reply, Value::Error(text) if text.starts_with("NOPERM "));
                assert!(refused || !has, "{}: {reply}", row.call);
            }
            let slow = categories.contains(&"@slow".to_owned());
            assert_eq!(slow, !row.flags.split(' ').any(|word| word == "fast"), "{}: {categories:?}", row.name);
        }
    });
}

#[test]
fn a_user_without_the_category_gets_noperm_for_every_command() {
    each_server(|server| {
        let denied = if has_category(server) {
            "-@atomic".to_owned()
        } else {
            command_names(server).iter().map(|name| format!("-{name} ")).collect()
        };
        assert_eq!(server.run(&format!("ACL SETUSER guest on >pw ~* &* +@all {denied}")), Value::ok());
        let mut guest = server.connect();
        assert_eq!(guest.run("AUTH guest pw"), Value::ok());
        for row in COMMANDS {
            let reply = guest.run(row.call);
            assert!(reply.error().starts_with("NOPERM "), "{}: {reply}", row.call);
        }
        assert_eq!(guest.run("SET k v"), Value::ok());
    });
}

#[test]
fn key_rules_hold_for_every_command() {
    each_server(|server| {
        assert_eq!(server.run("ACL SETUSER guest on >pw ~a:* %R~r:* &* +@all"), Value::ok());
        let mut guest = server.connect();
        assert_eq!(guest.run("AUTH guest pw"), Value::ok());
        for row in COMMANDS.iter().filter(|row| !row.keys.is_empty()) {
            let reply = guest.run(row.call);
            assert!(reply.error().starts_with("NOPERM "), "{}: {reply}", row.call);
            let call = |prefix: &str| {
                let words = row
                    .call
                    .split(' ')
                    .map(|word| if row.keys.contains(&word) { format!("{prefix}{word}") } else { word.to_owned() });
                words.collect::<Vec<_>>().join(" ")
            };
            for (prefix, allowed) in [("a:", true), ("r:", row.key == READ), ("b:", false)] {
                let reply = guest.run(&call(prefix));
                let denied = matches!(&reply, Value::Error(text) if text.starts_with("NOPERM "));
                assert_eq!(denied, !allowed, "{}: {reply}", call(prefix));
            }
        }
    });
}
