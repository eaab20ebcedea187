/**
 * One queued message explained: its story so far, and what each of its deliveries waits for now.
 */
import type { MessageId } from '../mail/message-id.ts';
import {
  type DestinationStory,
  type MessageStory,
  type StoryParts,
  storyOf,
} from '../outcome/story.ts';
import type { Gates, QueueState } from '../queue/gates.ts';
import type { Delivery } from '../queue/lane.ts';
import type { Ledger } from '../queue/ledger.ts';
import type { DestinationOf } from '../spool/message-state.ts';
import type { Spool } from '../spool/store.ts';
import type { OverrideView } from './overrides.ts';
import { type BarrierView, instant, nextAttemptOf, viewOfBarrier } from './queue-barriers.ts';

/** What is so at this moment for one destination where somebody waits. */
export interface DeliveryNow {
  readonly destination: string;
  readonly state: QueueState;
  /** What is in its way, the first one first; empty while it is attempted. */
  readonly waitsFor: readonly BarrierView[];
  /** RFC 3339, UTC; absent while it is attempted, held, or parked and nobody knows for how long. */
  readonly nextAttempt?: string;
  /** When it is given up; absent while it is held. */
  readonly expires?: string;
  /** The override of its TLS policy that is in force. */
  readonly override?: OverrideView;
}

export type MessageView = MessageStory & { readonly now: readonly DeliveryNow[] };

export interface ShowParts {
  readonly ledger: Ledger;
  readonly gates: Gates;
  readonly spool: Pick<Spool, 'read'>;
  readonly destinationOf: DestinationOf;
  readonly retry: () => StoryParts['retry'];
  readonly overrides: () => readonly OverrideView[];
}

/** Undefined when it is not in the queue. Rejects with SpoolError. */
export async function showMessage(
  id: MessageId,
  parts: ShowParts,
): Promise<MessageView | undefined> {
  const { ledger, spool, destinationOf, retry } = parts;
  const message = await spool.read(id);
  if (!message) return undefined;
  const story = storyOf(message, { retry: retry(), destinationOf });
  const overrides = parts.overrides();
  const now = ledger.deliveriesOf(id).map((delivery) => nowOf(delivery, parts.gates, overrides));
  // What the records said when they were written may have been changed by a reload, or by hand.
  const destinations = story.destinations.map((one) => {
    const own = now.find(({ destination }) => destination === one.destination);
    return own ? asNow(one, own) : one;
  });
  // Nobody is told of the delay of what an administrator holds.
  const isHeld = now.length > 0 && now.every(({ state }) => state === 'held');
  const { delayWarningDue, ...rest } = story;
  const due = delayWarningDue === undefined || isHeld ? {} : { delayWarningDue };
  return { ...rest, ...due, destinations, now };
}

function asNow(story: DestinationStory, { nextAttempt, expires }: DeliveryNow): DestinationStory {
  const { nextAttempt: _next, expires: _expires, ...others } = story;
  return {
    ...others,
    ...(nextAttempt === undefined ? {} : { nextAttempt }),
    ...(expires === undefined ? {} : { expires }),
  };
}

function nowOf(delivery: Delivery, gates: Gates, overrides: readonly OverrideView[]): DeliveryNow {
  const { destination, nextAttemptMs } = delivery;
  const state = gates.stateOf(delivery);
  const expiresMs = gates.expiryOf(delivery);
  const override = overrides.find(({ domain }) => domain === destination);
  const waitsFor = gates.barriersOf(delivery).map(viewOfBarrier);
  // What is due was for its time.
  const next =
    state === 'due' ? instant(nextAttemptMs) : nextAttemptOf({ state, nextAttemptMs }, waitsFor);
  // It is parked beyond its lifetime: no attempt comes before that.
  const isTooLate =
    state === 'parked' && next !== undefined && Date.parse(next) >= (expiresMs ?? Infinity);
  return {
    ...{ destination, state, waitsFor },
    ...(next === undefined || isTooLate ? {} : { nextAttempt: next }),
    ...(expiresMs === undefined ? {} : { expires: instant(expiresMs) }),
    ...(override ? { override } : {}),
  };
}
