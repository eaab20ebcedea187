/**
 * Sessions with a smart host: AUTH (RFC 4954) and TLS from the first octet (RFC 8314), here and in a
 * session thread. What is asked: who hears the password, and what an old session is good for.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { SessionThreads } from '../../src/delivery/threads/session-threads.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import type { TlsRequirement } from '../../src/mail/tls-requirement.ts';
import type { MxSessionRecord } from '../support/mx-script.ts';
import { ENFORCED, SessionBench, type SessionBenchOptions } from '../support/session-bench.ts';

const threads = new SessionThreads(
  {
    connection: () => {},
    threadEnded: ({ error, stack }) => assert.fail(stack ?? error),
    nodeWarning: (warning) => assert.fail(warning),
  },
  { count: 1 },
);
after(() => threads.end());

const ANN = { user: 'ann', password: 'pass wörd' };
const ENCRYPT: TlsRequirement = {
  level: 'encrypt',
  minVersion: 'TLSv1.2',
  source: { kind: 'route', domain: '*' },
};
const OPPORTUNISTIC: TlsRequirement = { ...ENCRYPT, level: 'opportunistic' };

const verbs = (session: MxSessionRecord | undefined) =>
  (session?.commands ?? []).map(({ verb }) => verb);

function isAccepted(result: SessionResult): boolean {
  return result.kind === 'transacted' && result.recipients.get(0)?.kind === 'accepted';
}

function failureOf(result: SessionResult): string {
  assert.equal(result.kind, 'ended-early', JSON.stringify(result));
  if (result.kind !== 'ended-early') return '';
  const { failure } = result;
  return failure.kind === 'local' ? failure.cause : `${failure.stage} ${failure.reply.code}`;
}

/** Nothing of the password in what went over the wire in clear text, nor in the result. */
function assertKept({ host }: SessionBench, result?: SessionResult): void {
  const clear = host.sessions.flatMap(({ commands }) => commands.filter((it) => !it.overTls));
  assert.doesNotMatch(clear.map(({ line }) => line).join('\n'), /AUTH/i);
  assert.doesNotMatch(JSON.stringify(result ?? ''), /pass w/);
}

for (const [where, place] of [
  ['here', {}],
  ['in a thread of its own', { home: threads }],
] as const) {
  const start = (options: SessionBenchOptions = {}) =>
    SessionBench.start({ auth: ANN, ...options, ...place });

  describe(`AUTH ${where}`, () => {
    for (const mechanism of ['PLAIN', 'LOGIN', 'CRAM-MD5'] as const) {
      test(`by ${mechanism}, once a session`, async () => {
        await using bench = await start({ auth: { ...ANN, mechanisms: [mechanism] } });
        for (let i = 0; i < 3; i += 1) {
          assert.ok(isAccepted(await bench.send({ plan: { credentials: ANN } })));
        }
        const [session, ...more] = bench.host.sessions;
        assert.equal(more.length, 0);
        assert.equal(session?.authenticatedAs, 'ann');
        assert.deepEqual(session?.violations, []);
        assert.equal(verbs(session).filter((verb) => verb === 'AUTH').length, 1);
        assertKept(bench);
      });
    }

    test('a wrong password: no MAIL, QUIT, and the reply', async () => {
      await using bench = await start();
      const credentials = { ...ANN, password: 'pass wrong' };
      const result = await bench.send({ plan: { credentials } });
      assert.equal(failureOf(result), 'auth 535');
      assertKept(bench, result);
      const [session] = await bench.host.waitForSessions(1);
      assert.deepEqual(verbs(session), ['EHLO', 'STARTTLS', 'EHLO', 'AUTH', 'QUIT']);
    });

    test('a server that repeats the password: it goes no further', async () => {
      await using bench = await start({
        script: (_session, { verb, argument }) =>
          verb === 'AUTH' ? `535 5.7.8 what is ${argument}, or ${ANN.password}?` : undefined,
      });
      const result = await bench.send({ plan: { credentials: ANN } });
      assert.equal(failureOf(result), 'auth 535');
      const text = JSON.stringify(result);
      for (const secret of [ANN.password, Buffer.from(`\0ann\0${ANN.password}`).toString('base64')])
        assert.ok(!text.includes(secret), text);
    });

    test('never without TLS, whatever is allowed', async () => {
      await using bench = await start({ startTls: 'off' });
      for (const [requirement, mode] of [
        [OPPORTUNISTIC, 'full'],
        [OPPORTUNISTIC, 'clear'],
        [{ ...ENCRYPT, level: 'none' }, 'clear'],
      ] as const) {
        const plan = { credentials: ANN, requirement, mode };
        assert.equal(failureOf(await bench.send({ plan })), 'auth-not-possible');
      }
      assertKept(bench);
    });

    test('never before the peer was judged', async () => {
      await using bench = await start();
      const candidate = { ...bench.plan().candidate, host: 'other.test' as never };
      const plan = { credentials: ANN, candidate, requirement: ENFORCED };
      assert.equal(failureOf(await bench.send({ plan })), 'certificate-host-mismatch');
      const [session] = await bench.host.waitForSessions(1);
      assert.ok(!verbs(session).includes('AUTH'));
    });

    test('no mechanism of ours: not possible', async () => {
      await using bench = await start({ auth: { ...ANN, mechanisms: [] } });
      const result = await bench.send({ plan: { credentials: ANN } });
      assert.equal(failureOf(result), 'auth-not-possible');
    });

    test('a session that is logged in carries nobody else’s mail', async () => {
      await using bench = await start();
      const reused = async (plan: Parameters<SessionBench['send']>[0]) =>
        (await bench.send(plan)).facts.reused ?? false;
      assert.equal(await reused({ plan: { credentials: ANN } }), false);
      assert.equal(await reused({}), false); // refused with 530, over a session of its own
      assert.equal(await reused({ plan: { credentials: { ...ANN, password: 'x' } } }), false);
      assert.equal(await reused({ plan: { credentials: { ...ANN, user: 'bob' } } }), false);
      assert.equal(await reused({ plan: { credentials: { ...ANN } } }), true);
    });

    test('530 from a smart host is about the login, from anybody else about the mail', async () => {
      await using bench = await start();
      assert.equal(failureOf(await bench.send()), 'mail 530');
      const candidate = { ...bench.plan().candidate, trusted: true as const };
      assert.equal(failureOf(await bench.send({ plan: { candidate } })), 'auth 530');
    });
  });

  describe(`TLS from the first octet ${where}`, () => {
    const implicit = { implicitTls: true, requirement: ENFORCED } as const;

    test('carries mail, with SNI, AUTH and no STARTTLS, again and again', async () => {
      await using bench = await start({ implicitTls: true });
      for (const isReused of [false, true]) {
        const result = await bench.send({ plan: { ...implicit, credentials: ANN } });
        assert.ok(isAccepted(result), JSON.stringify(result));
        assert.equal(result.facts.reused ?? false, isReused);
        assert.equal(result.facts.tls?.verdict.verified, true);
      }
      const [session] = bench.host.sessions;
      assert.deepEqual(verbs(session).slice(0, 3), ['EHLO', 'AUTH', 'MAIL']);
      assert.equal(session?.tls?.serverName, 'mx.reuse.test');
      assert.equal(session?.octets.clear, 0);
    });

    test('a certificate that does not hold: the end, before a word is said', async () => {
      await using bench = await start({ implicitTls: true });
      const candidate = { ...bench.plan().candidate, host: 'other.test' as never };
      const result = await bench.send({ plan: { ...implicit, candidate, credentials: ANN } });
      assert.equal(failureOf(result), 'certificate-host-mismatch');
      assert.ok(result.facts.tls);
      const [session] = await bench.host.waitForSessions(1);
      assert.deepEqual(verbs(session), []);
    });

    test('a server that speaks first, without TLS: no handshake, nothing in clear text', async () => {
      await using bench = await start();
      const plan = { ...implicit, requirement: OPPORTUNISTIC, credentials: ANN };
      assert.equal(failureOf(await bench.send({ plan })), 'tls-handshake-failed');
      assertKept(bench);
    });

    test('a server that says nothing is given up after its time', async () => {
      await using bench = await start({ implicitTls: true });
      bench.parts = { ...bench.parts, timeouts: { ...bench.parts.timeouts, greeting: 300 } };
      bench.host.change({
        script: (_session, { verb }) => (verb === 'CONNECT' ? { ending: 'hang' } : undefined),
      });
      const result = await bench.send({ plan: implicit, here: true });
      assert.equal(failureOf(result), 'timeout');
    });

    test('shares no session with STARTTLS', async () => {
      await using bench = await start();
      const credentials = ANN;
      assert.ok(isAccepted(await bench.send({ plan: { credentials, requirement: ENFORCED } })));
      const other = await bench.send({ plan: { ...implicit, credentials } });
      assert.equal(failureOf(other), 'tls-handshake-failed');
    });
  });
}
