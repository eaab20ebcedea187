/**
 * The id a message gets when it is accepted: in the reply to DATA, the Received field,
 * every log line, the spool and every DSN.
 *
 * 16 characters of Crockford base32: 9 of milliseconds since 1970 (ids sort by time until
 * the year 3084), 7 random (35 bits), so that two relays never need to agree on a counter.
 */
import { randomFillSync } from 'node:crypto';

declare const messageId: unique symbol;
export type MessageId = string & { readonly [messageId]: true };

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const PATTERN = /^[0-9A-HJKMNP-TV-Z]{16}$/;

/** A new id for a message accepted at `nowMs` (milliseconds since the epoch). */
export function newMessageId(nowMs: number): MessageId {
  let id = idTime(nowMs);
  for (const byte of someRandom()) id += ALPHABET[byte % 32];
  return id as MessageId;
}

/** What ids given at `ms` or later are not less than, and earlier ones are: for comparing strings. */
export function idTime(ms: number): string {
  let time = '';
  for (let i = 0, rest = Math.max(0, Math.floor(ms)); i < 9; i++) {
    time = ALPHABET[rest % 32] + time;
    rest = Math.floor(rest / 32);
  }
  return time;
}

const RANDOM_OCTETS = 7;
/** Random octets for many ids at once: asking for a few costs as much as asking for thousands. */
const pool = new Uint8Array(512 * RANDOM_OCTETS);
let used = pool.length;

function someRandom(): Uint8Array {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += RANDOM_OCTETS;
  return pool.subarray(used - RANDOM_OCTETS, used);
}

/** The least id of those messages that were begun at `ms` or later; they were acknowledged a little later. */
export function leastMessageId(ms: number): MessageId {
  return `${idTime(ms)}0000000` as MessageId;
}

/** When the message with this id was begun, in milliseconds since the epoch. */
export function timeOfId(id: MessageId): number {
  let ms = 0;
  for (let i = 0; i < 9; i++) ms = ms * 32 + ALPHABET.indexOf(id.charAt(i));
  return ms;
}

/** Whether `text` has the form of a message id; nothing else may become a file name in the spool. */
export function isMessageId(text: string): text is MessageId {
  return PATTERN.test(text);
}
