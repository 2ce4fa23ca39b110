//! `ATOMIC.FENCE`: grammar, the remembered number, its TTL, replication.

use super::{OTHER_TYPES, WRONGTYPE, await_micros, changes_nothing, deadline, expect_range, expect_refused, micros, timed};
use crate::support::{FakeReplica, Server, Setup, Value, each_server, each_server_with};

const MAX: i64 = 1 << 62;
const FOREIGN: &str = "WRONGTYPE key does not hold a fence (format FN1)";
const LATER: i64 = 4_102_444_800_000;

/// A fence as it is stored.
fn stored(number: u64) -> Vec<u8> {
    [&b"\xa7FN\x01"[..], &number.to_be_bytes()].concat()
}

/// Makes `k` remember 5 until [`LATER`].
fn remember_five(server: &Server) {
    assert_eq!(server.call(&[b"SET", &b"k"[..], &stored(5), b"PXAT", LATER.to_string().as_bytes()]), Value::ok());
}

#[test]
fn fence_refuses_unknown_options_and_names_them() {
    let arity = "ERR wrong number of arguments for 'atomic.fence' command";
    let near = |what: &str| format!("ERR syntax error near '{what}'");
    let table = [
        ("ATOMIC.FENCE", arity.to_owned()),
        ("ATOMIC.FENCE k", arity.to_owned()),
        ("ATOMIC.FENCE k 6 PX", near("PX")),
        ("ATOMIC.FENCE k 6 EX 10", near("EX")),
        ("ATOMIC.FENCE k 6 KEEPTTL", near("KEEPTTL")),
        ("ATOMIC.FENCE k 6 10", near("10")),
        ("ATOMIC.FENCE k 6 ''", near("")),
        ("ATOMIC.FENCE k 6 PX 10 px 10", near("px")),
        ("ATOMIC.FENCE k 6 PX 10 junk", near("junk")),
        ("ATOMIC.FENCE k 4 junk", near("junk")),
        (r#"ATOMIC.FENCE k 6 "\xe4\xb8\x80\x00""#, near(r"\xe4\xb8\x80\x00")),
    ];
    each_server(|server| {
        remember_five(server);
        expect_refused(server, &table);
        assert_eq!(server.run("ATOMIC.FENCE k 6 px 60000"), Value::Integer(1), "options are case-insensitive");
    });
}

#[test]
fn number_and_ttl_are_integers_in_their_range() {
    each_server(|server| {
        expect_range(server, "PING", "ATOMIC.FENCE k %", "number", (1, MAX));
        expect_range(server, "ATOMIC.FENCE k 5", "ATOMIC.FENCE k 5 PX %", "PX", (1, MAX - 1));
    });
}

#[test]
fn an_older_number_is_refused_an_equal_or_newer_one_accepted() {
    each_server(|server| {
        let mut highest = 0;
        for number in [5, 4, 5, 1, 6, 5, 1_700_000_000_000_000, 6, MAX - 1, MAX, MAX - 1, MAX, 1] {
            let command = format!("ATOMIC.FENCE k {number}");
            let before = highest;
            highest = highest.max(number);
            let accepted = Value::Integer(i64::from(number >= before));
            let reply = if number > before { server.run(&command) } else { changes_nothing(server, &command) };
            assert_eq!(reply, accepted, "{number} after {before}");
            assert_eq!(server.run("GET k"), Value::bulk(stored(highest.unsigned_abs())));
        }
        assert_eq!(server.run("TYPE k"), Value::Status("string".to_owned()));
        assert_eq!(server.run("DEL k"), Value::Integer(1));
        assert_eq!(server.run("ATOMIC.FENCE k 1"), Value::Integer(1), "a deleted fence remembers nothing");
    });
}

#[test]
fn the_ttl_changes_with_px_alone() {
    let ends = |server: &Server| server.run("PEXPIRETIME k").integer();
    each_server(|server| {
        let mut connection = server.connect();
        assert_eq!(server.run("ATOMIC.FENCE k 5"), Value::Integer(1));
        assert_eq!(ends(server), -1);
        assert_eq!(server.run("ATOMIC.FENCE k 6"), Value::Integer(1));
        assert_eq!(ends(server), -1);
        for (command, ms) in [
            ("ATOMIC.FENCE k 6 PX 70000", 70_000),
            ("ATOMIC.FENCE k 6 PX 60000", 60_000),
            ("ATOMIC.FENCE k 7 PX 80000", 80_000),
            ("ATOMIC.FENCE new 7 PX 80000", 80_000),
        ] {
            let accepted = timed(&mut connection, command);
            assert_eq!(accepted.reply, Value::Integer(1), "{command}");
            let ends = deadline(server, command.split(' ').nth(1).unwrap());
            let around = accepted.before / 1000 + ms..=accepted.after / 1000 + ms;
            assert!(around.contains(&ends), "{command}: {ends} is not in {around:?}");
        }
        remember_five(server);
        assert_eq!(changes_nothing(server, "ATOMIC.FENCE k 4 PX 60000"), Value::Integer(0));
        assert_eq!(changes_nothing(server, "ATOMIC.FENCE k 5"), Value::Integer(1));
        assert_eq!(server.run("ATOMIC.FENCE k 6"), Value::Integer(1));
        assert_eq!(ends(server), LATER);
    });
}

#[test]
fn an_expired_fence_remembers_nothing() {
    each_server(|server| {
        server.run("DEBUG SET-ACTIVE-EXPIRE 0");
        server.run("ATOMIC.FENCE k 5 PX 1");
        let mut connection = server.connect();
        let now = micros(&mut connection);
        await_micros(&mut connection, now + 2000);
        assert_eq!(server.run("ATOMIC.FENCE k 1"), Value::Integer(1));
        assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(-1), "the end of the earlier one came back");
    });
}

#[test]
fn the_number_and_its_deadline_replicate_and_a_no_op_does_not() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let mut check = |command: &str, reply: i64, stream: &[&str]| {
            assert_eq!(server.run(command), Value::Integer(reply), "{command}");
            replica.expect_stream(stream);
        };
        check("ATOMIC.FENCE k 5", 1, &[r#"SET k "\xa7FN\x01\x00\x00\x00\x00\x00\x00\x00\x05""#]);
        check("ATOMIC.FENCE k 5", 1, &[]);
        check("ATOMIC.FENCE k 4", 0, &[]);
        check("ATOMIC.FENCE k 4 PX 60000", 0, &[]);
        check("ATOMIC.FENCE k 6", 1, &[r#"SET k "\xa7FN\x01\x00\x00\x00\x00\x00\x00\x00\x06" KEEPTTL"#]);
        check("ATOMIC.FENCE k 6 PX 60000", 1, &["PEXPIREAT k <t>"]);
        check("ATOMIC.FENCE k 7 PX 60000", 1, &[r#"SET k "\xa7FN\x01\x00\x00\x00\x00\x00\x00\x00\x07" PXAT <t>"#]);
        check("ATOMIC.FENCE new 1 PX 60000", 1, &[r#"SET new "\xa7FN\x01\x00\x00\x00\x00\x00\x00\x00\x01" PXAT <t>"#]);
        assert_eq!(replica.stream(), Vec::<String>::new());
    });
}

#[test]
fn the_replicated_deadline_is_the_deadline_of_the_key() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let table = [("ATOMIC.FENCE k 5 PX 60000", 4), ("ATOMIC.FENCE k 5 PX 70000", 2), ("ATOMIC.FENCE k 6 PX 80000", 4)];
        for (command, place) in table {
            server.run("MULTI");
            server.run(command);
            server.run("PEXPIRETIME k");
            let replies = server.run("EXEC");
            let ends = replies.array()[1].integer().to_string().into_bytes();
            let sent = replica.commands();
            assert!(sent.iter().any(|sent| sent.get(place) == Some(&ends)), "{command}: {replies} and {sent:?}");
        }
    });
}

#[test]
fn a_foreign_value_is_refused_and_kept() {
    let attempts = ["ATOMIC.FENCE k 4", "ATOMIC.FENCE k 5", "ATOMIC.FENCE k 6 PX 60000", "ATOMIC.FENCE k 4611686018427387904"];
    let good = stored(5);
    let strings = [
        Vec::new(),
        b"5".to_vec(),
        b"foreign".to_vec(),
        good[..4].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], b"\0"].concat(),
        [&b"\xa7FN\x02"[..], &good[4..]].concat(),
        [&b"\xa7LK\x01"[..], &good[4..]].concat(),
        stored(0),
        stored((1 << 62) + 1),
        stored(u64::MAX),
    ];
    each_server(|server| {
        remember_five(server);
        assert_eq!(changes_nothing(server, "ATOMIC.FENCE k 5"), Value::Integer(1), "the fence that the rows damage is not valid");
        for string in &strings {
            server.call(&[b"SET", &b"k"[..], string, b"PX", b"60000000"]);
            expect_refused(server, &attempts.map(|attempt| (attempt, FOREIGN)));
        }
        server.run("DEL k");
        server.run("ATOMIC.LOCK k me 60000");
        expect_refused(server, &attempts.map(|attempt| (attempt, FOREIGN)));
        for setup in OTHER_TYPES {
            server.run("DEL k");
            server.run(setup);
            expect_refused(server, &attempts.map(|attempt| (attempt, WRONGTYPE)));
        }
    });
}

#[test]
fn a_fence_survives_kill_9_with_its_ttl() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        for command in [
            "ATOMIC.FENCE kept 5",
            "ATOMIC.FENCE kept 9",
            "ATOMIC.FENCE ends 5 PX 60000000",
            "ATOMIC.FENCE ends 9",
            "ATOMIC.FENCE moved 9 PX 60000000",
            "ATOMIC.FENCE moved 9 PX 70000000",
        ] {
            assert_eq!(server.run(command), Value::Integer(1), "{command}");
        }
        let shown = |key: &str| (server.run(&format!("GET {key}")), server.run(&format!("PEXPIRETIME {key}")));
        let all = || ["kept", "ends", "moved"].map(shown);
        let before = all();
        assert_eq!([&before[0].0, &before[1].0, &before[2].0], [&Value::bulk(stored(9)); 3]);
        server.kill_9();
        server.start_again();
        assert_eq!(all(), before);
        for key in ["kept", "ends", "moved"] {
            assert_eq!(server.run(&format!("ATOMIC.FENCE {key} 8")), Value::Integer(0), "{key}");
            assert_eq!(server.run(&format!("ATOMIC.FENCE {key} 9")), Value::Integer(1), "{key}");
        }
    });
}

#[test]
fn an_overtaken_holder_cannot_write_past_the_fence() {
    let write = "if redis.call('ATOMIC.FENCE', KEYS[1], ARGV[1]) == 0 then return redis.error_reply('STALE overtaken') end \
                 return redis.call('SET', KEYS[2], ARGV[2])";
    each_server(|server| {
        let fence = |owner: &str| server.run(&format!("ATOMIC.LOCK lock {owner} 60000")).array()[1].integer().to_string();
        let slow = fence("slow");
        assert_eq!(server.run("DEL lock"), Value::Integer(1));
        let fast = fence("fast");
        for eval in ["EVAL", "ATOMIC.EVAL"] {
            server.run("DEL guard");
            let write = |number: &str, value: &str| server.call(&[eval, write, "2", "guard", "data", number, value]);
            assert_eq!(write(&slow, "a"), Value::ok(), "{eval}: it is not overtaken yet");
            assert_eq!(write(&fast, "b"), Value::ok(), "{eval}");
            assert!(write(&slow, "c").error().starts_with("STALE "), "{eval}");
            assert_eq!(write(&fast, "d"), Value::ok(), "{eval}: the same holder writes more than once");
            assert_eq!(server.run("GET data"), Value::bulk("d"));
        }
    });
}
