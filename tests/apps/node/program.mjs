// Shared by the programs here: the server's address, and a runner for checks. The only argument of a program is the port.

import assert from 'node:assert/strict';

export const address = { host: '127.0.0.1', port: Number(process.argv[2]) };
assert(address.port > 0, `usage: node ${process.argv[1]} PORT`);

// Options for node-redis: its default deadlines, 5 s for a connection and for a command, are too short on a busy machine.
export const nodeRedisOptions = { socket: { ...address, connectTimeout: 20_000 }, commandOptions: { timeout: 0 } };

// Only reached if something is broken. Shorter than the deadline of the test, which cannot report which check hangs.
const DEADLINE_MS = 300_000;
const unfinished = new Set();
setTimeout(() => {
  console.error(`not finished after ${DEADLINE_MS} ms: ${[...unfinished].join(', ') || 'connecting or closing'}`);
  process.exit(1);
}, DEADLINE_MS).unref();

// Runs all checks, `{ name: async () => {} }`, at once, since most of them wait for timers. Reports the checks that fail or never end.
export async function run(checks) {
  Object.keys(checks).forEach((name) => unfinished.add(name));
  const failed = [];
  await Promise.all(Object.entries(checks).map(async ([name, check]) => {
    try {
      await check();
    } catch (error) {
      failed.push(name);
      console.error(`${name}: ${error.stack}`);
    }
    unfinished.delete(name);
  }));
  if (failed.length > 0) process.exit(1);
  console.log(`${Object.keys(checks).length} checks passed`);
}

// Returns true each time that the key's TTL is longer than at the last call: a client has renewed it.
export function renewals(redis, key) {
  let last = Infinity;
  return async () => {
    const ttl = await redis.pttl(key);
    const renewed = ttl > last;
    last = ttl;
    return renewed;
  };
}

// Polls until `check` returns a truthy value, and returns that. The deadline is the program's.
export async function eventually(check) {
  for (;;) {
    const found = await check();
    if (found) return found;
    await pause(5);
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
