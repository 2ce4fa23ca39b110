//! One side of a comparison as text, and its translation into protocol bytes.
//!
//! A command is a line `WORD WORD -> REPLY`. Every reply must begin with `REPLY` (spaces separate its lines; a final `...` leaves the last
//! line open), so that an error path is never measured. A line without an arrow accepts any reply but an error. Words may contain
//! placeholders: `{k}` is the key, `{a}` and `{b}` are values of 16 bytes, `{long}` is one of 1000 bytes, `{t}` is a token of 36 bytes,
//! `{now}` and `{sec}` are a clock that advances by one second per pass, `{new}` is a number that was never sent before, `{of:100}` is the
//! SHA1 of one of the first 100 numbered scripts in turn, and the name of a script stands for its SHA1.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Commands per batch.
pub const PIPELINE: usize = 64;

pub const KEYS: usize = 1024;

/// Keys of a workload whose passes are measured one by one.
pub const REFILLED_KEYS: usize = 8192;

const VALUE_A: &str = "value-aaaaaaaaaa";
const VALUE_B: &str = "value-bbbbbbbbbb";
const TOKEN: &str = "0f8fad5b-d9cd-469f-a165-70867728950e";
const LONG: usize = 1000;
const EPOCH_SECONDS: u64 = 1_700_000_000;

/// The SHA1 of every script, by name.
pub type Shas = HashMap<&'static str, String>;

type Lines = &'static [&'static str];

/// Who sends the commands, and to which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The default user.
    Module,
    /// A user that may use only the keys and channels of the benchmark, and no dangerous commands.
    RestrictedUser,
    /// A server with the peer module instead of ours.
    Peer,
}

/// One side of a comparison: operations of one or more commands on every key in turn.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    before: Lines,
    refill: Lines,
    passes: &'static [Lines],
    ours: bool,
    floor: bool,
    dropped_in: bool,
    target: Target,
    new_scripts: Option<usize>,
}

impl Workload {
    /// Takes the commands of one operation for each pass over the keys. After the last pass, the first one follows again.
    pub const fn new(passes: &'static [Lines]) -> Self {
        Self {
            before: &[],
            refill: &[],
            passes,
            ours: false,
            floor: false,
            dropped_in: false,
            target: Target::Module,
            new_scripts: None,
        }
    }

    /// Adds commands that prepare each key once; they are not measured.
    pub const fn before(self, before: Lines) -> Self {
        Self { before, ..self }
    }

    /// Adds commands that prepare each key before every pass, for operations that consume it; they are not measured.
    pub const fn refill(self, refill: Lines) -> Self {
        Self { refill, ..self }
    }

    /// The same with ATOMIC.EVALSHA instead of EVALSHA, and so on.
    pub const fn on_our_engine(self) -> Self {
        Self { ours: true, ..self }
    }

    /// The same with the commands of the floor module instead of ours.
    pub const fn on_the_floor(self) -> Self {
        Self { floor: true, ..self }
    }

    /// The same while drop-in mode is on.
    pub const fn in_drop_in_mode(self) -> Self {
        Self { dropped_in: true, ..self }
    }

    /// The same as another user or on another server.
    pub const fn sent_to(self, target: Target) -> Self {
        Self { target, ..self }
    }

    /// Every operation brings a new script. This many are measured, without a warm-up, from empty stores of scripts on.
    pub const fn fills_scripts(self, count: usize) -> Self {
        Self { new_scripts: Some(count), ..self }
    }

    pub fn is_in_drop_in_mode(&self) -> bool {
        self.dropped_in
    }

    pub fn target(&self) -> Target {
        self.target
    }

    /// How many new scripts its operations bring.
    pub fn new_scripts(&self) -> Option<usize> {
        self.new_scripts
    }

    /// The number of keys. Passes that are measured one by one have more keys, so that a pass is long compared with the clock's resolution.
    pub fn keys(&self) -> usize {
        if self.refills() { REFILLED_KEYS } else { KEYS }
    }

    /// Whether every pass needs its own preparation, so that passes are measured one by one.
    pub fn refills(&self) -> bool {
        !self.refill.is_empty()
    }

    /// The number of passes after which it repeats.
    pub fn cycle(&self) -> usize {
        self.passes.len()
    }

    pub fn preparation(&self, keys: Range<usize>, shas: &Shas) -> Result<Stream, String> {
        self.stream(&[self.before], 0..1, keys, shas)
    }

    /// The preparation before each measured pass.
    pub fn refilling(&self, keys: Range<usize>, shas: &Shas) -> Result<Stream, String> {
        self.stream(&[self.refill], 0..1, keys, shas)
    }

    /// The measured commands of these passes.
    pub fn operations(&self, passes: Range<usize>, keys: Range<usize>, shas: &Shas) -> Result<Stream, String> {
        self.stream(self.passes, passes, keys, shas)
    }

    fn stream(&self, texts: &[Lines], passes: Range<usize>, keys: Range<usize>, shas: &Shas) -> Result<Stream, String> {
        let mut stream = Stream::default();
        let mut cycle = Vec::new();
        for text in texts {
            let mut operation = Vec::new();
            for line in text.iter() {
                let (command, reply) = self.parse(line, shas)?;
                stream.replies.push(reply);
                operation.push((command, stream.replies.len() - 1));
            }
            cycle.push(operation);
        }
        for pass in passes {
            for key in keys.clone() {
                for (command, reply) in &cycle[pass % cycle.len()] {
                    command.encode(key, pass, &mut stream.bytes);
                    stream.expected.push(*reply);
                    if stream.expected.len().is_multiple_of(PIPELINE) {
                        stream.ends.push(stream.bytes.len());
                    }
                }
            }
        }
        if !stream.expected.len().is_multiple_of(PIPELINE) {
            stream.ends.push(stream.bytes.len());
        }
        Ok(stream)
    }

    fn parse(&self, line: &str, shas: &Shas) -> Result<(Template, Vec<u8>), String> {
        let (command, reply) = line.split_once(" -> ").unwrap_or((line, ""));
        let words = command.split(' ').map(|word| match word {
            "EVAL" if self.ours => Ok(vec![Piece::Text("ATOMIC.EVAL".to_owned())]),
            "FCALL" if self.ours => Ok(vec![Piece::Text("ATOMIC.FCALL".to_owned())]),
            "EVALSHA" if self.ours => Ok(vec![Piece::Text("ATOMIC.EVALSHA".to_owned())]),
            word => match word.strip_prefix("ATOMIC.").filter(|_| self.floor) {
                Some(name) => Ok(vec![Piece::Text(format!("FLOOR.{name}"))]),
                None => pieces(word, shas),
            },
        });
        Ok((Template(words.collect::<Result<_, _>>()?), beginning(reply)))
    }
}

/// Encodes `*2 :1 $1...`.
fn beginning(reply: &str) -> Vec<u8> {
    match reply.strip_suffix("...") {
        _ if reply.is_empty() => Vec::new(),
        Some(open) => open.replace(' ', "\r\n").into_bytes(),
        None => format!("{}\r\n", reply.replace(' ', "\r\n")).into_bytes(),
    }
}

/// The next number for `{new}`.
static NEW: AtomicUsize = AtomicUsize::new(0);

enum Piece {
    Text(String),
    Key,
    Millis,
    Seconds,
    New,
    /// One of this many numbered scripts.
    Numbered(usize),
}

fn pieces(mut word: &str, shas: &Shas) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    while let Some((text, rest)) = word.split_once('{') {
        let (name, rest) = rest.split_once('}').ok_or_else(|| format!("no closing brace in {word:?}"))?;
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        pieces.push(match name {
            "k" => Piece::Key,
            "now" => Piece::Millis,
            "sec" => Piece::Seconds,
            "new" => Piece::New,
            "a" => Piece::Text(VALUE_A.to_owned()),
            "b" => Piece::Text(VALUE_B.to_owned()),
            "t" => Piece::Text(TOKEN.to_owned()),
            "long" => Piece::Text("x".repeat(LONG)),
            name if name.starts_with("of:") => {
                let count = name.trim_start_matches("of:").parse().ok().filter(|&count: &usize| count > 0);
                Piece::Numbered(count.ok_or_else(|| format!("not a number of scripts: {name:?}"))?)
            }
            script => Piece::Text(shas.get(script).ok_or_else(|| format!("no script is called {script:?}"))?.clone()),
        });
        word = rest;
    }
    if !word.is_empty() {
        pieces.push(Piece::Text(word.to_owned()));
    }
    Ok(pieces)
}

/// The source of a script that differs from all others of this kind.
pub fn numbered_script(number: usize) -> String {
    format!("return {number:06}")
}

fn sha1(text: &str) -> String {
    use sha1::{Digest as _, Sha1};
    Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One command with its placeholders.
struct Template(Vec<Vec<Piece>>);

impl Template {
    fn encode(&self, key: usize, pass: usize, bytes: &mut Vec<u8>) {
        let seconds = EPOCH_SECONDS + u64::try_from(pass).expect("a pass number fits into 64 bits");
        bytes.extend_from_slice(format!("*{}\r\n", self.0.len()).as_bytes());
        let mut word = String::new();
        for pieces in &self.0 {
            word.clear();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => word.push_str(text),
                    Piece::Key => word.push_str(&format!("bench:{key:06}")),
                    Piece::Millis => word.push_str(&format!("{seconds}000")),
                    Piece::New => word.push_str(&format!("{:09}", NEW.fetch_add(1, Ordering::Relaxed))),
                    Piece::Numbered(count) => word.push_str(&sha1(&numbered_script((pass * KEYS + key) % count))),
                    Piece::Seconds => word.push_str(&format!("{seconds}.25")),
                }
            }
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
    }
}

/// Encoded commands for one connection, in batches, with the expected replies.
#[derive(Default)]
pub struct Stream {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    expected: Vec<usize>,
    replies: Vec<Vec<u8>>,
}

impl Stream {
    pub fn batches(&self) -> usize {
        self.ends.len()
    }

    pub fn batch(&self, number: usize) -> &[u8] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.bytes[start..self.ends[number]]
    }

    /// The beginning that each reply of one batch must have. An empty one accepts anything but an error.
    pub fn replies(&self, number: usize) -> impl Iterator<Item = &[u8]> {
        let end = self.expected.len().min((number + 1) * PIPELINE);
        self.expected[number * PIPELINE..end].iter().map(|reply| self.replies[*reply].as_slice())
    }
}
