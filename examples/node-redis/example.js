// Atomic's commands through node-redis. Run: npm install && node example.js [redis://host:port]

import { randomUUID } from 'node:crypto';
import { createClient } from 'redis';

const client = await createClient({ url: process.argv[2] ?? 'redis://localhost' }).connect();
const call = (...args) => client.sendCommand(args.map(String)); // takes strings only

// Allows 3 requests at once and one more each minute. A denial also says when to retry.
async function passes(user) {
  const [granted, _limit, _left, retryAfterMs] = await call('ATOMIC.RATELIMIT', `rate:${user}`, 'BUCKET', 3, 1, 60_000);
  if (!granted) console.log(`${user} is limited for ${retryAfterMs} ms`);
  return granted === 1;
}

// Compare-and-set: never overwrites what another client wrote after the read.
async function update(key, change) {
  for (;;) {
    const old = await client.get(key);
    if (await call('ATOMIC.CAS', key, old, change(old))) return;
  }
}

// Waits on the server, without polling. Uses its own connection, since a waiting command blocks all later ones on it.
async function locked(resource, work, leaseMs = 10_000, waitMs = 5_000) {
  const connection = await client.duplicate().connect();
  const [key, owner] = [`lock:${resource}`, randomUUID()];
  try {
    const lock = ['ATOMIC.LOCK', key, owner, `${leaseMs}`, 'WAIT', `${waitMs}`];
    const [taken, fence] = await connection.sendCommand(lock);
    if (!taken) throw new Error(`${resource} is locked`);
    await work(fence); // the fence grows with each owner, so a store can reject writes of an older one
  } finally {
    await connection.sendCommand(['ATOMIC.UNLOCK', key, owner]);
    await connection.close();
  }
}

while (await passes('ann')) console.log('ann passes');

await client.set('answer', 41);
await update('answer', (old) => Number(old) + 1);

const report = (name) => locked('report', async (fence) => console.log(`${name} has the lock, fence ${fence}`));
await Promise.all([report('ann'), report('bob')]);

// A scripted command, declared in lua/commands/inventory.lua. The module argument commands-dir names the directory.
await client.set('{book}:stock', 5);
const [reserved, left] = await call('INVENTORY.RESERVE', '{book}:stock', '{book}:orders', 2);
console.log(reserved ? 'reserved' : 'sold out', left, 'left');

// A script. Once loaded, it survives restarts.
const sha1 = await call('ATOMIC.SCRIPT', 'LOAD', "return redis.call('ZADD', KEYS[1], 'GT', 'CH', ARGV[2], ARGV[1])");
const better = await call('ATOMIC.EVALSHA', sha1, 1, 'scores', 'ann', 30);
console.log(better ? 'a new best' : 'not better');
await client.close();
