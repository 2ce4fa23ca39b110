//! The harness itself, on plain servers without the module: it records and compares what really happened.

use std::time::Duration;

use crate::support::{Connection, FakeReplica, RealReplica, Server, Setup, Value, each_installed, each_server_with, transcript};

fn on_plain_servers(body: impl Fn(&Server)) {
    each_server_with(&Setup::without_module(), body);
}

#[test]
fn every_kind_of_reply_is_distinct() {
    on_plain_servers(|server| {
        assert_eq!(server.run("SET k v"), Value::ok());
        assert_eq!(server.run("GET k"), Value::bulk("v"));
        assert_eq!(server.run("GET missing"), Value::Null);
        assert_eq!(server.run("INCR n"), Value::Integer(1));
        assert!(server.run("LPUSH k x").error().starts_with("WRONGTYPE "));
        let mut three = server.connect().resp3();
        assert_eq!(three.run("DEBUG PROTOCOL double"), Value::Double("3.141".to_owned()));
        assert_eq!(three.run("DEBUG PROTOCOL true"), Value::Bool(true));
        assert_eq!(three.run("DEBUG PROTOCOL bignum"), Value::BigNumber("1234567999999999999999999999999999999".to_owned()));
        assert_eq!(
            three.run("DEBUG PROTOCOL verbatim"),
            Value::Verbatim("txt".to_owned(), b"This is a verbatim\nstring".to_vec())
        );
        assert_eq!(three.run("DEBUG PROTOCOL null"), Value::Null);
        let numbers = [0, 1, 2].map(Value::Integer);
        assert_eq!(three.run("DEBUG PROTOCOL set"), Value::Set(numbers.to_vec()));
        let pairs = numbers.iter().map(|n| (n.clone(), Value::Bool(*n == Value::Integer(1)))).collect();
        assert_eq!(three.run("DEBUG PROTOCOL map"), Value::Map(pairs));
    });
}

#[test]
fn a_reply_prints_as_redis_cli_prints_it() {
    on_plain_servers(|server| {
        server.run(r#"RPUSH list a "b\n\xff" "" 4 5 6 7 8 9 10"#);
        let session =
            ["LRANGE list 0 -1", "LRANGE none 0 -1", "GET none", "LLEN list", "GET list", "PING", "COMMAND INFO get none"];
        for command in session {
            let mut cli = std::process::Command::new(server.binary.cli());
            let output = cli.args(["--no-raw", "-p", &server.port().to_string()]).args(command.split(' ')).output().unwrap();
            assert_eq!(server.run(command).to_string(), String::from_utf8_lossy(&output.stdout).trim_end(), "{command}");
        }
    });
}

#[test]
fn a_stalled_read_times_out_and_a_closed_connection_is_detected() {
    on_plain_servers(|server| {
        let mut blocked = server.connect();
        blocked.set_timeout(Duration::from_millis(30));
        blocked.send(&["BLPOP", "nothing", "0"]).unwrap();
        assert!(blocked.read().is_err());
        assert!(!blocked.is_closed());
        server.run("CLIENT KILL TYPE normal SKIPME yes");
        blocked.expect_close();
        let mut garbage: Connection = server.connect();
        garbage.send_raw(b"*1\r\n:1\r\n").unwrap();
        assert!(garbage.read().unwrap().error().contains("Protocol error"));
        garbage.expect_close();
    });
}

#[test]
fn the_fake_replica_records_exactly_what_is_replicated() {
    on_plain_servers(|server| {
        server.run("SET before 1");
        let mut replica = FakeReplica::attach(server);
        replica.expect_stream(&[]);
        server.run("GET before");
        server.run("SET k 'a b' PX 100000");
        replica.expect_stream(&["SET k 'a b' PXAT <deadline>"]);
        let mut connection = server.connect();
        for command in ["MULTI", "INCR n", "SETNX k x", "DEL k", "EXEC"] {
            connection.run(command);
        }
        replica.expect_stream(&["MULTI", "INCR n", "DEL k", "EXEC"]);
        assert_eq!(replica.stream(), Vec::<String>::new());
    });
}

#[test]
#[should_panic(expected = "replicated stream")]
fn a_missing_command_in_the_stream_is_detected() {
    on_plain_servers(|server| FakeReplica::attach(server).expect_stream(&["SET k v"]));
}

#[test]
fn a_real_replica_holds_the_same_data() {
    on_plain_servers(|server| {
        server.run("SET before 1");
        let replica = RealReplica::without_module(server);
        server.run("SET k v PX 100000");
        server.run("HSET h a 1 b 2");
        replica.expect_same_data();
        assert_eq!(replica.server.run("GET k"), Value::bulk("v"));
        assert!(replica.server.run("SET k w").error().starts_with("READONLY "));
        replica.server.run("CONFIG SET replica-read-only no");
        replica.server.run("PEXPIRE k 90000");
        let differs = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| replica.expect_same_data()));
        assert!(differs.is_err(), "another deadline on the replica went unnoticed");
    });
}

#[test]
fn a_killed_server_starts_again_on_its_own_data() {
    each_server_with(&Setup::without_module().appendonly("always"), |server| {
        server.run("SET k v");
        server.kill_9();
        assert!(!server.is_alive());
        server.start_again();
        assert_eq!(server.run("GET k"), Value::bulk("v"));
        server.shut_down("NOSAVE");
        server.start_again();
        assert_eq!(server.run("GET k"), Value::bulk("v"));
    });
}

#[test]
fn a_server_that_cannot_start_returns_its_log() {
    each_installed(|binary| {
        let log = Server::try_start(binary, &Setup::without_module().config("no-such-setting 1")).err().unwrap();
        assert!(log.contains("no-such-setting"), "{log}");
    });
}

#[test]
fn a_transcript_runs_against_a_server() {
    on_plain_servers(|server| {
        let page = "```redis\n> RPUSH l a b\n(integer) 2\n> LRANGE l 0 -1\n1) \"a\"\n2) <second>\n> INCR l\n(error) WRONGTYPE ...\n```\n";
        assert_eq!(transcript::run(server, "page.md", page), 3);
        let wrong = page.replace("(integer) 2", "(integer) 3");
        let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| transcript::run(server, "page.md", &wrong)));
        assert!(noticed.is_err(), "a wrong reply went unnoticed");
    });
}

#[test]
fn a_client_library_can_connect() {
    on_plain_servers(|server| {
        let answer: String = redis::cmd("PING").query(&mut server.client()).unwrap();
        assert_eq!(answer, "PONG");
    });
}
