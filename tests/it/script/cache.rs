//! What is cached and for how long; and that nothing else is kept from one run to another.

use super::{eval, evalsha, expect_working, sha1};
use crate::support::{RealReplica, Server, Setup, Value, each_server, each_server_with, module_path};

const SCRIPT: &str = "return {KEYS[1], ARGV[1]}";
const NONE: &str = "0000000000000000000000000000000000000000";
const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use ATOMIC.EVAL.";

fn exists(server: &Server, digests: &[&str]) -> Value {
    server.call(&[&["ATOMIC.SCRIPT", "EXISTS"], digests].concat())
}

fn load(server: &Server, script: &str) -> Value {
    server.call(&["ATOMIC.SCRIPT", "LOAD", script])
}

#[test]
fn a_loaded_script_is_found_by_its_digest_in_either_case() {
    each_server(|server| {
        let digest = sha1(SCRIPT);
        assert_eq!(exists(server, &[&digest]), Value::integers(&[0]));
        for _ in 0..2 {
            assert_eq!(load(server, SCRIPT), Value::bulk(&digest));
        }
        let upper = digest.to_uppercase();
        assert_eq!(exists(server, &[&digest, NONE, &upper, "", "x", &digest[1..]]), Value::integers(&[1, 0, 1, 0, 0, 0]));
        let expected = Value::Array(vec![Value::bulk("k"), Value::bulk("a")]);
        for digest in [&digest, &upper] {
            assert_eq!(server.run(&format!("ATOMIC.EVALSHA {digest} 1 k a")), expected);
        }
        assert_eq!(server.call(&["SCRIPT", "EXISTS", &digest]), Value::integers(&[0]), "the server's own cache is another");
    });
}

#[test]
fn an_unknown_digest_is_answered_with_noscript() {
    each_server(|server| {
        let digest = load(server, SCRIPT).text();
        let long = format!("{digest}0");
        for unknown in [NONE, "", "x", &digest[..39], &long, &digest.replace(&digest[..1], "g"), "\u{4e00}\0\r\n"] {
            for rest in [&["0"][..], &["1", "k"], &["0", "a", "b"]] {
                let reply = server.call(&[&["ATOMIC.EVALSHA", unknown], rest].concat());
                assert_eq!(reply.error(), NOSCRIPT, "{unknown:?}");
            }
        }
        assert!(server.run(&format!("ATOMIC.EVALSHA {digest} 2 k")).error().starts_with("ERR Number of keys can't be greater"));
        assert!(server.run(&format!("ATOMIC.EVALSHA {digest} -1")).error().starts_with("ERR Number of keys can't be negative"));
    });
}

#[test]
fn a_script_that_eval_has_seen_is_found_unless_it_did_not_compile() {
    each_server(|server| {
        assert_eq!(server.call(&evalsha(SCRIPT, "0")).error(), NOSCRIPT);
        server.call(&eval(SCRIPT, "1 k a"));
        assert_eq!(server.call(&evalsha(SCRIPT, "1 k b")).array()[1], Value::bulk("b"));
        let failing = "error('always')";
        server.call(&eval(failing, "0"));
        assert!(server.call(&evalsha(failing, "0")).error().starts_with("ERR user_script:1: always script: "));
        let broken = "return return";
        for _ in 0..2 {
            assert!(
                server.call(&eval(broken, "0")).error().starts_with("ERR Error compiling script (new function): user_script:1: ")
            );
            assert!(load(server, broken).error().starts_with("ERR Error compiling script (new function): user_script:1: "));
        }
        assert_eq!(exists(server, &[&sha1(broken)]), Value::integers(&[0]));
        assert_eq!(server.info("atomic_scripts_cached"), "2");
    });
}

#[test]
fn flush_forgets_everything_in_every_form() {
    each_server(|server| {
        for form in ["", "ASYNC", "SYNC", "async", "sYnC"] {
            load(server, SCRIPT);
            server.call(&eval("return 7", "0"));
            assert_eq!(exists(server, &[&sha1(SCRIPT), &sha1("return 7")]), Value::integers(&[1, 1]));
            assert_eq!(server.run(&format!("ATOMIC.SCRIPT FLUSH {form}")), Value::ok(), "{form}");
            assert_eq!(exists(server, &[&sha1(SCRIPT), &sha1("return 7")]), Value::integers(&[0, 0]), "{form}");
            assert_eq!(server.call(&evalsha(SCRIPT, "0")).error(), NOSCRIPT, "{form}");
            assert_eq!(server.info("atomic_scripts_cached"), "0");
            expect_working(&mut server.connect(), form);
        }
        load(server, SCRIPT);
        for form in ["NOW", "ASYNC SYNC", "''"] {
            assert!(matches!(server.run(&format!("ATOMIC.SCRIPT FLUSH {form}")), Value::Error(_)), "{form}");
        }
        assert_eq!(exists(server, &[&sha1(SCRIPT)]), Value::integers(&[1]), "a refused FLUSH forgets nothing");
        assert_eq!(server.run("SCRIPT FLUSH"), Value::ok());
        assert_eq!(server.run("FLUSHALL"), Value::ok());
        assert_eq!(exists(server, &[&sha1(SCRIPT)]), Value::integers(&[1]), "nor does what is not ours");
    });
}

/// What one run tries to leave behind, and what another sees if it succeeded: the expected answer is that it did not.
const LEAKS: &[(&str, &str, i64)] = &[
    ("leak = 1", "return rawget(_G, 'leak') == nil", 1),
    ("rawset(_G, 'leak', 1)", "return rawget(_G, 'leak') == nil", 1),
    ("setfenv(0, {leak = 1})", "return rawget(_G, 'leak') == nil and type(redis) == 'table'", 1),
    ("setfenv(1, {leak = 1})", "return type(redis) == 'table'", 1),
    ("string.leak = 1", "return rawget(string, 'leak') == nil", 1),
    ("getmetatable('').__index = nil", "return #(('x'):rep(3))", 3),
    ("getmetatable('').__add = function() return 1 end", "return getmetatable('').__add == nil", 1),
    ("getmetatable(_G).__index = nil", "return pcall(function() return undefined end) == false", 1),
    ("redis.call = function() return 1 end", "return type(redis.call('PING'))", 0),
    ("table.insert(KEYS, 'leak') table.insert(ARGV, 'leak')", "return #KEYS + #ARGV", 0),
    ("KEYS.leak = 1", "return KEYS.leak == nil", 1),
    ("math.randomseed(1) math.random()", "return math.floor(math.random() * 2147483647 + 0.5) == 976015093", -1),
    ("coroutine.wrap(function() coroutine.yield(1) end)()", "return coroutine.running() == nil", 1),
    ("local t = {} t.t = t error(t)", "return 5", 5),
    ("error('x')", "return 5", 5),
];

#[test]
fn no_run_sees_anything_of_another() {
    each_server_with(&Setup::with_module().deprecated_api(), |server| {
        let (mut one, mut other) = (server.connect(), server.connect());
        for &(leak, probe, expected) in LEAKS {
            for _ in 0..2 {
                one.call(&eval(leak, "0"));
                let guarded = format!("pcall(function() {leak} end) return 1");
                one.call(&eval(guarded, "0"));
            }
            for connection in [&mut one, &mut other] {
                let seen = connection.call(&eval(probe, "0"));
                match expected {
                    -1 => assert_eq!(seen, Value::Null, "{leak} is seen by {probe}"),
                    0 if probe.contains("PING") => assert_eq!(seen, Value::bulk("table"), "{leak}"),
                    number => assert_eq!(seen, Value::Integer(number), "{leak} is seen by {probe}"),
                }
                expect_working(connection, leak);
            }
        }
    });
}

#[test]
fn a_cached_script_starts_afresh_each_time() {
    each_server_with(&Setup::with_module().deprecated_api(), |server| {
        let script = "local n = 0 local t = {} n = n + 1 t[#t + 1] = n setfenv(1, {n = 5}) return {n, #t}";
        for call in [eval(script, "0"), evalsha(script, "0"), evalsha(script, "0")] {
            assert_eq!(server.call(&call), Value::integers(&[1, 1]));
        }
        let first = server.call(&eval("return {#KEYS, #ARGV}", "2 a b c"));
        assert_eq!(first, Value::integers(&[2, 1]));
        assert_eq!(server.call(&evalsha("return {#KEYS, #ARGV}", "0")), Value::integers(&[0, 0]));
    });
}

#[test]
fn what_only_eval_has_seen_ends_with_the_module_and_the_process_and_is_not_replicated() {
    each_server(|server| {
        let path = module_path();
        server.call(&eval(SCRIPT, "0"));
        let replica = RealReplica::with_module(server);
        assert_eq!(replica.server.call(&evalsha(SCRIPT, "0")).error(), NOSCRIPT);
        for _ in (0..3).filter(|_| server.unloads()) {
            assert_eq!(server.run("MODULE UNLOAD atomic"), Value::ok());
            assert_eq!(server.call(&["MODULE", "LOAD", path.to_str().unwrap()]), Value::ok());
            assert_eq!(server.call(&evalsha(SCRIPT, "0")).error(), NOSCRIPT);
            assert_eq!(server.info("atomic_scripts_cached"), "0");
            expect_working(&mut server.connect(), "loading again");
            server.call(&eval(SCRIPT, "0"));
        }
        server.kill_9();
        server.start_again();
        assert_eq!(server.call(&evalsha(SCRIPT, "0")).error(), NOSCRIPT);
    });
}
