/**
 * The queue under load, over a real Redis: limits per destination hold, destinations do not stand
 * in each other's way, and Redis holds little however much is queued.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Delivery } from '../../src/queue/lane.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait-for.ts';
import { CLOSED, QueueRig, type RigOptions } from './queue-rig.ts';

describe('the queue under load', { skip: redisMissing }, () => {
  let redis: TestRedis;
  const rigs: QueueRig[] = [];
  beforeEach(async () => {
    redis = await startRedis();
  });
  afterEach(async () => {
    for (const rig of rigs.splice(0)) await rig.stop();
    await redis.close();
  });

  async function startRig(options: RigOptions): Promise<QueueRig> {
    const rig = new QueueRig(redis, options);
    rigs.push(rig);
    await rig.start();
    return rig;
  }

  const enterMany = (rig: QueueRig, count: number, domain: string) =>
    Array.from({ length: count }, () => rig.enter(0, domain));
  const attempted = (rig: QueueRig) => rig.attempts.entries.map(({ delivery }) => delivery);

  test('a destination never has more attempts at once than its limit, and has that many', async () => {
    const rig = await startRig({ connections: 4 });
    const [atOnce, most] = [new Map<string, number>(), new Map<string, number>()];
    rig.attempt = async ({ destination }, before) => {
      const now = (atOnce.get(destination) ?? 0) + 1;
      atOnce.set(destination, now);
      most.set(destination, Math.max(most.get(destination) ?? 0, now));
      await new Promise((resolve) => setTimeout(resolve, 2));
      atOnce.set(destination, (atOnce.get(destination) ?? 0) - 1);
      return before === 0 && Math.random() < 0.2
        ? { kind: 'again', atMs: Date.now() + 20 }
        : CLOSED;
    };
    const domains = ['a.example', 'b.example', 'c.example'];
    for (let i = 0; i < 900; i++) rig.enter(0, domains[i % 3]);
    await rig.allClosed();
    assert.deepEqual([...most.values()], [4, 4, 4]);
    assert.equal(rig.mostAtOnce, 1);
    await waitFor('every turn to end', () => rig.ledger.laneCount === 0);
  });

  test('destinations that say nothing keep no other from its first attempt', async () => {
    const rig = await startRig({ connections: 10, slots: 40 });
    const { promise: end, resolve } = Promise.withResolvers<void>();
    rig.attempt = async ({ destination }) => {
      if (destination.startsWith('silent')) await end;
      return CLOSED;
    };
    const silent = Array.from({ length: 12 }, (_, i) => enterMany(rig, 50, `silent${i}.example`));
    await waitFor('each to have begun', () => new Set(attempted(rig)).size >= 12);
    const [prompt, another] = [rig.enter(0, 'a.example'), rig.enter(0, 'b.example')];
    await Promise.all([rig.closed(prompt), rig.closed(another)]);
    const busy = rig.ledger.summary(Date.now()).inFlight;
    assert.ok(busy <= 20 + 12, `${busy} silent attempts`);
    resolve();
    await rig.allClosed();
    assert.equal(attempted(rig).length, silent.flat().length + 2);
  });

  test('within a destination: first come, first served', async () => {
    const rig = await startRig({ connections: 1 });
    const deliveries = enterMany(rig, 500, 'dest.example');
    await rig.allClosed();
    assert.deepEqual(attempted(rig), deliveries);
  });

  test('two busy destinations take turns', async () => {
    const rig = await startRig({ connections: 1, slots: 1 });
    enterMany(rig, 400, 'a.example');
    enterMany(rig, 400, 'b.example');
    await rig.allClosed();
    const runs: { destination: string; length: number }[] = [];
    for (const { destination } of attempted(rig)) {
      const run = runs.at(-1);
      if (run?.destination === destination) run.length++;
      else runs.push({ destination, length: 1 });
    }
    assert.ok(runs.every(({ length }) => length <= 50));
    assert.equal(runs.length, 16, 'eight turns of fifty each');
  });

  test('ten thousand messages for one destination are a handful of keys in Redis', async () => {
    const rig = await startRig({ connections: 10 });
    const { promise: going, resolve } = Promise.withResolvers<void>();
    let deferring = true;
    rig.attempt = async () => {
      await going;
      return deferring
        ? { kind: 'again', atMs: Date.now() + 3_600_000 + Math.random() * 1000 }
        : CLOSED;
    };
    enterMany(rig, 10_000, 'dest.example');
    await rig.attempted(10);
    const keys = async () => Number(await redis.command('DBSIZE'));
    // Its jobs, a lock each, and BullMQ's own.
    assert.ok((await keys()) <= 2 * 10 + 10, `${await keys()} keys while they wait`);
    resolve();
    await waitFor('all to be deferred', () => rig.ledger.summary(Date.now()).delayed === 10_000);
    await waitFor('the turns to end', () => rig.ledger.lane('dest.example')?.turns === 0);
    assert.ok((await keys()) <= 30, `${await keys()} keys while they are deferred`);
    deferring = false;
  });

  test('many that fall due together are all attempted', async () => {
    const rig = await startRig({ connections: 5 });
    rig.hasRounds = false;
    const first: Delivery[] = [];
    rig.attempt = (delivery, before) => {
      if (before > 0) return CLOSED;
      first.push(delivery);
      return { kind: 'again', atMs: delivery.nextAttemptMs + 1500 };
    };
    for (let i = 0; i < 600; i++) rig.enter(0, `d${i % 30}.example`);
    await rig.allClosed();
    assert.equal(attempted(rig).length, 1200);
    assert.deepEqual(rig.recorded.of('requeued'), []);
    for (const { delivery, atMs } of rig.attempts.entries.slice(600)) {
      assert.ok(atMs >= delivery.nextAttemptMs);
    }
  });
});
