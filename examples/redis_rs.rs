//! Atomic's commands through redis-rs. Run: `cargo run --no-default-features --example redis_rs [redis://host:port]`

use redis::{Client, Commands, Connection, RedisResult, cmd};

/// Allows 3 requests at once and one more each minute. A denial also says when to retry.
fn passes(connection: &mut Connection, key: &str) -> RedisResult<bool> {
    let reply: Vec<i64> = cmd("ATOMIC.RATELIMIT").arg(key).arg("BUCKET").arg(&[3, 1, 60_000]).query(connection)?;
    Ok(reply.first() == Some(&1)) // followed by the limit, the remaining units, and times
}

/// Compare-and-set: never overwrites what another client wrote after the read.
fn increment(connection: &mut Connection, key: &str) -> RedisResult<()> {
    let mut written = false;
    while !written {
        let old: i64 = connection.get(key)?;
        written = cmd("ATOMIC.CAS").arg(key).arg(old).arg(old + 1).query(connection)?;
    }
    Ok(())
}

/// Waits on the server, without polling. The connection's read timeout must be longer than the wait.
fn report(client: &Client, owner: &str) -> RedisResult<()> {
    let mut connection = client.get_connection()?;
    let mut lock = cmd("ATOMIC.LOCK");
    lock.arg("lock:report").arg(owner).arg(10_000).arg("WAIT").arg(5_000);
    // The fence grows with each owner, so a store can reject writes of an older one.
    let (taken, fence, _ttl_ms, _holds, _waiters): (bool, u64, i64, i64, i64) = lock.query(&mut connection)?;
    println!("{owner} has the lock: {taken}, fence: {fence}");
    cmd("ATOMIC.UNLOCK").arg("lock:report").arg(owner).exec(&mut connection)
}

pub(crate) fn run(url: &str) -> RedisResult<()> {
    let client = Client::open(url)?;
    let mut connection = client.get_connection()?;
    while passes(&mut connection, "rate:ann")? {}
    let () = connection.set("answer", 41)?;
    increment(&mut connection, "answer")?;
    std::thread::scope(|scope| {
        scope.spawn(|| report(&client, "bob"));
        report(&client, "ann")
    })?;

    // A scripted command, declared in lua/commands/inventory.lua. The module argument commands-dir names the directory.
    let keys = ["{book}:stock", "{book}:orders"];
    let () = connection.set(keys[0], 5)?;
    let (reserved, left, _orders): (bool, i64, i64) = cmd("INVENTORY.RESERVE").arg(&keys).arg(2).query(&mut connection)?;
    println!("reserved: {reserved}, left: {left}");

    // A script. Once loaded, it survives restarts.
    let code = "return redis.call('ZADD', KEYS[1], 'GT', 'CH', ARGV[2], ARGV[1])";
    let sha1: String = cmd("ATOMIC.SCRIPT").arg("LOAD").arg(code).query(&mut connection)?;
    let better: bool = cmd("ATOMIC.EVALSHA").arg(sha1).arg(1).arg("scores").arg("ann").arg(30).query(&mut connection)?;
    println!("a new best: {better}");
    Ok(())
}

fn main() -> RedisResult<()> {
    run(&std::env::args().nth(1).unwrap_or_else(|| "redis://localhost".into()))
}
