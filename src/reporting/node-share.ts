/**
 * This node among those on one Redis: puts what it counted there, says when a day of it is complete, and puts
 * everything there again when Redis has lost it. Rejects while Redis is away.
 */
import type { Clock } from '../platform/clock.ts';
import { utcDay } from './collect.ts';
import type { DayTally } from './day-tally.ts';
import type { ReportStates } from './report-states.ts';
import type { CountPhase, SharedReports } from './shared-reports.ts';

export interface NodeShareParts {
  readonly shared: SharedReports;
  readonly node: string;
  /** What this node counted. */
  readonly counts: {
    days(): Promise<readonly string[]>;
    tallyOf(day: string): Promise<DayTally>;
  };
  readonly states: Pick<ReportStates, 'ofDay'>;
  /** Of days before it nothing is shared any more. */
  readonly oldest: () => string;
  readonly clock: Clock;
}

const SHARE_MS = 300_000;
/** For all nodes to say again what they have sent, when Redis has lost it. */
const RECALL_MS = 120_000;
const DAY_MS = 86_400_000;

export class NodeShare {
  readonly #parts: NodeShareParts;
  /** Days that are in Redis as a whole, as far as this node knows. */
  readonly #complete = new Set<string>();
  #sharedAtMs = Number.NEGATIVE_INFINITY;
  /** The last day that this process said something of; before that Redis may have lost anything. */
  #saidOf: string | undefined;
  /** When Redis was seen to have lost what this node said. */
  #forgottenAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: NodeShareParts) {
    this.#parts = parts;
  }

  /** Redis has lost what was sent, and others may not have said it again yet. */
  get isRecalling(): boolean {
    return this.#parts.clock.now() < this.#forgottenAtMs + RECALL_MS;
  }

  /** Now and then, at once on a new day, and when Redis has lost something: share. */
  async share(): Promise<void> {
    const { shared, clock, oldest } = this.#parts;
    const today = utcDay(clock.now());
    const ended = utcDay(clock.now() - DAY_MS);
    // Of a day that has just begun nothing was said yet: that is no loss.
    const isForgotten = await shared.hasForgotten(this.#saidOf ?? today);
    const isSoon = clock.now() < this.#sharedAtMs + SHARE_MS;
    if (this.#complete.has(ended) && !isForgotten && isSoon) return;
    if (isForgotten) this.#forgottenAtMs = clock.now();
    await shared.meet();
    shared.forgetBefore(oldest());
    await this.#shareEnded(ended);
    await shared.putOwed();
    await this.#publish(today, 'counting');
    this.#saidOf = today;
    this.#sharedAtMs = clock.now();
  }

  /** This node ends: everything it counted is there, so that others need not wait for it. */
  async leave(): Promise<void> {
    await this.#publish(utcDay(this.#parts.clock.now()), 'left');
  }

  /** The days up to `last`, on which something may have been counted, or not. */
  async #shareEnded(last: string): Promise<void> {
    const { shared, counts, oldest } = this.#parts;
    for (const day of new Set([last, ...(await counts.days())])) {
      if (day < oldest() || day > last) continue;
      if (this.#complete.has(day) && !(await shared.hasForgotten(day))) continue;
      await this.#publish(day, 'complete');
      await this.#shareStates(day);
      this.#complete.add(day);
    }
  }

  async #publish(day: string, phase: CountPhase): Promise<void> {
    const { shared, counts } = this.#parts;
    await shared.publish(day, await counts.tallyOf(day), phase);
  }

  /** What Redis has lost of what this node has sent. */
  async #shareStates(day: string): Promise<void> {
    const { shared, states, node } = this.#parts;
    for (const state of (await states.ofDay(day)).values()) {
      if (state.node !== node) continue;
      if (!(await shared.state(day, state.domain))) await shared.putState(day, state);
    }
  }
}
