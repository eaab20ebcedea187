/**
 * Small pieces of text that findings and verdict share. Pure.
 */
import type { Failure } from '../mail/failure.ts';
import { plainErrors } from '../mail/system-errors.ts';
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
