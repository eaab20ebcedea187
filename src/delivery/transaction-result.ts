/**
 * What became of the recipients of one transaction, from the replies in the order of the commands
 * (RFC 5321 §3.3): a reply for each, and those who were too many for it. What a reply means is
 * decided elsewhere (outcome/).
 */
import { type Failure, type LocalFailure, localFailure } from '../mail/failure.ts';
import type { RecipientReply, SessionFacts, SessionResult } from '../mail/session-result.ts';
import { type Reply, takesNoMoreRecipients } from '../protocol/smtp/reply.ts';
import { connectionFailure } from './session-failure.ts';
import type { TransactionReplies } from './transaction.ts';
import type { Wire } from './wire.ts';

export interface TransactionFacts {
  readonly facts: SessionFacts;
  /** Indexes of the recipients in the order of their RCPT. */
  readonly named: readonly number[];
  /** Those for whom there was no place from the start. */
  readonly left: readonly number[];
}

/** The result of a transaction that was begun. */
export function transactionResult(
  wire: Wire,
  replies: TransactionReplies,
  { facts, named, left: unnamed }: TransactionFacts,
): SessionResult {
  const { mail, error } = replies;
  if (!mail) {
    const failure = error ? connectionFailure(wire, error) : lost(replies);
    return { kind: 'ended-early', facts, failure };
  }
  if (mail.code >= 300) {
    // Refused before anybody was named: about host or message, so the walk decides how it goes on. RFC 8689
    // §4.2.2: so is a message that may go in clear text, by a host that insists on TLS.
    // RFC 4954 §6: 530 from a smart host is about us, and the message is not to suffer from that.
    const stage = mail.code === 530 && facts.candidate.trusted ? 'auth' : 'mail';
    return { kind: 'ended-early', facts, failure: { kind: 'reply', stage, reply: mail } };
  }
  const dsnOffered = wire.offers('DSN');
  // Where replies are missing nobody was too many: the session broke off.
  const isWhole = replies.rcpt.length === named.length;
  const fitting = named.length - (isWhole ? tooMany(replies.rcpt) : 0);
  const recipients = new Map<number, RecipientReply>();
  for (const [position, index] of named.slice(0, fitting).entries()) {
    recipients.set(index, recipientReply(replies, { position, dsnOffered, wire }));
  }
  const left = [...named.slice(fitting), ...unnamed];
  return { kind: 'transacted', facts, recipients, ...(left.length > 0 ? { left } : {}) };
}

/**
 * RFC 5321 §4.5.3.1.10: how many at the end were refused as too many, behind one who was accepted. A
 * server that begins with that reply, or takes others behind it, means something else.
 */
function tooMany(rcpt: readonly (Reply | undefined)[]): number {
  const lastOther = rcpt.findLastIndex((reply) => !reply || !takesNoMoreRecipients(reply));
  const accepted = rcpt.findIndex((reply) => reply !== undefined && reply.code < 300);
  return accepted < 0 ? 0 : rcpt.length - 1 - lastOther;
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
  // RFC 5321 §4.2.5, §6.1: without a reply to its end the message is still ours.
  if (replies.messageSent) return failed(lost(replies));
  return failed(error ? connectionFailure(wire, error) : lost(replies));
}

function lost({ messageSent }: TransactionReplies): LocalFailure {
  return messageSent
    ? localFailure('connection-lost-after-data', 'no reply to the end of the message')
    : localFailure('connection-lost', 'the connection ended within the transaction');
}
