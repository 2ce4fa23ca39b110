//! Running scripted commands: what they may do, what ends them, and a VM that is replaced.

use super::{Directory, command, each_server_with_command, examples, load};
use crate::support::{FakeReplica, RealReplica, Server, Setup, Value, each_installed, each_server_with, eventually};

#[test]
fn a_command_without_the_write_flag_cannot_write() {
    let body = "return redis.call(unpack(args))";
    each_server_with_command("T", "", body, |server| {
        server.run("SET k v");
        for call in ["T SET k w", "T DEL k", "T INCR n", "T PUBLISH c m", "T PFCOUNT h"] {
            let reply = server.run(call);
            assert!(reply.error().starts_with("ERR Write commands are not allowed from read-only scripts."), "{call}: {reply}");
        }
        assert_eq!(server.run("T GET k"), Value::bulk("v"));
        assert_eq!(server.run("CLIENT PAUSE 60000 WRITE"), Value::ok());
        assert_eq!(server.run("T GET k"), Value::bulk("v"));
        server.run("CLIENT UNPAUSE");
    });
}

#[test]
fn a_command_has_everything_that_scripts_have() {
    let body = "redis.setresp(3)
        redis.log(redis.LOG_WARNING, 'said', args[1])
        local packed = cmsgpack.unpack(cmsgpack.pack({1, 2}))
        local changed = atomic.cas(keys[1], 'a', 'b')
        return {cjson.encode({#packed}), bit.bor(1, 2), changed, redis.sha1hex(''), struct.size('i')}";
    each_server_with_command("T", "keys = {1, 1, 1}, flags = {'write'}", body, |server| {
        server.run("SET k a");
        let mut replica = FakeReplica::attach(server);
        let reply = server.run("T k hello");
        let digest = Value::bulk("da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let expected = vec![Value::bulk("[2]"), Value::Integer(3), Value::Integer(1), digest, Value::Integer(4)];
        assert_eq!(reply, Value::Array(expected));
        replica.expect_stream(&["SET k b"]);
        assert!(server.log().contains("said hello"), "{}", server.log());
    });
}

#[test]
fn replies_are_those_of_scripts_in_both_protocols() {
    let body = "redis.setresp(3) return {{double = 1.5}, {map = {a = 1}}, true, {ok = 'FINE'}, {err = 'MY error'}, 1.9}";
    each_server_with_command("T", "", body, |server| {
        let mut three = server.connect().resp3();
        let reply = three.run("T");
        let expected = vec![
            Value::Double("1.5".to_owned()),
            Value::Map(vec![(Value::bulk("a"), Value::Integer(1))]),
            Value::Bool(true),
            Value::Status("FINE".to_owned()),
            Value::Error("MY error".to_owned()),
            Value::Integer(1),
        ];
        assert_eq!(reply, Value::Array(expected));
        assert_eq!(server.run("T").array()[0], Value::bulk("1.5"));
    });
}

#[test]
fn a_command_is_atomic_in_a_transaction_and_touches_watched_keys() {
    each_server_with(&examples(), |server| {
        let mut replica = FakeReplica::attach(server);
        let mut connection = server.connect();
        for command in ["MULTI", "SET {p}s 5", "INVENTORY.RESERVE {p}s {p}o 2", "SUM.KEYS 2 {p}s {p}o"] {
            connection.run(command);
        }
        let replies = connection.run("EXEC");
        assert_eq!(replies, Value::Array(vec![Value::ok(), Value::integers(&[1, 3, 1]), Value::Integer(4)]));
        replica.expect_stream(&["MULTI", "SET {p}s 5", "DECRBY {p}s 2", "INCR {p}o", "EXEC"]);
        connection.run("WATCH {p}s");
        server.run("INVENTORY.RESERVE {p}s {p}o 1");
        connection.run("MULTI");
        connection.run("PING");
        assert_eq!(connection.run("EXEC"), Value::Null);
    });
}

#[test]
fn maxmemory_is_checked_by_the_flags() {
    let file = |name: &str, flags: &str, body: &str| {
        format!(
            "redis.register_command{{name = '{name}', keys = {{1, 1, 1}}, flags = {{{flags}}}, callback = function(keys) {body} end}}\n"
        )
    };
    let text = [
        "#!lua name=a\n".to_owned(),
        file("DENIED", "'write', 'deny-oom'", "return redis.call('DEL', keys[1])"),
        file("FREES", "'write'", "return redis.call('DEL', keys[1])"),
        file("GROWS", "'write'", "return redis.call('SET', keys[1], 'v')"),
        file("READS", "", "return redis.call('GET', keys[1])"),
    ];
    let directory = Directory::new(&[("a.lua", &text.concat())]);
    each_installed(|binary| {
        let server = Server::start(binary, &directory.setup());
        server.run("SET k v");
        server.run("CONFIG SET maxmemory 1");
        assert!(server.run("DENIED k").error().starts_with("OOM "));
        assert!(server.run("GROWS k").error().starts_with("OOM "));
        assert_eq!(server.run("READS k"), Value::bulk("v"));
        assert_eq!(server.run("FREES k"), Value::Integer(1));
        server.run("CONFIG SET maxmemory 0");
        assert_eq!(server.run("GROWS k"), Value::ok());
        assert_eq!(server.run("DENIED k"), Value::Integer(1));
    });
}

#[test]
fn a_replica_runs_commands_that_read_and_refuses_those_that_write() {
    each_server_with(&examples(), |server| {
        let replica = RealReplica::with(server, &examples());
        server.run("SET {p}s 5");
        server.run("INVENTORY.RESERVE {p}s {p}o 2");
        replica.expect_same_data();
        assert_eq!(replica.server.run("SUM.KEYS 2 {p}s {p}o"), Value::Integer(4));
        assert!(replica.server.run("INVENTORY.RESERVE {p}s {p}o 2").error().starts_with("READONLY "));
        assert_eq!(replica.server.run("ATOMIC.COMMANDS RELOAD"), Value::ok());
        assert_eq!(replica.server.run("CONFIG SET replica-serve-stale-data no"), Value::ok());
        replica.server.run("REPLICAOF 127.0.0.1 1");
        eventually("the data is stale", || (replica.server.info("master_link_status") == "down").then_some(()));
        assert!(replica.server.run("SUM.KEYS 1 {p}s").error().starts_with("MASTERDOWN "));
    });
}

#[test]
fn a_command_with_allow_stale_runs_on_a_stale_replica() {
    let directory = Directory::new(&[("a.lua", &command("T", "flags = {'allow-stale'}", "return 'ran'"))]);
    each_installed(|binary| {
        let setup = directory.setup().config("replica-serve-stale-data no").config("replicaof 127.0.0.1 1");
        let server = Server::start(binary, &setup);
        assert_eq!(server.run("T"), Value::bulk("ran"));
        assert!(server.run("GET k").error().starts_with("MASTERDOWN "));
    });
}

const SPIN: &str = "while true do end";

#[test]
fn a_time_limit_ends_a_command() {
    let body = "if args[1] then redis.call('SET', keys[1], 'v') end while true do end";
    each_server_with_command("T", "keys = {1, 1, 1}, flags = {'write'}", body, |server| {
        server.run("CONFIG SET atomic.script-timeout-ms 100");
        let reply = server.run("T k");
        assert!(reply.error().contains("time limit of 100 ms (0 writes were applied) script: t, on @file.lua:3."), "{reply}");
        server.run("CONFIG SET atomic.script-timeout-ms 0");
        server.run("CONFIG SET atomic.script-budget-ms 100");
        // On a busy machine the core may be taken away before the write.
        eventually("it has written when the limit ends it", || {
            let reply = server.run("T k write");
            assert!(reply.error().contains("time limit of 100 ms ("), "{reply}");
            reply.error().contains("(1 writes were applied)").then_some(())
        });
        assert_eq!(server.run("GET k"), Value::bulk("v"));
    });
}

#[test]
fn other_clients_get_busy_and_can_kill_a_command() {
    let directory = Directory::new(&[("a.lua", &command("T", "", SPIN))]);
    each_installed(|binary| {
        let server = Server::start(binary, &directory.setup().config("busy-reply-threshold 50"));
        let mut busy = server.connect();
        busy.send(&["T"]).unwrap();
        let mut other = server.connect();
        let text = "BUSY Redis is busy running a script. You can only call ATOMIC.SCRIPT KILL or SHUTDOWN NOSAVE.";
        eventually("others are refused", || {
            matches!(other.run("PING"), Value::Error(said) if crate::script::in_words_of_redis(&said) == text).then_some(())
        });
        eventually("it is in the log", || server.log().contains("The command is t").then_some(()));
        assert!(matches!(other.run("ATOMIC.FUNCTION KILL"), Value::Error(_)));
        assert_eq!(other.run("ATOMIC.SCRIPT KILL"), Value::ok());
        let reply = busy.read().unwrap();
        assert_eq!(reply.error(), "ERR Script killed by user with SCRIPT KILL. script: t, on @a.lua:3.");
        assert_eq!(busy.run("PING"), Value::Status("PONG".to_owned()));
    });
}

#[test]
fn in_a_transaction_the_unreachable_budget_ends_it() {
    each_server_with_command("T", "", SPIN, |server| {
        server.run("CONFIG SET atomic.script-unreachable-budget-ms 100");
        server.run("CONFIG SET busy-reply-threshold 20");
        server.run("MULTI");
        server.run("T");
        let replies = server.run("EXEC");
        assert!(replies.array()[0].error().contains("time limit of 100 ms"), "{replies}");
    });
}

#[test]
fn a_command_outlives_the_vm_in_which_it_was_loaded() {
    let body = "if args[1] == 'fill' then local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end
        if args[1] == 'deep' then local function f() return 1 + f() end return f() end
        if args[1] == 'keep' then KEPT = 1 end
        if args[1] == 'env' then setfenv(1, {}) end
        return #args";
    each_server_with_command("T", "", body, |server| {
        assert_eq!(server.run("CONFIG SET atomic.script-memory-limit 64mb"), Value::ok());
        for _ in 0..3 {
            let reply = server.run("T fill");
            assert!(reply.error().contains("memory limit of 67108864 bytes"), "{reply}");
            assert_eq!(server.run("T a b"), Value::Integer(2));
            assert!(matches!(server.run("T deep"), Value::Error(_)));
            assert!(server.run("T keep").error().contains("Attempt to modify a readonly table"));
            server.run("T env");
            assert_eq!(server.run("T a"), Value::Integer(1));
            assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
            assert_eq!(server.run("T"), Value::Integer(0));
        }
        // Scripts and functions do not affect it.
        server.run("CONFIG SET atomic.script-memory-limit 4mb");
        for round in 0..2000 {
            server.call(&["ATOMIC.EVAL", &format!("local t = {{}} for i = 1, 100 do t[i] = i end return {round}"), "0"]);
        }
        assert_eq!(server.run("T a"), Value::Integer(1));
    });
}

/// The engine compiles hot functions to machine code, which must behave the same.
#[test]
fn a_hot_command_is_compiled_to_machine_code_and_behaves_the_same() {
    let body = "local sum = 0 for i = 1, 20000 do sum = sum + i % 7 end return sum";
    each_server_with_command("T", "", body, |server| {
        let first = server.run("T");
        for _ in 0..400 {
            assert_eq!(server.run("T"), first);
        }
        assert_eq!(server.run("ATOMIC.COMMANDS RELOAD"), Value::ok());
        assert_eq!(server.run("T"), first);
    });
}

/// Code can keep references from load time.
#[test]
fn nothing_is_declared_once_a_file_is_loaded() {
    let text = "#!lua name=a
local declare, callback = redis.register_command, function() return 'wrong' end
declare{name = 'A', callback = function()
  local done, why = pcall(declare, {name = 'LATE', callback = callback})
  return {tostring(done), why}
end}
";
    let directory = Directory::new(&[("a.lua", text), ("b.lua", &command("B", "", "return 'right'"))]);
    each_installed(|binary| {
        let server = Server::start(binary, &directory.setup());
        let why = "redis.register_command: can only be called while a file is being loaded";
        for _ in 0..2 {
            assert_eq!(server.run("A"), Value::Array(vec![Value::bulk("false"), Value::bulk(why)]));
            assert_eq!(server.run("ATOMIC.COMMANDS RELOAD"), Value::ok());
            assert_eq!(server.run("B"), Value::bulk("right"));
        }
        let functions = "#!lua name=f\nredis.register_function('f', function() return redis.call('PING') end)";
        assert_eq!(server.call(&["ATOMIC.FUNCTION", "LOAD", functions]), Value::bulk("f"));
        assert_eq!(server.run("ATOMIC.FCALL f 0"), Value::Status("PONG".to_owned()));
        assert_eq!(server.run("B"), Value::bulk("right"));
    });
}

/// A file that declares something else at each load cannot change the registered command.
#[test]
fn a_file_with_random_declarations_returns_an_error_instead_of_another_command() {
    let text = "#!lua name=a\nlocal first = os.clock()\nredis.register_command{name = 'A', summary = tostring(first), callback = function() return 1 end}\n";
    let directory = Directory::new(&[("a.lua", text)]);
    each_installed(|binary| {
        let server = Server::start(binary, &directory.setup());
        assert_eq!(server.run("A"), Value::Integer(1));
        server.run("ATOMIC.SCRIPT FLUSH");
        assert_eq!(server.run("A").error(), "ERR commands-dir: a.lua: no longer declares the same commands");
        assert_eq!(server.run("ATOMIC.COMMANDS RELOAD"), Value::ok());
        assert_eq!(server.run("A"), Value::Integer(1));
    });
}

#[test]
fn the_module_unloads_and_loads_again_with_its_commands() {
    each_server_with(&Setup::without_module(), |server| {
        let directory = Directory::new(&[("a.lua", &command("A", "", "return 1")), ("b.lua", &command("B", "", "return 2"))]);
        for round in 0..3 {
            assert_eq!(load(server, &directory.0), Value::ok(), "round {round}: {}", server.log());
            assert_eq!((server.run("A"), server.run("b")), (Value::Integer(1), Value::Integer(2)), "round {round}");
            if !server.unloads() {
                return;
            }
            assert_eq!(server.run("MODULE UNLOAD atomic"), Value::ok());
            assert!(server.run("A").error().starts_with("ERR unknown command"));
        }
        // Other files, and another arity, which RELOAD cannot change.
        directory.remove("b.lua");
        directory.write("a.lua", command("A", "arity = 2", "return args[1]"));
        assert_eq!(load(server, &directory.0), Value::ok());
        assert_eq!(server.run("A x"), Value::bulk("x"));
        assert!(server.run("B").error().starts_with("ERR unknown command"));
    });
}
