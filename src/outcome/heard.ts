/**
 * What the sessions of one attempt showed of the hosts: whether any of them spoke to us. Pure.
 */
import type { Failure } from '../mail/failure.ts';
import type { SessionResult } from '../mail/session-result.ts';
import { formatReply } from '../protocol/smtp/reply.ts';
import type { Heard } from '../queue/site-watch.ts';
import { isHostAway } from './classify.ts';

/** Undefined when no host was asked, or the relay itself was in the way. */
export function heardFrom(results: readonly SessionResult[]): Heard | undefined {
  let away: string | undefined;
  for (const result of results) {
    if (result.kind === 'transacted') return 'answered';
    const { facts, failure } = result;
    if (facts.address === undefined || isOwn(failure)) continue;
    if (!isHostAway(failure)) return 'answered';
    const text = failure.kind === 'reply' ? formatReply(failure.reply) : failure.detail;
    away = `${facts.candidate.host ?? ''}[${facts.address}]: ${text}`;
  }
  return away === undefined ? undefined : { away };
}

function isOwn(failure: Failure): boolean {
  if (failure.kind === 'reply') return false;
  return failure.cause === 'spool-unreadable' || failure.cause === 'relay-stopping';
}
