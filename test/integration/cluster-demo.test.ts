/**
 * `make cluster-demo` in its short form: it ends by itself, says plain lines where there is no terminal, and every
 * promise is kept.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { rateHeld } from '../cluster-demo/limit.ts';
import { redisMissing } from '../support/redis.ts';
import { spawnTied } from '../support/tied-child.ts';

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

test('the demo of several nodes keeps its promises', { skip: redisMissing }, async () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawnTied(process.execPath, [path('../cluster-demo/main.ts'), '--short'], {
    env: { ...env, MAIN: path('../../src/main.ts') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  assert.equal(code, 0, said);
  assert.equal(said.match(/^kept /gm)?.length, 6, said);
  assert.match(said, /kill -9 of all processes of node two/);
  assert.match(said, /^one up: \d+ acknowledged/m);
  assert.doesNotMatch(said, /BROKEN/);
  assert.ok(!said.includes(String.fromCharCode(27)), 'no control characters');
});

test('it would notice a rate that each node counts for itself', () => {
  const rate = { count: 10, perMs: 3000 };
  const arrivals = (perWindow: number) =>
    Array.from(
      { length: 4 * perWindow },
      (_, i) => Math.floor(i / perWindow) * 3001 + (i % perWindow),
    );
  assert.equal(rateHeld(arrivals(10), rate).broken, false);
  assert.equal(rateHeld(arrivals(30), rate).broken, true);
  assert.equal(rateHeld(arrivals(10), rate).most, 10);
});
