//! AOF and RDB: after kill -9 or a restart all state continues exactly, and a server without the module loads it all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::commands::{Moment, deadline, everything, integers, timed};
use crate::support::{Server, Setup, Value, each_installed, each_server_with, eventually};

const RETRY: usize = 3;

/// Append-only with every write on disk before its reply, for both kinds of base file.
fn append_only(preamble: &str) -> Setup {
    Setup::with_module().appendonly("always").config(&format!("aof-use-rdb-preamble {preamble}"))
}

/// One key for every kind of state and every way to reach it.
fn fill(server: &Server) {
    for command in [
        "SET plain v",
        "ATOMIC.CAS plain v w",
        "SET kept v PXAT 4102444800123",
        "ATOMIC.CAS kept v w KEEPTTL",
        "SET ends v",
        r#"ATOMIC.CAS ends v "\x00\r\n\xe4\xb8\x80" PX 6000000"#,
        "SET far v",
        "ATOMIC.CAS far v w PXAT 4611686018427387903",
        "SET past v",
        "ATOMIC.CAS past v w PXAT 1",
        "SET gone v",
        "ATOMIC.CAD gone v",
        "ATOMIC.RATELIMIT bucket BUCKET 10 7 40000000 COST 8",
        "ATOMIC.RATELIMIT fixed FIXED 10 60000000 COST 8",
        "ATOMIC.RATELIMIT huge BUCKET 1000000000000 1 31536000000 COST 1000000000000",
        "ATOMIC.LOCK lock me 6000000",
        "ATOMIC.LOCK lock me 7000000 REENTRANT",
        "ATOMIC.LOCK free me 6000000",
        "ATOMIC.UNLOCK free me",
        "SET foreign token",
        "ATOMIC.LOCKRENEW foreign token 6000000",
    ] {
        assert!(!matches!(server.run(command), Value::Error(_)), "{command}");
    }
}

/// Every key with bytes and deadline, without the server's own counters.
fn data(server: &Server) -> Vec<String> {
    let mut data = everything(server);
    data.pop();
    assert_eq!(data.len(), 9, "not the keys that were made: {data:?}");
    data
}

/// Runs `interrupt` and asserts that data, limiters and lock are the same afterwards, and keep working.
fn survives(server: &Server, interrupt: impl Fn()) {
    let before = data(server);
    let asks = ["bucket BUCKET 10 7 40000000 COST 4", "fixed FIXED 10 60000000 COST 4"];
    let due = || asks.map(|ask| retry(server, &format!("ATOMIC.RATELIMIT_RO {ask}")));
    let earlier = due();
    let fence = integers(&server.run("ATOMIC.LOCK later me 6000000"))[1];
    assert_eq!(server.run("DEL later"), Value::Integer(1));
    interrupt();
    assert_eq!(data(server), before);
    for (mut moment, again) in earlier.into_iter().zip(due()) {
        moment.expect_same(again);
    }
    let denied = integers(&server.run("ATOMIC.LOCK lock you 1000"));
    assert_eq!([denied[0], denied[3]], [0, 0], "another owner acquired a held lock");
    assert!(denied[2] > 6_000_000 && denied[2] <= 7_100_000, "{denied:?}");
    let info = server.run("ATOMIC.LOCKINFO lock");
    let held = info.field("fence").unwrap().integer();
    assert_eq!(info.field("owners").unwrap().array()[0].array()[1], Value::Integer(2), "holds are lost");
    let next = integers(&server.run("ATOMIC.LOCK later me 6000000"))[1];
    assert!(next > fence && fence > held, "fences went back over the restart: {held}, {fence}, {next}");
    assert_eq!(server.run("ATOMIC.UNLOCK later me"), Value::Integer(0));
    assert_eq!(integers(&server.run("ATOMIC.LOCK lock me 7100000 REENTRANT")), [1, held, 7_100_000, 3, 0]);
    assert_eq!(server.run("ATOMIC.UNLOCK lock me"), Value::Integer(2));
}

#[track_caller]
fn retry(server: &Server, ask: &str) -> Moment {
    let asked = timed(&mut server.connect(), ask);
    let reply = asked.integers();
    assert_eq!(reply[..3], [0, 10, 2], "{ask}");
    asked.moment(reply[RETRY])
}

/// The files of the AOF, in the order of their names.
fn aof_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = dir.join("appendonlydir").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 2, "no AOF: {files:?}");
    files
}

fn aof_bytes(server: &Server) -> u64 {
    aof_files(server.dir()).iter().map(|file| fs::metadata(file).unwrap().len()).sum()
}

/// Asserts that no file of the AOF names a command of the module, and that the check could see one.
fn expect_plain_commands(server: &Server) {
    let mut sets = 0;
    for file in aof_files(server.dir()) {
        let text = fs::read(&file).unwrap().to_ascii_uppercase();
        let count = |word: &[u8]| text.windows(word.len()).filter(|window| *window == word).count();
        assert_eq!(count(b"ATOMIC"), 0, "{} names a command of ours", file.display());
        sets += count(b"\r\nSET\r\n");
    }
    assert!(sets > 0, "no SET in the AOF");
}

fn rewrite_aof(server: &Server) {
    server.run("BGREWRITEAOF");
    eventually("the AOF is rewritten", || {
        let idle = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"].map(|field| server.info(field)) == ["0", "0"];
        idle.then_some(())
    });
    assert_eq!(server.info("aof_last_bgrewrite_status"), "ok");
}

/// Waits until this machine's clock, which is also the server's, reaches a time in ms.
fn await_ms(until: i64) {
    eventually("the time has come", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        (i64::try_from(now).unwrap() >= until).then_some(())
    });
}

#[test]
fn all_state_continues_after_kill_9_and_after_a_rewrite_of_the_aof() {
    for preamble in ["yes", "no"] {
        each_server_with(&append_only(preamble), |server| {
            let kill = || {
                server.kill_9();
                server.start_again();
            };
            fill(server);
            survives(server, kill);
            expect_plain_commands(server);
            rewrite_aof(server);
            survives(server, kill);
            expect_plain_commands(server);
        });
    }
}

#[test]
fn all_state_continues_after_a_restart_from_an_rdb_file() {
    each_server_with(&Setup::with_module(), |server| {
        fill(server);
        survives(server, || {
            assert_eq!(server.run("SAVE"), Value::ok());
            server.kill_9();
            server.start_again();
        });
        survives(server, || {
            server.shut_down("SAVE");
            server.start_again();
        });
    });
}

#[test]
fn a_denial_an_error_and_a_read_add_no_byte_to_the_aof() {
    each_server_with(&append_only("no"), |server| {
        fill(server);
        server.run("RPUSH list v");
        let before = aof_bytes(server);
        for command in [
            "ATOMIC.CAS plain other x",
            "ATOMIC.CAS plain other x PXAT 1",
            "ATOMIC.CAS missing v x",
            "ATOMIC.CAS plain w x EX 0",
            "ATOMIC.CAS list v x",
            "ATOMIC.CAD plain other",
            "ATOMIC.CAD missing v",
            "ATOMIC.RATELIMIT bucket BUCKET 10 7 40000000 COST 4",
            "ATOMIC.RATELIMIT fixed FIXED 10 60000000 COST 11",
            "ATOMIC.RATELIMIT lock FIXED 10 60000000",
            "ATOMIC.RATELIMIT_RO missing FIXED 10 60000000",
            "ATOMIC.LOCK lock you 1000",
            "ATOMIC.LOCK foreign token 1000",
            "ATOMIC.UNLOCK lock you ALL",
            "ATOMIC.UNLOCK missing me",
            "ATOMIC.LOCKRENEW lock you 1000",
            "ATOMIC.LOCKRENEW foreign you 1000",
            "ATOMIC.LOCKINFO lock",
        ] {
            let reply = server.run(command);
            assert_eq!(aof_bytes(server), before, "{command} answered {reply}");
        }
        server.run("ATOMIC.CAS plain w x");
        assert!(aof_bytes(server) > before, "not even a change was written");
    });
}

#[test]
fn a_limiter_refills_and_a_lease_ends_while_the_server_is_down() {
    for setup in [append_only("yes"), append_only("no"), Setup::with_module()] {
        each_server_with(&setup, |server| {
            server.run("ATOMIC.LOCK held me 6000000");
            server.run("ATOMIC.RATELIMIT slow BUCKET 10 1 31536000000 COST 10");
            let fence = integers(&server.run("ATOMIC.LOCK lock me 1000"))[1];
            assert_eq!(integers(&server.run("ATOMIC.RATELIMIT bucket BUCKET 10 10 1000 COST 10"))[0], 10);
            assert_eq!(integers(&server.run("ATOMIC.RATELIMIT fixed FIXED 10 1000 COST 10"))[0], 10);
            // Without a TTL only the limiter's own arithmetic covers the downtime.
            server.run("ATOMIC.RATELIMIT kept BUCKET 10 10 1000 COST 10");
            server.run("PERSIST kept");
            let ends = ["lock", "bucket", "fixed"].map(|key| deadline(server, key)).into_iter().max().unwrap();
            if server.info("aof_enabled") == "0" {
                assert_eq!(server.run("SAVE"), Value::ok());
            }
            server.kill_9();
            await_ms(ends + 1);
            server.start_again();
            for ask in ["bucket BUCKET 10 10 1000", "fixed FIXED 10 1000", "kept BUCKET 10 10 1000"] {
                let reply = integers(&server.run(&format!("ATOMIC.RATELIMIT {ask} COST 10")));
                assert_eq!(reply[..4], [10, 10, 0, 0], "{ask} is not full again");
            }
            assert_eq!(server.run("ATOMIC.UNLOCK lock me"), Value::Integer(-1));
            let taken = integers(&server.run("ATOMIC.LOCK lock you 1000"));
            assert!(taken[0] == 1 && taken[1] > fence, "{taken:?} after fence {fence}");
            assert_eq!(integers(&server.run("ATOMIC.LOCK held you 1000"))[0], 0);
            assert_eq!(integers(&server.run("ATOMIC.RATELIMIT slow BUCKET 10 1 31536000000"))[..3], [0, 10, 0]);
        });
    }
}

#[test]
fn a_server_without_the_module_loads_the_rdb_file() {
    each_installed(|binary| {
        let server = Server::start(binary, &Setup::with_module());
        fill(&server);
        assert_eq!(server.run("SAVE"), Value::ok());
        let plain = Server::start(binary, &Setup::without_module());
        plain.kill_9();
        fs::copy(server.dir().join("dump.rdb"), plain.dir().join("dump.rdb")).unwrap();
        plain.start_again();
        expect_same_without_module(&plain, &server);
    });
}

#[test]
fn a_server_without_the_module_loads_the_aof() {
    for preamble in ["yes", "no"] {
        each_installed(|binary| {
            let setup = Setup::without_module().appendonly("always").config(&format!("aof-use-rdb-preamble {preamble}"));
            let server = Server::start(binary, &append_only(preamble));
            fill(&server);
            for rewritten in [false, true] {
                if rewritten {
                    rewrite_aof(&server);
                    server.run("ATOMIC.LOCK lock me 8000000");
                }
                let plain = Server::start(binary, &setup);
                plain.kill_9();
                fs::remove_dir_all(plain.dir().join("appendonlydir")).unwrap();
                fs::create_dir(plain.dir().join("appendonlydir")).unwrap();
                for file in aof_files(server.dir()) {
                    fs::copy(&file, plain.dir().join("appendonlydir").join(file.file_name().unwrap())).unwrap();
                }
                plain.start_again();
                expect_same_without_module(&plain, &server);
            }
        });
    }
}

fn expect_same_without_module(plain: &Server, server: &Server) {
    assert!(plain.run("ATOMIC.LOCKINFO lock").error().starts_with("ERR unknown command"), "the module is there");
    assert_eq!(data(plain), data(server));
    assert_eq!(plain.run("DEBUG DIGEST"), server.run("DEBUG DIGEST"));
    assert_eq!(plain.run("STRLEN bucket"), Value::Integer(25));
}
