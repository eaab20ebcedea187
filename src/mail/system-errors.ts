/**
 * Errors of system calls in words for people: the same ones in the queue, its records, DSNs and `check`. Pure.
 */

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

/** Whether `text` is the name of an error, and nothing else. */
export function isErrorName(text: string): boolean {
  return Object.values(ERRORS).includes(text);
}

/** Whether `text` opens with the name of an error, which is not written with a capital. */
export function opensWithError(text: string): boolean {
  return Object.values(ERRORS).some((words) => text.startsWith(words));
}
