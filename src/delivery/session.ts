/**
 * One SMTP session with one address of one candidate: opened (open-session.ts), or taken from
 * those that are open and idle, and a message handed over. Failures are values; the facts of
 * the session (address, TLS, verdict) go with every result.
 *
 * Nothing of a message leaves before `refusesSession` (admission.ts) agreed. A probe goes exactly
 * as far as that, and ends there.
 *
 * A session is used again only for a plan equal to its own (session-key.ts). That it ended
 * while it was idle is nobody's failure: the message, of which the peer took no notice, goes
 * over a new one.
 */
import type { Readable } from 'node:stream';
import type { Envelope } from '../mail/envelope.ts';
import type { Failure } from '../mail/failure.ts';
import type { Destination, MxCandidate } from '../mail/route.ts';
import type { SessionFacts, SessionMark, SessionResult, TlsMode } from '../mail/session-result.ts';
import type { TlsRequirement } from '../mail/tls-requirement.ts';
import type { Clock } from '../platform/clock.ts';
import { wallMs } from '../platform/wall-time.ts';
import { type CertificateFacts, describeCertificate } from './certificate.ts';
import type { Credentials } from './credentials.ts';
import { type HandedOver, handOver } from './hand-over.ts';
import { type OpeningParts, openSession } from './open-session.ts';
import { sessionKey } from './session-key.ts';
import type { SessionPool } from './session-pool.ts';
import type { SessionTickets } from './session-tickets.ts';
import type { Wire } from './wire.ts';

export interface SessionPlan {
  /** Whose mail it is, for the limits of its connections. */
  readonly destination: Destination;
  readonly candidate: MxCandidate;
  readonly address: string;
  readonly requirement: TlsRequirement;
  readonly mode: TlsMode;
  /** TLS from the first octet; no other way is tried then. */
  readonly implicitTls?: boolean;
  /** For AUTH, before the first message. */
  readonly credentials?: Credentials;
  /** Its times are wanted. No part of what makes sessions equal. */
  readonly isTimed?: true;
}

/** The same for every session of a relay. */
export interface SessionParts extends OpeningParts {
  /** Address to bind to, by family. */
  readonly localAddressFor: (remote: string) => string | undefined;
}

/** Where sessions wait for the next message, and TLS sessions for the next connection; what their age is measured with. */
export interface ReuseParts {
  readonly pool: SessionPool;
  readonly tickets: SessionTickets;
  readonly clock: Clock;
}

/** The part of a message that one delivery hands over. */
export interface Consignment {
  readonly envelope: Envelope;
  readonly sizeBytes: number;
  /** Indexes of the recipients in this transaction. */
  readonly recipients: readonly number[];
  readonly openBody: () => Promise<Buffer | Readable>;
  /** The body, if it need not be read. */
  readonly bodyInMemory?: () => Buffer | undefined;
  /** Resolves when its outcome is on disk: no other message goes over the session before. */
  readonly recorded?: Promise<unknown>;
}

/** What a session came to that was opened to look, not to deliver. */
export interface SessionProbe {
  readonly facts: SessionFacts;
  /** Why no message could go over it; undefined when one could. */
  readonly failure: Failure | undefined;
  /** What the peer showed in the handshake; undefined without one. */
  readonly certificate: CertificateFacts | undefined;
}

/** A session that was admitted, with what it was opened under. */
export interface OpenSession {
  readonly key: string;
  readonly wire: Wire;
  /** As they were at the handshake. */
  readonly facts: SessionFacts;
  /** When the peer was: at the handshake, or at the one that a resumed session began with. */
  readonly judgedAtMs: number;
  /** How many transactions it had. */
  messages: number;
  /** Whose mail went over it. */
  readonly destinations: Set<Destination>;
}

type Parts = SessionParts & { readonly signal: AbortSignal };
type RunParts = Parts & {
  readonly reuse?: ReuseParts;
  /** Told how far it comes. */
  readonly mark?: (mark: SessionMark) => void;
};

/**
 * Hand a message over in a session of its own, or with `reuse` in one that others use after it.
 * Never throws for what the network or the peer does.
 */
export async function runSession(
  plan: SessionPlan,
  consignment: Consignment,
  parts: RunParts,
): Promise<SessionResult> {
  if (!plan.isTimed) return handOverIn(plan, consignment, parts);
  const started = wallMs();
  const marks: Partial<Record<SessionMark, number>> = {};
  const mark = (reached: SessionMark) => {
    marks[reached] = wallMs();
  };
  const result = await handOverIn(plan, consignment, { ...parts, mark });
  const times = { ...marks, started, ended: wallMs() };
  return { ...result, facts: { ...result.facts, times } };
}

async function handOverIn(
  plan: SessionPlan,
  consignment: Consignment,
  { reuse, ...parts }: RunParts,
): Promise<SessionResult> {
  const { signal, heloName, mark } = parts;
  const localAddress = parts.localAddressFor(plan.address);
  const key = sessionKey(plan, { heloName, localAddress });
  const open = reuse?.pool.take(key, plan.destination);
  const delivery = { plan, consignment, signal, mark, reuse };
  // Once: whatever else is idle may be as dead as this one.
  const handed = open && (await overOpen(open, { ...delivery, isReused: true }));
  if (handed && handed.ending !== 'unheard') return handed.result;
  const nowMs = reuse?.clock.now() ?? 0;
  const ticket = reuse?.tickets.take(key, nowMs);
  const { wire, facts, failure } = await openSession(plan, { ...parts, localAddress, ticket });
  if (failure) {
    wire?.finish();
    return { kind: 'ended-early', facts, failure };
  }
  const judgedAtMs = ticket && facts.tls?.resumed ? ticket.judgedAtMs : nowMs;
  const opened = { key, wire, facts, judgedAtMs };
  const session = { ...opened, messages: 0, destinations: new Set<Destination>() };
  wire.once('end', () => reuse?.pool.forget(session));
  return (await overOpen(session, { ...delivery, isReused: false })).result;
}

/** The same session without a message: to the point where one could go, then QUIT. */
export async function probeSession(plan: SessionPlan, parts: Parts): Promise<SessionProbe> {
  let certificate: CertificateFacts | undefined;
  const { wire, facts, failure } = await openSession(plan, {
    ...parts,
    localAddress: parts.localAddressFor(plan.address),
    onSecured: (socket) => {
      certificate = describeCertificate(socket);
    },
  });
  await wire?.leave(parts.signal);
  return { facts, failure, certificate };
}

interface Delivery {
  readonly plan: SessionPlan;
  readonly consignment: Consignment;
  readonly signal: AbortSignal;
  readonly reuse: ReuseParts | undefined;
  readonly mark: RunParts['mark'];
}

/** Hand the message over in `session`, and keep it for the next one or end it. */
async function overOpen(
  session: OpenSession,
  { plan, consignment, signal, reuse, mark, isReused }: Delivery & { readonly isReused: boolean },
): Promise<HandedOver> {
  const { wire } = session;
  const { candidate, requirement } = plan;
  const facts: SessionFacts = isReused
    ? { ...session.facts, candidate, requirement, reused: true }
    : session.facts;
  session.messages += 1;
  session.destinations.add(plan.destination);
  let handed: HandedOver | undefined;
  mark?.('transaction');
  try {
    handed = await handOver(wire, consignment, { facts, signal });
  } finally {
    if (reuse && handed?.ending === 'clean' && wire.rest()) {
      if (plan.mode === 'full') keepTicket(session, reuse.tickets); // it would make a small hello large
      const keep = () => reuse.pool.put(session, plan.destination);
      if (consignment.recorded !== undefined) consignment.recorded.then(keep, keep);
      else keep();
    } else wire.finish();
  }
  return handed;
}

/** One for each connection: the next one to this host may take the place of this one. */
function keepTicket(session: OpenSession, tickets: SessionTickets): void {
  const { key, wire, facts, judgedAtMs, messages } = session;
  const { tlsSocket } = wire;
  if (messages > 1 || !tlsSocket || !facts.tls) return;
  tickets.keep(key, tlsSocket, { tls: facts.tls, judgedAtMs });
}
