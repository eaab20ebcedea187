/**
 * The queue by destination: how much of what state, how old, what closes it.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type MessageId, timeOfId } from '../mail/message-id.ts';
import type { CauseClass } from '../mail/outcome.ts';
import type { Destination } from '../mail/route.ts';
import type { Gates, QueueState } from '../queue/gates.ts';
import type { Delivery, Lane } from '../queue/lane.ts';
import type { Ledger } from '../queue/ledger.ts';
import { addressMatcher } from '../queue/mail-pattern.ts';
import type { PageWish } from './api-page.ts';
import { type BarrierView, instant, nextOfLane, viewOfBarrier } from './queue-barriers.ts';

export type Counts = { readonly [K in QueueState]: number };

export interface DestinationSummary {
  readonly domain: string;
  /** Deliveries: one for each message. */
  readonly total: number;
  readonly counts: Counts;
  /** RFC 3339, UTC: when the oldest was received. */
  readonly oldest: string;
  /** When the next one falls due; absent where one is due, all are held, or nobody knows. */
  readonly nextAttempt?: string;
  /** Why most of those failed last that were tried; absent: none was. */
  readonly cause?: CauseClass;
  /** What closes it. */
  readonly closedBy: readonly BarrierView[];
}

export interface QueueSummary {
  readonly messages: number;
  readonly deliveries: number;
  readonly counts: Counts;
  /** How many destinations have mail (in the state that was asked for). */
  readonly destinationCount: number;
  /** Those with most first. */
  readonly destinations: readonly DestinationSummary[];
  /** For the next page; absent on the last one. */
  readonly next?: string;
}

export interface SummaryWish extends PageWish {
  /** In which `*` stands for any characters. */
  readonly domain?: string | undefined;
  /** Only destinations that have mail in this state, those with most of it first. */
  readonly state?: QueueState | undefined;
}

export interface SummaryParts {
  readonly ledger: Ledger;
  readonly gates: Gates;
}

/** After so long whatever else is to be done gets its turn. */
const TURN_MS = 5;

interface Sum {
  readonly counts: { -readonly [K in QueueState]: number };
  readonly causes: Map<CauseClass, number>;
  total: number;
  oldest: MessageId;
}

/** A page of the destinations that fit; all that fit `domain` are counted. */
export async function summarizeQueue(
  { domain = '*', state, ...wish }: SummaryWish,
  parts: SummaryParts,
): Promise<QueueSummary> {
  const { counts, sums, ...totals } = await count(addressMatcher(domain), parts);
  const ranked: Ranked[] = [];
  for (const [lane, sum] of sums) {
    const most = state ? sum.counts[state] : sum.total;
    if (most > 0) ranked.push({ lane, sum, most });
  }
  const { page, hasMore } = firstOf(ranked, wish);
  const last = page.at(-1);
  return {
    ...totals,
    ...{ counts, destinationCount: ranked.length },
    destinations: page.map(({ lane, sum }) => entryOf(lane, sum, parts.gates)),
    ...(hasMore && last ? { next: keyOf(last) } : {}),
  };
}

/** A destination, and how much it is ranked by. */
interface Ranked {
  readonly lane: Lane;
  readonly sum: Sum;
  readonly most: number;
}

/** Its place in the order: those with most first. */
function keyOf({ lane, most }: Ranked): string {
  return `${String(Number.MAX_SAFE_INTEGER - most).padStart(16, '0')}/${lane.destination}`;
}

/** The first `limit` behind `after`. Never sorts more than a few of a hundred thousand at once. */
function firstOf(all: readonly Ranked[], { limit, after = '' }: PageWish) {
  const most = Number.MAX_SAFE_INTEGER - Number(after.split('/', 1)[0] || 0);
  const kept: Ranked[] = [];
  let behind = 0;
  const cut = () => {
    kept.sort((a, b) => b.most - a.most || (a.lane.destination < b.lane.destination ? -1 : 1));
    kept.length = Math.min(kept.length, limit);
  };
  for (const one of all) {
    if (after !== '' && (one.most > most || (one.most === most && keyOf(one) <= after))) continue;
    behind += 1;
    kept.push(one);
    if (kept.length >= 4 * limit + 1000) cut();
  }
  cut();
  return { page: kept, hasMore: behind > limit };
}

async function count(
  isMeant: (destination: Destination) => boolean,
  { ledger, gates }: SummaryParts,
) {
  const sums = new Map<Lane, Sum>();
  const isLaneMeant = new Map<Lane, boolean>();
  const counts = noCounts();
  let turnBeganAtMs = performance.now();
  let [seen, messages, deliveries] = [0, 0, 0];
  let last: MessageId | undefined;
  for (const delivery of ledger.deliveries()) {
    const { lane, id } = delivery;
    const isCounted = isLaneMeant.get(lane) ?? isMeant(lane.destination);
    isLaneMeant.set(lane, isCounted);
    if (isCounted) {
      const sum = sums.get(lane) ?? newSum(id);
      sums.set(lane, sum);
      add(sum, delivery, gates.stateOf(delivery));
      counts[gates.stateOf(delivery)] += 1;
      deliveries += 1;
      // Those of one message come together.
      if (id !== last) messages += 1;
      last = id;
    }
    if (++seen % 512 > 0 || performance.now() - turnBeganAtMs < TURN_MS) continue;
    await nextTurn();
    turnBeganAtMs = performance.now();
  }
  return { messages, deliveries, counts, sums };
}

function newSum(oldest: MessageId): Sum {
  return { counts: noCounts(), causes: new Map(), total: 0, oldest };
}

function add(sum: Sum, { id, tried }: Delivery, state: QueueState): void {
  if (tried) sum.causes.set(tried.causeClass, (sum.causes.get(tried.causeClass) ?? 0) + 1);
  sum.counts[state] += 1;
  sum.total += 1;
  if (id < sum.oldest) sum.oldest = id;
}

function entryOf(lane: Lane, sum: Sum, gates: Gates): DestinationSummary {
  const { counts, causes, total, oldest } = sum;
  const [most] = [...causes].sort(([, a], [, b]) => b - a);
  const closedBy = gates.barriersOfLane(lane).map(viewOfBarrier);
  const next = nextOfLane(counts, lane.waiting.nextMs, closedBy);
  return {
    ...{ domain: lane.destination satisfies Destination, total, counts },
    oldest: instant(timeOfId(oldest)),
    ...(next === undefined ? {} : { nextAttempt: next }),
    ...(most ? { cause: most[0] } : {}),
    closedBy,
  };
}

function noCounts(): Sum['counts'] {
  return { active: 0, due: 0, parked: 0, delayed: 0, held: 0 };
}
