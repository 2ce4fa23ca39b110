// BullMQ: queues, workers and flows. Each of its operations is a script on the server. Each check has its own queue.

import assert from 'node:assert/strict';
import { FlowProducer, Queue, QueueEvents, Relay, WaitingChildrenError, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { address, eventually, nodeRedisOptions, pause, renewals, run } from './program.mjs';

const DAY_MS = 24 * 3600 * 1000;

// Runs the body with a queue of this name, then closes all that it made. `on` makes workers, events and flows of that queue.
const withQueue = (name, body, connection = address) => async () => {
  const queue = new Queue(name, { connection });
  queue.setMaxListeners(100);
  const made = [queue];
  const keep = (it) => (made.push(it), it);
  const on = {
    worker: (work, options = {}) => keep(new Worker(name, work, { connection, ...options })),
    events: async () => {
      // Reads from the beginning, since it reports ready before it listens.
      const events = keep(new QueueEvents(name, { connection, lastEventId: '0' }));
      await events.waitUntilReady();
      return events;
    },
    flows: () => keep(new FlowProducer({ connection })),
  };
  try {
    await body(queue, on);
  } finally {
    await Promise.all(made.reverse().map((it) => it.close()));
  }
};

// Waits until the queue has the expected counts.
const counts = (queue, expected) => eventually(async () => {
  const found = await queue.getJobCounts(...Object.keys(expected));
  return Object.entries(expected).every(([state, count]) => found[state] === count);
});

const state = (job, expected) => eventually(async () => (await job.getState()) === expected);

async function jobsReturnResults(queue, on) {
  const events = await on.events();
  on.worker(async (job) => ({ doubled: job.data.n * 2 }), { concurrency: 4 });
  const jobs = await queue.addBulk(Array.from({ length: 20 }, (_, n) => ({ name: 'double', data: { n } })));
  const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events)));
  assert.deepEqual(results.map((result) => result.doubled), Array.from({ length: 20 }, (_, n) => n * 2));
  await counts(queue, { completed: 20, waiting: 0, active: 0 });
}

async function everyJobRunsOnce(queue, on) {
  const seen = [];
  const work = async (job) => void seen.push(job.data.n);
  [1, 2, 3].forEach(() => on.worker(work, { concurrency: 5 }));
  await Promise.all(Array.from({ length: 100 }, (_, n) => queue.add('once', { n })));
  await counts(queue, { completed: 100 });
  assert.deepEqual(seen.sort((a, b) => a - b), Array.from({ length: 100 }, (_, n) => n));
}

async function failuresAreRetriedWithBackoff(queue, on) {
  const times = [];
  on.worker(async (job) => {
    times.push(Date.now());
    if (job.attemptsMade < 2) throw new Error('not yet');
    return 'at last';
  });
  const job = await queue.add('flaky', {}, { attempts: 3, backoff: { type: 'exponential', delay: 60 } });
  await state(job, 'completed');
  const { attemptsMade, returnvalue, stacktrace } = await queue.getJob(job.id);
  assert.deepEqual([attemptsMade, returnvalue, stacktrace.length], [3, 'at last', 2]);
  assert(times[1] - times[0] >= 55 && times[2] - times[1] >= 115, `backoff: ${times}`);
}

async function exhaustedJobCanBeRetriedByHand(queue, on) {
  const events = await on.events();
  let broken = true;
  on.worker(async () => {
    if (broken) throw new Error('broken');
    return 'repaired';
  });
  const job = await queue.add('job', {}, { attempts: 2 });
  await assert.rejects(job.waitUntilFinished(events), /broken/);
  assert.equal((await queue.getJob(job.id)).failedReason, 'broken');
  await counts(queue, { failed: 1 });
  broken = false;
  await job.retry('failed');
  await state(job, 'completed');
  assert.equal((await queue.getJob(job.id)).returnvalue, 'repaired');
  await queue.add('another', {}, { jobId: 'again' });
  await counts(queue, { completed: 2, failed: 0 });
  await queue.retryJobs({ state: 'completed' });
  await counts(queue, { completed: 2, waiting: 0, active: 0 });
}

async function delayedJobsWait(queue, on) {
  const soon = await queue.add('soon', {}, { delay: 300 });
  const [never, promoted, changed] = await Promise.all(
    ['never', 'promoted', 'changed'].map((name) => queue.add(name, {}, { delay: DAY_MS })),
  );
  assert.equal(await soon.getState(), 'delayed');
  assert.equal(await queue.getDelayedCount(), 4);
  on.worker(async () => Date.now());
  await promoted.promote();
  await changed.changeDelay(10);
  await Promise.all([soon, promoted, changed].map((job) => state(job, 'completed')));
  const { returnvalue, timestamp } = await queue.getJob(soon.id);
  assert(returnvalue - timestamp >= 295, `ran after ${returnvalue - timestamp} ms`);
  assert.equal(await never.getState(), 'delayed');
}

async function schedulersRepeat(queue, on) {
  const ticks = [];
  on.worker(async (job) => void ticks.push(job.name));
  await queue.upsertJobScheduler('every', { every: 100, limit: 3 }, { name: 'tick', data: { n: 1 } });
  await queue.upsertJobScheduler('nightly', { pattern: '0 3 * * *', tz: 'Europe/Berlin' }, { name: 'report' });
  assert.equal(await queue.getJobSchedulersCount(), 2);
  const nightly = await queue.getJobScheduler('nightly');
  assert(nightly.next > Date.now() && nightly.next <= Date.now() + 1.1 * DAY_MS, `next: ${nightly.next}`);
  await eventually(() => ticks.length >= 3);
  await queue.upsertJobScheduler('every', { every: DAY_MS }, { name: 'slow tick' });
  assert.equal((await queue.getJobScheduler('every')).every, DAY_MS);
  assert.deepEqual((await queue.getJobSchedulers()).map(({ key }) => key).sort(), ['every', 'nightly']);
  assert.equal(await queue.removeJobScheduler('every'), true);
  assert.equal(await queue.removeJobScheduler('every'), false);
  assert.equal(await queue.getJobSchedulersCount(), 1);
  assert.deepEqual(ticks.slice(0, 3), ['tick', 'tick', 'tick']);
}

async function parentWaitsForItsChildren(queue, on) {
  const child = (n, children) => ({ name: 'child', queueName: queue.name, data: { n }, children });
  const flow = await on.flows().add({
    ...child(0, [child(1), child(2), child(3, [child(10), child(20)])]), name: 'parent',
  });
  assert.equal(await flow.job.getState(), 'waiting-children');
  await counts(queue, { 'waiting-children': 2, waiting: 4 });
  assert.equal((await flow.job.getDependencies()).unprocessed.length, 3);
  on.worker(async (job) => {
    const values = Object.values(await job.getChildrenValues());
    return values.reduce((sum, value) => sum + value, job.data.n);
  });
  await state(flow.job, 'completed');
  assert.equal((await queue.getJob(flow.job.id)).returnvalue, 36);
  const tree = await on.flows().getFlow({ id: flow.job.id, queueName: queue.name });
  assert.deepEqual(tree.children.map((node) => node.job.returnvalue).sort(), [1, 2, 33]);
  const { items, total } = await queue.getDependencies(flow.job.id, 'processed', 0, 1);
  assert.deepEqual([items.length, total], [2, 3]);
  assert.deepEqual(await flow.job.getDependenciesCount(), { processed: 3, unprocessed: 0, failed: 0, ignored: 0 });
}

async function failedChildActsOnItsParentAsConfigured(queue, on) {
  const events = await on.events();
  const flows = on.flows();
  const parent = (opts) => flows.add({
    name: 'parent',
    queueName: queue.name,
    children: [{ name: 'bad', queueName: queue.name, opts }, { name: 'good', queueName: queue.name }],
  });
  on.worker(async (job) => {
    if (job.name === 'bad') throw new Error('bad child');
    return Object.values(await job.getChildrenValues());
  });
  const failing = await parent({ failParentOnFailure: true });
  const ignoring = await parent({ ignoreDependencyOnFailure: true });
  const removing = await parent({ removeDependencyOnFailure: true });
  await assert.rejects(failing.job.waitUntilFinished(events), /child .* failed/);
  await Promise.all([state(ignoring.job, 'completed'), state(removing.job, 'completed')]);
  assert.deepEqual(Object.values(await ignoring.job.getIgnoredChildrenFailures()), ['bad child']);
}

async function jobWaitsForChildrenItAddsItself(queue, on) {
  on.worker(async (job, token) => {
    if (job.name === 'child') return job.data.n;
    if (!job.data.asked) {
      const parent = { id: job.id, queue: job.queueQualifiedName };
      await queue.addBulk([1, 2].map((n) => ({ name: 'child', data: { n }, opts: { parent } })));
      await job.updateData({ asked: true });
      if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
    }
    return Object.values(await job.getChildrenValues()).sort();
  });
  const job = await queue.add('parent', { asked: false });
  await state(job, 'completed');
  assert.deepEqual((await queue.getJob(job.id)).returnvalue, [1, 2]);
}

async function childrenAreDetached(queue, on) {
  const node = (name, children) => ({ name, queueName: queue.name, children });
  const flow = await on.flows().add(node('parent', [node('released'), node('dropped'), node('kept')]));
  const [released, dropped, kept] = flow.children.map(({ job }) => job);
  assert.equal(await released.removeChildDependency(), true);
  await dropped.remove();
  assert.equal((await flow.job.getDependencies()).unprocessed.length, 1);
  const other = await on.flows().add(node('other parent', [node('unprocessed')]));
  await other.job.removeUnprocessedChildren();
  assert.equal(await queue.getJob(other.children[0].job.id), undefined);
  const order = [];
  on.worker(async (job) => void order.push(job.name));
  await Promise.all([flow.job, other.job, released, kept].map((job) => state(job, 'completed')));
  assert(order.indexOf('kept') < order.indexOf('parent'), `${order}`);
}

async function workersAreRateLimited(queue, on) {
  const started = [];
  const begin = Date.now();
  await queue.addBulk(Array.from({ length: 7 }, (_, n) => ({ name: 'limited', data: { n } })));
  on.worker(async () => void started.push(Date.now()), { limiter: { max: 3, duration: 250 }, concurrency: 7 });
  await eventually(() => started.length === 7);
  const after = started.map((time) => time - begin);
  assert(after[3] >= 245 && after[6] >= 495, `started after ${after} ms`);
  await counts(queue, { completed: 7 });
  await queue.rateLimit(DAY_MS);
  assert((await queue.getRateLimitTtl()) > DAY_MS / 2);
  await queue.removeRateLimitKey();
  assert((await queue.getRateLimitTtl()) <= 0);
}

async function workerLimitsItselfByHand(queue, on) {
  const times = [];
  const worker = on.worker(async () => {
    times.push(Date.now());
    if (times.length > 1) return 'served';
    await worker.rateLimit(200);
    throw Worker.RateLimitError();
  });
  const job = await queue.add('job', {});
  await state(job, 'completed');
  assert.equal((await queue.getJob(job.id)).attemptsMade, 1);
  assert(times.length === 2 && times[1] - times[0] >= 195, `ran at ${times}`);
}

async function prioritiesOrderJobs(queue, on) {
  const order = [];
  const jobs = {};
  for (const [name, priority] of [['low', 30], ['none', undefined], ['middle', 20], ['high', 10], ['raised', 40]]) {
    jobs[name] = await queue.add(name, {}, { priority });
  }
  await jobs.raised.changePriority({ priority: 5 });
  assert.deepEqual(await queue.getCountsPerPriority([0, 5, 10, 40]), { 0: 1, 5: 1, 10: 1, 40: 0 });
  await counts(queue, { prioritized: 4, waiting: 1 });
  on.worker(async (job) => void order.push(job.name));
  await eventually(() => order.length === 5);
  assert.deepEqual(order, ['none', 'raised', 'high', 'middle', 'low']);
  const names = ['first', 'second', 'last in'];
  await queue.pause();
  for (const name of names) await queue.add(name, {}, { lifo: name === 'last in' });
  await queue.resume();
  await eventually(() => order.length === 8);
  assert.deepEqual(order.slice(5), ['last in', 'first', 'second']);
}

async function pausedQueueRunsNoJobs(queue, on) {
  const done = [];
  const worker = on.worker(async (job) => void done.push(job.name));
  await worker.waitUntilReady();
  await queue.pause();
  assert.equal(await queue.isPaused(), true);
  const jobs = await queue.addBulk(['a', 'b', 'c'].map((name) => ({ name, data: {} })));
  await pause(150);
  assert.deepEqual(done, []);
  assert.equal(await jobs[0].getState(), 'waiting');
  await queue.resume();
  await counts(queue, { completed: 3 });
  assert.deepEqual(done, ['a', 'b', 'c']);
}

async function globalConcurrencyHolds(queue, on) {
  await queue.setGlobalConcurrency(2);
  let running = 0;
  let most = 0;
  const work = async () => {
    most = Math.max(most, ++running);
    await pause(20);
    running--;
  };
  await queue.addBulk(Array.from({ length: 8 }, () => ({ name: 'job', data: {} })));
  [1, 2].forEach(() => on.worker(work, { concurrency: 4 }));
  await counts(queue, { completed: 8 });
  assert(most <= 2, `${most} at once`);
  assert.equal(await queue.isMaxed(), false);
}

async function finishedJobsAreRemoved(queue, on) {
  const events = await on.events();
  on.worker(async (job) => {
    if (job.data.fail) throw new Error('as told');
  });
  const ended = { completed: [], failed: [] };
  for (const [name, ids] of Object.entries(ended)) events.on(name, ({ jobId }) => ids.push(jobId));
  const gone = await queue.add('gone', {}, { removeOnComplete: true });
  const failing = await queue.add('failing', { fail: true }, { removeOnFail: true });
  await eventually(() => ended.completed.includes(gone.id) && ended.failed.includes(failing.id));
  assert.deepEqual([await queue.getJob(gone.id), await queue.getJob(failing.id)], [undefined, undefined]);
  for (let n = 0; n < 5; n++) {
    const counted = await queue.add('counted', { n }, { removeOnComplete: { count: 2 } });
    await counted.waitUntilFinished(events);
  }
  await counts(queue, { completed: 2 });
  await (await queue.add('kept', {})).waitUntilFinished(events);
  assert.equal((await queue.clean(0, 100, 'completed')).length, 3);
  const left = await queue.getJobCounts();
  assert(Object.values(left).every((count) => count === 0), JSON.stringify(left));
}

async function queuesAreEmptied(queue) {
  const redis = new Redis(address);
  const options = [{ delay: DAY_MS }, { priority: 1 }, {}];
  await queue.addBulk(Array.from({ length: 30 }, (_, n) => ({ name: 'job', data: { n }, opts: options[n % 3] })));
  await counts(queue, { delayed: 10, prioritized: 10, waiting: 10 });
  const [first] = await queue.getWaiting(0, 0);
  await first.remove();
  await counts(queue, { waiting: 9 });
  await queue.drain();
  await counts(queue, { delayed: 10, prioritized: 0, waiting: 0 });
  assert.equal((await queue.clean(0, 4, 'delayed')).length, 4);
  await queue.drain(true);
  await counts(queue, { delayed: 0 });
  const orphan = await queue.add('orphan', {});
  assert.deepEqual(await queue.getRanges(['waiting'], 0, -1), [orphan.id]);
  await redis.lrem(`bull:${queue.name}:wait`, 1, orphan.id);
  assert.equal(await queue.removeOrphanedJobs(), 1);
  await queue.add('job', {});
  await queue.obliterate({ force: true });
  assert.deepEqual(await redis.keys(`bull:${queue.name}:*`), []);
  await redis.quit();
}

async function duplicatesAreDetected(queue, on) {
  const events = await on.events();
  const noticed = { deduplicated: [], duplicated: [] };
  events.on('deduplicated', ({ deduplicationId }) => noticed.deduplicated.push(deduplicationId));
  events.on('duplicated', ({ jobId }) => noticed.duplicated.push(jobId));
  const add = (deduplication, n) => queue.add('job', { n }, { deduplication });
  const [one, same] = [await add({ id: 'simple' }, 1), await add({ id: 'simple' }, 2)];
  assert.equal(one.id, same.id);
  assert.equal(await queue.getDeduplicationJobId('simple'), one.id);
  const throttle = { id: 'throttle', ttl: DAY_MS };
  const [held, throttled] = [await add(throttle, 1), await add(throttle, 2)];
  assert.equal(held.id, throttled.id);
  const debounce = { id: 'debounce', ttl: DAY_MS, extend: true, replace: true };
  const debounced = (n) => queue.add('job', { n }, { delay: 100, deduplication: debounce });
  const last = [await debounced(1), await debounced(2)].at(-1);
  const byName = (n) => queue.add('job', { n }, { jobId: 'named' });
  const [named, again] = [await byName(1), await byName(2)];
  assert.equal(named.id, again.id);
  on.worker(async (job) => job.data.n);
  await counts(queue, { completed: 4 });
  const results = await Promise.all([one, held, last, named].map(async ({ id }) => (await queue.getJob(id)).returnvalue));
  assert.deepEqual(results, [1, 1, 2, 1]);
  const later = await add({ id: 'simple' }, 3);
  assert.notEqual(later.id, one.id);
  await counts(queue, { completed: 5 });
  const long = await queue.add('job', {}, { delay: DAY_MS, deduplication: { id: 'long' } });
  assert.equal(await long.removeDeduplicationKey(), true);
  assert.equal(await queue.getDeduplicationJobId('long'), null);
  await eventually(() => ['simple', 'throttle', 'debounce'].every((id) => noticed.deduplicated.includes(id)));
  await eventually(() => noticed.duplicated.includes('named'));
}

async function countsCoverEveryState(queue, on) {
  const worker = on.worker(null, { lockDuration: 30_000 });
  const token = 'by-hand';
  await queue.addBulk(['finish', 'fail', 'hold', 'wait'].map((name) => ({ name, data: {} })));
  await queue.add('later', {}, { delay: DAY_MS });
  await queue.add('first', {}, { priority: 3 });
  const take = () => worker.getNextJob(token);
  await (await take()).moveToCompleted('done', token, false);
  await (await take()).moveToFailed(new Error('failed by hand'), token, false);
  const held = await take();
  assert.equal(await held.extendLock(token, 20_000), 1);
  assert.equal(await held.extendLock('stranger', 20_000), 0);
  const all = { active: 1, completed: 1, delayed: 1, failed: 1, prioritized: 1, waiting: 1, 'waiting-children': 0 };
  assert.deepEqual(await queue.getJobCounts(), all);
  assert.equal(await queue.getJobCountByTypes('active', 'failed', 'delayed'), 3);
  await held.moveToDelayed(Date.now() + DAY_MS, token);
  assert.equal(await queue.getDelayedCount(), 2);
  assert.deepEqual((await queue.getJobs(['completed', 'failed'])).map((job) => job.name).sort(), ['fail', 'finish']);
}

async function jobsOfDeadWorkersAreTakenOver(queue, on) {
  const events = await on.events();
  const stalled = [];
  events.on('stalled', ({ jobId }) => stalled.push(jobId));
  const dead = on.worker(null, { lockDuration: 100 });
  await queue.add('job', {});
  const job = await dead.getNextJob('dead');
  assert.equal(await job.getState(), 'active');
  on.worker(async () => 'by another', { stalledInterval: 100 });
  await state(job, 'completed');
  assert.equal((await queue.getJob(job.id)).returnvalue, 'by another');
  await eventually(() => stalled.includes(job.id));
}

async function locksOfLongJobsAreRenewed(queue, on) {
  const redis = new Redis(address);
  const runs = [];
  const work = async (job) => {
    runs.push(job.id);
    const renewed = renewals(redis, `bull:${queue.name}:${job.id}:lock`);
    await eventually(renewed);
    await eventually(renewed);
  };
  [1, 2].forEach(() => on.worker(work, { lockDuration: 20_000, lockRenewTime: 200, stalledInterval: 100 }));
  const job = await queue.add('slow', {});
  await state(job, 'completed');
  assert.deepEqual(runs, [job.id]);
  await redis.quit();
}

async function eventsReportEachStepOfAJob(queue, on) {
  const events = await on.events();
  const story = [];
  const chapters = ['added', 'waiting', 'active', 'progress', 'completed'];
  chapters.forEach((name) => events.on(name, ({ jobId }) => story.push([name, jobId])));
  on.worker(async (job) => {
    await job.updateProgress({ percent: 50 });
    await job.log('half');
    await job.log('whole');
    await job.updateData({ ...job.data, seen: true });
  }, { metrics: { maxDataPoints: 10 } });
  const job = await queue.add('job', { text: 'gr\u00fcn \u{1F7E2}' });
  await eventually(() => story.length === 5);
  assert.deepEqual(story, chapters.map((name) => [name, job.id]));
  assert.deepEqual(await queue.getJobLogs(job.id), { logs: ['half', 'whole'], count: 2 });
  const { data, progress } = await queue.getJob(job.id);
  assert.deepEqual([data, progress], [{ text: 'gr\u00fcn \u{1F7E2}', seen: true }, { percent: 50 }]);
  assert.equal((await queue.getMetrics('completed')).meta.count, 1);
}

// The relay has no queue: it passes messages between nodes that subscribe to topics.
async function relayRoutesMessages() {
  const options = { connection: address, namespace: 'relay', blockTimeout: 200 };
  const [here, there] = [new Relay({ ...options, nodeId: 'here' }), new Relay({ ...options, nodeId: 'there' })];
  const got = [];
  const listen = (name) => ({ topic, data, retained }) => got.push([name, topic, data, retained].join(' '));
  const received = async (...expected) => {
    await eventually(() => got.length === expected.length);
    assert.deepEqual(got.sort(), expected.sort());
  };
  try {
    await here.subscribe('jobs.*.done', listen('one'));
    const all = await there.subscribe('jobs.>', listen('all'));
    await here.publish('jobs.mail.done', 1);
    await there.publish('jobs.mail.failed', 2, { retain: DAY_MS });
    await received('one jobs.mail.done 1 false', 'all jobs.mail.done 1 false', 'all jobs.mail.failed 2 false');
    assert.deepEqual((await here.getNodes()).map(({ id }) => id).sort(), ['here', 'there']);
    assert.deepEqual((await here.getPatterns()).map(({ pattern }) => pattern), ['jobs.*.done', 'jobs.>']);
    assert.deepEqual(await here.getNamespaces(), ['relay']);
    assert.equal((await here.getRetained()).length, 1);
    got.length = 0;
    await here.subscribe('jobs.mail.failed', listen('late'));
    await received('late jobs.mail.failed 2 true');
    assert.equal(await here.deleteRetained('jobs.mail.failed'), true);
    await all.unsubscribe();
    assert.equal((await here.getSubscriptions()).length, 2);
  } finally {
    await Promise.all([here.close(), there.close()]);
  }
}

const checks = [
  jobsReturnResults, everyJobRunsOnce, failuresAreRetriedWithBackoff, exhaustedJobCanBeRetriedByHand, delayedJobsWait,
  schedulersRepeat, parentWaitsForItsChildren, failedChildActsOnItsParentAsConfigured, jobWaitsForChildrenItAddsItself, childrenAreDetached,
  workersAreRateLimited, workerLimitsItselfByHand, prioritiesOrderJobs, pausedQueueRunsNoJobs, globalConcurrencyHolds,
  finishedJobsAreRemoved, queuesAreEmptied, duplicatesAreDetected, countsCoverEveryState, jobsOfDeadWorkersAreTakenOver,
  locksOfLongJobsAreRenewed, eventsReportEachStepOfAJob,
];
// The same scripts through BullMQ's other client, which sends them differently.
const overNodeRedis = [jobsReturnResults, failuresAreRetriedWithBackoff, delayedJobsWait, parentWaitsForItsChildren];

const client = await createClient(nodeRedisOptions).connect();
await run(Object.fromEntries([
  ...checks.map((check) => [check.name, withQueue(check.name, check)]),
  ...overNodeRedis.map((check) => [`${check.name}OverNodeRedis`, withQueue(`${check.name}OverNodeRedis`, check, client)]),
  ['relayRoutesMessages', relayRoutesMessages],
]));
await client.close();
