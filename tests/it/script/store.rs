//! What ATOMIC.SCRIPT LOAD stores is there after restarts, on replicas and after a failover, on every server, as a plain library.

use redis_atomic::lua::{Digest, library, stored_memory};

use super::{eval, evalsha, expect_working, place, sha1};
use crate::support::{FakeReplica, Server, Setup, Value, each_server, each_server_that_unloads, each_server_with, eventually};

mod cost; // what a command costs however much is stored, and what is bounded
mod foreign; // libraries that are not ours, whatever they are called
mod model; // any order of what changes the store, and what is then known
mod replicas; // full and partial resync, failover, replicas and servers without the module

const ONE: &str = "return {1, KEYS[1]}";
const TWO: &str = "return redis.call('SET', KEYS[1], ARGV[1])";
const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use ATOMIC.EVAL.";

#[track_caller]
fn load(server: &Server, script: impl AsRef<[u8]>) {
    let script = script.as_ref();
    assert_eq!(server.call(&[&b"ATOMIC.SCRIPT"[..], b"LOAD", script]), Value::bulk(sha1(script)), "{}", script.escape_ascii());
}

/// The SHA1 and whether it is stored, of each script that LIST shows.
fn listed(server: &Server) -> Vec<(String, bool)> {
    let list = server.run("ATOMIC.SCRIPT LIST");
    let entry = |entry: &Value| (entry.field("sha1").unwrap().text(), entry.field("stored").unwrap().integer() == 1);
    list.array().iter().map(entry).collect()
}

/// The names of the server's libraries, sorted.
fn libraries(server: &Server) -> Vec<String> {
    let list = server.run("FUNCTION LIST");
    let mut names: Vec<String> = list.array().iter().map(|library| library.field("library_name").unwrap().text()).collect();
    names.sort();
    names
}

fn names(scripts: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = scripts.iter().map(|script| format!("atomic_{}", sha1(script))).collect();
    names.sort();
    names
}

/// The text of the library that carries a script.
fn text(script: impl AsRef<[u8]>) -> Vec<u8> {
    library::text(Digest::of(script.as_ref()), script.as_ref())
}

#[track_caller]
fn expect_found(server: &Server) {
    let reply = server.call(&evalsha(ONE, "1 k"));
    assert_eq!(reply, Value::Array(vec![Value::Integer(1), Value::bulk("k")]));
}

/// Scripts whose text tries to end the comment that carries it, or to change on the way.
fn hostile() -> Vec<Vec<u8>> {
    let mut scripts: Vec<Vec<u8>> = (0..12)
        .flat_map(|level| {
            let signs = "=".repeat(level);
            [format!("return 1 --]{signs}]"), format!("return 1 --]{signs}"), format!("--[{signs}[ x ]{signs}] return 1")]
        })
        .map(String::into_bytes)
        .collect();
    for script in [
        &b"--]=]\nlocal x = 'redis.register_function' return x"[..],
        b"--]]]=]]==]]===]\nreturn 1",
        b"\nreturn 1",
        b"\n\n\rreturn 1\r\n\r",
        b"\r\nreturn 1\r\n",
        b"return [[\r\n]]",
        b"return [==[\n]=] ]]]==]",
        b"-- [[ [=[\nreturn 1",
        b"--\xff\x80\x1a\xe4\xb8\x80\nreturn 1",
        b"#!lua\nreturn 1",
        b"return '#!lua name=x'",
        b"",
    ] {
        scripts.push(script.to_vec());
    }
    scripts
}

#[test]
fn any_script_is_stored_to_the_byte_and_works_after_a_restart() {
    each_server_with(&Setup::with_module(), |server| {
        let scripts = hostile();
        scripts.iter().for_each(|script| load(server, script));
        assert_eq!(server.info("atomic_scripts_stored"), scripts.len().to_string());
        assert_eq!(server.info("atomic_scripts_stored_bytes"), scripts.iter().map(Vec::len).sum::<usize>().to_string());
        let run = |script: &[u8]| server.call(&[&b"ATOMIC.EVALSHA"[..], sha1(script).as_bytes(), b"0"]);
        let before: Vec<Value> = scripts.iter().map(|script| run(script)).collect();
        assert!(before.iter().all(|reply| !matches!(reply, Value::Error(_))), "{before:?}");
        server.shut_down("SAVE");
        server.start_again();
        assert_eq!(server.info("atomic_scripts_stored"), scripts.len().to_string(), "adopted when the data was loaded");
        for (script, before) in scripts.iter().zip(before) {
            assert_eq!(run(script), before, "{}", script.escape_ascii());
            assert_eq!(server.call(&["ATOMIC.SCRIPT", "SHOW", &sha1(script)]), Value::bulk(script));
            assert_eq!(server.call(&["FCALL", &format!("atomic_{}", sha1(script)), "0"]), Value::Null, "does nothing");
        }
    });
}

#[test]
fn a_loaded_script_survives_kill_9_and_a_rewrite_of_the_aof() {
    for preamble in ["yes", "no"] {
        let setup = Setup::with_module().appendonly("always").config(&format!("aof-use-rdb-preamble {preamble}"));
        each_server_with(&setup, |server| {
            load(server, ONE);
            server.call(&eval("return 'only evaluated'", "0"));
            for rewritten in [false, true] {
                if rewritten {
                    server.run("BGREWRITEAOF");
                    eventually("the AOF is rewritten", || {
                        let fields = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"];
                        (fields.map(|field| server.info(field)) == ["0", "0"]).then_some(())
                    });
                }
                server.kill_9();
                server.start_again();
                assert_eq!(server.info("atomic_scripts_stored"), "1");
                expect_found(server);
                assert_eq!(server.call(&evalsha("return 'only evaluated'", "0")).error(), NOSCRIPT);
            }
        });
    }
}

#[test]
fn the_stream_holds_a_library_once_and_its_deletion() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        load(server, "return 1");
        let sha = sha1("return 1");
        let code =
            format!("#!lua name=atomic_{sha}\n--[=[\nreturn 1\n]=]\nredis.register_function('atomic_{sha}',function()end)\n");
        let command = ["FUNCTION", "LOAD", "REPLACE", &code].map(|word| word.as_bytes().to_vec());
        assert_eq!(replica.commands(), [command]);
        for command in [
            "ATOMIC.SCRIPT LOAD 'return 1'".to_owned(),
            "ATOMIC.SCRIPT LOAD 'return return'".to_owned(),
            format!("ATOMIC.SCRIPT EXISTS {sha} x"),
            format!("ATOMIC.SCRIPT SHOW {sha}"),
            format!("ATOMIC.SCRIPT STATS {sha}"),
            "ATOMIC.SCRIPT STATS".to_owned(),
            "ATOMIC.SCRIPT LIST".to_owned(),
            "ATOMIC.SCRIPT RESETSTAT".to_owned(),
            "ATOMIC.SCRIPT HELP".to_owned(),
            format!("ATOMIC.EVALSHA {sha} 0"),
            "ATOMIC.EVALSHA 0000000000000000000000000000000000000000 0".to_owned(),
            "ATOMIC.EVAL 'return 2' 0".to_owned(),
        ] {
            server.run(&command);
            replica.expect_stream(&[]);
        }
        assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        replica.expect_stream(&[&format!("FUNCTION DELETE atomic_{sha}")]);
        assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        replica.expect_stream(&[]);
        load(server, ONE);
        load(server, TWO);
        replica.stream();
        assert_eq!(server.run("ATOMIC.SCRIPT FLUSH SYNC"), Value::ok());
        let deleted: Vec<String> = names(&[ONE, TWO]).iter().map(|name| format!("FUNCTION DELETE {name}")).collect();
        replica.expect_stream(&["MULTI", &deleted[0], &deleted[1], "EXEC"]);
    });
}

#[test]
fn a_transaction_can_load_use_and_flush() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let mut connection = server.connect();
        connection.run("MULTI");
        connection.call(&["ATOMIC.SCRIPT", "LOAD", TWO]);
        connection.call(&evalsha(TWO, "1 k v"));
        connection.run("ATOMIC.SCRIPT FLUSH");
        connection.call(&evalsha(TWO, "1 k v"));
        let replies = connection.run("EXEC");
        assert_eq!(replies.array()[..3], [Value::bulk(sha1(TWO)), Value::ok(), Value::ok()]);
        assert_eq!(replies.array()[3].error(), NOSCRIPT);
        let delete = format!("FUNCTION DELETE atomic_{}", sha1(TWO));
        replica.expect_stream(&["MULTI", "FUNCTION LOAD REPLACE <code>", "SET k v", &delete, "EXEC"]);
    });
}

#[test]
fn the_module_can_be_unloaded_and_finds_its_scripts_again() {
    each_server_that_unloads(|server| {
        load(server, ONE);
        server.call(&eval(TWO, "1 k v"));
        assert_eq!(server.run("MODULE UNLOAD atomic"), Value::ok());
        assert_eq!(libraries(server), names(&[ONE]));
        let path = crate::support::module_path();
        assert_eq!(server.call(&["MODULE", "LOAD", path.to_str().unwrap()]), Value::ok());
        assert_eq!(
            (server.info("atomic_scripts_cached"), server.info("atomic_scripts_stored")),
            ("1".to_owned(), "1".to_owned())
        );
        expect_found(server);
        assert_eq!(server.call(&evalsha(TWO, "1 k v")).error(), NOSCRIPT);
        expect_working(&mut server.connect(), "loading again");
    });
}

#[test]
fn what_others_do_to_the_libraries_is_seen() {
    each_server(|server| {
        load(server, ONE);
        load(server, TWO);
        assert_eq!(server.run(&format!("FUNCTION DELETE atomic_{}", sha1(TWO))), Value::ok());
        assert!(listed(server).contains(&(sha1(ONE), true)) && listed(server).contains(&(sha1(TWO), false)));
        assert_eq!(server.run("FUNCTION FLUSH"), Value::ok());
        assert!(listed(server).iter().all(|(_, stored)| !stored));
        assert_eq!(
            (server.info("atomic_scripts_stored"), server.info("atomic_scripts_stored_bytes")),
            ("0".to_owned(), "0".to_owned())
        );
        expect_found(server);
        assert_eq!(libraries(server), [""; 0], "reading stores nothing");
        load(server, ONE);
        assert_eq!(libraries(server), names(&[ONE]), "what the store lost is stored again");
        let payload = server.run("FUNCTION DUMP");
        server.run("ATOMIC.SCRIPT FLUSH");
        assert_eq!(server.call(&evalsha(ONE, "1 k")).error(), NOSCRIPT);
        assert_eq!(server.call(&[b"FUNCTION", &b"RESTORE"[..], payload.bytes()]), Value::ok());
        expect_found(server);
        server.run("ATOMIC.SCRIPT FLUSH");
        assert_eq!(server.call(&[b"FUNCTION", &b"RESTORE"[..], payload.bytes()]), Value::ok());
        server.run("ATOMIC.SCRIPT FLUSH");
        assert_eq!(libraries(server), [""; 0], "FLUSH deletes what the engine has not seen yet");
        load(server, ONE);
        server.run("FLUSHALL");
        server.run("SCRIPT FLUSH");
        assert_eq!(libraries(server), names(&[ONE]));
        expect_found(server);
    });
}

#[test]
fn foreign_libraries_are_no_scripts_and_stay() {
    each_server(|server| {
        let (sha, taken) = (sha1(ONE), sha1(TWO));
        let foreign = |name: &str, function: &str| {
            let code = format!("#!lua name={name}\nredis.register_function('{function}', function() return 'foreign' end)");
            assert_eq!(server.call(&["FUNCTION", "LOAD", &code]), Value::bulk(name));
        };
        foreign(&format!("atomic_{sha}"), "one");
        foreign("atomic_mine", "two");
        // One that the engine knows from EVAL is not stored by it.
        let known = sha1("return 'known'");
        assert_eq!(server.call(&eval("return 'known'", "0")), Value::bulk("known"));
        foreign(&format!("atomic_{known}"), "three");
        assert!(listed(server).contains(&(known.clone(), false)), "{:?}", listed(server));
        server.run("ATOMIC.SCRIPT FLUSH");
        assert_eq!(server.run(&format!("FUNCTION DELETE atomic_{known}")), Value::ok());
        foreign("mine", &format!("atomic_{taken}"));
        assert_eq!(server.call(&evalsha(ONE, "1 k")).error(), NOSCRIPT);
        assert_eq!(listed(server), []);
        assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        assert_eq!(libraries(server).len(), 3);
        let lying = String::from_utf8(text("return 'a'")).unwrap().replace("return 'a'", "return 'b'");
        server.call(&["FUNCTION", "LOAD", &lying]);
        assert_eq!(server.call(&evalsha("return 'a'", "0")).error(), NOSCRIPT, "the text is not that of the digest");
        // The name of the function is taken: loaded, not stored.
        load(server, TWO);
        assert_eq!(server.call(&evalsha(TWO, "1 k v")), Value::ok());
        assert_eq!(server.info("atomic_scripts_store_refused"), "1");
        assert_eq!(server.run(&format!("FCALL atomic_{taken} 0")), Value::bulk("foreign"));
    });
}

#[test]
fn a_stored_script_that_does_not_compile_breaks_nothing() {
    each_server(|server| {
        let broken = "return return";
        assert_eq!(server.call(&[b"FUNCTION", &b"LOAD"[..], &text(broken)]), Value::bulk(format!("atomic_{}", sha1(broken))));
        load(server, ONE);
        for _ in 0..2 {
            for reply in [server.call(&evalsha(broken, "0")), server.call(&["ATOMIC.SCRIPT", "LOAD", broken])] {
                assert!(reply.error().starts_with("ERR Error compiling script (new function): "), "{reply}");
            }
            assert_eq!(server.run(&format!("ATOMIC.SCRIPT SHOW {}", sha1(broken))), Value::bulk(broken));
            assert_eq!(listed(server).len(), 2);
            expect_found(server);
            server.shut_down("SAVE");
            server.start_again();
        }
        expect_working(&mut server.connect(), "a restart with a broken script");
    });
}

#[test]
fn beyond_the_byte_limit_a_script_is_loaded_and_not_stored() {
    let (small, exact, more) = ("return 1", "return 2 +10", "return 3");
    let limit = (stored_memory(small.len()) + stored_memory(exact.len())).to_string();
    each_server_with(&Setup::with_module().module_args(&["script-store-max-bytes", &limit]), |server| {
        load(server, small);
        load(server, exact);
        assert_eq!(
            (server.info("atomic_scripts_stored_bytes"), server.info("atomic_scripts_store_refused")),
            ("20".to_owned(), "0".to_owned())
        );
        assert_eq!(server.info("atomic_scripts_stored_memory"), limit);
        for _ in 0..3 {
            load(server, more);
        }
        assert_eq!(server.info("atomic_scripts_store_refused"), "3");
        assert_eq!(server.log().matches("loaded but not stored").count(), 1, "said once");
        assert!(server.log().contains("script-store-max-bytes"), "with its reason");
        assert_eq!(server.call(&evalsha(more, "0")), Value::Integer(3));
        assert_eq!(libraries(server), names(&[small, exact]));
        load(server, small);
        assert_eq!(server.info("atomic_scripts_store_refused"), "3", "what is stored needs no room");
        // Room that was made behind our back is found.
        assert_eq!(server.run("FUNCTION FLUSH"), Value::ok());
        load(server, more);
        assert_eq!(libraries(server), names(&[more]));
        assert_eq!(server.run("CONFIG SET atomic.script-store-max-bytes 0"), Value::ok());
        load(server, small);
        assert_eq!(libraries(server), names(&[more]));
        assert_eq!(server.run("CONFIG SET atomic.script-store-max-bytes 1mb"), Value::ok());
        load(server, small);
        assert_eq!(libraries(server), names(&[more, small]));
    });
}

#[test]
fn above_maxmemory_a_script_is_loaded_and_not_stored() {
    each_server(|server| {
        assert_eq!(server.run("CONFIG SET maxmemory 1"), Value::ok());
        load(server, ONE);
        assert_eq!(server.info("atomic_scripts_store_refused"), "1");
        assert!(server.log().contains("OOM "), "the reason is logged");
        assert_eq!(libraries(server), [""; 0]);
        expect_found(server);
        assert_eq!(server.call(&evalsha(TWO, "1 k v")).error(), NOSCRIPT);
        assert_eq!(server.run("CONFIG SET maxmemory 0"), Value::ok());
        load(server, ONE);
        assert_eq!(libraries(server), names(&[ONE]));
    });
}

#[test]
fn eviction_takes_what_eval_has_seen_and_never_what_is_stored() {
    each_server(|server| {
        let stored: Vec<String> = (0..20).map(|number| format!("return 'stored {number}'")).collect();
        stored.iter().for_each(|script| load(server, script));
        let mut connection = server.connect();
        for number in 0..1200 {
            connection.call(&eval(format!("return {number}"), "0"));
        }
        assert_eq!(
            (server.info("atomic_scripts_cached"), server.info("atomic_scripts_stored")),
            ("520".to_owned(), "20".to_owned())
        );
        let stats = server.run("ATOMIC.SCRIPT STATS");
        assert_eq!(stats.field("evicted"), Some(Value::Integer(700)));
        server.run("FUNCTION FLUSH");
        for script in &stored {
            assert!(matches!(server.call(&evalsha(script, "0")), Value::Bulk(_)), "{script}");
        }
    });
}

#[test]
fn a_node_of_a_cluster_stores_too() {
    each_server_with(&Setup::with_module().config("cluster-enabled yes"), |server| {
        load(server, "return 1");
        assert_eq!(libraries(server), names(&["return 1"]));
        server.shut_down("SAVE");
        server.start_again();
        assert_eq!(server.call(&evalsha("return 1", "0")), Value::Integer(1));
        assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        assert_eq!(libraries(server), [""; 0]);
    });
}

#[test]
fn while_clients_are_paused_what_is_stored_does_not_change() {
    each_server(|server| {
        load(server, ONE);
        let mut replica = FakeReplica::attach(server);
        assert_eq!(server.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
        assert_eq!(server.call(&["ATOMIC.SCRIPT", "LOAD", TWO]), Value::bulk(sha1(TWO)), "it does not wait");
        assert_eq!(listed(server).iter().find(|(digest, _)| *digest == sha1(TWO)).map(|(_, stored)| *stored), Some(false));
        assert!(listed(server).contains(&(sha1(ONE), true)), "reading works");
        assert_eq!(server.run("ATOMIC.SCRIPT EXISTS 0123456789012345678901234567890123456789"), Value::integers(&[0]));
        assert_eq!(libraries(server), names(&[ONE]));
        assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        eventually("it is stored", || (libraries(server).len() == 2).then_some(()));
        replica.expect_stream(&["FUNCTION LOAD REPLACE <library>"]);
    });
}

#[test]
fn storing_needs_no_right_but_that_to_load() {
    each_server(|server| {
        assert_eq!(server.run("ACL SETUSER guest on >pw ~* &* +@all -function"), Value::ok());
        let mut guest = server.connect();
        assert_eq!(guest.run("AUTH guest pw"), Value::ok());
        assert!(guest.run("FUNCTION LIST").error().starts_with("NOPERM "));
        assert_eq!(guest.call(&["ATOMIC.SCRIPT", "LOAD", ONE]), Value::bulk(sha1(ONE)));
        assert_eq!(libraries(server), names(&[ONE]));
        assert_eq!(guest.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        assert_eq!(libraries(server), [""; 0]);
    });
}

#[test]
fn an_error_names_the_script_and_its_line_wherever_it_came_from() {
    each_server(|server| {
        let failing = "\n\nerror('here')";
        load(server, failing);
        server.shut_down("SAVE");
        server.start_again();
        let reply = server.call(&evalsha(failing, "0"));
        assert_eq!(reply.error(), format!("ERR user_script:3: here{}", place(failing, 3)));
    });
}
