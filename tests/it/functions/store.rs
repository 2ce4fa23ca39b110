//! ATOMIC.FUNCTION LOAD and RESTORE on the server's own function store: every stored library is found, and every load replicates.

use super::{function, library, load, ours};
use crate::support::{FakeReplica, RealReplica, Server, Setup, Value, each_server, each_server_with, eventually, module_path};

/// Loads a library with the server's own command.
#[track_caller]
fn load_natively(server: &Server, name: &str, code: &str) {
    assert_eq!(server.call(&["FUNCTION", "LOAD", "REPLACE", &library(name, code)]), Value::bulk(name));
}

/// Asserts the reply of a function, and that the module ran it.
#[track_caller]
fn expect_ours(server: &Server, call: &str, expected: &Value) {
    let runs = || server.info("atomic_scripts_runs").parse::<u64>().unwrap();
    let before = runs();
    assert_eq!(server.run(call), *expected, "{call}");
    assert_eq!(runs(), before + 1, "{call} was not run by the module");
}

#[test]
fn changes_of_the_store_replicate_as_the_servers_own_commands() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let code = library("lib", &function("f", "return 1"));
        server.call(&["ATOMIC.FUNCTION", "LOAD", &code]);
        let stream = replica.commands();
        assert_eq!(stream, [["FUNCTION", "LOAD", &code].map(|word| word.as_bytes().to_vec())]);
        let dump = server.call(&["ATOMIC.FUNCTION", "DUMP"]);
        assert_eq!(dump, server.call(&["FUNCTION", "DUMP"]));
        server.run("ATOMIC.FUNCTION LIST");
        server.run("ATOMIC.FUNCTION STATS");
        server.run("ATOMIC.FUNCTION DELETE nosuch");
        server.call(&["ATOMIC.FUNCTION", "LOAD", &code]);
        replica.expect_stream(&[]);
        server.run("ATOMIC.FUNCTION DELETE lib");
        replica.expect_stream(&["FUNCTION DELETE lib"]);
        let restore = [b"ATOMIC.FUNCTION".to_vec(), b"RESTORE".to_vec(), dump.bytes().to_vec(), b"APPEND".to_vec()];
        assert_eq!(server.call(&restore), Value::ok());
        let stream = replica.commands();
        assert_eq!(stream[0][..2], [b"FUNCTION".to_vec(), b"RESTORE".to_vec()]);
        assert!(server.call(&restore).error().contains("already exists"));
        replica.expect_stream(&[]);
        expect_ours(server, "ATOMIC.FCALL f 0", &Value::Integer(1));
        server.run("ATOMIC.FUNCTION FLUSH SYNC");
        replica.expect_stream(&["FUNCTION FLUSH SYNC"]);
        assert_eq!(server.run("ATOMIC.FCALL f 0").error(), "ERR Function not found");
    });
}

#[test]
fn libraries_loaded_before_the_module_are_adopted() {
    each_server_with(&Setup::without_module(), |server| {
        load_natively(server, "lib", &function("f", "return {keys[1], args[1]}"));
        assert_eq!(server.run(&format!("MODULE LOAD {}", module_path().display())), Value::ok());
        expect_ours(server, "ATOMIC.FCALL f 1 k a", &Value::Array(vec![Value::bulk("k"), Value::bulk("a")]));
    });
}

#[test]
fn libraries_survive_a_restart_from_the_file() {
    for setup in [
        Setup::with_module().config("save \"3600 1\""),
        Setup::with_module().appendonly("always"),
        Setup::with_module().appendonly("always").config("aof-use-rdb-preamble no"),
    ] {
        each_server_with(&setup, |server| {
            load(server, "lib", &function("f", "return 'kept'"));
            load_natively(server, "native", &function("g", "return 'native'"));
            if server.run("CONFIG GET appendonly").array()[1] == Value::bulk("no") {
                server.shut_down("SAVE");
            } else {
                server.kill_9();
            }
            server.start_again();
            expect_ours(server, "ATOMIC.FCALL f 0", &Value::bulk("kept"));
            expect_ours(server, "ATOMIC.FCALL g 0", &Value::bulk("native"));
        });
    }
}

#[test]
fn replicas_have_every_library_with_and_without_the_module() {
    each_server(|server| {
        load(server, "before", &function("f", "return 'before'"));
        let plain = RealReplica::without_module(server);
        let with = RealReplica::with_module(server);
        for replica in [&plain, &with] {
            replica.await_sync();
        }
        assert_eq!(plain.server.run("FCALL f 0").error(), "READONLY You can't write against a read only replica.");
        let code = "redis.register_function{function_name='g', callback=function() return 'after' end, flags={'no-writes'}}";
        load(server, "after", code);
        for replica in [&plain, &with] {
            replica.await_sync();
        }
        assert_eq!(plain.server.run("FCALL_RO g 0"), Value::bulk("after"));
        eventually("the replica's module has it", || {
            (with.server.run("ATOMIC.FCALL_RO g 0") == Value::bulk("after")).then_some(())
        });
        with.server.run("REPLICAOF NO ONE");
        expect_ours(&with.server, "ATOMIC.FCALL f 0", &Value::bulk("before"));
        expect_ours(&with.server, "ATOMIC.FCALL g 0", &Value::bulk("after"));
    });
}

#[test]
fn a_library_that_only_the_server_can_run_is_run_by_the_server() {
    each_server_with(&Setup::without_module(), |server| {
        // Luau does not compile it.
        load_natively(server, "odd", &function("odd", "return 0x1p4 .. keys[1]"));
        load_natively(server, "good", &function("good", "return redis.call('SET', keys[1], 1)"));
        assert_eq!(server.run(&format!("MODULE LOAD {}", module_path().display())), Value::ok());
        expect_ours(server, "ATOMIC.FCALL good 1 k", &Value::ok());
        let runs = server.info("atomic_scripts_runs");
        assert_eq!(server.run("ATOMIC.FCALL odd 1 k"), Value::bulk("16k"));
        assert_eq!(server.info("atomic_scripts_runs"), runs);
        assert_eq!(ours(server), "1");
        let said = || server.log().lines().filter(|line| line.contains("runs the functions of library odd")).count();
        assert_eq!(said(), 1, "{}", server.log());
        server.run("ATOMIC.FUNCTION DELETE good");
        server.run("ATOMIC.FCALL odd 1 k");
        assert_eq!(said(), 1);
        let refused =
            server.call(&["ATOMIC.FUNCTION", "LOAD", "REPLACE", &library("odd", &function("odd", "return 0x1p4 .. ''"))]);
        assert!(refused.error().starts_with("ERR Error compiling function: user_function:2: "), "{refused:?}");
        load(server, "odd", &function("odd", "return 'even'"));
        expect_ours(server, "ATOMIC.FCALL odd 0", &Value::bulk("even"));
    });
}

#[test]
fn a_user_needs_the_servers_right_where_the_server_runs_the_function() {
    each_server_with(&Setup::without_module(), |server| {
        load_natively(server, "odd", &function("odd", "return 0x1p4 .. ''"));
        assert_eq!(server.run(&format!("MODULE LOAD {}", module_path().display())), Value::ok());
        server.run("ACL SETUSER guest on nopass +atomic.fcall ~*");
        let mut guest = server.connect();
        guest.run("AUTH guest x");
        assert!(matches!(guest.run("ATOMIC.FCALL odd 0"), Value::Error(_)));
        server.run("ACL SETUSER guest +fcall");
        assert_eq!(guest.run("ATOMIC.FCALL odd 0"), Value::bulk("16"));
    });
}

#[test]
fn restore_follows_its_policy_as_the_servers_own_does() {
    each_server(|server| {
        load(server, "a", &function("fa", "return 'old'"));
        let dump = server.run("ATOMIC.FUNCTION DUMP").bytes().to_vec();
        load(server, "a", &function("fa", "return 'new'"));
        load(server, "b", &function("fb", "return 'b'"));
        let restore =
            |policy: &str| server.call(&[b"ATOMIC.FUNCTION".to_vec(), b"RESTORE".to_vec(), dump.clone(), policy.into()]);
        assert!(restore("APPEND").error().contains("already exists"));
        expect_ours(server, "ATOMIC.FCALL fa 0", &Value::bulk("new"));
        assert_eq!(restore("REPLACE"), Value::ok());
        expect_ours(server, "ATOMIC.FCALL fa 0", &Value::bulk("old"));
        expect_ours(server, "ATOMIC.FCALL fb 0", &Value::bulk("b"));
        assert_eq!(restore("FLUSH"), Value::ok());
        expect_ours(server, "ATOMIC.FCALL fa 0", &Value::bulk("old"));
        assert_eq!(server.run("ATOMIC.FCALL fb 0").error(), "ERR Function not found");
        for cut in 0..dump.len() {
            let payload = dump[..cut].to_vec();
            assert!(
                matches!(server.call(&[b"ATOMIC.FUNCTION".to_vec(), b"RESTORE".to_vec(), payload]), Value::Error(_)),
                "{cut}"
            );
        }
        expect_ours(server, "ATOMIC.FCALL fa 0", &Value::bulk("old"));
    });
}

#[test]
fn stored_scripts_and_libraries_do_not_affect_each_other() {
    each_server(|server| {
        let sha = server.run("ATOMIC.SCRIPT LOAD 'return 5'").text();
        load(server, "lib", &function("f", "return 1"));
        assert_eq!(ours(server), "1", "the library of a script is none of ours");
        assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        expect_ours(server, "ATOMIC.FCALL f 0", &Value::Integer(1));
        server.run("ATOMIC.SCRIPT LOAD 'return 5'");
        server.run("ATOMIC.FUNCTION FLUSH SYNC");
        assert_eq!(server.run("ATOMIC.SCRIPT LIST").array()[0].field("stored"), Some(Value::Integer(0)));
        assert_eq!(server.run(&format!("ATOMIC.EVALSHA {sha} 0")), Value::Integer(5));
    });
}

/// The next call of ours sees every change by the server's own commands.
#[test]
fn the_next_call_sees_changes_of_the_store_by_other_commands() {
    each_server(|server| {
        load_natively(server, "lib", &function("f", "return 1"));
        expect_ours(server, "ATOMIC.FCALL f 0", &Value::Integer(1));
        for expected in 2..5 {
            load_natively(server, "lib", &function("f", &format!("return {expected}")));
            expect_ours(server, "ATOMIC.FCALL f 0", &Value::Integer(expected));
        }
        let mut transaction = server.connect();
        transaction.run("MULTI");
        transaction.call(&["FUNCTION", "LOAD", "REPLACE", &library("lib", &function("f", "return 7"))]);
        expect_ours(server, "ATOMIC.FCALL f 0", &Value::Integer(4));
        transaction.run("ATOMIC.FCALL f 0");
        transaction.call(&["FUNCTION", "LOAD", "REPLACE", &library("lib", &function("f", "return 8"))]);
        assert_eq!(transaction.run("EXEC").array()[1], Value::Integer(7));
        expect_ours(server, "ATOMIC.FCALL f 0", &Value::Integer(8));
        let dump = server.run("FUNCTION DUMP").bytes().to_vec();
        server.run("FUNCTION DELETE lib");
        assert_eq!(server.run("ATOMIC.FCALL f 0").error(), "ERR Function not found");
        server.call(&[b"FUNCTION".to_vec(), b"RESTORE".to_vec(), dump]);
        expect_ours(server, "ATOMIC.FCALL f 0", &Value::Integer(8));
        server.run("FUNCTION FLUSH SYNC");
        assert_eq!(server.run("ATOMIC.FCALL f 0").error(), "ERR Function not found");
    });
}

#[test]
fn the_next_call_on_a_replica_sees_changes_of_the_primary() {
    each_server(|server| {
        let reads = |value: i64| {
            let code = format!(
                "redis.register_function{{function_name='f', callback=function() return {value} end, flags={{'no-writes'}}}}"
            );
            library("lib", &code)
        };
        let replica = RealReplica::with_module(server);
        for value in 1..5 {
            if value % 2 == 0 {
                server.call(&["FUNCTION", "LOAD", "REPLACE", &reads(value)]);
            } else {
                let mut transaction = server.connect();
                transaction.run("MULTI");
                transaction.call(&["FUNCTION", "LOAD", "REPLACE", &reads(value)]);
                transaction.run("SET k v");
                transaction.run("EXEC");
            }
            replica.await_sync();
            expect_ours(&replica.server, "ATOMIC.FCALL_RO f 0", &Value::Integer(value));
        }
    });
}

#[test]
fn a_library_above_a_limit_is_adopted_when_the_limit_is_raised() {
    each_server_with(&Setup::without_module(), |server| {
        let code = format!("local kept = ('x'):rep(6e6) {}", function("f", "return 'ours'"));
        load_natively(server, "large", &code);
        let load = format!("MODULE LOAD {} script-memory-limit 4mb", module_path().display());
        assert_eq!(server.run(&load), Value::ok());
        assert_eq!(server.run("ATOMIC.FCALL f 0"), Value::bulk("ours"), "run by the server");
        assert_eq!(server.info("atomic_scripts_runs"), "0");
        server.run("CONFIG SET atomic.script-memory-limit 64mb");
        expect_ours(server, "ATOMIC.FCALL f 0", &Value::bulk("ours"));
    });
}

#[test]
fn changes_queued_before_the_first_call_are_seen() {
    each_server(|server| {
        load_natively(server, "lib", &function("f", "return 'old'"));
        let mut transaction = server.connect();
        transaction.run("MULTI");
        transaction.call(&["FUNCTION", "LOAD", "REPLACE", &library("lib", &function("f", "return 'new'"))]);
        expect_ours(server, "ATOMIC.FCALL f 0", &Value::bulk("old"));
        transaction.run("EXEC");
        expect_ours(server, "ATOMIC.FCALL f 0", &Value::bulk("new"));
    });
}

/// The module once tracked each change, and went through all of them for each new one.
#[test]
fn many_queued_changes_cost_the_same_as_few() {
    each_server(|server| {
        load(server, "lib", &function("f", "return 1"));
        assert_eq!(server.run("ATOMIC.FCALL f 0"), Value::Integer(1));
        let mut connection = server.connect();
        connection.run("MULTI");
        for _ in 0..5000 {
            connection.send(&["FUNCTION", "DELETE", "nosuch"]).unwrap();
        }
        for _ in 0..5000 {
            assert_eq!(connection.read().unwrap(), Value::Status("QUEUED".to_owned()));
        }
        connection.run("DISCARD");
        for word in ["x", "LIST", "LOAD"] {
            server.run(&format!("FUNCTION {word}"));
        }
        expect_ours(server, "ATOMIC.FCALL f 0", &Value::Integer(1));
    });
}
