/**
 * What the spool keeps of an attempt while somebody waits: every host that was tried, the TLS it came
 * to there, and how it ended, as real MX hosts made it.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { AttemptRecord } from '../../src/spool/message-state.ts';
import { openForRescue } from '../../src/spool/rescue.ts';
import { type RelayWorld, type Sent, startWorld } from '../support/relay-world.ts';

const GREYLISTED = '451 4.7.1 Greylisted, try again later';

describe('the record of an attempt', () => {
  let world: RelayWorld;
  let sent: Sent;
  let records: readonly AttemptRecord[] = [];

  /** One message for a domain that greylists and one that takes it; then the relay is stopped. */
  before(async () => {
    world = await startWorld({ retry: { schedule: ['1h'], classes: {} } });
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
    for await (const message of rescue.messages()) {
      assert.ok(message.id === sent.id && 'records' in message);
      records = message.records.filter((record) => record.kind === 'attempt');
    }
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
});
