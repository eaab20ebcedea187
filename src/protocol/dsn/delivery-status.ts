/**
 * The machine-readable part of a DSN: message/delivery-status (RFC 3464 §2), or
 * message/global-delivery-status where an address is not ASCII (RFC 6533 §3). Pure text.
 */
import { isIP } from 'node:net';
import { formatRfc5322Date } from '../smtp/date.ts';

const MAX_LINE = 998;

export interface DeliveryStatus {
  /** It is to stand in a message/global-delivery-status; otherwise no octet of it is above 127. */
  readonly international: boolean;
  /** Our own host name (RFC 3464 §2.2.2). */
  readonly reportingMta: string;
  /** ENVID, decoded (RFC 3464 §2.2.1). */
  readonly envelopeId?: string | undefined;
  /** The name the client gave that handed the message over (RFC 3464 §2.2.4). */
  readonly receivedFrom?: string | undefined;
  /** RFC 3464 §2.2.5. */
  readonly arrivalDateMs: number;
  readonly recipients: readonly RecipientStatus[];
}

export interface RecipientStatus {
  /** ORCPT as `type;address` (RFC 3464 §2.3.1). */
  readonly originalRecipient?: string | undefined;
  /** As it was accepted (RFC 3464 §2.3.2). */
  readonly finalRecipient: string;
  /** RFC 3464 §2.3.3. */
  readonly action: 'failed' | 'delayed' | 'relayed';
  /** RFC 3463. */
  readonly status: string;
  /** The host that answered (RFC 3464 §2.3.5): a name, or an address, then given as a literal. */
  readonly remoteMta?: string | undefined;
  /** A reply of the remote host, or a reason of ours: only the former is of type smtp (RFC 3464 §2.3.6). */
  readonly diagnostic?: { readonly type: 'smtp' | 'x-stsrelay'; readonly text: string } | undefined;
  /** Undefined when there was none yet (RFC 3464 §2.3.7). */
  readonly lastAttemptMs: number | undefined;
  /** Our id of the message (RFC 3464 §2.3.8). */
  readonly logId: string;
  /** RFC 3464 §2.3.9: for those who are delayed. */
  readonly retryUntilMs?: number | undefined;
}

/** The whole part, lines ended by CRLF; blocks separated by an empty line (RFC 3464 §2.1). */
export function formatDeliveryStatus(status: DeliveryStatus): string {
  const blocks = [messageFields(status), ...status.recipients.map(recipientFields)];
  const lines = blocks.map((fields) => fields.map((field) => formatField(field, status)).join(''));
  return lines.join('\r\n');
}

/** Name and value; a field whose value is undefined is left out. */
type Field = readonly [name: string, value: string | undefined];

function formatField([name, value]: Field, { international }: DeliveryStatus): string {
  if (value === undefined) return '';
  const line = `${name}: ${oneLine(value)}`;
  return `${cut(international ? line : escapeNonAscii(line))}\r\n`;
}

function messageFields(status: DeliveryStatus): Field[] {
  const { reportingMta, envelopeId, receivedFrom, arrivalDateMs } = status;
  return [
    ['Reporting-MTA', `dns; ${reportingMta}`],
    ['Original-Envelope-Id', envelopeId],
    ['Received-From-MTA', receivedFrom && `dns; ${receivedFrom}`],
    ['Arrival-Date', formatRfc5322Date(arrivalDateMs)],
  ];
}

function recipientFields(recipient: RecipientStatus): Field[] {
  const { originalRecipient, finalRecipient, remoteMta, diagnostic } = recipient;
  const { lastAttemptMs, retryUntilMs } = recipient;
  return [
    ['Original-Recipient', originalRecipient?.replace(';', '; ')],
    ['Final-Recipient', `${addressType(finalRecipient)}; ${finalRecipient}`],
    ['Action', recipient.action],
    ['Status', recipient.status],
    ['Remote-MTA', remoteMta && `dns; ${mtaName(remoteMta)}`],
    ['Diagnostic-Code', diagnostic && `${diagnostic.type}; ${diagnostic.text}`],
    ['Last-Attempt-Date', dateOf(lastAttemptMs)],
    ['Final-Log-ID', recipient.logId],
    ['Will-Retry-Until', dateOf(retryUntilMs)],
  ];
}

function dateOf(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : formatRfc5322Date(ms);
}

/** RFC 6533 §3: addresses that are not ASCII have a type of their own. */
function addressType(address: string): 'utf-8' | 'rfc822' {
  return isAscii(address) ? 'rfc822' : 'utf-8';
}

/** An address stands in brackets (RFC 3464 §2.1.2, RFC 5321 §4.1.3). */
function mtaName(hostOrAddress: string): string {
  const family = isIP(hostOrAddress);
  if (family === 0) return hostOrAddress;
  return family === 4 ? `[${hostOrAddress}]` : `[IPv6:${hostOrAddress}]`;
}

export function isAscii(text: string): boolean {
  return !/[^ -~]/.test(text);
}

/** Text from elsewhere on one line: no line break or control character gets into the report. */
export function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is being removed
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ');
}

/** RFC 6533 §3: the form of utf-8-addr-xtext, which is ASCII; used for texts, too. */
function escapeNonAscii(text: string): string {
  return text.replace(
    /[^\0-\x7f]/gu,
    (character) => `\\x{${character.codePointAt(0)?.toString(16).toUpperCase()}}`,
  );
}

/** RFC 5322 §2.1.1: a line has at most 998 octets. */
function cut(line: string): string {
  const octets = Buffer.from(line);
  if (octets.length <= MAX_LINE) return line;
  return octets.toString('utf8', 0, MAX_LINE).replace(/\ufffd+$/, '');
}
