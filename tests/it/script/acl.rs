//! Every command of a script runs as the user who runs the script.

use super::{eval, is_denied, place};
use crate::support::{Connection, Server, Value, each_server};

/// A connection of a user with exactly these rules.
fn user(server: &Server, name: &str, rules: &str) -> Connection {
    assert_eq!(server.run(&format!("ACL SETUSER {name} reset on >pw -@all +auth +ping {rules}")), Value::ok(), "{rules}");
    let mut connection = server.connect();
    assert_eq!(connection.run(&format!("AUTH {name} pw")), Value::ok());
    connection
}

/// Rules, a script that is denied a call under them, and its keys.
const DENIALS: &[(&str, &str, &str)] = &[
    ("+atomic.eval ~*", "return redis.call('SET', KEYS[1], 'w')", "1 k"),
    ("+atomic.eval +get ~*", "redis.call('GET', KEYS[1]) redis.call('SET', KEYS[1], 'w')", "1 k"),
    ("+atomic.eval +set -set ~*", "redis.call('SET', KEYS[1], 'w')", "1 k"),
    ("+atomic.eval +@all -@write ~*", "return redis.call('DEL', 'k')", "0"),
    ("+atomic.eval +set ~a:*", "return redis.call('SET', 'k', 'w')", "0"),
    ("+atomic.eval +set ~a:*", "return redis.call('SET', 'k', 'w')", "1 a:1"),
    ("+atomic.eval +set +get %R~*", "redis.call('GET', 'k') return redis.call('SET', 'k', 'w')", "0"),
    ("+atomic.eval +get %W~*", "return redis.call('GET', 'k')", "0"),
    ("+atomic.eval +set", "return redis.call('SET', 'k', 'w')", "0"),
    ("+atomic.eval +mget ~a*", "return redis.call('MGET', 'a', 'k')", "0"),
    ("+atomic.eval ~*", "return redis.call('ATOMIC.CAS', KEYS[1], 'v', 'w')", "1 k"),
    ("+atomic.eval +publish ~* &only", "return redis.call('PUBLISH', 'other', 'm')", "0"),
    ("+atomic.eval +config|get ~*", "return redis.call('OBJECT', 'ENCODING', 'k')", "0"),
];

#[test]
fn what_the_user_may_not_do_its_script_may_not_do() {
    each_server(|server| {
        server.run("SET k v");
        for &(rules, script, rest) in DENIALS {
            let mut guest = user(server, "guest", rules);
            let reply = guest.call(&eval(script, rest));
            assert!(is_denied(&reply), "{rules}: {script}: {reply}");
            assert!(reply.error().ends_with(&place(script, 1)), "{rules}: {script}: {reply}");
            let protected = script.replace("redis.call", "redis.pcall");
            let reply = guest
                .call(&eval(format!("local function f() {protected} end local r = f() return {{r or 'none', 'after'}}"), rest));
            assert_eq!(reply.array()[1], Value::bulk("after"), "{rules}: {protected}: {reply}");
            if protected.contains("return") {
                assert!(is_denied(&reply.array()[0]), "{rules}: {protected}: {reply}");
            }
            assert_eq!(server.run("GET k"), Value::bulk("v"), "{rules}: {script}");
            assert_eq!(server.run("DBSIZE"), Value::Integer(1), "{rules}: {script}");
        }
    });
}

#[test]
fn what_the_user_may_do_its_script_may_do() {
    each_server(|server| {
        for (rules, script, rest) in [
            ("+atomic.eval +set ~a:*", "return redis.call('SET', KEYS[1], 'w')", "1 a:1"),
            ("+atomic.eval +set ~a:*", "return redis.call('SET', 'a:undeclared', 'w')", "0"),
            ("+atomic.eval +set +get %R~r:* %W~w:*", "redis.call('GET', 'r:1') return redis.call('SET', 'w:1', 'w')", "0"),
            ("+@all ~*", "return redis.call('SET', 'any', 'w')", "0"),
            ("+atomic.eval ~*", "return redis.status_reply('OK')", "1 any"),
        ] {
            let mut guest = user(server, "guest", rules);
            assert_eq!(guest.call(&eval(script, rest)), Value::ok(), "{rules}: {script}");
        }
    });
}

#[test]
fn each_run_has_the_rights_of_its_own_caller() {
    each_server(|server| {
        let script = "return redis.call('SET', 'k', ARGV[1])";
        let mut reader = user(server, "reader", "+atomic.eval +atomic.evalsha +get ~*");
        let mut writer = user(server, "writer", "+atomic.eval +atomic.evalsha +set ~*");
        for round in 0..3 {
            let call = eval(script, &format!("0 {round}"));
            assert!(is_denied(&reader.call(&call)), "round {round}");
            assert_eq!(writer.call(&call), Value::ok(), "round {round}");
            assert_eq!(server.call(&call), Value::ok(), "the default user, round {round}");
            assert!(is_denied(&reader.call(&super::evalsha(script, "0 x"))), "round {round}");
            assert_eq!(writer.call(&super::evalsha(script, &format!("0 {round}"))), Value::ok());
            assert_eq!(server.run("GET k"), Value::bulk(round.to_string()));
        }
        assert_eq!(server.run("ACL SETUSER writer -set"), Value::ok());
        assert!(is_denied(&writer.call(&eval(script, "0 x"))), "a right that was taken away is gone");
        assert_eq!(server.run("ACL SETUSER writer +set"), Value::ok());
        assert_eq!(writer.call(&eval(script, "0 x")), Value::ok());
    });
}

#[test]
fn a_declared_key_that_is_not_permitted_is_refused_before_the_script_runs() {
    each_server(|server| {
        let script = "return redis.call('SET', 'a:written', 1)";
        let digest = server.call(&["ATOMIC.SCRIPT", "LOAD", script]).text();
        let mut guest = user(server, "guest", "+atomic.eval +atomic.evalsha +set ~a:* %R~r:*");
        let runs = server.info("atomic_scripts_runs");
        for rest in ["1 b:1", "2 a:1 b:1", "3 a:1 a:2 b:1 a:3", "1 r:1", "1 ''"] {
            for call in [eval(script, rest), super::evalsha(script, rest)] {
                let reply = guest.call(&call);
                assert!(reply.error().starts_with("NOPERM "), "{rest}: {reply}");
                assert!(!reply.error().contains(&digest), "{rest}: the script ran: {reply}");
            }
        }
        assert_eq!(server.run("DBSIZE"), Value::Integer(0));
        assert_eq!(server.info("atomic_scripts_runs"), runs, "nothing ran");
        assert_eq!(guest.call(&eval(script, "2 a:1 a:2 b:argument")), Value::ok(), "an argument is no key");
    });
}

#[test]
fn a_script_can_ask_what_its_user_may_do() {
    each_server(|server| {
        let mut guest = user(server, "guest", "+eval +atomic.eval +get +config|get ~a:* %R~r:*");
        for (command, expected) in [
            ("'GET', 'a:1'", Some("true")),
            ("'GET', 'r:1'", Some("true")),
            ("'GET', 'other'", Some("false")),
            ("'get'", None),
            ("'SET', 'a:1', 'v'", Some("false")),
            ("'CONFIG', 'GET', 'x'", Some("true")),
            ("'CONFIG', 'SET', 'x', 'y'", Some("false")),
            ("'CONFIG'", None),
            ("'GET', 'a:1', 'a', 'b'", None),
            ("'nosuchcommand'", None),
            ("'CONFIG', 'NOSUCH'", None),
            ("'ATOMIC.CAS', 'a:1', 'v', 'w'", Some("false")),
            ("'ATOMIC.EVAL', 'return 1', 0", None),
        ] {
            let script = format!("return tostring(redis.acl_check_cmd({command}))");
            let [theirs, ours] =
                ["EVAL", "ATOMIC.EVAL"].map(|name| super::in_common_words(&guest.call(&[name, script.as_str(), "0"])));
            assert_eq!(theirs, ours, "{command}");
            if let Some(expected) = expected {
                assert_eq!(ours, Value::bulk(expected), "{command}");
            }
        }
        let script = "return {redis.acl_check_cmd('SET', 'k', 'v'), redis.acl_check_cmd('GET', 'k')}";
        assert_eq!(server.call(&eval(script, "0")), Value::integers(&[1, 1]), "the default user may do everything");
    });
}

/// Most servers read beyond the words of a command that has too few when they look for its keys, which only a user with some keys needs
/// (redis/redis#14843): `redis.acl_check_cmd('EVAL', 'x')` ended them.
#[test]
fn a_script_can_ask_about_any_command_with_too_few_words() {
    each_server(|server| {
        let mut guest = user(server, "guest", "+@all ~r:*");
        let script = "local asked = 0
            for _, name in ipairs(ARGV) do
                local words = {}
                for word in name:gmatch('[^|]+') do words[#words + 1] = word end
                for more = 0, 4 do
                    local ok, answer = pcall(redis.acl_check_cmd, unpack(words))
                    assert(not ok or type(answer) == 'boolean', name)
                    asked, words[#words + 1] = asked + 1, 'x'
                end
            end
            return asked";
        let names: Vec<String> = server.run("COMMAND LIST").array().iter().map(Value::text).collect();
        assert!(names.len() > 200 && names.iter().any(|name| name == "atomic.mlock"), "{names:?}");
        let call = [vec!["ATOMIC.EVAL", script, "0"], names.iter().map(String::as_str).collect()].concat();
        assert_eq!(guest.call(&call), Value::Integer(5 * names.len() as i64));
        // With just as many words as there are on the stack, and one fewer than EVAL takes.
        for command in ["'EVAL', 'x'", "'EVAL'", "'ATOMIC.EVAL', 'x'", "'ATOMIC.MLOCK'", "'ZUNIONSTORE', 'x'"] {
            let reply = guest.call(&eval(format!("return redis.acl_check_cmd({command})"), "0"));
            assert!(matches!(reply, Value::Null | Value::Integer(1) | Value::Error(_)), "{command}: {reply}");
        }
    });
}

#[test]
fn each_command_that_runs_scripts_is_permitted_for_itself() {
    const FORMS: [&str; 4] = ["ATOMIC.EVAL", "ATOMIC.EVAL_RO", "ATOMIC.EVALSHA", "ATOMIC.EVALSHA_RO"];
    each_server(|server| {
        let digest = server.call(&["ATOMIC.SCRIPT", "LOAD", "return 1"]).text();
        for permitted in FORMS {
            let mut guest = user(server, "guest", &format!("+{permitted} ~*"));
            for form in FORMS {
                let script = if form.contains("SHA") { digest.as_str() } else { "return 1" };
                let reply = guest.call(&[form, script, "0"]);
                if form == permitted {
                    assert_eq!(reply, Value::Integer(1), "{form}");
                } else {
                    assert!(reply.error().starts_with("NOPERM "), "{form} with {permitted}: {reply}");
                }
            }
        }
        // Who may only read a key may declare it for a script that only reads.
        let mut reader = user(server, "reader", "+atomic.eval +atomic.eval_ro +get %R~k");
        let script = "return redis.call('GET', KEYS[1])";
        assert!(reader.call(&eval(script, "1 k")).error().starts_with("NOPERM "));
        assert_eq!(reader.call(&["ATOMIC.EVAL_RO", script, "1", "k"]), Value::Null);
    });
}
