/**
 * A random load on a spool that writes down, between the steps of its disk, what it was told is
 * done; and what has to be there when the power comes back.
 */
import { setImmediate } from 'node:timers/promises';
import type { MessageId } from '../../src/mail/message-id.ts';
import type { Disk } from '../../src/platform/disk.ts';
import { openSegmentStore } from '../../src/spool/segment-store.ts';
import type { Spool, SpoolEvents } from '../../src/spool/store.ts';
import type { Random } from '../fuzz/engine/random.ts';
import { MemoryDisk } from '../support/memory-disk.ts';
import { attempt, octets, recordEvents, sampleEnvelope } from './sample-mail.ts';

export const DIRECTORY = '/spool';
export const SEGMENT_OCTETS = 1024;
const RESERVE_OCTETS = 1024;

export type Mark =
  | { readonly kind: 'begun'; readonly id: MessageId; readonly body: Buffer }
  | { readonly kind: 'committing'; readonly id: MessageId }
  | { readonly kind: 'committed' | 'refused' | 'discarded'; readonly id: MessageId }
  | { readonly kind: 'appending' | 'appended'; readonly id: MessageId; readonly number: number }
  | { readonly kind: 'removing' | 'removed'; readonly id: MessageId };

/** Open a store on `disk` with segments so small that they follow each other fast. */
export async function openOn(disk: Disk, { segmentOctets = SEGMENT_OCTETS } = {}) {
  const { events, of } = recordEvents<SpoolEvents>();
  const { took, failed, damaged, leftover } = events;
  const spool = await openSegmentStore({
    directory: DIRECTORY,
    minFreeBytes: () => 0,
    events: { took, failed, damaged, leftover },
    disk,
    segmentOctets,
    reserveOctets: RESERVE_OCTETS,
  });
  return { spool, of };
}

/** A disk on which calls take now less, now more turns of the event loop. */
export function unevenDisk(random: Random, files?: ReadonlyMap<string, Buffer>): MemoryDisk {
  const pause = async () => {
    for (let turns = random.below(3); turns > 0; turns--) await setImmediate();
  };
  return new MemoryDisk({ pause, ...(files ? { files } : {}) });
}

export interface Load {
  readonly spool: Spool;
  readonly random: Random;
  readonly mark: (mark: Mark) => void;
  readonly lanes?: number;
  readonly steps?: number;
  /** Of a hundred messages, so many are large. */
  readonly large?: number;
}

/** Several clients at once: each begins, gives up, records and removes messages of its own. */
export async function runLoad({ spool, random, mark, lanes = 6, steps = 25, large = 4 }: Load) {
  const lane = async () => {
    const own: MessageId[] = [];
    for (let step = 0; step < steps; step++) {
      const id = own[random.below(Math.max(1, own.length))];
      const chance = random.below(100);
      if (id === undefined || chance < 40) {
        const stored = await storeOne({ spool, random, mark, large });
        if (stored) own.push(stored);
      } else if (chance < 62) await recordOne(spool, id, mark);
      else {
        own.splice(own.indexOf(id), 1);
        await removeOne(spool, id, mark);
      }
      if (random.below(3) === 0) await setImmediate();
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function storeOne({ spool, random, mark, large }: Load & { readonly large: number }) {
  const envelope = sampleEnvelope();
  const { id } = envelope;
  const chance = random.below(100);
  const size =
    chance < large ? 131_073 + random.below(5000) : random.below(chance < 60 ? 3000 : 300);
  const body = Buffer.alloc(size, `${id} ${random.below(1e6)}\r\n`);
  mark({ kind: 'begun', id, body });
  const draft = await spool.begin(id).catch(() => undefined);
  if (!draft) return undefined;
  try {
    for (let at = 0; at < body.length; at += 50_000) {
      await draft.write(body.subarray(at, at + 50_000));
    }
    if (random.below(8) === 0) throw new Error('the client went away');
    mark({ kind: 'committing', id });
    await draft.commit(envelope);
    mark({ kind: 'committed', id });
    return id;
  } catch {
    mark({ kind: 'refused', id });
    await draft.discard();
    mark({ kind: 'discarded', id });
    return undefined;
  }
}

let records = 0;

async function recordOne(spool: Spool, id: MessageId, mark: Load['mark']) {
  records += 1;
  const number = records;
  mark({ kind: 'appending', id, number });
  await spool.append(id, [attempt({ atMs: number })]).then(
    () => mark({ kind: 'appended', id, number }),
    () => {},
  );
}

async function removeOne(spool: Spool, id: MessageId, mark: Load['mark']) {
  mark({ kind: 'removing', id });
  await spool.remove(id).then(
    () => mark({ kind: 'removed', id }),
    () => {},
  );
}

/** What is known of a message at a moment. */
interface Fact {
  readonly body: Buffer;
  readonly sent: number[];
  readonly acknowledged: number[];
  state: 'begun' | 'committing' | 'committed' | 'refused' | 'forgotten' | 'removing' | 'removed';
}

/** What was promised, by the marks that were seen so far. */
export class Promised {
  readonly facts = new Map<MessageId, Fact>();

  see(mark: Mark): void {
    const { kind, id } = mark;
    if (kind === 'begun') {
      this.facts.set(id, { body: mark.body, sent: [], acknowledged: [], state: 'begun' });
      return;
    }
    const fact = this.facts.get(id);
    if (!fact) return;
    if (kind === 'appending') fact.sent.push(mark.number);
    else if (kind === 'appended') fact.acknowledged.push(mark.number);
    else if (kind === 'refused') fact.state = fact.state === 'begun' ? 'forgotten' : 'refused';
    else if (kind !== 'discarded') fact.state = kind;
    // What was written after the refusal says that the message is gone.
    if (kind === 'committed' || kind === 'appended') this.#forgetRefused();
  }

  #forgetRefused(): void {
    for (const fact of this.facts.values()) {
      if (fact.state === 'refused') fact.state = 'forgotten';
    }
  }

  /** What of it a spool does not keep; empty when it keeps everything. */
  async faultsOf(spool: Spool): Promise<string[]> {
    const faults: string[] = [];
    const seen = new Set<MessageId>();
    for await (const { envelope, records: found } of spool.list()) {
      const { id } = envelope;
      const fact = this.facts.get(id);
      if (seen.has(id)) faults.push(`${id} is there twice`);
      seen.add(id);
      if (!fact) {
        faults.push(`${id} is unknown`);
        continue;
      }
      const { state, acknowledged, sent } = fact;
      if (state === 'begun' || state === 'forgotten') faults.push(`${id}, ${state}, came back`);
      if (state === 'refused') continue;
      const isLarge = fact.body.length > 128 * 1024;
      if (state === 'removed' && isLarge) faults.push(`${id}, large and removed, came back`);
      const numbers = found.map(({ atMs }) => atMs);
      if (!isPartOf(acknowledged, numbers)) faults.push(`${id}, ${state}, lost records`);
      if (!isPartOf(numbers, sent)) faults.push(`${id} has other records than were appended`);
      const body = await Promise.resolve(spool.openBody(id).then(octets)).catch(String);
      if (!Buffer.isBuffer(body) || !body.equals(fact.body)) {
        faults.push(`${id}, ${state}, has another body (${String(body).slice(0, 60)})`);
      }
    }
    for (const [id, { state }] of this.facts) {
      if (state === 'committed' && !seen.has(id)) faults.push(`${id}, acknowledged, is lost`);
    }
    return faults;
  }
}

/** Whether `whole` has all of `part`, in this order. */
function isPartOf(part: readonly number[], whole: readonly number[]): boolean {
  let at = -1;
  return part.every((one) => {
    at = whole.indexOf(one, at + 1);
    return at >= 0;
  });
}
