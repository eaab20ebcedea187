/**
 * Overrides that are added while the relay runs: kept on disk, gone when they end, told of before;
 * and the audit log, which has every change.
 */
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { AuditLog } from '../../src/admin/audit.ts';
import { Overrides } from '../../src/admin/overrides.ts';
import {
  MOST_OVERRIDES,
  type OverrideEvents,
  type OverrideStore,
  openOverrides,
  readOverrides,
  watchOverrides,
} from '../../src/policy/override-store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { domain } from './policy-parts.ts';

const DAY_MS = 86_400_000;

/** Store, audit log and what the API sees of them, in a directory. */
class Bench {
  readonly clock = new FakeClock();
  readonly told: string[] = [];
  configured: { domain: string; tls: 'none'; owner: string; reason: string; expires?: number }[] =
    [];
  readonly dir: TempDir;
  store!: OverrideStore;
  audit!: AuditLog;
  admin!: Overrides;
  endWatch = () => {};

  constructor(dir: TempDir) {
    this.dir = dir;
  }

  get file(): string {
    return this.dir.file('overrides.json');
  }

  async open(): Promise<this> {
    await this.close();
    const events: OverrideEvents = {
      overrideExpiring: (name, expires) =>
        void this.told.push(`${name} ends in ${(expires - this.clock.now()) / DAY_MS} d`),
      overrideExpired: (name) => void this.told.push(`${name} ended`),
      overridesUnreadable: (file, reason) => void this.told.push(`${file}: ${reason}`),
    };
    this.store = await openOverrides({ file: this.file, clock: this.clock, events });
    const overrides = () => [...this.configured, ...this.store.list()];
    this.endWatch = watchOverrides({ overrides, clock: this.clock, events });
    this.audit = await AuditLog.open(this.dir.file('audit.log'), this.clock);
    const { store, audit, clock } = this;
    this.admin = new Overrides({ store, audit, clock, configured: () => this.configured });
    return this;
  }

  async close(): Promise<void> {
    this.endWatch();
    await this.store?.close();
    await this.audit?.close();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  add(name: string, days = 30, over: { reason?: string } = {}) {
    const expires = this.clock.now() + days * DAY_MS;
    const facts = { tls: 'encrypt', owner: 'ops', reason: 'ticket 1', ...over } as const;
    return this.admin.add({ domain: domain(name), expires, ...facts }, 'ann uid 1000');
  }
}

describe('overrides that were added', () => {
  test('are there after a restart, and the audit log says who made them', async () => {
    using dir = tempDir();
    await using bench = await new Bench(dir).open();
    assert.deepEqual(await bench.add('b.example'), { ok: true, result: 'added' });
    assert.deepEqual(await bench.add('a.example'), { ok: true, result: 'added' });
    const again = await bench.add('a.example', 10, { reason: 'ticket 2' });
    assert.deepEqual(again, { ok: true, result: 'replaced' });
    const before = bench.admin.list();
    await bench.open();
    assert.deepEqual(bench.admin.list(), before);
    assert.deepEqual(
      before.map(({ domain: name, reason, source }) => [name, reason, source]),
      [
        ['a.example', 'ticket 2', 'added'],
        ['b.example', 'ticket 1', 'added'],
      ],
    );
    const removed = await bench.admin.remove(domain('b.example'), 'bob uid 0');
    assert.deepEqual(removed, { ok: true, result: 'removed' });
    const [last, ...earlier] = await bench.audit.last(10);
    assert.deepEqual(
      [last?.actor, last?.action, last?.target],
      ['bob uid 0', 'override.remove', 'b.example'],
    );
    assert.equal(last?.at, new Date(bench.clock.now()).toISOString());
    assert.equal(earlier.length, 3);
    const from = { reasonBefore: 'ticket 1', tlsBefore: undefined, ownerBefore: undefined };
    const { reason, reasonBefore, tlsBefore, ownerBefore, expires, expiresBefore } =
      earlier[0]?.facts ?? {};
    assert.deepEqual(
      { reason, reasonBefore, tlsBefore, ownerBefore },
      { reason: 'ticket 2', ...from },
      'what it was, where it is another',
    );
    assert.ok(String(expiresBefore) > String(expires), 'thirty days and ten');
    const { tlsBefore: wasTls, reasonBefore: wasFor } = last?.facts ?? {};
    assert.deepEqual([wasTls, wasFor], ['encrypt', 'ticket 1'], 'what was removed');
    await bench.open();
    assert.deepEqual(
      bench.admin.list().map(({ domain: name }) => name),
      ['a.example'],
    );
  });

  test('are told of seven days and one day before they end, then they are gone', async () => {
    using dir = tempDir();
    await using bench = await new Bench(dir).open();
    await bench.add('a.example', 8);
    bench.configured = [
      {
        domain: 'f.example',
        tls: 'none',
        owner: '',
        reason: '',
        expires: bench.clock.now() + DAY_MS,
      },
    ];
    bench.clock.advance(60_000);
    assert.deepEqual(bench.told.map(roughly), ['f.example ends in 1 d']);
    bench.clock.advance(DAY_MS);
    assert.equal(roughly(bench.told.at(-1)), 'a.example ends in 7 d');
    bench.clock.advance(6 * DAY_MS);
    assert.equal(roughly(bench.told.at(-1)), 'a.example ends in 1 d');
    assert.equal(bench.told.length, 3, 'each once');
    assert.equal(bench.store.list().length, 1);
    bench.clock.advance(DAY_MS);
    assert.deepEqual(bench.store.list(), []);
    assert.equal(bench.told.at(-1), 'a.example ended');
    await bench.open();
    assert.deepEqual(bench.store.list(), []);
  });

  test('none may be added that has ended, or for a domain that the file has one for', async () => {
    using dir = tempDir();
    await using bench = await new Bench(dir).open();
    assert.equal((await bench.add('a.example', 0)).ok, false);
    bench.configured = [{ domain: 'f.example', tls: 'none', owner: '', reason: '' }];
    for (const made of [
      await bench.add('f.example'),
      await bench.admin.remove(domain('f.example'), 'ann'),
    ]) {
      assert.ok(!made.ok && made.status === 409, JSON.stringify(made));
    }
    const gone = await bench.admin.remove(domain('x.example'), 'ann');
    assert.ok(!gone.ok && gone.status === 404);
    assert.deepEqual(await bench.audit.last(5), [], 'nothing was done');
    assert.equal(bench.admin.list()[0]?.source, 'file');
  });

  test('one that the file has, too, gives way to it and comes back', async () => {
    using dir = tempDir();
    await using bench = await new Bench(dir).open();
    await bench.add('a.example');
    bench.configured = [{ domain: 'a.example', tls: 'none', owner: '', reason: '' }];
    assert.deepEqual(
      bench.admin.list().map(({ source, tls }) => [source, tls]),
      [['file', 'none']],
    );
    bench.configured = [];
    assert.equal(bench.admin.list()[0]?.source, 'added');
  });

  test('changes that come together are all made', async () => {
    using dir = tempDir();
    await using bench = await new Bench(dir).open();
    const names = Array.from({ length: 30 }, (_, n) => `d${n}.example`);
    await Promise.all(names.map((name) => bench.add(name)));
    await Promise.all([bench.add('new.example'), bench.admin.remove(domain('d3.example'), 'ann')]);
    await bench.open();
    const kept = bench.admin.list().map(({ domain: name }) => name);
    const expected = [...names.filter((name) => name !== 'd3.example'), 'new.example'];
    assert.deepEqual(kept, expected.sort());
  });

  test('there is an end to how many there may be', async () => {
    using dir = tempDir();
    await using bench = await new Bench(dir).open();
    const expires = bench.clock.now() + DAY_MS;
    const entries = Array.from({ length: MOST_OVERRIDES }, (_, n) => ({
      ...{ domain: `d${n}.example`, tls: 'none', owner: '', reason: 'x', expires, addedAt: 0 },
    }));
    writeFileSync(bench.file, JSON.stringify({ version: 1, entries }));
    await bench.open();
    const made = await bench.add('one-too-many.example');
    assert.ok(!made.ok && made.status === 422);
    assert.equal((await bench.add('d7.example')).ok, true, 'one that is there may be changed');
  });

  test('a file that cannot be read means none, is kept aside, and said', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.json()), async (text) => {
        using dir = tempDir();
        await using bench = new Bench(dir);
        writeFileSync(bench.file, text);
        await bench.open();
        assert.deepEqual(bench.store.list(), []);
        assert.equal(bench.told.length, 1);
        assert.equal(readFileSync(`${bench.file}.damaged`, 'utf8'), text);
        assert.ok(!existsSync(bench.file));
        assert.deepEqual(await readOverrides(bench.file, 0), []);
        await bench.add('a.example');
        const now = bench.clock.now();
        assert.equal((await readOverrides(bench.file, now)).length, 1);
      }),
      { numRuns: 30 },
    );
  });
});

describe('the audit log', () => {
  test('skips a line that a crash cut short, and goes on behind it', async () => {
    using dir = tempDir();
    const file = dir.file('audit.log');
    const clock = new FakeClock();
    const first = await AuditLog.open(file, clock);
    await first.note({ actor: 'ann', action: 'override.add', target: 'a.example' });
    await first.close();
    appendFileSync(file, '{"at":"2026-01-');
    const second = await AuditLog.open(file, clock);
    await second.note({ actor: 'bob', action: 'override.remove', target: 'a.example' });
    assert.deepEqual(
      (await second.last(5)).map(({ actor }) => actor),
      ['bob', 'ann'],
    );
    await second.close();
  });

  test('that is full is put aside, and still read', async () => {
    using dir = tempDir();
    const file = dir.file('audit.log');
    writeFileSync(file, `${JSON.stringify({ actor: 'early' })}\n${' '.repeat(16 * 1024 * 1024)}\n`);
    const audit = await AuditLog.open(file, new FakeClock());
    await audit.note({ actor: 'late', action: 'a', target: 't' });
    assert.ok(existsSync(`${file}.1`));
    assert.deepEqual(
      (await audit.last(5)).map(({ actor }) => actor),
      ['late', 'early'],
    );
    await audit.close();
  });

  test('keeps the order of actions that come together', async () => {
    using dir = tempDir();
    const audit = await AuditLog.open(dir.file('audit.log'), new FakeClock());
    const actors = Array.from({ length: 50 }, (_, n) => `actor ${n}`);
    await Promise.all(actors.map((actor) => audit.note({ actor, action: 'a', target: 't' })));
    assert.deepEqual((await audit.last(100)).map(({ actor }) => actor).reverse(), actors);
    await audit.close();
  });
});

function roughly(told: string | undefined): string {
  return (told ?? '').replace(/[\d.]+ d$/, (days) => `${Math.round(Number.parseFloat(days))} d`);
}
