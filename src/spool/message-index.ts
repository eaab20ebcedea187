/**
 * The index: where each message of the spool and its records stand, in memory. Messages are in
 * the order of their frames, so those of the oldest segment come first.
 */
import type { MessageId } from '../mail/message-id.ts';
import { HEADER_OCTETS } from './frame.ts';
import type { Location } from './segment.ts';

/** A message of the spool. Many are held: no more than it takes to find it. */
export interface IndexEntry {
  location: Location;
  /** Its body is in a file of its own. */
  readonly isLarge: boolean;
  /** Where what happened to it stands, behind what stands in its own head; absent while empty. */
  records: Location[] | undefined;
}

export class MessageIndex {
  readonly #entries = new Map<MessageId, IndexEntry>();
  #liveOctets = 0;

  get size(): number {
    return this.#entries.size;
  }

  /** Octets of all frames that are still needed. */
  get liveOctets(): number {
    return this.#liveOctets;
  }

  get(id: MessageId): IndexEntry | undefined {
    return this.#entries.get(id);
  }

  ids(): IterableIterator<MessageId> {
    return this.#entries.keys();
  }

  entries(): IterableIterator<[MessageId, IndexEntry]> {
    return this.#entries.entries();
  }

  /** A message that is new, or stands elsewhere now together with all its records. */
  put(id: MessageId, location: Location, isLarge: boolean): void {
    this.remove(id);
    this.#entries.set(id, { location, isLarge, records: undefined });
    location.segment.messages++;
    this.#count(location, 1);
  }

  /** False when there is no such message. */
  addRecords(id: MessageId, location: Location): boolean {
    const entry = this.#entries.get(id);
    if (!entry) return false;
    if (entry.records) entry.records.push(location);
    else entry.records = [location];
    this.#count(location, 1);
    return true;
  }

  remove(id: MessageId): IndexEntry | undefined {
    const entry = this.#entries.get(id);
    if (!entry) return undefined;
    this.#entries.delete(id);
    entry.location.segment.messages--;
    this.#count(entry.location, -1);
    for (const location of entry.records ?? []) this.#count(location, -1);
    return entry;
  }

  #count({ segment, headLength, bodyLength }: Location, sign: 1 | -1): void {
    const octets = sign * (HEADER_OCTETS + headLength + bodyLength);
    segment.liveOctets += octets;
    this.#liveOctets += octets;
  }
}
