/**
 * Small pieces of text that findings and verdict share. Pure.
 */
import type { Failure } from '../mail/failure.ts';
import { formatReply } from '../protocol/smtp/reply.ts';

const UNITS = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
] as const;

/** `7 days`, `36 hours`, `1 minute`: in the largest unit that gives a whole number. */
export function inWords(seconds: number): string {
  const fits = UNITS.find(([, unit]) => seconds >= unit && seconds % unit === 0);
  const [name, unit] = fits ?? (['second', 1] as const);
  const count = seconds / unit;
  return `${count} ${name}${count === 1 ? '' : 's'}`;
}

/** What system calls report, in words. */
const ERRORS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection closed',
  ETIMEDOUT: 'connection timed out',
  EHOSTUNREACH: 'host unreachable',
  ENETUNREACH: 'network unreachable',
  EADDRNOTAVAIL: 'address not available here',
  EACCES: 'not permitted on this machine',
  EPERM: 'not permitted on this machine',
};
const SYSTEM_ERROR =
  /\b[a-z]+ (E[A-Z]{3,})\b(?: (?=\S*:\d)([0-9a-f.:]+)(?!\w))?(?: - Local \([^)]*\))?/g;

/** `connect ECONNREFUSED 192.0.2.1:25` as `connection refused (192.0.2.1:25)`; other text as it is. */
export function plainErrors(text: string): string {
  return text.replace(SYSTEM_ERROR, (whole, code: string, at: string | undefined) => {
    const words = ERRORS[code];
    if (words === undefined) return whole;
    return at === undefined ? words : `${words} (${at})`;
  });
}

/** Whether `text` opens with the name of an error, which is not written with a capital. */
export function opensWithError(text: string): boolean {
  return Object.values(ERRORS).some((words) => text.startsWith(words));
}

/** What failed, in one line. */
export function describeFailure(failure: Failure): string {
  if (failure.kind === 'local') return plainErrors(failure.detail);
  const reply = formatReply(failure.reply);
  return failure.stage === 'greeting'
    ? `the host greets with: ${reply}`
    : `the host says to ${failure.stage.toUpperCase()}: ${reply}`;
}

/** The first few, and how many more. */
export function someOf(items: readonly string[], most = 5): string {
  const more = items.length > most ? ` and ${items.length - most} more` : '';
  return items.slice(0, most).join(', ') + more;
}

/** The day of a time in milliseconds since the epoch, UTC. */
export function dayOf(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}
