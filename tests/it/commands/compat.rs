//! Other modules' names: off by default, on with the module argument `compat yes`. `CL.THROTTLE` replies as redis-cell does, without
//! its faults; `CAS` and `CAD` are our commands under other names.

use crate::support::{FakeReplica, Server, Setup, Value, each_server, each_server_with};

fn each_compatible_server(body: impl Fn(&Server)) {
    each_server_with(&Setup::with_module().module_args(&["compat", "yes"]), body);
}

#[test]
fn the_names_are_off_by_default() {
    each_server(|server| {
        for command in ["CL.THROTTLE k 1 1 1", "CAS k a b", "CAD k a"] {
            assert!(server.run(command).error().starts_with("ERR unknown command"), "{command}");
        }
        assert_eq!(server.run("CONFIG GET atomic.compat"), Value::Array(vec![Value::bulk("atomic.compat"), Value::bulk("no")]));
    });
}

#[test]
fn the_switch_is_fixed_at_load() {
    each_compatible_server(|server| {
        assert!(server.run("CONFIG SET atomic.compat no").error().starts_with("ERR "));
        assert_eq!(server.run("CL.THROTTLE k 0 1 1").array().len(), 5);
    });
}

#[test]
fn throttle_returns_redis_cells_five_integers_in_seconds() {
    each_compatible_server(|server| {
        // One unit refills every two seconds, three in 6 s.
        let table = [
            ("CL.THROTTLE k 2 30 60", [0, 3, 2, -1, 2]),
            ("CL.THROTTLE k 2 30 60 2", [0, 3, 0, -1, 6]),
            ("CL.THROTTLE k 2 30 60", [1, 3, 0, 2, 6]),
            ("CL.THROTTLE k 2 30 60 3", [1, 3, 0, 6, 6]),
            ("CL.THROTTLE k 2 30 60 4", [1, 3, 0, -1, 6]),
            ("CL.THROTTLE k 2 30 60 0", [0, 3, 0, -1, 6]),
        ];
        for (command, expected) in table {
            assert_eq!(server.run(command), Value::integers(&expected), "{command}");
        }
        // The same state as ours.
        let ours = server.run("ATOMIC.RATELIMIT_RO k BUCKET 3 30 60000");
        assert_eq!(ours.array()[..3], [Value::Integer(0), Value::Integer(3), Value::Integer(0)]);
    });
}

#[test]
fn throttle_limits_high_rates() {
    each_compatible_server(|server| {
        server.run("CL.THROTTLE k 5999 6000 1 6000");
        assert_eq!(server.run("EXISTS k"), Value::Integer(1));
        assert_eq!(server.run("CL.THROTTLE k 5999 6000 1 6000").array()[0], Value::Integer(1));
    });
}

#[test]
fn throttle_replicates_its_state_and_writes_nothing_for_a_denial_or_a_look() {
    each_compatible_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for command in ["CL.THROTTLE k 0 1 60", "CL.THROTTLE k 0 1 60", "CL.THROTTLE k 0 1 60 0"] {
            server.run(command);
        }
        replica.expect_stream(&["SET k <state> PXAT <t>"]);
    });
}

#[test]
fn throttle_refuses_arguments_that_make_redis_cell_abort() {
    each_compatible_server(|server| {
        server.run("RPUSH list x");
        server.run("SET text abc");
        let max = i64::MAX;
        let table = [
            ("CL.THROTTLE list 1 1 60".to_owned(), "WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("CL.THROTTLE text 1 1 60".to_owned(), "WRONGTYPE key does not hold a rate limit (format a1)"),
            (format!("CL.THROTTLE k {max} 1 60"), "ERR max_burst must be an integer between 0 and 999999999999"),
            ("CL.THROTTLE k -1 1 60".to_owned(), "ERR max_burst must be an integer between 0 and 999999999999"),
            ("CL.THROTTLE k 1 0 60".to_owned(), "ERR count must be an integer between 1 and 1000000000000"),
            ("CL.THROTTLE k 1 1 0".to_owned(), "ERR period must be an integer between 1 and 31536000"),
            ("CL.THROTTLE k 1 1 60 -2".to_owned(), "ERR quantity must be an integer between 0 and 1000000000000"),
            ("CL.THROTTLE k 1 1 60 1 1".to_owned(), "ERR syntax error near '1'"),
            ("CL.THROTTLE k 1 1".to_owned(), "ERR wrong number of arguments for 'cl.throttle' command"),
        ];
        for (command, text) in table {
            assert_eq!(server.run(&command), Value::Error(text.to_owned()), "{command}");
        }
        assert_eq!(server.run(r#"CL.THROTTLE "\xff\xfe" 1 1 60"#).array()[0], Value::Integer(0));
        assert_eq!(server.run("GET text"), Value::bulk("abc"));
    });
}

#[test]
fn cas_and_cad_are_our_commands_under_other_names() {
    each_compatible_server(|server| {
        let mut replica = FakeReplica::attach(server);
        server.run("SET k a");
        assert_eq!(server.run("CAS k a b EX 100"), Value::Integer(1));
        assert_eq!(server.run("CAS k a c"), Value::Integer(0));
        assert_eq!(server.run("CAD k a"), Value::Integer(0));
        assert_eq!(server.run("CAD k b"), Value::Integer(1));
        assert_eq!(server.run("CAD k b"), Value::Integer(-1));
        assert_eq!(server.run("CAS k"), Value::Error("ERR wrong number of arguments for 'cas' command".to_owned()));
        replica.expect_stream(&["SET k a", "SET k b PXAT <t>", "DEL k"]);
    });
}
