//! Commands that cannot run inside, and how the server finds the keys of those that can.

use crate::commands::changes_nothing;
use crate::support::{Value, each_server};

/// A command, and why it is refused; the empty reason stands for "the flag noscript".
const REFUSED: &[(&str, &str)] = &[
    ("MULTI", ""),
    ("EXEC", ""),
    ("WATCH n", ""),
    ("SUBSCRIBE c", ""),
    ("MONITOR", ""),
    ("AUTH p", ""),
    ("CONFIG GET port", ""),
    ("CLIENT PAUSE 1", ""),
    ("DEBUG SLEEP 0", ""),
    ("SCRIPT LOAD 'return 1'", ""),
    ("FUNCTION FLUSH", ""),
    ("ATOMIC.SCRIPT FLUSH", ""),
    ("ATOMIC.FUNCTION FLUSH", ""),
    ("ATOMIC.DRAIN ON", ""),
    ("SELECT 1", "its effect would end with it"),
    ("select 1", "its effect would end with it"),
    ("MIGRATE 127.0.0.1 1 n 0 1", "it moves keys to another server"),
    ("ATOMIC.IDEM j 5 PING", "a call cannot contain another one"),
    ("atomic.Idem j 5 PING", "a call cannot contain another one"),
    ("ATOMIC.LOCK l me 1000 WAIT 5", BLOCKS),
    ("ATOMIC.LOCK l me 1000 BIND", BLOCKS),
    ("atomic.lock l me 1000 shared wait 0", BLOCKS),
    ("ATOMIC.SEMACQUIRE s 3 me 1000 WAIT 5 MAXQUEUE 9", BLOCKS),
    ("XREAD BLOCK 5 STREAMS s $", BLOCKS),
    ("XREADGROUP GROUP g c COUNT 1 BLOCK 5 STREAMS s >", BLOCKS),
    ("INCR k", "it names the key of ATOMIC.IDEM"),
    ("MSET n 1 k 2", "it names the key of ATOMIC.IDEM"),
    ("EVAL 'return 1' 2 n k", "it names the key of ATOMIC.IDEM"),
    ("ATOMIC.MRATELIMIT 2 n k FIXED 1 1 FIXED 1 1", "it names the key of ATOMIC.IDEM"),
    ("ATOMIC.MCAS n a b k c d", "it names the key of ATOMIC.IDEM"),
    ("SORT n STORE k", "it names the key of ATOMIC.IDEM"),
];

const BLOCKS: &str = "it can block the client or bind to its connection";

#[test]
fn what_needs_the_client_cannot_run_inside() {
    each_server(|server| {
        for (command, why) in REFUSED {
            let name = command.split(' ').next().unwrap();
            let why = if why.is_empty() { "it is not allowed in scripts" } else { why };
            let reply = changes_nothing(server, &format!("ATOMIC.IDEM k 90000 {command}"));
            assert_eq!(reply.error(), format!("ERR ATOMIC.IDEM cannot run '{name}': {why}"), "{command}");
        }
        // Which of its own blocking commands a server denies to scripts depends on its version.
        for command in ["BLPOP l 1", "BZPOPMIN z 1", "BLMOVE l m LEFT RIGHT 1", "WAIT 0 1"] {
            let reply = changes_nothing(server, &format!("ATOMIC.IDEM k 90000 {command}"));
            assert!(reply.error().starts_with("ERR ATOMIC.IDEM cannot run '"), "{command}: {reply}");
        }
        // The same commands without waiting, and words that only look like those options.
        server.run("XADD s 1-1 f v");
        server.run("XGROUP CREATE s g 0");
        for (at, command) in [
            "ATOMIC.LOCK l WAIT 600000",
            "ATOMIC.LOCK WAIT BIND 600000",
            "ATOMIC.SEMACQUIRE BIND 3 WAIT 600000",
            "XREAD COUNT 1 STREAMS s 0",
            "XREAD STREAMS block 0",
            "XREADGROUP GROUP g c STREAMS s >",
        ]
        .iter()
        .enumerate()
        {
            super::once(server, &format!("key{at}"), command);
        }
    });
}

#[test]
fn errors_show_the_words_of_the_client_shortened_and_escaped() {
    each_server(|server| {
        for (command, text) in [
            (r#""\x00\r\n\xff""#, r"ERR unknown command '\x00\r\n\xff'"),
            ("''", "ERR unknown command ''"),
            ("OBJECT nosuch n", "ERR unknown command 'OBJECT'"),
            ("'CONFIG|GET' port", "ERR unknown command 'CONFIG|GET'"),
        ] {
            assert_eq!(changes_nothing(server, &format!("ATOMIC.IDEM k 5 {command}")).error(), text);
        }
        let reply = server.call(&["ATOMIC.IDEM", "k", "5", &"x".repeat(1000)]);
        assert_eq!(reply.error(), format!("ERR unknown command '{}...'", "x".repeat(64)));
    });
}

/// A call and its keys.
const KEYS: &[(&str, &[&str])] = &[
    ("k 5 PING", &["k"]),
    ("k 5 INCR n", &["k", "n"]),
    ("k 5 mset a 1 b 2", &["k", "a", "b"]),
    ("k 5 SORT a BY x STORE b", &["k", "a", "b"]),
    ("k 5 ZUNIONSTORE d 2 a b", &["k", "a", "b", "d"]),
    ("k 5 XREADGROUP GROUP g c STREAMS s >", &["k", "s"]),
    ("k 5 OBJECT ENCODING n", &["k", "n"]),
    ("k 5 EVAL 'return 1' 2 a b c", &["k", "a", "b"]),
    ("k 5 ATOMIC.EVALSHA abc 1 a b c", &["k", "a"]),
    ("k 5 ATOMIC.MCAS a 1 2 b 3 4", &["k", "a", "b"]),
    ("k 5 ATOMIC.MRATELIMIT 2 a b FIXED 1 1 FIXED 1 1", &["k", "a", "b"]),
    // Word 1 is a key whatever follows.
    ("k 5 NOSUCH n", &["k"]),
    ("k 5 GET", &["k"]),
    ("k 5 EVAL 'return 1' 9 a", &["k"]),
    ("k 5 ZUNIONSTORE d -1 a", &["k"]),
    ("k x OBJECT", &["k"]),
    ("k 5 ATOMIC.IDEM j 5 GET n", &["k"]),
    ("k 5 atomic.idem j 5 GET n", &["k"]),
];

#[test]
fn the_server_finds_the_keys_of_the_inner_command() {
    each_server(|server| {
        for (call, keys) in KEYS {
            let found = server.run(&format!("COMMAND GETKEYS ATOMIC.IDEM {call}"));
            // Word 1 is first; a server may list the others in its own order.
            let mut found: Vec<String> = found.array().iter().map(Value::text).collect();
            found[1..].sort();
            assert_eq!(found, *keys, "{call}");
        }
        let flags = server.run("COMMAND GETKEYSANDFLAGS ATOMIC.IDEM k 5 SET n v").to_string().to_lowercase();
        assert!(flags.contains("update") && flags.contains("ow"), "{flags}");
    });
}

/// The server asks for the keys before it checks anything. A client must not choose how deep that recurses.
#[test]
fn nested_calls_are_not_looked_into() {
    each_server(|server| {
        let words: Vec<&str> = ["ATOMIC.IDEM", "k", "5"].into_iter().cycle().take(300_000).collect();
        let reply = server.call(&words);
        assert_eq!(reply.error(), "ERR ATOMIC.IDEM cannot run 'ATOMIC.IDEM': a call cannot contain another one");
        assert_eq!(server.call(&[&["COMMAND", "GETKEYS"], words.as_slice()].concat()).array().len(), 1);
    });
}
