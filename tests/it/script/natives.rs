//! `atomic.*`: the native commands as functions. Everything that the server checks or does for a command is tested here again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Stream, eval, expect_streams, expect_working, is_denied, place};
use crate::slots::{OTHER_SLOT, has_tables};
use crate::support::cluster::{Cluster, begin_migration, slot};
use crate::support::docs::command_names;
use crate::support::line::line;
use crate::support::{
    Connection, FakeReplica, RealReplica, Server, Setup, Value, each_installed, each_server, each_server_with, eventually,
};

/// A function, setup commands, its arguments, and the words of the same command.
#[rustfmt::skip]
const CALLS: &[(&str, &str, &str, &str)] = &[
    ("cas", "SET k v", "K, 'v', 'w'", "K, 'v', 'w'"),
    ("cas", "SET k v", "K, 'other', 'w'", "K, 'other', 'w'"),
    ("cas", "SET k v", "K, 'v', 7, {px = 100000}", "K, 'v', 7, 'PX', 100000"),
    ("cas", "LPUSH k v", "K, 'v', 'w'", "K, 'v', 'w'"),
    ("cas", "", "K", "K"),
    ("cas", "", "K, 'v', 'w', 'x'", "K, 'v', 'w', 'x'"),
    ("cas", "", "K, nil", "K, nil"),
    ("cad", "SET k v", "K, 'v'", "K, 'v'"),
    ("mcas", "MSET k v j w", "K, 'v', 'x', 'j', 'w', 'y'", "K, 'v', 'x', 'j', 'w', 'y'"),
    ("mcas", "", "K, 'v', 'w', 'j'", "K, 'v', 'w', 'j'"),
    ("mcas", "MSET k v j w", "{K, 'v', 'x', 'j', 'w', 'y'}", "K, 'v', 'x', 'j', 'w', 'y'"),
    ("set", "", "K, 5, {nx = true, px = 100000}", "K, 5, 'NX', 'PX', 100000"),
    ("set", "SET k 3", "K, 5, {get = true, gt = true, ifge = 2.5}", "K, 5, 'IFGE', 2.5, 'GT', 'GET'"),
    ("set", "", "K, 5, {xx = false, get = true, gt = true}", "K, 5, 'GT', 'GET'"),
    ("set", "", "K, 5, {nx = true, px = 0}", "K, 5, 'NX', 'PX', 0"),
    ("del", "SET k v", "K, {ifeq = 'v'}", "K, 'IFEQ', 'v'"),
    ("pexpire", "SET k v", "K, 100000, {xx = true}", "K, 100000, 'XX'"),
    ("hcas", "HSET k f a", "K, 'f', 'a', 'b'", "K, 'f', 'a', 'b'"),
    ("hset", "HSET k f 3", "K, 'f', 5, {gt = true}", "K, 'f', 5, 'GT'"),
    ("ratelimit", "", "K, {bucket = {10, 5, 100000}, cost = 2}", "K, 'BUCKET', 10, 5, 100000, 'COST', 2"),
    ("ratelimit", "", "K, {cost = 2, sliding = {10, 100000}, full = true}", "K, 'SLIDING', 10, 100000, 'COST', 2, 'FULL'"),
    ("ratelimit", "", "K, {log = {3, 100000}, fixed = {9, 100000, 'ALIGN', 'AS', 'f'}, upto = 5}",
        "K, 'FIXED', 9, 100000, 'ALIGN', 'AS', 'f', 'LOG', 3, 100000, 'UPTO', 5"),
    ("ratelimit", "", "K, 'FIXED', 1, 100000, 'FIXED', 5, 200000, 'AS', 'x', {full = true}",
        "K, 'FIXED', 1, 100000, 'FIXED', 5, 200000, 'AS', 'x', 'FULL'"),
    ("ratelimit_ro", "", "K, {fixed = {10, 100000}}", "K, 'FIXED', 10, 100000"),
    ("mratelimit", "", "2, K, 'j', {'FIXED', 1, 100000, 'FIXED', 2, 100000, cost = 1}", "2, K, 'j', 'FIXED', 1, 100000, 'FIXED', 2, 100000, 'COST', 1"),
    ("lock", "", "K, 'me', 100000, {shared = true}", "K, 'me', 100000, 'SHARED'"),
    ("lock", "ATOMIC.LOCK k you 100000", "K, 'me', 100000, {wait = 0}", "K, 'me', 100000, 'WAIT', 0"),
    ("lock", "", "K, 'me', 100000, {bind = true}", "K, 'me', 100000, 'BIND'"),
    ("lock", "ATOMIC.LOCK k me 100000", "K, 'me', 200000, {shared = true, reentrant = true}", "K, 'me', 200000, 'SHARED', 'REENTRANT'"),
    ("mlock", "", "'me', 100000, K, 'j'", "'me', 100000, K, 'j'"),
    ("mlock", "", "'me', 100000", "'me', 100000"),
    ("unlock", "ATOMIC.LOCK k me 100000", "K, 'me', {all = true}", "K, 'me', 'ALL'"),
    ("lockrenew", "ATOMIC.LOCK k me 100000", "K, 'me', 200000", "K, 'me', 200000"),
    ("fence", "", "K, 5, {px = 100000}", "K, 5, 'PX', 100000"),
    ("lockinfo", "ATOMIC.LOCK k me 100000", "K", "K"),
    ("semacquire", "", "K, 3, 'me', 100000, {permits = 2, wait = 10, maxqueue = 1}", "K, 3, 'me', 100000, 'PERMITS', 2, 'WAIT', 10, 'MAXQUEUE', 1"),
    ("semacquire", "", "K, 3, 'me', 100000, {bind = true}", "K, 3, 'me', 100000, 'BIND'"),
    ("semacquire", "ATOMIC.SEMACQUIRE k 3 me 100000", "K, 3, 'me', 200000, {add = true, permits = 2}", "K, 3, 'me', 200000, 'PERMITS', 2, 'ADD'"),
    ("semrelease", "ATOMIC.SEMACQUIRE k 3 me 100000", "K, 'me'", "K, 'me'"),
    ("semrenew", "ATOMIC.SEMACQUIRE k 3 me 100000", "K, 'me', 200000", "K, 'me', 200000"),
    ("seminfo", "ATOMIC.SEMACQUIRE k 3 me 100000", "K", "K"),
    ("incrby", "SET k 1", "K, 5, {max = 4, saturate = true, ex = 1000}", "K, 5, 'MAX', 4, 'SATURATE', 'EX', 1000"),
    ("hincrby", "HSET k f 1", "K, 'f', 5, {max = 100}", "K, 'f', 5, 'MAX', 100"),
    ("transfer", "MSET k 5 j 1", "K, 'j', 3, {max = 10, min = 1}", "K, 'j', 3, 'MIN', 1, 'MAX', 10"),
    ("getorset", "", "K, 'a\\0b', {px = 100000}", "K, 'a\\0b', 'PX', 100000"),
    ("hmgetor", "HSET k f 1", "K, 'f', 'd', 'g', 'e'", "K, 'f', 'd', 'g', 'e'"),
    ("hmgetor", "", "K, {'f', 'd'}", "K, 'f', 'd'"),
    ("push", "RPUSH k a b", "K, 'LEFT', 3, {values = {'x', 'y'}, range = true, px = 100000, evict = true}",
        "K, 'LEFT', 3, 'EVICT', 'PX', 100000, 'RANGE', 'VALUES', 'x', 'y'"),
    ("pop", "RPUSH k a b c", "K, 'RIGHT', {keep = 1, count = 9}", "K, 'RIGHT', 'COUNT', 9, 'KEEP', 1"),
    ("zpopdue", "ZADD k 1 a 2 b 3 c", "K, {unit = 's', count = 2, wait = 0}", "K, 'COUNT', 2, 'UNIT', 's', 'WAIT', 0"),
    ("zpopdue", "ZADD k 1 a", "K, {lease = 100000}", "K, 'LEASE', 100000"),
    ("zmovedue", "ZADD k 1 a 2 b", "K, 'j', {left = true, count = 5}", "K, 'j', 'LEFT', 'COUNT', 5"),
    ("zdone", "ZADD k 1 a", "K, 'a', 1.0, {at = 2.5}", "K, 'a', 1.0, 'AT', 2.5"),
    ("once", "", "K, {value = 'v', px = 100000}", "K, 'PX', 100000, 'VALUE', 'v'"),
    ("idembegin", "", "K, 'print', 100000", "K, 'print', 100000"),
    ("idembegin", "", "K, 'print', 100000, {token = 'mine'}", "K, 'print', 100000, 'TOKEN', 'mine'"),
    ("idemend", "ATOMIC.IDEMBEGIN k token 100000", "K, 'token', 'response', {px = 100000}", "K, 'token', 'response', 'PX', 100000"),
    ("idemabort", "ATOMIC.IDEMBEGIN k token 100000", "K, 'token'", "K, 'token'"),
];

/// `ATOMIC.SEMINFO` of `seminfo`.
fn command_of(function: &str) -> String {
    format!("ATOMIC.{}", function.to_uppercase())
}

/// The reply of a script with one call, and its stream: as a function and as a command.
fn outcome(server: &Server, replica: &mut FakeReplica<'_>, before: &str, call: &str) -> [(Value, Vec<String>); 2] {
    [2, 3].map(|protocol| {
        server.run("FLUSHALL");
        if !before.is_empty() {
            server.run(before);
        }
        replica.stream();
        let script = format!(
            "redis.setresp({protocol}) local K, C, A = KEYS[1], redis.call, atomic local ok, r = pcall(function() return {call} end)
             if ok and type(r) == 'table' and r.map then local m = {{}} for k in pairs(r.map) do m[#m + 1] = k end table.sort(m) return m end
             return {{tostring(ok), r == nil and 'nil' or r}}"
        );
        let reply = server.call(&eval(script, "1 k"));
        // A state and a deadline contain the time.
        let words = |command: &Vec<Vec<u8>>| line(command.get(..2).unwrap_or(command));
        (reply, replica.commands().iter().map(words).collect())
    })
}

/// Whether two replies differ only in times.
fn alike(one: &Value, other: &Value) -> bool {
    let is_token = |bytes: &Vec<u8>| bytes.len() > 12 && bytes.iter().all(|c| b"0123456789.".contains(c));
    match (one, other) {
        (Value::Integer(a), Value::Integer(b)) => a == b || (*a > 5_000 && *b > 5_000),
        // The tokens of requests and of leases are derived from the time.
        (Value::Bulk(a), Value::Bulk(b)) => a == b || (is_token(a) && is_token(b)),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        _ => one == other,
    }
}

#[test]
fn each_command_is_a_function_with_the_same_reply_and_stream() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for &(function, before, arguments, words) in CALLS {
            let native = outcome(server, &mut replica, before, &format!("A.{function}({arguments})"));
            let called = outcome(server, &mut replica, before, &format!("C('{}', {words})", command_of(function)));
            for ((reply, stream), (expected, expected_stream)) in native.iter().zip(&called) {
                assert!(alike(reply, expected), "atomic.{function}({arguments}): {reply}, the command {expected}");
                assert_eq!(stream, expected_stream, "atomic.{function}({arguments})");
            }
        }
        let names = server.call(&eval("local t = {} for name in pairs(atomic) do t[#t + 1] = name end return t", "0"));
        let names: BTreeSet<String> = names.array().iter().map(|name| command_of(&name.text())).collect();
        let tested: BTreeSet<String> = CALLS.iter().map(|(function, ..)| command_of(function)).collect();
        assert_eq!(names, tested, "a row for each function");
        const RUNS_ANOTHER: &str = "ATOMIC.IDEM"; // scripts call it with `redis.call`
        const NOT_IN_SCRIPTS: [&str; 8] = ["EVAL", "SCRIPT", "FCALL", "FUNCTION", "COMMANDS", "DEBUG", "DRAIN", "WAITERS"];
        let scripted =
            |name: &String| name == RUNS_ANOTHER || NOT_IN_SCRIPTS.iter().any(|word| name.starts_with(&format!("ATOMIC.{word}")));
        let commands: BTreeSet<String> =
            command_names(server).iter().map(|name| name.to_uppercase()).filter(|name| !scripted(name)).collect();
        assert_eq!(names, commands, "a function for each command");
    });
}

#[test]
fn a_call_runs_no_command_where_the_server_can_check_one_without_running_it() {
    each_server(|server| {
        let script = "atomic.set(KEYS[1], 1, {nx = true})
            for n = 1, 3 do for m = 1, 5 do atomic.incrby(KEYS[1], 1) end redis.call('PING') end return redis.call('GET', KEYS[1])";
        assert_eq!(server.call(&eval(script, "1 k")), Value::bulk("16"));
        let stats = server.run("INFO commandstats").text();
        // On 7.0 the first call runs a command as the check, and so does the first call after any other command.
        let expected = server.info("redis_version").starts_with("7.0.").then_some("3");
        let calls = stats.split("cmdstat_atomic.incrby:calls=").nth(1).and_then(|rest| rest.split(',').next());
        assert_eq!(calls, expected);
    });
}

/// Setup commands, the script, its keys, and its whole stream.
const STREAMS: &[Stream] = &[
    ("SET k v", "return atomic.cas(KEYS[1], 'v', 'w')", "1 k", &["SET k w"]),
    ("SET k v", "return atomic.cas(KEYS[1], 'other', 'w')", "1 k", &[]),
    (
        "",
        "atomic.set('a', 1, {nx = true}) redis.call('SET', 'b', 2) atomic.incrby('a', 1, {max = 9})",
        "0",
        &["MULTI", "SET a 1", "SET b 2", "SET a 2 KEEPTTL", "EXEC"],
    ),
    ("", "return atomic.transfer('a', 'b', 0)", "0", &[]),
    ("MSET a 3 b 4", "return atomic.transfer('a', 'b', 3)", "0", &["MULTI", "SET a 0 KEEPTTL", "SET b 7 KEEPTTL", "EXEC"]),
    ("", "atomic.getorset(KEYS[1], 'v', {px = 100000}) error('after it')", "1 k", &["SET k v PXAT <deadline>"]),
    ("HSET k f 1", "return atomic.hincrby(KEYS[1], 'f', 2)", "1 k", &["HINCRBY k f 2"]),
    (
        "SET k a",
        "redis.pcall('LPUSH', 'k', 1) pcall(atomic.push, 'k', 'LEFT', 1, 'VALUES', 'x') atomic.cad('k', 'a')",
        "0",
        &["DEL k"],
    ),
];

#[test]
fn the_stream_is_that_of_the_effects() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        expect_streams(server, &mut replica, STREAMS);
        let mut connection = server.connect();
        server.run("SET k v");
        replica.stream();
        connection.run("MULTI");
        connection.run("SET a 1");
        connection.call(&eval("atomic.cas(KEYS[1], 'v', 'w') return atomic.lock('l', 'me', 1000, {wait = 0})[1]", "1 k"));
        assert_eq!(connection.run("EXEC"), Value::Array(vec![Value::ok(), Value::Integer(1)]));
        replica.expect_stream(&["MULTI", "SET a 1", "SET k w", "SET l <state> PXAT <deadline>", "EXEC"]);
    });
}

#[test]
fn writes_that_must_not_replicate_are_left_to_the_server() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let native = "redis.set_repl(redis.REPL_NONE) return atomic.set(KEYS[1], 1, {nx = true})";
        assert_eq!(server.call(&eval(native, "1 k")), Value::Integer(1));
        assert_eq!(server.run("GET k"), Value::bulk("1"));
        replica.expect_stream(&[]);
    });
}

#[test]
fn a_real_replica_holds_the_same_data_and_a_selected_database_is_used() {
    each_server(|server| {
        let replica = RealReplica::without_module(server);
        let script = "redis.call('SELECT', 3) atomic.set('k', 'three', {nx = true}) redis.call('SELECT', 0)
                      atomic.set('k', 'zero', {nx = true}) atomic.ratelimit('r', 'FIXED', 5, 100000) return atomic.push('l', 'LEFT', 2, {values = {1, 2, 3}})";
        assert_eq!(server.call(&eval(script, "0")), Value::integers(&[2, 1]));
        replica.expect_same_data();
        for holder in [server, &replica.server] {
            let mut connection = holder.connect();
            assert_eq!(connection.run("GET k"), Value::bulk("zero"));
            connection.run("SELECT 3");
            assert_eq!(connection.run("GET k"), Value::bulk("three"));
        }
    });
}

/// A connection of a user with exactly these ACL rules.
fn user(server: &Server, rules: &str) -> Connection {
    assert_eq!(
        server.run(&format!("ACL SETUSER guest reset on >pw -@all +auth +ping +atomic.eval {rules}")),
        Value::ok(),
        "{rules}"
    );
    let mut connection = server.connect();
    assert_eq!(connection.run("AUTH guest pw"), Value::ok());
    connection
}

/// A script with two calls, of which the second is under test, in both forms.
fn forms(before: &str, function: &str, arguments: &str) -> [String; 2] {
    let command = command_of(function);
    [format!("{before} return atomic.{function}({arguments})"), format!("{before} return redis.call('{command}', {arguments})")]
}

#[test]
fn a_function_may_not_do_what_its_user_may_not_do() {
    each_server(|server| {
        server.run("MSET k v a:1 v b 0 c 5");
        for (rules, before, function, arguments) in [
            ("~*", "", "cas", "KEYS[1], 'v', 'w'"),
            ("+atomic.cas ~a:*", "", "cas", "'k', 'v', 'w'"),
            ("+atomic.cas ~a:*", "atomic.cas('a:1', 'v', 'v')", "cas", "'k', 'v', 'w'"),
            ("+atomic.cas ~a:*", "redis.call('ATOMIC.CAS', 'a:1', 'v', 'v')", "cas", "'k', 'v', 'w'"),
            ("+atomic.cas +atomic.cad ~*", "atomic.cas('a:1', 'v', 'v')", "del", "'k', 'XX'"),
            ("+atomic.cas %R~*", "", "cas", "'k', 'v', 'w'"),
            ("+atomic.transfer ~c", "", "transfer", "'c', 'b', 1"),
            ("+atomic.mcas ~k", "", "mcas", "'k', 'v', 'w', 'c', '5', '6'"),
            ("+atomic.mcas ~k %R~c", "", "mcas", "'k', 'v', 'w', 'c', '5', '6'"),
            ("+atomic.mlock ~k", "", "mlock", "'me', 1000, 'k', 'c'"),
            ("+atomic.ratelimit_ro %W~*", "", "ratelimit_ro", "'r', 'FIXED', 1, 1000"),
            ("+@all -atomic.lock ~*", "", "lock", "'l', 'me', 1000"),
        ] {
            let mut guest = user(server, rules);
            let keys = if arguments.contains("KEYS[1]") { "1 k" } else { "0" };
            let [native, called] = forms(before, function, arguments).map(|script| {
                let reply = guest.call(&eval(&script, keys));
                reply.error().trim_end_matches(&place(&script, 1)).to_owned()
            });
            assert!(is_denied(&Value::Error(native.clone())), "{rules}: {function}: {native}");
            assert_eq!(native, called, "{rules}: {function}");
            assert_eq!(server.run("MGET k a:1 b c"), Value::Array(["v", "v", "0", "5"].map(Value::bulk).to_vec()), "{rules}");
        }
        let mut guest = user(server, "+atomic.cas ~a:*");
        assert_eq!(guest.call(&eval("return atomic.cas(KEYS[1], 'v', 'w')", "1 a:1")), Value::Integer(1));
        assert_eq!(server.run("ACL SETUSER guest -atomic.cas"), Value::ok());
        let reply = guest.call(&eval("return atomic.cas(KEYS[1], 'w', 'v')", "1 a:1"));
        assert!(is_denied(&reply), "a right that was taken away is gone: {reply}");
        assert!(server.run("ACL LOG").to_string().contains("atomic.cas"), "a denial is logged");
    });
}

#[test]
fn a_read_only_script_cannot_write() {
    const REFUSED: &str = "ERR Write commands are not allowed from read-only scripts.";
    each_server(|server| {
        server.run("SET k v");
        for script in ["return atomic.cas(KEYS[1], 'v', 'w')", "return atomic.lock('l', 'me', 1000)"] {
            assert!(server.call(&["ATOMIC.EVAL_RO", script, "1", "k"]).error().starts_with(REFUSED), "{script}");
            let known = super::sha1(script);
            assert!(server.call(&["ATOMIC.EVALSHA_RO", &known, "1", "k"]).error().starts_with(REFUSED), "{script}");
            let declared = format!("#!lua flags=no-writes\n{script}");
            assert!(server.call(&eval(&declared, "1 k")).error().starts_with(REFUSED), "{script}");
        }
        let reads = "return atomic.hmgetor('h', 'f', 'd')[1]";
        assert_eq!(server.call(&["ATOMIC.EVAL_RO", reads, "0"]), Value::bulk("d"));
        assert_eq!(server.run("DBSIZE"), Value::Integer(1));
        assert_eq!(server.run("GET k"), Value::bulk("v"));
    });
}

/// Asserts that both forms are refused with the same error, which begins with `code`, and write nothing.
#[track_caller]
fn expect_refused(server: &Server, code: &str, function: &str, arguments: &str) {
    let [native, called] = forms("", function, arguments).map(|script| {
        let reply = server.call(&eval(&script, "1 k"));
        reply.error().trim_end_matches(&place(&script, 1)).to_owned()
    });
    assert!(native.starts_with(code), "{function}: {native}");
    assert_eq!(native, called, "{function}");
}

#[test]
fn the_state_of_the_server_refuses_the_first_write_and_none_after_it() {
    const WRITES: &[(&str, &str)] = &[("cas", "KEYS[1], 'v', 'w'"), ("lock", "'l', 'me', 1000"), ("mcas", "KEYS[1], 'v', 'w'")];
    each_server(|server| {
        server.run("MSET k v n 0");
        assert_eq!(server.run("CONFIG SET maxmemory 1"), Value::ok());
        WRITES.iter().for_each(|(function, arguments)| expect_refused(server, "OOM ", function, arguments));
        assert_eq!(server.call(&eval("return atomic.cad(KEYS[1], 'other')", "1 k")), Value::Integer(0), "freeing is allowed");
        let allowed = "#!lua flags=allow-oom\nreturn atomic.incrby('n', 1)[2]";
        assert_eq!(server.call(&eval(allowed, "0")), Value::Integer(1));
        let after = "atomic.cad('none', 'v') return atomic.incrby('n', 1)[2]";
        assert_eq!(server.call(&eval(after, "0")), Value::Integer(2), "the run has written");
        assert_eq!(server.run("CONFIG SET maxmemory 0"), Value::ok());

        assert_eq!(server.run("CONFIG SET min-replicas-to-write 1"), Value::ok());
        WRITES.iter().for_each(|(function, arguments)| expect_refused(server, "NOREPLICAS ", function, arguments));
        assert_eq!(server.call(&eval("return atomic.hmgetor('h', 'f', 'd')[1]", "0")), Value::bulk("d"), "a read is none");
        assert_eq!(server.run("CONFIG SET min-replicas-to-write 0"), Value::ok());
        assert_eq!(server.run("GET k"), Value::bulk("v"));
        assert_eq!(server.call(&eval("return atomic.cas(KEYS[1], 'v', 'w')", "1 k")), Value::Integer(1));
    });
}

#[test]
fn a_disk_that_fails_refuses_the_first_write() {
    each_server_with(&Setup::with_module().config("save 3600 1"), |server| {
        server.run("SET k v");
        // A directory in place of the file: the snapshot cannot be renamed over it.
        std::fs::create_dir_all(server.dir().join("dump.rdb/in-the-way")).unwrap();
        server.run("BGSAVE");
        eventually("the snapshot has failed", || (server.info("rdb_last_bgsave_status") == "err").then_some(()));
        expect_refused(server, "MISCONF ", "cas", "KEYS[1], 'v', 'w'");
        assert_eq!(server.run("GET k"), Value::bulk("v"));
        assert_eq!(server.call(&eval("return atomic.hmgetor('h', 'f', 'd')[1]", "0")), Value::bulk("d"));
    });
}

#[test]
fn a_replica_refuses_writes() {
    each_server(|server| {
        server.run("SET k v");
        let replica = RealReplica::with_module(server);
        expect_refused(&replica.server, "READONLY ", "cas", "KEYS[1], 'v', 'w'");
        expect_refused(&replica.server, "READONLY ", "lock", "'l', 'me', 1000");
        assert_eq!(replica.server.call(&eval("return atomic.hmgetor('h', 'f', 'd')[1]", "0")), Value::bulk("d"));
        replica.expect_same_data();
    });
}

#[test]
fn a_script_never_waits_and_binds_no_lock() {
    each_server(|server| {
        let mut connection = server.connect();
        server.run("ATOMIC.LOCK l you 100000");
        server.run("ATOMIC.SEMACQUIRE s 1 you 100000");
        for call in [
            "lock('l', 'me', 1000, {wait = 0})",
            "semacquire('s', 1, 'me', 1000, {wait = 0})",
            "lock('l', 'me', 1000, 'WAIT', 100000)",
        ] {
            for (script, granted) in [
                (format!("return atomic.{call}[1]"), 0),
                (format!("return pcall(atomic.set, 'x', 1, {{nx = true}}) and atomic.{call}[1]"), 0),
            ] {
                assert_eq!(connection.call(&eval(&script, "0")), Value::Integer(granted), "{call}");
                expect_working(&mut connection, call);
            }
        }
        for call in ["lock('free', 'me', 1000, {bind = true})", "semacquire('free', 1, 'me', 1000, {bind = true, wait = 5})"] {
            let reply = connection.call(&eval(format!("return atomic.{call}"), "0"));
            assert!(reply.error().starts_with("ERR BIND needs a client connection"), "{call}: {reply}");
            expect_working(&mut connection, call);
        }
        assert_eq!(server.run("EXISTS free"), Value::Integer(0));
        assert_eq!(server.run("CLIENT UNBLOCK 1"), Value::Integer(0));
        assert_eq!(server.info("blocked_clients"), "0");
    });
}

#[test]
fn an_unlock_in_a_script_hands_the_lock_off() {
    each_server(|server| {
        server.run("ATOMIC.LOCK k me 100000");
        let mut waiter = server.connect();
        waiter.send(&["ATOMIC.LOCK", "k", "you", "100000", "WAIT", "0"]).unwrap();
        eventually("the waiter waits", || (server.info("blocked_clients") == "1").then_some(()));
        assert_eq!(server.call(&eval("return atomic.unlock(KEYS[1], 'me')", "1 k")), Value::Integer(0));
        assert_eq!(waiter.read().unwrap().array()[0], Value::Integer(1));
        let mut popper = server.connect();
        popper.send(&["BLPOP", "l", "0"]).unwrap();
        eventually("the popper waits", || (server.info("blocked_clients") == "1").then_some(()));
        server.call(&eval("return atomic.push('l', 'LEFT', 5, {values = {'x'}})", "0"));
        assert_eq!(popper.read().unwrap(), Value::Array(vec![Value::bulk("l"), Value::bulk("x")]));
    });
}

#[test]
fn a_write_touches_watched_keys() {
    each_server(|server| {
        server.run("SET k v");
        let mut connection = server.connect();
        connection.run("WATCH k");
        server.call(&eval("return atomic.cas(KEYS[1], 'v', 'w')", "1 k"));
        connection.run("MULTI");
        connection.run("PING");
        assert_eq!(connection.run("EXEC"), Value::Null);
    });
}

#[test]
fn a_write_makes_the_run_unkillable_and_is_counted() {
    let setup = Setup::with_module().config("busy-reply-threshold 20").module_args(&["script-budget-ms", "1500"]);
    each_server_with(&setup, |server| {
        let script = "atomic.set(KEYS[1], 1, {nx = true}) while true do end";
        let mut runner = server.connect();
        let mut killer = server.connect();
        // Repeat until a kill comes after the write and before the limit.
        let reply = eventually("the run is busy", || {
            server.run("DEL k");
            runner.send(&eval(script, "1 k")).unwrap();
            let mut answers = Vec::new();
            while !runner.has_input(Duration::from_millis(1)) {
                answers.push(killer.run("ATOMIC.SCRIPT KILL"));
            }
            let reply = runner.read().unwrap();
            let refused = answers.iter().any(|answer| matches!(answer, Value::Error(text) if text.starts_with("UNKILLABLE ")));
            (refused && !answers.contains(&Value::ok())).then_some(reply)
        });
        let expected = format!("ERR script exceeded the time limit of 1500 ms (1 writes were applied){}", place(script, 1));
        assert_eq!(reply.error(), expected);
        expect_working(&mut runner, script);
    });
}

#[test]
fn a_key_of_another_node_is_refused() {
    each_installed(|binary| {
        let cluster = Cluster::start(binary, 2);
        let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
        let here = if a.run("EXISTS {m}") == Value::Integer(0) { a } else { b };
        here.run("SET {m}k v");
        let there =
            ["{n}", "{o}", "{p}", "{q}"].into_iter().find(|key| here.run(&format!("EXISTS {key}")) != Value::Integer(0)).unwrap();
        let own = ["{m}", "{a}", "{b}", "{c}", "{d}"]
            .into_iter()
            .rfind(|key| here.run(&format!("EXISTS {key}")) == Value::Integer(0))
            .unwrap();
        let run = |script: &str| {
            let reply = here.call(&eval(script, "1 {m}k"));
            reply.error().trim_end_matches(&place(script, script.lines().count())).to_owned()
        };
        let elsewhere = "ERR Script attempted to access a non local key in a cluster node";
        let refusal = if has_tables(binary) { OTHER_SLOT } else { elsewhere };
        for before in ["", "atomic.cas(KEYS[1], 'v', 'v')"] {
            for (function, arguments) in [("cas", format!("'{there}', 'v', 'w'")), ("mcas", format!("'{there}', 'v', 'w'"))] {
                let [native, called] = forms(before, function, &arguments).map(|script| run(&script));
                assert!(native.starts_with(refusal), "{native}");
                assert_eq!(native, called);
            }
        }
        let [native, called] = forms("", "cas", &format!("'{own}x', 'v', 'w'")).map(|script| run(&format!("#!lua\n{script}")));
        assert_eq!(native, "ERR Script attempted to access keys that do not hash to the same slot", "{own}");
        assert_eq!(native, called);
        assert_eq!(here.call(&eval("return atomic.cas(KEYS[1], 'v', 'w')", "1 {m}k")), Value::Integer(1));
        assert_eq!(
            here.call(&eval(format!("return atomic.cas('{own}x', 'v', 'w')"), "0")),
            Value::Integer(-1),
            "an undeclared key of this node"
        );
        // A migrating slot accepts no new keys, and this run itself creates the key.
        begin_migration(slot(here, "{m}"), here, if std::ptr::eq(here, a) { b } else { a });
        let script = "atomic.set(KEYS[1], 1, {xx = true, pxat = 1}) return atomic.set(KEYS[1], 2, {nx = true})";
        assert_eq!(run(script), "ERR Script attempted to access a non local key in a cluster node");
    });
}

#[test]
fn many_calls_leak_no_memory() {
    each_server(|server| {
        server.run("SET k 0");
        let script = "for i = 1, 20000 do atomic.incrby(KEYS[1], 1) pcall(atomic.cas, 'none', 'v', {px = 'x'}) atomic.lockinfo('free') end";
        server.call(&eval(script, "1 k"));
        let used = || server.info("used_memory").parse::<i64>().unwrap();
        let before = used();
        for _ in 0..5 {
            server.call(&eval(script, "1 k"));
        }
        assert_eq!(server.run("GET k"), Value::bulk("120000"));
        let grown = used() - before;
        assert!(grown < 1 << 20, "{grown} bytes more");
    });
}
