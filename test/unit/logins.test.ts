/**
 * Passwords of smart hosts: read from their files when they are needed, told about when they cannot
 * be, and not offered again at once when they were refused.
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { createLoginReader, type LoginEvents, pauseLogins } from '../../src/delivery/logins.ts';
import type { Consignment, SessionPlan } from '../../src/delivery/session.ts';
import { type Failure, localFailure } from '../../src/mail/failure.ts';
import type { Route } from '../../src/mail/route.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import { createSecretFiles } from '../../src/platform/secret-file.ts';
import { parseReply } from '../../src/protocol/smtp/reply.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/temp-dir.ts';
import { domain } from './policy-parts.ts';

type Told = Parameters<LoginEvents['loginFailed']>[0];

describe('a secret in a file', () => {
  const good: readonly (readonly [string, string])[] = [
    ['secret\n', 'secret'],
    ['secret\r\n', 'secret'],
    ['secret', 'secret'],
    ['  with blanks  \n', '  with blanks  '],
    ['wört', 'wört'],
  ];
  const bad: readonly (readonly [string, RegExp])[] = [
    ['', /is empty/],
    ['\n', /is empty/],
    ['one\ntwo\n', /more than one line/],
    ['one\n\n', /more than one line/],
    ['nul\0', /more than one line/],
    ['x'.repeat(4097), /larger than 4096/],
  ];
  for (const [text, secret] of good) {
    test(`${JSON.stringify(text)} is read`, async () => {
      using dir = tempDir();
      writeFileSync(dir.file('p'), text);
      assert.deepEqual(await createSecretFiles()(dir.file('p')), { kind: 'found', secret });
    });
  }
  for (const [text, reason] of bad) {
    test(`${JSON.stringify(text.slice(0, 10))} is refused, and not shown`, async () => {
      using dir = tempDir();
      writeFileSync(dir.file('p'), text);
      const read = await createSecretFiles()(dir.file('p'));
      assert.match(read.kind === 'failed' ? read.reason : '', reason);
      assert.doesNotMatch(JSON.stringify(read), /one.*two|xxxx/);
    });
  }

  test('is read again when it changed, and is gone when the file is', async () => {
    using dir = tempDir();
    const read = createSecretFiles();
    const path = dir.file('p');
    for (const secret of ['first', 'second, longer']) {
      writeFileSync(path, secret);
      assert.deepEqual(await read(path), { kind: 'found', secret });
      assert.deepEqual(await read(path), { kind: 'found', secret });
    }
    mkdirSync(dir.file('directory'));
    assert.equal((await read(dir.file('directory'))).kind, 'failed');
    assert.deepEqual(await read(dir.file('nothing')), {
      kind: 'failed',
      reason: `${dir.file('nothing')} cannot be read (ENOENT)`,
    });
  });
});

test('credentials of a route: none, read, or missing, which is told once a minute', async () => {
  using dir = tempDir();
  const clock = new FakeClock(0);
  const told: Told[] = [];
  const read = createLoginReader({ clock, events: { loginFailed: (one) => told.push(one) } });
  const route = (login?: { user: string; passwordFile: string }) =>
    ({ smartHost: { implicitTls: false, ...(login && { login }) } }) as Route;
  assert.deepEqual(await read({} as Route), { kind: 'none' });
  assert.deepEqual(await read(route()), { kind: 'none' });
  const passwordFile = dir.file('p');
  for (const atMs of [0, 59_999, 60_000]) {
    clock.advance(atMs - clock.now());
    const failed = await read(route({ user: 'ann', passwordFile }));
    assert.equal(failed.kind === 'failed' ? failed.failure.cause : '', 'auth-not-possible');
  }
  assert.equal(told.length, 2);
  writeFileSync(passwordFile, 'secret');
  const credentials = { user: 'ann', password: 'secret' };
  assert.deepEqual(await read(route({ user: 'ann', passwordFile })), {
    kind: 'found',
    credentials,
  });
});

describe('a login that failed', () => {
  const reply = (raw: string): Failure => {
    const parsed = parseReply(raw);
    assert.ok(parsed);
    return { kind: 'reply', stage: 'auth', reply: parsed };
  };
  const candidate = {
    host: domain('smart.test'),
    preference: 0,
    port: 587,
    trusted: true,
  } as const;
  const requirement = {
    level: 'encrypt',
    minVersion: 'TLSv1.2',
    source: { kind: 'default' },
  } as const;
  const plan = (change: Partial<SessionPlan> = {}): SessionPlan => ({
    ...{ destination: 'a.test', candidate, address: '192.0.2.1', requirement, mode: 'full' },
    credentials: { user: 'ann', password: 'secret' },
    ...change,
  });

  function bench(failure: Failure) {
    const clock = new FakeClock(0);
    const told: Told[] = [];
    const ran: SessionPlan[] = [];
    const run = pauseLogins(
      { clock, events: { loginFailed: (one) => told.push(one) } },
      async (one): Promise<SessionResult> => {
        ran.push(one);
        const { address, requirement: asked } = one;
        const facts = {
          candidate,
          address,
          localAddress: undefined,
          requirement: asked,
          tls: undefined,
        };
        return { kind: 'ended-early', facts, failure };
      },
    );
    const go = async (change?: Partial<SessionPlan>) => {
      const result = await run(plan(change), {} as Consignment, new AbortController().signal);
      return result.kind === 'ended-early' ? result.failure : undefined;
    };
    return { clock, told, ran, go };
  }

  test('for good rests for a minute: at this host, for these credentials', async () => {
    const { clock, told, ran, go } = bench(reply('535 5.7.8 no'));
    assert.deepEqual(await go(), reply('535 5.7.8 no'));
    const paused = await go({ destination: 'b.test', address: '192.0.2.2' });
    assert.ok(paused?.kind === 'local' && paused.cause === 'auth-paused');
    assert.match(paused.detail, /535 5\.7\.8 no/);
    assert.equal(ran.length, 1);
    await go({ credentials: { user: 'ann', password: 'changed' } });
    await go({ candidate: { ...candidate, host: domain('other.test') } });
    assert.equal(ran.length, 3);
    clock.advance(60_000);
    await go();
    assert.equal(ran.length, 4);
    assert.equal(told.length, 4);
    assert.doesNotMatch(JSON.stringify([told, paused]), /secret|changed/);
  });

  for (const [what, failure] of [
    ['for now (454)', reply('454 4.7.0 later')],
    ['with the connection', localFailure('connection-lost', 'x')],
  ] as const) {
    test(`${what} is tried again like anything else`, async () => {
      const { told, ran, go } = bench(failure);
      for (let i = 0; i < 3; i += 1) assert.deepEqual(await go(), failure);
      assert.deepEqual([ran.length, told.length], [3, 0]);
    });
  }

  test('is nothing that hosts of strangers can bring about', async () => {
    const { told, ran, go } = bench(reply('535 5.7.8 no'));
    const { trusted: _, ...stranger } = candidate;
    for (let i = 0; i < 2; i += 1) await go({ candidate: stranger });
    assert.deepEqual([ran.length, told.length], [2, 0]);
  });
});
