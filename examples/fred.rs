//! Atomic's commands through fred. Run: `cargo run --no-default-features --example fred [redis://host:port]`

use fred::prelude::*;
use fred::types::{ClusterHash, CustomCommand};

/// Any command of the module. In a cluster its first argument says where; with `Offset(2)` it would be the third.
async fn atomic<R: FromValue>(client: &Client, name: &'static str, args: &[&str]) -> FredResult<R> {
    client.custom(CustomCommand::new_static(name, ClusterHash::FirstKey, false), args.to_vec()).await
}

/// At most 3 requests at once, one more each minute. A denial also says when to try again.
async fn passes(client: &Client, key: &str) -> FredResult<bool> {
    let reply: Vec<i64> = atomic(client, "ATOMIC.RATELIMIT", &[key, "BUCKET", "3", "1", "60000"]).await?;
    Ok(reply.first() == Some(&1)) // then the limit, what is left of it, and times
}

/// Compare-and-set: no write of others between the read and the write is lost.
async fn increment(client: &Client, key: &str) -> FredResult<()> {
    let mut written = false;
    while !written {
        let old: i64 = client.get(key).await?;
        written = atomic(client, "ATOMIC.CAS", &[key, &old.to_string(), &(old + 1).to_string()]).await?;
    }
    Ok(())
}

/// The server hands the lock over: nobody polls. Who waits needs a connection of its own, which does nothing else meanwhile.
async fn report(client: &Client, owner: &str) -> FredResult<()> {
    let client = client.clone_new();
    client.init().await?;
    // The fence grows with each owner: what is written under the lock can refuse an older one.
    let reply: Vec<i64> = atomic(&client, "ATOMIC.LOCK", &["lock:report", owner, "10000", "WAIT", "5000"]).await?;
    println!("{owner} has the lock or not, its fence, times: {reply:?}");
    atomic(&client, "ATOMIC.UNLOCK", &["lock:report", owner]).await
}

pub(crate) async fn run(url: &str) -> FredResult<()> {
    let client = Builder::from_config(Config::from_url(url)?).build()?;
    client.init().await?;
    while passes(&client, "rate:ann").await? {}
    client.set::<(), _, _>("answer", 41, None, None, false).await?;
    increment(&client, "answer").await?;
    tokio::try_join!(report(&client, "ann"), report(&client, "bob"))?;

    // A scripted command: lua/commands/inventory.lua, found through the module argument commands-dir.
    client.set::<(), _, _>("{book}:stock", 5, None, None, false).await?;
    let reply: Vec<i64> = atomic(&client, "INVENTORY.RESERVE", &["{book}:stock", "{book}:orders", "2"]).await?;
    println!("reserved or not, left, orders: {reply:?}");

    let code = "return redis.call('ZADD', KEYS[1], 'GT', 'CH', ARGV[2], ARGV[1])"; // once loaded it stays, over restarts too
    let sha1: String = atomic(&client, "ATOMIC.SCRIPT", &["LOAD", code]).await?;
    println!("a new best: {}", atomic::<bool>(&client, "ATOMIC.EVALSHA", &[&sha1, "1", "scores", "ann", "30"]).await?);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> FredResult<()> {
    run(&std::env::args().nth(1).unwrap_or_else(|| "redis://localhost".into())).await
}
