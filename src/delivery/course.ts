/**
 * Several transactions for one delivery: what was learned in one is good for the next. It goes to
 * the host and address that took the last one, where its session rests, with as many recipients
 * as that one had. Route and policy are asked anew each time: only the order changes. Pure.
 */
import type { MxCandidate, Route } from '../mail/route.ts';
import type { SessionResult } from '../mail/session-result.ts';

export interface Course {
  readonly candidate: MxCandidate;
  readonly address: string | undefined;
  /** The server took no more than these in the last transaction; at least 1. */
  readonly mostRecipients: number;
}

/** What a transaction taught that left recipients for another one. */
export function courseOf({
  facts: { candidate, address },
  recipients,
}: SessionResult & { readonly kind: 'transacted' }): Course {
  return { candidate, address, mostRecipients: Math.max(1, recipients.size) };
}

/** `route` with the host of the last transaction in front, if it still is a host of it. */
export function stayOn(course: Course | undefined, route: Route): Route {
  const last = course?.candidate;
  const found = last && route.candidates.find((candidate) => isSameHost(candidate, last));
  if (!found || course?.address === undefined) return route;
  const others = route.candidates.filter((candidate) => candidate !== found);
  return { ...route, candidates: [{ ...found, address: course.address }, ...others] };
}

function isSameHost(a: MxCandidate, b: MxCandidate): boolean {
  return (
    a.host === b.host && a.port === b.port && (a.host !== undefined || a.address === b.address)
  );
}
