/**
 * What a server takes in one session and one transaction: LIMITS (RFC 9422) obeyed from the first
 * message on, and "too many recipients" (RFC 5321 §4.5.3.1.10) told apart from a refusal. Real
 * sockets, real TLS; here and in a session thread.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { SessionThreads } from '../../src/delivery/threads/session-threads.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import type { Script } from '../support/mx-script.ts';
import { SessionBench, type SessionBenchOptions } from '../support/session-bench.ts';

const threads = new SessionThreads(
  {
    connection: () => {},
    threadEnded: ({ error, stack }) => assert.fail(stack ?? error),
    nodeWarning: (warning) => assert.fail(warning),
  },
  { count: 1 },
);
after(() => threads.end());

const keywords = (limits: string, pipelining = true) => [
  ...(pipelining ? ['PIPELINING'] : []),
  'SIZE 52428800',
  limits,
];

/** Who was accepted, refused, left. */
function fates(result: SessionResult): { accepted: number[]; failed: number[]; left: number[] } {
  assert.equal(result.kind, 'transacted', JSON.stringify(result));
  if (result.kind !== 'transacted') throw new Error('unreachable');
  const of = (kind: string) =>
    [...result.recipients].flatMap(([index, reply]) => (reply.kind === kind ? [index] : []));
  return { accepted: of('accepted'), failed: of('failed'), left: [...(result.left ?? [])] };
}

/** Replies to the RCPTs of each transaction, in order; accepted beyond them. */
function rcptReplies(...replies: readonly (string | undefined)[]): Script {
  let asked = 0;
  return (_session, { verb }) => {
    if (verb === 'MAIL') asked = 0;
    return verb === 'RCPT' ? replies[asked++] : undefined;
  };
}

const TOO_MANY = '452 4.5.3 Too many recipients';

for (const [where, place] of [
  ['here', {}],
  ['in a thread of its own', { home: threads }],
] as const) {
  const start = (options: SessionBenchOptions = {}) => SessionBench.start({ ...options, ...place });

  describe(where, () => {
    for (const pipelining of [true, false]) {
      test(`RCPTMAX: no more are named, the others are left${pipelining ? '' : ', without PIPELINING'}`, async () => {
        await using bench = await start({ keywords: keywords('LIMITS RCPTMAX=3', pipelining) });
        const first = fates(await bench.send({ recipients: 7 }));
        assert.deepEqual(first, { accepted: [0, 1, 2], failed: [], left: [3, 4, 5, 6] });
        const second = await bench.send({ recipients: 7, only: [3, 4, 5, 6] });
        assert.deepEqual(fates(second), { accepted: [3, 4, 5], failed: [], left: [6] });
        assert.equal(second.facts.reused, true);
        const third = fates(await bench.send({ recipients: 7, only: [6] }));
        assert.deepEqual(third, { accepted: [6], failed: [], left: [] });
        assert.equal(bench.host.sessions.length, 1);
        assert.deepEqual(
          bench.host.messages.map(({ recipients }) => recipients.length),
          [3, 3, 1],
        );
      });
    }

    const cases: [string, (string | undefined)[], ReturnType<typeof fates>][] = [
      [
        '452 to the last ones',
        [undefined, undefined, TOO_MANY, TOO_MANY],
        { accepted: [0, 1], failed: [], left: [2, 3] },
      ],
      [
        '552, and no enhanced status',
        [undefined, '552 Too many recipients', '552 Too many recipients', '552 Too many'],
        { accepted: [0], failed: [], left: [1, 2, 3] },
      ],
      [
        'others refused among those accepted',
        ['550 5.1.1 gone', undefined, '450 4.2.1 busy', TOO_MANY],
        { accepted: [1], failed: [0, 2], left: [3] },
      ],
      [
        '452 with somebody accepted behind it: his own',
        [undefined, '452 Mailbox full', undefined, undefined],
        { accepted: [0, 2, 3], failed: [1], left: [] },
      ],
      [
        '452 for another reason',
        [undefined, undefined, undefined, '452 4.2.2 Mailbox full'],
        { accepted: [0, 1, 2], failed: [3], left: [] },
      ],
      [
        '552 for a full mailbox: his own',
        [undefined, undefined, undefined, '552 Mailbox full'],
        { accepted: [0, 1, 2], failed: [3], left: [] },
      ],
      [
        '452 to all: nobody to go on with',
        [TOO_MANY, TOO_MANY, TOO_MANY, TOO_MANY],
        { accepted: [], failed: [0, 1, 2, 3], left: [] },
      ],
    ];
    for (const [what, replies, expected] of cases) {
      test(`too many recipients: ${what}`, async () => {
        await using bench = await start({ script: rcptReplies(...replies) });
        assert.deepEqual(fates(await bench.send({ recipients: 4 })), expected);
      });
    }

    test('a session that breaks off leaves nobody for another transaction', async () => {
      await using bench = await start({
        script: (_session, { verb, argument }) =>
          verb === 'RCPT' && argument.includes('r2@') ? { ending: 'reset' } : undefined,
      });
      const { accepted, failed, left } = fates(await bench.send({ recipients: 4 }));
      assert.deepEqual([accepted, failed, left], [[], [0, 1, 2, 3], []]);
    });

    test('MAILMAX: a session has so many transactions, then QUIT', async () => {
      await using bench = await start({ keywords: keywords('LIMITS MAILMAX=2') });
      for (let i = 0; i < 5; i += 1) {
        assert.equal((await bench.send()).facts.reused ?? false, i % 2 === 1, `message ${i}`);
      }
      await bench.host.waitForSessions(2);
      assert.deepEqual(
        bench.host.sessions.map(({ messages }) => messages.length),
        [2, 2, 1],
      );
    });

    test('RCPTDOMAINMAX: a session is for so many domains', async () => {
      await using bench = await start({ keywords: keywords('LIMITS RCPTDOMAINMAX=2') });
      const to = (destination: string) => bench.send({ plan: { destination } });
      const reused: boolean[] = [];
      for (const destination of ['a.test', 'b.test', 'c.test', 'a.test', 'c.test']) {
        reused.push((await to(destination)).facts.reused ?? false);
      }
      assert.deepEqual(reused, [false, true, false, true, true]);
      assert.deepEqual(
        bench.host.sessions.map(({ messages }) => messages.length),
        [2, 3], // a, b; then c, a, c
      );
    });

    test('limits are those of the EHLO over TLS (RFC 3207 §4.2)', async () => {
      await using bench = await start({
        keywords: keywords('LIMITS RCPTMAX=1'),
        keywordsOverTls: keywords('LIMITS RCPTMAX=2'),
      });
      assert.deepEqual(fates(await bench.send({ recipients: 3 })).left, [2]);
    });
  });
}
