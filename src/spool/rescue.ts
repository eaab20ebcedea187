/**
 * The spool of a relay that is not running, read without changing anything in it: what is there,
 * what is damaged, and every message that can still be had.
 */
import { Readable } from 'node:stream';
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import { type Disk, systemDisk } from '../platform/disk.ts';
import { BlockReader } from './block-reader.ts';
import { LargeBodies } from './large-bodies.ts';
import type { IndexEntry } from './message-index.ts';
import type { SpoolRecord } from './message-state.ts';
import { type FoundDamage, isDamaged, recoverSpool } from './recover.ts';
import { damagedDirectory } from './set-aside.ts';
import { SpoolError } from './store.ts';
import { readBody, readHead } from './stored-frames.ts';

/** A message as it stands on the disk. */
export interface RescuedMessage {
  readonly id: MessageId;
  readonly envelope: Envelope;
  readonly sizeBytes: number;
  readonly records: readonly SpoolRecord[];
  /** Its octets; throws, or ends with an error, when they are not what was written. */
  readonly body: () => AsyncIterable<Buffer>;
}

export interface Rescue {
  readonly segments: number;
  /** Octets of all segments. */
  readonly octets: number;
  readonly damages: readonly FoundDamage[];
  /** In the order in which they were accepted, or moved; one that cannot be read gives its error. */
  messages(): AsyncIterable<RescuedMessage | LostMessage>;
}

/** One of which no envelope can be read. */
export interface LostMessage {
  readonly id: MessageId;
  readonly error: Error;
  /** Octets that nothing vouches for, where there are any. */
  readonly body?: () => AsyncIterable<Buffer>;
}

/**
 * What to look into:
 * - `queued`: what a start of the relay would find
 * - `damaged`: what was set aside. There are messages among it that went on, or were delivered.
 */
export type RescueFrom = 'queued' | 'damaged';

/** Look into the spool in `directory`. Throws SpoolFormatError, or the system's error. */
export async function openForRescue(
  directory: string,
  from: RescueFrom = 'queued',
  disk: Disk = systemDisk,
): Promise<Rescue> {
  const source = from === 'queued' ? directory : damagedDirectory(directory);
  const recovered = await recoverSpool(disk, source, 'as-it-is');
  const { segments, index, damages } = recovered;
  const queued = new LargeBodies(disk, directory);
  const aside = new LargeBodies(disk, damagedDirectory(directory));
  const asideIds = await aside.ids();
  const bodiesOf = (id: MessageId) => (asideIds.has(id) ? aside : queued);
  return {
    segments: segments.length,
    octets: segments.reduce((sum, { size }) => sum + size, 0),
    damages,
    async *messages() {
      const blocks = new BlockReader();
      for (const [id, entry] of index.entries()) {
        try {
          const head = await readHead(id, entry, (...where) => blocks.read(...where));
          const { envelope, sizeBytes, records, bodyCrc: crc = 0 } = head;
          const octets = sizeBytes;
          const body = () =>
            entry.isLarge ? bodiesOf(id).open(id, { crc, octets }) : small(id, entry, sizeBytes);
          yield { id, envelope, sizeBytes, records, body };
        } catch (error) {
          yield lost(id, error as Error, entry.isLarge ? bodiesOf(id) : undefined);
        }
      }
      await Promise.all(segments.map((segment) => segment.close()));
      const orphans = new Set(asideIds);
      if (from === 'queued') {
        orphans.clear();
        // As at a start: what is damaged may have been the message of any of them.
        if (isDamaged(recovered)) for (const id of await queued.ids()) orphans.add(id);
      }
      for (const id of orphans) {
        if (!index.get(id)?.isLarge)
          yield lost(id, new Error('its envelope is lost'), bodiesOf(id));
      }
    },
  };
}

function lost(id: MessageId, error: Error, bodies: LargeBodies | undefined): LostMessage {
  return { id, error, ...(bodies ? { body: () => bodies.openAsItIs(id) } : {}) };
}

function small(id: MessageId, entry: IndexEntry, sizeBytes: number): Readable {
  return Readable.from(
    (async function* () {
      const body = await readBody(id, entry);
      if (body.length !== sizeBytes) throw new SpoolError('failed', `the body of ${id} is lost`);
      yield body;
    })(),
  );
}
