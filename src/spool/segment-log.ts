/**
 * The log: frames are appended to the newest segment, and all that wait at the same time share
 * one write and one sync (group commit). What `append` returned for is durable.
 *
 * A write or a sync that fails refuses everything that waited for it, and retires the segment:
 * after a failed sync the system may have dropped what it could not write, and a later sync that
 * succeeds proves nothing about it. What was refused may still be found after a crash, so the next
 * batch says of each such message that it is gone. On a full disk the room that is kept back is
 * let go, and what became of messages is written all the same.
 */
import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { MessageId } from '../mail/message-id.ts';
import type { Disk } from '../platform/disk.ts';
import {
  encodeHeader,
  type Frame,
  frameLength,
  MAX_BODY_OCTETS,
  MAX_HEAD_OCTETS,
  NOTHING,
} from './frame.ts';
import type { Reserve } from './reserve.ts';
import { type Location, Segment } from './segment.ts';
import { setAside } from './set-aside.ts';
import { asSpoolError, SpoolError } from './store.ts';

export interface SegmentLogOptions {
  readonly directory: string;
  readonly disk: Disk;
  /** A segment is followed by the next when it has so many octets. */
  readonly segmentOctets: number;
  readonly reserve: Reserve;
  /** Segments that are there already, the oldest first. */
  readonly found: readonly Segment[];
}

/**
 * What a frame is for:
 * - `message`: a new one. Refused, it must not come back after a crash.
 * - `record`: what became of one. It is refused only when not even the room kept back is left.
 * - `move`: a message that stands elsewhere already.
 */
export type Purpose = 'message' | 'record' | 'move';

interface Waiting {
  readonly frame: Frame;
  readonly purpose: Purpose;
  readonly resolve: (location: Location) => void;
  readonly reject: (error: SpoolError) => void;
}

/** So many frames wait for a batch that somebody else needs, at most. */
const MOST_IDLE = 1000;
/** Written and synced at once, at most: what waits behind it gets the next turn. */
const MAX_BATCH_OCTETS = 8 * 1024 * 1024;
/** Means nothing by itself. */
export const PROBE: Frame = {
  kind: 'probe',
  id: '0000000000000000' as MessageId,
  head: NOTHING,
  body: NOTHING,
};

export class SegmentLog {
  readonly #options: SegmentLogOptions;
  /** The oldest first; the last one is written to, unless it was retired. */
  readonly #segments: Segment[];
  #current: Segment | undefined;
  #lastNumber: number;
  #waiting: Waiting[] = [];
  /** Written with the next batch, whenever that is. */
  #idle: Frame[] = [];
  /** Messages that were refused, though their frame may be on the disk. */
  #refused: MessageId[] = [];
  #writing: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: SegmentLogOptions) {
    this.#options = options;
    this.#segments = [...options.found];
    this.#lastNumber = options.found.at(-1)?.name.number ?? 0;
  }

  /** Append a frame; durable when it returns. Throws SpoolError. */
  append(frame: Frame, purpose: Purpose): Promise<Location> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(new SpoolError('failed', 'the spool is closed'));
      if (!isReadable(frame)) return reject(new SpoolError('failed', 'too large for the spool'));
      this.#waiting.push({ frame, purpose, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  /** Append a frame that may get lost: with the next batch. */
  appendSometime(frame: Frame): void {
    this.#idle.push(frame);
    if (this.#idle.length < MOST_IDLE) return;
    // A probe takes them along. That it fails has no consequence here.
    void this.append(PROBE, 'move').catch(() => {});
  }

  /** All segments, the oldest first. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** The oldest one that nothing is written to any more. */
  get oldest(): Segment | undefined {
    const [oldest] = this.#segments;
    return oldest === this.#current ? undefined : oldest;
  }

  /** Forget the oldest segment and free its space, durably: no older one may ever come back. */
  async dropOldest(): Promise<void> {
    const { oldest } = this;
    if (!oldest) return;
    await oldest.drop();
    await this.#options.disk.syncDirectory(this.#options.directory);
    this.#forget(oldest);
  }

  /** Keep the oldest segment for a rescue, where it is in nobody's way. */
  async setAsideOldest(): Promise<void> {
    const { oldest } = this;
    const { disk, directory } = this.#options;
    if (!oldest) return;
    await setAside(disk, directory, basename(oldest.path));
    this.#forget(oldest);
    await oldest.close();
  }

  /** Write what is left to write, and let go of the files. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#writing !== undefined) await this.#writing;
    if (this.#idle.length + this.#refused.length > 0) await this.#writeBatch([]).catch(() => {});
    await this.#seal();
    await Promise.all(this.#segments.map((segment) => segment.close()));
  }

  async #write(): Promise<void> {
    // Whoever appends in this turn of the event loop goes with the first batch.
    await setImmediate();
    while (this.#waiting.length > 0) {
      const batch = this.#takeBatch();
      try {
        const at = await this.#writeBatch(batch.map(({ frame }) => frame));
        for (const [index, { resolve }] of batch.entries()) resolve(at[index] as Location);
      } catch (error) {
        await this.#refuse(batch, asSpoolError(error, this.#options.directory));
      }
    }
    this.#writing = undefined;
  }

  #takeBatch(): Waiting[] {
    let octets = 0;
    const end = this.#waiting.findIndex(({ frame }) => {
      octets += frameLength(frame);
      return octets > MAX_BATCH_OCTETS;
    });
    if (end < 0) {
      const all = this.#waiting;
      this.#waiting = [];
      return all;
    }
    return this.#waiting.splice(0, Math.max(1, end));
  }

  /** Write the frames, with those that had time, and sync. Returns where they stand. */
  async #writeBatch(frames: readonly Frame[]): Promise<Location[]> {
    const segment = await this.#segmentToWrite();
    // Others may come while this is written.
    const idle = [...this.#idle];
    const refused = [...this.#refused];
    const extra = [...idle, ...refused.map(removedFrame)];
    const parts: Buffer[] = [];
    const locations: Location[] = [];
    let at = segment.size;
    for (const frame of [...extra, ...frames]) {
      const { head, body } = frame;
      const { mark } = segment.name;
      parts.push(encodeHeader(frame, { mark, durableTo: segment.size }));
      if (head.length > 0) parts.push(head);
      if (body.length > 0) parts.push(body);
      locations.push({ segment, at, headLength: head.length, bodyLength: body.length });
      at += frameLength(frame);
    }
    await segment.append(parts, at - segment.size);
    this.#idle = this.#idle.slice(idle.length);
    this.#refused = this.#refused.slice(refused.length);
    return locations.slice(extra.length);
  }

  async #segmentToWrite(): Promise<Segment> {
    const { directory, disk, segmentOctets } = this.#options;
    if (this.#current && this.#current.size < segmentOctets) return this.#current;
    await this.#seal();
    const segment = await Segment.create(disk, directory, ++this.#lastNumber);
    this.#segments.push(segment);
    this.#current = segment;
    // From now on a segment without one frame that can be read is damaged, not the rest of a crash.
    const header = encodeHeader(PROBE, { mark: segment.name.mark, durableTo: 0 });
    await segment.append([header], header.length);
    return segment;
  }

  /**
   * Nothing is written to this segment any more. False when nothing is left of it, or there was
   * none: what could not be written to it cannot come back.
   */
  async #retire(): Promise<boolean> {
    const retired = this.#current;
    this.#current = undefined;
    if (!retired) return false;
    await retired.cutTail().catch(() => {});
    if (retired.size > 0) return true;
    try {
      // Nobody waits for this to be durable: its first frame, should it come back, means nothing.
      await retired.drop();
    } catch {
      return true;
    }
    this.#forget(retired);
    return false;
  }

  /** Only when its file is gone for good: segments must not come back out of their order. */
  #forget(segment: Segment): void {
    const at = this.#segments.indexOf(segment);
    if (at >= 0) this.#segments.splice(at, 1);
  }

  /** Say that the end of the segment is durable: damage there is no torn write. */
  async #seal(): Promise<void> {
    const segment = this.#current;
    if (!segment || segment.size === 0) return;
    const { mark } = segment.name;
    const header = encodeHeader(PROBE, { mark, durableTo: segment.size });
    await segment.append([header], header.length).catch(() => {});
  }

  /** A batch could not be written. */
  async #refuse(batch: readonly Waiting[], error: SpoolError): Promise<void> {
    const mayComeBack = await this.#retire();
    const records = batch.filter(({ purpose }) => purpose === 'record');
    // The room is for them alone: nothing else may use it up.
    const needsRoom = error.kind === 'full' && records.length > 0;
    const isRescued = needsRoom && (await this.#options.reserve.release());
    const isSaved = ({ purpose }: Waiting) => isRescued && purpose === 'record';
    for (const one of batch) {
      if (isSaved(one)) continue;
      if (one.purpose === 'message' && mayComeBack) this.#refused.push(one.frame.id);
      one.reject(error);
    }
    if (isRescued) this.#saveRoom(records, error);
    // Before a crash makes one of them come back, a large one without its body.
    const isRefusedMessage = batch.some(({ purpose }) => purpose === 'message');
    if (mayComeBack && isRefusedMessage) void this.append(PROBE, 'move').catch(() => {});
  }

  /** Only records get at the room that was let go of: what waits besides them is refused, unwritten. */
  #saveRoom(records: readonly Waiting[], error: SpoolError): void {
    const isRecord = ({ purpose }: Waiting) => purpose === 'record';
    const others = this.#waiting.filter((one) => !isRecord(one));
    this.#waiting = [...records, ...this.#waiting.filter(isRecord)];
    for (const { reject } of others) reject(error);
  }
}

/** Nothing is written that would be taken for damage when it is read back. */
function isReadable({ head, body }: Frame): boolean {
  return head.length <= MAX_HEAD_OCTETS && body.length <= MAX_BODY_OCTETS;
}

export function removedFrame(id: MessageId): Frame {
  return { kind: 'removed', id, head: NOTHING, body: NOTHING };
}
