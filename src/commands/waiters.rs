//! `ATOMIC.WAITERS [COUNT n]`: lists the queues in which clients wait, the longest wait first.
//!
//! COUNT: the most queues to return, 1 to 1000, by default 10. Lists the queues of all databases of this node, as far as the user may read
//! their keys.
//! Reply: an array of maps (RESP2: flat arrays of names and values):
//!   `key`              the key
//!   `db`               its database
//!   `kind`             `lock`, `semaphore` or `due`
//!   `waiters`          the number of waiting clients
//!   `longest-wait-ms`  the ms since the owner at the head took its place
//!   `clients`          the ids of the first clients in the queue, in order, at most 10
//! Reads no key and writes nothing.
//! Errors: a syntax error; COUNT out of range; a refusal in scripts and in calls of other modules. Where modules have no ACL categories
//! (Redis 7.0), `NOPERM` for a user without permission to run `CLIENT LIST`.

use super::admin;
use super::spec::{Arg, Command, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::OwnedStr;
use crate::server::reply::{Reply, number};
use crate::waiting::report::{self, Waiting};

pub struct Waiters;

const DEFAULT_COUNT: u64 = 10;
const MAX_COUNT: i64 = 1000;

/// The most ids of one queue.
const CLIENTS: usize = 10;

impl Command for Waiters {
    const SPEC: Spec = Spec {
        name: c"atomic.waiters",
        flags: c"admin allow-stale deny-script",
        categories: c"",
        summary: c"Lists the queues in which clients wait, the longest wait first.",
        complexity: c"O(N*log(N)) with N queues",
        since: c"0.1.0",
        arity: -1,
        keys: Keys::None,
        args: &[Arg::integer(c"count").after(c"COUNT").optional()],
    };

    /// The most queues to return.
    type Request<'a> = usize;

    fn parse(mut args: Args<'_>) -> Result<usize> {
        let mut count = None;
        while let Some(option) = args.take_if_any().map(|option| option.bytes()) {
            if !is(option, "COUNT") {
                return Err(syntax(option));
            }
            fill(&mut count, args.count("COUNT", 1..=MAX_COUNT)?, option)?;
        }
        args.finish()?;
        Ok(usize::try_from(count.unwrap_or(DEFAULT_COUNT)).unwrap_or(usize::MAX))
    }

    fn run(keyspace: &Keyspace, count: usize) -> Result<Reply> {
        let ctx = keyspace.ctx();
        // Another module's call has no user, and so would see every key.
        if keyspace.flags().is_nested() || !ctx.has_connection() {
            return Err(Error::Text("ERR ATOMIC.WAITERS is not allowed in calls of modules"));
        }
        const REFUSAL: &str = "NOPERM ATOMIC.WAITERS requires permission to run 'client|list' on this server";
        admin::check(ctx, [b"CLIENT", b"LIST"], REFUSAL)?;
        let caller = ctx.user_of(ctx.client_id());
        let shows = |key: &[u8]| caller.may_read(OwnedStr::new(key).as_str());
        let queues = report::longest_waits(keyspace.now().floor_ms(), count, CLIENTS, shows)?;
        Ok(Reply::Array(queues.into_iter().map(reply).collect()))
    }
}

fn reply(queue: Waiting) -> Reply {
    Reply::Map(vec![
        ("key", Reply::Bulk(queue.key.to_vec())),
        ("db", Reply::Integer(queue.db.into())),
        ("kind", Reply::text(queue.kind.name())),
        ("waiters", Reply::Integer(number(queue.clients))),
        ("longest-wait-ms", Reply::Integer(queue.longest.reply())),
        ("clients", Reply::Array(queue.first.into_iter().map(|client| Reply::Integer(number(client))).collect())),
    ])
}
