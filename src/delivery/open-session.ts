/**
 * Opening a session with one address of one candidate: connect, negotiate TLS as far as the
 * requirement asks, judge the peer, prove who we are where that is wanted, and say whether a message
 * may go over it.
 */
import type { TLSSocket } from 'node:tls';
import { type Failure, localFailure } from '../mail/failure.ts';
import type { SessionFacts, SessionMark, TlsFacts } from '../mail/session-result.ts';
import { allowsClearText, daneCheck } from '../mail/tls-requirement.ts';
import { type DialResult, dial } from '../platform/dial.ts';
import { refusesSession } from './admission.ts';
import { logIn } from './credentials.ts';
import { describePeer, resumedPeer } from './peer-verdict.ts';
import type { SecureContexts } from './secure-contexts.ts';
import type { SessionPlan } from './session.ts';
import { openingFailure } from './session-failure.ts';
import type { SessionTicket } from './session-tickets.ts';
import type { SmtpTimeouts } from './smtp-timeouts.ts';
import type { WireError } from './transaction.ts';
import { Wire } from './wire.ts';

/** The same for every session of a relay. */
export interface OpeningParts {
  readonly heloName: string;
  readonly timeouts: SmtpTimeouts & { readonly connect: number };
  readonly secureContexts: SecureContexts;
  readonly onConnection: (open: 1 | -1) => void;
}

export interface OpeningContext extends OpeningParts {
  /** Address to bind to; the kernel chooses when undefined. */
  readonly localAddress: string | undefined;
  readonly signal: AbortSignal;
  /** A TLS session of an equal plan, to be resumed if the server agrees. */
  readonly ticket?: SessionTicket | undefined;
  /** Called with the peer of a finished handshake, before it is heard of again. */
  readonly onSecured?: (socket: TLSSocket) => void;
  /** Told how far it comes. */
  readonly mark?: ((mark: SessionMark) => void) | undefined;
}

/** The wire is the caller's to end, also that of a session no message may go over. */
export type Opened =
  | { readonly facts: SessionFacts; readonly wire: Wire; readonly failure?: undefined }
  | { readonly facts: SessionFacts; readonly wire?: Wire; readonly failure: Failure };

/** From connect to the verdict whether a message may go over this session. */
export async function openSession(plan: SessionPlan, context: OpeningContext): Promise<Opened> {
  if (plan.mode === 'clear' && (plan.implicitTls || !allowsClearText(plan.requirement))) {
    throw new Error('a session in clear text was planned where TLS is required');
  }
  const { candidate, address, requirement } = plan;
  const { localAddress } = context;
  const base = { candidate, address, localAddress, requirement, tls: undefined };
  const dialed = await dialPlanned(plan, context);
  if (dialed.kind === 'failed') {
    const cause = dialed.cause === 'aborted' ? 'timeout' : dialed.cause;
    return { facts: base, failure: localFailure(cause, dialed.detail) };
  }
  context.mark?.('connected');
  context.onConnection(1);
  dialed.socket.once('close', () => context.onConnection(-1));
  let tls: TlsFacts | undefined;
  const wire = new Wire({
    socket: dialed.socket,
    address,
    onSecuring: () => context.mark?.('securing'),
    onSecured: (socket) => {
      context.mark?.('secured');
      tls =
        resumedPeer(socket, context.ticket) ??
        describePeer(socket, candidate.host, daneCheck(requirement));
      context.onSecured?.(socket);
    },
    heloName: context.heloName,
    timeouts: context.timeouts,
    startTls: startTlsFor(plan),
    tls: tlsOptions(plan, context),
    ...(plan.implicitTls
      ? { implicitTls: { mayGoOn: () => refusesSession(requirement, tls) === undefined } }
      : {}),
  });
  try {
    await wire.open(context.signal);
  } catch (error) {
    const facts = { ...base, tls, ...announced(wire) };
    // RFC 8314 §3.3: the verdict came before the greeting, and nothing was said.
    const refused = plan.implicitTls && tls ? refusesSession(requirement, tls) : undefined;
    if (refused) return { facts, wire, failure: refused };
    return { facts, wire, failure: openingFailure(wire, error as WireError, facts) };
  }
  const facts = { ...base, tls, ...announced(wire), ...whyClearText(wire, plan) };
  const failure =
    refusesSession(requirement, tls) ??
    (plan.credentials && (await logIn(wire, plan.credentials, context.signal)));
  context.mark?.('opened');
  return failure ? { facts, wire, failure } : { facts, wire };
}

function dialPlanned(
  { candidate, address }: SessionPlan,
  { timeouts, signal, localAddress }: OpeningContext,
): Promise<DialResult> {
  return dial({
    address,
    port: candidate.port,
    timeoutMs: timeouts.connect,
    signal,
    ...(localAddress === undefined ? {} : { localAddress }),
  });
}

function announced({ announcedName }: Wire): Partial<SessionFacts> {
  return announcedName === undefined ? {} : { announcedName };
}

/** A session that is open in clear text says why. */
function whyClearText(wire: Wire, { mode, requirement }: SessionPlan): Partial<SessionFacts> {
  if (wire.tlsSocket || mode === 'clear' || requirement.level === 'none') return {};
  const clearTextBecause = wire.startTlsOffered
    ? { cause: 'starttls-refused' as const, detail: 'STARTTLS was offered and then refused' }
    : { cause: 'starttls-not-offered' as const, detail: 'STARTTLS was not offered' };
  return { clearTextBecause };
}

function startTlsFor({ mode, requirement, implicitTls }: SessionPlan): Wire['startTls'] {
  if (implicitTls || mode === 'clear' || requirement.level === 'none') return 'never';
  return requirement.level === 'opportunistic' ? 'offered' : 'required';
}

function tlsOptions({ candidate, mode, requirement }: SessionPlan, parts: OpeningContext) {
  const { small, full, forwardSecret } = parts.secureContexts;
  // RFC 9325 §4.1: where a certificate is asked for, no suite without forward secrecy, either.
  const large = requirement.level === 'verify' ? forwardSecret : full;
  const { source } = requirement;
  // RFC 7672 §8.1: where the records came from may not be the name of the MX record.
  const servername = source.kind === 'dane' ? source.baseDomain : candidate.host;
  return {
    // Versions, groups and suites come with the context: beside one, Node ignores them.
    secureContext: mode === 'small-hello' ? small : large,
    // RFC 8461 §7.1, RFC 9325 §3.7: SNI is the name of the MX host, never an address.
    ...(servername === undefined ? {} : { servername }),
    // RFC 8461 §5, RFC 9325 §3.4: of an equal plan, and with the verdict of its own full handshake.
    ...(parts.ticket === undefined ? {} : { session: parts.ticket.session }),
    // The handshake is finished in any case; the verdict is ours (peer-verdict.ts).
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  };
}
