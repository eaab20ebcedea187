/**
 * Handing a message over in a session that was admitted: what the server must offer for it, the
 * transaction, and a result for every recipient from the replies in the order of the commands.
 */
import type { Readable } from 'node:stream';
import { type Failure, type LocalFailure, localFailure } from '../mail/failure.ts';
import type { RecipientReply, SessionFacts, SessionResult } from '../mail/session-result.ts';
import { toAsciiDomain } from '../protocol/mailbox.ts';
import { refusesSession } from './admission.ts';
import type { Consignment } from './session.ts';
import { connectionFailure } from './session-failure.ts';
import type { TransactionReplies, WireMessage } from './transaction.ts';
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
  const missing = missingExtension(wire, consignment);
  if (missing) return notSent(missing);
  const body = await bodyOf(consignment);
  if ('kind' in body) return notSent(body);
  try {
    // The session may have been opened for another message: the requirement is this one's.
    const refused = refusesSession(facts.requirement, facts.tls);
    if (refused) return { ...notSent(refused), ending: 'broken' };
    const replies = await wire.transact(wireMessage(consignment), body, signal);
    const result = transacted(wire, consignment, { facts, replies });
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
  consignment: Consignment,
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
