/**
 * Messages without a job, and jobs without a message: whatever somebody does to the queue in
 * Redis, or left there, what waits is attempted at its time, nothing else is, and Redis does not fill up.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { queueNames } from '../../src/queue/job-queue.ts';
import { type RecoveryScene, startScene } from '../support/recovery-scene.ts';
import { redisMissing } from '../support/redis.ts';
import { waitFor } from '../support/wait-for.ts';

const YEAR_MS = 365 * 24 * 3_600_000;

describe('a message without a job', { skip: redisMissing }, () => {
  let scene: RecoveryScene;
  before(async () => {
    scene = await startScene();
  });
  after(() => scene?.close());

  test('wake-ups that somebody removed: each is attempted at its time', async () => {
    const all = await scene.sendDeferred(8);
    for (const job of await scene.queue.getDelayed()) await job.remove().catch(() => {});
    await scene.assertDelivered(all);
    scene.assertNotEarly(all);
  });

  test('turns that somebody removed: they are missed, and asked for anew', async () => {
    const requeued = scene.watchRequeued();
    const before = await scene.relay.metric('stsrelay_queue_requeued_total', { reason: 'missing' });
    await scene.holdTurns(); // or they were taken at once
    const all = await scene.send(8);
    await waitFor('their jobs', async () => (await scene.queue.getWaitingCount()) === all.length);
    for (const job of await scene.jobs()) await job.remove();
    await scene.queue.resume();
    await scene.assertDelivered(all);
    assert.equal((await requeued('missing'))['level'], 'warn');
    const after = await scene.relay.metric('stsrelay_queue_requeued_total', { reason: 'missing' });
    assert.equal((after ?? 0) - (before ?? 0), all.length);
  });

  test('every key of the queue removed while some are due, and while some are not', async () => {
    const requeued = scene.watchRequeued();
    await scene.holdTurns();
    const due = await scene.send(4);
    await waitFor('their jobs', async () => (await scene.queue.getWaitingCount()) >= due.length);
    await scene.redis.command('DEL', ...(await scene.keys()));
    await requeued('redis-emptied');
    const waiting = await scene.sendDeferred(4);
    await scene.redis.command('DEL', ...(await scene.keys()));
    await scene.assertDelivered([...waiting, ...due]);
    scene.assertNotEarly(waiting);
  });

  test('what only says that a job is there removed, and when it is due changed', async () => {
    const all = await scene.sendDeferred(8);
    const [delayed, marker] = [scene.queue.toKey('delayed'), scene.queue.toKey('marker')];
    const ids = (await scene.redis.command('ZRANGE', delayed, 0, -1)) as string[];
    const score = (Date.now() + YEAR_MS) * 0x1000;
    await scene.redis.command('DEL', marker);
    for (const id of ids) await scene.redis.command('ZADD', delayed, 'XX', score, id);
    await scene.assertDelivered(all);
    scene.assertNotEarly(all);
    for (const id of ids) await scene.queue.remove(id);
  });

  test('a wake-up made due too soon wakes, and nothing is attempted', async () => {
    const all = await scene.sendDeferred(4);
    for (const job of await scene.queue.getDelayed()) await job.promote().catch(() => {});
    await scene.assertDelivered(all);
    scene.assertNotEarly(all);
    for (const sent of all) assert.equal(scene.world.answers(sent).length, 2);
  });
});

/** Puts a job there in words of its own, as no version of BullMQ would. */
async function putNonsense(
  { redis, queue }: RecoveryScene,
  id: string,
  fields: readonly string[],
): Promise<void> {
  if (fields.length > 0) await redis.command('HSET', queue.toKey(id), ...fields);
  await redis.command('LPUSH', queue.toKey('wait'), id);
  await redis.command('ZADD', queue.toKey('marker'), 0, '0');
}

describe('a job without a message', { skip: redisMissing }, () => {
  test('ends without effect, whatever stands in it, and is gone; a neighbour keeps his', async () => {
    await using scene = await startScene({ settings: { retry: { schedule: ['3s'] } } });
    const client = new Redis(scene.redis.socketPath, { maxRetriesPerRequest: null });
    const { name, prefix } = queueNames('stsrelay', 'n2');
    const neighbour = new Queue(name, { connection: client, prefix });
    await neighbour.add('turn', { destination: 'd0.test' }, { jobId: 'his-0' });
    await neighbour.add('wake', { destination: 'd0.test' }, { jobId: 'his-1', delay: 60_000 });
    await scene.relay.waitForEvent('queue.entered');

    const all = await scene.sendDeferred(4);
    const destination = 'd0.test';
    for (const kind of ['turn', 'wake', 'delivery', '']) {
      await scene.queue.add(kind, { destination }, { jobId: `made-up-${kind}` });
      await scene.queue.add(kind, { destination }, { jobId: `soon-${kind}`, delay: 10 });
      await scene.queue.add(kind, { destination }, { jobId: `first-${kind}`, priority: 1 });
    }
    const contents = ['{', '', 'null', '17', '"text"', '[]', '{"destination":{"no":"text"}}'];
    for (const [i, data] of contents.entries()) {
      for (const kind of ['turn', 'wake']) {
        const fields = ['name', kind, 'data', data, 'opts', '{}', 'timestamp', '1'];
        await putNonsense(scene, `nonsense-${kind}-${i}`, fields);
      }
    }
    await putNonsense(scene, 'no-hash-at-all', []);
    await putNonsense(scene, 'hash-of-nothing', ['x', 'y']);

    const ours = /^(?:[0-9a-f]{12}-\d+)$/;
    await waitFor('all of them to be gone', async () => {
      const jobs = await scene.keys();
      return !jobs.some((key) => /made-up|soon-|first-|nonsense|no-hash|of-nothing/.test(key));
    });
    for (const { id } of await scene.jobs()) assert.match(id ?? '', ours);
    await scene.assertDelivered(all);
    scene.assertNotEarly(all);
    for (const sent of all) assert.equal(scene.world.answers(sent).length, 2);
    assert.deepEqual(scene.relay.events('relay.role_ended'), []);
    assert.equal(scene.relay.stderr, '');
    assert.deepEqual(await neighbour.getJobCounts('wait', 'delayed'), { wait: 1, delayed: 1 });
    await neighbour.close();
    client.disconnect();
  });

  test('of earlier processes is cleared away: Redis holds no more after many restarts', async () => {
    await using scene = await startScene({ settings: { retry: { schedule: ['1h'] } } });
    const all = await scene.sendDeferred(8);
    /** Job ids are new in every process; what comes and goes by itself does not count. */
    const kinds = async () => {
      const lasting = (await scene.keys()).filter((key) => !/:(marker|stalled-check)$/.test(key));
      return lasting.map((key) => key.replace(/[0-9a-f]{12}-\d+/, 'JOB')).sort();
    };
    await scene.relay.restart();
    await waitFor('their wake-ups', async () => (await scene.queue.getDelayedCount()) === 4);
    const first = await kinds();
    for (let round = 0; round < 4; round += 1) {
      // As a process leaves them that was at work, and as one leaves them that had a bug.
      const toKey = (key: string) => scene.queue.toKey(key);
      await scene.queue.add(
        'turn',
        { destination: 'd0.test' },
        { jobId: `old-${round}`, delay: 9e6 },
      );
      await scene.redis.command('LPUSH', toKey('active'), `taken-${round}`, `lost-${round}`);
      await scene.redis.command('HSET', toKey(`taken-${round}`), 'name', 'turn', 'data', '{}');
      await scene.redis.command('SET', toKey(`taken-${round}:lock`), 'token', 'PX', 30_000);
      await scene.redis.command('ZADD', toKey('failed'), 1, `failed-${round}`);
      await scene.redis.command('HSET', toKey(`failed-${round}`), 'name', 'turn', 'data', '{}');
      await scene.relay.kill('SIGKILL', { group: true });
      await scene.relay.start();
      await waitFor('what was there before', async () => isDeepStrictEqual(await kinds(), first));
    }
    assert.equal(first.filter((key) => key.endsWith(':JOB')).length, 4);
    for (const sent of all) assert.deepEqual(scene.world.answers(sent), [], 'none was attempted');
  });
});
