/**
 * A report of ours that returned an 8-bit message whole (RET=FULL, RFC 3461 §4.3), for a host that takes ASCII
 * alone: the same report with the header of that message, for one that cannot be delivered tells nobody. It is
 * made of the report in the spool: what it is about has long gone.
 */
import { Readable } from 'node:stream';
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import { base64Lines, type DsnMessage } from './dsn-message.ts';
import { headerOf, isSevenBitOnly, readWhole } from './returned-message.ts';

export interface NarrowRequest {
  /** Of the new report. */
  readonly dsnId: MessageId;
  /** Of the report that is in the spool. */
  readonly envelope: Envelope;
  readonly atMs: number;
  readonly openBody: () => Promise<Buffer | Readable>;
}

/** Undefined where it cannot be read, or has another form than reports of this relay. */
export async function narrowDsn(request: NarrowRequest): Promise<DsnMessage | undefined> {
  const { dsnId, atMs, openBody } = request;
  const { recipients, requireTls } = request.envelope;
  const wide = await readWhole(openBody).catch(() => undefined);
  const narrow = wide && withHeaderOnly(wide);
  if (!narrow) return undefined;
  const envelope: Envelope = {
    ...{ id: dsnId, reversePath: '', recipients, receivedAtMs: atMs },
    ...{ eightBitMime: false, smtpUtf8: false },
    ...(requireTls ? { requireTls } : {}),
  };
  return { envelope, body: Readable.from([narrow], { objectMode: false }) };
}

/**
 * A multipart/report whose third part is a message/rfc822, with a text/rfc822-headers instead; undefined
 * where it is none, or where anything else in it is not ASCII.
 */
export function withHeaderOnly(wide: Buffer): Buffer | undefined {
  const head = headerOf(wide);
  const boundary = /^Content-Type: multipart\/report;[^"]*\bboundary="([^"\r\n]+)"/im.exec(
    head.toString('latin1'),
  )?.[1];
  if (boundary === undefined) return undefined;
  const line = `\r\n--${boundary}`;
  const starts: number[] = [];
  // What is returned is the last part, whatever stands in it.
  for (let at = wide.indexOf(line); at >= 0 && starts.length < 3; ) {
    starts.push(at);
    at = wide.indexOf(line, at + line.length);
  }
  const end = wide.lastIndexOf(`${line}--`);
  const third = starts[2];
  if (third === undefined || end <= third) return undefined;
  const part = wide.subarray(third + line.length + 2, end);
  const partHead = headerOf(part);
  if (!/^Content-Type: message\/rfc822\r$/im.test(partHead.toString('latin1'))) return undefined;
  const header = headerOf(part.subarray(partHead.length + 2));
  const isAscii = isSevenBitOnly(header);
  const narrow = Buffer.concat([
    Buffer.from(
      head.toString('latin1').replace(/^Content-Transfer-Encoding: 8bit\r\n/im, ''),
      'latin1',
    ),
    wide.subarray(head.length, third),
    Buffer.from(
      `${line}\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: ${isAscii ? '7bit' : 'base64'}\r\n\r\n`,
    ),
    isAscii ? header : base64Lines(header),
    wide.subarray(end),
  ]);
  return isSevenBitOnly(narrow) ? narrow : undefined;
}
