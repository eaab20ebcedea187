/**
 * Who may use the API over HTTP: who sends the token of `http.tokenFile` in `Authorization: Bearer`
 * (RFC 6750), or the cookie that a login with that token gave (api-login.ts).
 *
 * The file is read for each request, so a changed one counts at once. After a
 * wrong token its address (an IPv6 one: its /64; loopback as a whole) gets 429, unread, for a second, then two, four, at
 * most thirty; nobody is kept waiting, since connections are few. Who shares an address with a guesser shares
 * the wait; the control socket has no part in it. What is no bearer token is no guess. A file that cannot be used lets
 * nobody in: 503; for KEEP_MS after it was read last the token in it counts on, so that an editor, or a tool that puts a
 * new file there, locks nobody out for that moment. Logins wait for the file, and do not end.
 *
 * Not by @fastify/bearer-auth: its refusals lack WWW-Authenticate, and it knows 401 and 500 alone.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isLoopback } from '../config/checks.ts';
import { AuthBrake } from '../intake/auth-brake.ts';
import { clientKey, parseAddress } from '../intake/client-key.ts';
import type { Clock } from '../platform/clock.ts';
import { createSecretFiles, type SecretRead } from '../platform/secret-file.ts';
import { bearerOf, parseToken } from '../protocol/bearer-token.ts';

/** Answers whoever is not let in; sets `actor` for who is. */
export type Admit = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;

export interface TokenEvents {
  /** A wrong token came. */
  authFailed(facts: { readonly client: string }): void;
  /** There is none to compare with. */
  tokenUnusable(facts: { readonly reason: string }): void;
  /** The file cannot be used; that of a moment ago counts on for `seconds`. */
  tokenKept?(facts: { readonly reason: string; readonly seconds: number }): void;
}

export interface TokenParts {
  readonly tokenFile: string;
  readonly clock: Clock;
  readonly events: TokenEvents;
}

/** What came of a token that somebody showed. */
export type Shown =
  /** `mark` stands for the token as it is now, and tells nothing about it. */
  | { readonly kind: 'right'; readonly mark: string }
  | { readonly kind: 'wrong' }
  | { readonly kind: 'wait'; readonly seconds: number; readonly error: string }
  | { readonly kind: 'unusable'; readonly error: string };

/** A token that was taken away by removing the file counts for no longer. */
export const KEEP_MS = 30_000;
/** The same trouble with the file is told about so often. */
const TELL_AGAIN_MS = 60_000;
/** RFC 6750 §3 wants a parameter. */
const CHALLENGE = 'Bearer realm="stsrelay"';
const NOT_THE_TOKEN = 'this is not the token';

export const UNUSABLE = {
  kind: 'unusable',
  error: 'there is no usable token; the log of the relay says why',
} as const;

/** Compares tokens with the file, and slows down guessing; one for all ways in, so that they share the wait. */
export class TokenGate {
  readonly #parts: TokenParts;
  readonly #readToken = createSecretFiles(parseToken);
  readonly #brake: AuthBrake;
  readonly #told = new Map<string, number>();
  #lastGood: { readonly secret: string; readonly atMs: number } | undefined;

  constructor(parts: TokenParts) {
    this.#parts = parts;
    this.#brake = new AuthBrake(parts.clock);
  }

  /** Somebody at `address` shows a token. */
  async show(address: string, token: string): Promise<Shown> {
    const read = await this.#read();
    if (read.kind === 'failed') return UNUSABLE;
    // Nothing is waited for from here to the verdict: guesses made side by side count one by one.
    const client = guesserAt(address);
    const seconds = Math.ceil(this.#brake.waitMs(client) / 1000);
    if (seconds > 0) {
      const error = `wrong tokens came from ${address}: try again in ${seconds} s`;
      return { kind: 'wait', seconds, error };
    }
    if (isSame(token, read.secret)) return { kind: 'right', mark: markOf(read.secret) };
    this.#brake.failed(client);
    this.#parts.events.authFailed({ client: address });
    return { kind: 'wrong' };
  }

  /** What stands for the token as it is now; undefined: there is none. */
  async mark(): Promise<string | undefined> {
    const read = await this.#read();
    return read.kind === 'failed' ? undefined : markOf(read.secret);
  }

  async #read(): Promise<SecretRead> {
    const { tokenFile, clock, events } = this.#parts;
    const read = await this.#readToken(tokenFile);
    const now = clock.now();
    if (read.kind === 'found') {
      this.#lastGood = { secret: read.secret, atMs: now };
      return read;
    }
    const { reason } = read;
    const leftMs = KEEP_MS - (now - (this.#lastGood?.atMs ?? Number.NEGATIVE_INFINITY));
    // A clock that was set back makes it no longer.
    if (this.#lastGood && leftMs > 0 && leftMs <= KEEP_MS) {
      const seconds = Math.ceil(leftMs / 1000);
      this.#tell(`kept: ${reason}`, () => events.tokenKept?.({ reason, seconds }));
      return { kind: 'found', secret: this.#lastGood.secret };
    }
    this.#lastGood = undefined;
    this.#tell(reason, () => events.tokenUnusable({ reason }));
    return read;
  }

  #tell(what: string, tell: () => void): void {
    const now = this.#parts.clock.now();
    if (now - (this.#told.get(what) ?? Number.NEGATIVE_INFINITY) < TELL_AGAIN_MS) return;
    this.#told.set(what, now);
    tell();
  }
}

/** Let in who has the token. */
export function admitByToken(gate: TokenGate): Admit {
  return async (request, reply) => {
    const token = bearerOf(request.headers.authorization ?? '');
    if (token === undefined) {
      return challenge(reply, CHALLENGE, 'send the token: Authorization: Bearer TOKEN');
    }
    const address = addressOf(request);
    const shown = await gate.show(address, token);
    if (shown.kind !== 'right') return refuseShown(reply, shown);
    request.actor = `http token from ${address}`;
    return undefined;
  };
}

/** The answer to who is not let in. */
export function refuseShown(
  reply: FastifyReply,
  shown: Exclude<Shown, { kind: 'right' }>,
): FastifyReply {
  switch (shown.kind) {
    case 'wrong':
      return challenge(reply, `${CHALLENGE}, error="invalid_token"`, NOT_THE_TOKEN);
    case 'wait':
      return reply.code(429).header('retry-after', shown.seconds).send({ error: shown.error });
    case 'unusable':
      return reply.code(503).send({ error: shown.error });
  }
}

/** The client's, in its usual spelling. */
export function addressOf({ ip }: Pick<FastifyRequest, 'ip'>): string {
  return parseAddress(ip)?.toString() ?? ip;
}

/** Who guesses on this machine may do so from each of the 2^24 addresses of 127.0.0.0/8 (RFC 1122 §3.2.1.3). */
function guesserAt(address: string): string {
  return isLoopback(parseAddress(address)?.toString() ?? address) ? 'loopback' : clientKey(address);
}

function challenge(reply: FastifyReply, scheme: string, error: string): FastifyReply {
  return reply.code(401).header('www-authenticate', scheme).send({ error });
}

/** In a time that tells nothing about `secret`, its length included. */
function isSame(given: string, secret: string): boolean {
  return timingSafeEqual(digest(given), digest(secret));
}

function markOf(secret: string): string {
  return digest(`login:${secret}`).toString('hex');
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
