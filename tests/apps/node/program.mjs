// What the programs here share: where the server is, and how checks run. A program is started with the port as its only argument.

import assert from 'node:assert/strict';

export const address = { host: '127.0.0.1', port: Number(process.argv[2]) };
assert(address.port > 0, `usage: node ${process.argv[1]} PORT`);

// What node-redis is made with: its own deadlines, 5 s for a connection and for a command, are too short on a busy machine.
export const nodeRedisOptions = { socket: { ...address, connectTimeout: 20_000 }, commandOptions: { timeout: 0 } };

// Only matters when something is broken. Shorter than the deadline of the test, which cannot say what hangs.
const DEADLINE_MS = 300_000;
const unfinished = new Set();
setTimeout(() => {
  console.error(`not finished after ${DEADLINE_MS} ms: ${[...unfinished].join(', ') || 'connecting or closing'}`);
  process.exit(1);
}, DEADLINE_MS).unref();

// Runs all checks, `{ name: async () => {} }`, at once, since most of them wait for timers. Says what failed or never ended.
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

// Answers true each time that the key has more time to live than when asked before: somebody has renewed it.
export function renewals(redis, key) {
  let last = Infinity;
  return async () => {
    const ttl = await redis.pttl(key);
    const renewed = ttl > last;
    last = ttl;
    return renewed;
  };
}

// Polls until the function answers something true, and returns that. The deadline is the program's.
export async function eventually(check) {
  for (;;) {
    const found = await check();
    if (found) return found;
    await pause(5);
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
