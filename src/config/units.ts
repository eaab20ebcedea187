/**
 * The units of the configuration: durations (`250ms 30s 5m 4h 5d`), sizes (`64KiB 50MiB 1GiB`),
 * rates (`600/1m`) and times of day (`00:10`), to numbers and back.
 *
 * Pure. A text that is not exactly one of these gives `undefined`: no blanks, no fractions, no
 * units to guess (`MB`, `min`), nothing beyond Number.MAX_SAFE_INTEGER.
 */

/** So many events in so long a time. */
export interface Rate {
  readonly count: number;
  /** Milliseconds. */
  readonly perMs: number;
}

/** From the largest down, so that formatting finds the shortest text first. */
const DURATION_UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
] as const;

const SIZE_UNITS = [
  ['TiB', 1024 ** 4],
  ['GiB', 1024 ** 3],
  ['MiB', 1024 ** 2],
  ['KiB', 1024],
  ['B', 1],
] as const;

type Units = readonly (readonly [string, number])[];

const DAY_MS = 86_400_000;
const TIME_OF_DAY = /^([01]\d|2[0-3]):([0-5]\d)$/;
const AMOUNT = /^(\d{1,15})([A-Za-z]{1,3})$/;

function parseAmount(text: string, units: Units): number | undefined {
  const match = AMOUNT.exec(text);
  const factor = units.find(([unit]) => unit === match?.[2])?.[1];
  if (match === null || factor === undefined) return undefined;
  const amount = Number(match[1]) * factor;
  return Number.isSafeInteger(amount) ? amount : undefined;
}

function formatAmount(amount: number, units: Units): string {
  const last = units.length - 1;
  const [unit, factor] =
    amount === 0
      ? (units.at(-2) ?? ['', 1])
      : (units.find(([, f], i) => amount % f === 0 || i === last) ?? ['', 1]);
  return `${amount / factor}${unit}`;
}

/** `5m` -> 300000 milliseconds. */
export function parseDuration(text: string): number | undefined {
  return parseAmount(text, DURATION_UNITS);
}

/** Whole milliseconds -> the shortest duration that parses back to them. */
export function formatDuration(durationMs: number): string {
  return formatAmount(durationMs, DURATION_UNITS);
}

/** `50MiB` -> 52428800 octets. */
export function parseSize(text: string): number | undefined {
  return parseAmount(text, SIZE_UNITS);
}

/** Whole octets -> the shortest size that parses back to them. */
export function formatSize(sizeBytes: number): string {
  return formatAmount(sizeBytes, SIZE_UNITS);
}

/** `600/1m` -> 600 in 60000 ms. Neither side may be zero. */
export function parseRate(text: string): Rate | undefined {
  const [countText = '', perText = '', ...rest] = text.split('/');
  if (rest.length > 0 || !/^\d{1,9}$/.test(countText)) return undefined;
  const count = Number(countText);
  const perMs = parseDuration(perText);
  return count === 0 || perMs === undefined || perMs === 0 ? undefined : { count, perMs };
}

export function formatRate(rate: Rate): string {
  return `${rate.count}/${formatDuration(rate.perMs)}`;
}

/** `00:10` -> milliseconds after midnight. */
export function parseTimeOfDay(text: string): number | undefined {
  const match = TIME_OF_DAY.exec(text);
  return match === null ? undefined : (Number(match[1]) * 60 + Number(match[2])) * 60_000;
}

export function formatTimeOfDay(afterMidnightMs: number): string {
  const minutes = Math.floor((afterMidnightMs % DAY_MS) / 60_000);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}

/**
 * When an exception ends: `2027-01-31` is the end of that day (UTC), as people read it; a full
 * RFC 3339 time is that instant. Milliseconds since the epoch.
 */
export function parseExpiry(text: string): number | undefined {
  const isDay = /^\d{4}-\d{2}-\d{2}$/.test(text);
  const isInstant = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})$/.test(
    text,
  );
  if (!isDay && !isInstant) return undefined;
  const at = Date.parse(text);
  if (Number.isNaN(at)) return undefined;
  // Date.parse takes 2027-02-31 for March 3: a day that does not exist is a mistake.
  if (isDay && new Date(at).toISOString().slice(0, 10) !== text) return undefined;
  return isDay ? at + DAY_MS : at;
}

export function formatExpiry(expiresMs: number): string {
  const day = new Date(expiresMs - DAY_MS).toISOString().slice(0, 10);
  return expiresMs % DAY_MS === 0 ? day : new Date(expiresMs).toISOString();
}
