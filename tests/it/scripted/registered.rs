//! Scripted commands are commands like any other to the server.

use super::{Directory, command, each_server_with_command, examples};
use crate::support::cluster::{Cluster, redirection, slot};
use crate::support::docs::{command_names, commands};
use crate::support::{Connection, Server, Value, each_installed, each_server_with};

fn words(value: &Value) -> Vec<String> {
    let mut words: Vec<String> = value.array().iter().map(Value::text).collect();
    words.sort();
    words
}

/// Arity, flags, first key, last key and step of `COMMAND INFO`, and the flags of the key spec.
fn info(server: &Server, name: &str) -> (i64, Vec<String>, [i64; 3], Vec<String>) {
    let info = server.run(&format!("COMMAND INFO {name}"));
    let fields = info.array()[0].array();
    let spec = fields[8].array().first().map(|spec| words(&spec.field("flags").unwrap())).unwrap_or_default();
    (fields[1].integer(), words(&fields[2]), [3, 4, 5].map(|at| fields[at].integer()), spec)
}

#[test]
fn the_examples_are_commands_with_arity_flags_and_key_specs() {
    each_server_with(&examples(), |server| {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let update = || list("RW access update");
        let expected = [
            ("inventory.reserve", (4, list("denyoom fast module noscript write"), [1, 2, 1], update())),
            ("push.ifexists", (-4, list("denyoom module noscript write"), [1, 2, 1], update())),
            ("SUM.KEYS", (-3, list("module movablekeys noscript readonly"), [0, 0, 0], list("RO access"))),
            ("top.incr", (-4, list("denyoom module noscript write"), [1, 2, 1], update())),
        ];
        for (name, expected) in expected {
            assert_eq!(info(server, name), expected, "{name}");
        }
        let names = command_names(server);
        assert!(
            ["inventory.reserve", "push.ifexists", "sum.keys", "top.incr"].iter().all(|name| names.contains(&(*name).to_owned()))
        );
    });
}

#[test]
fn the_docs_are_those_of_the_file() {
    each_server_with(&examples(), |server| {
        let documented = commands(server);
        let sum = documented.iter().find(|command| command.words == ["SUM.KEYS"]).expect("no docs");
        let expected = [
            ("summary", "Returns the sum of the integers at several keys."),
            ("since", "1.0.0"),
            ("complexity", "O(N) in the number of keys"),
            ("group", "module"),
        ];
        for (field, text) in expected {
            assert!(sum.prose.contains(&(field.to_owned(), text.to_owned())), "{field}: {:?}", sum.prose);
        }
        let arguments: Vec<(&str, &str, bool)> =
            sum.arguments.iter().map(|a| (a.name.as_str(), a.kind.as_str(), a.multiple)).collect();
        assert_eq!(arguments, [("numkeys", "integer", false), ("key", "key", true), ("arg", "string", true)]);
        let reserve = documented.iter().find(|command| command.words == ["INVENTORY.RESERVE"]).expect("no docs");
        let arguments: Vec<&str> = reserve.arguments.iter().map(|a| a.kind.as_str()).collect();
        assert_eq!(arguments, ["key", "key", "string"]);
    });
}

/// A command without documentation still documents its arguments.
#[test]
fn a_command_needs_only_a_name_and_a_callback() {
    each_server_with_command("Bare", "", "return {#keys, #args, args[1] or 'none'}", |server| {
        let reply = |count, first: &str| Value::Array(vec![Value::Integer(0), Value::Integer(count), Value::bulk(first)]);
        assert_eq!(server.run("bare"), reply(0, "none"));
        assert_eq!(server.run("BARE x y"), reply(2, "x"));
        let (arity, flags, keys, spec) = info(server, "bare");
        assert_eq!((arity, keys, spec), (-1, [0, 0, 0], Vec::new()));
        assert_eq!(flags, ["module", "noscript", "readonly"]);
        let docs = server.run("COMMAND DOCS bare").field("bare").unwrap();
        assert_eq!((docs.field("summary"), docs.field("since")), (None, None));
    });
}

/// Fields, a call, its keys, and the arguments of the function: keys, then arguments.
const KEYS: &[(&str, &str, &str, &str)] = &[
    ("keys = {1, 1, 1}", "T k a", "k", "k|a"),
    ("keys = {1, 1, 1}", "T k", "k", "k|"),
    ("keys = {2, 3, 1}", "T a k j b c", "k j", "k j|a b c"),
    ("keys = {1, -1, 1}", "T k j l", "k j l", "k j l|"),
    ("keys = {1, -1, 2}", "T k a j b", "k j", "k j|a b"),
    ("keys = {1, -1, 2}", "T k a j", "k j", "k j|a"),
    ("keys = {1, -2, 1}", "T k j a", "k j", "k j|a"),
    ("keys = {2, -3, 2}", "T a k b j c d", "k j", "k j|a b c d"),
    ("keys = {1, 3, 2}", "T k a j b", "k j", "k j|a b"),
    (
        "keys = {1, 20, 19}",
        "T k 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 j",
        "k j",
        "k j|2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19",
    ),
    ("numkeys = 1", "T 2 k j", "k j", "k j|"),
    ("numkeys = 1", "T 1 k a b", "k", "k|a b"),
    ("numkeys = 2", "T a 2 k j b", "k j", "k j|a b"),
    ("numkeys = 3", "T a b 1 k 5", "k", "k|a b 5"),
];

#[test]
fn the_server_and_the_function_see_the_same_keys() {
    for (fields, call, keys, seen) in KEYS {
        let body = "return table.concat(keys, ' ') .. '|' .. table.concat(args, ' ')";
        each_server_with_command("T", fields, body, |server| {
            let expected: Vec<Value> = keys.split(' ').map(Value::bulk).collect();
            assert_eq!(server.run(&format!("COMMAND GETKEYS {call}")), Value::Array(expected), "{fields}");
            assert_eq!(server.run(call), Value::bulk(seen), "{fields}");
            let shorter = call.rsplit_once(' ').unwrap().0;
            let shortest = call.split(' ').next().unwrap();
            assert!(matches!(server.run(shortest), Value::Error(_)), "{fields}");
            assert!(matches!(server.run(&format!("COMMAND GETKEYS {shortest}")), Value::Error(_)), "{fields}");
            // Clients without key specs read a range; counted keys have no range.
            let range = fields.strip_prefix("keys = {").map_or("0, 0, 0", |rest| rest.trim_end_matches('}'));
            let (_, _, legacy, _) = info(server, "t");
            assert_eq!(legacy.map(|number| number.to_string()).join(", "), range, "{fields}");
            // A call with one word less is refused, or has the remaining keys.
            let (listed, reply) = (server.run(&format!("COMMAND GETKEYS {shorter}")), server.run(shorter));
            if let Value::Bulk(bytes) = &reply {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let left: Vec<Value> = text.split('|').next().unwrap().split(' ').map(Value::bulk).collect();
                assert_eq!(listed, Value::Array(left), "{fields}: {shorter}");
            }
        });
    }
}

#[test]
fn a_call_with_too_few_or_too_many_words_never_reaches_the_function() {
    for (fields, good, bad) in [
        ("arity = 3", "T a b", &["T a", "T a b c", "T"][..]),
        ("arity = -3", "T a b c", &["T a", "T"]),
        ("arity = 1", "T", &["T a"]),
        ("keys = {1, 2, 1}", "T k j", &["T k"]),
        ("numkeys = 1, arity = 4", "T 1 k a", &["T 1 k", "T 1 k a b"]),
    ] {
        each_server_with_command("T", fields, "return 1", |server| {
            assert_eq!(server.run(good), Value::Integer(1), "{fields}");
            for call in bad {
                let reply = server.run(call);
                assert_eq!(reply.error(), "ERR wrong number of arguments for 't' command", "{fields}: {call}");
            }
            let listed = server.run("ATOMIC.COMMANDS LIST");
            assert_eq!(listed.array()[0].field("calls"), Some(Value::Integer(1)), "{fields}");
        });
    }
}

fn user(server: &Server, rules: &str) -> Connection {
    assert_eq!(server.run(&format!("ACL SETUSER guest reset on >pw +auth +ping {rules}")), Value::ok(), "{rules}");
    let mut connection = server.connect();
    assert_eq!(connection.run("AUTH guest pw"), Value::ok());
    connection
}

#[track_caller]
fn expect_denied(connection: &mut Connection, call: &str, denied: bool) {
    let reply = connection.run(call);
    let is_denied = matches!(&reply, Value::Error(text) if text.starts_with("NOPERM "));
    assert_eq!(is_denied, denied, "{call}: {reply}");
}

#[test]
fn key_rules_follow_the_key_flags_of_the_file() {
    for (access, read, write) in [("RO", false, true), ("RW", true, true), ("OW", true, false)] {
        let fields = format!("keys = {{1, 1, 1}}, flags = {{'write'}}, access = '{access}'");
        each_server_with_command("T", &fields, "return 1", |server| {
            let mut guest = user(server, "+@all ~a:* %R~r:* %W~w:*");
            expect_denied(&mut guest, "T a:k", false);
            expect_denied(&mut guest, "T r:k", read);
            expect_denied(&mut guest, "T w:k", write);
            expect_denied(&mut guest, "T k", true);
        });
    }
    each_server_with(&examples(), |server| {
        let mut guest = user(server, "+@all %R~r:* ~a:*");
        expect_denied(&mut guest, "SUM.KEYS 2 r:1 a:1", false);
        expect_denied(&mut guest, "SUM.KEYS 2 r:1 b:1", true);
        expect_denied(&mut guest, "INVENTORY.RESERVE a:1 a:2 1", false);
        expect_denied(&mut guest, "INVENTORY.RESERVE a:1 r:2 1", true);
    });
}

#[test]
fn a_command_is_permitted_by_name_and_its_calls_need_the_rights_of_the_user() {
    each_server_with(&examples(), |server| {
        server.run("SET a:1 5");
        let mut guest = user(server, "+sum.keys +get ~*");
        assert_eq!(guest.run("SUM.KEYS 1 a:1"), Value::Integer(5));
        expect_denied(&mut guest, "INVENTORY.RESERVE a:1 a:2 1", true);
        let mut guest = user(server, "+inventory.reserve +get ~*");
        let reply = guest.run("INVENTORY.RESERVE a:1 a:2 1");
        assert!(crate::script::is_denied(&reply) && reply.error().contains("inventory.lua:"), "{reply}");
        assert_eq!(server.run("GET a:1"), Value::bulk("5"));
    });
}

/// Redis 7.0 accepts no categories from modules, and gives their commands none.
#[test]
fn categories_follow_from_the_flags() {
    each_server_with(&examples(), |server| {
        if server.binary.version == (7, 0) {
            return;
        }
        for (rules, sum, reserve) in [
            ("+@all -@write", true, false),
            ("+@all -@read", false, true),
            ("+@all -@fast", true, false),
            ("+@all -@slow", false, true),
            ("+@all -@scripting", false, false),
            ("-@all +@scripting", true, true),
            ("+@all -@atomic", false, false),
        ] {
            assert_eq!(server.run(&format!("ACL SETUSER guest reset on {rules} ~*")), Value::ok());
            for (call, may) in [("SUM.KEYS 1 k", sum), ("INVENTORY.RESERVE k j 1", reserve)] {
                let allowed = server.run(&format!("ACL DRYRUN guest {call}")) == Value::ok();
                assert_eq!(allowed, may, "{rules}: {call}");
            }
        }
        let mut guest = user(server, "+@all -@admin ~*");
        expect_denied(&mut guest, "ATOMIC.COMMANDS RELOAD", true);
        expect_denied(&mut guest, "ATOMIC.COMMANDS LIST", false);
    });
}

#[test]
fn flags_reach_the_server() {
    let fields = "flags = {'write', 'deny-oom', 'fast', 'admin', 'allow-stale', 'no-monitor', 'no-slowlog'}";
    each_server_with_command("T", fields, "return 1", |server| {
        let flags = info(server, "t").1.join(" ").replace("skip_commandlog skip_monitor", "skip_monitor skip_slowlog");
        assert_eq!(flags, "admin denyoom fast module noscript skip_monitor skip_slowlog stale write");
        server.run("CONFIG SET slowlog-log-slower-than 0");
        server.run("SLOWLOG RESET");
        server.run("T");
        let logged = server.run("SLOWLOG GET 10").to_string();
        assert!(!logged.contains("\"T\""), "{logged}");
    });
}

#[test]
fn the_server_and_the_module_count_calls_and_errors() {
    each_server_with_command("T", "", "if args[1] then error('mine') end return 1", |server| {
        server.run("T");
        server.run("t");
        server.run("T x");
        let stats = server.info("cmdstat_t");
        assert!(stats.starts_with("calls=3,") && stats.contains("rejected_calls=0,failed_calls=1"), "{stats}");
        let listed = server.run("ATOMIC.COMMANDS LIST").array()[0].clone();
        assert_eq!((listed.field("calls"), listed.field("errors")), (Some(Value::Integer(3)), Some(Value::Integer(1))));
        server.run("ATOMIC.SCRIPT RESETSTAT");
        let listed = server.run("ATOMIC.COMMANDS LIST").array()[0].clone();
        assert_eq!((listed.field("calls"), listed.field("errors")), (Some(Value::Integer(0)), Some(Value::Integer(0))));
    });
}

#[test]
fn an_error_names_the_command_the_file_and_the_line() {
    let body = "if args[1] == 'table' then return redis.error_reply('MINE of my own') end\nerror(args[1])";
    each_server_with_command("My.Command", "", body, |server| {
        let reply = server.run("MY.COMMAND oops");
        assert_eq!(reply.error(), "ERR file.lua:4: oops script: my.command, on @file.lua:4.");
        assert_eq!(server.run("MY.COMMAND table").error(), "MINE of my own");
        let reply = server.run(r#"MY.COMMAND "\xff\r\n""#);
        assert!(reply.error().bytes().all(|byte| (0x20..=0x7e).contains(&byte)), "{reply}");
    });
}

#[test]
fn scripts_cannot_run_scripted_commands_but_can_ask_for_their_keys() {
    each_server_with(&examples(), |server| {
        server.run("SET a 5");
        for eval in ["EVAL", "ATOMIC.EVAL"] {
            let reply = server.call(&[eval, "return redis.call('SUM.KEYS', 1, 'a')", "0"]);
            assert!(reply.error().contains("not allowed from script"), "{eval}: {reply}");
            let reply = server.call(&[eval, "return redis.call('COMMAND', 'GETKEYS', 'SUM.KEYS', 1, 'a')", "0"]);
            assert_eq!(reply, Value::Array(vec![Value::bulk("a")]), "{eval}");
        }
        let script = "return redis.acl_check_cmd('SUM.KEYS', 1, KEYS[1])";
        let mut guest = user(server, "+@all ~a");
        assert_eq!(guest.call(&["ATOMIC.EVAL", script, "1", "a"]), Value::Integer(1));
        let script = script.replace("KEYS[1]", "'b'");
        assert_eq!(guest.call(&["ATOMIC.EVAL", &script, "1", "a"]), Value::Null);
    });
}

#[test]
fn a_cluster_sends_a_call_to_the_node_of_its_keys() {
    let fields = "keys = {1, -1, 1}, flags = {'write'}";
    let body = "return redis.call('MSET', keys[1], 'v', args[1] or keys[#keys], 'v')";
    let undeclared = command("T.OTHER", "keys = {1, 1, 1}, flags = {'write'}", "return redis.call('SET', args[1], 'v')");
    let directory = Directory::new(&[
        ("a.lua", &command("T", fields, body)),
        ("b.lua", &undeclared),
        ("c.lua", &command("T.COUNTED", "numkeys = 2", "return #keys")),
    ]);
    each_installed(|binary| {
        let cluster = Cluster::start_with(binary, 2, directory.setup());
        let [first, second] = [0, 1].map(|at| &cluster.nodes[at]);
        for number in 0..20 {
            let key = format!("{{{number}}}");
            let slot = slot(first, &key);
            let (home, other) = if slot < 8192 { (first, second) } else { (second, first) };
            assert_eq!(home.run(&format!("T {key}a {key}b")), Value::ok());
            assert_eq!(other.run(&format!("T {key}a {key}b")), redirection("MOVED", slot, home));
            assert_eq!(home.run(&format!("T.COUNTED x 2 {key}a {key}b")), Value::Integer(2));
            assert_eq!(other.run(&format!("T.COUNTED x 2 {key}a {key}b")), redirection("MOVED", slot, home));
        }
        assert!(first.run("T a b").error().starts_with("CROSSSLOT "));
        assert!(first.run("T.COUNTED x 2 a b").error().starts_with("CROSSSLOT "));
        // Undeclared keys must be in the slot of the declared keys.
        let key = (0..).map(|number| format!("{{{number}}}")).find(|key| slot(first, key) < 8192).unwrap();
        let elsewhere = (0..).map(|number| format!("{{x{number}}}")).find(|key| slot(first, key) < 8192).unwrap();
        assert_eq!(first.run(&format!("T.OTHER {key} {key}x")), Value::ok());
        let reply = first.run(&format!("T.OTHER {key} {elsewhere}"));
        assert!(reply.error().contains("do not hash to the same slot"), "{reply}");
    });
}
