//! The files that a directory may contain; an error names file and line, and leaves nothing.

use std::fs;
use std::os::unix::fs::symlink;

use super::{Directory, command, load};
use crate::support::server::is_crash;
use crate::support::{Server, Setup, Value, each_installed, each_server_with};

/// Tries to load the module with this directory. Returns the log line with the reason of the refusal.
#[track_caller]
fn refusal(server: &Server, directory: &Directory) -> String {
    let before = server.log().len();
    let reply = load(server, &directory.0);
    assert!(matches!(reply, Value::Error(_)), "loaded");
    let log = server.log();
    let lines: Vec<&str> = log[before..].lines().filter(|line| line.contains("commands-dir")).collect();
    assert_eq!(lines.len(), 1, "{}", &log[before..]);
    assert!(server.run("ATOMIC.CAS k a b").error().starts_with("ERR unknown command"), "a command was left behind");
    lines[0].rsplit_once("not loaded: ERR commands-dir: ").unwrap_or_else(|| panic!("{}", lines[0])).1.to_owned()
}

#[track_caller]
fn check(rows: &[(&str, &str)]) {
    each_server_with(&Setup::without_module(), |server| {
        let directory = Directory::new(&[("good.lua", &command("GOOD.ONE", "", ""))]);
        for (text, expected) in rows {
            directory.write("x.lua", text);
            assert_eq!(refusal(server, &directory), *expected, "{text}");
            assert!(server.run("GOOD.ONE").error().starts_with("ERR unknown command"), "{text}");
        }
        directory.remove("x.lua");
        assert_eq!(load(server, &directory.0), Value::ok(), "{}", server.log());
        assert_eq!(server.run("GOOD.ONE"), Value::Null);
    });
}

#[test]
fn code_that_does_not_run_is_refused_with_its_line() {
    const FIRST: &str = "x.lua:1: the first line must be #!lua name=<letters, digits and _>";
    let code = |code: &str| format!("#!lua name=x\n{code}");
    let rows = [
        ("".to_owned(), FIRST),
        ("return 1".to_owned(), FIRST),
        ("#!lua\n".to_owned(), FIRST),
        ("#!lua name=\n".to_owned(), FIRST),
        ("#!lua name=a-b\n".to_owned(), FIRST),
        ("#!lua name=x flags=no-writes\n".to_owned(), FIRST),
        ("#!js name=x\n".to_owned(), FIRST),
        (code(""), "x.lua: declares no command with redis.register_command"),
        (code("\nlocal x = = 1"), "x.lua:3: Expected identifier when parsing expression, got '='"),
        (code("error('mine')"), "x.lua:2: mine"),
        (code("\nerror({err = 'CODE mine'})"), "x.lua:3: CODE mine"),
        (code("error()"), "x.lua:2: nil"),
        (code("local function f()\nlocal t = nil\nreturn t.x\nend\nf()"), "x.lua:4: attempt to index nil with 'x'"),
        (code("global = 1"), "x.lua:2: Attempt to modify a readonly table"),
        (code("redis.call('GET', 'k')"), "x.lua:2: Script attempted to access nonexistent global variable 'call'"),
        (
            code("redis.register_function('f', redis.log)"),
            "x.lua:2: Script attempted to access nonexistent global variable 'register_function'",
        ),
        (code("return KEYS[1]"), "x.lua:2: Script attempted to access nonexistent global variable 'KEYS'"),
        (code("local function f() return 1 + f() end\nf()"), "x.lua:2: stack overflow"),
        (code("coroutine.yield(1)"), "x.lua:2: attempt to yield across metamethod/C-call boundary"),
        (code("-- \0"), "x.lua: a NUL byte in the source"),
        (code("while true do end"), "x.lua:2: loading took more than 500 ms"),
        (code("while true do pcall(function() while true do end end) end"), "x.lua:2: loading took more than 500 ms"),
    ];
    check(&rows.iter().map(|(text, expected)| (text.as_str(), *expected)).collect::<Vec<_>>());
}

#[test]
fn code_that_allocates_without_end_is_refused() {
    each_server_with(&Setup::without_module(), |server| {
        let text = "#!lua name=x\nlocal t = {}\nwhile true do t[#t + 1] = ('x'):rep(100000) .. #t end\n";
        let directory = Directory::new(&[("x.lua", text)]);
        let refusal = refusal(server, &directory);
        assert!(refusal.starts_with("x.lua:3: script exceeded the memory limit of 16777216 bytes"), "{refusal}");
    });
}

/// The text after `x.lua:3: redis.register_command: `.
const DECLARATIONS: &[(&str, &str)] = &[
    ("()", "expected one table, as in redis.register_command{name = 'MY.COMMAND', callback = f}"),
    ("('A', f)", "expected one table, as in redis.register_command{name = 'MY.COMMAND', callback = f}"),
    ("{callback = f}", "field 'name' is required"),
    ("{name = 'A'}", "field 'callback' is required: a function"),
    ("{name = 1, callback = f}", "name must be a string, got a number"),
    ("{name = 'A', callback = 'f'}", "callback must be a function, got a string"),
    ("{name = '', callback = f}", "name must be 1 to 64 characters of printable ASCII, without space and without any of | @ = ,"),
    (
        "{name = 'A B', callback = f}",
        "name must be 1 to 64 characters of printable ASCII, without space and without any of | @ = ,",
    ),
    (
        "{name = 'A|B', callback = f}",
        "name must be 1 to 64 characters of printable ASCII, without space and without any of | @ = ,",
    ),
    ("{name = 'atomic.x', callback = f}", "name must not start with ATOMIC., which is reserved for the module"),
    ("{name = 'A', callback = f, kyes = {1, 1, 1}}", UNKNOWN),
    ("{'A', callback = f}", UNKNOWN),
    ("{name = 'A', callback = f, Name = 'B'}", UNKNOWN),
    ("{name = 'A', callback = f, arity = '2'}", "arity must be an integer, got a string"),
    ("{name = 'A', callback = f, arity = 0}", ARITY),
    ("{name = 'A', callback = f, arity = 1.5}", ARITY),
    ("{name = 'A', callback = f, arity = -1025}", ARITY),
    ("{name = 'A', callback = f, keys = 1}", "keys must be {first, last, step}, got a number"),
    ("{name = 'A', callback = f, keys = {1, 1}}", "keys must be {first, last, step}, got a table"),
    ("{name = 'A', callback = f, keys = {1, 1, 1, 1}}", "keys must be {first, last, step}, got a table"),
    ("{name = 'A', callback = f, keys = {first = 1, last = 1, step = 1}}", "keys must be {first, last, step}, got a nil"),
    ("{name = 'A', callback = f, keys = {0, 1, 1}}", KEYS),
    ("{name = 'A', callback = f, keys = {2, 1, 1}}", KEYS),
    ("{name = 'A', callback = f, keys = {1, 0, 1}}", KEYS),
    ("{name = 'A', callback = f, keys = {1, 1, 0}}", KEYS),
    ("{name = 'A', callback = f, keys = {1, 0/0, 1}}", KEYS),
    ("{name = 'A', callback = f, keys = {1, 1, 1}, numkeys = 1}", "keys and numkeys are mutually exclusive"),
    ("{name = 'A', callback = f, numkeys = 0}", "numkeys must be the position of the number of keys, an integer in 1..=1024"),
    ("{name = 'A', callback = f, keys = {1, 2, 1}, arity = 2}", ROOM),
    ("{name = 'A', callback = f, keys = {1, -1, 1}, arity = -1}", ROOM),
    ("{name = 'A', callback = f, keys = {1, -2, 1}, arity = -2}", ROOM),
    ("{name = 'A', callback = f, numkeys = 1, arity = -2}", ROOM),
    ("{name = 'A', callback = f, flags = 'write'}", "flags must be a list of strings, got a string"),
    ("{name = 'A', callback = f, flags = {'writes'}}", FLAGS),
    ("{name = 'A', callback = f, flags = {'WRITE'}}", FLAGS),
    ("{name = 'A', callback = f, flags = {write = true}}", FLAGS),
    ("{name = 'A', callback = f, flags = {'write', 1}}", FLAGS),
    ("{name = 'A', callback = f, flags = {'no-auth'}}", FLAGS),
    ("{name = 'A', callback = f, flags = {'write', 'readonly'}}", "flags must not have both 'write' and 'readonly'"),
    ("{name = 'A', callback = f, access = 'RO'}", "access requires keys or numkeys"),
    ("{name = 'A', callback = f, keys = {1, 1, 1}, access = 'RW'}", "access must be 'RO' without the flag 'write'"),
    ("{name = 'A', callback = f, keys = {1, 1, 1}, access = 'rw', flags = {'write'}}", "access must be 'RO', 'RW' or 'OW'"),
    ("{name = 'A', callback = f, summary = {}}", "summary must be a string, got a table"),
    ("{name = 'A', callback = f, summary = 'a\\0b'}", "summary must be at most 1024 bytes, without NUL"),
    ("{name = 'A', callback = f, since = ('x'):rep(1025)}", "since must be at most 1024 bytes, without NUL"),
    ("{name = 'A', callback = f} redis.register_command{name = 'a', callback = f}", "this file already declares this name"),
    (
        "{name = 'A', callback = f} for i = 1, 256 do redis.register_command{name = 'A' .. i, callback = f} end",
        "the file declares more than 256 commands",
    ),
];

const UNKNOWN: &str =
    "unknown field; the fields are name, callback, summary, complexity, since, arity, keys, numkeys, access, flags";
const ARITY: &str = "arity must be the number of words including the name, an integer in 1..=1024, or negative for a minimum";
const ROOM: &str = "arity must leave room for the name and every declared key";
const KEYS: &str = "keys must be {first, last, step}: integers, first 1..=1024, last >= first or -1024..=-1, step 1..=1024";
const FLAGS: &str = "flags must be a list of 'write', 'readonly', 'deny-oom', 'fast', 'admin', 'allow-stale', 'no-monitor', 'no-slowlog', 'rollback'";

#[test]
fn a_wrong_declaration_is_refused_with_its_line_and_the_expected_value() {
    let rows: Vec<(String, String)> = DECLARATIONS
        .iter()
        .map(|(call, expected)| {
            let text = format!("#!lua name=x\nlocal function f() end\nredis.register_command{call}\n");
            (text, format!("x.lua:3: redis.register_command: {expected}"))
        })
        .collect();
    check(&rows.iter().map(|(text, expected)| (text.as_str(), expected.as_str())).collect::<Vec<_>>());
}

#[test]
fn a_name_that_exists_is_refused_with_its_line() {
    const TAKEN: &str = "is already a command of the server or of a module";
    let names = ["get", "GET", "Config", "eval", "good.one"];
    each_server_with(&Setup::without_module(), |server| {
        let directory = Directory::new(&[("good.lua", &command("GOOD.ONE", "", ""))]);
        for name in names {
            directory.write("x.lua", command(name, "", "return 1"));
            let expected = match name {
                "good.one" => "x.lua:5: GOOD.ONE is also declared in good.lua:5".to_owned(),
                _ => format!("x.lua:5: {} {TAKEN}", name.to_uppercase()),
            };
            assert_eq!(refusal(server, &directory), expected);
        }
        // Names that this module registers only with `compat yes`.
        directory.write("x.lua", command("CAS", "", "return 1"));
        let path = crate::support::module_path();
        let compat = ["MODULE", "LOAD", path.to_str().unwrap(), "compat", "yes", "commands-dir", directory.path()];
        assert!(matches!(server.call(&compat), Value::Error(_)));
        assert!(server.log().contains(&format!("ERR commands-dir: x.lua:5: CAS {TAKEN}")), "{}", server.log());
        assert_eq!(load(server, &directory.0), Value::ok(), "{}", server.log());
        assert_eq!(server.run("cas"), Value::Integer(1));
        assert_eq!(server.run("GET k"), Value::Null);
    });
}

#[test]
fn a_name_with_two_dots_works_and_the_log_warns_of_it_once() {
    each_installed(|binary| {
        let directory = Directory::new(&[
            ("a.lua", &command("Shop.Cart.Add", "keys = {1, 1, 1}", "return keys[1]")),
            ("b.lua", &command("A.B..C", "", "return 2")),
            ("c.lua", &command("ONE.DOT", "", "return 3")),
        ]);
        let server = Server::start(binary, &directory.setup());
        let warned = || {
            let log = server.log();
            let lines =
                log.lines().filter_map(|line| line.split_once("> commands-dir: ").filter(|(_, text)| text.contains("dots")));
            lines.map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
        };
        let why = "has two dots or more: redis-py's cluster client refuses such a name";
        let expected = [format!("a.lua:5: SHOP.CART.ADD {why}"), format!("b.lua:5: A.B..C {why}")];
        assert_eq!(warned(), expected);
        assert_eq!(server.run("shop.cart.add k"), Value::bulk("k"));
        assert_eq!(["a.b..c", "one.dot"].map(|name| server.run(name)), [2, 3].map(Value::Integer));
        // A RELOAD brings no new name.
        assert_eq!(server.run("ATOMIC.COMMANDS RELOAD"), Value::ok());
        assert_eq!(warned(), expected);
    });
}

#[test]
fn only_lua_files_of_the_directory_itself_are_read_and_links_are_followed() {
    each_installed(|binary| {
        let elsewhere = Directory::new(&[("linked", &command("LINKED.ONE", "", "return 'linked'"))]);
        let directory = Directory::new(&[
            ("a.lua", &command("A.ONE", "", "return 'a'")),
            (".hidden.lua", "no Lua at all"),
            ("readme.txt", "no Lua at all"),
            ("a.lua.bak", "no Lua at all"),
        ]);
        fs::create_dir(directory.join("folder")).unwrap();
        directory.write("folder/inner.lua", "no Lua at all");
        symlink(elsewhere.join("linked"), directory.join("b.lua")).unwrap();
        let server = Server::start(binary, &directory.setup());
        assert_eq!(server.run("A.ONE"), Value::bulk("a"));
        assert_eq!(server.run("LINKED.ONE"), Value::bulk("linked"));
        let listed = server.run("ATOMIC.COMMANDS LIST");
        let files: Vec<String> = listed.array().iter().map(|entry| entry.field("file").unwrap().text()).collect();
        assert_eq!(files, ["a.lua", "b.lua"], "in the order of their names");
    });
}

#[test]
fn an_unreadable_file_is_refused_by_name() {
    each_server_with(&Setup::without_module(), |server| {
        let directory = Directory::new(&[("a.lua", &command("A.ONE", "", ""))]);
        let refused = |name: &str, why: &str| {
            assert_eq!(refusal(server, &directory), format!("{name}: {why}"));
        };
        fs::create_dir(directory.join("x.lua")).unwrap();
        refused("x.lua", "not a regular file");
        fs::remove_dir(directory.join("x.lua")).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(directory.join("x.lua")).status().unwrap();
        assert!(pipe.success());
        refused("x.lua", "not a regular file");
        directory.remove("x.lua");
        symlink(directory.join("nowhere"), directory.join("x.lua")).unwrap();
        refused("x.lua", "No such file or directory (os error 2)");
        directory.remove("x.lua");
        directory.write("x.lua", vec![b'-'; (1 << 20) + 1]);
        refused("x.lua", "longer than 1048576 bytes");
        directory.remove("x.lua");
        directory.write("x y.lua", "");
        refused("x y.lua", "the file name may only contain letters, digits, '.', '_' and '-'");
        directory.remove("x y.lua");
        (0..128).for_each(|number| directory.write(&format!("x{number}.lua"), ""));
        refused(directory.path(), "there are more than 128 files");
        (0..128).for_each(|number| directory.remove(&format!("x{number}.lua")));
        assert_eq!(load(server, &directory.0), Value::ok(), "{}", server.log());
    });
}

#[test]
fn the_number_of_commands_of_all_files_is_bounded() {
    each_server_with(&Setup::without_module(), |server| {
        let many = |prefix: &str, count: usize| {
            format!(
                "#!lua name=x\nfor i = 1, {count} do\nredis.register_command{{name = '{prefix}.' .. i, callback = redis.log}}\nend\n"
            )
        };
        let directory = Directory::new(&[("a.lua", &many("A", 200)), ("b.lua", &many("B", 57))]);
        assert_eq!(refusal(server, &directory), "b.lua:3: B.57 exceeds the limit of 256 commands");
        directory.write("b.lua", many("B", 56));
        assert_eq!(load(server, &directory.0), Value::ok(), "{}", server.log());
        assert_eq!(server.run("ATOMIC.COMMANDS LIST").array().len(), 256);
    });
}

#[test]
fn a_directory_that_is_missing_or_not_one_stops_the_start() {
    each_installed(|binary| {
        let directory = Directory::new(&[("file", "")]);
        for (path, why) in [("missing", "No such file or directory"), ("file", "Not a directory")] {
            let path = directory.join(path);
            let setup = Setup::with_module().module_args(&["commands-dir", path.to_str().unwrap()]);
            let log = Server::try_start(binary, &setup).err().expect("the server started");
            assert!(log.contains(&format!("not loaded: ERR commands-dir: {}: {why}", path.display())), "{log}");
            assert!(!is_crash(&log), "{log}");
        }
        for args in [&["commands-dir"][..], &["commands-dir", ""], &["commands-dir", "/a", "COMMANDS-DIR", "/b"]] {
            let log = Server::try_start(binary, &Setup::with_module().module_args(args)).err().expect("the server started");
            let why = if args.len() > 2 { "is given twice" } else { "must be the path of a directory" };
            assert!(log.contains(why) && !is_crash(&log), "{log}");
        }
    });
}

#[test]
fn an_empty_directory_declares_no_commands() {
    each_installed(|binary| {
        let directory = Directory::new(&[]);
        let server = Server::start(binary, &directory.setup());
        assert_eq!(server.run("ATOMIC.COMMANDS LIST"), Value::Array(Vec::new()));
        assert_eq!(server.run("ATOMIC.COMMANDS RELOAD"), Value::ok());
        assert_eq!(
            server.run("CONFIG GET atomic.commands-dir").field("atomic.commands-dir"),
            Some(Value::bulk(directory.path()))
        );
        assert!(server.run("CONFIG SET atomic.commands-dir /tmp").error().contains("immutable"));
    });
}

#[test]
fn a_declaration_may_use_any_lua_code() {
    let files = [
        ("crlf.lua", "#!lua name=a\r\nredis.register_command{name = 'A', callback = function() return 1 end}\r\n"),
        (
            "coroutine.lua",
            "#!lua name=b\ncoroutine.wrap(function() redis.register_command{name = 'B', callback = function() return 2 end} end)()",
        ),
        (
            "pcall.lua",
            "#!lua name=c\npcall(redis.register_command, {name = 'C'})\npcall(redis.register_command, {name = 'C', callback = function() return 3 end})",
        ),
        (
            "server.lua",
            "#!lua name=d\nfor _, name in ipairs{'D', 'E'} do server.register_command{name = name, callback = function() return name end} end",
        ),
    ];
    let directory = Directory::new(&files);
    each_installed(|binary| {
        let server = Server::start(binary, &directory.setup());
        assert_eq!(["A", "B", "C"].map(|name| server.run(name)), [1, 2, 3].map(Value::Integer));
        assert_eq!(["D", "E"].map(|name| server.run(name)), ["D", "E"].map(Value::bulk));
    });
}

/// As with any setting, a line of the configuration overrides the module argument.
#[test]
fn the_directory_can_be_set_in_the_configuration() {
    each_installed(|binary| {
        let directory = Directory::new(&[("a.lua", &command("A.ONE", "", "return 1"))]);
        let setup = Setup::with_module().config(&format!("atomic.commands-dir {}", directory.path()));
        let server = Server::start(binary, &setup);
        assert_eq!(server.run("A.ONE"), Value::Integer(1));
        assert_eq!(
            server.run("CONFIG GET atomic.commands-dir").field("atomic.commands-dir"),
            Some(Value::bulk(directory.path()))
        );
    });
}
