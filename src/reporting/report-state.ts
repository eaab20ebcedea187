/**
 * What became of the report of one day for one policy domain: a value that is kept whole, on disk and in
 * Redis, each time something changes. Pure.
 *
 *   asking -> nobody-asks | gave-up        nobody wants it, or DNS could not say so for a day
 *   asking -> sending -> done              it is made, and every rua has its answer
 *   elsewhere                              another node has sent it
 *
 * Of a target the states from `queued` on are final: what has one is never sent again by itself. One that is
 * `handing-over` was about to be queued: the spool of its node says whether it was.
 */
import { z } from 'zod';
import { isMessageId, type MessageId } from '../mail/message-id.ts';

/** In the order in which they may follow each other. */
export const TARGET_STATES = [
  'waiting',
  'handing-over',
  'queued',
  'delivered',
  'posted',
  'failed',
  'suspended',
  'not-mailed',
  'excluded',
] as const;

export type TargetState = (typeof TARGET_STATES)[number];

/** One URI of the domain's `rua` (RFC 8460 §3). */
export interface ReportTarget {
  readonly rua: string;
  readonly state: TargetState;
  /** When that was so, ms. */
  readonly atMs: number;
  readonly attempts: number;
  /** When it was tried first, ms. */
  readonly firstAtMs?: number | undefined;
  /** When it is tried next, ms. */
  readonly nextAtMs?: number | undefined;
  /** For people, one line. */
  readonly reason?: string | undefined;
  /** Of the mail that carries it. */
  readonly messageId?: MessageId | undefined;
  /** The node in whose queue the mail is, where that is another one. */
  readonly queuedBy?: string | undefined;
}

export type ReportOutcome = 'asking' | 'nobody-asks' | 'gave-up' | 'sending' | 'done' | 'elsewhere';

export interface ReportState {
  /** The policy domain. */
  readonly domain: string;
  /** The node that sends it. */
  readonly node: string;
  readonly outcome: ReportOutcome;
  readonly atMs: number;
  /** Of asking for the record. */
  readonly attempts: number;
  readonly firstAtMs?: number | undefined;
  readonly nextAtMs?: number | undefined;
  readonly reason?: string | undefined;
  /** Nodes whose counts are in it, and those that were awaited in vain. */
  readonly nodes: readonly string[];
  readonly without: readonly string[];
  readonly targets: readonly ReportTarget[];
}

const time = z.number();
const messageId = z.string().transform((text, context) => {
  if (isMessageId(text)) return text;
  context.addIssue({ code: 'custom', message: 'no message id' });
  return z.NEVER;
});

export const reportStateForm = z.object({
  domain: z.string(),
  node: z.string(),
  outcome: z.enum(['asking', 'nobody-asks', 'gave-up', 'sending', 'done', 'elsewhere']),
  atMs: time,
  attempts: z.number(),
  firstAtMs: time.optional(),
  nextAtMs: time.optional(),
  reason: z.string().optional(),
  nodes: z.array(z.string()),
  without: z.array(z.string()),
  targets: z.array(
    z.object({
      rua: z.string(),
      state: z.enum(TARGET_STATES),
      atMs: time,
      attempts: z.number(),
      firstAtMs: time.optional(),
      nextAtMs: time.optional(),
      reason: z.string().optional(),
      messageId: messageId.optional(),
      queuedBy: z.string().optional(),
    }),
  ),
});

/** Nothing is left to do about it. */
export function isOver({ outcome }: ReportState): boolean {
  return outcome !== 'asking' && outcome !== 'sending';
}

export function isFinal({ state }: ReportTarget): boolean {
  return state !== 'waiting' && state !== 'handing-over';
}

/** Its mail is not in the queue of the node that looks after the report by now. */
export function isQueuedElsewhere({ queuedBy }: ReportTarget): boolean {
  return queuedBy !== undefined;
}

/** When there is something to do about it, ms; undefined when it is over. */
export function nextAt(state: ReportState): number | undefined {
  if (isOver(state)) return undefined;
  if (state.outcome === 'asking') return state.nextAtMs ?? 0;
  const open = state.targets.filter((target) => !isFinal(target));
  return Math.min(...open.map(({ nextAtMs = 0 }) => nextAtMs));
}

/** With one target changed; done when it was the last that had no answer. */
export function withTarget(state: ReportState, changed: ReportTarget): ReportState {
  const targets = state.targets.map((one) => (one.rua === changed.rua ? changed : one));
  const outcome = targets.every(isFinal) ? 'done' : 'sending';
  return { ...state, targets, outcome, atMs: changed.atMs };
}

/** RFC 8460 §5.5: with growing waits, for a day; the last wait repeats. */
const WAITS_MS = [1, 5, 15, 30, 60, 120, 240].map((minutes) => minutes * 60_000);
const GIVE_UP_MS = 86_400_000;

/** When what failed `attempts` times since `firstAtMs` is tried again; undefined: it is given up. */
export function retryAt(attempts: number, firstAtMs: number, nowMs: number): number | undefined {
  if (nowMs >= firstAtMs + GIVE_UP_MS) return undefined;
  const waitMs = WAITS_MS[Math.min(attempts, WAITS_MS.length) - 1] ?? 0;
  // The last attempt is made when the day is over.
  return Math.min(nowMs + waitMs, firstAtMs + GIVE_UP_MS);
}
