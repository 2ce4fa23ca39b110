// ioredis and node-redis: their own types for scripts and functions, which load a script or library that the server lacks.

import assert from 'node:assert/strict';
import { Redis } from 'ioredis';
import { createClient, createClientPool, defineScript, RESP_TYPES } from 'redis';
import { address, nodeRedisOptions, run } from './program.mjs';

const ADD = "redis.call('INCRBY', KEYS[1], ARGV[1]) return {redis.call('GET', KEYS[1]), #ARGV}";
const FAIL = "return redis.error_reply('MINE says no')";
const PEEK = "return redis.call('GET', KEYS[1])";

const LIBRARY = `#!lua name=shop
local function left(keys) return redis.call('GET', keys[1]) end
redis.register_function('sell', function(keys, args) return redis.call('DECRBY', keys[1], args[1]) end)
redis.register_function{function_name = 'left', callback = left, flags = {'no-writes'}}`;

const ioredis = new Redis({
  ...address,
  scripts: {
    add: { numberOfKeys: 1, lua: ADD },
    fail: { numberOfKeys: 0, lua: FAIL },
    peek: { numberOfKeys: 1, lua: PEEK, readOnly: true },
  },
});

const add = defineScript({
  NUMBER_OF_KEYS: 1,
  SCRIPT: ADD,
  parseCommand: (parser, key, by) => {
    parser.pushKey(key);
    parser.push(String(by));
  },
  transformReply: ([count]) => Number(count),
});
const nodeRedis = await createClient({ ...nodeRedisOptions, scripts: { add } }).connect();

async function scriptsOfIoredis() {
  assert.deepEqual(await ioredis.add('io', 5), ['5', 1]);
  assert.deepEqual(await ioredis.add('io', 2, 'more'), ['7', 2]);
  assert.deepEqual(await ioredis.addBuffer('io', 1), [Buffer.from('8'), 1]);
  assert.equal(await ioredis.peek('io'), '8');
  await assert.rejects(ioredis.fail(), { message: /^MINE says no/ });
  await assert.rejects(ioredis.add('io', 'text'), { message: /^ERR value is not an integer/ });
  await assert.rejects(ioredis.eval('return return', 0), { message: /ompil/ });
}

async function scriptsOfIoredisInPipelines() {
  const pipelined = await ioredis.pipeline().set('pipe', 1).add('pipe', 2).fail().add('pipe', 3).exec();
  const replies = pipelined.map(([error, reply]) => error?.message.slice(0, 12) ?? reply);
  assert.deepEqual(replies, ['OK', ['3', 1], 'MINE says no', ['6', 1]]);
  const together = await ioredis.multi().add('pipe', 10).incr('pipe').add('pipe', 100).exec();
  assert.deepEqual(together, [[null, ['16', 1]], [null, 17], [null, ['117', 1]]]);
  const refused = await ioredis.multi().add('pipe', 'text').incr('pipe').exec();
  assert.match(refused[0][0].message, /not an integer/);
  assert.deepEqual(refused[1], [null, 118]);
}

async function scriptsOfNodeRedis() {
  assert.equal(await nodeRedis.add('node', 5), 5);
  assert.deepEqual(await nodeRedis.multi().set('node', 1).add('node', 2).add('node', 3).exec(), ['OK', 3, 6]);
  assert.deepEqual(await nodeRedis.eval(ADD, { keys: ['node'], arguments: ['4'] }), ['10', 1]);
  const buffers = nodeRedis.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  assert.deepEqual(await buffers.evalRo('return ARGV[1]', { arguments: [Buffer.from([0, 255])] }), Buffer.from([0, 255]));
  const many = await Promise.all(Array.from({ length: 50 }, () => nodeRedis.add('many', 1)));
  assert.deepEqual(many, Array.from({ length: 50 }, (_, n) => n + 1));
  const pool = await createClientPool({ ...nodeRedisOptions, scripts: { add } }).connect();
  await Promise.all(Array.from({ length: 50 }, () => pool.add('many', 1)));
  assert.equal(await pool.get('many'), '100');
  await pool.close();
}

async function scriptsOverBothProtocols() {
  const script = "redis.setresp(3) return {redis.call('HGETALL', KEYS[1]), 3.5, true, {double = 0.5}}";
  await nodeRedis.hSet('hash', { field: 'value' });
  const read = async (RESP) => {
    const client = await createClient({ ...nodeRedisOptions, RESP }).connect();
    const reply = await client.eval(script, { keys: ['hash'] });
    await client.close();
    return JSON.stringify(reply);
  };
  assert.equal(await read(2), '[["field","value"],3,1,"0.5"]');
  assert.equal(await read(3), '[{"field":"value"},3,true,0.5]');
}

async function functionsOfBoth() {
  assert.equal(await nodeRedis.functionLoad(LIBRARY), 'shop');
  await nodeRedis.set('stock', 10);
  assert.equal(await nodeRedis.fCall('sell', { keys: ['stock'], arguments: ['3'] }), 7);
  assert.equal(await nodeRedis.fCallRo('left', { keys: ['stock'] }), '7');
  assert.equal(await ioredis.fcall('sell', 1, 'stock', 2), 5);
  await assert.rejects(ioredis.fcall_ro('sell', 1, 'stock', 2), { message: /write flag/ });
  const [listed] = await nodeRedis.functionListWithCode();
  assert.deepEqual([listed.library_name, listed.library_code, listed.functions.length], ['shop', LIBRARY, 2]);
  const dump = await nodeRedis.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).functionDump();
  assert.equal(await nodeRedis.functionDelete('shop'), 'OK');
  await assert.rejects(ioredis.fcall('left', 1, 'stock'), { message: /^ERR Function not found/ });
  assert.equal(await nodeRedis.functionRestore(dump), 'OK');
  assert.equal(await ioredis.fcall('left', 1, 'stock'), '5');
}

await run({ scriptsOfIoredis, scriptsOfIoredisInPipelines, scriptsOfNodeRedis, scriptsOverBothProtocols, functionsOfBoth });

// After a flush, both clients fall back to the full source.
await ioredis.script('FLUSH');
await run({ scriptsOfIoredisAgain: () => ioredis.add('again', 1), scriptsOfNodeRedisAgain: () => nodeRedis.add('again', 1) });
await Promise.all([ioredis.quit(), nodeRedis.close()]);
