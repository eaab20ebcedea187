/**
 * The spool of a relay that is not running, read without changing anything in it: what is there,
 * what is damaged, and every message that can still be had.
 */
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import { type Disk, systemDisk } from '../platform/disk.ts';
import { BlockReader } from './block-reader.ts';
import { LargeBodies } from './large-bodies.ts';
import type { IndexEntry } from './message-index.ts';
import type { SpoolRecord } from './message-state.ts';
import { type FoundDamage, recoverSpool } from './recover.ts';
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
  messages(): AsyncIterable<RescuedMessage | { readonly id: MessageId; readonly error: Error }>;
}

/** Look into `directory`. Throws SpoolFormatError, or the system's error. */
export async function openForRescue(directory: string, disk: Disk = systemDisk): Promise<Rescue> {
  const { segments, index, damages } = await recoverSpool(disk, directory, 'as-it-is');
  const bodies = new LargeBodies(disk, directory);
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
            entry.isLarge ? bodies.open(id, { crc, octets }) : small(id, entry, sizeBytes);
          yield { id, envelope, sizeBytes, records, body };
        } catch (error) {
          yield { id, error: error as Error };
        }
      }
      await Promise.all(segments.map((segment) => segment.close()));
    },
  };
}

/** The directory in which the relay set aside what it could not read. */
export function damagedDirectory(directory: string): string {
  return join(directory, 'damaged');
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
