/**
 * Places to report to that keep failing: each time a report came to nothing there, it is left alone for
 * longer, from a day to a month; one that got there ends it. Kept on disk, so that a restart forgets none.
 *
 * A place is a rua of one policy domain: many domains name the same collector, and what it says to one of
 * them, who may be a stranger to it, holds for none of the others.
 */
import { z } from 'zod';
import type { Clock } from '../platform/clock.ts';
import { KeptList } from '../platform/kept-list.ts';

/** A rua of one policy domain. */
export interface ReportPlace {
  readonly domain: string;
  readonly rua: string;
}

export interface Suspension {
  /** The policy domain. */
  readonly domain: string;
  /** As in the record of the domain. */
  readonly rua: string;
  /** Of the latest report that counts. */
  readonly day: string;
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
  domain: z.string(),
  rua: z.string(),
  day: z.string(),
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
      keyOf,
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
  of(place: ReportPlace): Suspension | undefined {
    const known = this.#known(place);
    return known && known.untilMs > this.#clock.now() ? known : undefined;
  }

  /**
   * The report of `day` came to nothing there. Undefined: that changes nothing, since the place is left alone
   * already, or the same report, sent again by hand, counted before. Rejects with the system's error.
   */
  async failed(
    place: ReportPlace,
    { day, reason }: { readonly day: string; readonly reason: string },
  ): Promise<Suspension | undefined> {
    const { domain, rua } = place;
    const before = this.#known(place);
    const failedAtMs = this.#clock.now();
    if (before && (before.untilMs > failedAtMs || before.day >= day)) return undefined;
    const failures = (before?.failures ?? 0) + 1;
    const days = Math.min(2 ** (failures - 1), LONGEST_DAYS);
    const untilMs = failedAtMs + days * DAY_MS;
    // Its next report is a trial: what is known is kept until that had its time.
    const expires = untilMs + 7 * DAY_MS;
    const suspension = { domain, rua, day, failures, reason, failedAtMs, untilMs, expires };
    await this.#list.put(suspension);
    return suspension;
  }

  /** A report got there. Rejects with the system's error. */
  async arrived(place: ReportPlace): Promise<void> {
    if (this.#known(place)) await this.#list.remove(keyOf(place));
  }

  #known({ domain, rua }: ReportPlace): Suspension | undefined {
    return this.#list.list().find((one) => one.rua === rua && one.domain === domain);
  }

  close(): Promise<void> {
    return this.#list.close();
  }
}

function keyOf({ domain, rua }: ReportPlace): string {
  return `${domain} ${rua}`;
}
