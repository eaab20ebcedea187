/**
 * What a DSN returns of the message it is about: the whole, or its header (RFC 3461 §4.3), read
 * from the spool within bounds.
 */
import type { Readable } from 'node:stream';

/** The largest message that is returned whole. */
const MAX_WHOLE_OCTETS = 1024 * 1024;
/** The most of a header that is returned. */
const MAX_HEADER_OCTETS = 64 * 1024;

export interface Returned {
  /** The message, or its header without the empty line that ends it. */
  readonly octets: Buffer;
  readonly isWhole: boolean;
  readonly isSevenBit: boolean;
  readonly headerIsSevenBit: boolean;
}

/**
 * The original, or its header. `sizeBytes` is the message's size where the whole was asked for.
 * Undefined when the spool cannot give it any more: a report without its third part (RFC 6522 §3)
 * is better than none.
 */
export async function readReturned(
  openBody: () => Promise<Buffer | Readable>,
  sizeBytes: number | undefined,
): Promise<Returned | undefined> {
  const isWhole = sizeBytes !== undefined && sizeBytes <= MAX_WHOLE_OCTETS;
  try {
    const octets = await (isWhole ? readWhole(openBody) : readHeader(openBody));
    const header = isWhole ? headerOf(octets) : octets;
    const headerIsSevenBit = isSevenBitOnly(header);
    const isSevenBit = isWhole ? isSevenBitOnly(octets) : headerIsSevenBit;
    return { octets, isWhole, isSevenBit, headerIsSevenBit };
  } catch {
    return undefined; // the spool told about it
  }
}

/** All octets of a body. */
export async function readWhole(openBody: () => Promise<Buffer | Readable>): Promise<Buffer> {
  const body = await openBody();
  if (Buffer.isBuffer(body)) return body;
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function readHeader(openBody: () => Promise<Buffer | Readable>): Promise<Buffer> {
  const body = await openBody();
  let seen = Buffer.alloc(0);
  for await (const chunk of Buffer.isBuffer(body) ? [body] : body) {
    seen = Buffer.concat([seen, chunk as Buffer]);
    if (seen.includes('\r\n\r\n') || seen.length > MAX_HEADER_OCTETS) break;
  }
  return headerOf(seen).subarray(0, MAX_HEADER_OCTETS);
}

/** Up to the end of the last field's line: without the empty line that ends it. */
export function headerOf(octets: Buffer): Buffer {
  const end = octets.indexOf('\r\n\r\n');
  return end < 0 ? octets : octets.subarray(0, end + 2);
}

export function isSevenBitOnly(octets: Buffer): boolean {
  return octets.every((octet) => octet < 0x80);
}
