//! A real second server that replicates from the server under test, with or without the module: it proves that a write reaches a
//! replica as plain commands that any server can apply.

use super::{Server, Setup, eventually};

/// A replica of a running server, of the same version.
pub struct RealReplica<'a> {
    primary: &'a Server,
    /// The replica itself; its own connection shows what it really holds.
    pub server: Server,
}

impl<'a> RealReplica<'a> {
    /// A replica without the module. Returns when it is in sync.
    #[track_caller]
    pub fn without_module(primary: &'a Server) -> Self {
        Self::start(primary, &Setup::without_module())
    }

    /// A replica with the module loaded. Returns when it is in sync.
    #[track_caller]
    pub fn with_module(primary: &'a Server) -> Self {
        Self::start(primary, &Setup::with_module())
    }

    /// A replica with this configuration. Returns when it is in sync.
    #[track_caller]
    pub fn with(primary: &'a Server, setup: &Setup) -> Self {
        Self::start(primary, setup)
    }

    /// A replica that aborts when it cannot apply a command, so that no wrong stream goes unnoticed.
    #[track_caller]
    fn start(primary: &'a Server, setup: &Setup) -> Self {
        let setup = setup.clone().config("propagation-error-behavior panic");
        let server = Server::start(&primary.binary, &setup);
        server.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        let replica = Self { primary, server };
        replica.await_sync();
        replica
    }

    /// Waits until the replica has applied everything that the primary has sent.
    #[track_caller]
    pub fn await_sync(&self) {
        // The link must be up first: before that, both offsets can be 0.
        eventually("the replica's link is up", || (self.server.info("master_link_status") == "up").then_some(()));
        let sent: u64 = self.primary.info("master_repl_offset").parse().unwrap();
        eventually("the replica has applied everything", || {
            (self.server.info("slave_repl_offset").parse::<u64>().unwrap() >= sent).then_some(())
        });
    }

    /// Waits for the replica, then asserts that both hold the same values, and every key the same deadline.
    #[track_caller]
    pub fn expect_same_data(&self) {
        self.await_sync();
        let keys = |server: &Server| {
            let mut keys: Vec<Vec<u8>> = server.run("KEYS *").array().iter().map(|key| key.bytes().to_vec()).collect();
            keys.sort();
            keys
        };
        let expected = keys(self.primary);
        assert_eq!(keys(&self.server), expected, "the replica holds other keys");
        for key in &expected {
            for question in [&b"PEXPIRETIME"[..], b"TYPE", b"DUMP"] {
                let (ours, theirs) = (self.primary.call(&[question, key]), self.server.call(&[question, key]));
                let question = String::from_utf8_lossy(question);
                assert_eq!(theirs, ours, "{question} of {} on the replica", super::line::quoted(key));
            }
        }
        assert_eq!(self.server.run("DEBUG DIGEST"), self.primary.run("DEBUG DIGEST"), "digest of the replica");
    }
}
