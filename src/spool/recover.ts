/**
 * What the directory of a spool holds, read at the start: the segments in order, and where every
 * message and its records stand. Reads only; what is damaged is told, and hides nothing else.
 */
import { join } from 'node:path';
import type { MessageId } from '../mail/message-id.ts';
import type { Disk, DiskFile } from '../platform/disk.ts';
import { MessageIndex } from './message-index.ts';
import { type Damage, type FoundFrame, scanSegment } from './scan.ts';
import { parseSegmentName, Segment, type SegmentName } from './segment.ts';
import { SpoolError } from './store.ts';
import { isDamage } from './stored-frames.ts';

/** The spool was written by another version, whose format this one does not know. */
export class SpoolFormatError extends Error {
  constructor(directory: string, name: string) {
    super(
      `${join(directory, name)} is in a format that this version does not read: ` +
        'run the version that wrote it until its queue is empty, then start this one',
    );
    this.name = 'SpoolFormatError';
  }
}

export interface FoundDamage extends Damage {
  readonly path: string;
  /** The message it belongs to, where that is known. */
  readonly id?: MessageId;
  readonly reason: string;
}

export interface Recovered {
  /** The oldest first. */
  readonly segments: readonly Segment[];
  readonly index: MessageIndex;
  readonly damages: readonly FoundDamage[];
}

/**
 * `durable`: what a process that was killed had written, and not synced, is made durable first. It
 * can be read back, from memory, and would be gone after a power cut, when what was done on the
 * strength of it is not. `as-it-is`: to look at.
 */
export type RecoverHow = 'durable' | 'as-it-is';

/**
 * Read the whole spool. Throws SpoolFormatError, SpoolError when it cannot be made durable, or the
 * system's error for the directory, or for a file that may be read another time (too many open
 * files, no permission).
 */
export async function recoverSpool(
  disk: Disk,
  directory: string,
  how: RecoverHow,
): Promise<Recovered> {
  const segments: Segment[] = [];
  const index = new MessageIndex();
  const damages: FoundDamage[] = [];
  const page = new Page();
  for (const name of await segmentNames(disk, directory)) {
    const segment = Segment.found(disk, directory, name, 0);
    segments.push(segment);
    try {
      damages.push(...(await recoverSegment(disk, segment, { index, how, page })));
    } catch (error) {
      // What can be read, and not be made durable, is no damage: it would be set aside for ever.
      if (error instanceof SpoolError || !isDamage(error)) throw error;
      segment.isDamaged = true;
      const reason = `cannot be read: ${(error as Error).message}`;
      damages.push({ path: segment.path, from: 0, to: 0, torn: false, reason });
    }
  }
  if (how === 'durable') await disk.syncDirectory(directory);
  return { segments, index, damages };
}

/** Larger segments, which a few envelopes with very many recipients make, are read for themselves. */
const PAGE_OCTETS = 80 * 1024 * 1024;

/**
 * Room for one segment after the other: with new room for each the garbage collector goes through
 * the whole index once a segment, which takes longer the more was found.
 */
class Page {
  #room: Buffer | undefined;

  async read(file: DiskFile): Promise<Buffer> {
    const size = await file.size();
    if (size > PAGE_OCTETS) return file.read(0, size);
    if (!this.#room || this.#room.length < size) this.#room = Buffer.allocUnsafeSlow(size);
    return file.read(0, size, this.#room);
  }
}

/** What is found must outlive a power cut before anything is built on it; the disk says no. */
async function sync(file: DiskFile): Promise<void> {
  try {
    await file.sync();
  } catch (error) {
    throw new SpoolError('failed', `the spool cannot be made durable: ${(error as Error).message}`);
  }
}

/** Whether something is lost that had been acknowledged. */
export function isDamaged({ damages }: Recovered): boolean {
  return damages.some(({ torn }) => !torn);
}

async function segmentNames(disk: Disk, directory: string): Promise<SegmentName[]> {
  const names: SegmentName[] = [];
  for (const name of await disk.list(directory)) {
    const parsed = parseSegmentName(name);
    if (parsed === 'foreign' || (await isFormerShard(disk, directory, name))) {
      throw new SpoolFormatError(directory, name);
    }
    if (parsed !== 'other') names.push(parsed);
  }
  return names.sort((a, b) => a.number - b.number);
}

/** The first format kept two files a message, in directories of one character. */
async function isFormerShard(disk: Disk, directory: string, name: string): Promise<boolean> {
  if (name.length !== 1) return false;
  const inside = await disk.list(join(directory, name)).catch(() => []);
  return inside.some((file) => file.endsWith('.journal'));
}

interface Recovery {
  readonly index: MessageIndex;
  readonly how: RecoverHow;
  readonly page: Page;
}

async function recoverSegment(
  disk: Disk,
  segment: Segment,
  { index, how, page }: Recovery,
): Promise<FoundDamage[]> {
  const { path } = segment;
  const file = await disk.open(path);
  let octets: Buffer;
  try {
    if (how === 'durable') await sync(file);
    octets = await page.read(file);
  } finally {
    await file.close();
  }
  segment.size = octets.length;
  const { frames, damages } = scanSegment(octets, segment.name.mark);
  for (const frame of frames) apply(frame, { segment, index });
  segment.isDamaged = damages.some(({ torn }) => !torn);
  return damages.map((damage) => ({ ...damage, path, ...describeDamage(damage, frames) }));
}

function describeDamage({ from, to, torn }: Damage, frames: readonly FoundFrame[]) {
  const octets = `octets ${from} to ${to}`;
  const frame = frames.find((one) => one.at === from);
  if (frame) return { id: frame.id, reason: `${octets}: the body is not what was written` };
  return { reason: torn ? `${octets}: a write that a crash cut short` : `${octets}: not readable` };
}

/** Takes a frame into the index. Records may be of a message that is gone with its segment. */
function apply(
  frame: FoundFrame,
  { segment, index }: { readonly segment: Segment; readonly index: MessageIndex },
): void {
  const { kind, id, at, headLength, bodyLength } = frame;
  const location = { segment, at, headLength, bodyLength };
  if (kind === 'message') index.put(id, location, false);
  else if (kind === 'large-message') index.put(id, location, true);
  else if (kind === 'removed') index.remove(id);
  else if (kind === 'records') index.addRecords(id, location);
}
