/** The demo's stories: what lines of the log become of them, in whatever order they come. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stories } from '../demo/story.ts';

const DOMAIN = 'dest.example';
const FAILED = {
  event: 'delivery.session_failed',
  ...{ id: 'ONE', mx: 'mx1.dest.example', reason: 'certificate has expired (yesterday)' },
};
const DELIVERED = {
  event: 'delivery.delivered',
  ...{ id: 'ONE', destination: DOMAIN, mx: 'mx2.dest.example' },
  ...{ tls: 'verify:verified', tlsVersion: 'TLSv1.3' },
};
const DEFERRED = {
  event: 'delivery.deferred',
  ...{ id: 'ONE', destination: DOMAIN, mx: 'mx1.dest.example', cause: 'certificate-expired' },
  ...{ reason: 'certificate has expired', time: '2026-01-31T12:00:00.000Z' },
  nextAttempt: '2026-01-31T12:10:20.000Z',
};
const kinds = (stories: Stories) => stories.of(DOMAIN).map(({ kind }) => kind);

test('a message that the log has told of is not merely taken any more', () => {
  const stories = new Stories([DOMAIN]);
  assert.equal(stories.taken(DOMAIN, 'ZERO')?.kind, 'taken');
  stories.take(DELIVERED);
  assert.equal(stories.taken(DOMAIN, 'ONE'), undefined);
  assert.deepEqual([stories.last(DOMAIN)?.kind, stories.answers(DOMAIN)], ['delivered', 1]);
});

test('a host that was passed over is told when another one took the message', () => {
  const stories = new Stories([DOMAIN]);
  assert.deepEqual(stories.take(FAILED), []);
  stories.take(DELIVERED);
  assert.deepEqual(kinds(stories), ['noted', 'delivered']);
  assert.match(stories.of(DOMAIN)[0]?.text ?? '', /passed over mx1\.dest\.example: /);
});

test('where it is held, its reason says it all; and the next message knows nothing of it', () => {
  const stories = new Stories([DOMAIN]);
  stories.take(FAILED);
  stories.take(DEFERRED);
  assert.equal(
    stories.last(DOMAIN)?.text,
    'waits: mx1.dest.example: certificate has expired; tried again in 10 min',
  );
  stories.take(DELIVERED);
  assert.deepEqual(kinds(stories), ['held', 'delivered']);
});

test('lines about others are no part of it', () => {
  const stories = new Stories([DOMAIN]);
  stories.take({ ...DELIVERED, destination: 'company.example' });
  stories.take({ event: 'relay.started' });
  assert.deepEqual(kinds(stories), []);
});
