/**
 * The errors of a queue that cross the link as what they are, so that a client is told the
 * same as when queue and front door are one process.
 */
import { QueueAwayError, QueueFullError } from '../queue/submit-port.ts';
import { SpoolError } from '../spool/store.ts';
import { type Frame, FrameError } from './frame.ts';

const KINDS = { queueFull: 1, full: 2, failed: 3, other: 4, away: 5 } as const;
/** Characters of a text; at most four octets each. */
const MOST_TEXT = 1000;

/** An error as the payload of a frame. */
export function encodeRefusal(error: unknown): Buffer {
  const message = error instanceof Error ? error.message : String(error);
  const text = error instanceof QueueFullError ? String(error.limit) : message;
  return Buffer.concat([Buffer.of(kindOf(error)), Buffer.from(text.slice(0, MOST_TEXT))]);
}

/** The error it was. Throws FrameError. */
export function decodeRefusal({ payload }: Frame): Error {
  const text = payload.subarray(1).toString();
  switch (payload[0]) {
    case KINDS.queueFull:
      return new QueueFullError(Number(text));
    case KINDS.full:
      return new SpoolError('full', text);
    case KINDS.failed:
      return new SpoolError('failed', text);
    case KINDS.away:
      return new QueueAwayError(text);
    case KINDS.other:
      return new Error(text);
    default:
      throw new FrameError('a refusal of an unknown kind');
  }
}

function kindOf(error: unknown): number {
  if (error instanceof QueueFullError) return KINDS.queueFull;
  if (error instanceof QueueAwayError) return KINDS.away;
  return error instanceof SpoolError
    ? KINDS[error.kind === 'full' ? 'full' : 'failed']
    : KINDS.other;
}
