/**
 * A DSN as a message (RFC 6522, RFC 3464): multipart/report with an explanation, the delivery
 * status and the original or its header. MIME is nodemailer's; what is said is ours
 * (outcome/dsn-entries.ts).
 *
 * RET=FULL returns the whole message in a failure report (RFC 3461 §5.3), up to a limit; in all
 * other cases the header is returned. What is said of a message with REQUIRETLS goes back the same way
 * (RFC 8689 §5): never the whole of it, and with REQUIRETLS as far as the way there allows that.
 *
 * Where an address or the returned header is not ASCII the parts are those of RFC 6533. Only a
 * sender whose own address is not ASCII gets them by SMTPUTF8; for others they are encoded in
 * ASCII, because a DSN that the next hop cannot take is lost: nobody is told about it.
 */

import type { Readable } from 'node:stream';
import MimeNode from 'nodemailer/lib/mime-node';
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import { formatDeliveryStatus, isAscii } from '../protocol/dsn/delivery-status.ts';
import { explain } from '../protocol/dsn/explanation.ts';
import { formatRfc5322Date } from '../protocol/smtp/date.ts';
import type { StoredMessage } from '../spool/store.ts';
import { type DsnEntry, explanationOf, recipientStatus } from './dsn-entries.ts';
import { type Returned, readReturned } from './returned-message.ts';

export interface DsnRequest {
  readonly dsnId: MessageId;
  readonly original: StoredMessage;
  /** When the DSN was decided on. */
  readonly atMs: number;
  /** Those it is about: at least one. */
  readonly entries: readonly DsnEntry[];
  readonly hostname: string;
  readonly openBody: () => Promise<Buffer | Readable>;
}

export interface DsnMessage {
  readonly envelope: Envelope;
  readonly body: Readable;
}

/** How the parts of a report are written. */
interface Form {
  /** As RFC 6533 has them. */
  readonly international: boolean;
  /** It is sent with SMTPUTF8 (RFC 6531). */
  readonly smtpUtf8: boolean;
  /** It has octets above 127. */
  readonly eightBit: boolean;
}

/** Build a DSN, with as much of the original as the spool can give. */
export async function buildDsn(request: DsnRequest): Promise<DsnMessage> {
  const { original, entries } = request;
  const { envelope, sizeBytes } = original;
  // RFC 3461 §4.3: the whole message only where a failure is reported.
  const isFailure = entries.some(({ action }) => action === 'failed');
  // RFC 8689 §5: beside REQUIRETLS, RET=FULL is disregarded.
  const wantsWhole = envelope.ret === 'FULL' && isFailure && !envelope.requireTls;
  const returned = await readReturned(request.openBody, wantsWhole ? sizeBytes : undefined);
  const form = formOf(envelope, returned);
  const root = rootNode(request, form);
  root.createChild('text/plain; charset=utf-8').setContent(explanation(request));
  const status = Buffer.from(deliveryStatus(request, form));
  const { international } = form;
  const type = international ? 'message/global-delivery-status' : 'message/delivery-status';
  appendPart(root, { type, content: status }, form);
  if (returned) {
    appendPart(root, { type: returnedType(returned, form), content: returned.octets }, form);
  }
  return { envelope: dsnEnvelope(request, form), body: root.createReadStream() };
}

/** RFC 6533 §4: international parts where an address asks for them, or what is returned. */
function formOf(envelope: Envelope, returned: Returned | undefined): Form {
  const { reversePath, recipients } = envelope;
  const addresses = [reversePath, ...recipients.map(({ address }) => address)];
  const needsUtf8 = !addresses.every(isAscii) || returned?.headerIsSevenBit === false;
  const international = envelope.smtpUtf8 && needsUtf8;
  const smtpUtf8 = international && !isAscii(reversePath);
  const wholeIsEightBit = returned?.isWhole === true && !returned.isSevenBit;
  return { international, smtpUtf8, eightBit: smtpUtf8 || (wholeIsEightBit && !international) };
}

function explanation({ original, hostname, entries }: DsnRequest): string {
  const { receivedAtMs } = original.envelope;
  return explain({ reportingMta: hostname, receivedAtMs, ...explanationOf(entries) });
}

function deliveryStatus({ original, hostname, entries }: DsnRequest, form: Form): string {
  const { id, envid, client, receivedAtMs } = original.envelope;
  return formatDeliveryStatus({
    international: form.international,
    reportingMta: hostname,
    envelopeId: envid,
    receivedFrom: client?.helo,
    arrivalDateMs: receivedAtMs,
    recipients: entries.map((entry) => recipientStatus(entry, id)),
  });
}

function rootNode({ hostname, dsnId, original, atMs, entries }: DsnRequest, form: Form): MimeNode {
  // RFC 6522 §3: the explanation, the status, what is returned.
  const root = new MimeNode('multipart/report; report-type=delivery-status', {
    hostname,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  // RFC 3464 §2: from the mailer of the reporting host to the reverse-path.
  root.setHeader('From', { name: 'Mail Delivery System', address: `MAILER-DAEMON@${hostname}` });
  root.setHeader('To', { address: original.envelope.reversePath });
  root.setHeader('Subject', subjectOf(entries));
  root.setHeader('Date', formatRfc5322Date(atMs));
  root.setHeader('Message-ID', `<${dsnId}@${hostname}>`);
  root.setHeader('Auto-Submitted', 'auto-replied'); // RFC 3834 §5.1
  root.setHeader('MIME-Version', '1.0');
  if (form.eightBit) root.setHeader('Content-Transfer-Encoding', '8bit');
  return root;
}

function subjectOf(entries: readonly DsnEntry[]): string {
  const has = (action: DsnEntry['action']) => entries.some((entry) => entry.action === action);
  if (has('failed')) return 'Your message was not delivered';
  return has('delayed') ? 'Your message is delayed' : 'Your message was relayed';
}

interface Part {
  readonly type:
    | 'message/delivery-status'
    | 'message/global-delivery-status'
    | 'message/rfc822'
    | 'message/global'
    | 'text/rfc822-headers'
    | 'message/global-headers';
  readonly content: Buffer;
}

function returnedType({ isWhole }: Returned, { international }: Form): Part['type'] {
  if (isWhole) return international ? 'message/global' : 'message/rfc822';
  return international ? 'message/global-headers' : 'text/rfc822-headers';
}

/**
 * A part with `content` as it is, octet for octet, or encoded where the report must be ASCII: only
 * types of RFC 6533 and headers may be (RFC 2046 §5.2.1).
 */
function appendPart(root: MimeNode, { type, content }: Part, form: Form): void {
  const isSevenBit = content.every((octet) => octet < 0x80);
  if (type === 'text/rfc822-headers' && !isSevenBit) {
    root.createChild(type).setContent(content);
    return;
  }
  const encoding = isSevenBit ? '7bit' : form.eightBit ? '8bit' : 'base64';
  const head = `Content-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`;
  const body = encoding === 'base64' ? base64Lines(content) : content;
  root.createChild(type).setRaw(Buffer.concat([Buffer.from(head), body]));
}

/** RFC 2045 §6.8: lines of 76 characters. */
export function base64Lines(content: Buffer): Buffer {
  return Buffer.from(content.toString('base64').replace(/.{76}(?=.)/g, '$&\r\n'));
}

/** RFC 3461 §6.1: from the null reverse-path to the sender, and nobody wants to hear of it again. */
function dsnEnvelope({ dsnId, original, atMs }: DsnRequest, form: Form): Envelope {
  return {
    id: dsnId,
    reversePath: '',
    recipients: [{ address: original.envelope.reversePath, notify: ['NEVER'] }],
    receivedAtMs: atMs,
    eightBitMime: form.eightBit,
    smtpUtf8: form.smtpUtf8,
    ...(original.envelope.requireTls ? { requireTls: true } : {}),
  };
}
