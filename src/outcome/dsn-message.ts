/**
 * A DSN as a message (RFC 6522, RFC 3464): multipart/report with an explanation, the delivery
 * status and the original or its header. MIME is nodemailer's; what is said is ours.
 *
 * RET=FULL returns the whole message in a failure report (RFC 3461 §5.3), up to a limit; in all
 * other cases the header is returned.
 */
import type { Readable } from 'node:stream';
import MimeNode from 'nodemailer/lib/mime-node';
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import {
  type DeliveryStatus,
  formatDeliveryStatus,
  isAscii,
  type RecipientStatus,
} from '../protocol/dsn/delivery-status.ts';
import { explain } from '../protocol/dsn/explanation.ts';
import { formatRfc5322Date } from '../protocol/smtp/date.ts';
import type { AttemptRecord, RecordedFailure } from '../spool/message-state.ts';
import type { StoredMessage } from '../spool/store.ts';
import { wants } from './dsn-duty.ts';

/** The largest message that is returned whole. */
const MAX_RETURNED_OCTETS = 1024 * 1024;
/** The most of a header that is returned. */
const MAX_HEADER_OCTETS = 64 * 1024;

export interface DsnRequest {
  readonly dsnId: MessageId;
  readonly original: StoredMessage;
  readonly record: AttemptRecord;
  /** Attempts made for the destination. */
  readonly attempts: number;
  readonly hostname: string;
  readonly openBody: () => Promise<Buffer | Readable>;
}

export interface DsnMessage {
  readonly envelope: Envelope;
  readonly body: Readable;
  readonly failed: number;
  readonly relayed: number;
}

/** Build the DSN about one attempt, with as much of the original as the spool can give. */
export async function buildDsn(request: DsnRequest): Promise<DsnMessage> {
  const { original, record, hostname, dsnId, attempts } = request;
  const { envelope } = original;
  const failed = record.bounced.filter(({ index }) => wants(envelope, index, 'FAILURE'));
  const relayed = record.relayed.filter(({ index }) => wants(envelope, index, 'SUCCESS'));
  const addressOf = (index: number) => envelope.recipients[index]?.address ?? '';
  // RFC 6533 §4: only where an address asks for it; few senders' hosts could take the report.
  const addresses = [envelope.reversePath, ...envelope.recipients.map(({ address }) => address)];
  const international = envelope.smtpUtf8 && !addresses.every(isAscii);
  const status: DeliveryStatus = {
    international,
    reportingMta: hostname,
    envelopeId: envelope.envid,
    arrivalDateMs: envelope.receivedAtMs,
    recipients: [
      ...relayed.map(({ index, host }) => relayedStatus(request, index, host)),
      ...failed.map(({ index, failure }) => failedStatus(request, index, failure)),
    ],
  };
  const text = explain({
    reportingMta: hostname,
    receivedAtMs: envelope.receivedAtMs,
    failed: failed.map(({ index, failure }) => ({
      recipient: addressOf(index),
      host: failure.host,
      text: failure.text,
      source: failure.source,
      attempts,
      expired: failure.expired ?? false,
      demand: failure.demand,
    })),
    relayed: relayed.map(({ index, host }) => ({ recipient: addressOf(index), host })),
  });
  const whole =
    failed.length > 0 && envelope.ret === 'FULL' && original.sizeBytes <= MAX_RETURNED_OCTETS;
  const returned = await readOriginal(request, whole);
  const eightBit = international || (whole && returned !== undefined && !isSevenBit(returned));
  const root = rootNode({ ...request, eightBit, anyFailed: failed.length > 0 });
  root.createChild('text/plain; charset=utf-8').setContent(text);
  const statusType = international ? 'message/global-delivery-status' : 'message/delivery-status';
  appendPart(root, statusType, Buffer.from(formatDeliveryStatus(status)));
  if (returned) appendPart(root, originalType(whole, international), returned);
  return {
    envelope: dsnEnvelope(dsnId, {
      to: envelope.reversePath,
      atMs: record.atMs,
      eightBit,
      international,
    }),
    body: root.createReadStream(),
    failed: failed.length,
    relayed: relayed.length,
  };
}

function rootNode(request: DsnRequest & { eightBit: boolean; anyFailed: boolean }): MimeNode {
  const { hostname, dsnId, original, record, eightBit, anyFailed } = request;
  const root = new MimeNode('multipart/report; report-type=delivery-status', {
    hostname,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  root.setHeader('From', { name: 'Mail Delivery System', address: `MAILER-DAEMON@${hostname}` });
  root.setHeader('To', { address: original.envelope.reversePath });
  root.setHeader(
    'Subject',
    anyFailed ? 'Your message was not delivered' : 'Your message was relayed',
  );
  root.setHeader('Date', formatRfc5322Date(record.atMs));
  root.setHeader('Message-ID', `<${dsnId}@${hostname}>`);
  root.setHeader('Auto-Submitted', 'auto-replied'); // RFC 3834 §5.1
  root.setHeader('MIME-Version', '1.0');
  if (eightBit) root.setHeader('Content-Transfer-Encoding', '8bit');
  return root;
}

type PartType =
  | 'message/delivery-status'
  | 'message/global-delivery-status'
  | 'message/rfc822'
  | 'message/global'
  | 'text/rfc822-headers'
  | 'message/global-headers';

function originalType(whole: boolean, international: boolean): PartType {
  if (whole) return international ? 'message/global' : 'message/rfc822';
  return international ? 'message/global-headers' : 'text/rfc822-headers';
}

/** A part with `content` as it is, octet for octet; only 8-bit headers in ASCII mail are encoded. */
function appendPart(root: MimeNode, type: PartType, content: Buffer): void {
  if (type === 'text/rfc822-headers' && !isSevenBit(content)) {
    root.createChild(type).setContent(content);
    return;
  }
  const encoding = isSevenBit(content) ? '7bit' : '8bit';
  const head = `Content-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`;
  root.createChild(type).setRaw(Buffer.concat([Buffer.from(head), content]));
}

/**
 * The original, or its header without the empty line that ends it. Undefined when the spool
 * cannot give it any more: a report without its third part (RFC 6522 §3) is better than none.
 */
async function readOriginal(request: DsnRequest, whole: boolean): Promise<Buffer | undefined> {
  const most = whole ? MAX_RETURNED_OCTETS : MAX_HEADER_OCTETS;
  let seen = Buffer.alloc(0);
  try {
    const body = await request.openBody();
    for await (const chunk of Buffer.isBuffer(body) ? [body] : body) {
      seen = Buffer.concat([seen, chunk as Buffer]);
      const end = whole ? -1 : seen.indexOf('\r\n\r\n');
      if (end >= 0) return seen.subarray(0, end + 2);
      if (seen.length > most) break;
    }
  } catch {
    return undefined; // the spool told about it
  }
  return seen.subarray(0, most);
}

function isSevenBit(octets: Buffer): boolean {
  return octets.every((octet) => octet < 0x80);
}

function failedStatus(
  request: DsnRequest,
  index: number,
  failure: RecordedFailure,
): RecipientStatus {
  const { original, record } = request;
  const remote = failure.source === 'remote';
  return {
    originalRecipient: original.envelope.recipients[index]?.orcpt,
    finalRecipient: original.envelope.recipients[index]?.address ?? '',
    action: 'failed',
    status: failure.status,
    remoteMta: remote ? (failure.host ?? failure.address) : undefined,
    diagnostic: { type: remote ? 'smtp' : 'x-stsrelay', text: failure.text },
    lastAttemptMs: record.atMs,
    logId: original.envelope.id,
  };
}

function relayedStatus(request: DsnRequest, index: number, host: string): RecipientStatus {
  const { original, record } = request;
  return {
    originalRecipient: original.envelope.recipients[index]?.orcpt,
    finalRecipient: original.envelope.recipients[index]?.address ?? '',
    action: 'relayed',
    status: '2.0.0',
    remoteMta: host,
    lastAttemptMs: record.atMs,
    logId: original.envelope.id,
  };
}

/** RFC 3464 §2: from the null reverse-path to the sender, and nobody wants to hear of it again. */
function dsnEnvelope(
  id: MessageId,
  facts: { to: string; atMs: number; eightBit: boolean; international: boolean },
): Envelope {
  return {
    id,
    reversePath: '',
    recipients: [{ address: facts.to, notify: ['NEVER'] }],
    receivedAtMs: facts.atMs,
    eightBitMime: facts.eightBit,
    smtpUtf8: facts.international,
  };
}
