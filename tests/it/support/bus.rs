//! A connection to the bus of a node on which the test speaks for another node of the cluster.

use std::io::Write as _;
use std::net::TcpStream;

use super::Server;
use super::cluster::{id, setting};

/// Where the data of a message begin.
const HEAD: usize = 2256;

/// The server's type of messages between modules.
const MODULE: u16 = 9;

pub struct Bus {
    stream: TcpStream,
    sender: String,
}

impl Bus {
    /// Speaks to `node` for `sender`.
    #[track_caller]
    pub fn open(node: &Server, sender: &Server) -> Self {
        let port: u16 = setting(node, "cluster-port").parse().unwrap();
        Self { stream: TcpStream::connect(("127.0.0.1", port)).unwrap(), sender: id(sender) }
    }

    /// Sends a message of a module.
    #[track_caller]
    pub fn send(&mut self, module: u64, kind: u8, payload: &[u8]) {
        let mut head = vec![0; HEAD];
        let total = HEAD + 13 + payload.len();
        head[..4].copy_from_slice(b"RCmb");
        head[4..8].copy_from_slice(&u32::try_from(total).unwrap().to_be_bytes());
        head[8..10].copy_from_slice(&1_u16.to_be_bytes());
        head[12..14].copy_from_slice(&MODULE.to_be_bytes());
        head[40..80].copy_from_slice(self.sender.as_bytes());
        head.extend_from_slice(&module.to_ne_bytes());
        head.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        head.push(kind);
        head.extend_from_slice(payload);
        self.stream.write_all(&head).unwrap();
    }
}
