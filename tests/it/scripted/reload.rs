//! `ATOMIC.COMMANDS LIST` and `RELOAD`.

use super::{Directory, command, each_server_with_command, examples};
use crate::support::{FakeReplica, Server, Value, each_installed, each_server, each_server_with, eventually};

fn each_with(files: &[(&str, &str)], body: impl Fn(&Server, &Directory)) {
    each_installed(|binary| {
        let directory = Directory::new(files);
        body(&Server::start(binary, &directory.setup()), &directory);
    });
}

fn reload(server: &Server) -> Value {
    server.run("ATOMIC.COMMANDS RELOAD")
}

/// The fields of one command in LIST.
#[track_caller]
fn listed(server: &Server, name: &str) -> Value {
    let list = server.run("ATOMIC.COMMANDS LIST");
    let entry = list.array().iter().find(|entry| entry.field("name") == Some(Value::bulk(name)));
    entry.unwrap_or_else(|| panic!("no {name} in {list}")).clone()
}

#[test]
fn list_shows_the_file_and_syntax_of_each_command() {
    each_server_with(&examples(), |server| {
        let list = server.run("ATOMIC.COMMANDS LIST");
        let names: Vec<String> = list.array().iter().map(|entry| entry.field("name").unwrap().text()).collect();
        assert_eq!(names, ["inventory.reserve", "push.ifexists", "sum.keys", "top.incr"]);
        let entry = listed(server, "inventory.reserve");
        let flags = ["write", "deny-oom", "fast"].map(Value::bulk).to_vec();
        for (field, value) in [
            ("file", Value::bulk("inventory.lua")),
            ("line", Value::Integer(29)),
            ("arity", Value::Integer(4)),
            ("flags", Value::Array(flags)),
            ("access", Value::bulk("RW")),
            ("keys", Value::integers(&[1, 2, 1])),
            ("calls", Value::Integer(0)),
            ("errors", Value::Integer(0)),
        ] {
            assert_eq!(entry.field(field), Some(value), "{field}");
        }
        let entry = listed(server, "sum.keys");
        assert_eq!((entry.field("numkeys"), entry.field("keys")), (Some(Value::Integer(1)), None));
        assert_eq!(entry.field("access"), Some(Value::bulk("RO")));
        let mut three = server.connect().resp3();
        assert!(matches!(three.run("ATOMIC.COMMANDS LIST").array()[0], Value::Map(_)));
        assert!(server.run("ATOMIC.COMMANDS HELP").array().len() > 4);
    });
}

#[test]
fn without_a_directory_there_is_nothing_to_list_or_reload() {
    each_server(|server| {
        assert_eq!(server.run("ATOMIC.COMMANDS LIST"), Value::Array(Vec::new()));
        assert_eq!(reload(server).error(), "ERR commands-dir is not set");
        for wrong in ["ATOMIC.COMMANDS", "ATOMIC.COMMANDS NONSENSE", "ATOMIC.COMMANDS LIST x", "ATOMIC.COMMANDS RELOAD x"] {
            assert!(matches!(server.run(wrong), Value::Error(_)), "{wrong}");
        }
        assert_eq!(server.run("CONFIG GET atomic.commands-dir").field("atomic.commands-dir"), Some(Value::bulk("")));
    });
}

#[test]
fn changed_functions_take_effect_at_once_and_docs_stay() {
    each_with(&[("a.lua", &command("A", "summary = 'Old.'", "return 'old'"))], |server, directory| {
        let mut replica = FakeReplica::attach(server);
        assert_eq!(server.run("A"), Value::bulk("old"));
        directory.write("a.lua", command("A", "summary = 'New.'", "return 'new'"));
        assert_eq!(server.run("A"), Value::bulk("old"), "nothing happens by itself");
        assert_eq!(reload(server), Value::ok());
        assert_eq!(server.run("A"), Value::bulk("new"));
        let docs = server.run("COMMAND DOCS a").field("a").unwrap();
        assert_eq!(docs.field("summary"), Some(Value::bulk("Old.")));
        // The command moves to another file, in other letter case.
        directory.remove("a.lua");
        directory.write("b.lua", command("a", "", "return 'moved'"));
        assert_eq!(reload(server), Value::ok());
        assert_eq!(server.run("A"), Value::bulk("moved"));
        assert_eq!(listed(server, "a").field("file"), Some(Value::bulk("b.lua")));
        assert_eq!(listed(server, "a").field("calls"), Some(Value::Integer(4)), "the count goes on");
        replica.expect_stream(&[]);
    });
}

#[test]
fn a_reload_that_changes_a_declaration_is_refused_as_a_whole() {
    let fields = "keys = {1, 1, 1}, arity = -2, flags = {'write'}";
    each_with(
        &[("a.lua", &command("A", fields, "return 'old'")), ("b.lua", &command("B", "", "return 'old'"))],
        |server, directory| {
            for (changed, field) in [
                ("keys = {1, 1, 1}, arity = 2, flags = {'write'}", "arity"),
                ("keys = {1, -1, 1}, arity = -2, flags = {'write'}", "keys"),
                ("arity = -2, flags = {'write'}", "keys"),
                ("keys = {1, 1, 1}, arity = -2, flags = {'write', 'fast'}", "flags"),
                ("keys = {1, 1, 1}, arity = -2", "access"),
                ("keys = {1, 1, 1}, arity = -2, flags = {'write'}, access = 'OW'", "access"),
            ] {
                directory.write("a.lua", command("A", changed, "return 'new'"));
                directory.write("b.lua", command("B", "", "return 'new'"));
                let reply = reload(server);
                let expected = format!("ERR commands-dir: a.lua:5: A changes its {field}, which needs a restart");
                assert_eq!(reply.error(), expected, "{changed}");
                assert_eq!((server.run("A k"), server.run("B")), (Value::bulk("old"), Value::bulk("old")));
            }
            directory.write("a.lua", command("A", fields, "return 'new'"));
            directory.write("c.lua", command("C", "", "return 'new'"));
            assert_eq!(reload(server).error(), "ERR commands-dir: c.lua:5: C is a new command, which needs a restart");
            directory.write("c.lua", command("B", "", ""));
            assert_eq!(reload(server).error(), "ERR commands-dir: c.lua:5: B is also declared in b.lua:5");
            directory.write("c.lua", "#!lua name=c\n\nlocal x = = 1");
            let reply = reload(server);
            assert!(reply.error().starts_with("ERR commands-dir: c.lua:3: Expected identifier"), "{reply}");
            directory.write("c.lua", "#!lua name=c\nwhile true do end");
            assert_eq!(reload(server).error(), "ERR commands-dir: c.lua:2: loading took more than 500 ms");
            let log = server.log();
            for logged in [
                "not reloaded: commands-dir: a.lua:5: A changes its arity, which needs a restart",
                "not reloaded: commands-dir: c.lua:3: Expected identifier",
                "not reloaded: commands-dir: c.lua:2: loading took more than 500 ms. The next start of the server will fail.",
            ] {
                let lines: Vec<&str> = log.lines().filter(|line| line.contains(logged)).collect();
                assert!(lines.len() == 1 && lines[0].contains(" # <atomic>"), "{logged}: {lines:?}\n{log}");
            }
            assert_eq!((server.run("A k"), server.run("B")), (Value::bulk("old"), Value::bulk("old")));
            directory.remove("c.lua");
            assert_eq!(reload(server), Value::ok());
            assert_eq!((server.run("A k"), server.run("B")), (Value::bulk("new"), Value::bulk("new")));
        },
    );
}

#[test]
fn a_command_without_a_file_keeps_its_name_and_returns_an_error() {
    each_with(&[("a.lua", &command("A", "", "return 1")), ("b.lua", &command("B", "", "return 2"))], |server, directory| {
        directory.remove("a.lua");
        assert_eq!(reload(server), Value::ok());
        assert_eq!(server.run("A").error(), "ERR no file in commands-dir declares this command any more");
        assert_eq!(server.run("B"), Value::Integer(2));
        assert_eq!(
            (listed(server, "a").field("file"), listed(server, "a").field("line")),
            (Some(Value::Null), Some(Value::Integer(0)))
        );
        assert!(server.run("COMMAND INFO a").array()[0].array().len() > 5, "the server still knows it");
        directory.write("a.lua", command("A", "", "return 3"));
        assert_eq!(reload(server), Value::ok());
        assert_eq!(server.run("A"), Value::Integer(3));
        // A missing directory is an error, unlike an empty one.
        std::fs::remove_dir_all(directory.path()).unwrap();
        assert!(reload(server).error().contains("No such file or directory"));
        assert_eq!(server.run("A"), Value::Integer(3));
        std::fs::create_dir(directory.path()).unwrap();
        assert_eq!(reload(server), Value::ok());
        assert!(matches!(server.run("A"), Value::Error(_)) && matches!(server.run("B"), Value::Error(_)));
    });
}

#[test]
fn the_state_of_a_file_lasts_until_it_is_loaded_again() {
    let text = "#!lua name=a\nlocal count = 0\nredis.register_command{name = 'A', callback = function() count = count + 1 return count end}\n";
    each_with(&[("a.lua", text)], |server, _| {
        assert_eq!((server.run("A"), server.run("A")), (Value::Integer(1), Value::Integer(2)));
        assert_eq!(reload(server), Value::ok());
        assert_eq!(server.run("A"), Value::Integer(1));
        server.run("ATOMIC.SCRIPT FLUSH");
        assert_eq!(server.run("A"), Value::Integer(1), "the VM was replaced");
    });
}

/// Failed reloads leave nothing in the VM: its memory does not grow.
#[test]
fn a_thousand_failed_reloads_leak_no_memory() {
    let big = format!("local t = {{'{}'}} return #t", "x".repeat(50_000));
    each_with(&[("a.lua", &command("A", "", &big))], |server, directory| {
        let memory = || server.run("ATOMIC.SCRIPT STATS").field("vm-memory").unwrap().integer();
        for round in 0..50 {
            directory
                .write("b.lua", if round % 2 == 0 { command("NEW", "", &big) } else { "#!lua name=b\nerror('x')".to_owned() });
            assert!(matches!(reload(server), Value::Error(_)));
        }
        directory.remove("b.lua");
        let before = memory();
        for _ in 0..1000 {
            assert_eq!(reload(server), Value::ok());
        }
        assert_eq!(server.run("A"), Value::Integer(1));
        assert!(memory() < before + (8 << 20), "{before} and then {}", memory());
    });
}

#[test]
fn reload_never_waits_and_is_refused_while_a_command_runs() {
    const ENDLESS: &str = "while not args[1] do end return args[1]";
    each_installed(|binary| {
        let directory = Directory::new(&[("a.lua", &command("A", "", ENDLESS))]);
        let server = Server::start(binary, &directory.setup().config("busy-reply-threshold 50"));
        let mut busy = server.connect();
        busy.send(&["A"]).unwrap();
        let mut other = server.connect();
        eventually("others are refused", || matches!(other.run("PING"), Value::Error(_)).then_some(()));
        for command in ["ATOMIC.COMMANDS RELOAD", "ATOMIC.COMMANDS LIST", "A x"] {
            assert!(other.run(command).error().starts_with("BUSY "), "{command}");
        }
        assert_eq!(server.run("ATOMIC.SCRIPT KILL"), Value::ok());
        assert!(busy.read().unwrap().error().contains("killed by user"));
        assert_eq!(reload(&server), Value::ok());
        assert_eq!(busy.run("A x"), Value::bulk("x"));
    });
}

#[test]
fn reload_needs_admin_rights_and_works_in_a_transaction() {
    each_server_with_command("A", "", "return 1", |server| {
        server.run("MULTI");
        server.run("A");
        server.run("ATOMIC.COMMANDS RELOAD");
        server.run("A");
        assert_eq!(server.run("EXEC"), Value::Array(vec![Value::Integer(1), Value::ok(), Value::Integer(1)]));
        let reply = server.call(&["ATOMIC.EVAL", "return redis.call('ATOMIC.COMMANDS', 'RELOAD')", "0"]);
        assert!(reply.error().contains("not allowed from script"), "{reply}");
        assert_eq!(server.run("ACL SETUSER guest reset on nopass +@all -atomic.commands|reload ~*"), Value::ok());
        let mut guest = server.connect();
        guest.run("AUTH guest x");
        assert!(guest.run("ATOMIC.COMMANDS RELOAD").error().starts_with("NOPERM "));
        assert_eq!(guest.run("ATOMIC.COMMANDS LIST").array().len(), 1);
    });
}
