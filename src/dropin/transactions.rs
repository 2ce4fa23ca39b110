//! Which clients are in a transaction: asking the server for each command would cost more than the filter does.
//!
//! The filter sees MULTI, and notes its client. What is noted may be old; so the server is asked about a client that is.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::server::command_filter::Filtered;
use crate::server::module_api::Ctx;
use crate::server::thread::ServerThread;

/// So many clients are noted. Beyond it the server is asked about each.
const MOST: usize = 1024;

/// Whether somebody is in [`CLIENTS`].
static ANY: AtomicBool = AtomicBool::new(false);

/// Set when there were more clients than can be noted.
static TOO_MANY: AtomicBool = AtomicBool::new(false);

static CLIENTS: ServerThread<Vec<u64>> = ServerThread::new(Vec::new());

/// From now on MULTI is seen. Who is in a transaction by now is asked.
pub fn begin(ctx: Ctx) {
    TOO_MANY.store(false, Ordering::Relaxed);
    ctx.clients_in_transactions().into_iter().for_each(note);
}

/// MULTI is on its way.
pub fn multi(command: &Filtered) {
    if let Some(client) = command.client() {
        note(client);
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

fn note(client: u64) {
    let Some(mut clients) = CLIENTS.try_borrow_mut() else { return TOO_MANY.store(true, Ordering::Relaxed) };
    if clients.contains(&client) {
        return;
    }
    if clients.len() < MOST {
        clients.push(client);
    } else {
        TOO_MANY.store(true, Ordering::Relaxed);
    }
    ANY.store(true, Ordering::Relaxed);
}

fn forget(client: u64) {
    if let Some(mut clients) = CLIENTS.try_borrow_mut() {
        clients.retain(|noted| *noted != client);
        ANY.store(!clients.is_empty(), Ordering::Relaxed);
    }
}
