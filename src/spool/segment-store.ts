/**
 * The spool as a log: segments that frames are appended to (segment-log.ts), an index in memory of
 * where each message stands, and, for large bodies, a file each.
 *
 *   spool/NUMBER-MARK.segment2   the log, version 2 of its format (frame.ts)
 *   spool/large/ID.eml           bodies over MAX_BODY_OCTETS
 *   spool/reserve                room for what must be written on a full disk
 *   spool/damaged/               what could not be read and was set aside (set-aside.ts)
 *
 * A message exists when its frame is durable, and is gone when every frame of it is no longer
 * needed (reclaim.ts). What was accepted a moment ago is kept in memory until it is delivered, so
 * that most messages are never read back.
 */
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import { type Disk, systemDisk } from '../platform/disk.ts';
import { type CommittedBody, Memory, SegmentDraft } from './draft.ts';
import { type Frame, frameLength, NOTHING } from './frame.ts';
import { formatHead } from './heads.ts';
import { LargeBodies } from './large-bodies.ts';
import { matchBodies } from './match-bodies.ts';
import type { MessageIndex } from './message-index.ts';
import type { SpoolRecord } from './message-state.ts';
import { RecentMessages } from './recent-messages.ts';
import { Reclaimer } from './reclaim.ts';
import { type Recovered, recoverSpool } from './recover.ts';
import { Reserve } from './reserve.ts';
import { Room } from './room.ts';
import { PROBE, removedFrame, SegmentLog } from './segment-log.ts';
import { damagedDirectory } from './set-aside.ts';
import {
  asSpoolError,
  type Draft,
  gone,
  type Spool,
  SpoolError,
  type SpoolEvents,
  type StoredMessage,
} from './store.ts';
import { readDirectly } from './stored-frames.ts';
import { StoredMessages } from './stored-messages.ts';

export interface SegmentStoreOptions {
  /** `dataDir/spool`. */
  readonly directory: string;
  /** Below this much free disk (octets) no new message is taken; settlement goes on. */
  readonly minFreeBytes: () => number;
  readonly events: SpoolEvents;
  readonly disk?: Disk;
  /** A segment is followed by the next at this size. */
  readonly segmentOctets?: number;
  /** Room that is kept for outcomes on a full disk. */
  readonly reserveOctets?: number;
}

const MIB = 1024 * 1024;
/** Of drafts, together. */
const DRAFT_MEMORY = 64 * MIB;
/** Of messages that were accepted lately. */
const RECENT_MEMORY = 64 * MIB;

/** Open the spool and find what is in it. Throws SpoolFormatError, SpoolError, or the system's error. */
export async function openSegmentStore(options: SegmentStoreOptions): Promise<Spool> {
  const { directory, events, disk = systemDisk } = options;
  const bodies = new LargeBodies(disk, directory);
  await disk.makeDirectory(bodies.directory);
  const recovered = await recoverSpool(disk, directory, 'durable');
  // A process that was killed may have made the directory, and not its name durable.
  await disk.syncDirectory(dirname(directory));
  for (const { path, reason, torn, id } of recovered.damages) {
    if (torn) events.leftover(path, reason);
    else events.damaged(path, reason, id);
  }
  const aside = new LargeBodies(disk, damagedDirectory(directory));
  await matchBodies({ bodies, aside, recovered, events });
  const reserve = new Reserve(disk, directory, options.reserveOctets ?? 16 * MIB);
  await reserve.hold().catch((error: Error) => events.failed('begin', error));
  return new SegmentStore({ ...options, disk, bodies, recovered, reserve });
}

interface StoreParts extends SegmentStoreOptions {
  readonly disk: Disk;
  readonly bodies: LargeBodies;
  readonly recovered: Recovered;
  readonly reserve: Reserve;
}

class SegmentStore implements Spool {
  readonly #directory: string;
  readonly #events: SpoolEvents;
  readonly #bodies: LargeBodies;
  readonly #index: MessageIndex;
  readonly #stored: StoredMessages;
  readonly #log: SegmentLog;
  readonly #room: Room;
  readonly #reclaimer: Reclaimer;
  readonly #memory = new Memory(DRAFT_MEMORY);
  /** Messages whose frame is being written. */
  readonly #committing = new Set<MessageId>();
  readonly #recent = new RecentMessages(RECENT_MEMORY);

  constructor({ directory, disk, events, bodies, recovered, reserve, ...options }: StoreParts) {
    this.#directory = directory;
    this.#events = events;
    this.#bodies = bodies;
    this.#index = recovered.index;
    this.#stored = new StoredMessages({ index: this.#index, bodies, events });
    const segmentOctets = options.segmentOctets ?? 64 * MIB;
    const found = recovered.segments;
    this.#log = new SegmentLog({ directory, disk, segmentOctets, reserve, found });
    this.#reclaimer = new Reclaimer({
      index: this.#index,
      log: this.#log,
      slackOctets: 4 * segmentOctets,
      remembered: (id) => {
        const message = this.#recent.get(id);
        return message && { message, body: this.#recent.body(id) };
      },
      setBodyAside: (id) => bodies.setAside(id),
      damaged: ({ path }, error, id) => {
        this.#recent.delete(id);
        events.damaged(path, error.message, id);
      },
      failed: (error) => events.failed('remove', error),
    });
    const { minFreeBytes } = options;
    const tryDisk = () => this.#log.append(PROBE, 'move');
    this.#room = new Room({ disk, directory, reserve, minFreeBytes, tryDisk });
    this.#reclaimer.kick();
  }

  async begin(id: MessageId): Promise<Draft> {
    await this.#guard('begin', () => this.#room.require());
    return new SegmentDraft(id, {
      bodies: this.#bodies,
      memory: this.#memory,
      commit: (envelope, body) => this.#commit(envelope, body),
      failed: (error) => {
        this.#room.note(error);
        this.#events.failed('commit', error);
      },
    });
  }

  async #commit(envelope: Envelope, body: CommittedBody): Promise<StoredMessage> {
    const started = performance.now();
    const { id } = envelope;
    if (this.#index.get(id) || this.#committing.has(id)) {
      throw new SpoolError('failed', `there is a message ${id} already`);
    }
    const isLarge = body.kind === 'large';
    const sizeBytes = isLarge ? body.sizeBytes : body.octets.length;
    const head = { envelope, sizeBytes, ...(isLarge ? { bodyCrc: body.crc } : {}) };
    const frame: Frame = {
      kind: isLarge ? 'large-message' : 'message',
      id,
      head: formatHead(head),
      body: isLarge ? NOTHING : body.octets,
    };
    this.#room.requireReserve();
    this.#room.spend(frameLength(frame) + (isLarge ? sizeBytes : 0));
    this.#committing.add(id);
    try {
      this.#index.put(id, await this.#log.append(frame, 'message'), isLarge);
    } finally {
      this.#committing.delete(id);
    }
    const stored = { envelope, sizeBytes, records: [] };
    this.#recent.put(id, stored, isLarge ? undefined : body.octets);
    this.#room.note(undefined);
    this.#took('commit', started);
    return stored;
  }

  async append(id: MessageId, records: readonly SpoolRecord[]): Promise<void> {
    const started = performance.now();
    await this.#guard('append', () =>
      this.#reclaimer.whileAtRest(id, async () => {
        if (!this.#index.get(id)) throw gone(id);
        const frame: Frame = { kind: 'records', id, head: formatHead(records), body: NOTHING };
        this.#index.addRecords(id, await this.#log.append(frame, 'record'));
        this.#recent.addRecords(id, records);
      }),
    );
    this.#took('append', started);
  }

  async read(id: MessageId): Promise<StoredMessage | undefined> {
    const recent = this.#recent.get(id);
    if (recent) return recent;
    return this.#guard('read', async () => {
      const remember = (found: StoredMessage) => this.#recent.put(id, found);
      const found = await this.#stored.find(id, readDirectly, remember);
      if (found instanceof SpoolError) throw found;
      return found;
    });
  }

  async openBody(id: MessageId): Promise<Buffer | Readable> {
    const body = this.#recent.body(id);
    return body ?? this.#guard('read', () => this.#stored.openBody(id));
  }

  bodyInMemory(id: MessageId): Buffer | undefined {
    return this.#recent.body(id);
  }

  get messageCount(): number {
    return this.#index.size;
  }

  list(): AsyncIterable<StoredMessage> {
    return this.#stored.list();
  }

  async remove(id: MessageId): Promise<void> {
    const started = performance.now();
    await this.#guard('remove', () =>
      this.#reclaimer.whileAtRest(id, async () => {
        const entry = this.#index.get(id);
        if (!entry) return;
        // A body goes only when nothing can bring its message back.
        if (entry.isLarge) await this.#log.append(removedFrame(id), 'record');
        else this.#log.appendSometime(removedFrame(id));
        this.#index.remove(id);
        this.#recent.delete(id);
        if (entry.isLarge) await this.#bodies.remove(id);
      }),
    );
    this.#took('remove', started);
    this.#reclaimer.kick();
  }

  health(): { ok: boolean; reason: string } {
    return this.#room.health();
  }

  async close(): Promise<void> {
    await this.#reclaimer.close();
    await this.#log.close();
  }

  #took(operation: 'commit' | 'append' | 'remove', started: number): void {
    this.#events.took(operation, (performance.now() - started) / 1000);
  }

  /** Runs one operation; what goes wrong is told, and thrown as SpoolError. */
  async #guard<T>(
    operation: 'begin' | 'append' | 'read' | 'remove',
    run: () => Promise<T>,
  ): Promise<T> {
    try {
      return await run();
    } catch (error) {
      const wrapped = asSpoolError(error, this.#directory);
      if (operation === 'begin') this.#room.note(wrapped);
      this.#events.failed(operation, wrapped);
      throw wrapped;
    }
  }
}
