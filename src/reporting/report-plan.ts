/**
 * Which reports are to be sent when (RFC 8460 §4.1): each at a time of its own in the window of
 * `tlsRpt.sendWindow` after `tlsRpt.sendAfter` of the next day, which follows from day and domain alone, so
 * that a restart changes nothing, and not all at once.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../platform/clock.ts';
import { utcDay } from './collect.ts';
import type { DayTally } from './day-tally.ts';
import { isOver, nextAt } from './report-state.ts';
import type { ReportStates } from './report-states.ts';
import type { SharedReports } from './shared-reports.ts';

export interface ReportPlanParts {
  readonly settings: () => {
    /** After midnight, UTC; ms. */
    readonly sendAfter: number;
    readonly sendWindow: number;
    /** How long counts are kept after their day; ms. */
    readonly keep: number;
  };
  readonly isExcludedDomain: (domain: string) => boolean;
  /** What this node counted. */
  readonly counts: {
    days(): Promise<readonly string[]>;
    tallyOf(day: string): Promise<DayTally>;
  };
  readonly states: Pick<ReportStates, 'get' | 'recent'>;
  readonly shared?: Pick<SharedReports, 'domains'> | undefined;
  readonly clock: Clock;
}

/** When there is something to do, by domain; ms. */
export type DayPlan = Map<string, number>;

/** A plan is made anew after so long, since other nodes count, too. */
const PLAN_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** Older reports are not sent any more. */
const MOST_LATE_MS = 7 * DAY_MS;

/** The first day whose reports may be sent at `nowMs`. */
export function oldestToSend(nowMs: number): string {
  return utcDay(nowMs - MOST_LATE_MS - DAY_MS);
}

/** When a UTC day is over, ms. */
export function endOf(day: string): number {
  return Date.parse(day) + DAY_MS;
}

export class ReportPlan {
  readonly #parts: ReportPlanParts;
  readonly #days = new Map<string, { readonly madeAtMs: number; readonly due: DayPlan }>();

  constructor(parts: ReportPlanParts) {
    this.#parts = parts;
  }

  /** The days whose reports are to be sent by now, the earliest first. Rejects with the system's error. */
  async days(): Promise<readonly string[]> {
    const { clock, counts, states, shared, settings } = this.#parts;
    const nowMs = clock.now();
    const { sendAfter, keep } = settings();
    // Not those whose counts are gone.
    const oldest = utcDay(nowMs - Math.min(keep, MOST_LATE_MS) - DAY_MS);
    const days = new Set([...(await counts.days()), ...states.recent().keys()]);
    // Others may have counted what this node has not.
    if (shared) days.add(utcDay(nowMs - DAY_MS));
    for (const day of [...this.#days.keys()]) if (day < oldest) this.#days.delete(day);
    return [...days].filter((day) => day >= oldest && nowMs >= endOf(day) + sendAfter).sort();
  }

  /** What is left to do of a day: to be changed by whoever does it. Rejects also while Redis is away. */
  async of(day: string): Promise<DayPlan> {
    const { clock, counts, shared, states, isExcludedDomain } = this.#parts;
    const planned = this.#days.get(day);
    if (planned && clock.now() < planned.madeAtMs + PLAN_MS) return planned.due;
    const domains = new Set([
      ...(await counts.tallyOf(day)).domains(),
      ...((await shared?.domains(day)) ?? []),
      ...(states.recent().get(day)?.keys() ?? []),
    ]);
    const due: DayPlan = new Map();
    for (const domain of domains) {
      const state = states.get(day, domain);
      if ((state && isOver(state)) || isExcludedDomain(domain)) continue;
      const nextMs = (state && nextAt(state)) ?? planned?.due.get(domain) ?? 0;
      due.set(domain, Math.max(this.dueAt(day, domain), nextMs));
    }
    this.#days.set(day, { madeAtMs: clock.now(), due });
    return due;
  }

  /** When a report is due by the settings of now, ms. */
  dueAt(day: string, domain: string): number {
    const { sendAfter, sendWindow } = this.#parts.settings();
    return endOf(day) + sendAfter + shareOf(`${day} ${domain}`) * sendWindow;
  }
}

/** 0 to 1, always the same for the same text, and evenly spread. */
function shareOf(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32BE() / 2 ** 32;
}
