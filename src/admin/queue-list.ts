/**
 * The list of queued mail: a row for each message and destination, the oldest first, a page at a time.
 * What is chosen is found in memory; the spool is read for the rows of the page alone.
 */
import type { Envelope } from '../mail/envelope.ts';
import type { Gates, QueueState } from '../queue/gates.ts';
import type { Delivery } from '../queue/lane.ts';
import { type QueueFilter, type SelectionParts, select } from '../queue/selection.ts';
import { foldRecords } from '../spool/message-state.ts';
import { instant, nextAttemptOf, viewOfBarrier } from './queue-barriers.ts';

export interface QueueRow {
  readonly id: string;
  readonly domain: string;
  /** Empty: the null reverse-path. */
  readonly sender: string;
  /** Those who still wait: the first few. */
  readonly recipients: readonly string[];
  readonly recipientCount: number;
  /** Address of the client; absent: the relay made it itself. */
  readonly client?: string;
  /** Who logged in; absent: nobody. */
  readonly user?: string;
  readonly state: QueueState;
  /** RFC 3339, UTC, like all times here. */
  readonly received: string;
  readonly sizeBytes: number;
  /** Attempts made. */
  readonly attempts: number;
  /** Where that is known: when it is due, or what closes its destination is over. */
  readonly nextAttempt?: string;
  /** When it is given up; absent while it is held. */
  readonly expires?: string;
  /** What the last attempt came to. */
  readonly lastFailure?: string;
  /** What it waits for. */
  readonly waitsFor?: string;
}

export interface QueuePage {
  readonly entries: readonly QueueRow[];
  /** All that fit, on whatever page. */
  readonly total: number;
  /** For the next page; absent on the last one. */
  readonly next?: string;
}

export interface ListParts extends SelectionParts {
  readonly gates: Gates;
}

/** Recipients named in a row. */
const NAMED = 5;
/** Messages read at the same time. */
const READ_AT_ONCE = 32;

/** One page of those that fit `filter`, behind `after`: the `next` of the page before. */
export async function listQueue(
  filter: QueueFilter,
  { limit, after = '' }: { readonly limit: number; readonly after?: string | undefined },
  parts: ListParts,
): Promise<QueuePage> {
  const page = new Page(limit, after);
  await select(filter, parts, (delivery) => page.offer(delivery));
  const chosen = page.chosen();
  const entries: QueueRow[] = [];
  for (let at = 0; at < chosen.length; at += READ_AT_ONCE) {
    const some = chosen.slice(at, at + READ_AT_ONCE);
    const rows = await Promise.all(some.map((delivery) => rowOf(delivery, parts)));
    entries.push(...rows.filter((row) => row !== undefined));
  }
  const last = chosen.at(-1);
  return { entries, total: page.total, ...(page.hasMore && last ? { next: keyOf(last) } : {}) };
}

/** Its place in the order: ids sort by time. */
function keyOf({ id, destination }: Delivery): string {
  return `${id}/${destination}`;
}

/** Keeps the first `limit` behind `after` of those offered in any order, and little more. */
class Page {
  readonly #limit: number;
  readonly #after: string;
  #kept: { readonly key: string; readonly delivery: Delivery }[] = [];
  #behind = 0;
  total = 0;

  constructor(limit: number, after: string) {
    this.#limit = limit;
    this.#after = after;
  }

  offer(delivery: Delivery): void {
    this.total += 1;
    const key = keyOf(delivery);
    if (key <= this.#after) return;
    this.#behind += 1;
    this.#kept.push({ key, delivery });
    if (this.#kept.length >= 4 * this.#limit + 1000) this.#cut();
  }

  #cut(): void {
    this.#kept.sort((a, b) => (a.key < b.key ? -1 : 1));
    this.#kept.length = Math.min(this.#kept.length, this.#limit);
  }

  get hasMore(): boolean {
    return this.#behind > this.#limit;
  }

  chosen(): readonly Delivery[] {
    this.#cut();
    return this.#kept.map(({ delivery }) => delivery);
  }
}

/** Undefined when it is gone meanwhile. */
async function rowOf(delivery: Delivery, parts: ListParts): Promise<QueueRow | undefined> {
  const { gates, spool, destinationOf } = parts;
  const { id, destination } = delivery;
  const message = await spool.read(id).catch(() => undefined);
  if (!message) return undefined;
  const { envelope, records, sizeBytes } = message;
  const { pending } = foldRecords(envelope, records, destinationOf);
  const state = pending.find((one) => one.destination === destination);
  if (!state) return undefined;
  const barriers = gates.barriersOf(delivery).map(viewOfBarrier);
  const [view] = barriers;
  const own = gates.stateOf(delivery);
  const { nextAttemptMs } = delivery;
  const next = nextAttemptOf({ state: own, nextAttemptMs }, barriers);
  const expiresMs = gates.expiryOf(delivery);
  return {
    id,
    domain: destination,
    sender: envelope.reversePath,
    recipients: state.pending
      .slice(0, NAMED)
      .map((index) => envelope.recipients[index]?.address ?? ''),
    recipientCount: state.pending.length,
    ...handedOverBy(envelope),
    state: own,
    received: instant(envelope.receivedAtMs),
    sizeBytes,
    attempts: state.attempts,
    ...(next === undefined ? {} : { nextAttempt: next }),
    ...(expiresMs === undefined ? {} : { expires: instant(expiresMs) }),
    ...(state.lastFailure ? { lastFailure: state.lastFailure.text } : {}),
    ...(view ? { waitsFor: view.text } : {}),
  };
}

function handedOverBy({ client }: Envelope) {
  if (!client) return {};
  const { address, user } = client;
  return user === undefined ? { client: address } : { client: address, user };
}
