/**
 * Sessions that carry several messages: which plan may use which session, when one is kept, and
 * what happens when it is gone, where they run in this thread and where they run in one of their own.
 * Real sockets, real TLS.
 */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { after, describe, test } from 'node:test';
import type { SessionPlan } from '../../src/delivery/session.ts';
import { SessionThreads } from '../../src/delivery/threads/session-threads.ts';
import type { RecipientReply, SessionResult } from '../../src/mail/session-result.ts';
import type { TlsRequirement } from '../../src/mail/tls-requirement.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import type { MxSessionRecord, ScriptedReply } from '../support/mx-script.ts';
import {
  bodyOf,
  ENFORCED,
  PATIENCE_MS,
  SessionBench,
  type SessionBenchOptions,
} from '../support/session-bench.ts';
import { waitFor } from '../support/wait-for.ts';

const OPPORTUNISTIC: TlsRequirement = {
  level: 'opportunistic',
  minVersion: 'TLSv1.2',
  source: { kind: 'default' },
};

function replyTo(result: SessionResult, recipient = 0): RecipientReply | undefined {
  return result.kind === 'transacted' ? result.recipients.get(recipient) : undefined;
}

function assertAccepted(result: SessionResult, reused: boolean): void {
  assert.equal(replyTo(result)?.kind, 'accepted', JSON.stringify(result));
  assert.equal(result.facts.reused ?? false, reused);
}

function verbs(session: MxSessionRecord | undefined): string {
  return (session?.commands ?? []).map(({ verb }) => verb).join(' ');
}

const threads = new SessionThreads(
  {
    connection: () => {},
    threadEnded: ({ error, stack }) => assert.fail(stack ?? error),
    nodeWarning: (warning) => assert.fail(warning),
  },
  { count: 1 },
);
after(() => threads.end());

const PLACES = [
  ['here', {}],
  ['in a thread of its own', { home: threads }],
] as const;

for (const [where, place] of PLACES) {
  const start = (options: SessionBenchOptions = {}) => SessionBench.start({ ...options, ...place });

  describe(where, () => {
    describe('a session that carries many messages', () => {
      test('200 of them, each octet for octet, and nothing piles up', async () => {
        const warnings: Error[] = [];
        const onWarning = (warning: Error) => warnings.push(warning);
        process.on('warning', onWarning);
        await using bench = await start();
        const { signal } = new AbortController();
        for (let i = 0; i < 200; i += 1) assertAccepted(await bench.send({ signal }), i > 0);
        const { sessions, messages } = bench.host;
        process.off('warning', onWarning);
        assert.equal(sessions.length, 1);
        assert.deepEqual(sessions[0]?.violations, []);
        for (const [i, { data }] of messages.entries()) assert.deepEqual(data, bodyOf(i));
        assert.equal(messages.length, 200);
        assert.deepEqual(warnings, []);
      });

      test('has the facts of its handshake for each', async () => {
        await using bench = await start();
        const first = await bench.send();
        const second = await bench.send();
        assert.deepEqual(second.facts, { ...first.facts, reused: true });
        assert.equal(second.facts.tls?.verdict.verified, true);
        assert.match(second.facts.tls?.certSha256 ?? '', /^[0-9a-f]{64}$/);
      });

      test('takes bodies that are streams, and those larger than what a socket holds', async () => {
        await using bench = await start();
        const large = Buffer.from(`Subject: x\r\n\r\n${'.line\r\n'.repeat(60_000)}`);
        const parts = [large.subarray(0, 100_001), large.subarray(100_001)];
        await bench.send({ body: large });
        await bench.send({ body: () => Readable.from(parts), sizeBytes: large.length });
        await bench.send();
        const { messages, sessions } = bench.host;
        assert.equal(sessions.length, 1);
        assert.ok(messages[0]?.data.equals(large) && messages[1]?.data.equals(large));
        assert.equal(messages.length, 3);
      });
    });

    describe('a plan', () => {
      const { source } = ENFORCED;
      assert.ok(source.kind === 'mta-sts');
      const under = (over: Partial<typeof source>): Partial<SessionPlan> => ({
        requirement: { ...ENFORCED, source: { ...source, ...over } },
      });
      const others: readonly (readonly [what: string, over: Partial<SessionPlan>])[] = [
        ['another policy domain', under({ domain: 'other.test' as DomainName })],
        ['another policy id', under({ policyId: '2' })],
        ['another policy text', under({ policyText: `${source.policyText}mx: b.reuse.test\r\n` })],
        ['mode testing', under({ mode: 'testing' })],
        ['a host that is not listed', under({ listed: false })],
        ['no policy', { requirement: { ...ENFORCED, source: { kind: 'default' } } }],
        [
          'an override',
          { requirement: { ...ENFORCED, source: { kind: 'override', domain: 'x' } } },
        ],
        ['REQUIRETLS', { requirement: { ...ENFORCED, requireTls: 'preferred' } }],
        [
          'TLS-Required: No',
          {
            requirement: {
              ...ENFORCED,
              source: { kind: 'tls-required-no', instead: { kind: 'default' } },
            },
          },
        ],
        ['another level', { requirement: { ...ENFORCED, level: 'encrypt' } }],
        ['another version', { requirement: { ...ENFORCED, minVersion: 'TLSv1.3' } }],
        ['another way to TLS', { mode: 'small-hello' }],
      ];
      for (const [what, over] of others) {
        test(`with ${what} never uses the session, nor the other way round`, async () => {
          await using bench = await start();
          await bench.send();
          const { facts } = await bench.send({ plan: over });
          assert.equal(facts.reused, undefined);
          assert.equal(bench.host.sessions.length, 2);
          assertAccepted(await bench.send(), true);
          assertAccepted(await bench.send({ plan: over }), true);
          assert.deepEqual(
            bench.host.sessions.map(({ messages }) => messages.length),
            [2, 2],
          );
        });
      }

      test('with an equal requirement uses it, whose value and preference it is', async () => {
        await using bench = await start();
        await bench.send();
        const candidate = { ...bench.plan().candidate, preference: 99 };
        const requirement = structuredClone(ENFORCED);
        const { facts } = await bench.send({ plan: { candidate, requirement } });
        assert.equal(facts.reused, true);
        assert.equal(facts.candidate.preference, 99);
        assert.equal(bench.host.sessions.length, 1);
      });

      test('that tries TLS never uses a session in clear text', async () => {
        await using bench = await start();
        const requirement = OPPORTUNISTIC;
        assertAccepted(await bench.send({ plan: { requirement, mode: 'clear' } }), false);
        const { facts } = await bench.send({ plan: { requirement } });
        assert.ok(facts.tls && !facts.reused);
        assertAccepted(await bench.send({ plan: { requirement, mode: 'clear' } }), true);
      });

      test('learns why its session is in clear text', async () => {
        await using bench = await start({ startTls: 'off' });
        for (const reused of [false, true]) {
          const result = await bench.send({ plan: { requirement: OPPORTUNISTIC } });
          assertAccepted(result, reused);
          assert.equal(result.facts.clearTextBecause?.cause, 'starttls-not-offered');
        }
      });
    });

    describe('a session is kept', () => {
      type Case = readonly [what: string, kept: boolean, verb: string, answer: ScriptedReply];
      const cases: readonly Case[] = [
        ['after the message was refused for good', true, '.', '554 5.7.1 no'],
        ['after the message was refused for now', true, '.', '451 4.3.0 later'],
        ['after all recipients were refused', true, 'RCPT', '550 5.1.1 nobody'],
        ['not after MAIL was refused', false, 'MAIL', '451 4.3.0 later'],
        ['not after DATA was refused', false, 'DATA', '451 4.3.0 later'],
        ['not after a 2xx to DATA', false, 'DATA', '250 ok'],
        ['not after a 421', false, '.', '421 4.3.2 closing'],
        ['not when more was said than asked', false, '.', '250 ok\r\n250 and more'],
        ['not when a line was begun', false, '.', '250 ok\r\n25'],
        ['not after a reset', false, '.', { ending: 'reset' }],
      ];
      for (const keywords of [['PIPELINING'], []]) {
        for (const [what, kept, verb, answer] of cases) {
          test(`${what}${keywords.length > 0 ? '' : ', without PIPELINING'}`, async () => {
            let isFirst = true;
            await using bench = await start({
              keywords,
              script: (_session, command) => {
                if (command.verb !== verb || !isFirst) return undefined;
                isFirst = false;
                return answer;
              },
            });
            await bench.send();
            assertAccepted(await bench.send(), kept);
            const { sessions } = bench.host;
            assert.equal(sessions.length, kept ? 1 : 2);
            assert.equal(verbs(sessions[0]).includes('RSET'), verb === 'RCPT');
            assert.deepEqual(
              sessions.flatMap(({ violations }) => violations),
              [],
            );
          });
        }
      }

      test('not after RSET was refused', async () => {
        await using bench = await start({
          script: ({ number }, { verb }) =>
            number === 1 ? { RCPT: '550 5.1.1 nobody', RSET: '500 what' }[verb] : undefined,
        });
        assert.equal(replyTo(await bench.send())?.kind, 'failed');
        assertAccepted(await bench.send(), false);
      });

      test('when a message could not be read, with nothing said of it', async () => {
        await using bench = await start();
        await bench.send();
        const result = await bench.send({ body: bodyOf(1), sizeBytes: 1 });
        assert.ok(result.kind === 'ended-early' && result.failure.kind === 'local');
        assert.equal(result.failure.cause, 'spool-unreadable');
        assertAccepted(await bench.send(), true);
        assert.equal(verbs(bench.host.sessions[0]).match(/MAIL/g)?.length, 2);
      });

      for (const [when, octets] of [
        ['at once', 100],
        ['within the content', 500_000],
      ] as const) {
        test(`not when a stream breaks off ${when}`, async () => {
          await using bench = await start();
          await bench.send();
          const short = () => Readable.from([Buffer.from('line\r\n'.repeat(octets / 5))]);
          const result = await bench.send({ body: short, sizeBytes: 1_000_000 });
          const reply = replyTo(result);
          const failure = result.kind === 'ended-early' ? result.failure : reply;
          assert.match(JSON.stringify(failure), /spool-unreadable/);
          assertAccepted(await bench.send(), false);
          assert.equal(bench.host.received.length, 2);
        });
      }
    });

    describe('a session that turns out to have ended', () => {
      type Ending = readonly [what: string, answer: ScriptedReply];
      const endings: readonly Ending[] = [
        ['was reset', { ending: 'reset' }],
        ['was closed', { ending: 'close' }],
        ['is closed with 421', { reply: '421 4.3.2 closing', ending: 'close' }],
      ];
      for (const keywords of [['PIPELINING'], []]) {
        for (const [what, answer] of endings) {
          test(`${what}: the message goes over a new one (${keywords[0] ?? 'one command at a time'})`, async () => {
            await using bench = await start({
              keywords,
              script: ({ number, messages }, { verb }) =>
                number === 1 && verb === 'MAIL' && messages.length > 0 ? answer : undefined,
            });
            await bench.send();
            assertAccepted(await bench.send(), false);
            assertAccepted(await bench.send(), true);
            assert.deepEqual(
              bench.host.sessions.map(({ messages }) => messages.length),
              [1, 2],
            );
          });
        }
      }

      test('once: what the new one says counts', async () => {
        await using bench = await start();
        await Promise.all([bench.send(), bench.send(), bench.send()]);
        assert.equal(bench.host.sessions.length, 3);
        bench.host.change({
          script: (_session, { verb }) => (verb === 'MAIL' ? '421 4.3.2 closing' : undefined),
        });
        const result = await bench.send();
        assert.ok(result.kind === 'ended-early' && result.failure.kind === 'reply');
        assert.equal(result.failure.reply.code, 421);
        assert.equal(result.facts.reused, undefined);
        assert.equal(bench.host.sessions.length, 4);
      });

      test('that cannot be replaced is the failure of the new one', async () => {
        await using bench = await start({
          script: ({ messages }, { verb }) =>
            verb === 'MAIL' && messages.length > 0 ? { ending: 'reset' } : undefined,
        });
        await bench.send();
        bench.host.change({ startTls: 'off' });
        const result = await bench.send();
        assert.ok(result.kind === 'ended-early' && result.failure.kind === 'local');
        assert.equal(result.failure.cause, 'starttls-not-offered');
      });

      const late: readonly (readonly [when: string, verb: string, cause: string])[] = [
        ['after RCPT', 'RCPT', 'connection-lost'],
        ['after the content', '.', 'connection-lost-after-data'],
      ];
      for (const [when, verb, cause] of late) {
        test(`${when} is not replaced`, async () => {
          await using bench = await start({
            keywords: [],
            script: (session, command) =>
              command.verb === verb && session.messages.length === (verb === '.' ? 2 : 1)
                ? { ending: 'reset' }
                : undefined,
          });
          await bench.send();
          const reply = replyTo(await bench.send());
          assert.ok(
            reply?.kind === 'failed' && reply.failure.kind === 'local',
            JSON.stringify(reply),
          );
          assert.equal(reply.failure.cause, cause);
          assert.equal(bench.host.sessions.length, 1);
        });
      }

      test('within the content is not replaced', async () => {
        await using bench = await start();
        await bench.send();
        bench.host.change({ duringContent: { afterOctets: 100_000, ending: 'reset' } });
        const body = Buffer.from(`Subject: x\r\n\r\n${'line\r\n'.repeat(1_000_000)}`);
        const reply = replyTo(await bench.send({ body }));
        assert.ok(reply?.kind === 'failed' && reply.failure.kind === 'local');
        assert.match(reply.failure.cause, /^connection-lost/);
        assert.equal(bench.host.sessions.length, 1);
      });
    });
  });
}

describe('a session', () => {
  test('is left with QUIT after as many as the limit says', async () => {
    await using bench = await SessionBench.start();
    bench.limits = { messagesPerConnection: 3, idleMs: 600_000 };
    for (let i = 0; i < 7; i += 1) assertAccepted(await bench.send(), i % 3 !== 0);
    const ended = await bench.host.waitForSessions(2);
    assert.deepEqual(
      bench.host.sessions.map(({ messages }) => messages.length),
      [3, 3, 1],
    );
    for (const session of ended) assert.match(verbs(session), /QUIT$/);
  });

  test('is left with QUIT when it was idle for long enough', async () => {
    await using bench = await SessionBench.start();
    bench.limits = { messagesPerConnection: 1000, idleMs: 5000 };
    await bench.send();
    bench.clock.advance(4999);
    assert.equal(bench.pool.size, 1);
    bench.clock.advance(1);
    assert.equal(bench.pool.size, 0);
    const [session] = await bench.host.waitForSessions(1);
    assert.match(verbs(session), /QUIT$/);
    assertAccepted(await bench.send(), false);
  });

  test('is not kept at all where idle is 0', async () => {
    await using bench = await SessionBench.start();
    bench.limits = { messagesPerConnection: 1000, idleMs: 0 };
    await bench.send();
    await bench.host.waitForSessions(1);
    assertAccepted(await bench.send(), false);
  });

  test('is left after some minutes, however busy it is', async () => {
    await using bench = await SessionBench.start();
    await bench.send();
    bench.clock.advance(299_999);
    assertAccepted(await bench.send(), true);
    bench.clock.advance(1);
    assertAccepted(await bench.send(), false);
  });

  test('is left when its certificate has expired meanwhile', async () => {
    await using bench = await SessionBench.start({ validForMs: 120_000 });
    await bench.send();
    bench.clock.advance(60_000);
    assertAccepted(await bench.send(), true);
    bench.clock.advance(60_000);
    assertAccepted(await bench.send(), false);
    assert.equal(bench.host.sessions.length, 2);
  });

  test('carries no other message before the outcome of the last one is on disk', async () => {
    await using bench = await SessionBench.start();
    const record = Promise.withResolvers<void>();
    await bench.send({ recorded: record.promise });
    assertAccepted(await bench.send(), false);
    record.reject(new Error('no room')); // whatever became of it
    await waitFor('both sessions', () => bench.pool.size === 2);
    assertAccepted(await bench.send(), true);
  });
});

describe('a plan', () => {
  test('with another host name, local address or name of ours never uses the session', async () => {
    await using bench = await SessionBench.start();
    await bench.send();
    const candidate = { ...bench.plan().candidate, host: 'mx2.reuse.test' as DomainName };
    const wrong = await bench.send({ plan: { candidate } });
    assert.equal(wrong.kind, 'ended-early'); // its name is not in the certificate
    const { parts } = bench;
    bench.parts = { ...parts, heloName: 'other.example' };
    assertAccepted(await bench.send(), false);
    bench.parts = { ...parts, localAddressFor: () => '127.0.0.1' };
    assertAccepted(await bench.send(), false);
    bench.parts = parts;
    assertAccepted(await bench.send(), true);
  });
});

describe('an idle session is gone', () => {
  test('when the host closes it', async () => {
    await using bench = await SessionBench.start();
    await bench.send();
    assert.equal(bench.pool.size, 1);
    bench.host.cut();
    await waitFor('an empty pool', () => bench.pool.size === 0);
    assertAccepted(await bench.send(), false);
  });

  for (const words of ['421 4.3.2 closing\r\n', '250 hello\r\n', 'x']) {
    test(`when the host says ${words.trim()}`, async () => {
      await using bench = await SessionBench.start({ startTls: 'off' });
      const plan = { requirement: OPPORTUNISTIC };
      await bench.send({ plan });
      assert.equal(bench.pool.size, 1);
      bench.host.say(words);
      await waitFor('an empty pool', () => bench.pool.size === 0);
      assertAccepted(await bench.send({ plan }), false);
    });
  }
});

describe('time', () => {
  for (const [when, verb] of [
    ['to MAIL', 'MAIL'],
    ['to the end of the message', '.'],
  ] as const) {
    test(`each reply over a used session has its own (${when})`, async () => {
      await using bench = await SessionBench.start({ keywords: [] });
      const { parts, host } = bench;
      // All others have the time that a busy machine needs.
      let isUsed = false;
      const patience = (of: string) =>
        isUsed && of === verb && host.sessions.length === 1 ? 100 : PATIENCE_MS;
      const timeouts = {
        ...parts.timeouts,
        get mail() {
          return patience('MAIL');
        },
        get dataDone() {
          return patience('.');
        },
      };
      bench.parts = { ...parts, timeouts };
      await bench.send();
      isUsed = true;
      bench.host.change({
        script: ({ number }, command) =>
          command.verb === verb && number === 1 ? { ending: 'hang' } : undefined,
      });
      const result = await bench.send();
      // Nothing was said to MAIL: the message goes over a new session.
      if (verb === 'MAIL') return assertAccepted(result, false);
      const reply = replyTo(result);
      assert.ok(reply?.kind === 'failed' && reply.failure.kind === 'local');
      assert.equal(reply.failure.cause, 'connection-lost-after-data');
      assert.equal(bench.pool.size, 0);
    });
  }

  test('an attempt that is aborted ends the used session, and opens no other', async () => {
    await using bench = await SessionBench.start();
    await bench.send();
    const ending = new AbortController();
    bench.host.change({
      script: (_session, { verb }) => {
        if (verb !== 'MAIL') return undefined;
        ending.abort();
        return { ending: 'hang' };
      },
    });
    const result = await bench.send({ signal: ending.signal });
    assert.ok(result.kind === 'ended-early' && result.failure.kind === 'local');
    assert.equal(result.failure.cause, 'timeout');
    assert.equal(bench.host.sessions.length, 1);
    assert.equal(bench.pool.size, 0);
  });

  test('an attempt that is over leaves the session alone', async () => {
    await using bench = await SessionBench.start();
    const first = new AbortController();
    await bench.send({ signal: first.signal });
    first.abort();
    assertAccepted(await bench.send(), true);
  });
});

describe('the pool', () => {
  test('leaves all idle sessions with QUIT when it is closed, and every other after its message', async () => {
    await using bench = await SessionBench.start();
    const record = Promise.withResolvers<void>();
    await Promise.all([bench.send(), bench.send(), bench.send({ recorded: record.promise })]);
    assert.equal(bench.pool.size, 2);
    await bench.pool.close();
    assert.equal(bench.pool.size, 0);
    await bench.host.waitForSessions(2);
    record.resolve();
    const sessions = await bench.host.waitForSessions(3);
    assertAccepted(await bench.send(), false);
    await bench.host.waitForSessions(4);
    for (const session of sessions) assert.match(verbs(session), /QUIT$/);
  });

  test('does not wait for a host that answers nothing', async () => {
    await using bench = await SessionBench.start({
      script: (_session, { verb }) => (verb === 'QUIT' ? { ending: 'hang' } : undefined),
    });
    await bench.send();
    await bench.pool.close();
    assert.equal(bench.pool.size, 0);
  });

  test('gives the session used last, so that the others come to their end', async () => {
    await using bench = await SessionBench.start();
    await Promise.all([bench.send(), bench.send()]);
    for (let i = 0; i < 4; i += 1) assertAccepted(await bench.send(), true);
    const counts = bench.host.sessions.map(({ messages }) => messages.length);
    assert.deepEqual([...counts].sort(), [1, 5]);
  });
});
