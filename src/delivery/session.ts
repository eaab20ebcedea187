/**
 * One SMTP session with one address of one candidate: connect, negotiate TLS as far as the
 * requirement asks, judge the peer, hand over a message. Failures are values; the facts of
 * the session (address, TLS, verdict) go with every result.
 *
 * Nothing of a message leaves before `refusesSession` (admission.ts) agreed. A probe goes exactly
 * as far as that, and ends there.
 */
import type { Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Envelope } from '../mail/envelope.ts';
import { type Failure, localFailure } from '../mail/failure.ts';
import type { MxCandidate } from '../mail/route.ts';
import type { SessionFacts, SessionResult, TlsFacts } from '../mail/session-result.ts';
import { allowsClearText, type TlsRequirement } from '../mail/tls-requirement.ts';
import { type DialResult, dial } from '../platform/dial.ts';
import { refusesSession } from './admission.ts';
import { type CertificateFacts, describeCertificate } from './certificate.ts';
import { handOver } from './hand-over.ts';
import { describePeer } from './peer-verdict.ts';
import type { SecureContexts } from './secure-contexts.ts';
import { openingFailure } from './session-failure.ts';
import type { SmtpTimeouts } from './smtp-timeouts.ts';
import type { WireError } from './transaction.ts';
import { Wire } from './wire.ts';

/** How TLS is tried on this connection. */
export type TlsMode =
  | 'full'
  /** Few groups and suites: for middleboxes that choke on a large ClientHello. No weaker. */
  | 'small-hello'
  /** No STARTTLS: only where the requirement allows clear text. */
  | 'clear';

export interface SessionPlan {
  readonly candidate: MxCandidate;
  readonly address: string;
  readonly requirement: TlsRequirement;
  readonly mode: TlsMode;
}

/** The same for every session of a relay. */
export interface SessionParts {
  readonly heloName: string;
  /** Address to bind to, by family. */
  readonly localAddressFor: (remote: string) => string | undefined;
  readonly timeouts: SmtpTimeouts & { readonly connect: number };
  readonly secureContexts: SecureContexts;
  readonly onConnection: (open: 1 | -1) => void;
}

/** The part of a message that one delivery hands over. */
export interface Consignment {
  readonly envelope: Envelope;
  readonly sizeBytes: number;
  /** Indexes of the recipients in this transaction. */
  readonly recipients: readonly number[];
  readonly openBody: () => Promise<Readable>;
}

/** What a session came to that was opened to look, not to deliver. */
export interface SessionProbe {
  readonly facts: SessionFacts;
  /** Why no message could go over it; undefined when one could. */
  readonly failure: Failure | undefined;
  /** What the peer showed in the handshake; undefined without one. */
  readonly certificate: CertificateFacts | undefined;
}

type Parts = SessionParts & { readonly signal: AbortSignal };

/** Run one session from connect to QUIT. Never throws for what the network or the peer does. */
export async function runSession(
  plan: SessionPlan,
  consignment: Consignment,
  parts: Parts,
): Promise<SessionResult> {
  const { wire, facts, failure } = await openSession(plan, parts);
  try {
    if (failure) return { kind: 'ended-early', facts, failure };
    return await handOver(wire, consignment, { facts, signal: parts.signal });
  } finally {
    wire?.finish();
  }
}

/** The same session without a message: to the point where one could go, then QUIT. */
export async function probeSession(plan: SessionPlan, parts: Parts): Promise<SessionProbe> {
  let certificate: CertificateFacts | undefined;
  const { wire, facts, failure } = await openSession(plan, parts, (socket) => {
    certificate = describeCertificate(socket);
  });
  await wire?.leave(parts.signal);
  return { facts, failure, certificate };
}

/** The wire is the caller's to end, also that of a session no message may go over. */
type Opened =
  | { readonly facts: SessionFacts; readonly wire: Wire; readonly failure?: undefined }
  | { readonly facts: SessionFacts; readonly wire?: Wire; readonly failure: Failure };

/** From connect to the verdict whether a message may go over this session. */
async function openSession(
  plan: SessionPlan,
  parts: Parts,
  onSecured: (socket: TLSSocket) => void = () => {},
): Promise<Opened> {
  if (plan.mode === 'clear' && !allowsClearText(plan.requirement)) {
    throw new Error('a session in clear text was planned where TLS is required');
  }
  const { candidate, address, requirement } = plan;
  const localAddress = parts.localAddressFor(address);
  const base = { candidate, address, localAddress, requirement, tls: undefined };
  const dialed = await dialPlanned(plan, localAddress, parts);
  if (dialed.kind === 'failed') {
    const cause = dialed.cause === 'aborted' ? 'timeout' : dialed.cause;
    return { facts: base, failure: localFailure(cause, dialed.detail) };
  }
  parts.onConnection(1);
  dialed.socket.once('close', () => parts.onConnection(-1));
  let tls: TlsFacts | undefined;
  const wire = new Wire({
    socket: dialed.socket,
    address,
    onSecured: (socket) => {
      tls = describePeer(socket, candidate.host);
      onSecured(socket);
    },
    heloName: parts.heloName,
    timeouts: parts.timeouts,
    startTls: startTlsFor(plan),
    tls: tlsOptions(plan, parts),
  });
  try {
    await wire.open(parts.signal);
  } catch (error) {
    const facts = { ...base, tls };
    return { facts, wire, failure: openingFailure(wire, error as WireError, facts) };
  }
  const facts = { ...base, tls, ...whyClearText(wire, plan) };
  const failure = refusesSession(requirement, tls);
  return failure ? { facts, wire, failure } : { facts, wire };
}

function dialPlanned(
  { candidate, address }: SessionPlan,
  localAddress: string | undefined,
  { timeouts, signal }: Parts,
): Promise<DialResult> {
  return dial({
    address,
    port: candidate.port,
    timeoutMs: timeouts.connect,
    signal,
    ...(localAddress === undefined ? {} : { localAddress }),
  });
}

/** A session that is open in clear text says why. */
function whyClearText(wire: Wire, { mode, requirement }: SessionPlan): Partial<SessionFacts> {
  if (wire.tlsSocket || mode === 'clear' || requirement.level === 'none') return {};
  const clearTextBecause = wire.startTlsOffered
    ? { cause: 'starttls-refused' as const, detail: 'STARTTLS was offered and then refused' }
    : { cause: 'starttls-not-offered' as const, detail: 'STARTTLS was not offered' };
  return { clearTextBecause };
}

function startTlsFor({ mode, requirement }: SessionPlan): 'required' | 'offered' | 'never' {
  if (mode === 'clear' || requirement.level === 'none') return 'never';
  return requirement.level === 'opportunistic' ? 'offered' : 'required';
}

function tlsOptions({ candidate, mode, requirement }: SessionPlan, parts: SessionParts) {
  const { small, full, forwardSecret } = parts.secureContexts;
  // RFC 9325 §4.1: where a certificate is asked for, no suite without forward secrecy, either.
  const large = requirement.level === 'verify' ? forwardSecret : full;
  return {
    // Versions, groups and suites come with the context: beside one, Node ignores them.
    secureContext: mode === 'small-hello' ? small : large,
    // RFC 8461 §7.1, RFC 9325 §3.7: SNI is the name of the MX host, never an address.
    ...(candidate.host === undefined ? {} : { servername: candidate.host }),
    // No session is kept to be resumed: each peer proves who it is (RFC 8461 §5, RFC 9325 §3.4).
    // The handshake is finished in any case; the verdict is ours (peer-verdict.ts).
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  };
}
