/**
 * TLS sessions that are resumed: under an equal plan alone, with the verdict of the full handshake, once each,
 * and no longer than a connection might have stayed open. Real sockets, real TLS.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SessionPlan } from '../../src/delivery/session.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import type { TlsRequirement } from '../../src/mail/tls-requirement.ts';
import { createCa } from '../support/ca.ts';
import { ENFORCED, SessionBench, type SessionBenchOptions } from '../support/session-bench.ts';

const MINUTE_MS = 60_000;

/** Each message has a connection of its own. */
async function start(options: SessionBenchOptions = {}): Promise<SessionBench> {
  const bench = await SessionBench.start(options);
  bench.limits = { messagesPerConnection: 1, idleMs: 1000 };
  return bench;
}

function resumptions({ host }: SessionBench): readonly (boolean | undefined)[] {
  return host.sessions.map(({ tls }) => tls?.resumed);
}

function assertAccepted({ kind, facts }: SessionResult): void {
  assert.equal(kind, 'transacted', JSON.stringify(facts));
}

describe('the next connection to a host', () => {
  test('R316 resumes the TLS session, and has certificate, name and verdict of the full handshake', async () => {
    await using bench = await start();
    const first = await bench.send();
    const second = await bench.send();
    const third = await bench.send();
    assert.deepEqual(resumptions(bench), [false, true, true]);
    assert.equal(first.facts.tls?.verdict.verified, true);
    for (const { facts } of [second, third]) {
      assert.deepEqual(facts.tls, { ...first.facts.tls, resumed: true });
      assert.equal(facts.reused, undefined);
    }
  });

  test('resumes none of a session that another connection resumes', async () => {
    await using bench = await start();
    await bench.send();
    await Promise.all([bench.send(), bench.send(), bench.send()]);
    assert.deepEqual(resumptions(bench).toSorted(), [false, false, false, true]);
  });

  test('R078 resumes nothing under another requirement, policy text or name', async () => {
    const { source } = ENFORCED;
    assert.ok(source.kind === 'mta-sts');
    const policyText = `${source.policyText}mx: b.reuse.test\r\n`;
    const encrypt: TlsRequirement = { ...ENFORCED, level: 'encrypt' };
    const others: readonly Partial<SessionPlan>[] = [
      { requirement: { ...ENFORCED, source: { ...source, policyText } } },
      { requirement: { ...ENFORCED, source: { ...source, mode: 'testing' } } },
      { requirement: { ...ENFORCED, requireTls: 'preferred' } },
      { requirement: encrypt },
    ];
    await using bench = await start();
    await bench.send();
    for (const plan of others) assertAccepted(await bench.send({ plan }));
    assert.deepEqual(resumptions(bench), [false, false, false, false, false]);
    assertAccepted(await bench.send());
    assert.equal(resumptions(bench).at(-1), true);
  });

  test('offers nothing where the ClientHello is to be small', async () => {
    await using bench = await start();
    for (let i = 0; i < 2; i += 1)
      assertAccepted(await bench.send({ plan: { mode: 'small-hello' } }));
    assert.deepEqual(resumptions(bench), [false, false]);
  });

  test('resumes nothing five minutes after the full handshake, however often it was resumed since', async () => {
    await using bench = await start();
    await bench.send();
    for (let minute = 0; minute < 4; minute += 1) {
      bench.clock.advance(MINUTE_MS);
      await bench.send();
    }
    bench.clock.advance(MINUTE_MS);
    await bench.send();
    assert.deepEqual(resumptions(bench), [false, true, true, true, true, false]);
  });

  test('is left open no longer than that, either', async () => {
    await using bench = await start();
    await bench.send();
    bench.clock.advance(4 * MINUTE_MS);
    bench.limits = { messagesPerConnection: 1000, idleMs: 60 * MINUTE_MS };
    await bench.send(); // resumed
    const { facts } = await bench.send();
    assert.equal(facts.reused, true);
    bench.clock.advance(MINUTE_MS);
    await bench.send();
    assert.deepEqual(resumptions(bench), [false, true, false]);
  });

  test('resumes nothing beyond the end of the certificate', async () => {
    await using bench = await start({ validForMs: MINUTE_MS });
    await bench.send();
    bench.clock.advance(MINUTE_MS + 1000);
    await bench.send();
    assert.deepEqual(resumptions(bench), [false, false]);
  });

  test('resumes no TLS 1.2', async () => {
    await using bench = await start({ maxTls: 'TLSv1.2' });
    for (let i = 0; i < 2; i += 1) assertAccepted(await bench.send());
    assert.deepEqual(resumptions(bench), [false, false]);
  });

  test('is judged by its own certificate when the server wants to know nothing of the session', async () => {
    await using bench = await start();
    await bench.send();
    const stranger = await (await createCa()).issue({ names: ['mx.reuse.test'] });
    bench.host.change({ certificate: stranger });
    const result = await bench.send();
    assert.ok(result.kind === 'ended-early' && result.failure.kind === 'local');
    assert.equal(result.failure.cause, 'certificate-untrusted');
    assert.deepEqual(resumptions(bench), [false, false]);
  });

  test('resumes nothing of a session that was refused', async () => {
    await using bench = await start();
    const stranger = await (await createCa()).issue({ names: ['mx.reuse.test'] });
    bench.host.change({ certificate: stranger });
    for (let i = 0; i < 2; i += 1) assert.equal((await bench.send()).kind, 'ended-early');
    assert.deepEqual(resumptions(bench), [false, false]);
  });
});
