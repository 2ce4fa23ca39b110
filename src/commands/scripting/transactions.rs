//! Which clients are in a transaction: asking the server for each command would cost more than the filter does.
//!
//! The filter sees MULTI, and notes its client. What is noted may be old; so the server is asked about a client that is.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::keyspace::command_filter::Filtered;
use crate::keyspace::module_api::Ctx;
use crate::keyspace::server_thread::ServerThread;

/// So many clients are noted. When more are in transactions at a time, the server is asked about each, until drop-in mode is switched on anew.
const MOST: usize = 1024;

/// Whether somebody is in [`CLIENTS`].
static ANY: AtomicBool = AtomicBool::new(false);

/// Set when more clients were in transactions than can be noted.
static TOO_MANY: AtomicBool = AtomicBool::new(false);

static CLIENTS: ServerThread<Vec<u64>> = ServerThread::new(Vec::new());

/// From now on MULTI is seen. Who is in a transaction by now is asked.
pub fn begin(ctx: Ctx) {
    TOO_MANY.store(false, Ordering::Relaxed);
    ctx.clients_in_transactions().into_iter().for_each(|client| note(ctx, client));
}

/// MULTI is on its way.
pub fn multi(command: &Filtered) {
    if let Some(client) = command.client() {
        note(command.ctx(), client);
    }
}

/// EXEC is on its way.
pub fn end(command: &Filtered) {
    if let Some(client) = command.client().filter(|_| ANY.load(Ordering::Relaxed)) {
        forget(client);
    }
}

/// Whether what this client sends is queued.
pub fn is_in(ctx: Ctx, client: u64) -> bool {
    if TOO_MANY.load(Ordering::Relaxed) {
        return ctx.is_in_multi(client);
    }
    if !ANY.load(Ordering::Relaxed) || !CLIENTS.try_borrow_mut().is_none_or(|clients| clients.contains(&client)) {
        return false;
    }
    let is_in = ctx.is_in_multi(client);
    if !is_in {
        forget(client);
    }
    is_in
}

fn note(ctx: Ctx, client: u64) {
    let full = |clients: &Vec<u64>| clients.len() >= MOST;
    if CLIENTS.try_borrow_mut().is_some_and(|clients| full(&clients)) && !TOO_MANY.load(Ordering::Relaxed) {
        // Clients that discarded their transaction, or are gone, are still noted.
        let in_transactions = ctx.clients_in_transactions();
        if let Some(mut clients) = CLIENTS.try_borrow_mut() {
            clients.retain(|noted| in_transactions.contains(noted));
        }
    }
    let Some(mut clients) = CLIENTS.try_borrow_mut() else { return TOO_MANY.store(true, Ordering::Relaxed) };
    if full(&clients) {
        TOO_MANY.store(true, Ordering::Relaxed);
    } else if !clients.contains(&client) {
        clients.push(client);
    }
    ANY.store(true, Ordering::Relaxed);
}

fn forget(client: u64) {
    if let Some(mut clients) = CLIENTS.try_borrow_mut() {
        clients.retain(|noted| *noted != client);
        ANY.store(!clients.is_empty(), Ordering::Relaxed);
    }
}
