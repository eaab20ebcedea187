/**
 * AUTH to a smart host (RFC 4954): who we are to it, and the exchange itself. It is made once per
 * session, over TLS alone, after the peer was judged.
 */
import { hash } from 'node:crypto';
import { type Failure, type LocalFailure, localFailure } from '../mail/failure.ts';
import { parseReply, type Reply } from '../protocol/smtp/reply.ts';
import { connectionFailure } from './session-failure.ts';
import type { WireError } from './transaction.ts';
import type { Wire } from './wire.ts';

/** Plain data; in memory only, and in nothing that is logged or kept. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** Tells credentials apart without showing them. */
export function digestOf({ user, password }: Credentials): string {
  return hash('sha256', `${user}\0${password}`);
}

/** Prove who we are; undefined when the server believes it. */
export async function logIn(
  wire: Wire,
  credentials: Credentials,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  // RFC 4954 §4, RFC 8314 §5.1: whatever TLS was asked for, a password is not sent in clear text.
  if (!wire.tlsSocket) {
    return localFailure('auth-not-possible', 'AUTH needs TLS, and the session has none');
  }
  if (wire.authMechanisms.length === 0) {
    const detail = 'the server offers AUTH by no mechanism of ours (PLAIN, LOGIN, CRAM-MD5)';
    return localFailure('auth-not-possible', detail);
  }
  try {
    await wire.logIn(credentials, signal);
    return undefined;
  } catch (error) {
    const { response } = error as WireError;
    const reply = response === undefined ? undefined : parseReply(response);
    if (!reply) return connectionFailure(wire, error as WireError);
    return { kind: 'reply', stage: 'auth', reply: withoutSecrets(reply, credentials) };
  }
}

/** Some servers repeat what they did not like. */
function withoutSecrets(reply: Reply, { user, password }: Credentials): Reply {
  const plain = Buffer.from(`\0${user}\0${password}`).toString('base64');
  const secrets = [plain, Buffer.from(password).toString('base64'), password];
  return { ...reply, text: secrets.reduce((text, it) => text.replaceAll(it, '***'), reply.text) };
}

/** What a route's credentials came to. */
export type CredentialsRead =
  /** The route has none. */
  | { readonly kind: 'none' }
  | { readonly kind: 'found'; readonly credentials: Credentials }
  | { readonly kind: 'failed'; readonly failure: LocalFailure };
