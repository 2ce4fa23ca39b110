//! Keys in a cluster. Since Redis 7.4 and Valkey 8.0 each slot has its own table, and the server looks for every key in the table of the
//! slot that the client's command declares. Whatever a script does, each key must be where the server looks for it later.

use std::collections::{BTreeMap, BTreeSet};

use crate::scripted::Directory;
use crate::support::cluster::Cluster;
use crate::support::{Binary, Connection, Server, Setup, Value, each_installed, eventually};

/// Whether this server has a table for each slot.
pub fn has_tables(binary: &Binary) -> bool {
    binary.is_valkey || binary.is_redis_from(7, 4)
}

/// Valkey can be configured to check the slot of each key lookup, and to crash on a wrong one.
pub fn checked(binary: &Binary, setup: Setup) -> Setup {
    if binary.is_valkey { setup.config("enable-debug-assert yes") } else { setup }
}

/// One node with all slots, of each server that has a table per slot.
fn each_node(setup: &Setup, body: impl Fn(&Cluster, &Server)) {
    each_installed(|binary| {
        if has_tables(binary) {
            let cluster = Cluster::start_with(binary, 1, checked(binary, setup.clone()));
            body(&cluster, &cluster.nodes[0]);
        }
    });
}

/// The beginning of the refusal of a key of another slot.
pub const OTHER_SLOT: &str = "ERR Script attempted to access keys that do not hash to the same slot";
const IN_MULTI: &str = "ERR Script attempted to access undeclared keys in MULTI (in a cluster: declare the keys)";
const ALL_KEYS: &str =
    "ERR Script attempted to access the keys of all slots (in a cluster: declare no keys, and do not use MULTI)";

#[track_caller]
fn refused(reply: &Value, why: &str) {
    assert!(reply.error().starts_with(why), "{reply}");
}

/// Calls that would use the key `{b}k`, among others.
const CALLS: &[&str] = &[
    "'SET', '{b}k', 'v'",
    "'GET', '{b}k'",
    "'MSET', '{a}k', '1', '{b}k', '2'",
    "'DEL', '{a}k', '{a}l', '{b}k'",
    "'RENAME', '{a}k', '{b}k'",
    "'BITOP', 'AND', '{b}k', '{a}k'",
    "'SINTERCARD', '2', '{a}k', '{b}k'",
    "'ZUNIONSTORE', '{b}k', '1', '{a}k'",
    "'LMPOP', '1', '{b}k', 'LEFT'",
    "'XREAD', 'COUNT', '1', 'STREAMS', '{b}k', '0'",
    "'XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', '{b}k', '>'",
    "'XGROUP', 'CREATE', '{b}k', 'g', '0', 'MKSTREAM'",
    "'SORT', '{a}k', 'BY', 'nosort', 'STORE', '{b}k'",
    "'GEORADIUS', '{a}k', '1', '1', '1', 'km', 'STORE', '{b}k'",
    "'MIGRATE', '127.0.0.1', '1', '', '0', '1', 'KEYS', '{a}k', '{b}k'",
    "'OBJECT', 'ENCODING', '{b}k'",
    "'MEMORY', 'USAGE', '{b}k'",
    "'ATOMIC.INCRBY', '{b}k', '1'",
    "'ATOMIC.MCAS', '{b}k', '', 'v'",
    "'ATOMIC.MCAS', '{a}k', '', 'v', '{b}k', '', 'v'",
    "'ATOMIC.MLOCK', 'me', '1000', '{a}k', '{b}k'",
    "'ATOMIC.TRANSFER', '{a}k', '{b}k', '1'",
];

#[test]
fn a_key_outside_the_declared_slot_is_refused_before_it_is_touched() {
    each_node(&Setup::with_module(), |_, node| {
        for call in CALLS {
            for line in ["", "#!lua\n", "#!lua flags=allow-cross-slot-keys\n"] {
                let script = format!("{line}return redis.call({call})");
                refused(&node.call(&["ATOMIC.EVAL", &script, "1", "{a}k"]), OTHER_SLOT);
                refused(&node.call(&["ATOMIC.EVAL", &script, "2", "{a}k", "{a}l"]), OTHER_SLOT);
            }
        }
        for call in ["incrby('{b}k', 1)", "lock('{b}k', 'me', 1000)", "mlock('me', 1000, '{a}k', '{b}k')", "cas('{b}k', '', 'v')"]
        {
            let reply = node.call(&["ATOMIC.EVAL", &format!("return atomic.{call}"), "1", "{a}k"]);
            assert!(!reply.error().is_empty(), "{call}");
        }
        assert_eq!(node.run("DBSIZE"), Value::Integer(0));
        let set = "return redis.call('SET', '{a}other', 'v')";
        assert_eq!(node.call(&["ATOMIC.EVAL", set, "1", "{a}k"]), Value::ok());
        assert_eq!(node.run("GET {a}other"), Value::bulk("v"));
    });
}

#[test]
fn without_declared_keys_a_script_finds_all_of_them() {
    each_node(&Setup::with_module(), |_, node| {
        let script = "for _, k in ipairs({'a', 'b', 'c'}) do redis.call('SET', k, k) end \
                      redis.call('MSET', '{b}x', '1', '{b}y', '2') redis.call('PEXPIRE', 'c', 100000000) \
                      atomic.incrby('d', 1) redis.call('ATOMIC.INCRBY', 'e', '1') \
                      return {redis.call('GET', 'b'), redis.call('DBSIZE'), #redis.call('KEYS', '*'), redis.call('GET', '{b}y')}";
        let expected = [Value::bulk("b"), Value::Integer(7), Value::Integer(7), Value::bulk("2")];
        for form in ["ATOMIC.EVAL", "EVAL"] {
            if form == "EVAL" {
                assert_eq!(node.run("CONFIG SET atomic.intercept yes"), Value::ok());
            }
            // After a command with a key on the same connection.
            node.run("SET z z");
            node.run("DEL z");
            assert_eq!(node.call(&[form, script, "0"]).array(), expected, "{form}");
            for (key, value) in [("a", "a"), ("b", "b"), ("c", "c"), ("d", "1"), ("e", "1")] {
                assert_eq!(node.run(&format!("GET {key}")), Value::bulk(value));
            }
            expect_sound(&mut node.connect());
            assert_eq!(node.call(&[form, "return redis.call('FLUSHALL')", "0"]), Value::ok());
            assert_eq!(node.run("DBSIZE"), Value::Integer(0));
        }
    });
}

#[test]
fn in_multi_a_script_declares_its_keys() {
    each_node(&Setup::with_module(), |_, node| {
        let mut client = node.connect();
        client.run("MULTI");
        client.run("SET {a}k 1");
        client.call(&["ATOMIC.EVAL", "return redis.call('SET', '{b}k', 'v')", "0"]);
        client.call(&["ATOMIC.EVAL", "return redis.call('SET', '{a}l', 'v')", "0"]);
        client.call(&["ATOMIC.EVAL", "return atomic.incrby('{b}k', 1)", "0"]);
        client.call(&["ATOMIC.EVAL", "return redis.call('KEYS', '*')", "0"]);
        client.call(&["ATOMIC.EVAL", "return redis.call('PING')", "0"]);
        client.call(&["ATOMIC.EVAL", "return redis.call('SET', KEYS[1], 'v')", "1", "{a}m"]);
        client.call(&["ATOMIC.EVAL", "return redis.call('SET', '{b}k', 'v')", "1", "{a}m"]);
        let replies = client.run("EXEC");
        for (at, why) in [(1, IN_MULTI), (2, IN_MULTI), (3, IN_MULTI), (4, ALL_KEYS), (7, OTHER_SLOT)] {
            refused(&replies.array()[at], why);
        }
        assert_eq!(replies.array()[5], Value::Status("PONG".to_owned()));
        assert_eq!(replies.array()[6], Value::ok());
        assert_eq!(node.run("DBSIZE"), Value::Integer(2));
        expect_sound(&mut node.connect());
    });
}

#[test]
fn a_call_on_the_keys_of_all_slots_needs_a_script_without_declared_keys() {
    each_node(&Setup::with_module(), |_, node| {
        for call in ["'KEYS', '*'", "'SCAN', '0'", "'RANDOMKEY'", "'FLUSHALL'", "'FLUSHDB'"] {
            let script = format!("return redis.call({call})");
            refused(&node.call(&["ATOMIC.EVAL", &script, "1", "{a}k"]), ALL_KEYS);
            assert!(!matches!(node.call(&["ATOMIC.EVAL", &script, "0"]), Value::Error(_)), "{call}");
        }
        assert_eq!(node.call(&["ATOMIC.EVAL", "return redis.call('DBSIZE')", "1", "{a}k"]), Value::Integer(0));
        assert_eq!(node.call(&["ATOMIC.EVAL", "return redis.call('SPUBLISH', '{b}c', 'm')", "1", "{a}k"]), Value::Integer(0));
    });
}

#[test]
fn functions_and_commands_of_files_keep_to_the_declared_slot() {
    let directory =
        Directory::with_command("x.set", "keys = {1, 1, 1}, flags = {'write'}", "return redis.call('SET', args[1], 'v')");
    each_node(&directory.setup(), |_, node| {
        let library = "#!lua name=mine\nlocal function set(keys, args) return redis.call('SET', args[1], 'v') end\n\
                       redis.register_function('one', set)\n\
                       redis.register_function{function_name = 'several', callback = set, flags = {'allow-cross-slot-keys'}}";
        assert_eq!(node.call(&["ATOMIC.FUNCTION", "LOAD", library]), Value::bulk("mine"));
        for command in ["ATOMIC.FCALL one 1 {a}k", "ATOMIC.FCALL several 1 {a}k", "x.set {a}k"] {
            refused(&node.run(&format!("{command} {{b}}k")), OTHER_SLOT);
            assert_eq!(node.run(&format!("{command} {{a}}l")), Value::ok());
        }
        assert_eq!(node.run("ATOMIC.FCALL several 0 {b}k"), Value::ok());
        assert_eq!(node.run("DBSIZE"), Value::Integer(2));
        // Luau does not compile this. Called from the module, the server's own engine would not find the keys either.
        let odd = "#!lua name=odd\nredis.register_function('odd', function(k, args) redis.call('SET', args[1], 0x1p4) return 'odd' end)";
        assert_eq!(node.call(&["FUNCTION", "LOAD", odd]), Value::bulk("odd"));
        refused(&node.run("ATOMIC.FCALL odd 1 {a}k {b}k"), "ERR Function not found, or only the server's own engine can run it");
        assert_eq!(node.run("ATOMIC.FCALL odd 0 {b}k"), Value::bulk("odd"));
        assert_eq!(node.run("GET {b}k"), Value::bulk("16"));
        expect_sound(&mut node.connect());
    });
}

/// Asserts that each key is found, once, and in its slot.
#[track_caller]
fn expect_sound(client: &mut Connection) {
    let keys: Vec<String> = client.run("KEYS *").array().iter().map(Value::text).collect();
    let distinct: BTreeSet<&String> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "a key is there twice: {keys:?}");
    let mut slots: BTreeMap<i64, i64> = BTreeMap::new();
    for key in &keys {
        assert_eq!(client.call(&["EXISTS", key]), Value::Integer(1), "{key} is not found");
        *slots.entry(client.call(&["CLUSTER", "KEYSLOT", key]).integer()).or_default() += 1;
    }
    for (slot, count) in slots {
        assert_eq!(client.run(&format!("CLUSTER COUNTKEYSINSLOT {slot}")), Value::Integer(count), "keys in slot {slot}");
    }
    assert_eq!(client.run("DBSIZE").integer(), i64::try_from(keys.len()).unwrap(), "{keys:?}");
}

/// Random numbers from a seed; the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn one<'t>(&mut self, table: &[&'t str]) -> &'t str {
        table[self.below(table.len())]
    }

    fn key(&mut self) -> String {
        format!("{{{}}}{}", self.one(&["a", "b", "c"]), self.below(4))
    }

    /// A call, which may fail.
    fn call(&mut self) -> String {
        let [k, l] = [self.key(), self.key()];
        match self.below(12) {
            0 => format!("redis.pcall('GET', '{k}')"),
            1 => format!("redis.pcall('SET', '{k}', '1', 'PX', {})", 1 + self.below(30)),
            2 => format!("redis.pcall('DEL', '{k}')"),
            3 => format!("redis.pcall('RENAME', '{k}', '{l}')"),
            4 => format!("redis.pcall('MSET', '{k}', '1', '{l}', '2')"),
            5 => format!("redis.pcall('SORT', '{k}', 'BY', 'nosort', 'STORE', '{l}')"),
            6 => format!("redis.pcall('LPUSH', '{k}', '1')"),
            7 => format!("redis.pcall('ATOMIC.LOCK', '{k}', 'me', 20)"),
            8 => format!("pcall(atomic.incrby, '{k}', 1)"),
            9 => format!("pcall(atomic.mcas, '{k}', '', 'v', '{l}', '', 'w')"),
            10 => format!("redis.pcall('PEXPIRE', '{k}', {})", self.below(30)),
            _ => format!("redis.pcall('SET', '{k}', '1')"),
        }
    }

    /// The words of a command that runs calls.
    fn command(&mut self, may_run_natively: bool) -> Vec<String> {
        let calls: Vec<String> = (0..=self.below(3)).map(|_| self.call()).collect();
        let ours = !may_run_natively || self.below(2) == 0;
        let prefix = if ours { "ATOMIC." } else { "" };
        let mut words = match self.below(4) {
            0 => vec![format!("{prefix}FCALL"), self.one(&["one", "several"]).to_owned()],
            _ => {
                // Calls that only this engine has do nothing in the server's.
                let line = self.one(&["", "", "#!lua\n", "#!lua flags=allow-cross-slot-keys\n"]);
                let body = calls.join(" ").replace("pcall(atomic.", "pcall(rawget(getfenv(0), 'atomic') and atomic.");
                vec![format!("{prefix}EVAL"), format!("{line}{body}")]
            }
        };
        let first = self.key();
        let second = format!("{}x", &first[..3]);
        let keys = match self.below(3) {
            0 => vec![],
            1 => vec![first],
            _ => vec![first, second],
        };
        words.push(keys.len().to_string());
        words.extend(keys);
        words.push(self.key());
        words
    }
}

/// Random scripts, functions and transactions, in drop-in mode and not.
fn run(node: &Server, seed: u64) {
    let mut random = Random(seed);
    let mut client = node.connect();
    // Redis before 8.2 loses keys when its own scripts use several slots in MULTI.
    let scripts_spoil_multi = !node.binary.is_valkey && !node.binary.is_redis_from(8, 2);
    for _ in 0..120 {
        match random.below(8) {
            0 => drop(client.run(&format!("CONFIG SET atomic.intercept {}", random.one(&["yes", "no"])))),
            1 => drop(client.run(&format!("CONFIG SET atomic.intercept-one-slot {}", random.one(&["yes", "no"])))),
            2 | 3 => {
                client.run("MULTI");
                if random.below(2) == 0 {
                    client.run(&format!("SET {{a}}{} 1", random.below(4)));
                }
                for _ in 0..=random.below(3) {
                    client.call(&random.command(!scripts_spoil_multi));
                }
                client.run("EXEC");
            }
            _ => drop(client.call(&random.command(true))),
        }
    }
}

#[test]
fn after_random_scripts_each_key_is_in_its_slot_here_and_on_the_replica() {
    each_node(&Setup::with_module(), |cluster, node| {
        let replica = cluster.replica_of(node);
        let mut reader = replica.connect();
        assert_eq!(reader.run("READONLY"), Value::ok());
        let library = "#!lua name=mine\n\
                       local function f(keys, args) redis.pcall('SET', args[1], '1') redis.pcall('SET', args[1] .. 'y', '1', 'PX', 9) end\n\
                       redis.register_function('one', f)\n\
                       redis.register_function{function_name = 'several', callback = f, flags = {'allow-cross-slot-keys'}}";
        assert_eq!(node.call(&["FUNCTION", "LOAD", library]), Value::bulk("mine"));
        for seed in 1..=6 {
            run(node, seed);
            let expires = || node.run("INFO keyspace").text().contains("expires=0") || node.run("DBSIZE") == Value::Integer(0);
            eventually("what expires goes away", || expires().then_some(()));
            expect_sound(&mut node.connect());
            let sent: u64 = node.info("master_repl_offset").parse().unwrap();
            eventually("the replica has applied everything", || {
                (replica.info("slave_repl_offset").parse::<u64>().unwrap() >= sent).then_some(())
            });
            expect_sound(&mut reader);
            assert_eq!(replica.run("DEBUG DIGEST"), node.run("DEBUG DIGEST"), "seed {seed}: the replica differs");
            for key in node.run("KEYS *").array() {
                assert_eq!(node.call(&["DEL".as_bytes(), key.bytes()]), Value::Integer(1), "seed {seed}: {key}");
            }
            assert_eq!(node.run("DBSIZE"), Value::Integer(0), "seed {seed}");
        }
    });
}

#[test]
fn a_transaction_on_another_slot_can_unblock_a_waiter() {
    each_node(&Setup::with_module(), |_, node| {
        node.run("ATOMIC.LOCK {a}k holder 3600000");
        let mut waiter = node.connect();
        let id = waiter.run("CLIENT ID").integer();
        waiter.send(&["ATOMIC.LOCK", "{a}k", "me", "1000", "WAIT", "0"]).unwrap();
        eventually("it waits", || (node.info("blocked_clients") == "1").then_some(()));
        let mut other = node.connect();
        for command in ["MULTI", "SET {b}k v", &format!("CLIENT UNBLOCK {id} TIMEOUT")] {
            other.run(command);
        }
        assert_eq!(other.run("EXEC"), Value::Array(vec![Value::ok(), Value::Integer(1)]));
        let denied = waiter.read().unwrap();
        let ttl = denied.array()[2].integer();
        assert!((3_500_000..=3_600_000).contains(&ttl), "the holder's lease was read in the wrong slot: {denied}");
    });
}
