/**
 * When a deferred delivery is tried again, and when it is given up (RFC 5321 §4.5.4.1). Pure:
 * computed from what is known of the last attempt and the settings of the moment, at the end of an attempt, when the
 * settings change and after a start. So a changed schedule applies to messages that are
 * queued already, however many attempts they have behind them.
 */
import type { MessageId } from '../mail/message-id.ts';
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
  readonly id: MessageId;
  readonly destination: Destination;
  readonly receivedAtMs: number;
  readonly nullReversePath: boolean;
  /** Attempts made: at least 1. */
  readonly attempts: number;
  /** Why the last of them failed, and when it ended. */
  readonly causeClass: CauseClass;
  readonly triedAtMs: number;
  /** Beyond the lifetime, for a reason that is stronger; in milliseconds. */
  readonly extensionMs?: number;
}

/** Each delay is lengthened by up to this share, so that messages of one outage don't return as one. */
const JITTER = 0.1;

/**
 * The absolute time of the next attempt, asked when the last one ends, or 'expired' when the
 * message's lifetime is over. The last attempt is made when the lifetime ends, never after a wait
 * beyond it. `jitter` is 0 to 1.
 */
export function nextAttempt(
  settings: RetrySettings,
  question: RetryQuestion,
  jitter: number = jitterOf(question),
): number | 'expired' {
  if (question.triedAtMs >= expiry(settings, question)) return 'expired';
  return dueAt(settings, question, jitter);
}

/**
 * When a delivery that waits is tried next by these settings, absolute: the same as was said when
 * its last attempt ended, unless the settings are other ones. What has made more attempts than the
 * schedule has waits for the last of them each time; what is older than its lifetime is tried
 * once more, at once: the result lies in the past.
 */
export function dueAt(
  settings: RetrySettings,
  question: RetryQuestion,
  jitter: number = jitterOf(question),
): number {
  const { schedule } = scheduleFor(settings, question);
  const step = Math.min(Math.max(question.attempts, 1), schedule.length) - 1;
  const delayMs = schedule[step] ?? 0;
  return Math.min(question.triedAtMs + delayMs * (1 + JITTER * jitter), expiry(settings, question));
}

/** When the message is given up, in milliseconds since the epoch. */
export function expiry(
  settings: RetrySettings,
  question: Pick<RetryQuestion, 'destination' | 'receivedAtMs' | 'nullReversePath' | 'extensionMs'>,
): number {
  const lifetime = ownOf(settings, question.destination)?.lifetime ?? settings.lifetime;
  const bounded = question.nullReversePath ? Math.min(settings.bounceLifetime, lifetime) : lifetime;
  return question.receivedAtMs + bounded + (question.extensionMs ?? 0);
}

/** The longest wait between two attempts, jitter apart. */
export function longestWaitMs({ schedule, classes, domains }: RetrySettings): number {
  const schedules = [...Object.values(classes), ...domains].map((one) => one?.schedule ?? []);
  return Math.max(...schedule, ...schedules.flat());
}

/** Domain before class before default; `of` says which it was. */
export function scheduleFor(
  settings: RetrySettings,
  question: Pick<RetryQuestion, 'destination' | 'causeClass'>,
): { readonly schedule: readonly number[]; readonly of: 'domain' | 'class' | 'default' } {
  const own = ownOf(settings, question.destination)?.schedule;
  if (own) return { schedule: own, of: 'domain' };
  const ofClass = settings.classes[question.causeClass]?.schedule;
  return ofClass
    ? { schedule: ofClass, of: 'class' }
    : { schedule: settings.schedule, of: 'default' };
}

type Own = RetrySettings['domains'][number];
/** There may be thousands of domains, and a million deliveries to ask about. */
const owns = new WeakMap<RetrySettings, ReadonlyMap<string, Own>>();

function ownOf(settings: RetrySettings, destination: Destination): Own | undefined {
  if (settings.domains.length === 0) return undefined;
  let known = owns.get(settings);
  if (!known) {
    known = new Map(settings.domains.toReversed().map((own) => [own.domain, own]));
    owns.set(settings, known);
  }
  return known.get(destination);
}

/**
 * 0 to 1, by chance, but always the same for an attempt: asked again, with the same settings, the
 * schedule gives the same time (FNV-1a with a finish of its own).
 */
function jitterOf({ id, attempts }: RetryQuestion): number {
  let hash = 0x811c9dc5 ^ attempts;
  for (let at = 0; at < id.length; at++) hash = Math.imul(hash ^ id.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
  return ((hash ^ (hash >>> 15)) >>> 0) / 0xffffffff;
}
