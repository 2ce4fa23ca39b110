//! Which clients are in a transaction: asking the server for each command would cost more than the filter does.
//!
//! The filter sees MULTI, and notes its client. A note may be old, so the server is asked about a client that has one.

use super::with;
use crate::server::module_api::Ctx;

/// This many clients are noted. Beyond it the server is asked about each.
const MOST: usize = 1024;

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

    /// MULTI of this client is on its way.
    pub fn note(&mut self, client: u64) {
        if self.clients.contains(&client) {
            return;
        }
        if self.clients.len() < MOST {
            self.clients.push(client);
        } else {
            self.too_many = true;
        }
    }

    /// EXEC of this client is on its way, or it is in no transaction.
    pub fn forget(&mut self, client: u64) {
        self.clients.retain(|noted| *noted != client);
    }
}

/// From now on MULTI is seen. The server is asked which clients are in a transaction by now.
pub fn begin(ctx: Ctx) {
    let clients = ctx.clients_in_transactions();
    with(|state| {
        state.transactions.too_many = false;
        clients.into_iter().for_each(|client| state.transactions.note(client));
    });
}

/// Whether the server queues what this client sends.
pub fn is_in(ctx: Ctx, client: u64) -> bool {
    let (noted, sure) =
        with(|state| (state.transactions.clients.contains(&client), !state.transactions.too_many)).unwrap_or((true, false));
    if sure && !noted {
        return false;
    }
    let is_in = ctx.is_in_multi(client);
    if noted && !is_in {
        with(|state| state.transactions.forget(client));
    }
    is_in
}
