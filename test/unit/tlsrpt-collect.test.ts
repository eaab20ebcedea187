/** The counts of TLS reports over crashes, failing disks and midnights: nothing twice, nothing lost. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  mkdir,
  readdir,
  readFile,
  rmdir,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  besideCounts,
  Collector,
  type CollectorEvents,
  utcDay,
} from '../../src/reporting/collect.ts';
import { CountLog } from '../../src/reporting/count-log.ts';
import type { Counted } from '../../src/reporting/counted.ts';
import { DayTally } from '../../src/reporting/day-tally.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/temp-dir.ts';

const DAY = '2026-03-14';
const NEXT_DAY = '2026-03-15';
const DAY_MS = 86_400_000;

function counted(domain: string, change: Partial<Counted> = {}): Counted {
  const policy = { type: 'no-policy-found', domain, lines: [], mx: [] } as const;
  return { domain, policy, successful: 1, failed: 0, details: [], ...change };
}

const expired = {
  ...{ successful: 0, failed: 1 },
  details: [{ detail: { resultType: 'certificate-expired', mxHost: 'mx' }, sessions: 1 }],
} as const;

/** What is in a tally, in one order. */
function contentOf(tally: DayTally): readonly string[] {
  return [...tally.counted()]
    .map(({ details, ...rest }) =>
      JSON.stringify([rest, details.map((one) => JSON.stringify(one)).sort()]),
    )
    .sort();
}

function tallyOf(all: readonly Counted[]): DayTally {
  const tally = new DayTally();
  for (const one of all) tally.add(one);
  return tally;
}

function recorded() {
  const told: string[] = [];
  const events: CollectorEvents = {
    damaged: (_file, lines) => void told.push(`damaged ${lines}`),
    notCompacted: () => void told.push('not compacted'),
    delayed: (error) => void told.push(`delayed ${(error as NodeJS.ErrnoException).code}`),
    kept: () => void told.push('kept'),
    lost: (day) => void told.push(`lost ${day}`),
  };
  return { told, events };
}

async function bench(directory: string, clock = new FakeClock(`${DAY}T12:00:00Z`)) {
  const { told, events } = recorded();
  const parts = { directory, clock, keepMs: () => 30 * DAY_MS, events };
  return { clock, told, collector: await Collector.open(parts) };
}

describe('what is counted', () => {
  test('is on disk at once, as a report counts it, and there for the next process', async () => {
    using dir = tempDir();
    const first = await bench(dir.path);
    first.collector.count(counted('a.example'));
    first.collector.count(counted('a.example', expired));
    await first.clock.advanceAsync(200);
    assert.equal(await first.collector.write(), true); // in its turn behind that
    // The first is left as a crash leaves it.
    const second = await bench(dir.path);
    second.collector.count(counted('a.example'));
    const tally = await second.collector.tallyOf(DAY);
    const [policy] = tally.countsOf('a.example');
    assert.deepEqual([policy?.successful, policy?.failed], [2, 1]);
    assert.deepEqual(policy?.details, expired.details);
    await second.collector.close();
    await first.collector.close();
    assert.deepEqual([...first.told, ...second.told], []);
  });

  test('is on disk when it is written, without waiting for its time', async () => {
    using dir = tempDir();
    const first = await bench(dir.path);
    await first.collector.written(); // nothing to wait for
    assert.equal(await first.collector.synced(), true);
    first.collector.count(counted('a.example'));
    const [one, other] = [first.collector.written(), first.collector.written()];
    first.collector.count(counted('a.example'));
    await Promise.all([one, other, first.collector.written(), first.collector.synced()]);
    // The first is left as a crash leaves it.
    const second = await bench(dir.path);
    const [policy] = (await second.collector.tallyOf(DAY)).countsOf('a.example');
    assert.equal(policy?.successful, 2);
    await second.collector.close();
    await first.collector.close();
  });

  test('is there before the attempt is on record, also for a process that is killed at that moment', async () => {
    using dir = tempDir();
    const child = spawn(process.execPath, [
      join(import.meta.dirname, 'counting-child.ts'),
      dir.path,
    ]);
    const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
    assert.equal(signal, 'SIGKILL');
    const after = await bench(dir.path);
    const [policy] = (await after.collector.tallyOf(DAY)).countsOf('a.example');
    assert.equal(policy?.successful, 1);
    await after.collector.close();
  });

  test('does not keep the record waiting for its sync', async () => {
    const order: string[] = [];
    const synced = Promise.withResolvers<boolean>();
    const counts = {
      written: async () => void order.push('written'),
      synced: () => synced.promise,
    };
    const done = besideCounts(counts, async () => {
      order.push('on record');
      synced.resolve(true);
      return 'record';
    });
    void synced.promise.then(() => order.push('synced'));
    assert.equal(await done, 'record');
    assert.deepEqual(order, ['written', 'on record', 'synced']);
  });

  test('R092 belongs to the UTC day it happened on', async () => {
    using dir = tempDir();
    const { collector, clock } = await bench(dir.path, new FakeClock(`${DAY}T23:59:59.999Z`));
    collector.count(counted('a.example'));
    clock.advance(1);
    collector.count(counted('b.example'));
    assert.deepEqual((await collector.tallyOf(DAY)).domains(), ['a.example']);
    assert.deepEqual((await collector.tallyOf(NEXT_DAY)).domains(), ['b.example']);
    assert.deepEqual(await collector.days(), [NEXT_DAY, DAY]);
    clock.set(`${DAY}T23:00:00Z`); // somebody set the clock back
    collector.count(counted('c.example'));
    assert.deepEqual((await collector.tallyOf(DAY)).domains(), ['a.example', 'c.example']);
    await collector.close();
  });

  test('is removed when its time is over', async () => {
    using dir = tempDir();
    const { collector, clock } = await bench(dir.path);
    collector.count(counted('a.example'));
    await collector.write();
    clock.advance(30 * DAY_MS);
    collector.count(counted('a.example'));
    await collector.write();
    assert.equal((await collector.days()).length, 2);
    clock.advance(2 * DAY_MS);
    collector.count(counted('a.example'));
    await collector.write();
    assert.deepEqual(await readdir(dir.path), ['2026-04-13.log', '2026-04-15.log']);
    await collector.close();
  });

  test('is nobody else to read', async () => {
    using dir = tempDir();
    const { collector } = await bench(dir.path);
    collector.count(counted('a.example'));
    await collector.close();
    assert.equal((await stat(dir.file(`${DAY}.log`))).mode & 0o777, 0o600);
  });
});

describe('a disk that takes nothing', () => {
  test('delays the counts, is told of once, and has each of them once in the end', async () => {
    using dir = tempDir();
    const { collector, clock, told } = await bench(dir.path);
    // What is in the way of the file, also for root.
    const path = dir.file(`${DAY}.log`);
    await mkdir(path);
    collector.count(counted('a.example'));
    assert.equal(await collector.write(), false);
    collector.count(counted('a.example', expired));
    assert.equal(await collector.write(), false);
    await rmdir(path);
    await clock.advanceAsync(200);
    const [policy] = (await collector.tallyOf(DAY)).countsOf('a.example');
    assert.deepEqual([policy?.successful, policy?.failed], [1, 1]);
    assert.equal(await collector.write(), true); // behind the sync that the timer began
    assert.deepEqual(told, ['delayed EISDIR', 'kept']);
    await collector.close();
  });

  test('for days on end costs the oldest of them', async () => {
    using dir = tempDir();
    const { collector, clock, told } = await bench(dir.path);
    for (let day = 0; day < 6; day += 1) {
      collector.count(counted('a.example'));
      clock.set(clock.now() + DAY_MS);
    }
    await collector.close();
    assert.ok(told.every((line) => line.startsWith('lost ')) && told.length <= 2, told.join());
  });
});

describe('the file of a day', () => {
  const quiet = recorded().events;

  test('grows smaller when it has grown, and holds the same', async () => {
    using dir = tempDir();
    const log = await CountLog.open(dir.path, quiet, { compactOctets: 2000 });
    const all: Counted[] = [];
    let largest = 0;
    for (let round = 0; round < 60; round += 1) {
      const one = counted(`${round % 3}.example`, round % 2 === 0 ? {} : expired);
      all.push(one);
      await log.write(DAY, tallyOf([one]));
      largest = Math.max(largest, (await stat(dir.file(`${DAY}.log`))).size);
    }
    assert.deepEqual(contentOf(await log.read(DAY)), contentOf(tallyOf(all)));
    assert.ok(largest < 3000, `${largest} octets`);
    await log.close();
  });

  test('holds what was whole when it is cut anywhere, and goes on behind that', async () => {
    using dir = tempDir();
    const file = dir.file(`${DAY}.log`);
    const first = await CountLog.open(dir.path, quiet);
    await first.write(DAY, tallyOf([counted('a.example')]));
    const { size } = await stat(file);
    await first.write(DAY, tallyOf([counted('b.example', expired)]));
    await first.close();
    const whole = await readFile(file);
    for (const cut of [size, size + 1, size + 9, whole.length - 1]) {
      await writeFile(file, whole);
      await truncate(file, cut);
      const { told, events } = recorded();
      const log = await CountLog.open(dir.path, events);
      assert.deepEqual((await log.read(DAY)).domains(), ['a.example'], `${cut}`);
      await log.write(DAY, tallyOf([counted('c.example')]));
      assert.deepEqual((await log.read(DAY)).domains(), ['a.example', 'c.example'], `${cut}`);
      assert.deepEqual(told, []);
      await log.close();
    }
  });

  test('loses a line that is damaged, and tells', async () => {
    using dir = tempDir();
    const file = dir.file(`${DAY}.log`);
    const { told, events } = recorded();
    const log = await CountLog.open(dir.path, events);
    await log.write(DAY, tallyOf([counted('a.example'), counted('b.example')]));
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('a.example', 'x.example'));
    await appendFile(file, 'something else\n\n{}\n');
    assert.deepEqual((await log.read(DAY)).domains(), ['b.example']);
    assert.deepEqual(told, ['damaged 4']);
    await log.close();
  });

  test('of another day is nothing, and one that cannot be read is no nothing', async () => {
    using dir = tempDir();
    const log = await CountLog.open(dir.path, quiet);
    assert.equal((await log.read(DAY)).isEmpty, true);
    await mkdir(dir.file(`${DAY}.log`));
    await assert.rejects(log.read(DAY), { code: 'EISDIR' });
  });
});

type Step =
  | { readonly kind: 'count'; readonly domain: string; readonly fails: boolean }
  | { readonly kind: 'write' }
  /** The process ends; so many octets of what it was about to write are there. */
  | { readonly kind: 'crash'; readonly torn: number }
  | { readonly kind: 'wait'; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('count' as const),
      domain: fc.constantFrom('a.example', 'b.example', 'c.example'),
      fails: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('write' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('crash' as const), torn: fc.nat(60) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(5 * 3_600_000) }),
  },
);

test('counts in are counts out, whatever crashes come between', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      using dir = tempDir();
      let clock = new FakeClock(`${DAY}T09:00:00Z`);
      let { collector } = await bench(dir.path, clock);
      const dead: Collector[] = [];
      const ledger = new Map<string, Counted[]>();
      let unwritten: { day: string; one: Counted }[] = [];
      const settle = () => {
        for (const { day, one } of unwritten) ledger.set(day, [...(ledger.get(day) ?? []), one]);
        unwritten = [];
      };
      for (const one of steps) {
        if (one.kind === 'count') {
          const made = counted(one.domain, one.fails ? expired : {});
          collector.count(made);
          unwritten.push({ day: utcDay(clock.now()), one: made });
        } else if (one.kind === 'write') {
          assert.equal(await collector.write(), true);
          settle();
        } else if (one.kind === 'wait') {
          await clock.advanceAsync(one.ms);
          await collector.days(); // what a timer began has come to its end
          if (one.ms >= 200) settle();
        } else {
          const line = Buffer.from('0123abcd {"domain":"a.example","policy":{"type":"sts","x":1}');
          const torn = line.subarray(0, one.torn);
          await appendFile(dir.file(`${utcDay(clock.now())}.log`), torn);
          unwritten = [];
          dead.push(collector);
          clock = new FakeClock(clock.now()); // on the other one the dead would go on
          ({ collector } = await bench(dir.path, clock));
        }
      }
      await collector.close();
      settle();
      const after = await bench(dir.path, clock);
      for (const [day, all] of ledger) {
        const found = await after.collector.tallyOf(day);
        assert.deepEqual(contentOf(found), contentOf(tallyOf(all)), day);
      }
      for (const one of [after.collector, ...dead]) await one.close();
    }),
    { numRuns: 40 },
  );
});
