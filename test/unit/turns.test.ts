/** Work in turns: never more at once than allowed, in order, none lost to one that fails. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Turns } from '../../src/reporting/turns.ts';

describe('turns', () => {
  test('are never more at once than allowed, begin in order, and are all there in the end', async () => {
    const work = fc.record({ steps: fc.nat(3), fails: fc.boolean() });
    const given = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.array(work, { maxLength: 20 }));
    await fc.assert(
      fc.asyncProperty(given, async ([most, all]) => {
        const turns = new Turns(most);
        const begun: number[] = [];
        let now = 0;
        let atMost = 0;
        const results = all.map(({ steps, fails }, index) =>
          turns.run(async () => {
            begun.push(index);
            now += 1;
            atMost = Math.max(atMost, now);
            for (let step = 0; step < steps; step += 1) await undefined;
            now -= 1;
            if (fails) throw new Error(`${index}`);
            return index;
          }),
        );
        const settled = Promise.allSettled(results);
        await turns.idle();
        assert.equal(now, 0);
        assert.ok(atMost <= most, `${atMost} at once`);
        assert.deepEqual(
          begun,
          all.map((_, index) => index),
        );
        for (const [index, one] of (await settled).entries()) {
          const told =
            one.status === 'fulfilled' ? one.value : Number((one.reason as Error).message);
          assert.equal(told, index);
          assert.equal(one.status === 'rejected', all[index]?.fails);
        }
      }),
    );
  });

  test('are taken while others have theirs', async () => {
    const turns = new Turns(2);
    const ended = Promise.withResolvers<string>();
    const first = turns.run(() => ended.promise);
    await turns.run(async () => ended.resolve('by the second'));
    assert.equal(await first, 'by the second');
  });

  test('work that throws before it waits gives its turn on', async () => {
    const turns = new Turns(1);
    const broken = turns.run(() => {
      throw new Error('at once');
    });
    const next = turns.run(async () => 'next');
    await assert.rejects(broken, /at once/);
    assert.equal(await next, 'next');
  });
});
