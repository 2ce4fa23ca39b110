//! A network that loses a reply, and a client that then sends its command again, as client libraries do by default.
//!
//! [`Lossy`] is a proxy in front of a server. Told to, it keeps the reply of a command that the server has run. [`Resender`] is the client:
//! where another one would wait for its timeout, it waits until the reply is lost, so that no test depends on a time.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Connection, Server, Value, argv, eventually};

/// How a reply is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The network closes the connection on both sides.
    Closed,
    /// Nothing comes. The client closes its connection after its timeout and opens another one, as redis-py does.
    Abandoned,
    /// Nothing comes. The client opens another connection and the first one lives on, as in a pool or with a half-open peer.
    Kept,
}

impl Loss {
    pub const ALL: [Self; 3] = [Self::Closed, Self::Abandoned, Self::Kept];
}

#[derive(Default)]
struct State {
    /// The replies that are still to pass before one is lost that way.
    armed: Option<(usize, Loss)>,
    /// The reply that was lost.
    lost: Option<Value>,
    /// How the first reply to each request of the module is lost.
    first: Option<Loss>,
    /// The requests of the module so far.
    seen: HashSet<Vec<u8>>,
    /// The proxy accepts no further connection.
    over: bool,
}

/// A proxy on a port of this machine.
pub struct Lossy {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Lossy {
    /// Starts a proxy in front of `server`, which passes everything.
    pub fn start(server: &Server) -> Self {
        let (behind, state) = (server.port(), Arc::<Mutex<State>>::default());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), state: Arc::clone(&state) };
        thread::spawn(move || {
            for client in listener.incoming() {
                if locked(&state).over {
                    return;
                }
                if let (Ok(client), Ok(server)) = (client, Connection::open(behind)) {
                    connect(client, server, Arc::clone(&state));
                }
            }
        });
        proxy
    }

    /// Loses the reply that follows `passed` others. Replies count over all connections.
    pub fn lose_after(&self, passed: usize, loss: Loss) {
        let mut state = locked(&self.state);
        state.lost = None;
        state.armed = Some((passed, loss));
    }

    /// Loses the first reply to each request of the module: a program gets an answer to what it sends twice.
    pub fn lose_first_replies(&self, loss: Loss) {
        locked(&self.state).first = Some(loss);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The reply that was lost, if one was.
    pub fn lost(&self) -> Option<Value> {
        locked(&self.state).lost.clone()
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        locked(&self.state).over = true;
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries bytes to the server and replies back until either side closes. Either end closes the other.
fn connect(client: TcpStream, mut server: Connection, state: Arc<Mutex<State>>) {
    client.set_nodelay(true).unwrap();
    let (mut requests, mut replies) = (client.try_clone().unwrap(), client);
    let (mut up, down) = (server.socket(), server.socket());
    // Whether the next reply of this connection is the first one to its request.
    let is_first = Arc::new(AtomicBool::new(false));
    let (of_requests, of_replies) = ((Arc::clone(&state), Arc::clone(&is_first)), (state, is_first));
    thread::spawn(move || {
        let (state, is_first) = of_requests;
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = requests.read(&mut bytes) {
            if is_new(&mut locked(&state), &bytes[..count]) {
                is_first.store(true, Ordering::SeqCst);
            }
            if up.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = up.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let (state, is_first) = of_replies;
        let mut null = "$-1";
        while let Ok(reply) = server.read() {
            // The reply to HELLO 3.
            if matches!(reply, Value::Map(_)) {
                null = "_";
            }
            let first = locked(&state).first.filter(|_| is_first.swap(false, Ordering::SeqCst));
            match first.or_else(|| loses(&mut locked(&state), &reply)) {
                Some(Loss::Closed) => break,
                Some(Loss::Abandoned | Loss::Kept) => {}
                None => {
                    let mut bytes = Vec::new();
                    reply.encode(null, &mut bytes);
                    if replies.write_all(&bytes).is_err() {
                        break;
                    }
                }
            }
        }
        let _ = replies.shutdown(Shutdown::Both);
        let _ = down.shutdown(Shutdown::Both);
    });
}

/// Whether the proxy sees this request of the module for the first time. A program sends one request at a time.
fn is_new(state: &mut State, request: &[u8]) -> bool {
    const PREFIX: &[u8] = b"ATOMIC.";
    request.windows(PREFIX.len()).any(|bytes| bytes == PREFIX) && state.seen.insert(request.to_vec())
}

/// Whether and how this reply is lost.
fn loses(state: &mut State, reply: &Value) -> Option<Loss> {
    let (passed, loss) = state.armed.take()?;
    if let Some(left) = passed.checked_sub(1) {
        state.armed = Some((left, loss));
        return None;
    }
    state.lost = Some(reply.clone());
    Some(loss)
}

/// A client behind the proxy, with one connection at a time.
pub struct Resender<'a> {
    proxy: &'a Lossy,
    connection: Connection,
    /// The server's id of the connection.
    id: i64,
    /// The connection before, which the client gave up but did not close.
    kept: Option<(Connection, i64)>,
}

impl<'a> Resender<'a> {
    pub fn connect(proxy: &'a Lossy) -> Self {
        let (connection, id) = open(proxy);
        Self { proxy, connection, id, kept: None }
    }

    /// Sends a command without reading its reply.
    pub fn send(&mut self, command: &str) {
        self.connection.send(&argv(command)).unwrap();
    }

    /// Runs a command whose reply passes.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> Value {
        self.connection.run(command)
    }

    /// Reads the reply of a command that was sent before.
    #[track_caller]
    pub fn read(&mut self) -> Value {
        self.connection.read().unwrap()
    }

    /// Sends a command and loses its reply. Returns the reply, which the client does not see. `meanwhile` runs while the client waits.
    #[track_caller]
    pub fn lose(&mut self, command: &str, loss: Loss, meanwhile: impl FnOnce()) -> Value {
        self.proxy.lose_after(0, loss);
        self.send(command);
        meanwhile();
        let lost = eventually("the reply is lost", || self.proxy.lost());
        assert!(loss == Loss::Closed || !self.connection.has_input(Duration::from_millis(1)), "{command}: the lost reply came");
        lost
    }

    /// Opens another connection after a loss. If the old one was closed, the server has noticed.
    #[track_caller]
    pub fn reconnect(&mut self, loss: Loss, server: &Server) {
        let (connection, id) = open(self.proxy);
        let (old, old_id) = (std::mem::replace(&mut self.connection, connection), std::mem::replace(&mut self.id, id));
        if loss == Loss::Kept {
            self.kept = Some((old, old_id));
            return;
        }
        drop(old);
        await_end(server, old_id);
    }

    /// The connection that the client gave up but did not close.
    #[track_caller]
    pub fn kept(&mut self) -> &mut Connection {
        &mut self.kept.as_mut().expect("a connection that was kept").0
    }

    /// Closes that connection. Returns when the server has noticed.
    #[track_caller]
    pub fn close_kept(&mut self, server: &Server) {
        let (connection, id) = self.kept.take().expect("a connection that was kept");
        drop(connection);
        await_end(server, id);
    }
}

#[track_caller]
fn await_end(server: &Server, id: i64) {
    let listed = || server.run(&format!("CLIENT LIST ID {id}")).text();
    eventually("the server has noticed the end of the connection", || listed().trim().is_empty().then_some(()));
}

fn open(proxy: &Lossy) -> (Connection, i64) {
    let mut connection = Connection::open(proxy.port).unwrap();
    let id = connection.run("CLIENT ID").integer();
    (connection, id)
}
