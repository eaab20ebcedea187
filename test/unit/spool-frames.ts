/** Frames as a segment holds them, made without a store. */
import { crc32 } from 'node:zlib';
import type { MessageId } from '../../src/mail/message-id.ts';
import {
  encodeHeader,
  type Frame,
  type FrameKind,
  HEADER_OCTETS,
  NOTHING,
} from '../../src/spool/frame.ts';

export const MARK = Buffer.from('5a17e6c3b2f80d41', 'hex');

export function frameOf(
  kind: FrameKind,
  id: MessageId,
  { head = NOTHING, body = NOTHING }: { head?: Buffer; body?: Buffer } = {},
): Frame {
  return { kind, id, head, body };
}

/** The octets of a frame. */
export function encode(frame: Frame, { mark = MARK, durableTo = 0 } = {}): Buffer {
  return Buffer.concat([encodeHeader(frame, { mark, durableTo }), frame.head, frame.body]);
}

/** A segment in which each frame was synced by itself: each knows that all before are durable. */
export function segmentOf(
  frames: readonly Frame[],
  mark = MARK,
): { octets: Buffer; places: number[] } {
  const places: number[] = [];
  let octets: Buffer = NOTHING;
  for (const frame of frames) {
    places.push(octets.length);
    octets = Buffer.concat([octets, encode(frame, { mark, durableTo: octets.length })]);
  }
  return { octets, places };
}

/** A header with lengths of somebody's choice, its checksum right. */
export function headerClaiming(frame: Frame, headLength: number, bodyLength: number): Buffer {
  const header = encodeHeader(frame, { mark: MARK, durableTo: 0 });
  header.writeUInt32BE(headLength, 28);
  header.writeUInt32BE(bodyLength, 32);
  header.writeUInt32BE(crc32(frame.head, crc32(header.subarray(8, HEADER_OCTETS - 4))), 44);
  return header;
}
