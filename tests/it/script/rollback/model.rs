//! Random programs of writes over all types of values, stopped anywhere and by every cause: the data and the replica end as they began.

use super::{data, whole};
use crate::script::eval;
use crate::support::random::{below, seed};
use crate::support::{RealReplica, Server, Setup, Value, each_server_with, eventually};

/// Commands; `$k` is a random key, `$v` a random value, `$n` a small number. Most hit a key of another type, and fail.
const COMMANDS: &[&str] = &[
    "SET $k $v",
    "SET $k $v PX 90000000",
    "SETEX $k 10000 $v",
    "APPEND $k $v",
    "SETRANGE $k $n $v",
    "INCRBY $k $n",
    "GETDEL $k",
    "SETBIT $k $n 1",
    "MSET $k $v $k $v",
    "BITOP NOT $k $k",
    "RPUSH $k $v $v $v",
    "LPUSH $k $v",
    "LPOP $k $n",
    "LTRIM $k 1 -2",
    "LREM $k 0 $v",
    "LMOVE $k $k LEFT RIGHT",
    "SADD $k $v $n $n",
    "SREM $k $v",
    "SPOP $k $n",
    "SMOVE $k $k $v",
    "SUNIONSTORE $k $k $k",
    "HSET $k f$n $v g$n $v",
    "HDEL $k f$n",
    "HINCRBY $k f$n $n",
    "HPEXPIRE $k 80000000 FIELDS 1 f$n",
    "HPERSIST $k FIELDS 1 f$n",
    "ZADD $k $n $v $n m$n",
    "ZREM $k m$n",
    "ZPOPMAX $k $n",
    "ZINCRBY $k $n m$n",
    "ZUNIONSTORE $k 2 $k $k",
    "ZRANGESTORE $k $k 0 $n",
    "GEOADD $k 13.3 38.1 $v",
    "PFADD $k $v $n",
    "PFMERGE $k $k",
    "PFCOUNT $k",
    "XADD $k * f $v",
    "XADD $k MAXLEN 2 * f $v",
    "XDEL $k $n-1",
    "XTRIM $k MAXLEN $n",
    "XGROUP CREATE $k g$n 0 MKSTREAM",
    "XREADGROUP GROUP g$n me COUNT 2 STREAMS $k >",
    "XAUTOCLAIM $k g$n you 0 0",
    "XGROUP DESTROY $k g$n",
    "SORT $k ALPHA STORE $k",
    "DEL $k",
    "UNLINK $k $k",
    "RENAME $k $k",
    "COPY $k $k REPLACE",
    "COPY $k $k DB 1 REPLACE",
    "MOVE $k 1",
    "EXPIRE $k 10000",
    "PEXPIRE $k -1",
    "PERSIST $k",
    "SELECT 1",
    "SELECT 0",
    "ATOMIC.INCRBY $k $n",
    "ATOMIC.CAS $k $v $v",
    "ATOMIC.LOCK $k me 1000000",
    "ATOMIC.UNLOCK $k me",
    "ATOMIC.RATELIMIT $k FIXED 10 100000",
    "ATOMIC.IDEM $k 100000 SET $k $v",
];

const KEYS: usize = 14;

fn command(random: &mut u64) -> Vec<String> {
    let template = COMMANDS[below(random, COMMANDS.len())];
    let word = |random: &mut u64, word: &str| {
        let word = if word == "$k" { format!("k{}", below(random, KEYS)) } else { word.to_owned() };
        let word = word.replace("$n", &below(random, 5).to_string());
        if word == "$v" { "value-".repeat(1 + below(random, 20)) + &below(random, 8).to_string() } else { word }
    };
    template.split(' ').map(|part| word(random, part)).collect()
}

/// A script of random commands whose errors it catches.
fn program(random: &mut u64, commands: usize) -> String {
    let calls = (0..commands).map(|_| {
        let words: Vec<_> = command(random).iter().map(|word| format!("'{word}'")).collect();
        format!("redis.pcall({})\n", words.join(", "))
    });
    calls.collect()
}

/// Ends of a program. The server has short limits.
const ENDS: &[&str] = &[
    "error('stop')",
    "redis.call('NOSUCH')",
    "return redis.error_reply('MINE')",
    "redis.call('SET', 'k0', ('x'):rep(70000))",
    "return ('x'):rep(70000)",
    "redis.call('FLUSHALL')",
    "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
    "while true do end",
];

/// Runs programs and asserts that each that failed left the data as it was.
fn check(server: &Server, replica: &RealReplica<'_>, random: &mut u64, programs: usize) {
    for _ in 0..programs {
        // Other data for each program.
        let commands = 1 + below(random, 40);
        server.call(&eval(program(random, commands), "0"));
        let before = data(server);
        let end = ENDS[below(random, ENDS.len())];
        let commands = 1 + below(random, 30);
        let script = whole(&format!("{}{end}", program(random, commands)));
        let reply = match below(random, 3) {
            0 => {
                let mut connection = server.connect();
                connection.run("MULTI");
                connection.call(&eval(&script, "0"));
                connection.run("EXEC").array()[0].clone()
            }
            _ => server.call(&eval(&script, "0")),
        };
        assert!(matches!(reply, Value::Error(_)), "{script}: {reply}");
        assert_eq!(data(server), before, "{script}");
    }
    assert_eq!(server.info("atomic_scripts_rollback_failures"), "0");
    expect_same(server, replica);
}

/// The replica holds the same data. (SPOP may leave a set there in another order.)
fn expect_same(server: &Server, replica: &RealReplica<'_>) {
    replica.await_sync();
    assert_eq!(data(&replica.server), data(server), "the replica");
}

fn limited() -> Setup {
    let arguments = [
        ["script-argument-limit", "65536"],
        ["script-reply-limit", "65536"],
        ["script-run-memory-limit", "2mb"],
        ["script-budget-ms", "60"],
    ];
    Setup::with_module().module_args(&arguments.concat())
}

#[test]
fn a_random_program_is_undone_wherever_it_stops() {
    let seed = seed();
    each_server_with(&limited(), |server| {
        let replica = RealReplica::without_module(server);
        check(server, &replica, &mut seed.clone(), 60);
    });
}

#[test]
fn a_random_program_is_undone_when_it_is_killed() {
    let seed = seed();
    each_server_with(&Setup::with_module().config("busy-reply-threshold 20"), |server| {
        let random = &mut seed.clone();
        for _ in 0..5 {
            server.call(&eval(program(random, 30), "0"));
            let before = data(server);
            let mut runner = server.connect();
            runner.send(&eval(whole(&format!("{}while true do {} end", program(random, 20), program(random, 3))), "0")).unwrap();
            let mut other = server.connect();
            eventually("the program is killed", || (other.run("ATOMIC.SCRIPT KILL") == Value::ok()).then_some(()));
            assert!(runner.read().unwrap().error().starts_with("ERR Script killed by user"));
            assert_eq!(data(server), before);
        }
    });
}

#[test]
fn a_random_program_is_undone_above_maxmemory_and_with_too_few_replicas() {
    let seed = seed();
    each_server_with(&limited(), |server| {
        let replica = RealReplica::without_module(server);
        let random = &mut seed.clone();
        for _ in 0..10 {
            server.call(&eval(program(random, 30), "0"));
            let before = data(server);
            for (setting, value, default) in [("maxmemory", "1", "0"), ("min-replicas-to-write", "5", "0")] {
                assert_eq!(server.run(&format!("CONFIG SET {setting} {value}")), Value::ok());
                // What frees memory is allowed, and then everything is.
                let script = whole(&format!("redis.pcall('DEL', 'k1', 'k2') {} error('stop')", program(random, 20)));
                assert!(matches!(server.call(&eval(&script, "0")), Value::Error(_)));
                assert_eq!(server.run(&format!("CONFIG SET {setting} {default}")), Value::ok());
                assert_eq!(data(server), before, "{setting}: {script}");
            }
        }
        expect_same(server, &replica);
    });
}
