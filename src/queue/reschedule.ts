/**
 * Puts changed retry settings into force for what is queued already, and tells beforehand what
 * that would do. What is due stays due; what waits is tried when the new settings say, counted
 * from its last attempt: sooner or later, or at once where that time has passed.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { timeOfId } from '../mail/message-id.ts';
import type { Destination } from '../mail/route.ts';
import type { Clock } from '../platform/clock.ts';
import type { MessageState } from '../spool/message-state.ts';
import type { Delivery, Lane } from './lane.ts';
import type { Ledger } from './ledger.ts';
import { dueAt, expiry, type RetrySettings } from './retry-schedule.ts';

/** After so long whatever else is to be done gets its turn. */
const TURN_MS = 10;
/** Another time than that is another time for people, too. */
const SAME_MS = 1000;

/** When the settings have a delivery that waits tried; as it is where they have no say. */
export function timeBy(
  settings: RetrySettings,
  delivery: Pick<Delivery, 'id' | 'destination' | 'nullReversePath' | 'tried' | 'nextAttemptMs'>,
): number {
  const { id, destination, nullReversePath, tried, nextAttemptMs } = delivery;
  if (!tried || tried.attempts === 0) return nextAttemptMs;
  return dueAt(settings, {
    ...{ id, destination, nullReversePath, ...tried },
    receivedAtMs: timeOfId(id),
  });
}

/** A message from the spool, its times as the settings of today have them. */
export function asScheduled(state: MessageState, settings: RetrySettings): MessageState {
  const { envelope, pending } = state;
  const { id, receivedAtMs, reversePath } = envelope;
  return {
    ...state,
    pending: pending.map((delivery) => {
      const { attempts, triedAtMs, lastFailure, destination } = delivery;
      if (attempts === 0 || triedAtMs === undefined || !lastFailure) return delivery;
      const { causeClass } = lastFailure;
      const nullReversePath = reversePath === '';
      const asked = { id, destination, receivedAtMs, nullReversePath };
      const nextAttemptMs = dueAt(settings, { ...asked, attempts, triedAtMs, causeClass });
      return { ...delivery, nextAttemptMs };
    }),
  };
}

/** Give all that waits its time by `settings`; lane by lane, with pauses for everything else. */
export async function reschedule(
  settings: RetrySettings,
  { ledger, clock, supply }: { ledger: Ledger; clock: Clock; supply: (lane: Lane) => void },
): Promise<void> {
  let turnBeganAtMs = performance.now();
  for (const lane of ledger.lanes()) {
    const retime = (delivery: Delivery) => {
      delivery.nextAttemptMs = timeBy(settings, delivery);
    };
    lane.waiting.retime(retime, clock.now());
    for (const delivery of lane.held) retime(delivery);
    supply(lane);
    if (performance.now() - turnBeganAtMs < TURN_MS) continue;
    await nextTurn();
    turnBeganAtMs = performance.now();
  }
}

/** How many deliveries would be tried sooner, later, at once; and how many given up after that. */
export interface Shift {
  readonly waiting: number;
  readonly unchanged: number;
  readonly sooner: number;
  readonly later: number;
  /** Of those tried sooner: as soon as there is a turn for them. */
  readonly atOnce: number;
  /** Of all: older than their lifetime would be, so the next attempt would be the last. */
  readonly lastAttempt: number;
  /** The earliest next attempt before and after, of those whose time would change; absolute, ms. */
  readonly firstBeforeMs: number | undefined;
  readonly firstAfterMs: number | undefined;
}

type Sum = { -readonly [K in keyof Shift]: Shift[K] };

export interface Preview {
  readonly total: Shift;
  /** Those with most changes first. */
  readonly destinations: readonly (Shift & { readonly destination: Destination })[];
}

/** What `settings` would do to all that is queued and not being attempted. */
export async function previewRetry(
  settings: RetrySettings,
  { ledger, clock }: { ledger: Ledger; clock: Clock },
): Promise<Preview> {
  const total = noShift();
  const byDestination = new Map<Destination, Sum>();
  let turnBeganAtMs = performance.now();
  let seen = 0;
  for (const delivery of ledger.deliveries()) {
    // What is held neither waits nor ends.
    if (!delivery.inFlight && !delivery.hold) {
      const { destination } = delivery;
      const own = byDestination.get(destination) ?? noShift();
      byDestination.set(destination, own);
      for (const sum of [total, own]) count(sum, delivery, { settings, nowMs: clock.now() });
    }
    if (++seen % 256 > 0 || performance.now() - turnBeganAtMs < TURN_MS) continue;
    await nextTurn();
    turnBeganAtMs = performance.now();
  }
  const destinations = [...byDestination].map(([destination, sum]) => ({ destination, ...sum }));
  const changes = ({ sooner, later, lastAttempt }: Shift) => sooner + later + lastAttempt;
  return { total, destinations: destinations.sort((a, b) => changes(b) - changes(a)) };
}

function noShift(): Sum {
  return {
    ...{ waiting: 0, unchanged: 0, sooner: 0, later: 0, atOnce: 0, lastAttempt: 0 },
    ...{ firstBeforeMs: undefined, firstAfterMs: undefined },
  };
}

function count(
  sum: Sum,
  delivery: Delivery,
  { settings, nowMs }: { settings: RetrySettings; nowMs: number },
): void {
  const { id, destination, nullReversePath, nextAttemptMs: before } = delivery;
  const receivedAtMs = timeOfId(id);
  sum.waiting += 1;
  if (expiry(settings, { destination, receivedAtMs, nullReversePath }) <= nowMs)
    sum.lastAttempt += 1;
  // What is due stays due.
  const after = before <= nowMs ? before : timeBy(settings, delivery);
  if (Math.abs(after - before) < SAME_MS) {
    sum.unchanged += 1;
    return;
  }
  if (after < before) sum.sooner += 1;
  else sum.later += 1;
  if (after <= nowMs) sum.atOnce += 1;
  sum.firstBeforeMs = Math.min(sum.firstBeforeMs ?? Infinity, before);
  sum.firstAfterMs = Math.min(sum.firstAfterMs ?? Infinity, Math.max(after, nowMs));
}
