/**
 * The relay at a glance, for whoever looks again every few seconds: how the queue stands, where most of it
 * waits, and what asks for attention. What it costs is to go through the destinations that have mail, never
 * through the messages; and it is made once in two seconds at most, however many look.
 */
import type { CauseClass } from '../mail/outcome.ts';
import type { Clock } from '../platform/clock.ts';
import type { Gates } from '../queue/gates.ts';
import type { Lane } from '../queue/lane.ts';
import type { Ledger, LedgerSummary } from '../queue/ledger.ts';
import { type Attention, type AttentionParts, attentions } from './attention.ts';
import type { QueueNow } from './flow.ts';
import { type BarrierView, instant, nextOfLane, viewOfBarrier } from './queue-barriers.ts';

export interface BusyDestination {
  readonly domain: string;
  readonly total: number;
  readonly counts: QueueNow;
  /** RFC 3339, UTC: when the next one falls due, where nothing is due. */
  readonly nextAttempt?: string;
  /** Why the one failed last that is tried next. */
  readonly cause?: CauseClass;
  readonly closedBy: readonly BarrierView[];
}

export interface Overview {
  /** RFC 3339, UTC. */
  readonly at: string;
  readonly messages: number;
  readonly deliveries: number;
  readonly counts: QueueNow;
  /** Due for more than a minute, though nothing closes their destinations. */
  readonly overdue: number;
  readonly destinationCount: number;
  /** Those with most first. */
  readonly destinations: readonly BusyDestination[];
  /** What asks for attention, the gravest first. */
  readonly attention: readonly Attention[];
}

export interface OverviewParts extends AttentionParts {
  readonly clock: Clock;
  readonly ledger: Pick<Ledger, 'lanes'>;
  readonly gates: Pick<Gates, 'isClosed' | 'barriersOfLane'>;
  readonly summary: () => LedgerSummary & { readonly messages: number };
}

const MOST_DESTINATIONS = 10;
const FRESH_MS = 2000;

/** Makes the overview; asked again soon it gives the same. */
export function overviewMaker(parts: OverviewParts): () => Promise<Overview> {
  let made: Promise<Overview> | undefined;
  let madeAtMs = 0;
  return () => {
    const now = parts.clock.now();
    if (!made || now - madeAtMs >= FRESH_MS || now < madeAtMs) {
      madeAtMs = now;
      made = make(parts).catch((error: unknown) => {
        made = undefined;
        throw error;
      });
    }
    return made;
  };
}

async function make(parts: OverviewParts): Promise<Overview> {
  const { clock } = parts;
  const { messages, overdue, ...sums } = parts.summary();
  const { inFlight: active, due, parked, delayed, held } = sums;
  const { largest, destinationCount, withoutTls } = lookAtLanes(parts.ledger.lanes());
  const overview = {
    at: instant(clock.now()),
    messages,
    deliveries: active + due + parked + delayed + held,
    counts: { active, due, parked, delayed, held },
    overdue,
    destinationCount,
    destinations: largest.map((lane) => viewOfLane(lane, parts.gates)),
  };
  return { ...overview, attention: await attentions(parts, { overdue, withoutTls }) };
}

function sizeOf({ waiting, held, inFlight }: Lane): number {
  return waiting.dueCount + waiting.laterCount + held.size + inFlight;
}

/** In one walk: there may be a hundred thousand of them. */
function lookAtLanes(lanes: Iterable<Lane>) {
  const withoutTls: Lane['destination'][] = [];
  const largest: { readonly lane: Lane; readonly size: number }[] = [];
  let destinationCount = 0;
  for (const lane of lanes) {
    const size = sizeOf(lane);
    if (size === 0) continue;
    destinationCount += 1;
    if (causeOf(lane) === 'tlsPolicy') withoutTls.push(lane.destination);
    if (largest.length >= MOST_DESTINATIONS && size <= (largest.at(-1)?.size ?? 0)) continue;
    const place = largest.findIndex((one) => one.size < size);
    largest.splice(place < 0 ? largest.length : place, 0, { lane, size });
    largest.length = Math.min(largest.length, MOST_DESTINATIONS);
  }
  return { largest: largest.map(({ lane }) => lane), destinationCount, withoutTls };
}

function causeOf({ waiting }: Lane): CauseClass | undefined {
  return waiting.next?.tried?.causeClass;
}

function viewOfLane(lane: Lane, gates: OverviewParts['gates']): BusyDestination {
  const { waiting, held, inFlight } = lane;
  const isClosed = gates.isClosed(lane);
  const counts = {
    active: inFlight,
    due: isClosed ? 0 : waiting.dueCount,
    parked: isClosed ? waiting.dueCount : 0,
    delayed: waiting.laterCount,
    held: held.size,
  };
  const cause = causeOf(lane);
  const closedBy = gates.barriersOfLane(lane).map(viewOfBarrier);
  const next = nextOfLane(counts, waiting.nextMs, closedBy);
  return {
    domain: lane.destination,
    total: sizeOf(lane),
    counts,
    ...(next === undefined ? {} : { nextAttempt: next }),
    ...(cause ? { cause } : {}),
    closedBy,
  };
}
