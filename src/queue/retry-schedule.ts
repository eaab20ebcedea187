/**
 * When a deferred delivery is tried again, and when it is given up (RFC 5321 §4.5.4.1). Pure:
 * computed afresh at every attempt from the settings of that moment, so a changed schedule
 * applies to messages that are queued already, however many attempts they have behind them.
 */
import type { CauseClass } from '../mail/outcome.ts';
import type { Destination } from '../mail/route.ts';

/** All times in milliseconds. */
export interface RetrySettings {
  /** Delays after the first, second, … attempt; the last one repeats. */
  readonly schedule: readonly number[];
  readonly lifetime: number;
  /** For messages with the null reverse-path. */
  readonly bounceLifetime: number;
  readonly classes: {
    readonly [K in CauseClass]?: { readonly schedule: readonly number[] } | undefined;
  };
  readonly domains: readonly {
    readonly domain: string;
    readonly schedule?: readonly number[] | undefined;
    readonly lifetime?: number | undefined;
  }[];
}

/** What the schedule depends on. */
export interface RetryQuestion {
  readonly destination: Destination;
  readonly receivedAtMs: number;
  readonly nullReversePath: boolean;
  /** Attempts made, this one included: at least 1. */
  readonly attempts: number;
  readonly causeClass: CauseClass;
  readonly nowMs: number;
  /** Beyond the lifetime, for a reason that is stronger; in milliseconds. */
  readonly extensionMs?: number;
}

/** Each delay is lengthened by up to this share, so that messages of one outage don't return as one. */
const JITTER = 0.1;

/**
 * The absolute time of the next attempt, or 'expired' when the message's lifetime is over.
 * The last attempt is made when the lifetime ends, never after a wait beyond it.
 * `random` gives 0 to 1.
 */
export function nextAttempt(
  settings: RetrySettings,
  question: RetryQuestion,
  random: () => number = Math.random,
): number | 'expired' {
  const expiresAtMs = expiry(settings, question);
  if (question.nowMs >= expiresAtMs) return 'expired';
  const schedule = scheduleFor(settings, question);
  const step = Math.min(Math.max(question.attempts, 1), schedule.length) - 1;
  const delayMs = schedule[step] ?? 0;
  return Math.min(question.nowMs + delayMs * (1 + JITTER * random()), expiresAtMs);
}

/** When the message is given up, in milliseconds since the epoch. */
export function expiry(
  settings: RetrySettings,
  question: Pick<RetryQuestion, 'destination' | 'receivedAtMs' | 'nullReversePath' | 'extensionMs'>,
): number {
  const own = settings.domains.find((entry) => entry.domain === question.destination)?.lifetime;
  const lifetime = own ?? settings.lifetime;
  const bounded = question.nullReversePath ? Math.min(settings.bounceLifetime, lifetime) : lifetime;
  return question.receivedAtMs + bounded + (question.extensionMs ?? 0);
}

/** The longest wait between two attempts, jitter apart. */
export function longestWaitMs({ schedule, classes, domains }: RetrySettings): number {
  const schedules = [...Object.values(classes), ...domains].map((one) => one?.schedule ?? []);
  return Math.max(...schedule, ...schedules.flat());
}

/** Domain before class before default. */
function scheduleFor(settings: RetrySettings, question: RetryQuestion): readonly number[] {
  const own = settings.domains.find((entry) => entry.domain === question.destination)?.schedule;
  return own ?? settings.classes[question.causeClass]?.schedule ?? settings.schedule;
}
