//! A dry run of each command that writes, on each server: the data stays, and nothing reaches the replicas.

use std::collections::BTreeSet;

use crate::support::{FakeReplica, RealReplica, Server, Value, argv, each_server};

/// The data before each row. An error is allowed: some servers lack a command.
const BEFORE: &[&str] = &[
    "MSET s text n 41 bits \\x0f",
    "RPUSH l 3 1 2",
    "SADD set a b c d e",
    "SADD ints 1 2 3",
    "HSET h a 1 b 2 n 3",
    "HPEXPIREAT h 4102444800000 FIELDS 1 a",
    "ZADD z 1 a 2 b 3 c",
    "ZADD lex 0 a 0 b 0 c",
    "GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
    "PFADD hll a b c",
    "XADD x 1-1 f v",
    "XADD x 2-1 f v",
    "XADD x 3-1 f v",
    "XGROUP CREATE x g 0",
    "XREADGROUP GROUP g alice COUNT 2 STREAMS x >",
    "SET ttl v PXAT 4102444800000",
];

/// Calls, at least one of each command that writes. Each must succeed on the servers that have the command.
const CALLS: &[&str] = &[
    "APPEND s x",
    "BITFIELD bits SET u8 0 9",
    "BITOP NOT d bits",
    "BLMOVE l d LEFT RIGHT 0",
    "BLMPOP 0 1 l LEFT",
    "BLPOP l 0",
    "BRPOP l 0",
    "BRPOPLPUSH l d 0",
    "BZMPOP 0 1 z MIN",
    "BZPOPMAX z 0",
    "BZPOPMIN z 0",
    "COPY l d",
    "COPY l d DB 1",
    "DECR n",
    "DECRBY n 3",
    "DEL s l",
    "DELEX s",
    "DELIFEQ s text",
    "EXPIRE s 100",
    "EXPIRE s -1",
    "EXPIREAT s 4102444800",
    "GEOADD geo 1 1 x",
    "GEORADIUS geo 15 37 500 km STORE d",
    "GEORADIUSBYMEMBER geo Palermo 500 km STORE d",
    "GEOSEARCHSTORE d geo FROMLONLAT 15 37 BYRADIUS 500 km",
    "GETDEL s",
    "GETEX s EX 100",
    "GETEX ttl PERSIST",
    "GETSET s v",
    "HDEL h a b n",
    "HEXPIRE h 100 FIELDS 1 b",
    "HEXPIRE h 0 FIELDS 1 b",
    "HEXPIREAT h 4102444800 FIELDS 1 b",
    "HEXPIREAT h 1 FIELDS 1 b",
    "HGETDEL h FIELDS 1 a",
    "HGETEX h EX 100 FIELDS 1 b",
    "HGETEX h PXAT 1 FIELDS 1 b",
    "HINCRBY h n 1",
    "HINCRBYFLOAT h n 1.5",
    "HMSET h c 1",
    "HPERSIST h FIELDS 1 a",
    "HPEXPIRE h 100000 FIELDS 1 b",
    "HPEXPIRE h 0 FIELDS 1 b",
    "HPEXPIREAT h 4102444800000 FIELDS 1 b",
    "HPEXPIREAT h 1 FIELDS 1 b",
    "HSET h c 1",
    "HSETEX h EX 100 FIELDS 1 c 1",
    "HSETEX h PXAT 1 FIELDS 1 b 1",
    "HSETNX h c 1",
    "INCR n",
    "INCRBY n 2",
    "INCRBYFLOAT n 1.5",
    "LINSERT l BEFORE 1 x",
    "LMOVE l d LEFT RIGHT",
    "LMPOP 1 l LEFT COUNT 9",
    "LPOP l",
    "LPOP l 9",
    "LPUSH l x",
    "LPUSHX l x",
    "LREM l 0 1",
    "LSET l 0 x",
    "LTRIM l 0 0",
    "MOVE s 1",
    "MSET s 1 d 2",
    "MSETEX 2 s 1 d 2 EX 100",
    "MSETNX d 1 e 2",
    "PERSIST ttl",
    "PEXPIRE s 100000",
    "PEXPIREAT s 4102444800000",
    "PEXPIREAT s 1",
    "PFADD hll z",
    "PFCOUNT hll",
    "PFMERGE d hll",
    "PSETEX s 100000 v",
    "RENAME s d",
    "RENAMENX s d",
    "RPOP l",
    "RPOPLPUSH l d",
    "RPUSH l x",
    "RPUSHX l x",
    "SADD set x",
    "SDIFFSTORE d set ints",
    "SET s v",
    "SET s v EX 100",
    "SET s v PXAT 1",
    "SETBIT bits 1 1",
    "SETEX s 100 v",
    "SETNX d v",
    "SETRANGE s 1 x",
    "SINTERSTORE d set set",
    "SMOVE set ints a",
    "SORT l STORE d",
    "SPOP set",
    "SPOP set 2",
    "SPOP set 4",
    "SPOP set 9",
    "SREM set a",
    "SUNIONSTORE d set ints",
    "UNLINK s l",
    "XACK x g 1-1",
    "XACKDEL x g IDS 1 1-1",
    "XADD x * f v",
    "XADD x MAXLEN 1 * f v",
    "XAUTOCLAIM x g bob 0 0",
    "XCFGSET x IDMP-DURATION 100",
    "XCLAIM x g bob 0 1-1",
    "XDEL x 1-1",
    "XDELEX x IDS 1 1-1",
    "XGROUP CREATE y g $ MKSTREAM",
    "XGROUP CREATECONSUMER x g new",
    "XGROUP DELCONSUMER x g alice",
    "XGROUP DESTROY x g",
    "XGROUP SETID x g $",
    "XREADGROUP GROUP g bob STREAMS x >",
    "XREADGROUP GROUP g bob NOACK STREAMS x >",
    "XREADGROUP GROUP g alice STREAMS x 0",
    "XSETID x 9-9",
    "XTRIM x MAXLEN 1",
    "ZADD z 9 a",
    "ZDIFFSTORE d 2 z lex",
    "ZINCRBY z 1 a",
    "ZINTERSTORE d 1 z",
    "ZMPOP 1 z MIN",
    "ZPOPMAX z",
    "ZPOPMIN z",
    "ZRANGESTORE d z 0 1",
    "ZREM z a",
    "ZREMRANGEBYLEX lex - +",
    "ZREMRANGEBYRANK z 0 0",
    "ZREMRANGEBYSCORE z 0 1",
    "ZUNIONSTORE d 2 z lex",
    "ATOMIC.CAS s text new",
    "ATOMIC.INCRBY n 5",
    "ATOMIC.HSET h a 2 GT",
    "ATOMIC.LOCK lock me 1000",
    "ATOMIC.RATELIMIT r FIXED 10 1000",
    "ATOMIC.MCAS s text b n 41 c",
    "ATOMIC.TRANSFER n m 5",
    "ATOMIC.IDEM i 1000 SPOP set 2",
    "ATOMIC.SEMACQUIRE sem 3 me 1000",
    "ATOMIC.ZPOPDUE z COUNT 2",
    "ATOMIC.PUSH l LEFT 5 VALUES x",
    "ATOMIC.FENCE f 5",
];

/// Commands that replicate, in some form, although nobody asked for that. A dry run refuses them.
const LOUD: &[&str] = &["hexpire", "hexpireat", "hgetex", "hpexpire", "hpexpireat", "hsetex"];

/// Commands that cannot be undone, that no script may call, or that need binary data.
const REFUSED: &[&str] = &[
    "cluster|flushslot",
    "flushall",
    "flushdb",
    "function|delete",
    "function|flush",
    "function|load",
    "function|restore",
    "migrate",
    "pfdebug",
    "restore",
    "restore-asking",
    "swapdb",
    "trimslots",
    "xidmprecord",
];

#[track_caller]
fn prepare(server: &Server) {
    server.run("FLUSHALL");
    BEFORE.iter().for_each(|command| drop(server.run(command)));
}

#[test]
fn a_dry_run_of_a_command_that_writes_reaches_no_replica() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let listed = server.run("COMMAND LIST FILTERBY ACLCAT write");
        let mut missing: BTreeSet<String> = listed.array().iter().map(|name| name.text().to_lowercase()).collect();
        missing.retain(|name| !name.starts_with("atomic.") && !REFUSED.contains(&name.as_str()));
        for call in CALLS {
            let words = argv(call);
            let name = String::from_utf8_lossy(&words[0]).to_lowercase();
            if server.call(&[b"COMMAND".as_slice(), b"INFO", &words[0]]).array()[0] == Value::Null {
                continue;
            }
            missing.remove(&name);
            missing.remove(&format!("{name}|{}", String::from_utf8_lossy(&words[1]).to_lowercase()));
            prepare(server);
            let digest = server.run("DEBUG DIGEST");
            replica.stream();
            let report = server.call(&dry_run("return redis.call(unpack(ARGV))", words));
            // The server replicates the deletion of a key whose TTL has passed, so the key is given back to the replicas.
            let given_back = ["MULTI", "DEL s", "SET s text", "EXEC"];
            let expires = [" -1", " 1"].iter().any(|end| call.ends_with(end));
            let sent = replica.stream();
            assert!(
                sent.is_empty() || (expires && sent.iter().all(|command| given_back.contains(&command.as_str()))),
                "{call}: {sent:?}"
            );
            assert_eq!(server.run("DEBUG DIGEST"), digest, "{call}");
            match report.field("error").map(|error| error.text()) {
                None => assert!(!LOUD.contains(&name.as_str()), "{call} was not refused"),
                // Redis 7.0 allows no command that can block.
                Some(error) if crate::script::in_words_of_redis(&error).contains("not allowed from script") => {
                    assert!(name.starts_with('b'))
                }
                Some(error) => {
                    let refusal = format!("ERR dry run: '{name}' may change replicas");
                    assert!(LOUD.contains(&name.as_str()) && error.starts_with(&refusal), "{call}: {error}");
                }
            }
        }
        assert!(missing.is_empty(), "no row for {missing:?}");
    });
}

/// A call of ATOMIC.EVALDRYRUN with these arguments.
fn dry_run(script: &str, arguments: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    [vec![b"ATOMIC.EVALDRYRUN".to_vec(), script.into(), b"0".to_vec()], arguments].concat()
}

#[test]
fn a_key_that_expires_in_a_dry_run_is_given_back_to_the_replicas() {
    each_server(|server| {
        let replica = RealReplica::without_module(server);
        server.run("SET s old PXAT 4102444800000");
        server.run("RPUSH l 1 2");
        server.run("SET over v PXAT 4102444800000");
        let script =
            "for _, key in ipairs({'s', 'l', 'fresh'}) do redis.call('SET', key, 1, 'PXAT', 1) redis.call('GET', key) end";
        let report = server.call(&dry_run(script, Vec::new()));
        assert_eq!(report.field("error"), None, "{report}");
        assert_eq!(server.run("GET s"), Value::bulk("old"));
        assert_eq!(server.run("DBSIZE"), Value::Integer(3));
        replica.expect_same_data();
    });
}
