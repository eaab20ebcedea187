/**
 * What was accepted, or read, a moment ago: kept in memory until it is delivered, so that most
 * messages are never read back. Bounded in octets; the oldest goes first.
 */
import type { MessageId } from '../mail/message-id.ts';
import type { SpoolRecord } from './message-state.ts';
import type { StoredMessage } from './store.ts';

interface Recent {
  readonly envelope: StoredMessage['envelope'];
  readonly sizeBytes: number;
  records: readonly SpoolRecord[];
  readonly body: Buffer | undefined;
  weight: number;
}

export class RecentMessages {
  readonly #most: number;
  /** The oldest first. */
  readonly #messages = new Map<MessageId, Recent>();
  #weight = 0;

  /** For so many octets, estimated on the high side. */
  constructor(most: number) {
    this.#most = most;
  }

  put(id: MessageId, { envelope, sizeBytes, records }: StoredMessage, body?: Buffer): void {
    this.delete(id);
    const weight =
      1024 + (body?.length ?? 0) + 512 * envelope.recipients.length + weightOf(records);
    this.#messages.set(id, { envelope, sizeBytes, records, body, weight });
    this.#weigh(weight);
  }

  get(id: MessageId): StoredMessage | undefined {
    const recent = this.#messages.get(id);
    if (!recent) return undefined;
    const { envelope, sizeBytes, records } = recent;
    return { envelope, sizeBytes, records };
  }

  body(id: MessageId): Buffer | undefined {
    return this.#messages.get(id)?.body;
  }

  addRecords(id: MessageId, records: readonly SpoolRecord[]): void {
    const recent = this.#messages.get(id);
    if (!recent) return;
    recent.records = [...recent.records, ...records];
    const weight = weightOf(records);
    recent.weight += weight;
    this.#weigh(weight);
  }

  delete(id: MessageId): void {
    const recent = this.#messages.get(id);
    if (!recent) return;
    this.#messages.delete(id);
    this.#weight -= recent.weight;
  }

  #weigh(more: number): void {
    this.#weight += more;
    if (this.#weight <= this.#most) return;
    for (const id of this.#messages.keys()) {
      this.delete(id);
      if (this.#weight <= this.#most) break;
    }
  }
}

function weightOf(records: readonly SpoolRecord[]): number {
  let entries = 0;
  for (const record of records) {
    entries += 1;
    if (record.kind === 'attempt') entries += 2 * (record.bounced.length + record.deferred.length);
  }
  return 512 * entries;
}
