/**
 * Reads a report (a DSN, a TLS report) the way its receivers do, without the code that wrote it: parts at the
 * boundary, unfolded header fields, the blocks of the delivery status.
 */
import assert from 'node:assert/strict';

export type Fields = ReadonlyMap<string, string>;

export interface Part {
  readonly fields: Fields;
  /** `text/plain`, lower case, without parameters. */
  readonly type: string;
  /** Decoded from quoted-printable and base64. */
  readonly content: Buffer;
}

export interface Multipart {
  readonly fields: Fields;
  readonly parts: readonly Part[];
}

export interface Report extends Multipart {
  readonly perMessage: Fields;
  readonly recipients: readonly Fields[];
}

/** Take a message of several parts apart; fails the test when it is none. */
export function parseMultipart(message: Buffer): Multipart {
  const text = message.toString('latin1');
  assert.doesNotMatch(text, /[^\r]\n|\r[^\n]/, 'every line ends in CRLF');
  const [head, body] = splitHeader(text);
  const boundary = /boundary="([^"]+)"/.exec(head.get('content-type') ?? '')?.[1];
  assert.ok(boundary, 'a boundary');
  const pieces = `\r\n${body}`.split(`\r\n--${boundary}`);
  assert.match(pieces.at(-1) ?? '', /^--\r\n/);
  const parts = pieces.slice(1, -1).map((piece) => parsePart(piece.slice(2)));
  return { fields: head, parts };
}

/** Take a DSN apart; fails the test when it is none. */
export function parseReport(message: Buffer): Report {
  const { fields, parts } = parseMultipart(message);
  const status = parts.find(({ type }) => /^message\/(global-)?delivery-status$/.test(type));
  assert.ok(status, 'a delivery status');
  const [perMessage, ...recipients] = status.content
    .toString('utf8')
    .split('\r\n\r\n')
    .map(parseFields);
  assert.ok(perMessage);
  return { fields, parts, perMessage, recipients };
}

function parsePart(piece: string): Part {
  const [fields, raw] = splitHeader(piece);
  const type = (fields.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  return { fields, type, content: decode(raw, fields.get('content-transfer-encoding')) };
}

function splitHeader(text: string): [Fields, string] {
  const end = text.indexOf('\r\n\r\n');
  return [parseFields(text.slice(0, end)), text.slice(end + 4)];
}

/** Names in lower case; a field that occurs twice fails. */
export function parseFields(text: string): Fields {
  const fields = new Map<string, string>();
  for (const line of text.replace(/\r\n[ \t]+/g, ' ').split('\r\n')) {
    if (line === '') continue;
    const [, name, value] = /^([!-9;-~]+):[ \t]*(.*)$/s.exec(line) ?? [];
    assert.ok(name !== undefined && value !== undefined, `a field: ${JSON.stringify(line)}`);
    assert.ok(!fields.has(name.toLowerCase()), `${name} once`);
    fields.set(name.toLowerCase(), value);
  }
  return fields;
}

function decode(raw: string, encoding = '7bit'): Buffer {
  switch (encoding.toLowerCase()) {
    case 'base64':
      return Buffer.from(raw, 'base64');
    case 'quoted-printable':
      return Buffer.from(
        raw
          .replace(/=\r\n/g, '')
          .replace(/=([0-9A-F]{2})/g, (_, hex: string) =>
            String.fromCharCode(Number.parseInt(hex, 16)),
          ),
        'latin1',
      );
    case '7bit':
      assert.doesNotMatch(raw, /[\x80-\xff]/, '7bit is what it says');
      return Buffer.from(raw, 'latin1');
    case '8bit':
      return Buffer.from(raw, 'latin1');
    default:
      throw new Error(`unknown encoding ${encoding}`);
  }
}
