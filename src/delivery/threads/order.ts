/**
 * What of a run crosses into a session thread, and how the result that comes back becomes the one the
 * run would have had here: the plan does not come back, and recipients go by their place in the order.
 */
import type { RecipientReply, SessionResult } from '../../mail/session-result.ts';
import type { Consignment, SessionPlan } from '../session.ts';
import { type Order, ownCopy, type ThinResult } from './messages.ts';

/** A plan, and what is handed over under it. */
export interface Parcel {
  readonly plan: SessionPlan;
  readonly consignment: Consignment;
}

/** Larger bodies are not sent along before they are wanted: a thousand may wait for slow hosts. */
const BODY_AT_HAND = 64 * 1024;

/** A copy of the body, where it need not be read. */
export function bodyAtHand({ bodyInMemory }: Consignment): Uint8Array | undefined {
  const body = bodyInMemory?.();
  return body && body.length <= BODY_AT_HAND ? ownCopy(body) : undefined;
}

/** What the thread is told of `parcel`; `body` is the one at hand, if it is. */
export function orderOf({ plan, consignment }: Parcel, body: Uint8Array | undefined): Order {
  return {
    plan,
    envelope: ownEnvelope(consignment),
    sizeBytes: consignment.sizeBytes,
    body,
    isRecorded: consignment.recorded !== undefined,
  };
}

/** With the recipients of this delivery alone: there may be hundreds for other destinations. */
function ownEnvelope({ envelope, recipients }: Consignment): Consignment['envelope'] {
  const own = recipients.flatMap((index) => envelope.recipients[index] ?? []);
  return { ...envelope, recipients: own };
}

/** A result without what the plan says already. */
export function thinResult(result: SessionResult): ThinResult {
  const { candidate, requirement, ...facts } = result.facts;
  return { ...result, facts } as ThinResult;
}

/** The result as it would be had the session run here. */
export function wholeResult(
  { facts, ...result }: ThinResult,
  { plan, consignment }: Parcel,
): SessionResult {
  const { candidate, requirement } = plan;
  const all = { ...facts, candidate, requirement };
  if (result.kind === 'ended-early') return { ...result, facts: all };
  const recipients = new Map<number, RecipientReply>();
  for (const [place, reply] of result.recipients) {
    const index = consignment.recipients[place];
    if (index !== undefined) recipients.set(index, reply);
  }
  const left = result.left?.flatMap((place) => consignment.recipients[place] ?? []);
  return { kind: 'transacted', facts: all, recipients, ...(left ? { left } : {}) };
}
