/** Numbers, times and states in words. Pure. */

import type { CauseClass } from '../../mail/outcome.ts';
import type { QueueState } from '../../queue/gates.ts';

const NUMBER = new Intl.NumberFormat('en');
const COMPACT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const SHORT = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const LONG = new Intl.DateTimeFormat('en-GB', {
  ...{ day: 'numeric', month: 'short', year: 'numeric' },
  ...{ hour: '2-digit', minute: '2-digit', second: '2-digit', timeZoneName: 'short' },
});
const YEAR_MS = 300 * 86_400_000;

export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

export function number(value: number): string {
  return NUMBER.format(value);
}

/** `1.2K` */
export function compact(value: number): string {
  return value < 10_000 ? number(value) : COMPACT.format(value);
}

export function counted(count: number, one: string, more = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : more}`;
}

export function octets(size: number): string {
  if (size < 1024) return `${size} B`;
  if (size < 1024 * 1024) return `${(size / 1024).toFixed(1)} KiB`;
  return `${(size / 1024 / 1024).toFixed(1)} MiB`;
}

export function share(part: number, whole: number): string {
  if (whole === 0) return '–';
  const percent = (100 * part) / whole;
  const isRound = percent === 100 || percent === 0;
  return `${isRound ? percent : Math.min(99.9, Math.max(0.1, percent)).toFixed(1)} %`;
}

const UNITS = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const;

/** `3 d 4 h`, in two units at most. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const first = UNITS.findIndex(([, size]) => whole >= size);
  if (first < 0) return '0 s';
  let left = first <= 1 ? Math.round(whole / 60) * 60 : whole;
  if (first === 0) left = Math.round(whole / 3600) * 3600;
  const words: string[] = [];
  for (const [unit, size] of UNITS.slice(first, first + 2)) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) words.push(`${count} ${unit}`);
  }
  return words.join(' ');
}

/** `in 5 min`, `now`, `3 h ago`. */
export function fromNow(time: string, nowMs = Date.now()): string {
  const seconds = (Date.parse(time) - nowMs) / 1000;
  if (Math.abs(seconds) < 1) return 'now';
  return seconds > 0 ? `in ${span(seconds)}` : `${span(-seconds)} ago`;
}

/** Of today the time, else the day with it; where the browser is. */
export function clock(time: string, nowMs = Date.now()): string {
  const at = new Date(time);
  if (Math.abs(nowMs - at.getTime()) > YEAR_MS) return LONG.format(at);
  const isToday = at.toDateString() === new Date(nowMs).toDateString();
  return isToday ? SHORT.format(at) : `${DAY.format(at)}, ${SHORT.format(at)}`;
}

export function longTime(time: string): string {
  return LONG.format(new Date(time));
}

/** For `title`: the same in UTC, as in the log. */
export function utc(time: string): string {
  return `${new Date(time).toISOString().replace('T', ' ').slice(0, 19)} UTC`;
}

export const STATES: {
  readonly [K in QueueState]: { readonly name: string; readonly means: string };
} = {
  active: { name: 'Under way', means: 'being delivered now' },
  due: { name: 'Due', means: 'goes as soon as it has its turn' },
  delayed: { name: 'Delayed', means: 'waits for its next attempt' },
  parked: {
    name: 'Parked',
    means: 'due, but its destination is closed: paused, unreachable or over its rate',
  },
  held: { name: 'Held', means: 'held by an administrator' },
};

export const CAUSES: { readonly [K in CauseClass]: string } = {
  greylisted: 'the receiving host asks to come back later (greylisting)',
  tlsPolicy: 'the TLS that its policy asks for was not reached',
  dns: 'its names could not be looked up',
  connection: 'no connection to its hosts came about',
  mailboxFull: 'the mailbox is full',
  rateLimited: 'the receiving host asks for less mail at a time',
  reputation: 'the receiving host refuses our address or our mail',
  other: 'the receiving host said not now',
};

export const LEVELS = {
  encrypt: {
    name: 'Encrypt, do not verify',
    means:
      'TLS is needed, but nobody checks whose server it is. Right where a certificate expired or names another host.',
    givesUp: 'Whoever can redirect the connection can read and change this mail.',
  },
  opportunistic: {
    name: 'TLS if offered',
    means: 'Goes over TLS where the host offers it, in clear text where it does not.',
    givesUp: 'Anybody on the way can read this mail, and strip the TLS off unseen.',
  },
  none: {
    name: 'Clear text',
    means: 'No TLS at all, for hosts whose TLS is broken.',
    givesUp: 'Everybody on the way can read and change this mail.',
  },
  verify: {
    name: 'Verify',
    means:
      'Stricter than the usual: TLS with a certificate that names the host, whatever the domain publishes.',
    givesUp: 'Nothing; mail waits where the certificate does not fit.',
  },
} as const;
export type Level = keyof typeof LEVELS;
