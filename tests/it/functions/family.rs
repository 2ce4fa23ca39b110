//! The FUNCTION family beside the server's own: the same commands in the same order get the same replies, errors included.

use super::{function, library};
use crate::support::{Connection, Server, Value, argv, each_server};

fn loads(code: &str) -> Vec<Vec<u8>> {
    ["FUNCTION", "LOAD", code].iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn replaces(code: &str) -> Vec<Vec<u8>> {
    ["FUNCTION", "LOAD", "REPLACE", code].iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Code that the server refuses with a reason.
const REFUSED: &[&str] = &[
    "",
    "return 1",
    "#!lua",
    "#!lua\n",
    "#!\n",
    "#! name=a\n",
    "#!lua name=\n",
    "#!lua name=a-b\nredis.register_function('f', function() end)",
    "#!lua name=a name=b\nredis.register_function('f', function() end)",
    "#!lua name=a foo=b\nredis.register_function('f', function() end)",
    "#!lua flags=no-writes\nredis.register_function('f', function() end)",
    "#!lua \"name=a\nredis.register_function('f', function() end)",
    "#!nosuchengine name=a\nredis.register_function('f', function() end)",
    "#!lua name=a\nreturn 1",
    "#!lua name=a\n",
    "#!lua name=a\nredis.register_function()",
    "#!lua name=a\nredis.register_function(1)",
    "#!lua name=a\nredis.register_function('f')",
    "#!lua name=a\nredis.register_function(1, 2)",
    "#!lua name=a\nredis.register_function({}, function() end)",
    "#!lua name=a\nredis.register_function('f', 'g')",
    "#!lua name=a\nredis.register_function('f', function() end, 3)",
    "#!lua name=a\nredis.register_function('', function() end)",
    "#!lua name=a\nredis.register_function('a b', function() end)",
    "#!lua name=a\nredis.register_function('a\\0b', function() end)",
    "#!lua name=a\nredis.register_function('f', function() end) redis.register_function('f', function() end)",
    "#!lua name=a\nredis.register_function{}",
    "#!lua name=a\nredis.register_function{function_name='f'}",
    "#!lua name=a\nredis.register_function{callback=function() end}",
    "#!lua name=a\nredis.register_function{function_name=1, callback=function() end}",
    "#!lua name=a\nredis.register_function{function_name='f', callback=1}",
    "#!lua name=a\nredis.register_function{function_name='f', callback=function() end, description=1}",
    "#!lua name=a\nredis.register_function{function_name='f', callback=function() end, flags=1}",
    "#!lua name=a\nredis.register_function{function_name='f', callback=function() end, flags={'nosuchflag'}}",
    "#!lua name=a\nredis.register_function{function_name='f', callback=function() end, flags={{}}}",
    "#!lua name=a\nredis.register_function{function_name='f', callback=function() end, unknown=1}",
    "#!lua name=a\nlocal x = nosuchglobal",
    "#!lua name=a\nnewglobal = 1",
    "#!lua name=a\nredis.call('PING')",
    "#!lua name=a\nredis.pcall('PING')",
    "#!lua name=a\nredis.setresp(3)",
    "#!lua name=a\nredis.set_repl(redis.REPL_NONE)",
    "#!lua name=a\nredis.acl_check_cmd('set', 'x', 1)",
    "#!lua name=a\nredis.sha1hex('x')",
    "#!lua name=a\nlocal x = math.random()",
    "#!lua name=a\nlocal x = KEYS",
];

/// Code that both accept; the calls below compare names and replies.
fn taken() -> Vec<String> {
    let one = |name: &str, code: &str| library(name, code);
    vec![
        one("plain", &function("plain", "return {keys, args}")),
        one(
            "named",
            "redis.register_function{function_name='named', callback=function(k, a) return #a end, description='counts'}",
        ),
        one(
            "CASE",
            "redis.register_function{Function_Name='CASE', CALLBACK=function() return 1 end, flags={'No-Writes', 'allow-oom'}}",
        ),
        one("many", &["m1", "m2", "m3"].map(|name| function(name, &format!("return '{name}'"))).join("\n")),
        one("shares", "local n = 0 redis.register_function('next', function() n = n + 1 return n end)"),
        one("level", "local l = redis.LOG_WARNING redis.register_function('logs', function() return {l, redis.LOG_NOTICE} end)"),
        one("version", "local v = redis.REDIS_VERSION_NUM redis.register_function('version', function() return v end)"),
        one("later", "local kept = redis redis.register_function('later', function() return kept.call('PING') end)"),
        one("late", "local r = redis.register_function r('late', function() return r('later2', function() end) end)"),
        one("register", &function("register", "return redis.register_function == nil")),
        one("globals", &function("globals", "return {pcall(function() return KEYS end), pcall(function() x = 1 end)}")),
        "#!LUA  \tname=quoted\r\nredis.register_function('quoted', function() return 'q' end)".to_owned(),
        "#!lua \"name=quoted2\"\nredis.register_function('quoted2', function() return 'q' end)".to_owned(),
        one("errors", &function("fails", "return redis.call('LPOP')")),
        one("raises", &function("raises", "error('x')")),
        one("raises2", &function("raises_table", "error({err='MINE x'})")),
        one("writes", &function("set", "return redis.call('SET', keys[1], args[1])")),
        one(
            "reads",
            "redis.register_function{function_name='get', callback=function(k) return redis.call('GET', k[1]) end, flags={'no-writes'}}",
        ),
        one(
            "liar",
            "redis.register_function{function_name='liar', callback=function(k) return redis.call('SET', k[1], 1) end, flags={'no-writes'}}",
        ),
    ]
}

const CALLS: &[&str] = &[
    "FCALL plain 0",
    "FCALL plain 2 a b c",
    "FCALL PLAIN 1 a",
    "FCALL_RO plain 0",
    "FCALL named 0 1 2 3",
    "FCALL_RO case 0",
    "FCALL m2 0",
    "FCALL m3 0",
    "FCALL next 0",
    "FCALL next 0",
    "FCALL logs 0",
    "FCALL version 0",
    "FCALL later 0",
    "FCALL late 0",
    "FCALL later2 0",
    "FCALL register 0",
    "FCALL globals 1 k",
    "FCALL quoted 0",
    "FCALL quoted2 0",
    "FCALL fails 0",
    "FCALL raises 0",
    "FCALL raises_table 0",
    "FCALL set 1 k v",
    "FCALL_RO set 1 k v",
    "FCALL_RO get 1 k",
    "FCALL get 1 k",
    "FCALL liar 1 k",
    "FCALL nosuch 0",
    "FCALL nosuch x",
    "FCALL_RO nosuch 0",
    "FCALL plain x",
    "FCALL plain -1",
    "FCALL plain 1",
    "FCALL plain 9223372036854775807",
    "FCALL plain 9223372036854775808",
    "FCALL plain",
    "FCALL",
    "FUNCTION",
    "FUNCTION nosuch",
    "FUNCTION LOAD",
    "FUNCTION LOAD FOO bar",
    "FUNCTION LOAD REPLACE FOO bar",
    "FUNCTION DELETE",
    "FUNCTION DELETE nosuch",
    "FUNCTION DELETE PLAIN",
    "FUNCTION DELETE plain",
    "FCALL plain 0",
    "FUNCTION LIST x",
    "FUNCTION LIST LIBRARYNAME",
    "FUNCTION LIST LIBRARYNAME named",
    "FUNCTION LIST WITHCODE LIBRARYNAME na*",
    "FUNCTION LIST WITHCODE WITHCODE",
    "FUNCTION FLUSH x",
    "FUNCTION FLUSH SYNC x",
    "FUNCTION DUMP x",
    "FUNCTION RESTORE",
    "FUNCTION RESTORE x",
    "FUNCTION RESTORE x FOO",
    "FUNCTION RESTORE x FLUSH y",
    "FUNCTION STATS x",
    "FUNCTION STATS",
    "FUNCTION KILL x",
    "FUNCTION KILL",
    "FUNCTION HELP x",
    "FUNCTION FLUSH SYNC",
    "FUNCTION LIST",
    "FCALL named 0",
];

/// The replies to every command, of the server's own commands or of ours.
fn answers(connection: &mut Connection, prefix: &str) -> Vec<String> {
    connection.run("FLUSHALL");
    connection.run("FUNCTION FLUSH SYNC");
    connection.call(&argv(&format!("{prefix}FUNCTION FLUSH SYNC")));
    let mut commands: Vec<Vec<Vec<u8>>> = REFUSED.iter().map(|code| loads(code)).collect();
    for code in taken() {
        commands.extend([loads(&code), loads(&code), replaces(&code)]);
    }
    // A function name of another library, and a library that would lose its own functions.
    commands.push(loads(&library("other", &function("plain", "return 1"))));
    commands.push(replaces(&library("named", &function("plain", "return 1"))));
    commands.push(replaces(&library("many", &function("m1", "return 'new'"))));
    commands.extend(CALLS.iter().map(|line| argv(line)));
    commands
        .into_iter()
        .map(|mut command| {
            let shown = command.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ");
            command[0] = [prefix.as_bytes(), &command[0]].concat();
            let answer = in_common_words(&connection.call(&command));
            format!("{shown}\n    -> {answer:?}")
        })
        .collect()
}

/// A reply without the names of commands and products, and without the order of a hash table.
fn in_common_words(reply: &Value) -> Value {
    let common = |text: &str| {
        let text =
            text.replace("atomic.f", "f").replace("ATOMIC.F", "F").replace("server.register_function", "redis.register_function");
        // Valkey 8.1 detects these later, with better messages.
        let text = text.replace("ERR Function names can only", "ERR Error registering functions: ERR Library names can only");
        let text = if text.starts_with("ERR Function already exists") {
            format!("ERR Error registering functions: {text}")
        } else {
            text
        };
        crate::script::in_words_of_redis(text.rfind(" script: ").map_or(text.as_str(), |at| &text[..at]))
    };
    match reply {
        Value::Error(text) => Value::Error(common(text)),
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(in_common_words).collect();
            if items.iter().all(|item| matches!(item, Value::Array(_) | Value::Map(_))) {
                items.sort_by_key(|item| format!("{item:?}"));
            }
            Value::Array(items)
        }
        Value::Map(pairs) => {
            Value::Map(pairs.iter().map(|(name, value)| (in_common_words(name), in_common_words(value))).collect())
        }
        other => other.clone(),
    }
}

fn compare(server: &Server, mut theirs: Connection, mut ours: Connection) {
    let (theirs, ours) = (answers(&mut theirs, ""), answers(&mut ours, "ATOMIC."));
    let differing: Vec<_> = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours).collect();
    assert!(differing.is_empty(), "{}: {} differ: {differing:#?}", server.binary.name, differing.len());
}

#[test]
fn every_command_replies_as_the_servers_own() {
    each_server(|server| {
        compare(server, server.connect(), server.connect());
        compare(server, server.connect().resp3(), server.connect().resp3());
    });
}

#[test]
fn help_names_every_subcommand() {
    each_server(|server| {
        let lines = |command: &str| server.run(command).array().iter().map(Value::text).collect::<Vec<_>>();
        let names = |lines: Vec<String>| -> Vec<String> {
            let mut names: Vec<String> = lines
                .iter()
                .skip(1)
                .filter(|line| !line.starts_with(' '))
                .filter_map(|line| line.split(' ').next().map(str::to_owned))
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(lines("ATOMIC.FUNCTION HELP")), names(lines("FUNCTION HELP")));
    });
}
