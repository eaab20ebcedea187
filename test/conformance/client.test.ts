/**
 * RFC 5321, 1870, 2920, 6152, 6531 and 8314 as an SMTP client has to obey them: the relay's own sessions
 * with scripted hosts that note every breach. One test a requirement of docs/conformance.md.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { settingsFrom } from '../../src/config/load.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import type { TlsRequirement } from '../../src/mail/tls-requirement.ts';
import { classify } from '../../src/outcome/classify.ts';
import type { Script } from '../support/mx-script.ts';
import { ENFORCED, SessionBench, type SessionBenchOptions } from '../support/session-bench.ts';

const CLEAR: TlsRequirement = { ...ENFORCED, level: 'none', source: { kind: 'default' } };
const MINUTE = 60_000;

const onVerb =
  (verb: string, reply: string): Script =>
  (_session, command) =>
    command.verb === verb ? reply : undefined;

/** `accepted`, or what the failure means, by recipient; of the host where it ended before. */
function fates(result: SessionResult): string[] {
  if (result.kind === 'ended-early') return [`all ${meaning(result.failure)}`];
  return [...result.recipients.values()].map((reply) =>
    reply.kind === 'accepted' ? 'accepted' : meaning(reply.failure),
  );
}

function meaning(failure: Parameters<typeof classify>[0]): string {
  const { permanent, tryNextHost, status } = classify(failure);
  return `${permanent ? 'bounced' : 'deferred'} ${status}${tryNextHost ? ', next host' : ''}`;
}

/** A bench whose host must have nothing to complain of at the end. */
async function withHost(
  options: SessionBenchOptions,
  work: (bench: SessionBench) => Promise<void>,
): Promise<void> {
  await using bench = await SessionBench.start(options);
  await work(bench);
  assert.deepEqual(
    bench.host.sessions.flatMap(({ violations }) => violations),
    [],
  );
}

const linesOf = ({ host }: SessionBench) =>
  host.sessions.flatMap(({ commands }) => commands.map(({ line }) => line));

describe('time', () => {
  const { timeouts } = settingsFrom({}).outbound;
  const least: readonly (readonly [string, number, number])[] = [
    ['R201 the greeting has five minutes', timeouts.greeting, 5],
    ['R202 MAIL has five minutes', timeouts.mail, 5],
    ['R203 RCPT has five minutes', timeouts.rcpt, 5],
    ['R204 DATA has two minutes', timeouts.dataInit, 2],
    ['R205 each piece of the content has three minutes', timeouts.dataBlock, 3],
    ['R206 the end of the content has ten minutes', timeouts.dataDone, 10],
  ];
  test('R201 R202 R203 R204 R205 R206 the defaults are what the standard asks for', () => {
    for (const [what, ms, minutes] of least) assert.ok(ms >= minutes * MINUTE, what);
  });

  test('R200 each command has its own, from the configuration', async () => {
    for (const [verb, key] of [
      ['CONNECT', 'greeting'],
      ['EHLO', 'helo'],
      ['RCPT', 'rcpt'],
      ['DATA', 'dataInit'],
      ['.', 'dataDone'],
    ] as const) {
      const script: Script = (_session, { verb: now }) =>
        now === verb ? { ending: 'hang' } : undefined;
      await using bench = await SessionBench.start({ keywords: [], script });
      bench.parts = { ...bench.parts, timeouts: { ...bench.parts.timeouts, [key]: 150 } };
      const [fate] = fates(await bench.send());
      assert.match(fate ?? '', /deferred 4\.4\.2/, verb);
    }
  });
});

describe('replies', () => {
  test('R212 R213 R218 each recipient has what was said about him', () =>
    withHost(
      {
        script: (_session, { argument }) => {
          if (argument.includes('r1@')) return '450 4.2.1 Busy';
          return argument.includes('r2@') ? '550 5.1.1 Nobody' : undefined;
        },
      },
      async (bench) => {
        const result = await bench.send({ recipients: 4 });
        assert.deepEqual(fates(result), [
          'accepted',
          'deferred 4.2.1',
          'bounced 5.1.1',
          'accepted',
        ]);
        assert.equal(bench.host.messages[0]?.recipients.length, 2);
      },
    ));

  test('R213 R300 a 5yz to MAIL, DATA or the end is for all; a 4yz is for now', async () => {
    for (const [verb, reply, expected] of [
      ['MAIL', '552 5.3.4 Too large', 'all bounced 5.3.4'],
      ['MAIL', '452 4.3.1 No room', 'all deferred 4.3.1, next host'],
      ['DATA', '554 5.6.0 No', 'bounced 5.6.0'],
      ['DATA', '451 4.3.0 Later', 'deferred 4.3.0'],
      ['.', '552 5.3.4 Too large', 'bounced 5.3.4'],
      ['.', '452 4.3.1 No room', 'deferred 4.3.1'],
    ] as const) {
      await withHost({ script: onVerb(verb, reply) }, async (bench) => {
        assert.deepEqual(fates(await bench.send()), [expected], `${reply} to ${verb}`);
      });
    }
  });

  test('R214 a 421 at any point ends the session, and nothing is final', async () => {
    for (const verb of ['CONNECT', 'EHLO', 'MAIL', 'RCPT', 'DATA', '.']) {
      const script: Script = (_session, { verb: now }) =>
        now === verb ? { reply: '421 4.3.2 Going down', ending: 'close' } : undefined;
      await withHost({ script }, async (bench) => {
        const all = fates(await bench.send({ recipients: 2 }));
        for (const fate of all) assert.match(fate, /deferred 4/, verb);
        assert.equal(bench.host.messages.length, 0);
      });
    }
  });

  test('R215 a 554 greeting is about the host: the next one is tried', async () => {
    await using bench = await SessionBench.start({
      script: onVerb('CONNECT', '554 5.3.2 No mail'),
    });
    const plan = { requirement: CLEAR, mode: 'clear' } as const;
    assert.deepEqual(fates(await bench.send({ plan })), ['all bounced 5.3.2, next host']);
  });

  test('R216 R217 the first digit decides; many lines, and none behind the code', async () => {
    for (const [reply, expected] of [
      ['299 Taken, in a way', 'accepted'],
      ['250-2.0.0 One\r\n250-2.0.0 two\r\n250 2.0.0 three', 'accepted'],
      ['250', 'accepted'],
      ['499 Perhaps', 'deferred 4.0.0'],
      ['599 Never', 'bounced 5.0.0'],
    ] as const) {
      await withHost({ script: onVerb('.', reply) }, async (bench) => {
        assert.deepEqual(fates(await bench.send()), [expected], reply);
      });
    }
  });

  test('R220 no reply to the end of the message: not delivered', () =>
    withHost(
      { script: (_session, { verb }) => (verb === '.' ? { ending: 'reset' } : undefined) },
      async (bench) => assert.deepEqual(fates(await bench.send()), ['deferred 4.4.2']),
    ));
});

describe('the conversation', () => {
  test('R221 EHLO first, HELO only when that is refused', () =>
    withHost({ script: onVerb('EHLO', '502 5.5.1 What?'), startTls: 'off' }, async (bench) => {
      const plan = { requirement: CLEAR, mode: 'clear' } as const;
      assert.deepEqual(fates(await bench.send({ plan })), ['accepted']);
      const verbs = linesOf(bench).map((line) => line.split(' ')[0]);
      assert.deepEqual(verbs.slice(0, 4), ['EHLO', 'HELO', 'MAIL', 'RCPT']);
      assert.ok(linesOf(bench)[0]?.endsWith(' relay.example'));
    }));

  test('R222 QUIT comes before the end of the connection', () =>
    withHost({}, async (bench) => {
      await bench.send();
      await bench.pool.close();
      const [session] = await bench.host.waitForSessions(1);
      assert.equal(session?.commands.at(-1)?.verb, 'QUIT');
    }));

  test('R223 RSET comes between a transaction that came to nothing and the next', () => {
    let first = true;
    const script: Script = (_session, { verb }) => {
      const isFirst = first && verb === 'RCPT';
      if (isFirst) first = false;
      return isFirst ? '550 5.1.1 Nobody' : undefined;
    };
    return withHost({ script }, async (bench) => {
      assert.deepEqual(fates(await bench.send()), ['bounced 5.1.1']);
      assert.deepEqual(fates(await bench.send()), ['accepted']);
      assert.equal(bench.host.sessions.length, 1);
      assert.ok(linesOf(bench).includes('RSET'));
    });
  });

  test('R293 R303 nothing that was not offered: no group of commands, no parameter', () =>
    withHost({ keywords: [] }, async (bench) => {
      const envelope = {
        recipients: [{ address: 'r0@reuse.test', notify: ['NEVER' as const], orcpt: 'rfc822;x@y' }],
        ret: 'HDRS' as const,
        envid: 'E1',
      };
      assert.deepEqual(fates(await bench.send({ envelope })), ['accepted']);
    }));

  test('R295 R296 every reply is read: 354 without a recipient gets an empty message', () =>
    withHost(
      {
        script: (_session, { verb }) => {
          if (verb === 'RCPT') return '550 5.1.1 Nobody';
          return verb === 'DATA' ? '354 Go ahead' : undefined;
        },
      },
      async (bench) => {
        assert.deepEqual(fates(await bench.send({ recipients: 2 })), [
          'bounced 5.1.1',
          'bounced 5.1.1',
        ]);
        for (const { data } of bench.host.received) assert.equal(data.length, 0);
      },
    ));
});

describe('extensions', () => {
  test('R298 SIZE goes with MAIL where it is offered', () =>
    withHost({ keywords: ['SIZE 1000'] }, async (bench) => {
      const body = Buffer.from('Subject: x\r\n\r\n.x\r\n');
      await bench.send({ body });
      assert.ok(linesOf(bench).some((line) => line.endsWith(` SIZE=${body.length}`)));
    }));

  test('R299 a message larger than that is not attempted; 0, or no number, is no limit', async () => {
    for (const [keyword, expected] of [
      ['SIZE 10', 'all bounced 5.3.4, next host'],
      ['SIZE 0', 'accepted'],
      ['SIZE', 'accepted'],
    ] as const) {
      await withHost({ keywords: [keyword] }, async (bench) => {
        assert.deepEqual(fates(await bench.send()), [expected], keyword);
        const isTold = linesOf(bench).some((line) => line.startsWith('MAIL'));
        assert.equal(isTold, expected === 'accepted');
      });
    }
  });

  const eightBit = {
    envelope: { eightBitMime: true },
    body: Buffer.from('Subject: x\r\n\r\nü\r\n'),
  };

  test('R301 8bit content goes with BODY=8BITMIME', () =>
    withHost({ keywords: ['8BITMIME'] }, async (bench) => {
      assert.deepEqual(fates(await bench.send(eightBit)), ['accepted']);
      assert.ok(linesOf(bench).some((line) => / BODY=8BITMIME( |$)/.test(line)));
    }));

  test('R302 and to nobody who does not offer it', () =>
    withHost({ keywords: ['PIPELINING'] }, async (bench) => {
      assert.deepEqual(fates(await bench.send(eightBit)), ['all bounced 5.6.3, next host']);
      assert.equal(bench.host.received.length, 0);
    }));

  test('R302 ASCII goes anywhere, whatever its client declared', () =>
    withHost({ keywords: ['PIPELINING'] }, async (bench) => {
      const envelope = { eightBitMime: true, smtpUtf8: true, sevenBit: true } as const;
      assert.deepEqual(fates(await bench.send({ envelope })), ['accepted']);
      assert.ok(!linesOf(bench).some((line) => /8BITMIME|SMTPUTF8/.test(line)));
    }));

  const utf8 = {
    envelope: {
      smtpUtf8: true,
      reversePath: 'jürgen@sender.example',
      recipients: [{ address: 'ü@reuse.test' }],
    },
  };

  test('R275 a message that needs SMTPUTF8 says so', () =>
    withHost({ keywords: ['SMTPUTF8', '8BITMIME'] }, async (bench) => {
      assert.deepEqual(fates(await bench.send(utf8)), ['accepted']);
      const mail = linesOf(bench).find((line) => line.startsWith('MAIL'));
      assert.match(mail ?? '', /^MAIL FROM:<jürgen@sender\.example>.* SMTPUTF8$/);
    }));

  test('R274 R277 and goes to nobody who does not offer it: 5.6.7 when no host does', () =>
    withHost({ keywords: ['8BITMIME'] }, async (bench) => {
      assert.deepEqual(fates(await bench.send(utf8)), ['all bounced 5.6.7, next host']);
      assert.ok(!linesOf(bench).some((line) => line.startsWith('MAIL')));
    }));

  test('R275 R278 nor for an address whose domain alone is international', () =>
    withHost({ keywords: ['SMTPUTF8', '8BITMIME'] }, async (bench) => {
      const reversePath = 'ann@bücher.example';
      const envelope = { smtpUtf8: true, sevenBit: true, reversePath } as const;
      assert.deepEqual(fates(await bench.send({ envelope })), ['accepted']);
      const mail = linesOf(bench).find((line) => line.startsWith('MAIL'));
      assert.match(mail ?? '', /^MAIL FROM:<ann@xn--bcher-kva\.example>(?! .*SMTPUTF8)/);
    }));

  test('R274 R277 ASCII content does not make up for an address that is not, nor the other way round', () =>
    withHost({ keywords: ['8BITMIME'] }, async (bench) => {
      const bounced = ['all bounced 5.6.7, next host'];
      const ofUtf8 = { ...utf8.envelope, sevenBit: true } as const;
      assert.deepEqual(fates(await bench.send({ envelope: ofUtf8 })), bounced);
      const { recipients: _, ...sender } = ofUtf8;
      assert.deepEqual(fates(await bench.send({ envelope: sender })), bounced);
      const ofContent = await bench.send({ envelope: { smtpUtf8: true } });
      assert.deepEqual(fates(ofContent), ['all bounced 5.6.9, next host']);
    }));

  test('R277 an address that needs it does not keep the message from the others', () =>
    withHost({ keywords: ['8BITMIME'] }, async (bench) => {
      const addresses = ['ü@reuse.test', 'ann@reuse.test', 'ö@reuse.test', 'bob@reuse.test'];
      const recipients = addresses.map((address) => ({ address }));
      const envelope = { smtpUtf8: true, sevenBit: true, recipients } as const;
      const result = await bench.send({ envelope, recipients: addresses.length });
      assert.equal(result.kind, 'transacted', JSON.stringify(result));
      if (result.kind !== 'transacted') return;
      assert.deepEqual(
        [[...result.recipients.keys()], result.left],
        [
          [1, 3],
          [0, 2],
        ],
      );
      const named = bench.host.received.map((message) =>
        message.recipients.map((to) => to.address),
      );
      assert.deepEqual(named, [['ann@reuse.test', 'bob@reuse.test']]);
    }));

  test('R275 no SMTPUTF8 where it is not needed', () =>
    withHost({}, async (bench) => {
      await bench.send();
      assert.ok(!linesOf(bench).some((line) => line.includes('SMTPUTF8')));
    }));
});
