/**
 * The middle of a relay over a Redis that is a Map: ledger, gate, dispatcher, sites, rates.
 */
import assert from 'node:assert/strict';
import { newMessageId } from '../../src/mail/message-id.ts';
import type { BreakerSettings } from '../../src/queue/breaker.ts';
import { Dispatcher } from '../../src/queue/dispatcher.ts';
import { Gate, type Turn } from '../../src/queue/gate.ts';
import type { QueueJob } from '../../src/queue/job-queue.ts';
import type { Delivery } from '../../src/queue/lane.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import type { Bucket, RateSettings } from '../../src/queue/rate-bucket.ts';
import type { RateCount, Unit } from '../../src/queue/rate-count.ts';
import { Rates } from '../../src/queue/rates.ts';
import type { SharedBreakers } from '../../src/queue/shared-breakers.ts';
import { Sites } from '../../src/queue/site.ts';
import { type Heard, SiteWatch } from '../../src/queue/site-watch.ts';
import { foldRecords, type MessageState } from '../../src/spool/message-state.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { destinationOf, sampleEnvelope } from './sample-mail.ts';

/** A ledger that remembers what was entered. */
class WatchedLedger extends Ledger {
  readonly entered: Delivery[] = [];

  override enter(state: MessageState, nowMs: number): Delivery[] {
    const entered = super.enter(state, nowMs);
    this.entered.push(...entered);
    return entered;
  }
}

/** What all nodes on one Redis count together. */
export class FakeCount implements RateCount {
  readonly #clock: FakeClock;
  readonly #windows = new Map<string, { used: number; endsAtMs: number }>();
  asked = 0;

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  async take({ scope, name, rate }: Bucket): Promise<Unit> {
    this.asked += 1;
    const now = this.#clock.now();
    const key = `${scope} ${name} ${rate.perMs}`;
    let window = this.#windows.get(key);
    if (!window || window.endsAtMs <= now) window = { used: 0, endsAtMs: now + rate.perMs };
    this.#windows.set(key, window);
    const isTaken = window.used < rate.count;
    if (isTaken) window.used += 1;
    return { isTaken, left: rate.count - window.used, endsInMs: window.endsAtMs - now };
  }
}

export class Bench {
  readonly clock = new FakeClock();
  breaker: BreakerSettings = { failures: 10, probeEvery: 60_000 };
  readonly sites = new Sites(() => this.breaker);
  readonly ledger = new WatchedLedger(() => Number.POSITIVE_INFINITY, this.sites);
  readonly watch: SiteWatch;
  readonly paused = new Set<string>();
  /** What the breakers did. */
  readonly told: string[] = [];
  /** Deliveries whose lifetime is over. */
  readonly expired = new Set<Delivery>();
  /** Those that were given up, and why. */
  readonly givenUp = new Map<Delivery, string>();
  limit: number;
  limitOf: (destination: string) => number = () => this.limit;
  rateSettings: RateSettings = { default: { rate: undefined }, domains: [] };
  readonly count = new FakeCount(this.clock);
  readonly rates: Rates;
  /** Whose rate was used up, and until when. */
  readonly reached: { scope: string; key: string; rate: string; untilMs: number }[] = [];
  readonly gate: Gate;
  readonly dispatcher: Dispatcher;
  readonly jobs = new Map<string, QueueJob>();
  readonly outbox: {
    put: (job: QueueJob) => void;
    withdraw: (jobId: string) => void;
    shut: () => void;
  };

  constructor(limit = 3, slots = 1000, shared?: SharedBreakers) {
    this.limit = limit;
    const { ledger, clock, jobs } = this;
    this.rates = new Rates({
      ...{ ledger, clock, count: this.count },
      settings: () => this.rateSettings,
      events: { rateReached: (scope, facts) => void this.reached.push({ scope, ...facts }) },
      supply: (lane) => this.dispatcher.supply(lane),
      goRound: (site) => this.dispatcher.goRound(site),
    });
    const { rates } = this;
    this.gate = new Gate({
      ...{ ledger, rates },
      connections: (destination) => this.limitOf(destination),
      isPaused: (destination) => this.paused.has(destination),
      slots,
    });
    this.outbox = {
      put: (job: QueueJob) => void jobs.set(job.jobId, job),
      withdraw: (jobId: string) => void jobs.delete(jobId),
      shut: () => {},
    };
    const { gate, outbox } = this;
    this.dispatcher = new Dispatcher({ ledger, gate, outbox, clock, rates });
    this.watch = new SiteWatch({
      ...{ ledger, clock, sites: this.sites, shared },
      events: {
        breakerOpened: (site, { failure }) => void this.told.push(`${site} opened: ${failure}`),
        breakerClosed: (site, afterMs) => void this.told.push(`${site} closed after ${afterMs}`),
      },
      supply: (lane) => this.dispatcher.supply(lane),
      expiredOf: () => (delivery) => this.expired.has(delivery),
      expire: (delivery, reason) => void this.givenUp.set(delivery, reason),
    });
  }

  /** It is known from before where the mail of a destination goes. */
  place(destination: string, site: string): void {
    const lane = this.ledger.lane(destination);
    assert.ok(lane);
    this.sites.move(lane, site);
  }

  /** Whether mail for a destination gets a turn now. */
  gateAdmits(destination: string): boolean {
    const lane = this.ledger.lane(destination);
    return lane !== undefined && this.gate.ask(lane, this.clock.now()).length > 0;
  }

  /** An attempt in this turn, at the hosts it counts for, ends; `undefined`: nobody was asked. */
  attempted({ turn, delivery }: { turn: Turn; delivery: Delivery }, heard?: Heard): void {
    if (heard) this.watch.heard(turn.site.key, heard);
    if (heard === 'answered') this.ledger.close(delivery);
    else this.ledger.postpone(delivery, this.clock.now() + 3_600_000, this.clock.now());
    this.dispatcher.supply(turn.lane);
  }

  /** An attempt is not made after all. */
  putOff({ turn, delivery }: { turn: Turn; delivery: Delivery }): void {
    this.ledger.postpone(delivery, delivery.nextAttemptMs, this.clock.now());
    this.dispatcher.supply(turn.lane);
  }

  enter(...domains: string[]): void {
    const id = newMessageId(this.clock.now());
    const recipients = domains.map((domain) => ({ address: `x@${domain}` }));
    const envelope = sampleEnvelope({ id, recipients, receivedAtMs: this.clock.now() });
    this.dispatcher.enter(foldRecords(envelope, [], destinationOf));
  }

  ofKind(kind: QueueJob['kind'], destination?: string): QueueJob[] {
    const all = [...this.jobs.values()].filter((job) => job.kind === kind);
    return all.filter((job) => destination === undefined || job.destination === destination);
  }

  /** Redis hands out the first turn (of a lane). */
  take(destination?: string): Turn | undefined {
    const [job] = this.ofKind('turn', destination);
    if (!job) return undefined;
    this.jobs.delete(job.jobId);
    return this.dispatcher.take(job.jobId);
  }

  /** Take a turn and its first delivery. */
  async begin(destination: string): Promise<{ turn: Turn; delivery: Delivery }> {
    const turn = this.take(destination);
    assert.ok(turn);
    const delivery = await this.dispatcher.next(turn);
    assert.ok(delivery);
    return { turn, delivery };
  }
}
