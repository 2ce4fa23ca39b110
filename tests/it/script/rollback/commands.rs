//! Every kind of value and the commands that write more than one key, or keys that are hard to find.

use super::{data, expect_undone, whole};
use crate::script::eval;
use crate::support::{Server, Value, each_server};

/// The data before each row. An error is allowed: some servers lack a command.
const BEFORE: &[&str] = &[
    "SET s text PX 100000000",
    "SET n 41",
    "SETRANGE large 300000 x",
    "RPUSH l 3 1 2",
    "SADD ints 1 2 3",
    "SADD set a b c",
    "HSET h a 1 b 2",
    "HPEXPIREAT h 4102444800000 FIELDS 1 a",
    "PEXPIREAT h 4102444800123",
    "ZADD z 1 a 2 b 3 c",
    "GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
    "PFADD hll a b c",
    "XADD x 1-1 f v",
    "XADD x 2-1 f v",
    "XADD x 3-1 f v",
    "XDEL x 2-1",
    "XGROUP CREATE x g 0",
    "XREADGROUP GROUP g alice COUNT 1 STREAMS x >",
    "XGROUP CREATE x STREAMS 0",
    "SETBIT bits 7 1",
    "ATOMIC.LOCK lock me 100000000",
    "ATOMIC.RATELIMIT rate FIXED 10 100000",
];

/// Bodies that write. `K` makes a call of `redis.pcall`, because some servers lack a command.
const WRITES: &[&str] = &[
    "K('SET', 's', 'new')",
    "K('APPEND', 's', 'x') K('PERSIST', 's')",
    "K('SET', 's', 'v', 'EX', 5) K('GETEX', 's', 'PERSIST')",
    "K('GETDEL', 's') K('SET', 's', 'again')",
    "K('EXPIRE', 's', -1)",
    "K('PEXPIREAT', 'n', 4102444800000)",
    "K('INCR', 'n') K('INCRBYFLOAT', 'n', 0.5)",
    "K('SETRANGE', 'large', 10, 'y') K('SETRANGE', 'fresh', 100, 'y')",
    "K('MSET', 's', 1, 'n', 2, 'm', 3) K('MSETNX', 'p', 1, 'q', 2)",
    "K('BITOP', 'NOT', 'bits2', 'bits') K('SETBIT', 'bits', 3, 1) K('BITFIELD', 'bits', 'SET', 'u8', 0, 9)",
    "K('RPUSH', 'l', 'x') K('LPOP', 'l') K('LSET', 'l', 0, 'z') K('LTRIM', 'l', 0, 0) K('LINSERT', 'l', 'BEFORE', 'z', 'y')",
    "K('LMOVE', 'l', 'l2', 'LEFT', 'RIGHT') K('RPOPLPUSH', 'l', 'l') K('LMPOP', 2, 'none', 'l', 'LEFT', 'COUNT', 9)",
    "K('BLPOP', 'none', 'l', 0) K('BLMOVE', 'l', 'l', 'LEFT', 'RIGHT', 0)",
    "K('SADD', 'ints', 'text') K('SPOP', 'set') K('SPOP', 'set', 2) K('SMOVE', 'ints', 'set', 1)",
    "K('SINTERSTORE', 'd', 'ints', 'ints') K('SDIFFSTORE', 'set', 'ints', 'none') K('SUNIONSTORE', 's', 'ints', 'set')",
    "K('HSET', 'h', 'c', 3) K('HDEL', 'h', 'a') K('HINCRBY', 'h', 'b', 5)",
    "K('HDEL', 'h', 'a', 'b') K('HSET', 'h', 'other', 1)",
    "K('HPEXPIREAT', 'h', 4102444900000, 'FIELDS', 2, 'a', 'b') K('HPERSIST', 'h', 'FIELDS', 1, 'a')",
    "K('HPEXPIREAT', 'h', 1, 'FIELDS', 1, 'b')",
    "K('HSETEX', 'h', 'FIELDS', 1, 'a', 7) K('HGETDEL', 'h', 'FIELDS', 1, 'b') K('HGETEX', 'h', 'PERSIST', 'FIELDS', 1, 'a')",
    "K('ZADD', 'z', 9, 'a') K('ZPOPMIN', 'z') K('ZREMRANGEBYRANK', 'z', 0, 0) K('ZINCRBY', 'z', 1, 'q')",
    "K('ZUNIONSTORE', 'd', 2, 'z', 'set') K('ZRANGESTORE', 'z', 'd', 0, 0) K('ZMPOP', 1, 'z', 'MIN') K('ZDIFFSTORE', 's', 1, 'd')",
    "K('GEOADD', 'geo', 1, 1, 'x') K('GEOSEARCHSTORE', 'd', 'geo', 'FROMLONLAT', 15, 37, 'BYRADIUS', 500, 'km')",
    "K('GEORADIUS', 'geo', 15, 37, 500, 'km', 'STORE', 'one', 'STORE', 's')",
    "K('GEORADIUSBYMEMBER', 'geo', 'Palermo', 500, 'km', 'STOREDIST', 's', 'STOREDIST', 'n')",
    "K('SORT', 'l', 'STORE', 's') K('SORT', 'l', 'store', 'd', 'STORE', 'n')",
    "K('PFADD', 'hll', 'z') K('PFMERGE', 'd', 'hll') K('PFCOUNT', 'hll')",
    "K('PFCOUNT', 'hll')",
    "K('XADD', 'x', 'MAXLEN', 1, '9-9', 'f', 'v') K('XTRIM', 'x', 'MAXLEN', 0)",
    "K('XDEL', 'x', '1-1') K('XSETID', 'x', '99-1')",
    "K('XREADGROUP', 'GROUP', 'g', 'bob', 'STREAMS', 'x', '>')",
    "K('XREADGROUP', 'GROUP', 'STREAMS', 'STREAMS', 'COUNT', 1, 'STREAMS', 'x', '>')",
    "K('XACK', 'x', 'g', '1-1') K('XGROUP', 'DESTROY', 'x', 'g')",
    "K('XCLAIM', 'x', 'g', 'bob', 0, '1-1') K('XAUTOCLAIM', 'x', 'g', 'eve', 0, 0) K('XGROUP', 'SETID', 'x', 'g', '$')",
    "K('XGROUP', 'CREATE', 'y', 'g', '$', 'MKSTREAM') K('XGROUP', 'CREATECONSUMER', 'x', 'g', 'new') K('XGROUP', 'DELCONSUMER', 'x', 'g', 'alice')",
    "K('XACKDEL', 'x', 'g', 'IDS', 1, '1-1') K('XDELEX', 'x', 'IDS', 1, '3-1')",
    "K('RENAME', 's', 'n') K('RENAMENX', 'l', 'fresh')",
    "K('COPY', 'l', 'copied') K('COPY', 'z', 's', 'REPLACE')",
    "K('COPY', 'l', 's', 'DB', 1) K('COPY', 'z', 'l', 'REPLACE', 'DB', 2)",
    "K('MOVE', 'l', 1) K('MOVE', 'h', 2) K('RPUSH', 'l', 'new')",
    "K('SELECT', 1) K('SET', 's', 'one') K('RENAME', 's', 'n') K('SELECT', 2) K('DEL', 'kept') K('SELECT', 0) K('DEL', 's')",
    "K('SELECT', 2) K('MOVE', 'kept', 0) K('COPY', 'kept', 'z', 'DB', 0, 'REPLACE')",
    "K('DEL', 's', 'n', 'l', 'set', 'h', 'z', 'x', 'none') K('UNLINK', 'ints', 'geo')",
    "K('DEL', 'x') K('LPUSH', 'x', 1) K('DEL', 'l') K('SET', 'l', 1)",
    "local dump = K('DUMP', 'z') K('RESTORE', 's', 0, dump, 'REPLACE') K('RESTORE', 'fresh', 5000, dump)",
    "K('DELEX', 's') K('DELIFEQ', 's', 'text') K('MSETEX', 1, 's', 5)",
    "K('ATOMIC.CAS', 's', 'text', 'b') K('ATOMIC.INCRBY', 'n', 5) K('ATOMIC.HSET', 'h', 'a', 5) K('ATOMIC.DEL', 'n')",
    "K('ATOMIC.UNLOCK', 'lock', 'me') K('ATOMIC.LOCK', 'lock', 'you', 1000) K('ATOMIC.RATELIMIT', 'rate', 'FIXED', 10, 100000)",
    "atomic.cas('s', 'text', 'b') atomic.incrby('n', 5) atomic.unlock('lock', 'me') atomic.lock('lock', 'you', 1000)",
    "atomic.ratelimit('rate', 'FIXED', 10, 100000) atomic.ratelimit('fresh', 'FIXED', 10, 100000) atomic.mcas('s', 'text', 'b', 'n', '41', 'c')",
    "atomic.transfer('n', 'm', 5) atomic.semacquire('sem', 3, 'me', 1000) atomic.once('o', 'PX', 1000)",
    "K('ATOMIC.IDEM', 'idem', 1000, 'INCR', 'n') K('ATOMIC.IDEM', 'idem2', 1000, 'RENAME', 's', 'n')",
    "for i = 1, 300 do K('SADD', 'ints', i * 7) K('HSET', 'h', 'f' .. i, ('v'):rep(i)) K('RPUSH', 'l', ('v'):rep(300)) end",
    "redis.set_repl(redis.REPL_NONE) K('SET', 's', 'x') redis.set_repl(redis.REPL_ALL) K('DEL', 'l')",
];

#[track_caller]
fn prepare(server: &Server) {
    server.run("FLUSHALL");
    BEFORE.iter().for_each(|command| drop(server.run(command)));
    let mut other = server.connect();
    for database in [1, 2] {
        assert_eq!(other.run(&format!("SELECT {database}")), Value::ok());
        other.run("RPUSH kept 1 2");
        other.run("SET s elsewhere PX 200000000");
    }
}

#[test]
fn every_command_is_undone_exactly() {
    each_server(|server| {
        prepare(server);
        for writes in WRITES {
            let before = data(server);
            let run = |last: &str| {
                let body = format!("local K = redis.pcall {writes} {last}");
                server.call(&eval(whole(&body), "0"))
            };
            let reply = run("error('stop')");
            assert!(reply.error().contains("user_script:2: stop"), "{writes}: {reply}");
            assert_eq!(data(server), before, "{writes}");
            // Each row must write something on every server, unless it tests a command that some lack.
            assert_eq!(run("return 1"), Value::Integer(1), "{writes}");
            let lacks = ["BLPOP", "HPEXPIREAT", "HSETEX", "XACKDEL", "DELEX"].iter().any(|name| writes.contains(name));
            assert!(lacks || writes.contains("PFCOUNT', 'hll')") || data(server) != before, "wrote nothing: {writes}");
            prepare(server);
        }
        assert_eq!(server.info("atomic_scripts_rollback_failures"), "0");
    });
}

#[test]
fn a_list_or_hash_of_any_size_is_restored() {
    each_server(|server| {
        for (fill, writes) in [
            ("for i = 1, 20000 do redis.call('RPUSH', 'k', 'element ' .. i) end", "redis.call('LTRIM', 'k', 10, 20)"),
            ("for i = 1, 20000 do redis.call('HSET', 'k', i, ('v'):rep(i % 100)) end", "redis.call('HDEL', 'k', 7)"),
            ("for i = 1, 20000 do redis.call('ZADD', 'k', i / 3, i) end", "redis.call('ZREMRANGEBYRANK', 'k', 0, -2)"),
            ("for i = 1, 5000 do redis.call('XADD', 'k', '*', 'f', i) end", "redis.call('XTRIM', 'k', 'MAXLEN', 1)"),
            ("redis.call('SET', 'k', ('x'):rep(5e6))", "redis.call('SET', 'k', 1)"),
        ] {
            server.run("FLUSHALL");
            server.call(&eval(fill, "0"));
            server.run("PEXPIREAT k 4102444800000");
            expect_undone(server, &format!("{writes} error('x')"), "0", "(rolled back 1 key)");
        }
    });
}

#[test]
fn what_cannot_be_undone_is_refused_before_it_runs() {
    each_server(|server| {
        prepare(server);
        for call in [
            "'FLUSHALL'",
            "'FLUSHDB', 'ASYNC'",
            "'SWAPDB', 0, 1",
            "'MIGRATE', '127.0.0.1', 1, 's', 0, 10",
            "'ATOMIC.IDEM', 'i', 1000, 'FLUSHALL'",
            "'ATOMIC.IDEM', 'i', 1000, 'PUBLISH', 'c', 'm'",
        ] {
            let name = call.split('\'').nth(1).unwrap().to_lowercase();
            expect_undone(
                server,
                &format!("redis.call('SET', 's', 1) redis.call({call})"),
                "0",
                &format!("ERR rollback: '{name}' cannot be undone"),
            );
            let caught = format!("local e = redis.pcall({call}) return e.err");
            assert_eq!(server.call(&eval(whole(&caught), "0")), Value::bulk(format!("ERR rollback: '{name}' cannot be undone")));
        }
        for call in ["'CONFIG', 'SET', 'maxmemory', 0", "'FUNCTION', 'FLUSH'", "'SCRIPT', 'FLUSH'"] {
            let reply = server.call(&eval(whole(&format!("redis.call({call})")), "0"));
            assert!(crate::script::in_words_of_redis(reply.error()).contains("not allowed from script"), "{call}: {reply}");
        }
        assert_eq!(server.call(&eval("return redis.call('SWAPDB', 0, 0)", "0")), Value::ok(), "allowed without rollback");
    });
}

#[test]
fn the_memory_for_old_values_is_limited() {
    each_server(|server| {
        server.run("SETRANGE string 100000 x");
        for key in ["list", "hash"] {
            let fill = if key == "list" { "RPUSH" } else { "HSET" };
            for i in 0..200 {
                server.run(&format!("{fill} {key} {i} {}", "v".repeat(500)));
            }
        }
        assert_eq!(server.run("CONFIG SET atomic.script-rollback-max-bytes 50000"), Value::ok());
        for (key, write) in [("string", "'SET', 'string', 1"), ("list", "'RPUSH', 'list', 1"), ("hash", "'DEL', 'hash'")] {
            let body = format!("redis.call('SET', 'small', 1) redis.call({write})");
            expect_undone(
                server,
                &body,
                "0",
                &format!("ERR rollback: the old value of '{key}' exceeds script-rollback-max-bytes"),
            );
        }
        // A limit for the whole run: many small keys exceed it, too.
        expect_undone(
            server,
            "for i = 1, 1000 do redis.call('SET', 'key' .. i, i) end",
            "0",
            "exceeds script-rollback-max-bytes",
        );
        assert_eq!(server.run("CONFIG SET atomic.script-rollback-max-bytes 64mb"), Value::ok());
        expect_undone(
            server,
            "for i = 1, 1000 do redis.call('SET', 'key' .. i, i) end error('x')",
            "0",
            "(rolled back 1000 keys)",
        );
    });
}

#[test]
fn a_key_that_expires_meanwhile_ends_missing() {
    each_server(|server| {
        server.run("SET k v PX 60");
        server.run("RPUSH l 1 2 3");
        server.run("PEXPIRE l 60");
        let script = whole(
            "redis.call('SET', KEYS[1], 'w') redis.call('PERSIST', KEYS[2])
            local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end
            local deadline = os.clock() + 0.2 while os.clock() < deadline do end error('late')",
        );
        let reply = server.call(&eval(&script, "2 k l"));
        assert!(reply.error().contains("rolled back 2 keys"), "{reply}");
        assert_eq!(server.run("EXISTS k l"), Value::Integer(0));
        assert_eq!(server.info("atomic_scripts_rollback_failures"), "0");
    });
}

#[test]
fn an_expired_key_counts_as_missing() {
    each_server(|server| {
        assert_eq!(server.run("DEBUG SET-ACTIVE-EXPIRE 0"), Value::ok());
        server.run("SET k v PX 1");
        server.run("RPUSH l 1");
        server.run("PEXPIRE l 1");
        crate::support::eventually("both are over", || (server.run("PTTL k").integer() < 0).then_some(()));
        let reply =
            server.call(&eval(whole("redis.call('SET', KEYS[1], 1) redis.call('RPUSH', KEYS[2], 2) error('x')"), "2 k l"));
        assert!(reply.error().contains("rolled back 2 keys"), "{reply}");
        assert_eq!(server.run("EXISTS k l"), Value::Integer(0));
    });
}

#[test]
fn the_last_use_of_a_key_is_restored() {
    each_server(|server| {
        for policy in ["allkeys-lru", "allkeys-lfu"] {
            assert_eq!(server.run(&format!("CONFIG SET maxmemory-policy {policy}")), Value::ok());
            server.run("FLUSHALL");
            server.run("RPUSH l 1");
            server.run("SET s 1");
            let question = if policy == "allkeys-lru" { "IDLETIME" } else { "FREQ" };
            for key in ["l", "s"] {
                let dump = server.call(&["DUMP", key]);
                let number = if question == "FREQ" { "77" } else { "1000" };
                let restore =
                    [b"RESTORE", key.as_bytes(), b"0", dump.bytes(), b"REPLACE", question.as_bytes(), number.as_bytes()];
                assert_eq!(server.call(&restore), Value::ok());
            }
            server.call(&eval(whole("redis.call('RPUSH', 'l', 2) redis.call('SET', 's', 2) error('x')"), "0"));
            for key in ["l", "s"] {
                let value = server.call(&["OBJECT", question, key]).integer();
                let expected = if question == "FREQ" { 70..=77 } else { 990..=1100 };
                assert!(expected.contains(&value), "{policy} {key}: {value}");
            }
        }
    });
}
