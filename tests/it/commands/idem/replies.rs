//! The stored reply: both protocols, sizes, nesting, crafted records.

use super::{FOREIGN, brief};
use crate::commands::{changes_nothing, everything};
use crate::support::{Connection, Server, Value, each_server};

const TOO_LARGE: &str = "DONE the command has run, and its reply was too large to keep";

/// Commands whose replies differ between the protocols.
const COMMANDS: &[&[&str]] = &[
    &["PING"],
    &["SET", "s", "v"],
    &["GET", "s"],
    &["GET", "none"],
    &["LMPOP", "1", "none", "LEFT"],
    &["STRLEN", "s"],
    &["LRANGE", "l", "0", "-1"],
    &["HGETALL", "h"],
    &["HGETALL", "none"],
    &["SMEMBERS", "set"],
    &["ZSCORE", "z", "a"],
    &["ZSCORE", "z", "big"],
    &["ZSCORE", "z", "none"],
    &["ZRANGE", "z", "0", "-1", "WITHSCORES"],
    &["HRANDFIELD", "h", "2", "WITHVALUES"],
    &["XRANGE", "x", "-", "+"],
    &["XINFO", "STREAM", "x"],
    &["ECHO", "\r\n$-1\r\n"],
    &["ECHO", ""],
    &["ATOMIC.LOCKINFO", "none"],
    &["ATOMIC.EVAL", "redis.setresp(3) return {true, false, {double = 1.5}, {double = -1/0}}", "0"],
    &["ATOMIC.EVAL", "redis.setresp(3) return {big_number = '123456789012345678901234567890'}", "0"],
    &["ATOMIC.EVAL", "return {verbatim_string = {format = 'txt', string = 'a\\r\\nb'}}", "0"],
    &["ATOMIC.EVAL", "return {map = {a = {set = {b = true}}}}", "0"],
    &["ATOMIC.EVAL", "return {1, {}, {{err = 'MINE no'}, {ok = 'FINE'}}, 'x'}", "0"],
];

fn fill(server: &Server) {
    for command in
        ["SET s v", "RPUSH l a b", "HSET h f v", "SADD set a b", "ZADD z 1.5 a 3 b 1e300 big -inf least", "XADD x 1-1 f v"]
    {
        server.run(command);
    }
}

fn idem(connection: &mut Connection, key: &str, command: &[&str]) -> (i64, Value) {
    let reply = connection.call(&[&["ATOMIC.IDEM", key, "600000"], command].concat());
    match reply.array() {
        [code, reply] => (code.integer(), reply.clone()),
        _ => panic!("{command:?}: {reply}"),
    }
}

#[test]
fn a_reply_comes_back_as_it_was_and_converted_for_the_other_protocol() {
    each_server(|server| {
        fill(server);
        let (mut old, mut new) = (server.connect(), server.connect().resp3());
        for (at, command) in COMMANDS.iter().enumerate() {
            let (plain_old, plain_new) = (old.call(command), new.call(command));
            let (a, b) = (format!("a{at}"), format!("b{at}"));
            // The first call by RESP2.
            assert_eq!(idem(&mut old, &a, command), (0, plain_old.clone()), "{command:?}");
            assert_eq!(idem(&mut old, &a, command), (1, plain_old.clone()), "{command:?}");
            assert_eq!(idem(&mut new, &a, command), (1, plain_old.clone()), "{command:?}: RESP2 text passes as it is");
            // The first call by RESP3.
            assert_eq!(idem(&mut new, &b, command), (0, plain_new.clone()), "{command:?}");
            assert_eq!(idem(&mut new, &b, command), (1, plain_new.clone()), "{command:?}");
            // Where a reply has the same structure in both protocols, the conversion is exact.
            let same_structure = !matches!(command[0], "ZRANGE" | "HRANDFIELD");
            let (code, converted) = idem(&mut old, &b, command);
            assert_eq!(code, 1, "{command:?}");
            if same_structure {
                assert_eq!(converted, plain_old, "{command:?}");
            } else {
                assert!(matches!(converted.array()[0], Value::Array(_)), "{command:?}: {converted}");
            }
        }
    });
}

/// The bytes, not only their meaning: a null array stays one, and a number keeps its digits.
#[test]
fn a_replay_is_the_same_bytes() {
    each_server(|server| {
        fill(server);
        for resp3 in [false, true] {
            for command in COMMANDS.iter().filter(|command| !command.contains(&"{true, false")) {
                server.run("DEL raw");
                let replies: Vec<Vec<u8>> = (0..2)
                    .map(|_| {
                        let mut connection = if resp3 { server.connect().resp3() } else { server.connect() };
                        connection.send(&[&["ATOMIC.IDEM", "raw", "600000"], *command].concat()).unwrap();
                        connection.send(&["ECHO", "end of the reply"]).unwrap();
                        let mut bytes = Vec::new();
                        while !bytes.ends_with(b"end of the reply\r\n") {
                            bytes.extend(connection.read_exact(1).unwrap());
                        }
                        bytes
                    })
                    .collect();
                let [first, again] = replies.as_slice() else { unreachable!() };
                assert!(first.starts_with(b"*2\r\n:0\r\n") && again.starts_with(b"*2\r\n:1\r\n"), "{command:?}");
                assert_eq!(first[8..].escape_ascii().to_string(), again[8..].escape_ascii().to_string(), "{command:?}");
            }
        }
    });
}

#[test]
fn a_reply_is_kept_up_to_a_mebibyte() {
    each_server(|server| {
        let mut connection = server.connect();
        // `$1048563\r\n`, the bytes and `\r\n` are one mebibyte.
        for (len, kept) in [(1_048_564, true), (1_048_565, false), (20_000_000, false)] {
            let key = format!("{{k}}{len}");
            server.call(&["SET", "big", &"x".repeat(len)]);
            let (code, reply) = idem(&mut connection, &key, &["GETDEL", "big"]);
            assert_eq!((code, reply.bytes().len()), (0, len));
            let again = changes_nothing(server, &format!("ATOMIC.IDEM {key} 600000 GETDEL big"));
            if kept {
                assert_eq!((again.array()[0].integer(), again.array()[1].bytes().len()), (1, len));
            } else {
                assert_eq!(again.error(), TOO_LARGE);
                assert!(server.call(&["STRLEN", &key]).integer() < 100);
            }
            assert_eq!(changes_nothing(server, &format!("ATOMIC.IDEM {key} 600000 GET big")).error(), super::MISMATCH);
        }
    });
}

#[test]
fn a_reply_is_kept_up_to_a_nesting_of_128() {
    each_server(|server| {
        let mut connection = server.connect();
        server.run("CONFIG SET atomic.script-reply-depth 1000");
        for (depth, kept) in [(128, true), (129, false), (900, false)] {
            let script = format!("redis.call('INCR', KEYS[1]) local t = {{7}} for i = 2, {depth} do t = {{t}} end return t");
            let command = ["ATOMIC.EVAL", &script, "1", "n"];
            let key = format!("k{depth}");
            let (_, mut reply) = idem(&mut connection, &key, &command);
            for _ in 0..depth {
                let Value::Array(inner) = reply else { panic!("too shallow for {depth}") };
                reply = inner.into_iter().next().unwrap();
            }
            assert_eq!(reply, Value::Integer(7));
            let again = connection.call(&[&["ATOMIC.IDEM", &key, "600000"], &command[..]].concat());
            if kept {
                assert_eq!(again.array()[0], Value::Integer(1));
                // The server's own engine reads it, too.
                let call = "local r = redis.call('ATOMIC.IDEM', KEYS[1], 600000, unpack(ARGV)) return r[1]";
                let nested = connection.call(&[&["ATOMIC.EVAL", call, "1", &key], &command[..]].concat());
                assert!(nested.error().starts_with("ERR a script cannot run a script"), "{nested}");
            } else {
                assert_eq!(again.error(), TOO_LARGE);
            }
        }
        assert_eq!(server.run("GET n"), Value::bulk("3"));
    });
}

/// A record with this reply, for the words `PING`.
fn crafted(server: &Server, reply: &[u8]) -> Vec<u8> {
    server.run("ATOMIC.IDEM genuine 600000 PING");
    let genuine = server.run("GET genuine").bytes().to_vec();
    let text = b"+PONG\r\n";
    assert!(genuine.ends_with(text), "{}", genuine.escape_ascii());
    let head = &genuine[..genuine.len() - text.len() - 3];
    [head, &u32::try_from(reply.len()).unwrap().to_be_bytes()[1..], reply].concat()
}

/// Whoever can write the key can write any bytes there.
#[test]
fn a_crafted_record_is_foreign_or_one_reply() {
    each_server(|server| {
        let deep = [b"*1\r\n".repeat(200_000), b":1\r\n".to_vec()].concat();
        let (wide, text) = (b"*1048576\r\n".to_vec(), |bytes: &[u8]| bytes.to_vec());
        for reply in [
            deep,
            wide,
            text(b""),
            text(b"-ERR no\r\n"),
            text(b"!2\r\nno\r\n"),
            text(b"+a\r\n+b\r\n"),
            text(b"$9\r\nshort\r\n"),
            text(b"%1\r\n+k\r\n"),
            text(b"|1\r\n+k\r\n+v\r\n"),
            text(b"+a\nb"),
            text(b"@\r\n"),
        ] {
            let record = crafted(server, &reply);
            server.call(&[b"SET", &b"k"[..], &record]);
            for protocol in [server.connect(), server.connect().resp3()] {
                let mut connection = protocol;
                let before = everything(server);
                let answer = connection.run("ATOMIC.IDEM k 5 PING");
                assert_eq!(answer.error(), FOREIGN, "{}", reply[..reply.len().min(40)].escape_ascii());
                assert_eq!(everything(server), before);
            }
        }
        // What is one reply is sent as one reply, whatever its texts hold.
        for (reply, expected) in [
            (&b"+a\nb\x00\xff\r\n"[..], r"[1, a\nb\x00\xff]"),
            (b"*2\r\n-no\ncode\r\n:1\r\n", r"[1, [no\ncode, 1]]"),
            (b"(1\n+injected\r\n", ""),
            (b",not a number\r\n", r#"[1, "not a number"]"#),
            (b"=5\r\nab\n:x\r\n", ""),
            (b"|1\r\n+k\r\n*1\r\n:1\r\n:7\r\n", "[1, 7]"),
            (b">1\r\n:7\r\n", "[1, [7]]"),
            (b"#x\r\n", ""),
        ] {
            let record = crafted(server, reply);
            server.call(&[b"SET", &b"k"[..], &record]);
            for protocol in [server.connect(), server.connect().resp3()] {
                let mut connection = protocol;
                let answer = connection.run("ATOMIC.IDEM k 5 PING");
                assert_eq!((answer.array().len(), &answer.array()[0]), (2, &Value::Integer(1)), "{answer}");
                if !expected.is_empty() {
                    assert_eq!(brief(&answer), expected);
                }
                assert_eq!(connection.run("ECHO next"), Value::bulk("next"), "the reply was not one reply");
            }
        }
    });
}
