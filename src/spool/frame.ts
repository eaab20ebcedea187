/**
 * The frames a segment of the spool consists of, one behind the other. Pure.
 *
 *   octets  0..7   the mark: 8 random octets, the same for all frames of a segment
 *           8      kind
 *           9..11  zero
 *          12..27  the message's id, 16 characters of ASCII
 *          28..31  length of the head  (all numbers unsigned, 32 bits, big endian)
 *          32..35  length of the body
 *          36..39  up to where the segment was known to be durable when this was written
 *          40..43  CRC-32 of the body
 *          44..47  CRC-32 of octets 8..43 and the head
 *   head: JSON; body: octets
 *
 * The mark is how the next frame is found behind a damaged one. It stands in the name of the
 * file, too, and no sender can know it: a message cannot hold what would be taken for a frame.
 */
import { crc32 } from 'node:zlib';
import { isMessageId, type MessageId } from '../mail/message-id.ts';

/** Version of the format; it stands in the names of the segments. */
export const FORMAT_VERSION = 2;

export const NOTHING = Buffer.alloc(0);
export const MARK_OCTETS = 8;
export const HEADER_OCTETS = 48;
/**
 * Nothing larger is written. With the most recipients that can be configured (100,000), an envelope
 * or the record of an attempt that failed for all of them takes some 150 MiB.
 */
export const MAX_HEAD_OCTETS = 256 * 1024 * 1024;
/** Larger bodies have a file of their own. */
export const MAX_BODY_OCTETS = 128 * 1024;

export type FrameKind =
  /** A message: its head is a MessageHead, its body the message. */
  | 'message'
  /** A message whose body is in a file of its own. */
  | 'large-message'
  /** What happened to a message: the head is an array of records. */
  | 'records'
  /** The message is gone: nothing before this counts any more. */
  | 'removed'
  /** Means nothing: the disk was tried. */
  | 'probe';

const KINDS: readonly FrameKind[] = ['message', 'large-message', 'records', 'removed', 'probe'];

/** What is to be written. */
export interface Frame {
  readonly kind: FrameKind;
  readonly id: MessageId;
  /** JSON; empty where the kind has none. */
  readonly head: Buffer;
  readonly body: Buffer;
}

/** What the first octets of a frame say of it. */
export interface FrameHeader {
  readonly kind: FrameKind;
  readonly id: MessageId;
  readonly headLength: number;
  readonly bodyLength: number;
  readonly durableTo: number;
  readonly bodyCrc: number;
  readonly headCrc: number;
}

export function frameLength({ head, body }: Frame): number {
  return HEADER_OCTETS + head.length + body.length;
}

/** The header of `frame`; head and body go behind it as they are. */
export function encodeHeader(
  { kind, id, head, body }: Frame,
  { mark, durableTo }: { readonly mark: Buffer; readonly durableTo: number },
): Buffer {
  const header = Buffer.alloc(HEADER_OCTETS);
  mark.copy(header, 0);
  header[8] = KINDS.indexOf(kind);
  header.write(id, 12, 16, 'latin1');
  header.writeUInt32BE(head.length, 28);
  header.writeUInt32BE(body.length, 32);
  header.writeUInt32BE(durableTo, 36);
  header.writeUInt32BE(crc32(body), 40);
  header.writeUInt32BE(crc32(head, crc32(header.subarray(8, 44))), 44);
  return header;
}

/** The header that stands at `at`; undefined when there is none that can be one. */
export function decodeHeader(octets: Buffer, at: number, mark: Buffer): FrameHeader | undefined {
  if (octets.length - at < HEADER_OCTETS) return undefined;
  if (mark.compare(octets, at, at + MARK_OCTETS) !== 0) return undefined;
  const kind = KINDS[octets[at + 8] as number];
  const id = octets.toString('latin1', at + 12, at + 28);
  const headLength = octets.readUInt32BE(at + 28);
  const bodyLength = octets.readUInt32BE(at + 32);
  if (!kind || !isMessageId(id)) return undefined;
  if (headLength > MAX_HEAD_OCTETS || bodyLength > MAX_BODY_OCTETS) return undefined;
  return {
    kind,
    id,
    headLength,
    bodyLength,
    durableTo: octets.readUInt32BE(at + 36),
    bodyCrc: octets.readUInt32BE(at + 40),
    headCrc: octets.readUInt32BE(at + 44),
  };
}

/** Whether header and head, which stand at `at`, are what was written. */
export function isHeadIntact(octets: Buffer, at: number, header: FrameHeader): boolean {
  const head = octets.subarray(at + HEADER_OCTETS, at + HEADER_OCTETS + header.headLength);
  if (head.length !== header.headLength) return false;
  return crc32(head, crc32(octets.subarray(at + 8, at + 44))) === header.headCrc;
}

export function isBodyIntact(body: Buffer, header: FrameHeader): boolean {
  return body.length === header.bodyLength && crc32(body) === header.bodyCrc;
}
