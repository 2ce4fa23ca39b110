//! Sends one attempt after the other on one connection, and applies the oracle of `hostile` after each.

use std::time::Duration;

use crate::support::calls::Call;
use crate::support::line::line;
use crate::support::{Connection, Server, Value, argv, eventually};

/// When the keys are first compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    FromTheStart,
    AfterTheFirst,
}

pub struct Attacker<'a> {
    /// The server under attack.
    pub server: &'a Server,
    /// The connection of all attempts.
    pub connection: Connection,
    /// The number of attempts with a reply.
    pub answered: usize,
    /// The number of refused attempts.
    pub refused: usize,
}

impl Attacker<'_> {
    /// Runs one attempt on `keys`, each prepared by the commands of `setup`, and applies the oracle. One round trip.
    pub fn strike(&mut self, attempt: &[Vec<u8>], keys: &[Vec<u8>], setup: impl Fn(&[u8]) -> Vec<Vec<Vec<u8>>>) -> Value {
        self.strikes(&[attempt], keys, setup, Witness::FromTheStart).remove(0)
    }

    /// [`Attacker::strike`] with several attempts, one after the other.
    pub fn strikes(
        &mut self,
        attempts: &[&[Vec<u8>]],
        keys: &[Vec<u8>],
        setup: impl Fn(&[u8]) -> Vec<Vec<Vec<u8>>>,
        from: Witness,
    ) -> Vec<Value> {
        let witness: Vec<Vec<Vec<u8>>> = keys
            .iter()
            .flat_map(|key| ["DUMP", "PEXPIRETIME"].map(|question| vec![question.into(), key.clone()]))
            .chain([argv("DBSIZE"), argv("INFO replication persistence")])
            .collect();
        let first: &[_] = if from == Witness::FromTheStart { &witness } else { &[] };
        let prepare: Vec<Vec<Vec<u8>>> = [argv("FLUSHDB")].into_iter().chain(keys.iter().flat_map(|key| setup(key))).collect();
        let mut bytes = Vec::new();
        let asked = prepare.iter().chain(first).map(Vec::as_slice);
        let struck = attempts.iter().flat_map(|attempt| [*attempt].into_iter().chain(witness.iter().map(Vec::as_slice)));
        asked.chain(struck).for_each(|command| bytes.extend(crate::support::resp::encode(command)));
        let id = self.connection.run("CLIENT ID").integer();
        self.connection.send_raw(&bytes).unwrap();
        for command in &prepare {
            let reply = self.read(id, command);
            // The server's own commands have no dot in their names.
            let ours = command[0].contains(&b'.');
            assert!(ours || !matches!(reply, Value::Error(_)), "{}: {reply}", line(command));
        }
        let mut before = (!first.is_empty()).then(|| self.witnessed(id, first));
        let mut replies = Vec::new();
        for attempt in attempts {
            let reply = self.read(id, attempt);
            let after = self.witnessed(id, &witness);
            check_reply(&reply, attempt);
            if matches!(reply, Value::Error(_)) {
                self.refused += 1;
                if let Some(before) = &before {
                    assert_eq!(&after, before, "{} answered {reply}, and yet something changed", line(attempt));
                }
            } else {
                self.answered += 1;
            }
            before = Some(after);
            replies.push(reply);
        }
        if attempts.iter().any(|attempt| attempt[0].eq_ignore_ascii_case(b"ATOMIC.DRAIN")) {
            // The other values must be attacked unchanged.
            assert_eq!(self.connection.run("ATOMIC.DRAIN OFF"), Value::Integer(0));
        }
        replies
    }

    /// [`Attacker::strike`] on missing keys, on strings, and on the values that the plain call creates.
    pub fn strike_each(&mut self, call: &Call, attempt: &[Vec<u8>]) -> [Value; 3] {
        let keys = call.keys();
        let left = |key: &[u8]| if key == keys[0] { vec![call.argv()] } else { Vec::new() };
        [
            self.strike(attempt, &keys, |_| Vec::new()),
            self.strike(attempt, &keys, |key| vec![set(key, b"v")]),
            self.strike(attempt, &keys, left),
        ]
    }

    /// The values that the commands create at a missing key, and leave at a string.
    pub fn states(&mut self, calls: &[&Call]) -> Vec<Vec<u8>> {
        let mut states: Vec<Vec<u8>> = Vec::new();
        for call in calls {
            self.connection.run("FLUSHDB");
            self.connection.call(&call.argv());
            if let Value::Bulk(state) = self.connection.call(&[b"GET", &call.keys()[0][..]])
                && !states.contains(&state)
            {
                states.push(state);
            }
        }
        states
    }

    /// The types of its keys after the call.
    pub fn types_after(&mut self, call: &Call) -> Vec<String> {
        self.connection.run("FLUSHDB");
        self.connection.call(&call.argv());
        call.keys().iter().map(|key| self.connection.call(&[b"TYPE", &key[..]]).text()).collect()
    }

    fn witnessed(&mut self, id: i64, questions: &[Vec<Vec<u8>>]) -> Vec<String> {
        let answers: Vec<Value> = questions.iter().map(|question| self.read(id, question)).collect();
        let (info, keys) = answers.split_last().unwrap();
        let counters = ["master_repl_offset:", "rdb_changes_since_last_save:"];
        let info = info.text();
        let counted = info.lines().filter(|line| counters.iter().any(|counter| line.starts_with(counter)));
        let seen: Vec<String> = keys.iter().map(Value::to_string).chain(counted.map(str::to_owned)).collect();
        assert_eq!(seen.len(), keys.len() + counters.len(), "INFO lacks a counter");
        seen
    }

    /// Reads a reply. Ends the wait of a blocked client, which gets the same reply as after its time.
    fn read(&mut self, id: i64, command: &[Vec<u8>]) -> Value {
        eventually(&line(command), || {
            let answered = self.connection.has_input(Duration::from_millis(5));
            if !answered && command[0].to_ascii_uppercase().starts_with(b"ATOMIC.") {
                // Returns 0 for a client that is not blocked: then its reply is on its way. (Redis 8 blocks FLUSHDB for a while, too.)
                self.server.run(&format!("CLIENT UNBLOCK {id}"));
            }
            answered.then_some(())
        });
        self.connection.read().unwrap_or_else(|error| panic!("{}: {error}", line(command)))
    }
}

/// Asserts that a reply is well formed, and not a caught panic.
pub fn check_reply(reply: &Value, attempt: &[Vec<u8>]) {
    let shown = || line(attempt).chars().take(300).collect::<String>();
    match reply {
        Value::Error(text) => {
            let code = text.split(' ').next().unwrap_or_default();
            let is_code = code.starts_with(|c: char| c.is_ascii_uppercase())
                && code.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            assert!(is_code, "{}: no code in {text:?}", shown());
            assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)), "{}: not printable: {text:?}", shown());
            assert!(!text.contains("internal error"), "{}: a panic was caught: {text}", shown());
        }
        Value::Array(items) | Value::Set(items) | Value::Push(items) => items.iter().for_each(|item| check_reply(item, attempt)),
        Value::Map(pairs) => {
            pairs.iter().for_each(|(name, value)| [name, value].iter().for_each(|item| check_reply(item, attempt)))
        }
        _ => {}
    }
}

/// The arguments of SET.
pub fn set(key: &[u8], value: &[u8]) -> Vec<Vec<u8>> {
    vec![b"SET".to_vec(), key.to_vec(), value.to_vec()]
}
