/**
 * Composition of the middle: the spool, the queue over it, and the pipeline that empties it.
 * Built by relay.ts.
 *
 * Order matters: the ledger is filled from the spool before anything is queued or accepted, so
 * that a message is known before its job can run; Redis is never waited for.
 */
import type { Settings } from './config/settings.ts';
import type { DkimSigner } from './dkim/signer.ts';
import { leastMessageId, type MessageId } from './mail/message-id.ts';
import { type Destination, hostsOf, type Route } from './mail/route.ts';
import { destinationOf, type Outbound } from './outbound.ts';
import { DelayWarnings } from './outcome/delay-warnings.ts';
import { createFinisher } from './outcome/finish.ts';
import { heardFrom } from './outcome/heard.ts';
import { policyToCheck, settle } from './outcome/settle.ts';
import { expireDelivery, giveUpDelivery, type Stages } from './pipeline.ts';
import type { Clock } from './platform/clock.ts';
import { withDeadline } from './platform/deadline.ts';
import { connectRedis, type RedisTarget } from './platform/redis.ts';
import type { DowngradeDetector } from './policy/downgrade-detector.ts';
import { checkPolicy } from './policy/last-check.ts';
import { AFTER_CRASH_MS, type AttemptEnd, Attempts } from './queue/attempts.ts';
import { connectionLimits } from './queue/connection-limit.ts';
import { Dispatcher } from './queue/dispatcher.ts';
import { Gate } from './queue/gate.ts';
import { Gates } from './queue/gates.ts';
import type { HoldRules } from './queue/hold-rules.ts';
import { JobQueue, queueNames } from './queue/job-queue.ts';
import type { Delivery } from './queue/lane.ts';
import { Ledger, type LedgerSummary } from './queue/ledger.ts';
import { Outbox } from './queue/outbox.ts';
import type { Pauses } from './queue/pauses.ts';
import { QueueControl } from './queue/queue-control.ts';
import { SharedRateCount } from './queue/rate-count.ts';
import { Rates } from './queue/rates.ts';
import { Reconciler } from './queue/reconciler.ts';
import { Recovery } from './queue/recovery.ts';
import { asScheduled, type Preview, previewRetry, reschedule } from './queue/reschedule.ts';
import { expiry, longestWaitMs, type RetrySettings } from './queue/retry-schedule.ts';
import { Sites } from './queue/site.ts';
import { SiteWatch } from './queue/site-watch.ts';
import { createSubmit } from './queue/submit.ts';
import type { Submit } from './queue/submit-port.ts';
import { DeliveryWorker } from './queue/worker.ts';
import type { Counting } from './reporting/counting.ts';
import type { Sharing } from './sharing.ts';
import type { AttemptRecord } from './spool/message-state.ts';
import type { Spool } from './spool/store.ts';
import type { OutcomeEvents } from './telemetry/outcome-events.ts';
import type { PolicyEvents } from './telemetry/policy-events.ts';
import type { QueueEvents } from './telemetry/queue-events.ts';
import type { Traces } from './telemetry/traces/open-traces.ts';
import { tracedAttempt } from './traced-attempt.ts';
import { tellGivenUp, tellingFinisher, tracedOwn } from './traced-messages.ts';

export interface EngineParts {
  readonly settings: () => Settings;
  readonly node: string;
  readonly clock: Clock;
  readonly spool: Spool;
  readonly redis: RedisTarget;
  /** What is shared with the other nodes; undefined: there are none. */
  readonly sharing: Sharing | undefined;
  /** The parts that look outwards, as the settings of the moment have them. */
  readonly outbound: () => Outbound;
  readonly detector: DowngradeDetector;
  /** For the TLS reports. */
  readonly countSession: Counting['session'];
  /** Put an attempt on record, its counts first. */
  readonly besideCounts: <R>(record: () => Promise<R>) => Promise<R>;
  /** An attempt of the mail of a TLS report of ours is on record. */
  readonly reportMailTried: (id: MessageId, record: AttemptRecord) => void;
  readonly pauses: Pick<Pauses, 'of' | 'list'>;
  readonly holdRules: HoldRules;
  readonly policyEvents: PolicyEvents;
  readonly queueEvents: QueueEvents;
  readonly outcomeEvents: OutcomeEvents;
  /** Signs DSNs. */
  readonly signer: DkimSigner;
  /** Absent: nothing is traced. */
  readonly traces: Traces | undefined;
}

export interface Engine {
  readonly submit: Submit;
  /** Queue a message of our own (queue/submit.ts). */
  readonly queueOwn: ReturnType<typeof createSubmit>['queueOwn'];
  /** Read the queue from the spool, once; mail may be taken meanwhile. How many messages there were. */
  recover(): Promise<number>;
  /** Begin to queue and to deliver. */
  begin(): void;
  /** Redis is back: see at once whether it still has everything. */
  redisIsBack(): void;
  summary(): LedgerSummary & { readonly messages: number };
  /** A destination is not paused any more. */
  resumed(destination: Destination): void;
  /** Rules that held mail have changed, or are over. */
  holdsChanged(): void;
  /** The settings of retries are other ones: they hold for what is queued, too. */
  retryChanged(): Promise<void>;
  /** What other settings would do to what is queued. */
  previewRetry(settings: RetrySettings): Promise<Preview>;
  /** What administrators do with queued mail. */
  readonly control: QueueControl;
  readonly gates: Gates;
  readonly ledger: Ledger;
  /** How many groups of hosts are closed. */
  breakers(): ReturnType<SiteWatch['counts']>;
  /** How many rates are used up that mail waits for. */
  rates(): ReturnType<Rates['counts']>;
  /** Other settings hold: what waits and need not any more goes on at once. */
  settingsChanged(): void;
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
/** How often what is paused, or waits for a rate, is looked through for what has reached its lifetime. */
const PAUSED_LOOK_MS = 60_000;

/** Make everything ready to take mail, to read the queue, and then to begin. */
export function createEngine(parts: EngineParts): Engine {
  const { clock, spool, queueEvents, outcomeEvents } = parts;
  const sites = new Sites(() => parts.settings().destinations.breaker);
  const ledger = new Ledger(
    longestWait(() => parts.settings().retry),
    sites,
    (delivery, recipients, nowMs) => parts.holdRules.holdOf(delivery.facts(recipients), nowMs),
  );
  const connections = connectionLimits(() => parts.settings().destinations);
  const isOurs = () => parts.sharing?.claim.isOurs ?? true;
  const isPaused = (destination: Destination) =>
    parts.pauses.of(destination) !== undefined || !isOurs();
  const ending = new AbortController();
  const names = queueNames(parts.settings().redis.keyPrefix, parts.node);
  const onRedisError = (error: Error) => queueEvents.redisError('connection', error);
  const producer = connectRedis(parts.redis, 'fail-fast', onRedisError);
  const consumer = connectRedis(parts.redis, 'wait', onRedisError);
  const rates: Rates = new Rates({
    ledger,
    settings: () => parts.settings().destinations,
    count: new SharedRateCount({
      ...{ redis: producer, keyPrefix: parts.settings().redis.keyPrefix, clock },
      onError: (error) => queueEvents.redisError('rate', error),
    }),
    clock,
    events: queueEvents,
    supply: (lane) => dispatcher.supply(lane),
    goRound: (site) => dispatcher.goRound(site),
  });
  const gate = new Gate({ ledger, connections, slots: SLOTS, isPaused, rates });
  const jobs = new JobQueue(producer, names, onRedisError);
  const outbox = new Outbox({ jobs, clock, events: queueEvents });
  const dispatcher = new Dispatcher({ ledger, gate, outbox, clock, rates });
  const attempts = new Attempts({
    ...{ ledger, dispatcher, clock, events: queueEvents },
    retry: () => retry(),
  });
  const gates = new Gates({
    ...{ clock, rates, pauses: parts.pauses },
    retry: () => retry(),
    redisIsAway: () => producer.status !== 'ready',
    nodeTrouble: () => parts.sharing?.trouble,
  });
  const control = new QueueControl({
    ...{ ledger, gates, spool, destinationOf, attempts, dispatcher, clock },
    rules: parts.holdRules,
    giveUp: (delivery, order) => giveUpDelivery(delivery, ownStages, order),
  });
  const watch = new SiteWatch({
    ...{ ledger, sites, clock },
    events: queueEvents,
    shared: parts.sharing?.breakers,
    supply: (lane) => dispatcher.supply(lane),
    expiredOf: (destination) => expiredOf(destination, retry(), clock.now()),
    expire: (delivery, reason) => {
      void attempts.ask(delivery, () =>
        expireDelivery(delivery, { ...ownStages, ...parts.outbound() }, reason),
      );
    },
  });
  const reconciler = new Reconciler({
    ...{ ledger, gate, dispatcher, outbox, jobs, clock },
    isOurs: () => parts.sharing?.claim.isCertain ?? true,
    events: queueEvents,
    onEntered: () => startWorker(),
    onSilence: () => worker?.renew(),
  });
  producer.on('ready', () => reconciler.wake());
  const recovery = new Recovery({
    ...{ spool, ledger, dispatcher, clock, destinationOf },
    onRecovered: (message) => delayWarnings.recovered(message),
    asScheduled: (state) => asScheduled(state, retry()),
  });
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
    ...tellingFinisher(outcomeEvents, parts.traces),
    signer: parts.signer,
    beginOwn: submit.beginOwn,
    commit: submit.commit,
  });
  const retry = () => parts.settings().retry;
  const delayWarnings = new DelayWarnings({
    ...{ spool, clock, destinationOf, retry, finish },
    events: outcomeEvents,
    afterMs: () => retry().delayWarning,
    queued: () => ledger.messageIds(),
    isHeld: (id) => control.isHeld(id),
    hasRoom: () =>
      spool.health().ok && recovery.queuedMessages < parts.settings().limits.queuedMessages,
  });
  const ownStages: Omit<Stages, keyof Outbound | 'hasRoomFor'> = {
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
    isExpired: ({ envelope }, destination) => {
      const { receivedAtMs, reversePath, tlsReport = false } = envelope;
      const nullReversePath = reversePath === '' || tlsReport;
      const question = { destination, receivedAtMs, nullReversePath };
      return clock.now() >= expiry(retry(), question);
    },
    async settle(attempt) {
      const record = await parts.besideCounts(() =>
        settle(attempt, { spool, clock, retry, events: outcomeEvents }),
      );
      const { id, tlsReport } = attempt.message.envelope;
      if (tlsReport) parts.reportMailTried(id, record);
      if (attempt.untried) tellGivenUp(attempt, record, parts.traces);
      return record;
    },
    finish,
    onFirstAttempt: ({ envelope }) =>
      outcomeEvents.firstAttempt(clock.now() - envelope.receivedAtMs),
    onSessions: (route, results) => {
      const heard = heardFrom(results);
      if (heard) watch.heard(hostsOf(route), heard);
    },
    onSession: (envelope, route, result) => {
      outcomeEvents.session(envelope.id, result);
      parts.detector.session(route.destination, result);
      parts.countSession(envelope, route, result);
    },
  };
  let cancelPausedLook = () => {};
  function lookAtPaused(): void {
    for (const { domain, reason } of parts.pauses.list()) {
      const lane = ledger.lane(domain);
      const why = `delivery to ${domain} is paused${reason === '' ? '' : `: ${reason}`}`;
      if (lane) watch.expireOf(lane, why);
    }
    for (const { lane, reason } of rates.holding()) watch.expireOf(lane, reason);
    cancelPausedLook = clock.after(PAUSED_LOOK_MS, lookAtPaused);
  }
  let worker: DeliveryWorker | undefined;
  const attempt = (delivery: Delivery): Promise<AttemptEnd> => {
    const hasRoomFor = (route: Route) => dispatcher.place(delivery, hostsOf(route));
    return withDeadline({ clock, waitMs: ATTEMPT_MS }, ending.signal, (signal) =>
      tracedAttempt(
        delivery,
        { stages: { ...ownStages, ...parts.outbound(), hasRoomFor }, traces: parts.traces },
        signal,
      ),
    );
  };
  function startWorker(): void {
    const options = { connection: consumer, names, slots: SLOTS, attempts, dispatcher, clock };
    worker = new DeliveryWorker({ ...options, events: queueEvents, attempt });
    lookAtPaused();
  }
  return {
    submit,
    queueOwn: tracedOwn(submit.queueOwn, parts.traces),
    recover: () => recovery.run(finish),
    begin() {
      reconciler.start();
      delayWarnings.start();
      control.holds.watch();
    },
    control,
    gates,
    ledger,
    holdsChanged: () => control.holds.rulesChanged(),
    retryChanged: () =>
      reschedule(retry(), { ledger, clock, supply: (lane) => dispatcher.supply(lane) }),
    previewRetry: (settings) => previewRetry(settings, { ledger, clock }),
    resumed(destination) {
      const lane = ledger.lane(destination);
      if (lane) dispatcher.supply(lane);
    },
    redisIsBack: () => reconciler.wake(),
    summary() {
      const isParked = (destination: Destination) => {
        const lane = ledger.lane(destination);
        return isPaused(destination) || (lane !== undefined && rates.isHolding(lane));
      };
      return { messages: ledger.messageCount, ...ledger.summary(clock.now(), isParked) };
    },
    breakers: () => watch.counts(),
    rates: () => rates.counts(),
    settingsChanged: () => reconciler.wake(),
    async drain(graceMs) {
      await Promise.all([reconciler.stop(), delayWarnings.stop()]);
      dispatcher.stop();
      watch.stop();
      control.holds.stop();
      attempts.stop();
      rates.stop();
      cancelPausedLook();
      await worker?.drain(graceMs);
      ending.abort();
    },
    async stop() {
      await Promise.all([reconciler.stop(), delayWarnings.stop()]);
      dispatcher.stop();
      watch.stop();
      control.holds.stop();
      attempts.stop();
      rates.stop();
      cancelPausedLook();
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

/** Tells deliveries of one destination whose lifetime is over by their ids: there may be a million of them. */
function expiredOf(destination: Destination, retry: RetrySettings, nowMs: number) {
  const leastAlive = (nullReversePath: boolean) => {
    const lifetimeMs = expiry(retry, { destination, receivedAtMs: 0, nullReversePath });
    return leastMessageId(nowMs - lifetimeMs + 1);
  };
  const [mail, bounces] = [leastAlive(false), leastAlive(true)];
  return ({ id, nullReversePath }: Delivery) => id < (nullReversePath ? bounces : mail);
}
