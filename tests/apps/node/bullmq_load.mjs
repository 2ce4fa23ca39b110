// BullMQ under load: the benchmark runs this program (benches/server/work/queue.rs), the tests do not.
//
// After `ready`, it reads lines. `JOBS` adds that many jobs at once and prints the seconds until all are completed. `JOBS RATE` adds that
// many per second and prints, for each, the milliseconds from its planned time until it was completed. A job has to wait from then on even
// if this program is late.

import { createInterface } from 'node:readline';
import { Queue, Worker } from 'bullmq';
import { address, pause } from './program.mjs';

const WARM_UP = 100;

const connection = address;
const queue = new Queue('load', { connection });
const worker = new Worker('load', async (job) => job.data.n, { connection, concurrency: 10 });

// Runs `add`, which adds this many jobs. Returns, by number, when each was completed.
async function completed(jobs, add) {
  const times = new Array(jobs);
  let missing = jobs;
  let done;
  const all = new Promise((resolve, reject) => {
    done = (job) => {
      times[job.data.n] = performance.now();
      missing -= 1;
      if (missing === 0) resolve();
    };
    worker.on('completed', done);
    worker.on('failed', (job, error) => reject(error));
  });
  await add();
  await all;
  worker.off('completed', done);
  worker.removeAllListeners('failed');
  return times;
}

const addJob = (n) => queue.add('job', { n, text: 'x'.repeat(100) });

async function atOnce(jobs) {
  const start = performance.now();
  const times = await completed(jobs, () => Promise.all(Array.from({ length: jobs }, (_, n) => addJob(n))));
  return (Math.max(...times) - start) / 1000;
}

async function atRate(jobs, perSecond) {
  const start = performance.now();
  const planned = (n) => start + (n * 1000) / perSecond;
  const times = await completed(jobs, async () => {
    const added = [];
    while (added.length < jobs) {
      while (added.length < jobs && planned(added.length) <= performance.now()) added.push(addJob(added.length));
      await pause(1);
    }
    await Promise.all(added);
  });
  return times.map((time, n) => (time - planned(n)).toFixed(3));
}

await Promise.all([queue.waitUntilReady(), worker.waitUntilReady()]);
await atOnce(WARM_UP);
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const [jobs, perSecond] = line.split(' ').map(Number);
  console.log(perSecond ? (await atRate(jobs, perSecond)).join(' ') : String(await atOnce(jobs)));
}
process.exit(0);
