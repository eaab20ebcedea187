/**
 * Dates as they stand in header fields (RFC 5322 §3.3). Always UTC: where the relay stands is
 * nobody's business, and no reader has to know its time zone rules.
 */

/**
 * `Fri, 21 Nov 2025 22:57:00 +0000` for milliseconds since the epoch.
 * Throws RangeError when `ms` is no date.
 */
export function formatRfc5322Date(ms: number): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) throw new RangeError(`not a date: ${ms}`);
  // `GMT` is an obsolete zone in RFC 5322 §4.3; ECMAScript fixes the rest of this format.
  return date.toUTCString().replace('GMT', '+0000');
}
