/**
 * Places to report to that keep failing: each time a report came to nothing there, it is left alone for
 * longer, from a day to a month; one that got there ends it. Kept on disk, so that a restart forgets none.
 */
import { z } from 'zod';
import type { Clock } from '../platform/clock.ts';
import { KeptList } from '../platform/kept-list.ts';

export interface Suspension {
  /** As in the record of the domain. */
  readonly rua: string;
  /** Reports in a row that did not get there. */
  readonly failures: number;
  /** Why the last one did not, one line. */
  readonly reason: string;
  readonly failedAtMs: number;
  /** Nothing is sent there until then, ms. */
  readonly untilMs: number;
  /** When it is forgotten, ms. */
  readonly expires: number;
}

export interface SuspensionsParts {
  readonly file: string;
  readonly clock: Clock;
  readonly events: { suspensionsUnreadable(aside: string, reason: string): void };
}

const DAY_MS = 86_400_000;
const LONGEST_DAYS = 32;
/** More of them are not kept: they are tried each day. */
const MOST = 10_000;

const form = z.object({
  rua: z.string(),
  failures: z.number(),
  reason: z.string(),
  failedAtMs: z.number(),
  untilMs: z.number(),
  expires: z.number(),
});

export class Suspensions {
  readonly #clock: Clock;
  readonly #list: KeptList<Suspension>;

  private constructor(clock: Clock, list: KeptList<Suspension>) {
    this.#clock = clock;
    this.#list = list;
  }

  /** Rejects with the system's error. */
  static async open({ file, clock, events }: SuspensionsParts): Promise<Suspensions> {
    const list = await KeptList.open<Suspension>({
      ...{ file, clock, schema: form, most: MOST },
      keyOf: ({ rua }) => rua,
      onEnded: () => {},
      onUnreadable: (aside, reason) => events.suspensionsUnreadable(aside, reason),
    });
    return new Suspensions(clock, list);
  }

  /** Those in force, and those whose next report is a trial. */
  list(): readonly Suspension[] {
    return this.#list.list();
  }

  /** The one in force for a place. */
  of(rua: string): Suspension | undefined {
    const nowMs = this.#clock.now();
    return this.#list.list().find((one) => one.rua === rua && one.untilMs > nowMs);
  }

  /** A report came to nothing there. Rejects with the system's error. */
  async failed(rua: string, reason: string): Promise<Suspension> {
    const before = this.#list.list().find((one) => one.rua === rua);
    const failures = (before?.failures ?? 0) + 1;
    const failedAtMs = this.#clock.now();
    const days = Math.min(2 ** (failures - 1), LONGEST_DAYS);
    const untilMs = failedAtMs + days * DAY_MS;
    // Its next report is a trial: what is known is kept until that had its time.
    const expires = untilMs + 7 * DAY_MS;
    const suspension = { rua, failures, reason, failedAtMs, untilMs, expires };
    await this.#list.put(suspension);
    return suspension;
  }

  /** A report got there. Rejects with the system's error. */
  async arrived(rua: string): Promise<void> {
    if (this.#list.list().some((one) => one.rua === rua)) await this.#list.remove(rua);
  }

  close(): Promise<void> {
    return this.#list.close();
  }
}
