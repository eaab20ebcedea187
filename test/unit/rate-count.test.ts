/**
 * The count of a rate over a Redis: shared by all who are on it, exact, in windows of any length; and this
 * node's own while Redis is away or hangs, without anybody waiting for it.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { systemClock } from '../../src/platform/clock.ts';
import { connectRedis, type RedisClient } from '../../src/platform/redis.ts';
import type { Bucket } from '../../src/queue/rate-bucket.ts';
import { SharedRateCount } from '../../src/queue/rate-count.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait-for.ts';

describe('the count of a rate', { skip: redisMissing }, () => {
  let redis: TestRedis;
  const clients: RedisClient[] = [];
  const errors: string[] = [];

  before(async () => {
    redis = await startRedis();
  });
  after(async () => {
    for (const client of clients) client.disconnect();
    await redis?.close();
  });
  beforeEach(async () => {
    await redis.flushAll();
    errors.length = 0;
  });

  /** Of one node. */
  async function node(): Promise<SharedRateCount> {
    const target = { kind: 'socket', path: redis.socketPath } as const;
    const client = connectRedis(target, 'fail-fast', () => {});
    clients.push(client);
    await waitFor('a connection', () => client.status === 'ready');
    const onError = (error: Error) => void errors.push(error.message);
    return new SharedRateCount({ redis: client, keyPrefix: 'p', clock: systemClock, onError });
  }

  const bucket = (count: number, perMs = 60_000, name = 'a.example'): Bucket => ({
    ...{ scope: 'domain', name, rate: { count, perMs } },
  });

  test('is that of all nodes together, and each learns what is left', async () => {
    const [one, other] = [await node(), await node()];
    const answers = [];
    for (const each of [one, other, one, other, one]) answers.push(await each.take(bucket(3)));
    assert.deepEqual(
      answers.map(({ isTaken, left }) => [isTaken, left]),
      [
        [true, 2],
        [true, 1],
        [true, 0],
        [false, 0],
        [false, 0],
      ],
    );
    for (const { endsInMs } of answers)
      assert.ok(endsInMs > 0 && endsInMs <= 60_000, `${endsInMs}`);
    assert.equal((await one.take(bucket(3, 60_000, 'b.example'))).isTaken, true, 'by destination');
  });

  test('is exact however many ask at the same time', async () => {
    const nodes = [await node(), await node()];
    const asked = nodes.flatMap((each) => Array.from({ length: 50 }, () => each.take(bucket(17))));
    const answers = await Promise.all(asked);
    assert.equal(answers.filter(({ isTaken }) => isTaken).length, 17);
  });

  test('leaves nothing in Redis that does not go by itself', async () => {
    const one = await node();
    await one.take(bucket(1, 500));
    await one.take({
      scope: 'site',
      name: 'mx.a.example, mx.b.example',
      rate: { count: 1, perMs: 3_600_000 },
    });
    const keys = (await redis.command('KEYS', '*')) as string[];
    assert.deepEqual(keys.sort(), [
      'p:rate:domain a.example:500',
      'p:rate:site mx.a.example, mx.b.example:3600000',
    ]);
    for (const key of keys) assert.ok(Number(await redis.command('PTTL', key)) > 0, key);
  });

  test('has windows of less than a second, and each ends', async () => {
    const one = await node();
    const first = await one.take(bucket(1, 900));
    assert.ok(first.isTaken && first.endsInMs <= 900);
    await waitFor('the end of it', async () => !(await one.take(bucket(1, 900))).isTaken);
    await waitFor('the next window', async () => (await one.take(bucket(1, 900))).isTaken);
  });

  test('does not count those refused: a higher rate has what it says', async () => {
    const one = await node();
    for (let n = 0; n < 10; n += 1) await one.take(bucket(2));
    const { isTaken, left } = await one.take(bucket(5));
    assert.deepEqual([isTaken, left], [true, 2]);
    assert.equal((await one.take(bucket(1))).isTaken, false, 'and a lower one is used up');
  });

  test('begins anew when Redis was emptied', async () => {
    const one = await node();
    await one.take(bucket(1));
    await redis.flushAll();
    assert.equal((await one.take(bucket(1))).isTaken, true);
    assert.deepEqual(errors, []);
  });

  test('is the own one while Redis is away, and the shared one when it is back', async () => {
    const one = await node();
    await one.take(bucket(2));
    await redis.stop();
    const taken = [];
    for (let n = 0; n < 4; n += 1) taken.push((await one.take(bucket(2))).isTaken);
    assert.deepEqual(taken, [true, true, false, false]);
    assert.ok(errors.length > 0 && errors.length < 4, 'it is not asked at every attempt');
    await redis.start();
    await waitFor('the shared count', async () => {
      await one.take(bucket(1000, 60_000, 'probe.example'));
      return ((await redis.command('KEYS', '*probe*')) as string[]).length === 1;
    });
  });

  test('does not wait for a Redis that hangs', async () => {
    const one = await node();
    await one.take(bucket(50));
    redis.pause();
    try {
      const answers = await Promise.all(Array.from({ length: 20 }, () => one.take(bucket(50))));
      assert.ok(answers.every(({ isTaken }) => isTaken));
      assert.match(errors[0] ?? '', /no answer in 500 ms/);
      const told = errors.length;
      const { isTaken, left } = await one.take(bucket(50));
      assert.deepEqual([isTaken, left], [true, 29], 'its own count goes on');
      assert.equal(errors.length, told, 'nobody waits a second time');
    } finally {
      redis.resume();
    }
  });

  test('takes the longest windows there are', async () => {
    const one = await node();
    const century = bucket(1, 100 * 365 * 86_400_000);
    assert.equal((await one.take(century)).isTaken, true);
    assert.equal((await one.take(century)).isTaken, false);
    await redis.stop();
    assert.equal((await one.take(century)).isTaken, true);
    assert.equal(
      (await one.take(century)).isTaken,
      false,
      'a timer of more than 24 days is one of 1 ms',
    );
    await redis.start();
  });
});
