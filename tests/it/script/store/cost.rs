//! What the store costs: no command takes time in the number of stored scripts, and their memory is bounded and counted.
//!
//! Time is seen by what makes it: how often the server was asked for the list of its libraries. `cost_of_the_store` measures it instead,
//! beside the server's own commands:
//!
//! ```text
//! ATOMIC_STORED="1000 10000 50000" cargo test --no-default-features --test it -- --ignored --nocapture cost_of_the_store
//! ```

use std::collections::BTreeMap;
use std::{env, fs};

use redis_atomic::lua::stored_memory;

use super::super::{evalsha, sha1};
use super::{NOSCRIPT, libraries, listed, load, text};
use crate::support::{Connection, RealReplica, Server, Setup, Value, argv, each_server, each_server_with};

const UNKNOWN: &str = "0123456789012345678901234567890123456789";

/// How often the server listed its libraries.
fn lists(server: &Server) -> u64 {
    let stats = server.run("INFO commandstats").text();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_function|list:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

fn script(number: usize) -> String {
    format!("return {number}")
}

/// Asks for what is not there, in every way.
fn miss(server: &Server) {
    assert_eq!(
        server.run(&format!("ATOMIC.SCRIPT EXISTS {UNKNOWN} x {}", UNKNOWN.replace('0', "f"))),
        Value::integers(&[0, 0, 0])
    );
    for command in ["EVALSHA", "EVALSHA_RO", "SCRIPT SHOW", "SCRIPT STATS"] {
        let numkeys = if command.starts_with("EVAL") { "0" } else { "" };
        assert_eq!(server.run(&format!("ATOMIC.{command} {UNKNOWN} {numkeys}")).error(), NOSCRIPT, "{command}");
    }
    assert_eq!(server.run(&format!("ATOMIC.FCALL f{UNKNOWN} 0")).error(), "ERR Function not found");
}

#[test]
fn neither_load_nor_a_miss_lists_the_libraries() {
    each_server(|server| {
        assert_eq!(server.run("FUNCTION LIST"), Value::Array(Vec::new()));
        let before = lists(server);
        assert!(before > 0, "calls are counted");
        for number in 0..100 {
            load(server, script(number));
            load(server, script(number / 2));
            miss(server);
        }
        // One look for the functions, when the first is called, and one for the scripts, since from then on the store is watched.
        assert!(lists(server) - before <= 2, "{} lists", lists(server) - before);
        assert_eq!(listed(server).iter().filter(|(_, stored)| *stored).count(), 100);
        let before = lists(server);
        for number in 0..50 {
            load(server, script(number));
            miss(server);
            server.run("ATOMIC.SCRIPT LIST COUNT 5");
            server.run("ATOMIC.SCRIPT STATS");
        }
        assert_eq!(lists(server), before);
        // Others change it: misses do not look at all of it, and what is there is found.
        for number in 0..20 {
            let library = format!("#!lua name=l{number}\nredis.register_function('f{number}', function() end)");
            server.call(&["FUNCTION", "LOAD", &library]);
            assert_eq!(server.call(&evalsha("return 'unknown'", "0")).error(), NOSCRIPT);
            load(server, script(number));
        }
        assert!(lists(server) - before <= 20, "{} lists", lists(server) - before);
    });
}

#[test]
fn drop_in_mode_does_not_list_the_libraries_for_what_only_the_server_knows() {
    each_server_with(&Setup::with_module(), |server| {
        (0..100).for_each(|number| load(server, script(number)));
        let theirs = server.call(&["SCRIPT", "LOAD", "return 'theirs'"]).text();
        assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok());
        let before = lists(server);
        for number in 0..50 {
            assert_eq!(server.run(&format!("EVALSHA {theirs} 0")), Value::bulk("theirs"));
            assert_eq!(server.run(&format!("SCRIPT EXISTS {theirs} {UNKNOWN}")), Value::integers(&[1, 0]));
            assert_eq!(server.run(&format!("EVALSHA {UNKNOWN} 0")).error().split(' ').next(), Some("NOSCRIPT"));
            assert_eq!(server.run(&format!("FCALL f{UNKNOWN} 0")).error(), "ERR Function not found");
            assert_eq!(server.call(&["SCRIPT", "LOAD", &script(1000 + number)]), Value::bulk(sha1(script(1000 + number))));
        }
        assert!(lists(server) - before <= 2, "{} lists", lists(server) - before);
    });
}

/// Redis 7.0 does not tell a filter whose command it sees: there a script that is new to the replica has the store gone through.
#[test]
fn a_replica_takes_each_script_as_it_comes() {
    each_server(|server| {
        load(server, script(0));
        let replica = RealReplica::with_module(server);
        let knows = |script: &str| {
            replica.await_sync();
            assert_eq!(replica.server.run(&format!("ATOMIC.SCRIPT EXISTS {}", sha1(script))), Value::integers(&[1]), "{script}");
        };
        load(server, script(1));
        knows(&script(1));
        let before = lists(&replica.server);
        for number in 2..30 {
            load(server, script(number));
            knows(&script(number));
            assert!(listed(&replica.server).contains(&(sha1(script(number)), true)));
        }
        server.run(&format!("FUNCTION DELETE atomic_{}", sha1(script(5))));
        replica.await_sync();
        assert!(listed(&replica.server).contains(&(sha1(script(5)), false)));
        let lists = lists(&replica.server) - before;
        assert!(lists == 0 || server.binary.version == (7, 0), "{lists} lists");
        // What a transaction holds is found, too.
        server.run("ATOMIC.SCRIPT FLUSH");
        replica.await_sync();
        assert_eq!(libraries(&replica.server), [""; 0]);
        assert!(listed(&replica.server).iter().all(|(_, stored)| !stored));
    });
}

#[test]
fn the_limit_bounds_the_memory_and_so_the_number() {
    each_server(|server| {
        for (count, bytes) in [(3000, 0), (100, 30_000)] {
            assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
            let memory = |field: &str| server.info(field).parse::<i64>().unwrap();
            // In Redis 7.0 and in Valkey the memory of the server's own Lua is not part of `used_memory`.
            let used = || {
                let lua = if server.binary.is_redis_from(8, 0) { 0 } else { memory("used_memory_vm_functions") };
                memory("used_memory") + lua
            };
            let (before, vm) = (used(), memory("atomic_scripts_vm_memory"));
            let padding = "-".repeat(bytes);
            (0..count).for_each(|number| load(server, format!("{} --{padding}", script(number))));
            // What is compiled has a limit of its own, `script-memory-limit`.
            let compiled = memory("atomic_scripts_vm_memory") - vm;
            let taken = used() - before - if bytes > 0 { compiled } else { 0 };
            let counted = memory("atomic_scripts_stored_memory");
            assert_eq!(counted, (0..count).map(|number| stored_memory(script(number).len() + 3 + bytes) as i64).sum::<i64>());
            assert!(taken <= counted, "{} takes {taken}, counted are {counted}", server.binary.name);
            assert!(2 * taken >= counted, "{} takes {taken}, counted are {counted}", server.binary.name);
        }
    });
    let setup = Setup::with_module().module_args(&["script-store-max-bytes", "100kb"]);
    each_server_with(&setup, |server| {
        (0..200).for_each(|number| load(server, script(number)));
        let most = (100 << 10) / stored_memory(script(10).len());
        assert_eq!(
            (server.info("atomic_scripts_stored"), server.info("atomic_scripts_cached")),
            (most.to_string(), "200".to_owned())
        );
        assert_eq!(server.info("atomic_scripts_store_refused"), (200 - most).to_string());
        let before = lists(server);
        (0..100).for_each(|number| load(server, script(number)));
        assert_eq!(lists(server), before, "a full store is not gone through each time");
    });
}

/// Compiled scripts fill the engine's memory. That is no reason to refuse the next one.
#[test]
fn more_scripts_can_be_loaded_than_the_engine_can_hold_compiled() {
    each_server_with(&Setup::with_module().module_args(&["script-memory-limit", "4mb"]), |server| {
        let long = "local t = {KEYS[1], ARGV[1], #KEYS} ".repeat(100);
        let scripts: Vec<String> = (0..1000).map(|number| format!("{long} return {number}")).collect();
        scripts.iter().for_each(|script| load(server, script));
        assert!(server.info("atomic_scripts_vm_memory").parse::<usize>().unwrap() < 8 << 20);
        for number in [0, 700, 999] {
            assert_eq!(server.call(&evalsha(&scripts[number], "0")), Value::Integer(number as i64));
        }
    });
}

#[test]
fn evictions_show_in_info() {
    each_server(|server| {
        let mut connection = server.connect();
        (0..600).for_each(|number| drop(connection.call(&["ATOMIC.EVAL", &script(number), "0"])));
        assert_eq!(server.info("atomic_scripts_evicted"), "100");
        assert_eq!(server.info("atomic_scripts_stored_memory"), "0");
    });
}

/// The server's CPU time, in nanoseconds.
fn cpu(server: &Server) -> u64 {
    let path = format!("/proc/{0}/task/{0}/schedstat", server.pid());
    fs::read_to_string(path).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Microseconds of the server for each of these commands, sent one by one.
fn each(server: &Server, connection: &mut Connection, commands: impl ExactSizeIterator<Item = Vec<Vec<u8>>>) -> f64 {
    let count = commands.len();
    let before = cpu(server);
    commands.for_each(|words| drop(connection.call(&words)));
    (cpu(server) - before) as f64 / count as f64 / 1000.0
}

/// What stores a script, alone: LOAD cannot take less.
fn function_load(script: &str) -> Vec<Vec<u8>> {
    vec![b"FUNCTION".to_vec(), b"LOAD".to_vec(), text(script)]
}

/// One server with the module, in drop-in mode or not, or without it.
struct Side {
    name: &'static str,
    server: Server,
    load: fn(&str) -> Vec<Vec<u8>>,
    asked: Vec<(&'static str, String)>,
}

#[test]
#[ignore = "measures, and takes minutes"]
fn cost_of_the_store() {
    let stored: Vec<usize> = env::var("ATOMIC_STORED")
        .unwrap_or_else(|_| "1000 10000 50000".to_owned())
        .split(' ')
        .map(|number| number.parse().unwrap())
        .collect();
    let roomy = ["script-store-max-bytes", "1gb", "script-memory-limit", "1gb"];
    crate::support::each_installed(|binary| {
        let theirs = sha1("return 'theirs'");
        let ours = |prefix: &str| {
            vec![
                ("EXISTS miss", format!("{prefix}SCRIPT EXISTS {UNKNOWN}")),
                ("EVALSHA miss", format!("{prefix}EVALSHA {UNKNOWN} 0")),
                ("FCALL miss", format!("{prefix}FCALL f{UNKNOWN} 0")),
                ("EVALSHA of the server's", format!("EVALSHA {theirs} 0")),
            ]
        };
        let side = |name, setup: &Setup, load, asked| Side { name, server: Server::start(binary, setup), load, asked };
        let script_load = |script: &str| [argv("SCRIPT LOAD"), vec![script.as_bytes().to_vec()]].concat();
        let atomic_load = |script: &str| [argv("ATOMIC.SCRIPT LOAD"), vec![script.as_bytes().to_vec()]].concat();
        let drop_in = [&roomy[..], &["intercept", "yes"]].concat();
        let mut atomic = ours("ATOMIC.");
        atomic.insert(2, ("SHOW miss", format!("ATOMIC.SCRIPT SHOW {UNKNOWN}")));
        let sides = [
            side("server", &Setup::without_module(), script_load, ours("")),
            side("FUNCTION", &Setup::without_module(), function_load, Vec::new()),
            side("ATOMIC.*", &Setup::with_module().module_args(&roomy), atomic_load, atomic),
            side("drop-in", &Setup::with_module().module_args(&drop_in), script_load, ours("")),
        ];
        let mut table: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for Side { name, server, load, asked } in &sides {
            let mut connection = server.connect();
            // Drop-in mode would load it on both.
            server.run("CONFIG SET atomic.intercept no");
            assert_eq!(server.call(&["SCRIPT", "LOAD", "return 'theirs'"]), Value::bulk(&theirs));
            if *name == "drop-in" {
                assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok());
            }
            let mut next = 0;
            for &target in &stored {
                let loads = |from: usize, to: usize| {
                    (from..to).map(|number| load(&format!("return redis.call('GET', KEYS[1]) + {number}")))
                };
                let last = target.saturating_sub(500).max(next);
                each(server, &mut connection, loads(next, last));
                let mut line = vec![format!("LOAD {:.1}", each(server, &mut connection, loads(last, target)))];
                next = target;
                for (what, command) in asked {
                    let took = each(server, &mut connection, (0..500).map(|_| argv(command)));
                    line.push(format!("{what} {took:.1}"));
                }
                table.entry(target).or_default().push(format!("{name}: {}", line.join(", ")));
            }
        }
        println!("{}, microseconds of CPU per command:", binary.name);
        table.iter().for_each(|(stored, lines)| lines.iter().for_each(|line| println!("  {stored} stored, {line}")));
    });
}
