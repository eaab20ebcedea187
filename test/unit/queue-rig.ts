/**
 * The middle of a relay, as engine.ts builds it, over a Redis of the test: with attempts that the
 * test makes up, and everything that happens written down.
 */
import assert from 'node:assert/strict';
import type { Envelope } from '../../src/mail/envelope.ts';
import { type Clock, systemClock } from '../../src/platform/clock.ts';
import { connectRedis, type RedisClient } from '../../src/platform/redis.ts';
import { type AttemptEnd, Attempts } from '../../src/queue/attempts.ts';
import { Dispatcher } from '../../src/queue/dispatcher.ts';
import { Gate } from '../../src/queue/gate.ts';
import { JobQueue, queueNames } from '../../src/queue/job-queue.ts';
import type { Delivery } from '../../src/queue/lane.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import { Outbox } from '../../src/queue/outbox.ts';
import { Reconciler } from '../../src/queue/reconciler.ts';
import { DeliveryWorker } from '../../src/queue/worker.ts';
import { foldRecords, type MessageState } from '../../src/spool/message-state.ts';
import type { QueueEvents } from '../../src/telemetry/queue-events.ts';
import type { TestRedis } from '../support/redis.ts';
import { Chronicle, waitFor } from '../support/wait-for.ts';
import { attempt, destinationOf, FAILURE, recordEvents, sampleEnvelope } from './sample-mail.ts';
import { RETRY } from './story-samples.ts';

export const QUEUE_NAMES = queueNames('stsrelay', 'n1');
export const CLOSED: AttemptEnd = { kind: 'closed' };

/** What the attempts do; each gets the delivery and how many were made for it before. */
export type Attempt = (delivery: Delivery, before: number) => Promise<AttemptEnd> | AttemptEnd;

export interface RigOptions {
  readonly connections?: number;
  readonly slots?: number;
  readonly clock?: Clock;
}

export class QueueRig {
  readonly ledger = new Ledger();
  readonly recorded = recordEvents<QueueEvents>();
  readonly attempts = new Chronicle<{ readonly delivery: Delivery; readonly atMs: number }>();
  readonly closedOnes = new Chronicle<Delivery>();
  readonly jobs: JobQueue;
  readonly gate: Gate;
  readonly dispatcher: Dispatcher;
  readonly reconciler: Reconciler;
  readonly producer: RedisClient;
  readonly consumer: RedisClient;
  readonly clock: Clock;
  attempt: Attempt = () => CLOSED;
  /** False to look at the queue before anything is taken from it. */
  worksFromStart = true;
  /** False to have no rounds but the first and those a test asks for: nobody helps what is stuck. */
  hasRounds = true;
  worker: DeliveryWorker | undefined;
  mostAtOnce = 0;
  readonly #before = new Map<Delivery, number>();
  readonly #atOnce = new Map<Delivery, number>();
  readonly #slots: number;

  constructor(redis: TestRedis, options: RigOptions = {}) {
    const { connections = 10, slots = 100, clock = systemClock } = options;
    const target = { kind: 'socket', path: redis.socketPath } as const;
    const { events } = this.recorded;
    const onError = (error: Error) => events.redisError('connection', error);
    this.clock = clock;
    this.#slots = slots;
    this.producer = connectRedis(target, 'fail-fast', onError);
    this.consumer = connectRedis(target, 'wait', onError);
    const { ledger } = this;
    const jobs = new JobQueue(this.producer, QUEUE_NAMES, onError);
    const gate = new Gate({ ledger, connections: () => connections, slots });
    const outbox = new Outbox({ jobs, clock, events });
    const dispatcher = new Dispatcher({ ledger, gate, outbox, clock, longRestMs: 50 });
    const onEntered = () => {
      if (this.worksFromStart) this.work();
    };
    const roundsClock: Clock = {
      now: () => clock.now(),
      after: (delayMs, round) => (this.hasRounds ? clock.after(delayMs, round) : () => {}),
    };
    const onSilence = () => this.worker?.renew();
    const parts = {
      ...{ ledger, gate, dispatcher, outbox, jobs, clock: roundsClock, events },
      ...{ onEntered, onSilence },
    };
    this.reconciler = new Reconciler(parts);
    [this.jobs, this.gate, this.dispatcher] = [jobs, gate, dispatcher];
  }

  work(): void {
    this.worker ??= new DeliveryWorker({
      connection: this.consumer,
      names: QUEUE_NAMES,
      slots: this.#slots,
      dispatcher: this.dispatcher,
      attempts: new Attempts({
        ...{ ledger: this.ledger, dispatcher: this.dispatcher, clock: this.clock },
        retry: () => RETRY,
        events: this.recorded.events,
      }),
      clock: this.clock,
      events: this.recorded.events,
      attempt: (delivery) => this.#attempt(delivery),
    });
  }

  async #attempt(delivery: Delivery): Promise<AttemptEnd> {
    const before = this.#before.get(delivery) ?? 0;
    this.#before.set(delivery, before + 1);
    const atOnce = (this.#atOnce.get(delivery) ?? 0) + 1;
    this.#atOnce.set(delivery, atOnce);
    this.mostAtOnce = Math.max(this.mostAtOnce, atOnce);
    this.attempts.push({ delivery, atMs: Date.now() });
    try {
      const end = await this.attempt(delivery, before);
      if (end.kind === 'closed') queueMicrotask(() => this.closedOnes.push(delivery));
      return end;
    } finally {
      this.#atOnce.set(delivery, atOnce - 1);
    }
  }

  #state(dueInMs: number, change: Partial<Envelope>): MessageState {
    const nextAttemptMs = this.clock.now() + dueInMs;
    const envelope = sampleEnvelope({
      receivedAtMs: Math.min(nextAttemptMs, this.clock.now()),
      ...change,
    });
    const destination = destinationOf(envelope.recipients[0]?.address ?? '') ?? '';
    // What was never attempted is due; only what was waits for its time.
    const deferred = [{ index: 0, failure: FAILURE }];
    const records = dueInMs > 0 ? [attempt({ destination, deferred, nextAttemptMs })] : [];
    return foldRecords(envelope, records, destinationOf);
  }

  /** A delivery in the ledger alone, as when it was found in the spool. */
  know(dueInMs: number, change: Partial<Envelope> = {}): Delivery {
    const state = this.#state(dueInMs, change);
    const [delivery] = this.ledger.enter(state, this.clock.now());
    assert.ok(delivery);
    return delivery;
  }

  /** A new delivery, on its way into Redis. */
  enter(dueInMs = 0, domain = 'dest.example'): Delivery {
    const state = this.#state(dueInMs, { recipients: [{ address: `x@${domain}` }] });
    const entered = this.dispatcher.enter(state);
    const [delivery] = entered;
    assert.ok(delivery);
    return delivery;
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

  /** The delivery has come to its end. */
  closed(delivery: Delivery): Promise<unknown> {
    return this.closedOnes.until(`${delivery.id} to be closed`, (all) =>
      all.includes(delivery) ? true : undefined,
    );
  }

  /** Everything has. */
  allClosed(): Promise<unknown> {
    return waitFor('an empty ledger', () => this.ledger.messageCount === 0);
  }

  async stop(): Promise<void> {
    await this.reconciler.stop();
    this.dispatcher.stop();
    await this.worker?.close(100);
    await this.jobs.close();
    this.producer.disconnect();
    this.consumer.disconnect();
  }
}
