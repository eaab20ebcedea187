/**
 * What the spool keeps of an attempt while somebody waits: every host that was tried, the TLS it came
 * to there, and how it ended, as real MX hosts made it.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { formatStory } from '../../src/cli/queue-story.ts';
import { storyOf } from '../../src/outcome/story.ts';
import type { AttemptRecord } from '../../src/spool/message-state.ts';
import { openForRescue } from '../../src/spool/rescue.ts';
import type { StoredMessage } from '../../src/spool/store.ts';
import { type RelayWorld, type Sent, startWorld } from '../support/relay-world.ts';

const GREYLISTED = '451 4.7.1 Greylisted, try again later';

describe('the record of an attempt', () => {
  let world: RelayWorld;
  let sent: Sent;
  let message: StoredMessage;
  let records: readonly AttemptRecord[] = [];

  /** One message for a domain that greylists and one that takes it; then the relay is stopped. */
  before(async () => {
    world = await startWorld({ retry: { schedule: ['1h'] } });
    await world.internet.domain('grey.test', {
      sts: { mx: ['mx1.grey.test', 'mx2.grey.test'] },
      mx: [
        { host: 'mx0.grey.test' },
        { host: 'mx1.grey.test', certificate: 'expired' },
        {
          host: 'mx2.grey.test',
          script: (_session, { verb }) => (verb === 'RCPT' ? GREYLISTED : undefined),
        },
      ],
    });
    await world.internet.domain('bare.test', {
      mx: [{ host: 'mx.bare.test', certificate: null }],
    });
    sent = await world.send({ to: ['a@grey.test', 'b@grey.test', 'c@bare.test'] });
    for (const recipient of sent.to) await world.answer(sent, { recipient });
    await world.relay.stop();
    const rescue = await openForRescue(join(world.relay.dataDir, 'spool'));
    for await (const found of rescue.messages()) {
      assert.ok(found.id === sent.id && 'records' in found);
      message = found;
    }
    records = message.records.filter((record) => record.kind === 'attempt');
  });
  after(() => world.close());

  const recordOf = (destination: string) => {
    const found = records.filter((record) => record.destination === destination);
    assert.equal(found.length, 1, destination);
    return found[0];
  };

  test('names every host that was tried or skipped, in order, with its TLS', () => {
    const sessions = recordOf('grey.test')?.sessions ?? [];
    const told = sessions.map(({ host, address, tls, end }) => {
      const verified = tls?.verifiedAs ?? tls?.doubt?.cause;
      return [host, address !== undefined, verified, end.kind === 'local' ? end.cause : end.kind];
    });
    assert.deepEqual(told, [
      ['mx0.grey.test', false, undefined, 'mx-outside-policy'],
      ['mx1.grey.test', true, 'certificate-expired', 'certificate-expired'],
      ['mx2.grey.test', true, 'mx2.grey.test', 'transacted'],
    ]);
    const [first, bad, good] = sessions;
    assert.equal(first?.asked?.level, 'verify');
    assert.match(first?.asked?.text ?? '', /^The MTA-STS policy of grey\.test \(mode enforce, id /);
    assert.deepEqual([bad?.asked, good?.asked], [undefined, undefined]);
    assert.match(bad?.tls?.doubt?.detail ?? '', /^certificate has expired/);
    for (const session of [bad, good]) {
      assert.match(session?.tls?.version ?? '', /^TLSv1\.[23]$/);
      assert.match(session?.tls?.cipher ?? '', /^TLS_/);
      assert.match(session?.tls?.certSha256 ?? '', /^[0-9a-f]{64}$/);
    }
    assert.ok((bad?.tls?.certValidToMs ?? Date.now()) < Date.now());
    assert.ok((good?.tls?.certValidToMs ?? 0) > Date.now());
    const texts = recordOf('grey.test')?.deferred.map(({ failure }) => failure.text);
    assert.deepEqual(texts, [GREYLISTED, GREYLISTED]);
  });

  test('says why it was in clear text, and what the host replied to the message', () => {
    const [session, ...more] = recordOf('bare.test')?.sessions ?? [];
    assert.deepEqual(more, []);
    assert.deepEqual(session?.clearTextBecause, {
      cause: 'starttls-not-offered',
      detail: 'STARTTLS was not offered',
    });
    assert.equal(session?.asked?.text, 'This mail system asks for TLS where it is offered.');
    assert.equal(session?.tls, undefined);
    assert.match((session?.end.kind === 'transacted' && session.end.reply) || '', /^250 /);
  });

  test('is told by the story of the message', () => {
    const hourMs = 3_600_000;
    const lifetimes = { lifetime: 24 * hourMs, bounceLifetime: hourMs };
    const retry = { schedule: [hourMs], ...lifetimes, classes: {}, domains: [] };
    const destinationOf = (address: string) => address.split('@')[1];
    const story = storyOf(message, { retry, destinationOf });
    assert.deepEqual(JSON.parse(JSON.stringify(story)), story);
    const text = formatStory(story, { nowMs: Date.now() });
    const told = [
      /^client {6}127\.0\.0\.1 \(HELO client\.example\.net\), in clear text$/m,
      /^recipients {2}3: 2 wait, 1 delivered$/m,
      /^grey\.test, 2 recipients: all wait; tried once, the next attempt is due at \S+Z \(in /m,
      /^ {2}wait {8}a@grey\.test, b@grey\.test\n +mx2\.grey\.test\[[\d.]+\] said to RCPT: 451 4\.7\.1 Grey/m,
      /^ {4}mx0\.grey\.test, port \d+, not connected to$/m,
      /^ {6}cert {4}not verified: certificate has expired \(/m,
      /^ {6}cert {4}valid for mx2\.grey\.test, ends \d{4}-\d\d-\d\d$/m,
      /^bare\.test, 1 recipient: delivered; nothing is left to do\.$/m,
      /^ {6}TLS {5}none, in clear text: STARTTLS was not offered \(opportunistic:clear\)$/m,
    ];
    for (const line of told) assert.match(text, line);
  });
});
