/**
 * What the sessions of one attempt showed of the hosts: whether any of them spoke to us. Pure.
 */
import type { Failure } from '../mail/failure.ts';
import type { SessionResult } from '../mail/session-result.ts';
import { formatReply } from '../protocol/smtp/reply.ts';
import type { Heard } from '../queue/site-watch.ts';
import { classify, isHostAway } from './classify.ts';

/**
 * Undefined when no host was asked, the relay itself was in the way, or hosts were left out that others
 * would have asked: away is what is away for every destination of the site.
 *
 * Hosts that refuse everything for good (RFC 5321 §3.1: 554 in place of the greeting) give each message
 * its answer: it need not wait for that.
 */
export function heardFrom(results: readonly SessionResult[]): Heard | undefined {
  let away: string | undefined;
  let isRefused = false;
  for (const result of results) {
    if (result.kind === 'transacted') return 'answered';
    const { facts, failure } = result;
    if (facts.address === undefined || isOwn(failure)) continue;
    if (!isHostAway(failure)) return 'answered';
    const text = failure.kind === 'reply' ? formatReply(failure.reply) : failure.detail;
    if (classify(failure).permanent) isRefused = true;
    else away = `${facts.candidate.host ?? ''}[${facts.address}]: ${text}`;
  }
  if (away === undefined) return isRefused ? 'answered' : undefined;
  return results.some((result) => result.kind === 'ended-early' && isLeftOut(result.failure))
    ? undefined
    : { away };
}

/**
 * For a reason of the destination's own, or the message's: its policy does not name the host (RFC 8461
 * §5), it may not be there, nothing vouches for it.
 */
function isLeftOut(failure: Failure): boolean {
  if (failure.kind === 'reply') return false;
  const { cause } = failure;
  return (
    cause === 'mx-outside-policy' ||
    cause === 'dnssec-failed' ||
    cause === 'dane-required' ||
    cause === 'address-refused' ||
    cause === 'requiretls-mx-insecure'
  );
}

function isOwn(failure: Failure): boolean {
  if (failure.kind === 'reply') return false;
  return failure.cause === 'spool-unreadable' || failure.cause === 'relay-stopping';
}
