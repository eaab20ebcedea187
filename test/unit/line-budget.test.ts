/** Lines that strangers cause are bounded, and none is forgotten. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LineBudget } from '../../src/telemetry/line-budget.ts';

test('60 a minute; the next minute says how many were left out', () => {
  const clock = { now: 0 };
  const budget = new LineBudget(() => clock.now);
  const told = [];
  for (let i = 0; i < 1000; i += 1) {
    if (budget.take().mayTell) told.push(i);
    clock.now += 10;
  }
  assert.equal(told.length, 60);
  clock.now += 60_000;
  assert.deepEqual(budget.take(), { mayTell: true, unsaid: 940 });
  assert.deepEqual(budget.take(), { mayTell: true, unsaid: undefined });
});
