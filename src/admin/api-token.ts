/**
 * Who may use the API over HTTP: who sends the token of `http.tokenFile` in `Authorization: Bearer`
 * (RFC 6750). Nothing else lets in, cookies neither, so a page of somebody else that a browser has
 * open cannot ask for anything.
 *
 * The file is read for each request that carries a token, so a changed one counts at once. After a
 * wrong token its address (an IPv6 one: its /64) gets 429, unread, for a second, then two, four, at most
 * thirty; nobody is kept waiting, since connections are few. Who shares an address with a guesser shares
 * the wait; the control socket has no part in it. A file that cannot be used lets nobody in: 503.
 *
 * Not by @fastify/bearer-auth: its refusals lack WWW-Authenticate, and it knows 401 and 500 alone.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AuthBrake } from '../intake/auth-brake.ts';
import { clientKey, parseAddress } from '../intake/client-key.ts';
import type { Clock } from '../platform/clock.ts';
import { createSecretFiles } from '../platform/secret-file.ts';
import { bearerOf, parseToken } from '../protocol/bearer-token.ts';

/** Answers whoever is not let in; sets `actor` for who is. */
export type Admit = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;

export interface TokenEvents {
  /** A wrong token came. */
  authFailed(facts: { readonly client: string }): void;
  /** There is none to compare with. */
  tokenUnusable(facts: { readonly reason: string }): void;
}

export interface TokenParts {
  readonly tokenFile: string;
  readonly clock: Clock;
  readonly events: TokenEvents;
}

/** The same trouble with the file is told about so often. */
const TELL_AGAIN_MS = 60_000;
/** RFC 6750 §3 wants a parameter. */
const CHALLENGE = 'Bearer realm="stsrelay"';

/** Let in who has the token. */
export function admitByToken({ tokenFile, clock, events }: TokenParts): Admit {
  const readToken = createSecretFiles(parseToken);
  const brake = new AuthBrake(clock);
  const told = new Map<string, number>();
  function tell(reason: string): void {
    const now = clock.now();
    if (now - (told.get(reason) ?? Number.NEGATIVE_INFINITY) < TELL_AGAIN_MS) return;
    told.set(reason, now);
    events.tokenUnusable({ reason });
  }
  return async (request, reply) => {
    const { authorization } = request.headers;
    if (authorization === undefined) {
      return challenge(reply, CHALLENGE, 'send the token: Authorization: Bearer TOKEN');
    }
    const read = await readToken(tokenFile);
    if (read.kind === 'failed') {
      tell(read.reason);
      const error = 'there is no usable token; the log of the relay says why';
      return reply.code(503).send({ error });
    }
    // Nothing is waited for from here to the verdict: guesses made side by side count one by one.
    const address = parseAddress(request.ip)?.toString() ?? request.ip;
    const client = clientKey(address);
    const waitSeconds = Math.ceil(brake.waitMs(client) / 1000);
    if (waitSeconds > 0) {
      const error = `wrong tokens came from ${address}: try again in ${waitSeconds} s`;
      return reply.code(429).header('retry-after', waitSeconds).send({ error });
    }
    if (isSame(bearerOf(authorization) ?? '', read.secret)) {
      request.actor = `http token from ${address}`;
      return undefined;
    }
    brake.failed(client);
    events.authFailed({ client: address });
    return challenge(reply, `${CHALLENGE}, error="invalid_token"`, 'this is not the token');
  };
}

function challenge(reply: FastifyReply, scheme: string, error: string): FastifyReply {
  return reply.code(401).header('www-authenticate', scheme).send({ error });
}

/** In a time that tells nothing about `secret`, its length included. */
function isSame(given: string, secret: string): boolean {
  return timingSafeEqual(digest(given), digest(secret));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
