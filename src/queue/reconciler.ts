/**
 * Holds Redis against the lanes: at start, and every few seconds while running, every turn that
 * was asked and every wake-up has its job, and none is stuck. This is what makes losing Redis
 * (restart, FLUSHALL, failover) cost time and never mail. A round looks at lanes and turns, never
 * at every delivery; in the normal course of things nothing waits for one.
 */
import type { Clock } from '../platform/clock.ts';
import type { QueueEvents } from '../telemetry/queue-events.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Gate, Turn } from './gate.ts';
import type { JobQueue } from './job-queue.ts';
import type { Ledger } from './ledger.ts';
import type { Outbox } from './outbox.ts';

const PERIOD_MS = 2000;
/** A job is looked after when it should have run this long ago. */
const OVERDUE_MS = 5000;
/** Turns looked after per round; the rest waits for the next one. */
const MOST_PER_ROUND = 200;
/** With this many failures a round ends: it is not about single jobs. */
const MOST_FAILURES = 5;
/**
 * When the same turn has stood first in line for so many rounds, nobody takes turns. Rounds, not time:
 * in each of them Redis answered, and after a process stood still there is one. Beyond the 11 s
 * after which BullMQ's worker asks of its own accord.
 */
const SILENT_ROUNDS = 8;

export interface ReconcilerParts {
  readonly ledger: Ledger;
  readonly gate: Gate;
  readonly dispatcher: Dispatcher;
  readonly outbox: Outbox;
  readonly jobs: JobQueue;
  readonly clock: Clock;
  readonly events: QueueEvents;
  /** Whether the node's name is this relay's: without it the queue in Redis is another one's. */
  readonly isOurs?: () => boolean;
  /** Called once, when everything that should stand in Redis does: from now on a worker may take it. */
  readonly onEntered: () => void;
  /** Called when nobody has taken a turn for long: another worker is needed. */
  readonly onSilence: () => void;
}

export class Reconciler {
  readonly #parts: ReconcilerParts;
  #cancel: () => void = () => {};
  #round: Promise<void> = Promise.resolve();
  #state: 'idle' | 'started' | 'stopped' = 'idle';
  /** Everything is entered once by every process, whatever Redis holds. */
  #entered = false;
  /** First in line at the last look, and in how many rounds since. */
  #first: Turn | undefined;
  #roundsFirst = 0;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
  }

  /** Begin the rounds; the first one at once. */
  start(): void {
    this.#state = 'started';
    this.#tick();
  }

  /** Look at once, e.g. because Redis came back. */
  wake(): void {
    if (this.#state !== 'started') return;
    this.#cancel();
    this.#tick();
  }

  async stop(): Promise<void> {
    this.#state = 'stopped';
    this.#cancel();
    await this.#round;
  }

  #tick(): void {
    this.#round = this.#round.then(async () => {
      if (this.#state === 'stopped') return;
      try {
        await this.#reconcile();
      } catch (error) {
        this.#parts.events.redisError('reconcile', error as Error);
      }
      this.#cancel();
      if (this.#state !== 'started') return;
      this.#cancel = this.#parts.clock.after(PERIOD_MS, () => this.#tick());
    });
  }

  async #reconcile(): Promise<void> {
    const { jobs, outbox, events, isOurs = () => true } = this.#parts;
    if (!isOurs()) return;
    if (!this.#entered) await jobs.clear();
    this.#supplyLanes();
    if (!this.#entered || !(await jobs.isEntered())) return this.#enterAll('redis-emptied');
    const kept = outbox.kept;
    await outbox.open();
    if (kept > 0) events.requeued('not-added', kept);
    await this.#lookAfterTurns();
    if (this.#isWorkerSilent()) await this.#beginAnew();
  }

  #isWorkerSilent(): boolean {
    const { gate } = this.#parts;
    const [first] = gate.asked();
    const stays = first !== undefined && first === this.#first && gate.hasFreeSlot;
    this.#first = first;
    this.#roundsFirst = stays ? this.#roundsFirst + 1 : 0;
    return this.#roundsFirst >= SILENT_ROUNDS;
  }

  /** Whatever keeps the worker from the turns, in it or in what Redis holds: put another in place of both. */
  async #beginAnew(): Promise<void> {
    const { jobs, onSilence } = this.#parts;
    await jobs.clear();
    await this.#enterAll('worker-silent');
    this.#roundsFirst = 0;
    onSilence();
  }

  /** The start, or Redis lost its data, or the worker is silent: enter every turn and every wake-up. */
  async #enterAll(reason: 'redis-emptied' | 'worker-silent'): Promise<void> {
    const { jobs, outbox, dispatcher, ledger, events, clock, onEntered } = this.#parts;
    const all = [...dispatcher.jobs()];
    await outbox.open(all);
    await jobs.markEntered();
    if (this.#state === 'stopped') return;
    if (this.#entered) return events.entered(all.length, reason);
    const { due, delayed } = ledger.summary(clock.now());
    events.entered(due + delayed, 'start');
    this.#entered = true;
    onEntered();
  }

  /** Every lane has its turns and its wake-up; one whose wake-up did not come is woken here. */
  #supplyLanes(): void {
    const { ledger, dispatcher, outbox, clock, events } = this.#parts;
    const lateMs = clock.now() - OVERDUE_MS;
    let stuck = 0;
    for (const lane of ledger.lanes()) {
      if (!lane.wake || lane.wake.atMs > lateMs) dispatcher.supply(lane);
      else {
        outbox.withdraw(lane.wake.jobId); // with a wrong time in Redis it would stay there
        dispatcher.rouse(lane);
        stuck++;
      }
    }
    if (stuck > 0 && this.#entered) events.requeued('stuck', stuck);
  }

  /** Turns asked long ago: their jobs stand in line, or are replaced. */
  async #lookAfterTurns(): Promise<void> {
    const { events } = this.#parts;
    let failures = 0;
    for (const turn of this.#overdueTurns()) {
      if (this.#state === 'stopped' || failures >= MOST_FAILURES) break;
      try {
        await this.#lookAfter(turn);
      } catch (error) {
        failures++;
        events.redisError('reconcile', error as Error);
      }
    }
  }

  /** Gathered before any is replaced: those put in their place are not looked after in the same round. */
  #overdueTurns(): readonly Turn[] {
    const { gate, clock } = this.#parts;
    const now = clock.now();
    const overdue: Turn[] = [];
    for (const turn of gate.asked()) {
      if (overdue.length >= MOST_PER_ROUND) break;
      // Seen in the future: the clock was set back.
      if (turn.seenAtMs <= now - OVERDUE_MS || turn.seenAtMs > now) overdue.push(turn);
    }
    return overdue;
  }

  async #lookAfter(turn: Turn): Promise<void> {
    const { jobs, dispatcher, clock, events } = this.#parts;
    if (turn.state !== 'asked') return; // while others were looked after
    const standing = await jobs.standing(turn.jobId);
    turn.seenAtMs = clock.now();
    // Taken or over meanwhile: its job is no longer ours to touch.
    if (standing === 'fine' || turn.state !== 'asked') return;
    dispatcher.askAgain(turn);
    events.requeued(standing, 1);
  }
}
