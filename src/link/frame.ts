/**
 * The wire of the link between the receiving and the delivering role: frames on a byte stream.
 *
 *     length (4 octets: of all that follows)  type (1)  id (4)  payload
 *
 * Integers are big-endian. The id names a message or a request; it is chosen by the side that
 * begins. Encoding is here, and a reader that takes octets as they come and gives whole
 * frames. Bounded: a length that is too small, or larger than its type may have, is an error
 * before anything of the payload is kept; so is a type nobody knows.
 */

/** What a frame is about. To the owner of the spool are the ones below 16, from it the others. */
export const FRAME = {
  hello: 1,
  /** A whole message: envelope and body, to be committed. */
  message: 2,
  /** Room for a message whose body follows in chunks. Payload: the message id. */
  begin: 3,
  chunk: 4,
  /** The chunks are complete. Payload: the envelope. */
  commit: 5,
  discard: 6,
  /** The answer to a request. */
  answer: 7,
  /** News that nobody asked for. */
  tell: 8,

  /** There is room for the message of `begin`. */
  begun: 16,
  /** The message is durable. */
  committed: 17,
  /** There will be no such message. */
  refused: 18,
  /** So many octets of the message have been written. */
  credit: 19,
  /** Whether there is room for messages without asking (id 1) or not (id 0). */
  room: 20,
  request: 21,
  /** The link ends. Payload: why. */
  bye: 22,
} as const;
export type FrameType = (typeof FRAME)[keyof typeof FRAME];

export interface Frame {
  readonly type: FrameType;
  readonly id: number;
  readonly payload: Buffer;
}

/** Octets of a message that goes over in one frame; also of one that a message in chunks has on its way. */
export const SMALL_BODY = 128 * 1024;
/** Octets of one chunk. */
export const CHUNK_LIMIT = 64 * 1024;
/** Octets of an envelope or a value; the largest envelope has 100,000 recipients. */
export const VALUE_LIMIT = 64 * 1024 * 1024;
/** Ids go round. */
export const MAX_ID = 0xffff_ffff;

const HEADER = 9;
/** Type and id, which the length counts. */
const COUNTED = 5;
const ENVELOPE_LENGTH = 4;

const LIMITS: Readonly<Record<FrameType, number>> = {
  [FRAME.hello]: 1024,
  [FRAME.message]: ENVELOPE_LENGTH + VALUE_LIMIT + SMALL_BODY,
  [FRAME.begin]: 64,
  [FRAME.chunk]: CHUNK_LIMIT,
  [FRAME.commit]: VALUE_LIMIT,
  [FRAME.discard]: 0,
  [FRAME.answer]: VALUE_LIMIT,
  [FRAME.tell]: VALUE_LIMIT,
  [FRAME.begun]: 0,
  [FRAME.committed]: 0,
  [FRAME.refused]: 4096,
  [FRAME.credit]: 4,
  [FRAME.room]: 0,
  [FRAME.request]: VALUE_LIMIT,
  [FRAME.bye]: 4096,
};

/** The other side does not keep to the wire format; nothing more can be read from it. */
export class FrameError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'FrameError';
  }
}

/** A frame as buffers to be written one behind the other. Throws FrameError when it would be too large. */
export function encodeFrame(type: FrameType, id: number, ...payload: readonly Buffer[]): Buffer[] {
  let octets = 0;
  for (const part of payload) octets += part.length;
  if (octets > LIMITS[type]) throw new FrameError(tooLarge(type, octets));
  const header = Buffer.allocUnsafe(HEADER);
  header.writeUInt32BE(COUNTED + octets, 0);
  header[4] = type;
  header.writeUInt32BE(id, 5);
  return [header, ...payload];
}

/** The payload of a whole message. */
export function encodeMessage(envelope: Buffer, body: readonly Buffer[]): Buffer[] {
  const length = Buffer.allocUnsafe(ENVELOPE_LENGTH);
  length.writeUInt32BE(envelope.length, 0);
  return [length, envelope, ...body];
}

/** The two parts of a whole message. Throws FrameError. */
export function decodeMessage(payload: Buffer): { envelope: Buffer; body: Buffer } {
  if (payload.length < ENVELOPE_LENGTH) throw new FrameError('a message without an envelope');
  const end = ENVELOPE_LENGTH + payload.readUInt32BE(0);
  if (end > payload.length) throw new FrameError('an envelope longer than its message');
  const body = payload.subarray(end);
  if (body.length > SMALL_BODY) throw new FrameError(`a body of ${body.length} octets in a frame`);
  return { envelope: payload.subarray(ENVELOPE_LENGTH, end), body };
}

/** Takes octets as they come. */
export class FrameReader {
  #pieces: Buffer[] = [];
  #octets = 0;
  /** Octets to wait for before looking again. */
  #wanted = HEADER;

  /** The frames that are complete now. Throws FrameError; the reader is of no use afterwards. */
  push(octets: Buffer): Frame[] {
    this.#pieces.push(octets);
    this.#octets += octets.length;
    if (this.#octets < this.#wanted) return [];
    let rest = this.#pieces.length === 1 ? octets : Buffer.concat(this.#pieces, this.#octets);
    const frames: Frame[] = [];
    this.#wanted = HEADER;
    while (rest.length >= HEADER) {
      const { type, end } = readHeader(rest);
      if (rest.length < end) {
        this.#wanted = end;
        break;
      }
      frames.push({ type, id: rest.readUInt32BE(5), payload: rest.subarray(HEADER, end) });
      rest = rest.subarray(end);
    }
    this.#pieces = rest.length > 0 ? [rest] : [];
    this.#octets = rest.length;
    return frames;
  }
}

function readHeader(octets: Buffer): { type: FrameType; end: number } {
  const length = octets.readUInt32BE(0) - COUNTED;
  const type = octets[4] as FrameType;
  const limit = LIMITS[type];
  if (limit === undefined) throw new FrameError(`a frame of the unknown type ${type}`);
  if (length < 0) throw new FrameError('a frame shorter than its header');
  if (length > limit) throw new FrameError(tooLarge(type, length));
  return { type, end: HEADER + length };
}

function tooLarge(type: FrameType, octets: number): string {
  return `a frame of type ${type} with ${octets} octets; ${LIMITS[type]} is its limit`;
}
