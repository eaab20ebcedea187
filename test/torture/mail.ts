/**
 * The mail of a crash campaign: messages nobody else could have sent, each with a token that is
 * in its header and in its addresses, and a body that is hard to carry (dots, lines of every
 * length, octets above 127, up to 3 MiB). What an MX host does with a recipient stands in the
 * address, so that everybody who sees the address knows what must become of it.
 */
import { createCipheriv, createHash } from 'node:crypto';
import type { Random } from '../fuzz/engine/random.ts';

/**
 * `takes`: the MX host takes mail for it; `later`: at the third try; `refuses`: 550 to RCPT;
 * `spurns`: 554 to the final dot.
 */
export type Kind = 'takes' | 'later' | 'refuses' | 'spurns';

export interface Addressee {
  readonly address: string;
  readonly kind: Kind;
  readonly domain: string;
}

export interface Mail {
  readonly token: string;
  readonly from: string;
  readonly to: readonly Addressee[];
  readonly content: Buffer;
  readonly digest: string;
}

export const SENDER_DOMAIN = 'client.test';
const TOKEN_FIELD = /^X-Torture: ([a-z0-9]{1,40})\r$/m;
/** The token is within so many octets, below what a relay puts on top. */
const HEAD_OCTETS = 2048;
const SMALLEST = 512;
const LARGEST = 3 * 1024 * 1024;
const POOL_OCTETS = LARGEST + 1024 * 1024;
const [CR, LF, DOT] = [0x0d, 0x0a, 0x2e];
/** Lengths of lines; the longest RFC 5321 §4.5.3.1.6 allows is 998 and its CRLF. */
const LINE_LENGTHS = [0, 1, 2, 30, 76, 76, 76, 200, 998, 998, 5000];

export function digestOf(octets: Buffer): string {
  return createHash('sha256').update(octets).digest('hex');
}

/** The token of a message, from its header; undefined when there is none. */
export function tokenOf(content: Buffer): string | undefined {
  return TOKEN_FIELD.exec(content.subarray(0, HEAD_OCTETS).toString('latin1'))?.[1];
}

/** What must become of mail for this address; undefined for one that is not ours. */
export function kindOf(address: string): Kind | undefined {
  const [, kind] = /^(takes|later|refuses|spurns)\.[a-z0-9]+\.\d+@/.exec(address) ?? [];
  return kind as Kind | undefined;
}

/** Makes messages; the same ones in the same order for the same `random`. */
export class Composer {
  readonly #pool: Buffer;
  readonly #lines: readonly number[];
  readonly #domains: readonly string[];

  constructor(random: Random, domains: readonly string[]) {
    const { pool, lines } = makePool(random);
    this.#pool = pool;
    this.#lines = lines;
    this.#domains = domains;
  }

  /** A message with this token; `largest` bounds its octets. */
  compose(token: string, random: Random, largest = LARGEST): Mail {
    const content = this.#content(token, Math.min(sizeFrom(random), largest), random);
    return {
      token,
      from: `sender.${token}@${SENDER_DOMAIN}`,
      to: this.#addressees(token, random),
      content,
      digest: digestOf(content),
    };
  }

  #addressees(token: string, random: Random): Addressee[] {
    const count = random.pick([1, 1, 1, 1, 2, 3]);
    // The final dot is for all recipients: nobody may be with those whose host spurns the content.
    const isSpurned = random.below(40) === 0;
    return Array.from({ length: count }, (_, number) => {
      const kind = isSpurned ? 'spurns' : anyKind(random);
      const domain = random.pick(this.#domains);
      return { address: `${kind}.${token}.${number}@${domain}`, kind, domain };
    });
  }

  #content(token: string, octets: number, random: Random): Buffer {
    const head = `X-Torture: ${token}\r\nFrom: sender.${token}@${SENDER_DOMAIN}\r\nSubject: ${token} \xe4\r\n\r\n`;
    const from = this.#lines[random.below(this.#lines.length)] ?? 0;
    let to = from + Math.max(0, octets - head.length - 2);
    // A cut between CR and LF would leave a bare CR.
    if (this.#pool[to - 1] === CR) to -= 1;
    const body = this.#pool.subarray(from, Math.max(from, to));
    return Buffer.concat([Buffer.from(head, 'latin1'), body, Buffer.from('\r\n')]);
  }
}

function anyKind(random: Random): Kind {
  const roll = random.below(100);
  if (roll < 4) return 'refuses';
  return roll < 12 ? 'later' : 'takes';
}

/** Mostly small, some middling, a few large. */
function sizeFrom(random: Random): number {
  const roll = random.below(1000);
  const most = roll < 880 ? 16 * 1024 : roll < 985 ? 256 * 1024 : LARGEST;
  return SMALLEST + random.below(most - SMALLEST);
}

/** Lines of random octets, none of them CR, LF or NUL, many with dots in front. */
function makePool(random: Random): { pool: Buffer; lines: number[] } {
  const key = Buffer.alloc(16, random.below(0x1_0000_0000).toString(16));
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  const pool = cipher.update(Buffer.alloc(POOL_OCTETS));
  for (let at = 0; at < pool.length; at += 1) {
    const octet = pool[at] as number;
    if (octet === CR || octet === LF || octet === 0) pool[at] = octet + 0x40;
  }
  const lines: number[] = [];
  for (let at = 0; at < pool.length - 2; ) {
    if (at <= pool.length - LARGEST) lines.push(at);
    if (random.below(4) === 0) pool.fill(DOT, at, at + 1 + random.below(3));
    const end = Math.min(at + random.pick(LINE_LENGTHS), pool.length - 2);
    pool[end] = CR;
    pool[end + 1] = LF;
    at = end + 2;
  }
  return { pool, lines };
}
