/**
 * The queue by destination: how much of what state, how old, what closes it.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type MessageId, timeOfId } from '../mail/message-id.ts';
import type { Destination } from '../mail/route.ts';
import type { Gates, QueueState } from '../queue/gates.ts';
import type { Lane } from '../queue/lane.ts';
import type { Ledger } from '../queue/ledger.ts';
import { type BarrierView, instant, viewOfBarrier } from './queue-barriers.ts';

export type Counts = { readonly [K in QueueState]: number };

export interface DestinationSummary {
  readonly domain: string;
  /** Deliveries: one for each message. */
  readonly total: number;
  readonly counts: Counts;
  /** RFC 3339, UTC: when the oldest was received. */
  readonly oldest: string;
  /** When the next one falls due; absent where one is due, or all are held. */
  readonly nextAttempt?: string;
  /** What closes it. */
  readonly closedBy: readonly BarrierView[];
}

export interface QueueSummary {
  readonly messages: number;
  readonly deliveries: number;
  readonly counts: Counts;
  /** How many destinations have mail. */
  readonly destinations: number;
  /** Those with most first. */
  readonly entries: readonly DestinationSummary[];
}

export interface SummaryParts {
  readonly ledger: Ledger;
  readonly gates: Gates;
}

/** After so long whatever else is to be done gets its turn. */
const TURN_MS = 5;

type Sum = { counts: { -readonly [K in QueueState]: number }; total: number; oldest: MessageId };

/** At most `limit` destinations; all others are counted. */
export async function summarizeQueue(limit: number, parts: SummaryParts): Promise<QueueSummary> {
  const { ledger, gates } = parts;
  const sums = new Map<Lane, Sum>();
  const counts = noCounts();
  let turnBeganAtMs = performance.now();
  let deliveries = 0;
  for (const delivery of ledger.deliveries()) {
    const state = gates.stateOf(delivery);
    const sum = sums.get(delivery.lane) ?? { counts: noCounts(), total: 0, oldest: delivery.id };
    sums.set(delivery.lane, sum);
    sum.counts[state] += 1;
    sum.total += 1;
    if (delivery.id < sum.oldest) sum.oldest = delivery.id;
    counts[state] += 1;
    if (++deliveries % 512 > 0 || performance.now() - turnBeganAtMs < TURN_MS) continue;
    await nextTurn();
    turnBeganAtMs = performance.now();
  }
  const most = [...sums].sort(([a, one], [b, other]) => {
    return other.total - one.total || (a.destination < b.destination ? -1 : 1);
  });
  return {
    messages: ledger.messageCount,
    ...{ deliveries, counts, destinations: sums.size },
    entries: most.slice(0, limit).map(([lane, sum]) => entryOf(lane, sum, gates)),
  };
}

function entryOf(lane: Lane, { counts, total, oldest }: Sum, gates: Gates): DestinationSummary {
  const { nextMs } = lane.waiting;
  const isLater = nextMs !== undefined && counts.due + counts.parked + counts.active === 0;
  return {
    ...{ domain: lane.destination satisfies Destination, total, counts },
    oldest: instant(timeOfId(oldest)),
    ...(isLater ? { nextAttempt: instant(nextMs) } : {}),
    closedBy: gates.barriersOfLane(lane).map(viewOfBarrier),
  };
}

function noCounts(): Sum['counts'] {
  return { active: 0, due: 0, parked: 0, delayed: 0, held: 0 };
}
