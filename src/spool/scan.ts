/**
 * Finds the frames in the octets of a segment, whatever happened to them. Pure.
 *
 * What is not intact is passed over, up to the next mark: a damaged frame never hides another.
 * It is `torn` when nobody was ever told that it is durable: each frame says up to where the
 * segment was durable when it was written, so what lies beyond the farthest of these places
 * may be the rest of a write that a crash cut short. Anything before it was acknowledged, and
 * damage there is reported as such; so is a segment in which nothing can be read.
 */
import {
  decodeHeader,
  type FrameHeader,
  HEADER_OCTETS,
  isBodyIntact,
  isHeadIntact,
} from './frame.ts';

/** An intact frame; its body is intact, too, unless it says otherwise. */
export interface FoundFrame extends FrameHeader {
  readonly at: number;
  readonly bodyIntact: boolean;
}

export interface Damage {
  readonly from: number;
  readonly to: number;
  /** The rest of a write that was cut short, and that nobody was told about. */
  readonly torn: boolean;
}

export interface Scan {
  readonly frames: readonly FoundFrame[];
  readonly damages: readonly Damage[];
}

/** All frames of a segment, in order. */
export function scanSegment(octets: Buffer, mark: Buffer): Scan {
  const frames: FoundFrame[] = [];
  const gaps: { from: number; to: number }[] = [];
  for (let at = 0; at < octets.length; ) {
    const frame = frameAt(octets, at, mark);
    if (frame) {
      frames.push(frame);
      at += lengthOf(frame);
      continue;
    }
    const next = octets.indexOf(mark, at + 1);
    const to = next < 0 ? octets.length : next;
    const last = gaps.at(-1);
    if (last?.to === at) last.to = to;
    else gaps.push({ from: at, to });
    at = to;
  }
  const durableTo = frames.reduce((most, frame) => Math.max(most, frame.durableTo), 0);
  // A segment begins with a frame that was durable before the next one was written.
  const isBegun = frames.length > 0 || octets.length <= HEADER_OCTETS;
  const isTorn = (at: number) => isBegun && at >= durableTo;
  return {
    // A body cut short was not acknowledged; one that was is kept, for its envelope.
    frames: frames.filter((frame) => frame.bodyIntact || !isTorn(frame.at)),
    damages: [
      ...gaps.map(({ from, to }) => ({ from, to, torn: isTorn(from) })),
      ...frames
        .filter(({ bodyIntact }) => !bodyIntact)
        .map((frame) => {
          return { from: frame.at, to: frame.at + lengthOf(frame), torn: isTorn(frame.at) };
        }),
    ],
  };
}

function frameAt(octets: Buffer, at: number, mark: Buffer): FoundFrame | undefined {
  const header = decodeHeader(octets, at, mark);
  if (!header || !isHeadIntact(octets, at, header)) return undefined;
  const bodyAt = at + HEADER_OCTETS + header.headLength;
  const body = octets.subarray(bodyAt, bodyAt + header.bodyLength);
  return { ...header, at, bodyIntact: isBodyIntact(body, header) };
}

function lengthOf({ headLength, bodyLength }: FrameHeader): number {
  return HEADER_OCTETS + headLength + bodyLength;
}
