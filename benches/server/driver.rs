//! The client: a few connections, each with a batch in flight. Every reply is checked.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

use super::workload::Stream;

/// How many connections share the work. While the client checks one batch, the server works on the others.
pub const CONNECTIONS: usize = 4;

/// The longest wait for the server to read or reply.
const DEADLINE: Duration = Duration::from_secs(60);

pub struct Driver(Vec<Connection>);

impl Driver {
    /// Connects to a server on this machine.
    pub fn connect(port: u16) -> Result<Self, String> {
        (0..CONNECTIONS).map(|_| Connection::open(port)).collect::<Result<_, _>>().map(Self)
    }

    /// Connects once: the server reads a batch only after the client has read all replies to the one before.
    pub fn alone(port: u16) -> Result<Self, String> {
        Connection::open(port).map(|connection| Self(vec![connection]))
    }

    /// Makes this user of the server that of all connections.
    pub fn log_in(&mut self, user: &str, password: &str) -> Result<(), String> {
        for connection in &mut self.0 {
            connection.send(&encode(&["AUTH", user, password]))?;
            let reply = connection.reply()?;
            if reply != b"+OK\r\n" {
                return Err(format!("AUTH {user}: {}", reply.escape_ascii()));
            }
        }
        Ok(())
    }

    /// Runs one stream per connection to its end.
    pub fn run(&mut self, streams: &[Stream]) -> Result<(), String> {
        let batches = streams.iter().map(Stream::batches).max().unwrap_or(0);
        // One turn more than there are batches: the last turn only reads.
        for batch in 0..=batches {
            for (connection, stream) in self.0.iter_mut().zip(streams) {
                if batch > 0 && batch <= stream.batches() {
                    connection.check(stream, batch - 1)?;
                }
                if batch < stream.batches() {
                    connection.send(stream.batch(batch))?;
                }
            }
        }
        Ok(())
    }

    /// Runs one command and returns the bytes of its reply. An error reply is an error.
    pub fn call(&mut self, words: &[&str]) -> Result<Vec<u8>, String> {
        let connection = self.0.first_mut().ok_or("no connection")?;
        connection.send(&encode(words))?;
        let reply = connection.reply()?.to_vec();
        if reply.starts_with(b"-") { Err(format!("{words:?}: {}", reply.escape_ascii())) } else { Ok(reply) }
    }

    /// [`Driver::call`] for a bulk reply, as text.
    pub fn text(&mut self, words: &[&str]) -> Result<String, String> {
        let reply = self.call(words)?;
        let text = String::from_utf8_lossy(&reply);
        let (_, body) = text.split_once("\r\n").ok_or_else(|| format!("{words:?}: an incomplete reply"))?;
        Ok(body.trim_end_matches("\r\n").to_owned())
    }
}

/// Encodes one command.
pub fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| bytes.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    bytes.into_bytes()
}

/// A connection and its unread input.
pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    read: usize,
}

impl Connection {
    /// Connects to a server on this machine.
    pub fn open(port: u16) -> Result<Self, String> {
        let open = || {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.set_write_timeout(Some(DEADLINE))?;
            Ok(Self { stream, input: Vec::new(), read: 0 })
        };
        open().map_err(|error: std::io::Error| format!("the server does not accept a connection: {error}"))
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("the server does not take commands: {error}"))
    }

    fn check(&mut self, stream: &Stream, batch: usize) -> Result<(), String> {
        for (position, expected) in stream.replies(batch).enumerate() {
            let reply = self.reply()?;
            let right = if expected.is_empty() { !reply.starts_with(b"-") } else { reply.starts_with(expected) };
            if !right {
                let (reply, expected) = (reply.escape_ascii().to_string(), expected.escape_ascii());
                let batch = stream.batch(batch).escape_ascii();
                return Err(format!("reply {position} is {reply}, expected {expected}..., in the batch {batch}"));
            }
        }
        Ok(())
    }

    /// The next complete reply. The connection must not be one that polls.
    pub fn reply(&mut self) -> Result<&[u8], String> {
        self.poll()?.map(|reply| &self.input[reply]).ok_or_else(|| "the server does not reply".to_owned())
    }

    /// From now on [`Connection::poll`] returns at once if no reply is there.
    pub fn start_polling(&mut self) -> Result<(), String> {
        self.stream.set_nonblocking(true).map_err(|error| error.to_string())
    }

    /// The next complete reply, as a range of the input; `None` if there is none yet.
    pub fn poll(&mut self) -> Result<Option<Range<usize>>, String> {
        loop {
            let waiting = &self.input[self.read..];
            if let Some(length) = length(waiting)? {
                self.read += length;
                return Ok(Some(self.read - length..self.read));
            }
            self.input.drain(..self.read);
            self.read = 0;
            let mut chunk = [0; 1 << 16];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(format!("the server does not reply: {error}")),
            }
        }
    }

    /// A reply that [`Connection::poll`] has found.
    pub fn input(&self, reply: Range<usize>) -> &[u8] {
        &self.input[reply]
    }
}

/// The length of the first reply in `bytes`; `None` if it is incomplete.
fn length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let header = end + 1;
    let number = || {
        let digits = std::str::from_utf8(&bytes[1..end]).unwrap_or_default().trim_end();
        digits.parse::<i64>().map_err(|_| format!("not a reply: {}", bytes[..header].escape_ascii()))
    };
    match bytes[0] {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Ok(Some(header)),
        b'$' => {
            let total = usize::try_from(number()?).map_or(header, |body| header + body + 2);
            Ok((bytes.len() >= total).then_some(total))
        }
        b'*' => {
            let mut total = header;
            for _ in 0..number()? {
                match length(&bytes[total..])? {
                    Some(element) => total += element,
                    None => return Ok(None),
                }
            }
            Ok(Some(total))
        }
        _ => Err(format!("not a reply: {}", bytes[..header].escape_ascii())),
    }
}
