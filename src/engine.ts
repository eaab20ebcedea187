/**
 * Composition of the middle: the spool, the queue over it, and the pipeline that empties it.
 * Built by relay.ts.
 *
 * Order matters: the ledger is filled from the spool before anything is queued or accepted, so
 * that a message is known before its job can run; Redis is never waited for.
 */
import type { Settings } from './config/settings.ts';
import { destinationOf, type Outbound } from './outbound.ts';
import { createFinisher } from './outcome/finish.ts';
import { policyToCheck, settle } from './outcome/settle.ts';
import { attemptDelivery, type Stages } from './pipeline.ts';
import type { Clock } from './platform/clock.ts';
import { withDeadline } from './platform/deadline.ts';
import { connectRedis, type RedisTarget } from './platform/redis.ts';
import type { DowngradeDetector } from './policy/downgrade-detector.ts';
import { checkPolicy } from './policy/last-check.ts';
import { connectionLimits } from './queue/connection-limit.ts';
import { Dispatcher } from './queue/dispatcher.ts';
import { Gate } from './queue/gate.ts';
import { JobQueue, queueNames } from './queue/job-queue.ts';
import type { Delivery } from './queue/lane.ts';
import { Ledger, type LedgerSummary } from './queue/ledger.ts';
import { Outbox } from './queue/outbox.ts';
import { Reconciler } from './queue/reconciler.ts';
import { Recovery } from './queue/recovery.ts';
import { longestWaitMs, type RetrySettings } from './queue/retry-schedule.ts';
import { createSubmit } from './queue/submit.ts';
import type { Submit } from './queue/submit-port.ts';
import { AFTER_CRASH_MS, type AttemptEnd, DeliveryWorker } from './queue/worker.ts';
import type { Spool } from './spool/store.ts';
import type { OutcomeEvents } from './telemetry/outcome-events.ts';
import type { PolicyEvents } from './telemetry/policy-events.ts';
import type { QueueEvents } from './telemetry/queue-events.ts';

export interface EngineParts {
  readonly settings: () => Settings;
  readonly node: string;
  readonly clock: Clock;
  readonly spool: Spool;
  readonly redis: RedisTarget;
  /** The parts that look outwards, as the settings of the moment have them. */
  readonly outbound: () => Outbound;
  readonly detector: DowngradeDetector;
  readonly policyEvents: PolicyEvents;
  readonly queueEvents: QueueEvents;
  readonly outcomeEvents: OutcomeEvents;
}

export interface Engine {
  readonly submit: Submit;
  /** Read the queue from the spool, once; mail may be taken meanwhile. How many messages there were. */
  recover(): Promise<number>;
  /** Begin to queue and to deliver. */
  begin(): void;
  /** Redis is back: see at once whether it still has everything. */
  redisIsBack(): void;
  summary(): LedgerSummary & { readonly messages: number };
  /** Take no more jobs; attempts under way get `graceMs`, then are cut short and stay queued. */
  drain(graceMs: number): Promise<void>;
  /** Let go of Redis. */
  stop(): Promise<void>;
}

/** Attempts at the same time, for all destinations together; each has a limit of its own. */
const SLOTS = 1000;
/** No attempt takes longer: the timeouts of RFC 5321 §4.5.3.2 for a few hosts in a row. */
const ATTEMPT_MS = 60 * 60_000;
/** For attempts that were cut short to come to an end. */
const CUT_SHORT_MS = 2000;

/** Make everything ready to take mail, to read the queue, and then to begin. */
export function createEngine(parts: EngineParts): Engine {
  const { clock, spool, queueEvents, outcomeEvents } = parts;
  const ledger = new Ledger(longestWait(() => parts.settings().retry));
  const connections = connectionLimits(() => parts.settings().destinations);
  const gate = new Gate({ ledger, connections, slots: SLOTS });
  const ending = new AbortController();
  const names = queueNames(parts.settings().redis.keyPrefix, parts.node);
  const onRedisError = (error: Error) => queueEvents.redisError('connection', error);
  const producer = connectRedis(parts.redis, 'fail-fast', onRedisError);
  const consumer = connectRedis(parts.redis, 'wait', onRedisError);
  const jobs = new JobQueue(producer, names, onRedisError);
  const outbox = new Outbox({ jobs, clock, events: queueEvents });
  const dispatcher = new Dispatcher({ ledger, gate, outbox, clock });
  const reconciler = new Reconciler({
    ...{ ledger, gate, dispatcher, outbox, jobs, clock },
    events: queueEvents,
    onEntered: () => startWorker(),
  });
  producer.on('ready', () => reconciler.wake());
  const recovery = new Recovery({ spool, ledger, dispatcher, clock, destinationOf });
  const submit = createSubmit({
    ...{ spool, clock, destinationOf },
    enter: (state) => recovery.enter(state),
    queuedMessages: () => recovery.queuedMessages,
    mostMessages: () => parts.settings().limits.queuedMessages,
  });
  const finish = createFinisher({
    spool,
    clock,
    destinationOf,
    hostname: () => parts.settings().hostname,
    events: outcomeEvents,
    beginOwn: submit.beginOwn,
    commit: submit.commit,
  });
  const retry = () => parts.settings().retry;
  const ownStages: Omit<Stages, keyof Outbound> = {
    spool,
    destinationOf,
    policyToCheck: (attempt) => policyToCheck(attempt, { clock, retry }),
    recheckPolicy: (used, signal) =>
      checkPolicy(
        used,
        {
          refresh: (name, ending) => parts.outbound().refreshPolicy(name, 'last-attempt', ending),
          events: parts.policyEvents,
        },
        signal,
      ),
    settle: (attempt) => settle(attempt, { spool, clock, retry, events: outcomeEvents }),
    finish,
    onFirstAttempt: ({ envelope }) =>
      outcomeEvents.firstAttempt(clock.now() - envelope.receivedAtMs),
    onSession: (id, destination, result) => {
      outcomeEvents.session(id, result);
      parts.detector.session(destination, result);
    },
  };
  let worker: DeliveryWorker | undefined;
  const attempt = (delivery: Delivery): Promise<AttemptEnd> =>
    withDeadline({ clock, waitMs: ATTEMPT_MS }, ending.signal, (signal) =>
      attemptDelivery(delivery, { ...ownStages, ...parts.outbound() }, signal),
    );
  function startWorker(): void {
    const options = { connection: consumer, names, slots: SLOTS, ledger, dispatcher, clock };
    worker = new DeliveryWorker({ ...options, events: queueEvents, attempt });
  }
  return {
    submit,
    recover: () => recovery.run(finish),
    begin: () => reconciler.start(),
    redisIsBack: () => reconciler.wake(),
    summary: () => ({ messages: ledger.messageCount, ...ledger.summary(clock.now()) }),
    async drain(graceMs) {
      await reconciler.stop();
      dispatcher.stop();
      await worker?.drain(graceMs);
      ending.abort();
    },
    async stop() {
      await reconciler.stop();
      dispatcher.stop();
      ending.abort();
      await worker?.close(CUT_SHORT_MS);
      await jobs.close();
      producer.disconnect();
      consumer.disconnect();
    },
  };
}

/** Longer than anything waits by the schedules that were in force while this process runs. */
function longestWait(retry: () => RetrySettings): () => number {
  let mostMs = AFTER_CRASH_MS;
  let seen: RetrySettings | undefined;
  return () => {
    const now = retry();
    if (now !== seen) mostMs = Math.max(mostMs, 1.25 * longestWaitMs(now));
    seen = now;
    return mostMs;
  };
}
