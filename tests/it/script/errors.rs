//! Any bytes in any text that a script can send to a client: one reply, printable, with a code. And scripts that run scripts.

use super::{eval, expect_working, place, sha1};
use crate::support::{Connection, Server, Value, each_server};

/// U+4E00, e-acute, NUL, line ends and a byte that is not UTF-8.
const HOSTILE: &[u8] = b"x \xe4\xb8\x80\xc3\xa9\0\r\n\xff+OK\r\n";

/// Scripts that echo their first argument in an error.
const ECHOING: &[&str] = &[
    "error(ARGV[1])",
    "error(ARGV[1], 0)",
    "error({err = ARGV[1]})",
    "error({err = 'CODE ' .. ARGV[1]})",
    "return {err = ARGV[1]}",
    "return {err = 'CODE ' .. ARGV[1]}",
    "return redis.error_reply(ARGV[1])",
    "return redis.error_reply('-' .. ARGV[1])",
    "return redis.error_reply('CODE ' .. ARGV[1])",
    "return redis.call(ARGV[1])",
    "return redis.pcall(ARGV[1], 'x')",
    "return redis.call('OBJECT', ARGV[1])",
    "return redis.call('SET', 'k', 'v', ARGV[1])",
    "return redis.call('XADD', 'k', ARGV[1], 'f', 'v')",
    "return _G[ARGV[1]]",
    "rawset(_G, ARGV[1], 1)",
    "local t = nil return t[ARGV[1]]",
    "return ('x')[ARGV[1]]()",
    "assert(false, ARGV[1])",
    "return {}, error(ARGV[1])",
    "string.rep(ARGV[1], {})",
    "return tonumber(ARGV[1]) + 1",
    "setmetatable({}, {__index = function(_, k) error(k) end}).x = setmetatable({}, {__index = function(_, k) error(k) end})[ARGV[1]]",
    "loadstring(ARGV[1])()",
    "assert(loadstring('x ' .. ARGV[1]:gsub('%z', '')))",
    "assert(loadstring('return return', ARGV[1]))",
    "loadstring('error(1)', '=' .. ARGV[1]:gsub('%z', ''))()",
    "coroutine.wrap(function() error(ARGV[1]) end)()",
    "xpcall(error, function(e) error(e) end, ARGV[1]) error(ARGV[1])",
    "redis.log(redis.LOG_WARNING, ARGV[1]) error(ARGV[1])",
];

/// Asserts what must hold for every error, and that the connection is still in sync.
#[track_caller]
fn expect_clean_error(connection: &mut Connection, reply: &Value, what: &str) {
    let text = reply.error();
    assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)), "{what}: {text:?}");
    let code = text.split(' ').next().unwrap();
    assert!(code.len() > 2 && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'), "{what}: {text}");
    assert!(!text.starts_with("ERR internal error"), "{what}: {text}");
    assert_eq!(connection.run("PING"), Value::Status("PONG".to_owned()), "after {what}");
}

fn in_both_protocols(server: &Server, check: impl Fn(&mut Connection)) {
    check(&mut server.connect());
    check(&mut server.connect().resp3());
}

#[test]
fn any_bytes_in_an_error_of_a_script_are_one_clean_error() {
    each_server(|server| {
        in_both_protocols(server, |connection| {
            for script in ECHOING {
                for bytes in [HOSTILE, b"", b"\r\n", b"\0", b"-ERR x", b"\xff\xfe", &[b'a'; 100_000]] {
                    let call = [eval(script, "0"), vec![bytes.to_vec()]].concat();
                    let reply = connection.call(&call);
                    // Some of these bytes are valid somewhere, such as an empty source.
                    if matches!(reply, Value::Error(_)) || bytes == HOSTILE {
                        expect_clean_error(connection, &reply, script);
                    }
                }
                expect_working(connection, script);
            }
        });
    });
}

#[test]
fn any_bytes_in_the_call_itself_are_one_clean_error() {
    let text = String::from_utf8_lossy(HOSTILE).replace('\0', "");
    let calls: Vec<Vec<Vec<u8>>> = [
        vec![&b"ATOMIC.EVAL"[..], HOSTILE, b"0"],
        vec![b"ATOMIC.EVAL", text.as_bytes(), b"0"],
        vec![b"ATOMIC.EVAL", b"return '\xe4\xb8\x80\xc3", b"0"],
        vec![b"ATOMIC.EVAL", b"\xe4\xb8\x80 = 1", b"0"],
        vec![b"ATOMIC.EVAL", b"return 1 \xff\xfe", b"0"],
        vec![b"ATOMIC.EVAL", b"return 1\0return 2", b"0"],
        vec![b"ATOMIC.EVAL", b"#!\xe4\xb8\x80\r\nreturn 1", b"0"],
        vec![b"ATOMIC.EVAL", b"#!lua \xc3\xa9\0\r\nreturn 1", b"0"],
        vec![b"ATOMIC.EVAL", b"#!lua flags=\xc3\xa9\0\nreturn 1", b"0"],
        vec![b"ATOMIC.EVAL", b"#!lua", b"0"],
        vec![b"ATOMIC.EVAL", b"return 1", HOSTILE],
        vec![b"ATOMIC.EVAL", b"return 1", b""],
        vec![b"ATOMIC.EVALSHA", HOSTILE, b"0"],
        vec![b"ATOMIC.EVALSHA", b"", b"0"],
        vec![b"ATOMIC.EVALSHA", b"0000000000000000000000000000000000000000", HOSTILE],
        vec![b"ATOMIC.SCRIPT", b"LOAD", HOSTILE],
        vec![b"ATOMIC.SCRIPT", b"LOAD", b"\x1bLua\x51\0\x01\x04\x08"],
        vec![b"ATOMIC.SCRIPT", b"FLUSH", HOSTILE],
        vec![b"ATOMIC.SCRIPT", b"NOSUCH"],
        vec![b"ATOMIC.SCRIPT"],
        vec![b"ATOMIC.SCRIPT", b"LOAD"],
        vec![b"ATOMIC.SCRIPT", b"LOAD", b"return 1", HOSTILE],
        vec![b"ATOMIC.SCRIPT", b"EXISTS"],
    ]
    .into_iter()
    .map(|call| call.into_iter().map(<[u8]>::to_vec).collect())
    .collect();
    each_server(|server| {
        in_both_protocols(server, |connection| {
            for call in &calls {
                let what = crate::support::line::line(call);
                let reply = connection.call(call);
                expect_clean_error(connection, &reply, &what);
            }
            // The server itself refuses an unknown subcommand, with its own error.
            let refused = connection.call(&[&b"ATOMIC.SCRIPT"[..], HOSTILE]);
            assert!(refused.error().starts_with("ERR "), "{refused}");
            expect_working(connection, "all calls");
        });
    });
}

#[test]
fn garbage_and_huge_scripts_are_refused_cleanly() {
    each_server(|server| {
        let mut connection = server.connect();
        let all: Vec<u8> = (0..=255).cycle().take(4096).collect();
        let huge = vec![b' '; (1 << 20) + 1];
        let nested = |open: &str, close: &str| format!("return {}1{}", open.repeat(50_000), close.repeat(50_000)).into_bytes();
        let scripts = [
            all.clone(),
            all.into_iter().filter(|&byte| byte != 0).collect(),
            huge.clone(),
            vec![b'('; 1 << 20],
            vec![0xe4; 1 << 20],
            nested("(", ")"),
            nested("{", "}"),
            nested("function() return ", " end"),
            "do ".repeat(100_000).into_bytes(),
            format!("return {}1", "-".repeat(2) + &"not ".repeat(200_000)).replace("--", "").into_bytes(),
            format!("return 1{}", " .. 1".repeat(200_000)).into_bytes(),
            format!("local {}", "a,".repeat(300) + "a").into_bytes(),
        ];
        for (number, script) in scripts.iter().enumerate() {
            let what = format!("script {number}");
            for call in [eval(script, "0"), vec![b"ATOMIC.SCRIPT".to_vec(), b"LOAD".to_vec(), script.clone()]] {
                let reply = connection.call(&call);
                if matches!(reply, Value::Error(_)) {
                    expect_clean_error(&mut connection, &reply, &what);
                }
            }
            expect_working(&mut connection, &what);
        }
        let reply = connection.call(&eval(&huge, "0"));
        assert_eq!(reply.error(), "ERR Error compiling script (new function): the source is longer than 1048576 bytes");
        let longest = [b"return 7 --".to_vec(), vec![b'x'; (1 << 20) - 11]].concat();
        assert_eq!(connection.call(&eval(&longest, "0")), Value::Integer(7));
        let reply = connection.call(&eval(b"return 1\0", "0"));
        assert_eq!(reply.error(), "ERR Error compiling script (new function): a NUL byte in the source");
    });
}

#[test]
fn any_bytes_that_a_script_returns_are_one_well_formed_reply() {
    each_server(|server| {
        in_both_protocols(server, |connection| {
            for script in [
                "return {ok = ARGV[1]}",
                "return redis.status_reply(ARGV[1])",
                "return {big_number = ARGV[1]}",
                "return {verbatim_string = {format = ARGV[1], string = ARGV[1]}}",
                "return {map = {[ARGV[1]] = ARGV[1]}}",
                "return {set = {[ARGV[1]] = true}}",
                "return {ARGV[1], {ok = ARGV[1]}, {err = ARGV[1]}, {big_number = ARGV[1]}, {double = 0/0}}",
                "return ARGV[1]",
            ] {
                let what = script;
                for bytes in [HOSTILE, b"", b"1\r\n+OK", b"\r\n", b"\0"] {
                    connection.call(&[eval(script, "0"), vec![bytes.to_vec()]].concat());
                    assert_eq!(connection.run("ECHO in-sync"), Value::bulk("in-sync"), "after {what} with {bytes:?}");
                }
                expect_working(connection, script);
            }
        });
    });
}

#[test]
fn endless_replies_are_refused_or_cut_off() {
    each_server(|server| {
        in_both_protocols(server, |connection| {
            for script in [
                "local t = {} t[1] = t return t",
                "local t = {} t.map = t return t",
                "local t = {} t.map = {x = t} return t",
                "local t = {} for i = 1, 5000 do t = {t} end return t",
                "local s = ('x'):rep(1e7) local t = {} for i = 1, 100 do t[i] = s end return t",
            ] {
                let reply = connection.call(&eval(script, "0"));
                let text = format!("{reply}");
                assert!(text.contains("ERR reached lua stack limit") || text.contains("ERR script exceeded the "), "{script}");
                expect_working(connection, script);
            }
        });
    });
}

#[test]
fn an_error_names_its_script_and_line_on_every_server() {
    each_server(|server| {
        server.run("SET s text");
        for (script, line, message) in [
            ("error('boom')", 1, "ERR user_script:1: boom"),
            ("\n\n  error('boom')", 3, "ERR user_script:3: boom"),
            ("#!lua\nerror('boom')", 2, "ERR user_script:2: boom"),
            ("error({err = 'MYCODE mine'})", 1, "MYCODE mine"),
            ("\nreturn redis.call('INCR', 's')", 2, "ERR value is not an integer or out of range"),
            ("return redis.call('LPUSH', 's', 1)", 1, "WRONGTYPE Operation against a key holding the wrong kind of value"),
            (
                "local function f()\n return redis.call('nosuch')\nend\nreturn {f()}",
                2,
                "ERR Unknown Redis command called from script",
            ),
            ("return x", 1, "ERR user_script:1: Script attempted to access nonexistent global variable 'x'"),
        ] {
            let reply = super::in_words_of_redis(server.call(&eval(script, "0")).error());
            assert_eq!(reply, format!("{message}{}", place(script, line)));
            let by_digest = server.call(&["ATOMIC.EVALSHA", &sha1(script), "0"]);
            assert_eq!(super::in_words_of_redis(by_digest.error()), format!("{message}{}", place(script, line)));
        }
    });
}

const RECURSIVE: &[&str] = &[
    "return redis.call('ATOMIC.EVAL', 'return 1', 0)",
    "return redis.call('atomic.evalsha', 'x', 0)",
    "return redis.call('ATOMIC.SCRIPT', 'FLUSH')",
    "return redis.call('ATOMIC.SCRIPT', 'LOAD', 'return 1')",
    "return redis.call('EVAL', 'return 1', 0)",
    "return redis.call('FCALL', 'f', 0)",
];

#[test]
fn a_script_cannot_run_a_script() {
    each_server(|server| {
        let mut connection = server.connect();
        let library =
            "#!lua name=l\nredis.register_function('f', function() return redis.pcall('ATOMIC.EVAL', 'return 1', 0) end)";
        assert_eq!(connection.call(&["FUNCTION", "LOAD", library]), Value::bulk("l"));
        let refused = "ERR This Redis command is not allowed from script";
        for script in RECURSIVE {
            let reply = connection.call(&eval(script, "0"));
            assert_eq!(super::in_words_of_redis(reply.error()), format!("{refused}{}", place(script, 1)));
            let reply = super::in_common_words(&connection.call(&["EVAL", script, "0"]));
            assert_eq!(super::in_words_of_redis(reply.error()), refused, "in the server's own EVAL: {script}");
            expect_working(&mut connection, script);
        }
        let reply = super::in_common_words(&connection.run("FCALL f 0"));
        assert_eq!(super::in_words_of_redis(reply.error()), refused);
        expect_working(&mut connection, "FCALL");
    });
}

#[test]
fn a_script_cannot_run_a_script_where_the_server_would_allow_it() {
    each_server(|server| {
        let mut connection = server.connect();
        assert_eq!(connection.run("DEBUG SET-DISABLE-DENY-SCRIPTS 1"), Value::ok());
        for script in &RECURSIVE[..4] {
            let reply = connection.call(&eval(script, "0"));
            expect_clean_error(&mut connection, &reply, script);
            expect_working(&mut connection, script);
        }
        let through = "return redis.call('EVAL', \"return redis.call('ATOMIC.EVAL', 'return 1', 0)\", 0)";
        let reply = connection.call(&eval(through, "0"));
        expect_clean_error(&mut connection, &reply, through);
        expect_working(&mut connection, through);
    });
}

#[test]
fn scripts_run_in_a_transaction() {
    each_server(|server| {
        let mut connection = server.connect();
        connection.run("MULTI");
        connection.call(&eval("return redis.call('SET', KEYS[1], 1)", "1 k"));
        connection.call(&eval("error('in between')", "0"));
        connection.call(&eval("return redis.call('INCR', KEYS[1])", "1 k"));
        connection.run("ATOMIC.SCRIPT FLUSH");
        connection.call(&eval("return redis.call('INCR', KEYS[1])", "1 k"));
        let replies = connection.run("EXEC");
        let failed = Value::Error(format!("ERR user_script:1: in between{}", place("error('in between')", 1)));
        assert_eq!(replies, Value::Array(vec![Value::ok(), failed, Value::Integer(2), Value::ok(), Value::Integer(3)]));
        expect_working(&mut connection, "EXEC");
    });
}
