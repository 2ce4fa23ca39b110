//! Tracks which clients are in a transaction: asking the server at each command would cost more than the filter.
//!
//! The filter sees MULTI and notes its client. A note may be stale, so the server is asked about a client that has one.

use super::with_state;
use crate::server::module_api::Ctx;

/// The number of clients to note. Beyond it, the server is asked about every client.
const MAX_NOTED: usize = 1024;

/// The clients that sent MULTI.
pub struct Transactions {
    clients: Vec<u64>,
    /// There were more clients than can be noted.
    too_many: bool,
}

impl Transactions {
    pub const fn new() -> Self {
        Self { clients: Vec::new(), too_many: false }
    }

    /// Notes a client that sends MULTI.
    pub fn note(&mut self, client: u64) {
        if self.clients.contains(&client) {
            return;
        }
        if self.clients.len() < MAX_NOTED {
            self.clients.push(client);
        } else {
            self.too_many = true;
        }
    }

    /// Forgets a client that sends EXEC or is in no transaction.
    pub fn forget(&mut self, client: u64) {
        self.clients.retain(|noted| *noted != client);
    }
}

/// Starts to track clients, including those that are in a transaction already.
pub fn begin(ctx: Ctx) {
    let clients = ctx.clients_in_transactions();
    with_state(|state| {
        state.transactions.too_many = false;
        clients.into_iter().for_each(|client| state.transactions.note(client));
    });
}

/// Whether the server queues the commands of this client.
pub fn is_in(ctx: Ctx, client: u64) -> bool {
    let (noted, sure) =
        with_state(|state| (state.transactions.clients.contains(&client), !state.transactions.too_many)).unwrap_or((true, false));
    if sure && !noted {
        return false;
    }
    let is_in = ctx.is_in_multi(client);
    if noted && !is_in {
        with_state(|state| state.transactions.forget(client));
    }
    is_in
}
