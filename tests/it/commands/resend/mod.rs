//! Replies that are lost: clients send a command again by default, on a new connection. Each command says what that does.
//!
//! [`rows`] has a row per command, [`pages`] compares the pages with it, and here the rows run through a proxy that loses one reply in each
//! way in which a reply gets lost. Then: clients that wait when their connection breaks, and holds that are bound to a connection.

mod pages; // the section of each page
mod rows; // the table

use std::time::Duration;

use self::rows::{Again, ROWS, Row};
use super::rows::brief;
use crate::scripted::examples;
use crate::support::docs::commands;
use crate::support::line::quoted;
use crate::support::transcript::text_matches;
use crate::support::{Connection, Loss, Lossy, Resender, Server, Setup, Value, argv, each_server, each_server_with, eventually};

/// A library with a function that writes, one that reads, and one that does not end.
const LIBRARY: &str = "#!lua name=lib\n\
    redis.register_function('inc', function(keys) return redis.call('INCR', keys[1]) end)\n\
    redis.register_function{function_name = 'get', callback = function(keys) return redis.call('GET', keys[1]) end, flags = {'no-writes'}}\n\
    redis.register_function('spin', function() while true do end end)";

/// Every command that a row calls.
fn all_commands() -> Setup {
    examples().module_args(&["compat", "yes"])
}

#[test]
fn every_command_has_a_row() {
    each_server_with(&all_commands(), |server| {
        for command in commands(server) {
            let name = command.words.join(" ");
            let Some(name) = name.strip_prefix("ATOMIC.") else { continue };
            let is_of = |row: &Row| row.command() == name || row.command().starts_with(&format!("{name} "));
            assert!(ROWS.iter().any(is_of), "no row says what {name} does when it is sent again");
        }
    });
}

#[test]
fn a_command_that_is_sent_again_does_what_its_page_says() {
    each_server_with(&all_commands(), |server| {
        let proxy = Lossy::start(server);
        for row in ROWS {
            Loss::ALL.into_iter().for_each(|loss| check(server, &proxy, row, loss));
        }
    });
}

/// What a client that lost a reply and an observer see.
struct Seen {
    lost: String,
    state: String,
    again: String,
    state_after: String,
}

/// Sends the call of a row, loses the reply, and sends it again. `wrap` makes the command of the call.
#[track_caller]
fn resend(server: &Server, proxy: &Lossy, row: &Row, loss: Loss, wrap: impl Fn(&str) -> String) -> Seen {
    for reset in ["FLUSHALL", "ATOMIC.FUNCTION FLUSH", "ATOMIC.SCRIPT FLUSH", "ATOMIC.DRAIN OFF"] {
        server.run(reset);
    }
    let mut client = Resender::connect(proxy);
    let mut scene = Scene::default();
    row.setup.split(';').filter(|line| !line.is_empty()).for_each(|line| scene.prepare(server, line));
    let call = wrap(&scene.expand(row.call));
    let lost = text(&client.lose(&call, loss, || scene.continue_while_blocked(server)));
    let state = ask(server, row.question);
    client.reconnect(loss, server);
    let again = text(&client.run(&call));
    let state_after = ask(server, row.question);
    scene.leave(server);
    Seen { lost, state, again, state_after }
}

/// The answer to a question about the dataset. A script that was killed still runs up to its next safepoint.
#[track_caller]
fn ask(server: &Server, question: &str) -> String {
    let answer = || Some(text(&server.run(question))).filter(|answer| !answer.starts_with("BUSY "));
    eventually("the killed script has ended", answer)
}

#[track_caller]
fn check(server: &Server, proxy: &Lossy, row: &Row, loss: Loss) {
    let at = format!("{} ({loss:?})", row.form);
    let seen = resend(server, proxy, row, loss, str::to_owned);
    let expect =
        |what: &str, text: &str, pattern: &str| assert!(text_matches(text, pattern), "{at}: {what}: {text}, not {pattern}");
    expect("the lost reply", &seen.lost, row.reply);
    expect("the state after it", &seen.state, row.state);
    match row.again {
        Again::Same => assert_eq!((&seen.again, &seen.state_after), (&seen.lost, &seen.state), "{at}: sent again"),
        Again::Other(reply) => {
            expect("sent again", &seen.again, reply);
            // Reports of the same form may be equal by chance.
            assert!(seen.again != seen.lost || reply == row.reply, "{at}: the same reply");
            assert_eq!(seen.state_after, seen.state, "{at}: the state after it was sent again");
        }
        Again::Twice(reply, state_after) => {
            expect("sent again", &seen.again, reply);
            expect("the state after that", &seen.state_after, state_after);
            assert_ne!(seen.state_after, seen.state, "{at}: sent again without an effect");
        }
    }
}

#[test]
fn a_command_inside_idem_takes_effect_once_and_gets_its_first_reply() {
    // IDEM does not run these: they wait, act on the server, report, are scripted commands, or IDEM.
    #[rustfmt::skip]
    const REFUSED: [&str; 11] = ["EVALTRACE", "EVALDRYRUN", "FCALLTRACE", "FCALLDRYRUN", "FUNCTION", "SCRIPT", "COMMANDS", "DRAIN", "WAITERS", "INVENTORY.RESERVE", "IDEM"];
    let runs_inside = |row: &&Row| {
        let first = row.command().split(' ').next().unwrap_or_default();
        !row.form.ends_with(" WAIT") && !REFUSED.contains(&first)
    };
    each_server_with(&all_commands(), |server| {
        let scripted = server.run("ATOMIC.IDEM request 60000 INVENTORY.RESERVE {p}s {p}o 2");
        assert!(scripted.error().starts_with("ERR ATOMIC.IDEM cannot run"), "{scripted}");
        let proxy = Lossy::start(server);
        for (row, loss) in ROWS.iter().filter(runs_inside).flat_map(|row| Loss::ALL.map(|loss| (row, loss))) {
            let at = format!("{} inside IDEM ({loss:?})", row.form);
            let seen = resend(server, &proxy, row, loss, |call| format!("ATOMIC.IDEM request 60000 {call}"));
            let first = seen.lost.strip_prefix("[0, ").unwrap_or_else(|| panic!("{at}: {}", seen.lost));
            assert!(text_matches(first, &format!("{}]", row.reply)) || row.reply.ends_with("..."), "{at}: {first}");
            assert_eq!(seen.again, format!("[1, {first}"), "{at}");
            assert!(text_matches(&seen.state, row.state), "{at}: {}", seen.state);
            assert_eq!(seen.state_after, seen.state, "{at}");
        }
    });
}

/// A reply on one line. Numbers between 20,000 and 100,000 are times: all the others are smaller, or fences and moments.
fn text(reply: &Value) -> String {
    let reply = brief(reply);
    let is_time = |digits: &str| digits.parse::<u64>().is_ok_and(|number| (20_000..=100_000).contains(&number));
    let mut text = String::new();
    for word in reply.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '.') {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        text.push_str(&if is_time(digits) { word.replace(digits, "<ms>") } else { word.to_owned() });
    }
    text
}

/// What happens around the client under test.
#[derive(Default)]
struct Scene {
    /// The reply of the command that `=` marks, as a word of a command.
    last: String,
    /// Commands for the time when the client waits.
    meanwhile: Vec<String>,
    /// Connections that wait or keep the server busy.
    others: Vec<Connection>,
}

impl Scene {
    fn expand(&self, command: &str) -> String {
        command.replace("$library", &quoted(LIBRARY.as_bytes())).replace("$last", &self.last)
    }

    #[track_caller]
    fn prepare(&mut self, server: &Server, line: &str) {
        let (mark, command) = line.split_at(usize::from(line.starts_with(['=', '?', '&', '~'])));
        let command = self.expand(command);
        match mark {
            "=" => self.last = quoted(server.run(&command).bytes()),
            "~" => self.meanwhile.push(command),
            "" => {
                let reply = server.run(&command);
                assert!(!matches!(reply, Value::Error(_)), "{command}: {reply}");
            }
            _ => {
                let mut connection = server.connect();
                connection.send(&argv(&command)).unwrap();
                self.others.push(connection);
                let is_busy = || matches!(server.run("PING"), Value::Error(text) if text.starts_with("BUSY"));
                let is_there = || if mark == "&" { is_busy() } else { blocked(server) == self.others.len() };
                eventually("the other client waits or runs", || is_there().then_some(()));
            }
        }
    }

    #[track_caller]
    fn continue_while_blocked(&self, server: &Server) {
        if !self.meanwhile.is_empty() {
            await_blocked(server, 1);
        }
        self.meanwhile.iter().for_each(|command| drop(server.run(command)));
    }

    #[track_caller]
    fn leave(self, server: &Server) {
        drop(self.others);
        await_blocked(server, 0);
    }
}

fn blocked(server: &Server) -> usize {
    server.info("blocked_clients").parse().unwrap()
}

#[track_caller]
fn await_blocked(server: &Server, n: usize) {
    eventually(&format!("{n} clients wait"), || (blocked(server) == n).then_some(()));
}

/// Locks and permits: acquired by another owner, requested by the client, released by the other owner.
const LINES: [[&str; 3]; 2] = [
    ["ATOMIC.LOCK k other 60000", "ATOMIC.LOCK k me 60000 WAIT 0", "ATOMIC.UNLOCK k other"],
    ["ATOMIC.SEMACQUIRE k 1 other 60000", "ATOMIC.SEMACQUIRE k 1 me 60000 WAIT 0", "ATOMIC.SEMRELEASE k other"],
];

#[test]
fn a_client_that_waits_for_a_lock_or_permits_and_sends_again_keeps_its_place() {
    each_server(|server| {
        // A slow machine may take longer than the default to connect again.
        server.run("CONFIG SET atomic.line-grace-ms 60000");
        let proxy = Lossy::start(server);
        let rounds = LINES.into_iter().flat_map(|line| [Loss::Abandoned, Loss::Kept].map(|loss| (line, loss)));
        for (number, (line, loss)) in rounds.enumerate() {
            // The places of a round must not be found by the next one.
            let [take, call, release] = line.map(|command| command.replace(" k ", &format!(" k{number} ")));
            server.run(&take);
            let mut client = Resender::connect(&proxy);
            client.send(&call);
            await_blocked(server, 1);
            let mut third = server.connect();
            third.send(&argv(&call.replace(" me ", " third "))).unwrap();
            await_blocked(server, 2);
            client.reconnect(loss, server);
            client.send(&call);
            if loss == Loss::Kept {
                assert_eq!(client.kept().read().unwrap().array()[0], Value::Integer(0), "the earlier request is denied");
            }
            await_blocked(server, 2);
            assert_eq!(server.run(&release), Value::Integer(0));
            assert_eq!(client.read().array()[0], Value::Integer(1), "{call} ({loss:?})");
            assert!(!third.has_input(Duration::from_millis(1)), "{call} ({loss:?}): overtaken");
            drop((client, third));
            await_blocked(server, 0);
        }
    });
}

#[test]
fn a_client_that_waits_for_a_member_and_sends_again_waits_at_the_end() {
    each_server(|server| {
        let proxy = Lossy::start(server);
        let calls = ["ATOMIC.ZPOPDUE {d}k WAIT 0", "ATOMIC.ZPOPDUE {d}k WAIT 0 LEASE 60000", "ATOMIC.ZMOVEDUE {d}k {d}l WAIT 0"];
        for (call, loss) in calls.into_iter().flat_map(|call| [Loss::Abandoned, Loss::Kept].map(|loss| (call, loss))) {
            server.run("FLUSHALL");
            let mut client = Resender::connect(&proxy);
            client.send(call);
            await_blocked(server, 1);
            client.reconnect(loss, server);
            client.send(call);
            await_blocked(server, if loss == Loss::Kept { 2 } else { 1 });
            server.run("ZADD {d}k 1 a 2 b");
            // A connection that the server still has gets the first member, and nobody reads it.
            let (kept, expected) = if loss == Loss::Kept { (Some(client.kept().read().unwrap()), "b") } else { (None, "a") };
            assert_eq!(client.read().array()[0], Value::bulk(expected), "{call} ({loss:?})");
            assert!(kept.is_none_or(|reply| reply.array()[0] == Value::bulk("a")), "{call}");
        }
    });
}

#[test]
fn a_bound_hold_is_acquired_again_after_its_connection_closed() {
    each_server(|server| {
        let proxy = Lossy::start(server);
        for call in ["ATOMIC.LOCK k me 60000 BIND", "ATOMIC.SEMACQUIRE k 1 me 60000 BIND"] {
            for loss in Loss::ALL {
                let mut client = Resender::connect(&proxy);
                let first = client.lose(call, loss, || ()).array()[1].integer();
                client.reconnect(loss, server);
                if loss != Loss::Kept {
                    eventually("the hold has ended with its connection", || {
                        (server.run("EXISTS k") == Value::Integer(0)).then_some(())
                    });
                }
                let again = client.run(call);
                assert_eq!(again.array()[0], Value::Integer(1), "{call} ({loss:?}): {again}");
                let is_same = again.array()[1].integer() == first;
                assert_eq!(is_same, loss == Loss::Kept && call.contains("LOCK"), "{call} ({loss:?}): {again} after {first}");
                if loss == Loss::Kept {
                    client.close_kept(server);
                    assert_eq!(server.run("EXISTS k"), Value::Integer(1), "{call}: the hold belongs to the later connection");
                }
                drop(client);
                eventually("the hold ends with the later connection", || {
                    (server.run("EXISTS k") == Value::Integer(0)).then_some(())
                });
            }
        }
    });
}
