//! Switching drop-in mode on and off, at load, at run time and at unload; and which commands are renamed.

use super::{WHO, call, intercepting, natives, ours};
use crate::support::{Server, Setup, Value, each_installed, each_server, each_server_that_unloads, each_server_with, eventually};

#[test]
fn it_is_off_by_default_and_can_be_switched_on_and_off() {
    each_server(|server| {
        assert_eq!(server.run("CONFIG GET atomic.intercept").array()[1], Value::bulk("no"));
        let mut connection = server.connect();
        for _ in 0..3 {
            assert_eq!(connection.call(&call("EVAL", WHO, "0")), natives());
            assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok());
            assert_eq!(connection.call(&call("EVAL", WHO, "0")), ours());
            assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok(), "twice");
            assert_eq!(connection.call(&call("EVAL", WHO, "0")), ours());
            assert_eq!(server.run("CONFIG SET atomic.intercept no"), Value::ok());
        }
        assert!(matches!(server.run("CONFIG SET atomic.intercept maybe"), Value::Error(_)));
    });
}

#[test]
fn the_configuration_switches_it_on() {
    each_installed(|binary| {
        for setup in [intercepting(), Setup::with_module().config("atomic.intercept yes")] {
            assert_eq!(Server::start(binary, &setup).call(&call("EVAL", WHO, "0")), ours());
        }
        let overridden = intercepting().config("atomic.intercept no");
        assert_eq!(Server::start(binary, &overridden).call(&call("EVAL", WHO, "0")), natives());
        let log = Server::try_start(binary, &Setup::with_module().module_args(&["intercept", "perhaps"])).err().unwrap();
        assert!(log.contains("intercept must be yes or no"), "{log}");
    });
}

#[test]
fn unloading_restores_the_server() {
    each_server_that_unloads(|server| {
        for _ in 0..3 {
            assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok());
            let mut connection = server.connect();
            assert_eq!(connection.call(&call("EVAL", WHO, "0")), ours());
            assert!(matches!(server.run("MODULE UNLOAD atomic"), Value::Error(_)), "drop-in mode is on");
            assert_eq!(server.run("CONFIG SET atomic.intercept no"), Value::ok());
            assert_eq!(server.run("MODULE UNLOAD atomic"), Value::ok());
            connection.expect_close();
            let mut connection = server.connect();
            assert_eq!(connection.call(&call("EVAL", WHO, "0")), natives());
            let module = crate::support::module_path();
            assert_eq!(server.call(&["MODULE", "LOAD", module.to_str().unwrap()]), Value::ok());
            assert_eq!(connection.call(&call("EVAL", WHO, "0")), natives(), "off is the default");
        }
    });
}

/// The server does not remove a filter when a load fails.
#[test]
fn a_failed_load_leaves_no_filter() {
    each_installed(|binary| {
        let server = Server::start(binary, &Setup::without_module());
        let module = crate::support::module_path();
        let reply = server.call(&["MODULE", "LOAD", module.to_str().unwrap(), "intercept", "yes", "nosuch", "1"]);
        assert!(matches!(reply, Value::Error(_)), "{reply}");
        assert_eq!(server.call(&call("EVAL", WHO, "0")), natives());
    });
}

#[test]
fn a_queued_call_runs_in_the_engine_that_was_on_when_it_was_queued() {
    each_server(|server| {
        let mut connection = server.connect();
        for (then, expected) in [("yes", natives()), ("no", ours())] {
            connection.run("MULTI");
            connection.call(&call("EVAL", WHO, "0"));
            assert_eq!(server.run(&format!("CONFIG SET atomic.intercept {then}")), Value::ok());
            assert_eq!(connection.run("EXEC"), Value::Array(vec![expected]), "{then}");
        }
    });
}

#[test]
fn a_pipeline_gets_its_replies_in_order() {
    each_server_with(&intercepting(), |server| {
        for mut connection in [server.connect(), server.connect().resp3()] {
            let calls = [
                call("EVAL", WHO, "0"),
                crate::support::argv("SET k v"),
                call("EVAL", "return redis.call('GET', KEYS[1])", "1 k"),
                call("evalsha", &super::sha1(WHO), "0"),
                call("EVALSHA", &super::sha1("none"), "0"),
                crate::support::argv("PING"),
                call("EVAL_RO", "return redis.call('DEL', 'k')", "0"),
            ];
            for call in &calls {
                connection.send(call).unwrap();
            }
            let replies: Vec<Value> = calls.iter().map(|_| connection.read().unwrap()).collect();
            assert_eq!(replies[0], ours());
            assert_eq!(replies[2], Value::bulk("v"));
            assert_eq!(replies[3], ours());
            assert!(replies[4].error().starts_with("NOSCRIPT "));
            assert_eq!(replies[5], Value::Status("PONG".to_owned()));
            assert!(replies[6].error().starts_with("ERR Write commands are not allowed from read-only scripts"));
        }
    });
}

#[test]
fn a_script_cannot_run_a_script() {
    each_server_with(&intercepting(), |server| {
        for command in ["EVAL", "EVALSHA", "EVAL_RO", "ATOMIC.EVAL", "ATOMIC.Eval"] {
            let script = format!("return redis.call('{command}', 'return 1', 0)");
            for outer in ["EVAL", "ATOMIC.EVAL"] {
                let reply = server.call(&call(outer, &script, "0"));
                assert!(reply.error().contains("command is not allowed from script"), "{command}: {reply}");
            }
        }
        let script = "return redis.call('SCRIPT', 'LOAD', 'return 1')";
        assert!(server.call(&call("EVAL", script, "0")).error().contains("not allowed from script"));
        server.run("CONFIG SET atomic.intercept no");
        let reply = server.call(&call("EVAL", "return redis.call('EVAL', 'return 1', 0)", "0"));
        assert!(reply.error().contains("command is not allowed from script"), "{reply}");
    });
}

#[test]
fn other_commands_keep_their_names() {
    each_server_with(&intercepting(), |server| {
        for (command, expected) in
            [("SET evaluate 1", Value::ok()), ("EXISTS evaluate", Value::Integer(1)), ("EXEC", Value::Null)]
        {
            let reply = server.run(command);
            assert!(reply == expected || command == "EXEC" && matches!(reply, Value::Error(_)), "{command}: {reply}");
        }
        for name in ["EVALS", "EVAX", "SCRIPTS", "FUNCTIO", "EVALSHA_R", "EVAL_ROO", "XVAL", "EVALSHA_RX"] {
            let reply = server.call(&call(name, WHO, "0"));
            assert!(reply.error().starts_with(&format!("ERR unknown command '{name}'")), "{reply}");
        }
    });
}

/// MONITOR, SLOWLOG and the statistics name the command that runs.
#[test]
fn operators_see_the_commands_of_the_module() {
    each_server_with(&intercepting().config("slowlog-log-slower-than 0"), |server| {
        let mut monitor = server.connect();
        assert_eq!(monitor.run("MONITOR"), Value::ok());
        server.call(&call("EVAL", WHO, "0"));
        let line = eventually("the call", || Some(monitor.read().unwrap().text()).filter(|line| line.contains("string.dump")));
        assert!(line.contains("\"ATOMIC.Eval\""), "{line}");
        assert!(server.run("SLOWLOG GET 5").to_string().contains("ATOMIC.Eval"));
        assert!(server.info("cmdstat_atomic.eval").starts_with("calls=1,"));
    });
}
