/** Callers with the same question share the work, and only the last one out ends it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSingleFlight } from '../../src/platform/single-flight.ts';

function work() {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const signals: AbortSignal[] = [];
  return {
    resolve,
    reject,
    signals,
    run: (signal: AbortSignal) => {
      signals.push(signal);
      return promise;
    },
  };
}
const never = () => new AbortController().signal;

test('one piece of work for equal keys, one each for different ones', async () => {
  const flights = createSingleFlight<string>();
  const [a, b] = [work(), work()];
  const results = [
    flights.run('a', never(), a.run),
    flights.run('a', never(), b.run),
    flights.run('b', never(), b.run),
  ];
  a.resolve('from a');
  b.resolve('from b');
  assert.deepEqual(await Promise.all(results), ['from a', 'from a', 'from b']);
  assert.equal(a.signals.length, 1);
  assert.equal(b.signals.length, 1);
});

test('nothing is kept once it has landed', async () => {
  const flights = createSingleFlight<number>();
  let runs = 0;
  const count = async () => ++runs;
  assert.equal(await flights.run('a', never(), count), 1);
  assert.equal(await flights.run('a', never(), count), 2);
});

test('a failure reaches everybody', async () => {
  const flights = createSingleFlight<string>();
  const shared = work();
  const results = [flights.run('a', never(), shared.run), flights.run('a', never(), shared.run)];
  shared.reject(new Error('broken'));
  for (const result of results) await assert.rejects(result, /broken/);
});

test('who gives up leaves alone; the last one out ends the work', async () => {
  const flights = createSingleFlight<string>();
  const shared = work();
  const [one, two] = [new AbortController(), new AbortController()];
  const results = [
    flights.run('a', one.signal, shared.run),
    flights.run('a', two.signal, shared.run),
  ];
  one.abort(new Error('one left'));
  await assert.rejects(results[0] as Promise<string>, /one left/);
  assert.equal(shared.signals[0]?.aborted, false);
  two.abort(new Error('two left'));
  await assert.rejects(results[1] as Promise<string>, /two left/);
  assert.equal(shared.signals[0]?.aborted, true);
});

test('who comes after the last one left starts afresh', async () => {
  const flights = createSingleFlight<string>();
  const [abandoned, fresh] = [work(), work()];
  const leaver = new AbortController();
  const left = flights.run('a', leaver.signal, abandoned.run);
  leaver.abort(new Error('left'));
  await assert.rejects(left, /left/);
  const result = flights.run('a', never(), fresh.run);
  abandoned.resolve('stale');
  fresh.resolve('fresh');
  assert.equal(await result, 'fresh');
});

test('who had given up before does not start anything', async () => {
  const flights = createSingleFlight<string>();
  const shared = work();
  await assert.rejects(flights.run('a', AbortSignal.abort(new Error('late')), shared.run), /late/);
  assert.equal(shared.signals.length, 0);
});
