//! Any order of what changes the function store, on a master with a replica: afterwards the module knows what FUNCTION LIST shows, and no
//! library of others has changed.

use std::collections::{BTreeMap, BTreeSet};

use redis_atomic::lua::library;

use super::super::{eval, evalsha, sha1};
use super::text;
use crate::support::{Connection, RealReplica, Server, Setup, Value, each_server_with};

const SCRIPTS: usize = 6;

fn script(number: usize) -> String {
    format!("return {number}")
}

/// A linear congruential generator: the program is the same on every server, and on the next run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % count
    }
}

/// The libraries and their code.
fn store(server: &Server) -> BTreeMap<String, Vec<u8>> {
    let list = server.run("FUNCTION LIST WITHCODE");
    let entry = |library: &Value| {
        (library.field("library_name").unwrap().text(), library.field("library_code").unwrap().bytes().to_vec())
    };
    list.array().iter().map(entry).collect()
}

/// Those of them that are not ours.
fn foreign(server: &Server) -> BTreeMap<String, Vec<u8>> {
    store(server).into_iter().filter(|(_, code)| library::script(code).is_none()).collect()
}

/// A library that is not ours, under the name of one that could be.
fn forged(number: usize) -> Vec<u8> {
    let name = format!("atomic_{}", sha1(script(number)));
    format!("#!lua name={name}\nredis.register_function('f{number}', function() return 'foreign' end)").into_bytes()
}

/// Something that may change the store.
fn step(dice: &mut Dice, server: &Server, client: &mut Connection, dump: &mut Vec<u8>) -> String {
    let number = dice.below(SCRIPTS);
    let script = script(number);
    let name = format!("atomic_{}", sha1(&script));
    let ours = |client: &mut Connection, words: &[&[u8]]| {
        let before = foreign(server);
        let reply = client.call(words);
        assert!(!matches!(reply, Value::Error(_)), "{reply}");
        assert_eq!(foreign(server), before, "a library of others changed by {}", words.concat().escape_ascii());
    };
    match dice.below(16) {
        0..=3 => ours(client, &[b"ATOMIC.SCRIPT", b"LOAD", script.as_bytes()]),
        4 => ours(client, &[b"ATOMIC.SCRIPT", b"FLUSH"]),
        5 => drop(client.call(&[&b"FUNCTION"[..], b"LOAD", b"REPLACE", &text(&script)])),
        6 => drop(client.call(&[&b"FUNCTION"[..], b"LOAD", &text(&script)])),
        7 => drop(client.call(&[&b"FUNCTION"[..], b"LOAD", b"REPLACE", &forged(number)])),
        8 => drop(client.call(&["FUNCTION", "DELETE", &name])),
        9 => drop(client.run("FUNCTION FLUSH")),
        10 => *dump = server.run("FUNCTION DUMP").bytes().to_vec(),
        11 => drop(client.call(&[&b"FUNCTION"[..], b"RESTORE", dump, [&b"FLUSH"[..], b"REPLACE"][dice.below(2)]])),
        12 => drop(client.call(&evalsha(&script, "0"))),
        13 => drop(client.call(&eval(&script, "0"))),
        14 => assert_eq!(server.run("DEBUG RELOAD"), Value::ok()),
        _ => {
            client.run("MULTI");
            client.call(&[&b"FUNCTION"[..], b"LOAD", b"REPLACE", &text(&script)]);
            client.call(&["ATOMIC.SCRIPT", "LOAD", &self::script(dice.below(SCRIPTS))]);
            client.call(&["FUNCTION", "DELETE", &format!("atomic_{}", sha1(self::script(dice.below(SCRIPTS))))]);
            client.call(&["ATOMIC.SCRIPT", "EXISTS", &sha1(&script)]);
            client.run(if dice.below(4) == 0 { "DISCARD" } else { "EXEC" });
        }
    }
    name
}

/// Asserts that the module knows what the store holds. In which order it is asked decides what it has to find out.
fn expect_known(dice: &mut Dice, server: &Server, story: &str) {
    let is_stored: Vec<bool> = {
        let store = store(server);
        let ours: BTreeSet<&str> =
            store.iter().filter(|(_, code)| library::script(code).is_some()).map(|(name, _)| &**name).collect();
        (0..SCRIPTS).map(|number| ours.contains(format!("atomic_{}", sha1(script(number))).as_str())).collect()
    };
    let runs = || {
        for (number, is_stored) in is_stored.iter().enumerate() {
            let known = server.run(&format!("ATOMIC.SCRIPT EXISTS {}", sha1(script(number))));
            let reply = server.call(&evalsha(&script(number), "0"));
            match reply {
                Value::Integer(value) if value == number as i64 => assert_eq!(known, Value::integers(&[1]), "{story}"),
                reply => {
                    assert!(
                        reply.error().starts_with("NOSCRIPT") && !is_stored,
                        "{number}: {reply}, stored: {is_stored}; {story}"
                    );
                    assert_eq!(known, Value::integers(&[0]), "{story}");
                }
            }
        }
    };
    let list = || {
        let list = server.run("ATOMIC.SCRIPT LIST");
        let entry = |entry: &Value| (entry.field("sha1").unwrap().text(), entry.field("stored").unwrap().integer() == 1);
        let listed: BTreeMap<String, bool> = list.array().iter().map(entry).collect();
        for (number, is_stored) in is_stored.iter().enumerate() {
            let listed = listed.get(&sha1(script(number)));
            assert_eq!(listed.copied().unwrap_or(false), *is_stored, "{number}; {story}");
            let known = server.run(&format!("ATOMIC.SCRIPT EXISTS {}", sha1(script(number))));
            assert_eq!(known, Value::integers(&[i64::from(listed.is_some())]), "{number}; {story}");
        }
        let stored = is_stored.iter().filter(|stored| **stored).count();
        assert_eq!(server.info("atomic_scripts_stored"), stored.to_string(), "{story}");
    };
    match dice.below(3) {
        0 => runs(),
        1 => list(),
        _ => {
            runs();
            list();
        }
    }
}

fn run(seed: u64, server: &Server) {
    let mut dice = Dice(seed);
    let replica = RealReplica::with_module(server);
    let mut clients = [server.connect(), server.connect()];
    let mut dump = server.run("FUNCTION DUMP").bytes().to_vec();
    let mut story = format!("seed {seed}");
    for number in 0..120 {
        let client = dice.below(2);
        let before = dice.0;
        step(&mut dice, server, &mut clients[client], &mut dump);
        story = format!("seed {seed}, step {number} ({before:x})");
        if dice.below(3) == 0 {
            expect_known(&mut dice, server, &story);
        }
        if dice.below(6) == 0 {
            replica.await_sync();
            assert_eq!(store(&replica.server), store(server), "{story}");
            if dice.below(4) == 0 {
                drop(replica.server.run("ATOMIC.SCRIPT FLUSH"));
            }
            expect_known(&mut dice, &replica.server, &format!("{story}, on the replica"));
        }
    }
    assert_eq!(replica.server.run("REPLICAOF NO ONE"), Value::ok());
    expect_known(&mut dice, &replica.server, &story);
    expect_known(&mut dice, server, &story);
}

#[test]
fn what_is_known_is_what_function_list_shows() {
    each_server_with(&Setup::with_module(), |server| (1..4).for_each(|seed| run(seed, server)));
}

#[test]
fn what_is_known_is_what_function_list_shows_in_drop_in_mode() {
    each_server_with(&Setup::with_module().module_args(&["intercept", "yes"]), |server| run(7, server));
}
