/**
 * Queue, worker and reconciler over a real Redis that is restarted, emptied, paused and
 * tampered with: every delivery is attempted when it is due, and once at a time.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { Queue, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { type Clock, systemClock } from '../../src/platform/clock.ts';
import { type JobContent, queueNames } from '../../src/queue/job-queue.ts';
import type { Delivery } from '../../src/queue/lane.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait-for.ts';
import { CLOSED, QUEUE_NAMES as NAMES, QueueRig } from './queue-rig.ts';

describe('the queue on Redis', { skip: redisMissing }, () => {
  let redis: TestRedis;
  let rig: QueueRig;
  let plain: Queue<JobContent> | undefined;
  let workers: Worker<JobContent>[] = [];
  beforeEach(async () => {
    redis = await startRedis();
    rig = new QueueRig(redis);
  });
  afterEach(async () => {
    await rig.stop();
    await Promise.all(workers.map((worker) => worker.close(true)));
    await plain?.close();
    [plain, workers] = [undefined, []];
    await redis.close();
  });

  /** A worker of BullMQ alone. */
  function plainWorker(processor: (() => Promise<never>) | null, stalledInterval = 30_000) {
    const worker = new Worker<JobContent>(NAMES.name, processor, {
      connection: redis.client(),
      prefix: NAMES.prefix,
      stalledInterval,
      maxStalledCount: 1_000_000,
      autorun: processor !== null,
    });
    worker.on('error', () => {});
    workers.push(worker);
    return worker;
  }

  /** The queue as somebody with BullMQ alone sees it. */
  function bullmq(): Queue<JobContent> {
    plain ??= new Queue(NAMES.name, { connection: redis.client(), prefix: NAMES.prefix });
    return plain;
  }
  const jobsLeft = () => bullmq().getJobCountByTypes('wait', 'active', 'delayed', 'failed');
  const attempted = () => rig.attempts.entries.map(({ delivery }) => delivery);

  /** Started without a worker, one delivery entered and its turn asked long ago. */
  async function askLongAgo(): Promise<{ delivery: Delivery; jobId: string }> {
    rig.worksFromStart = false;
    await rig.start();
    const delivery = rig.enter();
    const [turn] = rig.gate.asked();
    assert.ok(turn);
    await waitFor('its job', async () => (await jobsLeft()) === 1);
    turn.seenAtMs -= 6000;
    return { delivery, jobId: turn.jobId };
  }

  /** So many wake-ups stand in Redis; on a machine that stood still, their time may have come. */
  async function delayedUnlessAttempted(delayed: number, attempts: number): Promise<boolean> {
    if (rig.attempts.entries.length >= attempts) return true;
    return (await bullmq().getDelayedCount()) === delayed;
  }

  test('a delivery that is due is attempted once, and nothing of it stays behind', async () => {
    await rig.start();
    const delivery = rig.enter();
    await rig.closed(delivery);
    assert.deepEqual(attempted(), [delivery]);
    await waitFor('an empty queue', async () => (await jobsLeft()) === 0);
    assert.equal(await bullmq().getCompletedCount(), 0);
    assert.deepEqual([rig.ledger.messageCount, rig.ledger.laneCount], [0, 0]);
  });

  test('what the spool held at start is attempted', async () => {
    const deliveries = Array.from({ length: 603 }, () => rig.know(0));
    await rig.start();
    await rig.allClosed();
    assert.deepEqual(rig.recorded.of('entered'), [[603, 'start']]);
    assert.equal(attempted().length, deliveries.length);
  });

  test('a delivery that is not due waits', async () => {
    await rig.start();
    const delivery = rig.enter(600);
    const prompt = rig.enter();
    await rig.closed(prompt);
    await rig.closed(delivery);
    const [first, second] = rig.attempts.entries;
    const late = first?.delivery === delivery ? first : second;
    assert.deepEqual(new Set(attempted()), new Set([prompt, delivery]));
    assert.ok((late?.atMs ?? 0) >= delivery.nextAttemptMs);
  });

  test('an attempt that leaves recipients is followed by another one, at its time', async () => {
    rig.hasRounds = false;
    await rig.start();
    rig.attempt = (_delivery, before) =>
      before === 0 ? { kind: 'again', atMs: Date.now() + 700 } : CLOSED;
    const delivery = rig.enter();
    await rig.attempted(1);
    await waitFor('the attempt to be over', () => !delivery.inFlight);
    await rig.closed(delivery);
    const [first, second] = rig.attempts.entries;
    assert.equal(rig.attempts.entries.length, 2);
    assert.ok((second?.atMs ?? 0) - (first?.atMs ?? 0) >= 699);
    assert.deepEqual(rig.recorded.of('requeued'), [], 'nobody had to help');
  });

  test('FLUSHALL: everything is entered again, and attempted once', async () => {
    await rig.start();
    const [soon, too] = [rig.enter(1200), rig.enter(1200)];
    rig.enter(60_000, 'other.example');
    await waitFor('the jobs', () => delayedUnlessAttempted(2, 1));
    await redis.flushAll();
    rig.reconciler.wake();
    await rig.event('entered', 'redis-emptied');
    await Promise.all([rig.closed(soon), rig.closed(too)]);
    assert.equal(rig.attempts.entries.length, 2);
    assert.equal(await bullmq().getDelayedCount(), 1);
  });

  test('FLUSHALL during an attempt: its next one takes place', async () => {
    await rig.start();
    const { promise: flushed, resolve } = Promise.withResolvers<void>();
    rig.attempt = async (_delivery, before) => {
      if (before > 0) return CLOSED;
      await flushed;
      return { kind: 'again', atMs: Date.now() + 200 };
    };
    const delivery = rig.enter();
    await rig.attempted(1);
    await redis.flushAll();
    resolve();
    await rig.closed(delivery);
    assert.deepEqual([rig.attempts.entries.length, rig.mostAtOnce], [2, 1]);
  });

  test('FLUSHALL in the middle of much: all is attempted, each once', async () => {
    await rig.start();
    const domains = Array.from({ length: 20 }, (_, i) => `d${i}.example`);
    rig.attempt = async () => {
      await new Promise(setImmediate);
      return CLOSED;
    };
    for (let i = 0; i < 3000; i++) rig.enter(0, domains[i % 20]);
    for (let part = 1; part <= 4; part++) {
      await rig.attempted(part * 500);
      await redis.flushAll();
      rig.reconciler.wake();
    }
    await rig.allClosed();
    assert.deepEqual([rig.attempts.entries.length, rig.mostAtOnce], [3000, 1]);
    await waitFor('every turn to end', () => rig.ledger.laneCount === 0);
  });

  test('a turn whose job is gone when it ends has ended all the same', async () => {
    rig.hasRounds = false; // sooner than it would be missed
    await rig.start();
    const { promise: removed, resolve } = Promise.withResolvers<void>();
    rig.attempt = async (_delivery, before) => {
      if (before > 0) return CLOSED;
      await removed;
      return { kind: 'again', atMs: Date.now() + 200 };
    };
    const delivery = rig.enter();
    await rig.attempted(1);
    const [job] = await bullmq().getActive();
    await redis.command(
      'DEL',
      bullmq().toKey(job?.id ?? ''),
      `${bullmq().toKey(job?.id ?? '')}:lock`,
    );
    resolve();
    await rig.closed(delivery);
    assert.equal(rig.attempts.entries.length, 2);
    await waitFor('the lane to be empty', () => rig.ledger.laneCount === 0);
  });

  test('a job that somebody removed is missed and made anew', async () => {
    const { delivery, jobId } = await askLongAgo();
    await bullmq().remove(jobId);
    rig.reconciler.wake();
    await rig.event('requeued', 'missing');
    rig.work();
    await rig.closed(delivery);
    assert.equal(rig.attempts.entries.length, 1);
  });

  test('those in place of missing ones are not missed in the same round', async () => {
    let ticks = 0;
    // Time goes by at every look, as on a machine that is busy.
    const clock: Clock = { ...systemClock, now: () => systemClock.now() + ticks++ };
    await rig.stop();
    rig = new QueueRig(redis, { clock });
    [rig.worksFromStart, rig.hasRounds] = [false, false];
    await rig.start();
    for (let i = 0; i < 8; i++) rig.enter(0, `d${i}.example`);
    const turns = [...rig.gate.asked()];
    await waitFor('their jobs', async () => (await jobsLeft()) === 8);
    for (const { jobId } of turns) await bullmq().remove(jobId);
    for (const turn of turns) turn.seenAtMs -= 6000;
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const [isEntered, add] = [rig.jobs.isEntered.bind(rig.jobs), rig.jobs.add.bind(rig.jobs)];
    let rounds = 0;
    rig.jobs.isEntered = () => {
      if (++rounds === 2) resolve();
      return isEntered();
    };
    rig.jobs.add = async (jobs, nowMs) => {
      if (jobs.length > 0) await over; // Redis is busy, too
      await add(jobs, nowMs);
    };
    rig.reconciler.wake();
    rig.reconciler.wake(); // begins when the first round is over
    await over;
    assert.equal(rig.recorded.of('requeued').length, 8);
  });

  test('a turn whose job waits for a long time keeps it', async () => {
    const { delivery, jobId } = await askLongAgo();
    const [turn] = rig.gate.asked();
    const seenAtMs = turn?.seenAtMs;
    rig.reconciler.wake();
    await waitFor('it to be looked at', () => turn?.seenAtMs !== seenAtMs);
    rig.reconciler.wake();
    assert.equal(turn?.jobId, jobId);
    assert.equal(await jobsLeft(), 1);
    rig.work();
    await rig.closed(delivery);
    assert.deepEqual(rig.recorded.of('requeued'), []);
  });

  test('a wake-up that does not come is made up for', async () => {
    await rig.start();
    const delivery = rig.enter(3_600_000);
    await waitFor('its job', async () => (await bullmq().getDelayedCount()) === 1);
    const { lane } = delivery;
    const atMs = Date.now() - 6000;
    delivery.nextAttemptMs = atMs;
    lane.wake = { jobId: lane.wake?.jobId ?? '', atMs };
    rig.reconciler.wake();
    await rig.event('requeued', 'stuck');
    await rig.closed(delivery);
    assert.equal(rig.attempts.entries.length, 1);
    await waitFor('its job to be gone', async () => (await bullmq().getDelayedCount()) === 0);
  });

  test('a job that BullMQ gave up is made anew', async () => {
    const { delivery, jobId } = await askLongAgo();
    await bullmq().remove(jobId);
    await bullmq().add('turn', { destination: 'dest.example' }, { jobId, attempts: 1 });
    const other = plainWorker(() => Promise.reject(new Error('as somebody else would')));
    await waitFor('the job to fail', async () => (await bullmq().getFailedCount()) === 1);
    await other.close();
    rig.reconciler.wake();
    await rig.event('requeued', 'ended');
    rig.work();
    await rig.closed(delivery);
    assert.equal(rig.attempts.entries.length, 1);
  });

  test('a job that somebody took and does nothing with is made anew', async () => {
    const { delivery, jobId } = await askLongAgo();
    const other = plainWorker(null);
    assert.equal((await other.getNextJob('a token of its own'))?.id, jobId);
    rig.reconciler.wake();
    await rig.event('requeued', 'abandoned');
    rig.work();
    await rig.closed(delivery);
    assert.equal(rig.attempts.entries.length, 1);
  });

  test('one job that cannot be looked at keeps no other waiting', async () => {
    rig.worksFromStart = false;
    await rig.start();
    const missing = [rig.enter(0, 'a.example'), rig.enter(0, 'b.example')][1] as Delivery;
    const turns = [...rig.gate.asked()];
    await waitFor('the jobs', async () => (await jobsLeft()) === 2);
    const standing = rig.jobs.standing.bind(rig.jobs);
    rig.jobs.standing = (jobId) =>
      jobId === turns[0]?.jobId ? Promise.reject(new Error('odd')) : standing(jobId);
    await bullmq().remove(turns[1]?.jobId ?? '');
    for (const turn of turns) turn.seenAtMs -= 6000;
    rig.reconciler.wake();
    await rig.event('requeued', 'missing');
    await rig.event('redisError', 'reconcile');
    rig.work();
    await rig.closed(missing);
  });

  test('a worker that waits for ever for Redis gives way to another', async () => {
    await rig.start();
    await rig.closed(rig.enter());
    let isDeaf = true;
    const consumer = rig.consumer as Redis;
    const sendCommand = consumer.sendCommand.bind(consumer);
    consumer.sendCommand = (command) => (isDeaf ? new Promise(() => {}) : sendCommand(command));
    const clear = rig.jobs.clear.bind(rig.jobs);
    rig.jobs.clear = () => {
      isDeaf = false; // what it asked before stays unanswered
      return clear();
    };
    const delivery = rig.enter(0, 'other.example');
    await waitFor('another one', () => {
      rig.reconciler.wake();
      return rig.recorded.of('entered').some(([, reason]) => reason === 'worker-silent');
    });
    await rig.closed(delivery);
    assert.deepEqual([rig.attempts.entries.length, rig.mostAtOnce], [2, 1]);
  });

  test('turns that wait because all slots are in use wait on', async () => {
    await rig.stop();
    rig = new QueueRig(redis, { slots: 2 });
    await rig.start();
    const { promise: going, resolve } = Promise.withResolvers<void>();
    rig.attempt = async () => {
      await going;
      return CLOSED;
    };
    for (const domain of ['a.example', 'b.example', 'c.example']) rig.enter(0, domain);
    await rig.attempted(2);
    let rounds = 0;
    const isEntered = rig.jobs.isEntered.bind(rig.jobs);
    rig.jobs.isEntered = () => {
      rounds += 1;
      return isEntered();
    };
    await waitFor('many rounds', () => {
      rig.reconciler.wake();
      return rounds > 20;
    });
    assert.deepEqual(rig.recorded.of('entered'), [[0, 'start']]);
    resolve();
    await rig.allClosed();
  });

  test('a turn seen in the future, as the clock was set back, is looked after', async () => {
    const { delivery, jobId } = await askLongAgo();
    const [turn] = rig.gate.asked();
    if (turn) turn.seenAtMs += 3_600_000;
    await bullmq().remove(jobId);
    rig.reconciler.wake();
    await rig.event('requeued', 'missing');
    rig.work();
    await rig.closed(delivery);
  });

  test('a job handed out twice: one turn, and one attempt at a time', async () => {
    await rig.start();
    const { promise: going, resolve } = Promise.withResolvers<void>();
    rig.attempt = async (_delivery, before) => {
      if (before > 0) return CLOSED;
      await going;
      return { kind: 'again', atMs: Date.now() };
    };
    const delivery = rig.enter();
    await rig.attempted(1);
    const [job] = await bullmq().getActive();
    assert.ok(job?.id);
    // The lock is lost, and a stalled check comes sooner than BullMQ would make one.
    await redis.command('DEL', `${bullmq().toKey(job.id)}:lock`);
    await redis.command('DEL', bullmq().toKey('stalled-check'));
    await plainWorker(null, 50).startStalledCheckTimer();
    await waitFor('the second run to end', async () => (await jobsLeft()) === 0);
    assert.deepEqual([delivery.lane.turnsTaken, rig.attempts.entries.length], [1, 1]);
    resolve();
    await rig.closed(delivery);
    assert.deepEqual([rig.attempts.entries.length, rig.mostAtOnce], [2, 1]);
    assert.equal(await bullmq().getFailedCount(), 0);
    await waitFor('the lane to be empty', () => rig.ledger.laneCount === 0);
  });

  test('what a killed process left is cleared away, and attempted at once by the next one', async () => {
    const delivery = rig.know(0);
    await bullmq().add('turn', { destination: 'dest.example' }, { jobId: 'of-before' });
    await bullmq().add('delivery', { destination: 'x' }, { jobId: 'older', delay: 60_000 });
    const dead = plainWorker(null);
    const taken = await dead.getNextJob('a token nobody has any more');
    assert.equal(taken?.id, 'of-before');
    await dead.close(true);
    rig.hasRounds = false;
    await rig.start();
    await rig.closed(delivery);
    assert.equal(rig.attempts.entries.length, 1);
    await waitFor('an empty queue', async () => (await jobsLeft()) === 0);
    assert.equal(await bullmq().isPaused(), false);
  });

  test('jobs that nobody asked for end silently', async () => {
    await rig.start();
    for (const name of ['turn', 'wake', 'delivery']) {
      await bullmq().add(name, { destination: 'dest.example' }, { jobId: `by-hand-${name}` });
    }
    await waitFor('an empty queue', async () => (await jobsLeft()) === 0);
    assert.deepEqual(rig.attempts.entries, []);
    assert.equal(rig.ledger.laneCount, 0);
  });

  test('an attempt that throws is reported and not repeated soon; its lane goes on', async () => {
    await rig.start();
    rig.attempt = (delivery) => {
      if (delivery === bad) throw new Error('a bug');
      return CLOSED;
    };
    const bad = rig.enter();
    await rig.event('attemptCrashed', bad);
    await waitFor('it to wait', () => !bad.inFlight);
    assert.ok(bad.nextAttemptMs > Date.now() + 60_000);
    rig.reconciler.wake();
    await rig.closed(rig.enter());
    assert.equal(attempted().filter((delivery) => delivery === bad).length, 1);
    assert.equal(await bullmq().getFailedCount(), 0);
    await waitFor('the turns to end', () => bad.lane.turns === 0);
  });

  test('Redis killed and started again, empty: everything goes on', async () => {
    await rig.start();
    await rig.closed(rig.enter());
    const waiting = rig.enter(1000);
    await waitFor('its job', () => delayedUnlessAttempted(1, 2));
    await redis.kill();
    await waitFor('the loss to be noticed', () => rig.producer.status !== 'ready');
    const meanwhile = rig.enter(0, 'other.example'); // does not throw
    await rig.event('redisError', 'add');
    rig.producer.once('ready', () => rig.reconciler.wake());
    await redis.start();
    await rig.event('entered', 'redis-emptied');
    await Promise.all([waiting, meanwhile].map((delivery) => rig.closed(delivery)));
    assert.deepEqual([rig.attempts.entries.length, rig.mostAtOnce], [3, 1]);
  });

  test('Redis killed during an attempt: the turn ends in time, and the next comes', async () => {
    await rig.start();
    const { promise: killed, resolve } = Promise.withResolvers<void>();
    rig.attempt = async (_delivery, before) => {
      if (before > 0) return CLOSED;
      await killed;
      return { kind: 'again', atMs: Date.now() + 2000 };
    };
    const delivery = rig.enter();
    await rig.attempted(1);
    await redis.kill();
    resolve();
    await waitFor('the turn to end', () => delivery.lane.turns === 0);
    rig.producer.once('ready', () => rig.reconciler.wake());
    await redis.start();
    await rig.closed(delivery);
    assert.deepEqual([rig.attempts.entries.length, rig.mostAtOnce], [2, 1]);
  });

  test('Redis paused when the queue says its first words: it is asked again later', async () => {
    await waitFor('a connection', () => rig.producer.status === 'ready');
    redis.pause();
    const delivery = rig.enter();
    rig.reconciler.start();
    await rig.event('redisError', 'reconcile');
    redis.resume();
    await rig.closed(delivery);
  });

  test('names keep nodes apart and share a slot of a cluster', () => {
    const other = queueNames('stsrelay', 'n2');
    assert.notEqual(NAMES.prefix, other.prefix);
    assert.match(NAMES.prefix, /^\{[^{}]+\}$/);
    assert.doesNotMatch(NAMES.name, /:/);
  });

  test('draining waits for attempts under way, but not for ever', async () => {
    await rig.start();
    const { promise: going, resolve } = Promise.withResolvers<void>();
    rig.attempt = async () => {
      await going;
      return CLOSED;
    };
    const delivery = rig.enter();
    await rig.attempted(1);
    const parked = rig.enter();
    await rig.attempted(2);
    await rig.reconciler.stop();
    rig.dispatcher.stop();
    const started = performance.now();
    await rig.worker?.drain(150); // or the attempts would never end
    const tookMs = performance.now() - started;
    assert.ok(tookMs >= 145, `${tookMs} ms`);
    const late = rig.enter();
    resolve();
    await Promise.all([rig.closed(delivery), rig.closed(parked)]);
    await rig.worker?.drain(60_000);
    assert.equal(late.inFlight, false);
    assert.equal(rig.attempts.entries.length, 2, 'nothing new is begun');
  });

  test('stopping does not wait for a Redis that is gone', async () => {
    await rig.start();
    await redis.kill();
    await rig.stop(); // or it would never end
  });
});

describe('without Redis', { skip: redisMissing }, () => {
  test('deliveries are taken, and attempted once Redis is there', async () => {
    const redis = await startRedis();
    await redis.kill();
    const rig = new QueueRig(redis);
    try {
      rig.reconciler.start();
      const delivery = rig.enter();
      await rig.event('redisError', 'reconcile');
      assert.equal(rig.worker, undefined);
      rig.producer.once('ready', () => rig.reconciler.wake());
      await redis.start();
      await rig.closed(delivery);
      assert.equal(rig.attempts.entries.length, 1);
    } finally {
      await rig.stop();
      await redis.close();
    }
  });
});
