/**
 * Queue, worker and reconciler over a real Redis that is restarted, emptied, paused and
 * tampered with: every delivery is attempted when it is due, and once at a time.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { Queue, Worker } from 'bullmq';
import type { Envelope } from '../../src/mail/envelope.ts';
import { type Clock, systemClock } from '../../src/platform/clock.ts';
import { connectRedis, type RedisClient } from '../../src/platform/redis.ts';
import { type DeliveryJob, JobQueue, queueNames } from '../../src/queue/job-queue.ts';
import { Ledger, type LedgerEntry } from '../../src/queue/ledger.ts';
import { Reconciler } from '../../src/queue/reconciler.ts';
import { type AttemptEnd, DeliveryWorker } from '../../src/queue/worker.ts';
import { foldRecords } from '../../src/spool/message-state.ts';
import type { QueueEvents } from '../../src/telemetry/queue-events.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { Chronicle, waitFor } from '../support/wait-for.ts';
import { destinationOf, recordEvents, sampleEnvelope } from './sample-mail.ts';

const NAMES = queueNames('stsrelay', 'n1');
const CLOSED: AttemptEnd = { kind: 'closed' };

/** What the attempts do; each gets the entry and how many were made for it before. */
type Attempt = (entry: LedgerEntry, before: number) => Promise<AttemptEnd> | AttemptEnd;

/** The middle of a relay, as engine.ts builds it. */
class Rig {
  readonly ledger = new Ledger();
  readonly recorded = recordEvents<QueueEvents>();
  readonly attempts = new Chronicle<{ readonly key: string; readonly atMs: number }>();
  readonly jobs: JobQueue;
  readonly reconciler: Reconciler;
  readonly producer: RedisClient;
  readonly consumer: RedisClient;
  readonly clock: Clock = systemClock;
  attempt: Attempt = () => CLOSED;
  worker: DeliveryWorker | undefined;
  mostAtOnce = 0;
  #atOnce = new Map<string, number>();

  constructor(redis: TestRedis) {
    const target = { kind: 'socket', path: redis.socketPath } as const;
    const { events } = this.recorded;
    const onError = (error: Error) => events.redisError('connection', error);
    this.producer = connectRedis(target, 'fail-fast', onError);
    this.consumer = connectRedis(target, 'wait', onError);
    this.jobs = new JobQueue(this.producer, NAMES, onError);
    const { ledger, jobs, clock } = this;
    const onEntered = () => this.work();
    this.reconciler = new Reconciler({ ledger, jobs, clock, events, onEntered });
  }

  work(): void {
    this.worker ??= new DeliveryWorker({
      connection: this.consumer,
      names: NAMES,
      concurrency: 10,
      ledger: this.ledger,
      clock: this.clock,
      events: this.recorded.events,
      attempt: (entry) => this.#attempt(entry),
      reenter: (entry) => void this.reconciler.enter([entry]),
    });
  }

  async #attempt(entry: LedgerEntry): Promise<AttemptEnd> {
    const { key } = entry;
    const before = this.attempts.entries.filter((one) => one.key === key).length;
    this.attempts.push({ key, atMs: Date.now() });
    const atOnce = (this.#atOnce.get(key) ?? 0) + 1;
    this.#atOnce.set(key, atOnce);
    this.mostAtOnce = Math.max(this.mostAtOnce, atOnce);
    try {
      return await this.attempt(entry, before);
    } finally {
      this.#atOnce.set(key, (this.#atOnce.get(key) ?? 1) - 1);
    }
  }

  /** A delivery in the ledger alone, as when it was found in the spool. */
  know(dueInMs: number, change: Partial<Envelope> = {}): LedgerEntry {
    const envelope = sampleEnvelope({ receivedAtMs: Date.now() + dueInMs, ...change });
    const [entry] = this.ledger.enter(foldRecords(envelope, [], destinationOf));
    assert.ok(entry);
    return entry;
  }

  /** A new delivery, in the ledger and queued. */
  async enter(dueInMs = 0): Promise<LedgerEntry> {
    const entry = this.know(dueInMs);
    await this.reconciler.enter([entry]);
    return entry;
  }

  event(name: string, ...args: unknown[]): Promise<true> {
    return this.recorded.calls.until(`${name} ${args.join()}`, (calls) => {
      const fits = (call: (typeof calls)[number]) =>
        call.name === name && args.every((arg) => call.args.includes(arg));
      return calls.some(fits) || undefined;
    });
  }

  /** Start, and be through with the first round. */
  async start(): Promise<void> {
    await waitFor('a connection', () => this.producer.status === 'ready');
    this.reconciler.start();
    await this.event('entered', 'start');
  }

  attempted(count: number): Promise<unknown> {
    return this.attempts.untilCount('attempt', count);
  }

  closed(entry: LedgerEntry): Promise<unknown> {
    return waitFor(`${entry.key} to be closed`, () => this.ledger.get(entry.key) === undefined);
  }

  async stop(): Promise<void> {
    await this.reconciler.stop();
    await this.worker?.close(100);
    await this.jobs.close();
    this.producer.disconnect();
    this.consumer.disconnect();
  }
}

describe('the queue on Redis', { skip: redisMissing, timeout: 60_000 }, () => {
  let redis: TestRedis;
  let rig: Rig;
  let plain: Queue<DeliveryJob> | undefined;
  let workers: Worker<DeliveryJob>[] = [];
  beforeEach(async () => {
    redis = await startRedis();
    rig = new Rig(redis);
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
    const worker = new Worker<DeliveryJob>(NAMES.name, processor, {
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
  function bullmq(): Queue<DeliveryJob> {
    plain ??= new Queue(NAMES.name, { connection: redis.client(), prefix: NAMES.prefix });
    return plain;
  }
  const jobsLeft = () => bullmq().getJobCountByTypes('wait', 'active', 'delayed', 'failed');

  test('a delivery that is due is attempted once, and nothing of it stays behind', async () => {
    await rig.start();
    const entry = await rig.enter();
    await rig.closed(entry);
    assert.deepEqual(
      rig.attempts.entries.map(({ key }) => key),
      [entry.key],
    );
    await waitFor('an empty queue', async () => (await jobsLeft()) === 0);
    assert.equal(await bullmq().getCompletedCount(), 0);
    assert.equal(rig.ledger.messageCount, 0);
  });

  test('what the spool held at start is attempted', async () => {
    const entries = Array.from({ length: 603 }, () => rig.know(0));
    await rig.start();
    await rig.attempted(entries.length);
    assert.deepEqual(rig.recorded.of('entered'), [[603, 'start']]);
    await waitFor('an empty ledger', () => rig.ledger.messageCount === 0);
    assert.equal(rig.attempts.entries.length, entries.length);
  });

  test('a delivery that is not due waits', async () => {
    await rig.start();
    const entry = await rig.enter(600);
    const prompt = await rig.enter();
    await rig.closed(prompt);
    await rig.closed(entry);
    const [first, second] = rig.attempts.entries;
    assert.deepEqual([first?.key, second?.key], [prompt.key, entry.key]);
    assert.ok((second?.atMs ?? 0) >= entry.nextAttemptMs - 1);
  });

  test('an attempt that leaves recipients is followed by another one, at its time', async () => {
    await rig.start();
    rig.attempt = (_entry, before) =>
      before === 0 ? { kind: 'again', atMs: Date.now() + 700 } : CLOSED;
    const entry = await rig.enter();
    await rig.attempted(1);
    await waitFor('the attempt to be counted', () => entry.attempts === 1);
    assert.equal(entry.inFlight, false);
    await rig.closed(entry);
    const [first, second] = rig.attempts.entries;
    assert.equal(rig.attempts.entries.length, 2);
    assert.ok((second?.atMs ?? 0) - (first?.atMs ?? 0) >= 699);
  });

  test('FLUSHALL: everything is entered again, and attempted once', async () => {
    await rig.start();
    const entries = await Promise.all([rig.enter(1200), rig.enter(1200), rig.enter(60_000)]);
    await redis.flushAll();
    rig.reconciler.wake();
    await rig.event('entered', 'redis-emptied');
    await Promise.all(entries.slice(0, 2).map((entry) => rig.closed(entry)));
    assert.equal(rig.attempts.entries.length, 2);
    assert.equal(await bullmq().getDelayedCount(), 1);
  });

  test('FLUSHALL during an attempt: its next one takes place', async () => {
    await rig.start();
    const { promise: flushed, resolve } = Promise.withResolvers<void>();
    rig.attempt = async (_entry, before) => {
      if (before > 0) return CLOSED;
      await flushed;
      return { kind: 'again', atMs: Date.now() + 200 };
    };
    const entry = await rig.enter();
    await rig.attempted(1);
    await redis.flushAll();
    resolve();
    await rig.closed(entry);
    assert.equal(rig.attempts.entries.length, 2);
    assert.equal(rig.mostAtOnce, 1);
  });

  test('a job that is gone at the end of its attempt is made anew for the next one', async () => {
    await rig.start();
    const { promise: removed, resolve } = Promise.withResolvers<void>();
    rig.attempt = async (_entry, before) => {
      if (before > 0) return CLOSED;
      await removed;
      return { kind: 'again', atMs: Date.now() + 200 };
    };
    const entry = await rig.enter();
    await rig.attempted(1);
    await redis.command('DEL', bullmq().toKey(entry.key), `${bullmq().toKey(entry.key)}:lock`);
    resolve();
    await rig.closed(entry);
    const [first, second] = rig.attempts.entries;
    assert.ok((second?.atMs ?? 0) - (first?.atMs ?? 0) < 3000, 'sooner than it would be missed');
  });

  test('a job that somebody removed is missed and made anew', async () => {
    await rig.start();
    const entry = await rig.enter(300);
    await (await bullmq().getJob(entry.key))?.remove();
    entry.nextAttemptMs = Date.now() - 6000; // overdue
    rig.reconciler.wake();
    await rig.event('requeued', 'missing');
    await rig.closed(entry);
    assert.equal(rig.attempts.entries.length, 1);
  });

  test('a delayed job that is stuck is promoted', async () => {
    await rig.start();
    const entry = await rig.enter(3_600_000);
    entry.nextAttemptMs = Date.now() - 6000;
    rig.reconciler.wake();
    await rig.event('requeued', 'stuck');
    await rig.closed(entry);
  });

  test('a job that BullMQ gave up is made anew', async () => {
    const entry = rig.know(-6000);
    const options = { jobId: entry.key, attempts: 1 };
    await bullmq().add('delivery', { id: entry.id, destination: entry.destination }, options);
    const other = plainWorker(() => Promise.reject(new Error('as somebody else would')));
    await waitFor('the job to fail', async () => (await bullmq().getFailedCount()) === 1);
    await other.close();
    await rig.start();
    rig.reconciler.wake();
    await rig.event('requeued', 'ended');
    await rig.closed(entry);
    assert.equal(rig.attempts.entries.length, 1);
  });

  test('one job that cannot be looked at keeps no other waiting', async () => {
    await rig.start();
    const [broken, missing] = await Promise.all([rig.enter(60_000), rig.enter(60_000)]);
    const key = (entry: LedgerEntry) => `${NAMES.prefix}:${NAMES.name}:${entry.key}`;
    await redis.command('SET', key(broken), 'not a hash');
    await redis.command('DEL', key(missing));
    for (const entry of [broken, missing]) entry.nextAttemptMs = Date.now() - 6000;
    rig.reconciler.wake();
    await rig.closed(missing);
    await rig.event('redisError', 'reconcile');
  });

  test('two jobs for one delivery: attempted once at a time', async () => {
    await rig.start();
    const { promise: going, resolve } = Promise.withResolvers<void>();
    rig.attempt = async () => {
      await going;
      return CLOSED;
    };
    const entry = await rig.enter();
    await rig.attempted(1);
    const data = { id: entry.id, destination: entry.destination };
    const second = await bullmq().add('delivery', data, { jobId: 'by-hand' });
    await waitFor('it to be put back', async () => (await second.getState()) === 'delayed');
    resolve();
    await rig.closed(entry);
    await second.promote();
    await waitFor('the second job to end', async () => (await jobsLeft()) === 0);
    assert.deepEqual([rig.attempts.entries.length, rig.mostAtOnce], [1, 1]);
  });

  test('a job woken too early waits for its time', async () => {
    await rig.start();
    const entry = await rig.enter(1000);
    await (await bullmq().getJob(entry.key))?.promote();
    await rig.closed(entry);
    assert.ok((rig.attempts.entries[0]?.atMs ?? 0) >= entry.nextAttemptMs - 500);
  });

  test('a lock that was lost in the middle: no second attempt beside the first, none lost', async () => {
    await rig.start();
    const { promise: going, resolve } = Promise.withResolvers<void>();
    rig.attempt = async (_entry, before) => {
      if (before > 0) return CLOSED;
      await going;
      return { kind: 'again', atMs: Date.now() };
    };
    const entry = await rig.enter();
    await rig.attempted(1);
    await redis.command('DEL', `${bullmq().toKey(entry.key)}:lock`);
    // A stalled check, sooner than BullMQ would make one.
    await redis.command('DEL', bullmq().toKey('stalled-check'));
    await plainWorker(null, 50).startStalledCheckTimer();
    await waitFor('the job to be handed out again', async () => {
      const job = await bullmq().getJob(entry.key);
      return (await job?.getState()) === 'delayed';
    });
    resolve();
    await waitFor('the first attempt to end', () => entry.attempts === 1);
    entry.nextAttemptMs = Date.now() - 6000;
    rig.reconciler.wake();
    await rig.closed(entry);
    assert.deepEqual([rig.attempts.entries.length, rig.mostAtOnce], [2, 1]);
    assert.equal(await bullmq().getFailedCount(), 0);
  });

  test('what a killed process was working on is attempted at once by the next one', async () => {
    const entry = rig.know(0);
    await bullmq().add(
      'delivery',
      { id: entry.id, destination: entry.destination },
      { jobId: entry.key },
    );
    const dead = plainWorker(null);
    const taken = await dead.getNextJob('a token nobody has any more');
    assert.equal(taken?.id, entry.key);
    await dead.close(true);
    const started = Date.now();
    await rig.start();
    await rig.closed(entry);
    assert.ok(Date.now() - started < 5000);
    assert.equal(rig.attempts.entries.length, 1);
  });

  test('jobs of messages that are gone end silently', async () => {
    const { id } = sampleEnvelope();
    await bullmq().add('delivery', { id, destination: 'dest.example' }, { jobId: 'gone' });
    await rig.start();
    await waitFor('an empty queue', async () => (await jobsLeft()) === 0);
    assert.deepEqual(rig.attempts.entries, []);
  });

  test('an attempt that throws is reported and not repeated soon', async () => {
    await rig.start();
    rig.attempt = () => {
      throw new Error('a bug');
    };
    const entry = await rig.enter();
    await rig.event('attemptCrashed', entry);
    await waitFor('it to wait', async () => {
      const job = await bullmq().getJob(entry.key);
      return (await job?.getState()) === 'delayed';
    });
    assert.deepEqual([entry.inFlight, entry.attempts], [false, 0]);
    assert.ok(entry.nextAttemptMs > Date.now() + 60_000);
    assert.equal(await bullmq().getFailedCount(), 0);
    rig.reconciler.wake();
    await rig.enter().then((other) => rig.event('attemptCrashed', other));
    assert.equal(rig.attempts.entries.filter(({ key }) => key === entry.key).length, 1);
  });

  test('Redis killed and started again, empty: everything goes on', async () => {
    await rig.start();
    await rig.closed(await rig.enter());
    const waiting = await rig.enter(1000);
    await redis.kill();
    const meanwhile = await rig.enter(); // does not throw
    await rig.event('redisError', 'add');
    rig.producer.once('ready', () => rig.reconciler.wake());
    await redis.start();
    await rig.event('entered', 'redis-emptied');
    await Promise.all([waiting, meanwhile].map((entry) => rig.closed(entry)));
    assert.deepEqual([rig.attempts.entries.length, rig.mostAtOnce], [3, 1]);
  });

  test('Redis killed during an attempt: its end waits for Redis, and counts', async () => {
    await rig.start();
    const { promise: killed, resolve } = Promise.withResolvers<void>();
    rig.attempt = async (_entry, before) => {
      if (before > 0) return CLOSED;
      await killed;
      return { kind: 'again', atMs: Date.now() + 100 };
    };
    const entry = await rig.enter();
    await rig.attempted(1);
    await redis.kill();
    resolve();
    await waitFor('the attempt to be counted', () => entry.attempts === 1);
    rig.producer.once('ready', () => rig.reconciler.wake());
    await redis.start();
    await rig.closed(entry);
    assert.deepEqual([rig.attempts.entries.length, rig.mostAtOnce], [2, 1]);
  });

  test('Redis paused when the queue says its first words: it is asked again later', async () => {
    await waitFor('a connection', () => rig.producer.status === 'ready');
    redis.pause();
    const entry = await rig.enter();
    await rig.event('redisError', 'add');
    redis.resume();
    rig.reconciler.start();
    await rig.closed(entry);
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
    const entry = await rig.enter();
    await rig.attempted(1);
    const started = performance.now();
    await rig.worker?.drain(150);
    const tookMs = performance.now() - started;
    assert.ok(tookMs >= 145 && tookMs < 3000, `${tookMs} ms`);
    const late = await rig.enter();
    resolve();
    await rig.closed(entry);
    await rig.worker?.drain(10_000);
    assert.equal(late.inFlight, false);
    assert.equal(rig.attempts.entries.length, 1, 'nothing new is begun');
  });

  test('stopping does not wait for a Redis that is gone', async () => {
    await rig.start();
    await redis.kill();
    const started = performance.now();
    await rig.stop();
    assert.ok(performance.now() - started < 4000);
  });
});

describe('without Redis', { skip: redisMissing, timeout: 60_000 }, () => {
  test('deliveries are taken, and attempted once Redis is there', async () => {
    const redis = await startRedis();
    await redis.kill();
    const rig = new Rig(redis);
    try {
      rig.reconciler.start();
      const entry = await rig.enter();
      await rig.event('redisError', 'add');
      assert.equal(rig.worker, undefined);
      rig.producer.once('ready', () => rig.reconciler.wake());
      await redis.start();
      await rig.closed(entry);
      assert.equal(rig.attempts.entries.length, 1);
    } finally {
      await rig.stop();
      await redis.close();
    }
  });
});
