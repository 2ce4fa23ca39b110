//! Any bytes as messages of another node: whoever reaches the bus can send them.

use super::*;

const SCRIPT: &str = "return 1";
const KINDS: &[u8] = b"AHLFSGN";

/// The start of a message, without which it is not one of the module.
const RECOGNIZED: usize = 9;

fn whole(kind: u8) -> Vec<u8> {
    message(kind, SCRIPT, if kind == b'S' { SCRIPT } else { "" })
}

fn each_played(body: impl Fn(&mut Played)) {
    each_installed(|binary| body(&mut Played::start(binary)));
}

/// Waits until the node has handled all messages: the last one is malformed, so it is counted.
#[track_caller]
fn expect_dropped(played: &mut Played, expected: u64) {
    eventually("all messages have come", || (figure(played.node(), "dropped") >= expected).then_some(()));
    assert_eq!(figure(played.node(), "dropped"), expected);
}

#[test]
fn every_truncation_and_every_changed_bit_is_dropped_and_counted() {
    each_played(|played| {
        let mut malformed = 0;
        for kind in KINDS {
            let bytes = whole(*kind);
            for length in 0..bytes.len() {
                played.bus.send(0, TYPE, &bytes[..length]);
                malformed += u64::from(length >= RECOGNIZED);
            }
            for position in 0..bytes.len() {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[position] ^= 1 << bit;
                    played.bus.send(0, TYPE, &changed);
                    malformed += u64::from(position >= RECOGNIZED);
                }
            }
        }
        expect_dropped(played, malformed);
        assert_eq!(played.node().run(&format!("ATOMIC.SCRIPT EXISTS {}", sha1(SCRIPT))), Value::integers(&[0]));
    });
}

#[test]
fn messages_of_other_modules_and_versions_are_ignored() {
    each_played(|played| {
        let ask = whole(b'A');
        let mut next_version = ask.clone();
        next_version[8] = 2;
        for (module, kind, bytes) in [
            (0, TYPE, next_version),
            (0, TYPE, b"hello".to_vec()),
            (0, TYPE, vec![0; 1 << 20]),
            (0, 1, ask.clone()),
            (0, 254, ask.clone()),
            (1, TYPE, ask.clone()),
            (u64::MAX, TYPE, ask),
        ] {
            played.bus.send(module, kind, &bytes);
        }
        played.bus.send(0, TYPE, &whole(b'A')[..20]);
        expect_dropped(played, 1);
    });
}

#[test]
fn scripts_that_were_not_asked_for_are_not_kept() {
    each_played(|played| {
        played.say(b'S', SCRIPT, SCRIPT);
        played.say(b'H', SCRIPT, "");
        played.say(b'S', SCRIPT, SCRIPT);
        // Another script, and one that is too long.
        played.say(b'S', SCRIPT, "return 2");
        played.say(b'S', SCRIPT, &" ".repeat((256 << 10) + 1));
        expect_dropped(played, 2);
        let known = played.node().run(&format!("ATOMIC.SCRIPT EXISTS {} {}", sha1(SCRIPT), sha1("return 2")));
        assert_eq!(known, Value::integers(&[0, 0]));
    });
}

#[test]
fn a_flood_of_questions_leaves_the_node_in_service() {
    each_played(|played| {
        load(played.node(), SCRIPT);
        let long = format!("return 1 --{}", "x".repeat(200_000));
        load(played.node(), &long);
        for number in 0..2000 {
            played.say(b'A', &format!("return {number}"), "");
            played.say(b'F', &long, "");
        }
        for kind in KINDS {
            played.bus.send(0, TYPE, &whole(*kind));
        }
        played.bus.send(0, TYPE, &whole(b'A')[..20]);
        eventually("the last message has come", || (figure(played.node(), "dropped") > 0).then_some(()));
        // A node gets one script, and the next one when it has acknowledged it or when it is late.
        let answered = figure(played.node(), "answered");
        assert!((1..1000).contains(&answered), "{answered}");
        assert_eq!(evalsha(played.node(), SCRIPT), Value::Integer(1));
    });
}
