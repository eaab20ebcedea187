/**
 * One SMTP session with one address of one candidate: connect, negotiate TLS as far as the
 * requirement asks, judge the peer, hand over a message. Failures are values; the facts of
 * the session (address, TLS, verdict) go with every result.
 *
 * Nothing of a message leaves before `refusesSession` (admission.ts) agreed.
 */
import type { Readable } from 'node:stream';
import type { SecureContext } from 'node:tls';
import type { Envelope } from '../mail/envelope.ts';
import { type Failure, type LocalFailure, localFailure } from '../mail/failure.ts';
import type { MxCandidate } from '../mail/route.ts';
import type {
  RecipientReply,
  SessionFacts,
  SessionResult,
  TlsFacts,
} from '../mail/session-result.ts';
import { allowsClearText, type TlsRequirement } from '../mail/tls-requirement.ts';
import { dial } from '../platform/dial.ts';
import { toAsciiDomain } from '../protocol/mailbox.ts';
import { formatReply, parseReply } from '../protocol/smtp/reply.ts';
import { refusesSession } from './admission.ts';
import { describePeer } from './peer-verdict.ts';
import type { SmtpTimeouts } from './smtp-timeouts.ts';
import { handshakeFailure } from './tls-failure.ts';
import type { TransactionReplies, WireError, WireMessage } from './transaction.ts';
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
  /** Trusted roots and least version; `small-hello` with SMALL_HELLO besides. Made once, they are costly. */
  readonly secureContexts: { readonly full: SecureContext; readonly 'small-hello': SecureContext };
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

/** Run one session from connect to QUIT. Never throws for what the network or the peer does. */
export async function runSession(
  plan: SessionPlan,
  consignment: Consignment,
  parts: SessionParts & { readonly signal: AbortSignal },
): Promise<SessionResult> {
  if (plan.mode === 'clear' && !allowsClearText(plan.requirement)) {
    throw new Error('a session in clear text was planned where TLS is required');
  }
  const { candidate, address, requirement } = plan;
  const localAddress = parts.localAddressFor(address);
  const base = { candidate, address, localAddress, requirement, tls: undefined };
  const dialed = await dial({
    address,
    port: candidate.port,
    timeoutMs: parts.timeouts.connect,
    signal: parts.signal,
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  if (dialed.kind === 'failed') {
    const cause = dialed.cause === 'aborted' ? 'timeout' : dialed.cause;
    return { kind: 'ended-early', facts: base, failure: localFailure(cause, dialed.detail) };
  }
  parts.onConnection(1);
  dialed.socket.once('close', () => parts.onConnection(-1));
  let tls: TlsFacts | undefined;
  const wire = new Wire({
    socket: dialed.socket,
    address,
    onSecured: (socket) => {
      tls = describePeer(socket, candidate.host);
    },
    heloName: parts.heloName,
    timeouts: parts.timeouts,
    startTls: startTlsFor(plan),
    tls: tlsOptions(plan, parts),
  });
  try {
    const { signal } = parts;
    return await converse(wire, {
      plan,
      consignment,
      signal,
      facts: () => ({ ...base, tls }),
    });
  } finally {
    wire.finish();
  }
}

interface Conversation {
  readonly plan: SessionPlan;
  readonly consignment: Consignment;
  readonly signal: AbortSignal;
  /** What is known about the session by now. */
  readonly facts: () => SessionFacts;
}

async function converse(wire: Wire, conversation: Conversation): Promise<SessionResult> {
  const { plan, consignment, signal } = conversation;
  try {
    await wire.open(signal);
  } catch (error) {
    const facts = conversation.facts();
    const failure = beforeAdmission(openingFailure(wire, error as WireError, plan), facts, wire);
    return { kind: 'ended-early', facts, failure };
  }
  const facts = { ...conversation.facts(), ...whyClearText(wire, plan) };
  const failure =
    refusesSession(plan.requirement, facts.tls) ?? missingExtension(wire, consignment);
  if (failure) return { kind: 'ended-early', facts, failure };
  let body: Readable;
  try {
    body = await consignment.openBody();
  } catch (error) {
    // Where it lies is nobody's business but the log's, and the spool told that one.
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    const detail = `the message cannot be read from the spool (${code ?? 'damaged'})`;
    const unreadable = localFailure('spool-unreadable', detail);
    return { kind: 'ended-early', facts, failure: unreadable };
  }
  const replies = await wire.transact(wireMessage(consignment), body, signal);
  body.destroy();
  return transacted(wire, conversation, { facts, replies });
}

/** A session that is open in clear text says why. */
function whyClearText(wire: Wire, { mode, requirement }: SessionPlan): Partial<SessionFacts> {
  if (wire.tlsSocket || mode === 'clear' || requirement.level === 'none') return {};
  const clearTextBecause = wire.startTlsOffered
    ? { cause: 'starttls-refused' as const, detail: 'STARTTLS was offered and then refused' }
    : { cause: 'starttls-not-offered' as const, detail: 'STARTTLS was not offered' };
  return { clearTextBecause };
}

/**
 * Where TLS is required, what a peer says before it proved who it is decides nothing for good:
 * anybody on the way can answer 554. It is a policy that was not met, and waits (RFC 8461 §5).
 */
function beforeAdmission(
  failure: Failure,
  { requirement, tls }: SessionFacts,
  wire: Wire,
): Failure {
  if (failure.kind === 'local' || allowsClearText(requirement)) return failure;
  const refused = refusesSession(requirement, tls);
  if (!refused) return failure;
  if (tls) return refused;
  const said = formatReply(failure.reply);
  return wire.stageReached === 'ehlo'
    ? localFailure('starttls-not-offered', `EHLO was refused: ${said}`)
    : localFailure('refused-before-tls', `before TLS the server said: ${said}`);
}

function startTlsFor({ mode, requirement }: SessionPlan): 'required' | 'offered' | 'never' {
  if (mode === 'clear' || requirement.level === 'none') return 'never';
  return requirement.level === 'opportunistic' ? 'offered' : 'required';
}

function tlsOptions({ candidate, mode }: SessionPlan, parts: SessionParts) {
  return {
    // Versions, groups and suites come with the context: beside one, Node ignores them.
    secureContext: parts.secureContexts[mode === 'small-hello' ? mode : 'full'],
    // RFC 8461 §7.1: SNI is the name of the MX host, never an address.
    ...(candidate.host === undefined ? {} : { servername: candidate.host }),
    // The handshake is finished in any case; the verdict is ours (peer-verdict.ts).
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  };
}

/** Options of a secure context whose ClientHello stays small: no post-quantum group, few suites. */
export const SMALL_HELLO = {
  ecdhCurve: 'X25519:P-256',
  ciphers: [
    'TLS_AES_128_GCM_SHA256',
    'TLS_AES_256_GCM_SHA384',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
  ].join(':'),
};

/** Why a session did not come to its first transaction. */
function openingFailure(wire: Wire, error: WireError, plan: SessionPlan): Failure {
  if (error.duringHandshake) return handshakeFailure(error);
  const reply = error.response === undefined ? undefined : parseReply(error.response);
  if (wire.stageReached === 'starttls' && startTlsFor(plan) === 'required') {
    if (reply && !wire.startTlsOffered) {
      return localFailure('starttls-not-offered', `STARTTLS is not offered (${error.response})`);
    }
    if (reply) return localFailure('starttls-refused', `STARTTLS was refused: ${error.response}`);
    if (error.code === 'ETLS') return handshakeFailure(error);
  }
  if (error.code === 'ETLS') return handshakeFailure(error);
  if (reply) return { kind: 'reply', stage: wire.stageReached, reply };
  return connectionFailure(wire, error);
}

function connectionFailure(wire: Wire, error: WireError): LocalFailure {
  const at = `at stage ${wire.stageReached}`;
  switch (error.code) {
    case 'ETIMEDOUT':
      return localFailure('timeout', `no answer in time ${at}`);
    case 'EPROTOCOL':
      return localFailure('protocol-error', `${error.message} ${at}`);
    case 'ESTREAM':
      return localFailure('spool-unreadable', error.message);
    default:
      return localFailure('connection-lost', `the connection was lost ${at}: ${error.message}`);
  }
}

/** What this message needs and this server does not offer (RFC 6531 §3.2, RFC 6152 §3, RFC 1870 §6.1). */
function missingExtension(
  wire: Wire,
  { envelope, sizeBytes }: Consignment,
): LocalFailure | undefined {
  if (envelope.smtpUtf8 && !wire.offers('SMTPUTF8')) {
    return localFailure('smtputf8-not-offered', 'the message needs SMTPUTF8, the server lacks it');
  }
  if (envelope.eightBitMime && !wire.offers('8BITMIME')) {
    return localFailure(
      'eightbitmime-not-offered',
      'the message is 8bit, the server lacks 8BITMIME',
    );
  }
  if (wire.sizeLimit !== undefined && sizeBytes > wire.sizeLimit) {
    const detail = `the message has ${sizeBytes} octets, the server takes ${wire.sizeLimit}`;
    return localFailure('message-too-large', detail);
  }
  return undefined;
}

function wireMessage({ envelope, sizeBytes, recipients }: Consignment): WireMessage {
  return {
    reversePath: toAsciiDomain(envelope.reversePath),
    recipients: recipients.flatMap((index) => {
      const recipient = envelope.recipients[index];
      return recipient ? [{ address: toAsciiDomain(recipient.address), dsn: recipient }] : [];
    }),
    sizeBytes,
    eightBitMime: envelope.eightBitMime,
    smtpUtf8: envelope.smtpUtf8,
    ret: envelope.ret,
    envid: envelope.envid,
  };
}

/** Every recipient's reply, from the replies in the order of the commands. */
function transacted(
  wire: Wire,
  { consignment }: Conversation,
  { facts, replies }: { facts: SessionFacts; replies: TransactionReplies },
): SessionResult {
  const { mail, error } = replies;
  if (!mail) {
    const failure = error ? connectionFailure(wire, error) : lost(replies);
    return { kind: 'ended-early', facts, failure };
  }
  if (mail.code >= 300) {
    // Refused before anybody was named: about host or message, so the walk decides how it goes on.
    return { kind: 'ended-early', facts, failure: { kind: 'reply', stage: 'mail', reply: mail } };
  }
  const dsnOffered = wire.offers('DSN');
  const recipients = new Map<number, RecipientReply>();
  consignment.recipients.forEach((recipient, position) => {
    recipients.set(recipient, recipientReply(replies, { position, dsnOffered, wire }));
  });
  return { kind: 'transacted', facts, recipients };
}

function recipientReply(
  replies: TransactionReplies,
  { position, dsnOffered, wire }: { position: number; dsnOffered: boolean; wire: Wire },
): RecipientReply {
  const { data, final, error } = replies;
  const rcpt = replies.rcpt[position];
  const failed = (failure: Failure): RecipientReply => ({ kind: 'failed', failure });
  if (rcpt && rcpt.code >= 300) return failed({ kind: 'reply', stage: 'rcpt', reply: rcpt });
  if (rcpt && final && final.code < 300 && replies.messageSent) {
    return { kind: 'accepted', reply: final, dsnOffered };
  }
  if (rcpt && final) return failed({ kind: 'reply', stage: 'end-of-data', reply: final });
  if (rcpt && data && data.code >= 400)
    return failed({ kind: 'reply', stage: 'data', reply: data });
  if (replies.messageSent) return failed(lost(replies));
  return failed(error ? connectionFailure(wire, error) : lost(replies));
}

function lost({ messageSent }: TransactionReplies): LocalFailure {
  return messageSent
    ? localFailure('connection-lost-after-data', 'no reply to the end of the message')
    : localFailure('connection-lost', 'the connection ended within the transaction');
}
