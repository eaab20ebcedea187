/** The audit log: failed actions, filters, pages; and the lines of a file from its end. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { accessAudit } from '../../src/admin/access-audit.ts';
import { AuditLog } from '../../src/admin/audit.ts';
import { boundedNotes } from '../../src/admin/bounded-notes.ts';
import { linesBackwards } from '../../src/platform/lines-backwards.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const ADD = { actor: 'ann', action: 'override.add', target: 'a.example', facts: { tls: 'none' } };

describe('the audit log', () => {
  test('has a second entry where an action is refused, fails, or is done in part', async () => {
    using dir = tempDir();
    const audit = await AuditLog.open(dir.file('audit.log'), new FakeClock());
    await audit.during(ADD, async () => ({ ok: true }));
    await audit.during(ADD, async () => ({ ok: false, error: 'too many' }));
    await audit.during(ADD, async () => ({ ok: true, failed: 3 }));
    await assert.rejects(
      audit.during(ADD, () => Promise.reject(new Error('no room'))),
      /no room/,
    );
    const entries = (await audit.last(10)).toReversed();
    assert.deepEqual(
      entries.map(({ result, facts }) => [result, facts?.['error']]),
      [
        [undefined, undefined],
        [undefined, undefined],
        ['failed', 'too many'],
        [undefined, undefined],
        ['failed', 'the disk did not take it for 3 of them'],
        [undefined, undefined],
        ['failed', 'no room'],
      ],
    );
    assert.deepEqual(
      entries.map(({ id }) => id),
      [1, 2, 3, 4, 5, 6, 7],
    );
    await audit.close();
  });

  test('has a second entry with what an action came to, where that is told', async () => {
    using dir = tempDir();
    const audit = await AuditLog.open(dir.file('audit.log'), new FakeClock());
    const told = () => ({ touched: 2 });
    await audit.during(ADD, async () => ({ ok: true }), told);
    await audit.during(ADD, async () => ({ ok: true, failed: 1 }), told);
    const [failed, , done, first] = await audit.last(10);
    assert.equal(first?.result, undefined);
    assert.deepEqual([done?.result, done?.facts], ['done', { tls: 'none', touched: 2 }]);
    const error = 'the disk did not take it for 1 of them';
    assert.deepEqual(
      [failed?.result, failed?.facts],
      ['failed', { tls: 'none', touched: 2, error }],
    );
    await audit.close();
  });

  test('has so many an hour of what others cause, and how many there were beside them', async () => {
    using dir = tempDir();
    const clock = new FakeClock();
    const audit = await AuditLog.open(dir.file('audit.log'), clock);
    const errors: string[] = [];
    const note = boundedNotes({
      ...{ audit, clock, most: 3 },
      onError: ({ message }) => void errors.push(message),
    });
    for (let n = 0; n < 10; n += 1) note(ADD);
    clock.advance(3_600_000);
    note({ actor: 'x', action: 'y', target: 'z' });
    note(ADD);
    await audit.close();
    const again = await AuditLog.open(dir.file('audit.log'), clock);
    assert.deepEqual(
      (await again.last(20)).map(({ facts }) => facts),
      [ADD.facts, { unnoted: 7 }, ADD.facts, ADD.facts, ADD.facts],
    );
    await again.close();
    note(ADD);
    await waitFor('word of it', () => errors.length === 1);
  });

  test('has logins, their ends, and some wrong tokens; a full disk keeps nobody out', async () => {
    using dir = tempDir();
    const clock = new FakeClock();
    const audit = await AuditLog.open(dir.file('audit.log'), clock);
    const errors: string[] = [];
    const onError = ({ message }: Error) => void errors.push(message);
    const noted = accessAudit({ audit, clock, onError });
    await noted.loggedIn('ann (page) from 192.0.2.1');
    for (let n = 0; n < 500; n += 1) noted.refused(`2001:db8:0:${n}::1`);
    await noted.loggedOut('ann (page) from 192.0.2.1');
    const entries = await audit.last(1000);
    assert.equal(entries.length, 62, 'sixty wrong ones in an hour');
    assert.deepEqual(
      [entries[0], entries[1], entries[61]].map((one) => `${one?.actor} ${one?.action}`),
      [
        'ann (page) from 192.0.2.1 session.logout',
        'somebody at 2001:db8:0:59::1 session.refused',
        'ann (page) from 192.0.2.1 session.login',
      ],
    );
    await audit.close();
    await noted.loggedIn('bob');
    assert.equal(errors.length, 1);
  });

  test('an action that cannot be noted is not made', async () => {
    using dir = tempDir();
    const audit = await AuditLog.open(dir.file('audit.log'), new FakeClock());
    await audit.close();
    let made = 0;
    await assert.rejects(
      audit.during(ADD, async () => {
        made += 1;
        return { ok: true };
      }),
    );
    assert.equal(made, 0);
  });

  test('is filtered, and paged while it grows, over a restart', async () => {
    using dir = tempDir();
    const clock = new FakeClock();
    const file = dir.file('audit.log');
    const first = await AuditLog.open(file, clock);
    for (let n = 0; n < 40; n++) {
      clock.advance(1000);
      const action = n % 2 === 0 ? 'queue.hold' : 'domain.pause';
      await first.note({ actor: `ann uid ${n % 4}`, action, target: `d${n}.example` });
    }
    await first.close();
    const audit = await AuditLog.open(file, clock);
    await audit.note({ actor: 'bob', action: 'queue.drop', target: 'all mail' });
    const [newest] = await audit.last(1);
    assert.equal(newest?.id, 41);
    const targets = async (filter: Parameters<AuditLog['last']>[1], count = 100) =>
      (await audit.last(count, filter)).map(({ target }) => target);
    assert.deepEqual(await targets({ action: 'queue.*', actor: 'ann uid 2' }, 2), [
      'd38.example',
      'd34.example',
    ]);
    assert.deepEqual(await targets({ target: 'D1?.example' }), []);
    assert.deepEqual(await targets({ target: 'd3.*' }), ['d3.example']);
    assert.equal((await targets({ since: { agoMs: 9500 } })).length, 11);
    assert.equal((await targets({ since: { atMs: clock.now() } })).length, 2);
    const day = { since: { agoMs: 9500 }, until: { agoMs: 4500 } };
    assert.deepEqual((await targets(day)).slice(0, 1), ['d34.example']);
    assert.equal((await targets(day)).length, 5);
    const seen: number[] = [];
    for (let before: number | undefined; ; ) {
      const page = await audit.last(7, { before });
      if (page.length === 0) break;
      seen.push(...page.map(({ id }) => id));
      before = page.at(-1)?.id;
      await audit.note(ADD);
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 41 }, (_, n) => 41 - n),
    );
    await audit.close();
  });
});

test('the lines of a file backwards are its lines', async () => {
  using dir = tempDir();
  const file = dir.file('lines');
  const read = async () => {
    const lines: string[] = [];
    for await (const line of linesBackwards(file)) lines.push(line);
    return lines.reverse();
  };
  assert.deepEqual(await read(), []);
  const length = fc.oneof(fc.nat(20), fc.integer({ min: 65_000, max: 140_000 }));
  await fc.assert(
    fc.asyncProperty(fc.array(length, { maxLength: 6 }), fc.boolean(), async (lengths, isCut) => {
      const lines = lengths.map((size, n) => `${n}é`.repeat(Math.ceil(size / 3)));
      writeFileSync(file, lines.join('\n') + (isCut ? '' : '\n'));
      assert.deepEqual(
        await read(),
        lines.filter((line) => line !== ''),
      );
    }),
    { numRuns: 40 },
  );
});
