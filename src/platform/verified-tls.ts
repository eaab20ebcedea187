/**
 * A TLS session as a client that demands a verified peer: TLS 1.2 or newer, a chain to one of
 * the context's roots, and a SAN dNSName for the host (RFC 8461 §3.3, RFC 9525 §6.3), never a
 * CN. Node's own identity check takes CNs and is skipped for resumed sessions; ours runs in
 * its place and once more on the finished session, and no session is ever resumed.
 *
 * Whether the certificate or the handshake failed is told apart, for RFC 8460 §4.3 reports
 * them differently. Never throws; a failed session's socket is destroyed.
 */
import type { Socket } from 'node:net';
import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { quoted } from '../protocol/quote.ts';
import { dnsNamesFromSubjectAltName, matchDnsId } from '../protocol/tls/dns-id.ts';
import { type Clock, systemClock } from './clock.ts';

export interface VerifiedTlsRequest {
  /** Connected, and nothing read from it. Belongs to this function from now on. */
  readonly socket: Socket;
  /** A-labels: the server name that is sent and the identity that is demanded. */
  readonly host: string;
  readonly context: SecureContext;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

export interface VerifiedTlsFailure {
  readonly kind: 'failed';
  readonly cause: 'certificate' | 'handshake' | 'timeout' | 'aborted';
  readonly detail: string;
}

export type VerifiedTlsResult =
  | { readonly kind: 'secure'; readonly socket: TLSSocket }
  | VerifiedTlsFailure;

/** A context for connectVerified that trusts `roots` (PEM) and nothing else. */
export function verifyingContext(roots: readonly string[]): SecureContext {
  return createSecureContext({ ca: [...roots], minVersion: 'TLSv1.2' }); // RFC 9325 §3.1.1
}

/** Shake hands and judge the peer. */
export function connectVerified(request: VerifiedTlsRequest): Promise<VerifiedTlsResult> {
  const { host, context, timeoutMs, signal, clock = systemClock } = request;
  return new Promise((resolve) => {
    const secure = connect({
      socket: request.socket,
      secureContext: context,
      servername: host, // RFC 8461 §7.1
      ALPNProtocols: ['http/1.1'],
      rejectUnauthorized: true,
      checkServerIdentity: (_name, certificate) => identityError(host, certificate.subjectaltname),
    });
    const settle = (result: VerifiedTlsResult) => {
      cancelTimer();
      signal.removeEventListener('abort', onAbort);
      if (result.kind === 'failed') {
        secure.destroy();
        request.socket.destroy();
      }
      resolve(result);
    };
    const onAbort = () => settle(failed('aborted', messageOf(signal.reason)));
    const cancelTimer = clock.after(timeoutMs, () =>
      settle(failed('timeout', `no TLS handshake in ${timeoutMs / 1000} s`)),
    );
    // The listener stays for good: a second error without one would end the process.
    secure.on('error', (error) => settle(failed(causeOf(secure), error.message)));
    secure.once('close', () => settle(failed('handshake', 'connection closed in the handshake')));
    secure.once('secureConnect', () => settle(judgeSession(secure, host)));
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

/** The last word: whatever let the handshake pass, this must hold before anything is sent. */
function judgeSession(secure: TLSSocket, host: string): VerifiedTlsResult {
  if (!secure.authorized) return failed('certificate', messageOf(secure.authorizationError));
  // RFC 9325 §3.4: a resumed session would stand for the verdict of another day.
  if (secure.isSessionReused()) return failed('handshake', 'a session was resumed');
  const wrong = identityError(host, secure.getPeerCertificate().subjectaltname);
  if (wrong !== undefined) return failed('certificate', wrong.message);
  return { kind: 'secure', socket: secure };
}

function identityError(host: string, subjectAltName: string | undefined): Error | undefined {
  const names = dnsNamesFromSubjectAltName(subjectAltName);
  if (matchDnsId([host], names) !== undefined) return undefined;
  const shown = names.slice(0, 5).map(quoted).join(', ') || 'no DNS name';
  return new Error(`certificate is for ${shown}, not for ${host}`);
}

/** Node notes a verification error on the socket before it reports it. */
function causeOf(secure: TLSSocket): VerifiedTlsFailure['cause'] {
  return secure.authorizationError ? 'certificate' : 'handshake';
}

function failed(cause: VerifiedTlsFailure['cause'], detail: string): VerifiedTlsFailure {
  return { kind: 'failed', cause, detail };
}

function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
