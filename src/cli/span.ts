/**
 * Times for people: how long something took or takes, and when something is, beside how far away that is.
 */

/** The two largest units that are not zero: `3 d 4 h`, `12 min`. */
export function formatSpan(seconds: number): string {
  const units = [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ] as const;
  let rest = Math.max(0, Math.floor(seconds));
  const parts: string[] = [];
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest %= size;
    if (count > 0 || parts.length > 0) parts.push(count > 0 ? `${count} ${unit}` : '');
  }
  return (
    parts
      .slice(0, 2)
      .filter((part) => part !== '')
      .join(' ') || '0 s'
  );
}

/** The same where there is little room: `3d4h`, `12m30s`. */
export function briefSpan(seconds: number): string {
  return formatSpan(seconds).replaceAll(' ', '').replace('min', 'm');
}

/** `2026-01-31T12:00:00Z, 3 h ago`; `none` without a time. */
export function moment(at: string | undefined, nowMs: number, none = '-'): string {
  if (at === undefined) return none;
  return `${toTheSecond(at)}, ${distance(at, nowMs)}`;
}

/** The same within a sentence: `2026-01-31T12:00:00Z (3 h ago)`. */
export function when(at: string, nowMs: number): string {
  return `${toTheSecond(at)} (${distance(at, nowMs)})`;
}

/** Without fractions of a second. */
export function toTheSecond(at: string): string {
  return at.replace(/\.\d+(?=Z$)/, '');
}

/** `in 3 h`, `3 h ago` */
export function distance(at: string, nowMs: number): string {
  const seconds = secondsFrom(at, nowMs);
  if (Number.isNaN(seconds)) return '-';
  return seconds < 0 ? `in ${formatSpan(-seconds)}` : `${formatSpan(seconds)} ago`;
}

/** From `at`, RFC 3339, to now; less than zero for what is to come. */
export function secondsFrom(at: string, nowMs: number): number {
  return (nowMs - Date.parse(at)) / 1000;
}
