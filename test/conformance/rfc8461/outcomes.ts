/** What the tests of RFC 8461 ask of an attempt. */
import assert from 'node:assert/strict';
import type { LocalCause } from '../../../src/mail/failure.ts';
import type { Sent } from '../../support/sender.ts';

export type Protection = 'verified' | 'unauthenticated' | 'clear-text';

/** It was delivered once, over a session of this kind. */
export function assertDelivered(sent: Sent, how: Protection): void {
  const { outcome, messages } = sent;
  assert.ok(outcome.kind === 'delivered', `${outcome.kind}: ${reasonOf(sent)}`);
  assert.equal(messages.length, 1);
  const { tls } = outcome.facts;
  const reached = !tls ? 'clear-text' : tls.verdict.verified ? 'verified' : 'unauthenticated';
  assert.equal(reached, how);
  assert.equal(messages[0]?.tls === undefined, how === 'clear-text');
}

/** It waits for this reason, and no host has it. */
export function assertDeferred(sent: Sent, cause: LocalCause): void {
  const { outcome, messages, record } = sent;
  assert.equal(outcome.kind, 'deferred', reasonOf(sent));
  assert.equal(causeOf(sent), cause, reasonOf(sent));
  assert.equal(messages.length, 0);
  assert.ok(record.nextAttemptMs !== undefined, 'there is no next attempt');
}

export function causeOf({ outcome }: Sent): string | undefined {
  if (outcome.kind === 'delivered') return undefined;
  const { failure } = outcome.diagnosis;
  return failure.kind === 'local' ? failure.cause : `${failure.stage} ${failure.reply.code}`;
}

/** For the messages of assertions. */
function reasonOf({ outcome }: Sent): string {
  if (outcome.kind === 'delivered') return 'delivered';
  const { failure } = outcome.diagnosis;
  return failure.kind === 'local' ? failure.detail : failure.reply.text;
}

/** The id and mode of the policy that the first session, or skipped host, was held against. */
export function policyOf({ sessions }: Sent): string {
  const source = sessions[0]?.facts.requirement.source;
  return source?.kind === 'mta-sts'
    ? `${source.domain} ${source.policyId} ${source.mode}`
    : `${source?.kind}`;
}
