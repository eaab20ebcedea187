/**
 * Handing a message over in a session that was admitted: what the server must offer for it, the
 * transaction, with as many recipients as the server takes in one, and how the session stands
 * afterwards. What became of each recipient: transaction-result.ts.
 */
import type { Readable } from 'node:stream';
import { type Failure, type LocalFailure, localFailure } from '../mail/failure.ts';
import type { SessionFacts, SessionResult } from '../mail/session-result.ts';
import { tlsWishOf } from '../mail/tls-wish.ts';
import { needsSmtpUtf8, toAsciiDomain } from '../protocol/mailbox.ts';
import { refusesSession, requireTlsIn } from './admission.ts';
import type { Consignment } from './session.ts';
import type { TransactionReplies, WireMessage } from './transaction.ts';
import { transactionResult } from './transaction-result.ts';
import type { Wire } from './wire.ts';

/** How the session stands after a message. */
export type Ending =
  /** Between two transactions, as after EHLO. */
  | 'clean'
  /** The connection was over before the peer said anything to this message; no octet of the content was sent. */
  | 'unheard'
  /** Over, or nobody knows what comes next. */
  | 'broken';

export interface HandedOver {
  readonly result: SessionResult;
  readonly ending: Ending;
}

/** Hand `consignment` over; the session belongs to the caller. Failures are values. */
export async function handOver(
  wire: Wire,
  consignment: Consignment,
  { facts, signal }: { readonly facts: SessionFacts; readonly signal: AbortSignal },
): Promise<HandedOver> {
  const notSent = (failure: Failure): HandedOver => ({
    result: { kind: 'ended-early', facts, failure },
    ending: 'clean',
  });
  const requireTls = howRequireTls(wire, consignment, facts);
  // RFC 8689 §4.2.1: QUIT, and the next host.
  if (typeof requireTls !== 'string') return { ...notSent(requireTls), ending: 'broken' };
  const able = thoseAble(wire, consignment);
  const missing = missingExtension(wire, able);
  if (missing) return notSent(missing);
  const body = await bodyOf(consignment);
  if ('kind' in body) return notSent(body);
  try {
    // The session may have been opened for another message: the requirement is this one's.
    const refused = refusesSession(facts.requirement, facts.tls);
    if (refused) return { ...notSent(refused), ending: 'broken' };
    // RFC 9422 §4.2: no more recipients than the server announced; the others are left.
    const named = able.recipients.slice(0, wire.limits.rcptMax);
    const sent = { ...wireMessage(able, named), requireTls: requireTls === 'with' };
    const replies = await wire.transact(sent, body, signal);
    // Those who keep others from being heard come last.
    const unable = beside(able, consignment);
    const left = [...able.recipients.slice(named.length), ...unable];
    const result = transactionResult(wire, replies, { facts, named, left });
    return { result, ending: await endingOf(wire, replies, signal) };
  } finally {
    if (!Buffer.isBuffer(body)) body.destroy();
  }
}

async function bodyOf({ openBody }: Consignment): Promise<Buffer | Readable | LocalFailure> {
  try {
    return await openBody();
  } catch (error) {
    // Where it lies is nobody's business but the log's, and the spool told that one.
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    const detail = `the message cannot be read from the spool (${code ?? 'damaged'})`;
    return localFailure('spool-unreadable', detail);
  }
}

async function endingOf(
  wire: Wire,
  replies: TransactionReplies,
  signal: AbortSignal,
): Promise<Ending> {
  const { mail, rcpt, data, final, error } = replies;
  if (isUnheard(wire, replies) && !signal.aborted) return 'unheard';
  // A body that was not as announced kept everything back.
  if (final || (error?.code === 'ESTREAM' && !mail && wire.isQuiet)) return 'clean';
  const isTaken = mail !== undefined && mail.code < 300 && rcpt.length > 0;
  const areRefused = isTaken && rcpt.every((reply) => reply !== undefined && reply.code >= 300);
  // A server that wants content for nobody is not one to go on with.
  if (!areRefused || (data && data.code < 400) || !wire.isQuiet) return 'broken';
  return (await wire.startOver(signal)) ? 'clean' : 'broken';
}

/** RFC 5321 §3.8: a server that ends the session, with 421 or without, has done nothing with what came after. */
function isUnheard({ destroyed }: Wire, replies: TransactionReplies): boolean {
  const { mail, rcpt, data, final, messageSent, error } = replies;
  if (!destroyed || messageSent || final || error?.code === 'ESTREAM') return false;
  return mail ? mail.code === 421 : rcpt.length === 0 && data === undefined;
}

/** A message that is to have REQUIRETLS never goes under a requirement that knows nothing of it. */
function howRequireTls(wire: Wire, { envelope }: Consignment, facts: SessionFacts) {
  const { requirement, tls } = facts;
  if (tlsWishOf(envelope) === 'required' && requirement.requireTls !== 'required') {
    throw new Error('a message with REQUIRETLS was planned without it');
  }
  return requireTlsIn(requirement, { tls, isOffered: wire.offers('REQUIRETLS') });
}

/**
 * Whether SMTPUTF8 is needed, not just declared: for a local part or content that is not ASCII (RFC 6531
 * §3.2). Of the addresses only those of this transaction count; their domains go in A-labels.
 */
function whatNeedsUtf8({ envelope, recipients }: Consignment): 'address' | 'content' | undefined {
  const { smtpUtf8, sevenBit, reversePath } = envelope;
  if (!smtpUtf8) return undefined;
  const named = recipients.map((index) => envelope.recipients[index]?.address ?? '');
  if ([reversePath, ...named].some(needsSmtpUtf8)) return 'address';
  return sevenBit ? undefined : 'content';
}

/**
 * One whose address needs SMTPUTF8, which the server lacks, does not keep the message from the others: he is left for
 * a transaction of his own. All of them where that would not help.
 */
function thoseAble(wire: Wire, consignment: Consignment): Consignment {
  if (whatNeedsUtf8(consignment) !== 'address' || wire.offers('SMTPUTF8')) return consignment;
  const { envelope, recipients } = consignment;
  const ascii = recipients.filter(
    (index) => !needsSmtpUtf8(envelope.recipients[index]?.address ?? ''),
  );
  const others = { ...consignment, recipients: ascii };
  return ascii.length > 0 && whatNeedsUtf8(others) === undefined ? others : consignment;
}

/** Those of `all` who are not in `able`; nobody, as a rule. */
function beside(able: Consignment, all: Consignment): readonly number[] {
  if (able === all) return [];
  const those = new Set(able.recipients);
  return all.recipients.filter((index) => !those.has(index));
}

const WITHOUT_UTF8 = {
  address: ['smtputf8-not-offered', 'an address needs SMTPUTF8, the server lacks it'],
  content: ['smtputf8-header-not-offered', 'the content needs SMTPUTF8, the server lacks it'],
} as const;

/** What this message needs and this server does not offer (RFC 6531 §3.2, RFC 6152 §3, RFC 1870 §6.1). */
function missingExtension(wire: Wire, consignment: Consignment): LocalFailure | undefined {
  const { envelope, sizeBytes } = consignment;
  const international = whatNeedsUtf8(consignment);
  if (international && !wire.offers('SMTPUTF8')) {
    const [cause, detail] = WITHOUT_UTF8[international];
    return localFailure(cause, detail);
  }
  if (envelope.eightBitMime && !envelope.sevenBit && !wire.offers('8BITMIME')) {
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

function wireMessage(consignment: Consignment, recipients: readonly number[]): WireMessage {
  const { envelope, sizeBytes } = consignment;
  return {
    reversePath: toAsciiDomain(envelope.reversePath),
    recipients: recipients.flatMap((index) => {
      const recipient = envelope.recipients[index];
      return recipient ? [{ address: toAsciiDomain(recipient.address), dsn: recipient }] : [];
    }),
    sizeBytes,
    eightBitMime: envelope.eightBitMime,
    smtpUtf8: whatNeedsUtf8(consignment) !== undefined,
    ret: envelope.ret,
    envid: envelope.envid,
  };
}
