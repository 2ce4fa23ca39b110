//! Atomic's commands through fred. Run: `cargo run --no-default-features --example fred [redis://host:port]`

use fred::prelude::*;
use fred::types::{ClusterHash, CustomCommand};

/// Runs any command of the module. In a cluster its first argument selects the node; with `Offset(2)` the third one would.
async fn atomic<R: FromValue>(client: &Client, name: &'static str, args: &[&str]) -> FredResult<R> {
    client.custom(CustomCommand::new_static(name, ClusterHash::FirstKey, false), args.to_vec()).await
}

/// Allows 3 requests at once and one more each minute. A denial also says when to retry.
async fn passes(client: &Client, key: &str) -> FredResult<bool> {
    let reply: Vec<i64> = atomic(client, "ATOMIC.RATELIMIT", &[key, "BUCKET", "3", "1", "60000"]).await?;
    Ok(reply.first() == Some(&1)) // followed by the limit, the remaining units, and times
}

/// Compare-and-set: never overwrites what another client wrote after the read.
async fn increment(client: &Client, key: &str) -> FredResult<()> {
    let mut written = false;
    while !written {
        let old: i64 = client.get(key).await?;
        written = atomic(client, "ATOMIC.CAS", &[key, &old.to_string(), &(old + 1).to_string()]).await?;
    }
    Ok(())
}

/// Waits on the server, without polling. A waiting command needs its own connection: it blocks all later commands on it.
async fn report(client: &Client, owner: &str) -> FredResult<()> {
    let client = client.clone_new();
    client.init().await?;
    // The fence grows with each owner, so a store can reject writes of an older one.
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

    // A scripted command, declared in lua/commands/inventory.lua. The module argument commands-dir names the directory.
    client.set::<(), _, _>("{book}:stock", 5, None, None, false).await?;
    let reply: Vec<i64> = atomic(&client, "INVENTORY.RESERVE", &["{book}:stock", "{book}:orders", "2"]).await?;
    println!("reserved or not, left, orders: {reply:?}");

    let code = "return redis.call('ZADD', KEYS[1], 'GT', 'CH', ARGV[2], ARGV[1])"; // once loaded, it survives restarts
    let sha1: String = atomic(&client, "ATOMIC.SCRIPT", &["LOAD", code]).await?;
    println!("a new best: {}", atomic::<bool>(&client, "ATOMIC.EVALSHA", &[&sha1, "1", "scores", "ann", "30"]).await?);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> FredResult<()> {
    run(&std::env::args().nth(1).unwrap_or_else(|| "redis://localhost".into())).await
}
