//! What was loaded is on every replica, however it came there, and stays when a replica is promoted.

use std::fs;
use std::process::Command;

use super::super::{evalsha, sha1};
use super::{NOSCRIPT, ONE, TWO, expect_found, hostile, libraries, listed, load, names};
use crate::support::{RealReplica, Server, Setup, Value, each_installed, each_server, eventually};

#[test]
fn a_replica_finds_what_its_master_loaded_before_and_after_it_came() {
    for diskless in ["disabled", "swapdb"] {
        each_server(|server| {
            load(server, ONE);
            let setup = Setup::with_module().config(&format!("repl-diskless-load {diskless}"));
            let replica = RealReplica::with(server, &setup);
            assert_eq!(replica.server.info("atomic_scripts_stored"), "1", "adopted when the data was loaded");
            expect_found(&replica.server);
            load(server, TWO);
            replica.await_sync();
            assert_eq!(replica.server.run(&format!("ATOMIC.SCRIPT EXISTS {} x", sha1(TWO))), Value::integers(&[1, 0]));
            assert!(replica.server.call(&evalsha(TWO, "1 k v")).error().starts_with("READONLY "));
            let third = "return 3";
            load(server, third);
            load(server, "return 4");
            load(server, "return 5");
            replica.await_sync();
            let mut connection = replica.server.connect();
            connection.run("MULTI");
            connection.call(&evalsha(third, "0"));
            assert_eq!(connection.run("EXEC"), Value::integers(&[3]), "looked up within a transaction");
            let [four, five] = ["return 4", "return 5"].map(sha1);
            let exist = replica.server.run(&format!("ATOMIC.SCRIPT EXISTS x {four} {} {five}", "0".repeat(40)));
            assert_eq!(exist, Value::integers(&[0, 1, 0, 1]), "several that are not known yet");
            for script in [ONE, TWO, third] {
                assert!(listed(&replica.server).contains(&(sha1(script), true)));
            }
            server.run("ATOMIC.SCRIPT FLUSH");
            replica.await_sync();
            assert_eq!(libraries(&replica.server), [""; 0]);
            assert!(listed(&replica.server).iter().all(|(_, stored)| !stored), "what the store lost can be evicted");
        });
    }
}

#[test]
fn a_replica_that_was_cut_off_gets_the_scripts_with_the_missing_part() {
    each_server(|server| {
        let replica = RealReplica::with_module(server);
        let signal = |name: &str| {
            let pid = replica.server.pid().to_string();
            assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
        };
        let full = server.info("sync_full");
        signal("-STOP");
        server.run("CLIENT KILL TYPE replica");
        load(server, ONE);
        signal("-CONT");
        replica.await_sync();
        assert_eq!((server.info("sync_full"), server.info("sync_partial_ok")), (full, "1".to_owned()));
        expect_found(&replica.server);
    });
}

#[test]
fn after_a_failover_scripts_are_found_and_the_new_master_stores() {
    each_server(|server| {
        let replica = RealReplica::with_module(server);
        load(server, ONE);
        replica.await_sync();
        let promoted = &replica.server;
        assert_eq!(promoted.run("REPLICAOF NO ONE"), Value::ok());
        assert_eq!(promoted.info("atomic_scripts_stored"), "1", "adopted when the role changed");
        expect_found(promoted);
        load(promoted, TWO);
        assert_eq!(libraries(promoted), names(&[ONE, TWO]));
        assert_eq!(server.run(&format!("REPLICAOF 127.0.0.1 {}", promoted.port())), Value::ok());
        eventually("the old master follows", || (server.info("master_link_status") == "up").then_some(()));
        expect_found(server);
        assert!(listed(server).contains(&(sha1(TWO), true)));
    });
}

#[test]
fn on_a_replica_load_and_flush_are_local() {
    each_server(|server| {
        load(server, ONE);
        let replica = RealReplica::with_module(server);
        load(&replica.server, TWO);
        load(&replica.server, ONE);
        let mut expected = [(sha1(ONE), true), (sha1(TWO), false)];
        expected.sort();
        assert_eq!(listed(&replica.server), expected);
        assert_eq!(libraries(&replica.server), names(&[ONE]));
        assert_eq!(replica.server.info("atomic_scripts_store_refused"), "0", "not storing is what a replica does");
        assert_eq!(replica.server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        assert_eq!(replica.server.call(&evalsha(TWO, "1 k v")).error(), NOSCRIPT);
        expect_found(&replica.server);
        assert_eq!(libraries(server), names(&[ONE]));
        replica.expect_same_data();
    });
}

#[test]
fn a_server_without_the_module_loads_and_passes_on_the_scripts() {
    each_installed(|binary| {
        let server = Server::start(binary, &Setup::with_module());
        load(&server, ONE);
        hostile().iter().for_each(|script| load(&server, script));
        let plain = RealReplica::without_module(&server);
        load(&server, TWO);
        plain.await_sync();
        assert_eq!(libraries(&plain.server), libraries(&server));
        assert!(plain.server.run("ATOMIC.SCRIPT LIST").error().starts_with("ERR unknown command"));
        assert_eq!(plain.server.run("SAVE"), Value::ok());
        let last = Server::start(binary, &Setup::with_module());
        last.kill_9();
        fs::copy(plain.server.dir().join("dump.rdb"), last.dir().join("dump.rdb")).unwrap();
        last.start_again();
        expect_found(&last);
        assert_eq!(last.call(&evalsha(TWO, "1 k v")), Value::ok());
        assert_eq!(listed(&last), listed(&server));
    });
}
