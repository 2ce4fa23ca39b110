// redlock: leases on one server, and on several, which here are databases of one server.

import assert from 'node:assert/strict';
import { Redis } from 'ioredis';
import Redlock, { ExecutionError, ResourceLockedError } from 'redlock';
import { address, eventually, pause, renewals, run } from './program.mjs';

const LEASE_MS = 20_000;
const NO_RETRY = { retryCount: 0 };

const redis = new Redis(address);
const databases = [1, 2, 3].map((db) => new Redis({ ...address, db }));
const redlock = new Redlock([redis], { retryCount: 100, retryDelay: 20, retryJitter: 5 });
const eager = new Redlock([redis], { automaticExtensionThreshold: LEASE_MS - 500 });
const impatient = new Redlock([redis], { retryCount: 2, retryDelay: 10, automaticExtensionThreshold: 200 });

// The servers' replies when a lock was denied.
async function answers(error) {
  assert(error instanceof ExecutionError, error.stack);
  const attempts = await Promise.all(error.attempts);
  return attempts.map(({ votesAgainst }) => [...votesAgainst.values()]);
}

async function denied(attempt, attempts = 1) {
  const all = await answers(await attempt.then(() => assert.fail('not denied'), (error) => error));
  assert.equal(all.length, attempts);
  assert(all.flat().every((error) => error instanceof ResourceLockedError), String(all.flat()));
}

async function lockIsAcquiredAndReleased() {
  const lock = await redlock.acquire(['plain'], LEASE_MS);
  assert.equal(await redis.get('plain'), lock.value);
  const ttl = await redis.pttl('plain');
  assert(ttl > LEASE_MS / 2 && ttl <= LEASE_MS, `ttl ${ttl}`);
  assert(lock.expiration > Date.now());
  await lock.release();
  assert.equal(await redis.exists('plain'), 0);
  await denied(redlock.release(lock, NO_RETRY));
}

async function heldLockIsDenied() {
  const lock = await redlock.acquire(['held'], LEASE_MS);
  await denied(redlock.acquire(['held'], LEASE_MS, NO_RETRY));
  await denied(redlock.acquire(['held'], LEASE_MS, { retryCount: 3, retryDelay: 5, retryJitter: 0 }), 4);
  assert.equal(await redis.get('held'), lock.value);
  const waiting = redlock.acquire(['held'], LEASE_MS, { retryCount: -1 });
  await pause(60);
  await lock.release();
  const next = await waiting;
  assert.notEqual(next.value, lock.value);
  await next.release();
}

async function onlyOneHoldsTheLock() {
  let most = 0;
  let inside = 0;
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let n = 0; n < 3; n++) {
      const lock = await redlock.acquire(['counted'], LEASE_MS, { retryCount: -1, retryDelay: 5, retryJitter: 5 });
      most = Math.max(most, ++inside);
      const count = Number(await redis.get('count'));
      await redis.set('count', count + 1);
      inside--;
      await lock.release();
    }
  }));
  assert.equal(most, 1);
  assert.equal(await redis.get('count'), '24');
}

async function leaseEndsByItself() {
  const lock = await redlock.acquire(['short'], 120);
  const next = await redlock.acquire(['short'], LEASE_MS);
  assert(lock.expiration <= Date.now());
  await assert.rejects(lock.extend(LEASE_MS), /already-expired/);
  await denied(redlock.release(lock, NO_RETRY));
  assert.equal(await redis.get('short'), next.value);
  await next.release();
}

async function onlyTheOwnerExtendsALease() {
  const lock = await redlock.acquire(['extended'], LEASE_MS);
  const extended = await lock.extend(2 * LEASE_MS);
  assert.equal(extended.value, lock.value);
  assert((await redis.pttl('extended')) > LEASE_MS);
  await redis.set('extended', 'of another');
  await denied(redlock.extend(extended, LEASE_MS, NO_RETRY));
  await denied(redlock.release(extended, NO_RETRY));
  assert.equal(await redis.get('extended'), 'of another');
}

async function resourcesAreLockedTogether() {
  const lock = await redlock.acquire(['a', 'b', 'c'], LEASE_MS);
  assert.deepEqual(await redis.mget('a', 'b', 'c'), Array(3).fill(lock.value));
  await denied(redlock.acquire(['c', 'd'], LEASE_MS, NO_RETRY));
  assert.equal(await redis.exists('d'), 0);
  const extended = await lock.extend(2 * LEASE_MS);
  assert((await redis.pttl('b')) > LEASE_MS);
  await extended.release();
  assert.equal(await redis.exists('a', 'b', 'c'), 0);
}

async function usingExtendsTheLease() {
  const result = await eager.using(['used'], LEASE_MS, async (signal) => {
    const value = await redis.get('used');
    const renewed = renewals(redis, 'used');
    await eventually(renewed);
    await eventually(renewed);
    assert.equal(await redis.get('used'), value);
    return signal.aborted;
  });
  assert.equal(result, false);
  assert.equal(await redis.exists('used'), 0);
  await assert.rejects(redlock.using(['used'], LEASE_MS, () => Promise.reject(new Error('inside'))), /inside/);
  assert.equal(await redis.exists('used'), 0);
}

async function usingReportsALostLock() {
  const lost = impatient.using(['lost'], 400, async (signal) => {
    await redis.set('lost', 'of another');
    await eventually(() => signal.aborted);
    await answers(signal.error);
    return 'told';
  });
  // The release at the end also fails: another client holds the lock.
  await answers(await lost.then(() => assert.fail('released a lock of another'), (error) => error));
  assert.equal(await redis.get('lost'), 'of another');
}

async function majorityDecides() {
  const quorum = new Redlock(databases, NO_RETRY);
  await databases[0].set('quorum', 'of another');
  const lock = await quorum.acquire(['quorum'], LEASE_MS);
  const values = () => Promise.all(databases.map((database) => database.get('quorum')));
  assert.deepEqual(await values(), ['of another', lock.value, lock.value]);
  await (await lock.extend(LEASE_MS)).release();
  await databases[1].set('quorum', 'of another');
  await assert.rejects(quorum.acquire(['quorum'], LEASE_MS), ExecutionError);
  // The locks that the minority granted are released.
  await eventually(async () => (await databases[2].exists('quorum')) === 0);
  assert.deepEqual(await values(), ['of another', 'of another', null]);
}

await run({
  lockIsAcquiredAndReleased, heldLockIsDenied, onlyOneHoldsTheLock, leaseEndsByItself, onlyTheOwnerExtendsALease,
  resourcesAreLockedTogether, usingExtendsTheLease, usingReportsALostLock, majorityDecides,
});
await Promise.all([redis, ...databases].map((client) => client.quit()));
