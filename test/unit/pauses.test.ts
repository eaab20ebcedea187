/** Pauses on disk: what holds after a restart, what is over by itself, what the API says of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AuditLog } from '../../src/admin/audit.ts';
import { Domains } from '../../src/admin/domains.ts';
import { Pauses } from '../../src/queue/pauses.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/temp-dir.ts';
import { domain } from './policy-parts.ts';

const HOUR_MS = 3_600_000;

test('a pause is kept over a restart, and over when its time is', async () => {
  using dir = tempDir();
  const clock = new FakeClock();
  const told: string[] = [];
  const open = () =>
    Pauses.open({
      file: dir.file('pauses.json'),
      clock,
      events: {
        pauseOver: (name) => void told.push(`over ${name}`),
        pausesUnreadable: (_file, reason) => void told.push(reason),
      },
      onOver: (name) => void told.push(`supply ${name}`),
    });
  const before = await open();
  const pausedAt = clock.now();
  const a = { domain: domain('a.example'), reason: 'moving', pausedAt };
  const b = { ...a, domain: domain('b.example'), expires: pausedAt + HOUR_MS };
  assert.equal(await before.put(b), 'added');
  assert.equal(await before.put(a), 'added');
  await before.close();

  const after = await open();
  assert.deepEqual(after.list(), [a, b]);
  assert.equal(after.of('b.example')?.reason, 'moving');
  clock.advance(HOUR_MS - 1);
  assert.deepEqual(told, []);
  clock.advance(1);
  assert.deepEqual(told, ['over b.example', 'supply b.example'], 'to the moment');
  assert.equal(after.of('b.example'), undefined);
  assert.equal(after.of('a.example')?.domain, 'a.example');
  await after.remove(domain('a.example'));
  await after.close();
  const last = await open();
  assert.deepEqual(last.list(), []);
  await last.close();
});

test('each change is in the audit log, and a resumed destination is told of', async () => {
  using dir = tempDir();
  const clock = new FakeClock();
  const audit = await AuditLog.open(dir.file('audit.log'), clock);
  const resumed: string[] = [];
  const events = { pauseOver: () => {}, pausesUnreadable: () => {} };
  const parts = { file: dir.file('pauses.json'), clock, events, onOver: () => {} };
  const pauses = await Pauses.open(parts);
  const domains = new Domains({
    ...{ pauses, audit, clock },
    waiting: () => 7,
    resumed: (name) => void resumed.push(name),
  });
  const name = domain('a.example');
  const past = await domains.pause({ domain: name, reason: '', expires: 1 }, 'ann');
  assert.ok(!past.ok && past.status === 422);
  const gone = await domains.resume(name, 'ann');
  assert.ok(!gone.ok && gone.status === 404);
  assert.deepEqual(await audit.last(5), []);

  assert.deepEqual(await domains.pause({ domain: name, reason: 'moving' }, 'ann'), {
    ok: true,
    result: 'paused',
  });
  const expires = clock.now() + HOUR_MS;
  const anew = await domains.pause({ domain: name, reason: 'still', expires }, 'bob');
  assert.deepEqual(anew, { ok: true, result: 'the pause was changed' });
  assert.deepEqual(domains.list(), [
    {
      ...{ domain: 'a.example', reason: 'still', waiting: 7 },
      pausedAt: new Date(clock.now()).toISOString(),
      expires: new Date(expires).toISOString(),
    },
  ]);
  assert.deepEqual(await domains.resume(name, 'ann'), { ok: true, result: 'resumed' });
  assert.deepEqual(resumed, ['a.example']);
  assert.deepEqual(
    (await audit.last(5)).map(({ actor, action }) => `${actor} ${action}`),
    ['ann domain.resume', 'bob domain.pause', 'ann domain.pause'],
  );
  const until = new Date(expires).toISOString();
  assert.deepEqual(
    (await audit.last(5)).map(({ facts }) => facts),
    [
      { reasonBefore: 'still', expiresBefore: until },
      { reason: 'still', expires: until, reasonBefore: 'moving' },
      { reason: 'moving' },
    ],
    'and how it was before',
  );
  await pauses.close();
  await audit.close();
});
