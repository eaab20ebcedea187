/**
 * Checks that are asked of a running relay: how many at a time, what is kept and for how long, what the audit
 * log has of them; and the threads they run in, which are ended whatever they do.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Checks, type CheckWish } from '../../src/admin/checks.ts';
import type { Examination } from '../../src/check/types.ts';
import type { CheckOrder } from '../../src/check-thread.ts';
import { examineInThread } from '../../src/check-threads.ts';
import { settingsFrom } from '../../src/config/load.ts';
import { systemClock } from '../../src/platform/clock.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { waitFor } from '../support/wait-for.ts';

const [a, b, c] = ['a.example', 'b.example', 'c.example'] as [DomainName, DomainName, DomainName];
const wishFor = (domain: DomainName, connect = true): CheckWish => ({ domain, connect });
const examinationOf = (domain: DomainName) => ({ domain, ok: true }) as Examination;

/** Checks whose examinations end when the test says so. */
function scene() {
  const clock = new FakeClock('2026-01-10T12:00:00Z');
  const noted: object[] = [];
  const under = new Map<DomainName, ReturnType<typeof Promise.withResolvers<Examination>>>();
  const steps = new Map<DomainName, (step: string) => void>();
  const disk = { fails: false };
  const checks = new Checks({
    clock,
    audit: {
      note: async (entry) => {
        if (disk.fails) throw new Error('disk full');
        noted.push(entry);
      },
    },
    examine: ({ domain }, { onStep, signal }) => {
      const open = Promise.withResolvers<Examination>();
      signal.addEventListener('abort', () => open.reject(new Error('the relay stops')));
      under.set(domain, open);
      steps.set(domain, onStep);
      return open.promise;
    },
  });
  const ends = (domain: DomainName) =>
    waitFor(`the end of ${domain}`, () => checks.show(domain)?.state !== 'running');
  return { clock, noted, under, steps, disk, checks, ends };
}

describe('checks of a running relay', () => {
  test('one is begun, noted, watched, and kept for an hour', async () => {
    const { checks, noted, steps, under, ends, clock } = scene();
    const began = await checks.start(wishFor(a), 'ann');
    assert.deepEqual(began, {
      ok: true,
      check: { domain: a, connect: true, startedAt: '2026-01-10T12:00:00.000Z', state: 'running' },
    });
    assert.deepEqual(noted, [{ actor: 'ann', action: 'domain.check', target: a }]);
    steps.get(a)?.('MX hosts');
    assert.equal(checks.show(a)?.step, 'MX hosts');
    under.get(a)?.resolve(examinationOf(a));
    await ends(a);
    const done = checks.show(a);
    assert.deepEqual([done?.state, done?.ok, done?.step], ['done', true, undefined]);
    assert.deepEqual(done?.result, examinationOf(a));
    assert.equal('result' in (checks.list()[0] ?? {}), false, 'the list is short');
    clock.advance(3_600_001);
    assert.deepEqual([checks.show(a), checks.list()], [undefined, []]);
  });

  test('two at a time; the same one again is the one that runs', async () => {
    const { checks, noted, under, ends } = scene();
    await Promise.all([checks.start(wishFor(a), 'ann'), checks.start(wishFor(b), 'ann')]);
    const third = await checks.start(wishFor(c), 'bob');
    assert.ok(!third.ok && third.status === 503 && third.error.includes('a.example and b.example'));
    const same = await checks.start(wishFor(a), 'bob');
    assert.ok(same.ok && same.check.state === 'running');
    const other = await checks.start(wishFor(a, false), 'bob');
    assert.equal(!other.ok && other.status, 409);
    assert.equal(noted.length, 2, 'what was not begun is not noted');
    assert.equal(under.size, 2);
    under.get(a)?.resolve(examinationOf(a));
    await ends(a);
    await waitFor('room', async () => (await checks.start(wishFor(c), 'bob')).ok);
  });

  test('one without an answer says why, and can be begun again', async () => {
    const { checks, under, ends } = scene();
    await checks.start(wishFor(a, false), 'ann');
    under.get(a)?.reject(new Error('out of memory'));
    await ends(a);
    assert.deepEqual(
      [checks.show(a)?.state, checks.show(a)?.error, checks.show(a)?.connect],
      ['failed', 'out of memory', false],
    );
    await waitFor('room', async () => (await checks.start(wishFor(a), 'ann')).ok);
  });

  test('what the audit log does not take is not begun, and keeps no place', async () => {
    const { checks, disk, under } = scene();
    disk.fails = true;
    for (const domain of [a, b, c])
      await assert.rejects(checks.start(wishFor(domain), 'ann'), /full/);
    assert.deepEqual([under.size, checks.list()], [0, []]);
    disk.fails = false;
    assert.equal((await checks.start(wishFor(a), 'ann')).ok, true);
  });

  test('the last twenty are kept', async () => {
    const { checks, under, ends } = scene();
    for (let i = 0; i < 25; i += 1) {
      const domain = `d${i}.example` as DomainName;
      await waitFor('room', async () => (await checks.start(wishFor(domain), 'ann')).ok);
      under.get(domain)?.resolve(examinationOf(domain));
      await ends(domain);
    }
    assert.equal(checks.list().length, 20);
    assert.equal(checks.show('d4.example' as DomainName), undefined);
  });

  test('one that takes longer than twenty others is still the one that runs', async () => {
    const { checks, under, ends } = scene();
    await checks.start(wishFor(a), 'ann');
    for (let i = 0; i < 25; i += 1) {
      const domain = `d${i}.example` as DomainName;
      await waitFor('room', async () => (await checks.start(wishFor(domain), 'ann')).ok);
      under.get(domain)?.resolve(examinationOf(domain));
      await ends(domain);
    }
    assert.equal(checks.show(a)?.state, 'running');
    const again = await checks.start(wishFor(a, false), 'bob');
    assert.equal(!again.ok && again.status, 409, 'it is not begun a second time');
    under.get(a)?.resolve(examinationOf(a));
    await ends(a);
    assert.equal(checks.list().filter(({ domain }) => domain === a).length, 1);
  });

  test('the end of the relay ends them, and none is begun any more', async () => {
    const { checks } = scene();
    await checks.start(wishFor(a), 'ann');
    await checks.close();
    assert.equal(checks.show(a)?.state, 'failed');
    const late = await checks.start(wishFor(b), 'ann');
    assert.equal(!late.ok && late.status, 503);
  });
});

describe('the thread of a check', () => {
  const order: CheckOrder = {
    ...{ settings: settingsFrom({}), domain: a, connect: false, timeoutMs: 60_000 },
  };
  const program = (code: string) =>
    new URL(
      `data:text/javascript,${encodeURIComponent(
        `import { parentPort as port, workerData } from 'node:worker_threads'; ${code}`,
      )}`,
    );
  const run = (code: string, clock = systemClock, signal = new AbortController().signal) =>
    examineInThread(order, { clock, signal, onStep: () => {}, program: program(code) });

  test('says its steps and the examination', async () => {
    const steps: string[] = [];
    const code = `port.postMessage({ step: 'one' });
      port.postMessage({ json: JSON.stringify({ domain: workerData.domain, ok: true }) });`;
    const made = await examineInThread(order, {
      ...{ clock: systemClock, signal: new AbortController().signal, program: program(code) },
      onStep: (step) => void steps.push(step),
    });
    assert.deepEqual([made, steps], [examinationOf(a), ['one']]);
  });

  /** What the thread does, what is said of it. */
  const bad: readonly (readonly [string, RegExp])[] = [
    ['throw new Error("no such file")', /no such file/],
    ['process.exit(0)', /ended without an answer/],
    ['', /ended without an answer/],
    ['port.postMessage({ json: "x".repeat(3e6) })', /too much to be kept/],
    ['const all = []; for (;;) all.push(new Array(1e6).fill(all.length))', /memory/],
  ];
  for (const [code, said] of bad) {
    test(`that does "${code.slice(0, 40)}" gives a reason`, () => assert.rejects(run(code), said));
  }

  test('that never ends is ended: by its time, by the end of the relay', async () => {
    const clock = new FakeClock('2026-01-10T12:00:00Z');
    const late = assert.rejects(run('for (;;);', clock), /did not end in 60 s/);
    clock.advance(69_999);
    clock.advance(1);
    await late;
    const stopping = new AbortController();
    const stopped = assert.rejects(run('for (;;);', clock, stopping.signal), /the relay stops/);
    stopping.abort();
    await stopped;
  });
});
