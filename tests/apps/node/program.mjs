// What the programs here share: where the server is, and how checks run. A program is started with the port as its only argument.

import assert from 'node:assert/strict';

export const address = { host: '127.0.0.1', port: Number(process.argv[2]) };
assert(address.port > 0, `usage: node ${process.argv[1]} PORT`);

// Only matters when something is broken. Shorter than the deadline of the test, which cannot say what hangs.
const DEADLINE_MS = 30_000;

/// Runs all checks, `{ name: async () => {} }`, at once, since most of them wait for timers. Says what failed or never ended.
export async function run(checks) {
  const unfinished = new Set(Object.keys(checks));
  const failed = [];
  setTimeout(() => {
    console.error(`not finished after ${DEADLINE_MS} ms: ${[...unfinished].join(', ')}`);
    process.exit(1);
  }, DEADLINE_MS).unref();
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

/// Polls until the function answers something true, and returns that. The deadline is the program's.
export async function eventually(check) {
  for (;;) {
    const found = await check();
    if (found) return found;
    await pause(5);
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
