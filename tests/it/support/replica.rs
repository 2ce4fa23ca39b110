//! A replica that records the stream and applies nothing: it attaches with PSYNC, discards the RDB and records the exact commands
//! that the server sends to its replicas.
//!
//! The record omits PING, SELECT and REPLCONF, and shows MULTI and EXEC. To find the end of a test's stream it publishes
//! a unique marker and reads up to it; PUBLISH replicates and touches no key.

use std::sync::atomic::{AtomicU64, Ordering};

use super::line::{argv, line};
use super::{Connection, Server, Value, eventually};

/// An attached replica.
pub struct FakeReplica<'a> {
    server: &'a Server,
    link: Connection,
    /// The bytes of the stream read so far plus its first offset: the number in an acknowledgement.
    offset: u64,
}

impl<'a> FakeReplica<'a> {
    /// Attaches. Returns when the stream has begun: from now on it records everything that `server` replicates.
    #[track_caller]
    pub fn attach(server: &'a Server) -> Self {
        // It acknowledges only when a test reads the stream, which takes long on a busy machine.
        assert_eq!(server.run("CONFIG SET repl-timeout 3600"), Value::ok());
        let mut link = server.connect();
        assert_eq!(link.run("REPLCONF listening-port 1"), Value::ok());
        assert_eq!(link.run("REPLCONF capa eof capa psync2"), Value::ok());
        let resync = link.run("PSYNC ? -1").text();
        let offset = resync.strip_prefix("FULLRESYNC ").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let mut replica = Self { server, link, offset: offset.unwrap_or_else(|| panic!("PSYNC answered {resync}")) };
        replica.skip_snapshot();
        // After a diskless snapshot the stream starts when the replica acknowledges, and an acknowledgement before the
        // server counts the replica as online is lost.
        eventually("the server counts the replica as online", || server.info("slave0").contains("state=online").then_some(()));
        replica.acknowledge();
        let stream = replica.stream();
        assert!(stream.is_empty(), "commands before the test began: {stream:?}");
        replica
    }

    /// The commands replicated since the last call, one line per command.
    #[track_caller]
    pub fn stream(&mut self) -> Vec<String> {
        self.commands().iter().map(|command| line(command)).collect()
    }

    /// [`FakeReplica::stream`] as arguments.
    #[track_caller]
    pub fn commands(&mut self) -> Vec<Vec<Vec<u8>>> {
        self.words_as_sent().into_iter().map(plain).collect()
    }

    /// [`FakeReplica::commands`] with the words that only fill up a command.
    #[track_caller]
    pub fn words_as_sent(&mut self) -> Vec<Vec<Vec<u8>>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let marker = format!("marker-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.server.connect().call(&["PUBLISH", "end-of-stream", &marker]);
        let mut recorded = Vec::new();
        loop {
            let command = self.next_command();
            let name = command[0].to_ascii_uppercase();
            match name.as_slice() {
                b"PUBLISH" if command[1] == b"end-of-stream" && command[2] == marker.as_bytes() => return recorded,
                b"REPLCONF" => self.acknowledge(),
                b"PING" | b"SELECT" => {}
                _ => recorded.push(command),
            }
        }
    }

    /// Asserts that exactly these commands were replicated since the last call. Each line is parsed like redis-cli; a word in
    /// angle brackets, `<deadline>`, stands for any one argument.
    #[track_caller]
    pub fn expect_stream(&mut self, expected: &[&str]) {
        let recorded = self.commands();
        let same = recorded.len() == expected.len()
            && recorded.iter().zip(expected).all(|(command, expected)| matches(command, &argv(expected)));
        let shown: Vec<String> = recorded.iter().map(|command| line(command)).collect();
        assert!(same, "replicated stream\n  expected: {expected:#?}\n  recorded: {shown:#?}");
    }

    fn skip_snapshot(&mut self) {
        // The server sends bare newlines while it prepares the snapshot.
        let header = loop {
            let header = self.link.read_until(b'\n').unwrap();
            if header != b"\n" {
                break String::from_utf8(header).unwrap();
            }
        };
        let Some(length) = header.trim_end().strip_prefix('$') else { panic!("expected a snapshot, got {header:?}") };
        match length.strip_prefix("EOF:") {
            None => drop(self.link.read_exact(length.parse().unwrap()).unwrap()),
            Some(mark) => {
                let mut tail = Vec::new();
                while !tail.ends_with(mark.as_bytes()) {
                    let missing = mark.len().saturating_sub(tail.len()).max(1);
                    tail.extend(self.link.read_exact(missing).unwrap());
                }
            }
        }
    }

    fn next_command(&mut self) -> Vec<Vec<u8>> {
        let Value::Array(arguments) = self.link.read().unwrap_or_else(|error| panic!("replication stream: {error}")) else {
            panic!("the replication stream holds something else than a command")
        };
        let command: Vec<Vec<u8>> = arguments.iter().map(|argument| argument.bytes().to_vec()).collect();
        self.offset += super::resp::encode(&command).len() as u64;
        command
    }

    fn acknowledge(&mut self) {
        self.link.send(&["REPLCONF", "ACK", &self.offset.to_string()]).unwrap();
    }
}

/// A command in its short form, without the words that fill it up to the length of the client's command (the setting `replicate-in-place`).
fn plain(mut command: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    match command.as_slice() {
        [name, _, _, ..] if name == b"SET" => {
            while command.len() > 3 && command.last().is_some_and(|word| word == b"GET") {
                command.pop();
            }
        }
        [name, key, rest @ ..] if name == b"DEL" && rest.iter().all(|other| other == key) => command.truncate(2),
        [name, _, _, rest @ ..] if name == b"PEXPIREAT" && rest.iter().all(|word| word == b"XX" || word == b"NX") => {
            command.truncate(3)
        }
        [name, _, key, side, _, count] if name == b"LMPOP" => {
            let short = if side == b"LEFT" { &b"LPOP"[..] } else { b"RPOP" };
            return vec![short.to_vec(), key.clone(), count.clone()];
        }
        [name, _, ..] if name == b"ZADD" => command.retain(|word| word != b"CH"),
        [name, _, first, ..] if name == b"ZREM" => {
            let first = first.clone();
            while command.len() > 3 && command.last() == Some(&first) {
                command.pop();
            }
        }
        _ => {}
    }
    command
}

fn matches(command: &[Vec<u8>], expected: &[Vec<u8>]) -> bool {
    let any = |word: &[u8]| word.starts_with(b"<") && word.ends_with(b">");
    command.len() == expected.len() && command.iter().zip(expected).all(|(argument, word)| any(word) || argument == word)
}
