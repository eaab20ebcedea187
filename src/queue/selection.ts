/**
 * Finds queued mail by what an administrator says about it. All deliveries are looked at, in slices between
 * which everything else goes on: half a million take some tenths of a second. The spool is
 * read only for messages with so many recipients that they are not kept in memory.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { leastMessageId, type MessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import { type DestinationOf, foldRecords } from '../spool/message-state.ts';
import type { Spool } from '../spool/store.ts';
import type { Gates, QueueState } from './gates.ts';
import type { Delivery } from './lane.ts';
import type { Ledger } from './ledger.ts';
import { type MailPattern, matcherOf } from './mail-pattern.ts';

/** All of what is said has to be true of a delivery; what is left out is true of all. */
export interface QueueFilter extends MailPattern {
  readonly ids?: readonly MessageId[] | undefined;
  readonly state?: QueueState | undefined;
  /** Received so long ago or longer, ms. */
  readonly olderThanMs?: number | undefined;
}

export interface SelectionParts {
  readonly ledger: Ledger;
  readonly gates: Pick<Gates, 'stateOf'>;
  readonly spool: Pick<Spool, 'read'>;
  readonly destinationOf: DestinationOf;
  readonly clock: Clock;
}

/** After so long whatever else is to be done gets its turn. */
const TURN_MS = 5;

/** Tells `found` of every delivery that fits the filter, in no particular order. */
export async function select(
  filter: QueueFilter,
  parts: SelectionParts,
  found: (delivery: Delivery) => void,
): Promise<void> {
  const { ledger, gates, clock } = parts;
  const { ids, state, olderThanMs } = filter;
  const matches = matcherOf(filter);
  const before = olderThanMs === undefined ? undefined : leastMessageId(clock.now() - olderThanMs);
  const all = ids
    ? [...new Set(ids)].flatMap((id) => ledger.deliveriesOf(id))
    : ledger.deliveries();
  const unknown: Delivery[] = [];
  let turnBeganAtMs = performance.now();
  let seen = 0;
  for (const delivery of all) {
    if (before === undefined || delivery.id < before) {
      const match = matches(delivery);
      if (match !== false && (state === undefined || gates.stateOf(delivery) === state)) {
        if (match === true) found(delivery);
        else unknown.push(delivery);
      }
    }
    if (++seen % 512 > 0 || performance.now() - turnBeganAtMs < TURN_MS) continue;
    await nextTurn();
    turnBeganAtMs = performance.now();
  }
  for (const delivery of unknown) {
    const recipients = await recipientsOf(delivery, parts);
    if (matches(delivery.facts(recipients)) === true) found(delivery);
  }
}

/** All that fit, in no particular order. */
export async function selected(
  filter: QueueFilter,
  parts: SelectionParts,
): Promise<readonly Delivery[]> {
  const all: Delivery[] = [];
  await select(filter, parts, (delivery) => all.push(delivery));
  return all;
}

/** Who still waits, as the spool knows it. */
async function recipientsOf(
  { id, destination }: Delivery,
  { spool, destinationOf }: SelectionParts,
): Promise<readonly string[]> {
  // One that cannot be read: the spool told about it.
  const message = await spool.read(id).catch(() => undefined);
  if (!message) return [];
  const { envelope, records } = message;
  const { pending } = foldRecords(envelope, records, destinationOf);
  const delivery = pending.find((state) => state.destination === destination);
  return (delivery?.pending ?? []).map((index) => envelope.recipients[index]?.address ?? '');
}
