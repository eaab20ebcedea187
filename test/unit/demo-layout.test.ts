/**
 * How the demo's board looks at every width: nothing is wider than the screen, nothing gets lost.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  type BoardRow,
  briefBoard,
  commandLines,
  fullBoard,
  jsonLines,
  type Paint,
  wrap,
} from '../demo/layout.ts';
import { shownMetrics } from '../demo/metrics-shown.ts';
import { POSTURES } from '../demo/postures.ts';
import type { Step } from '../demo/story.ts';

const plain: Paint = (_colour, text) => text;
const LONG: Step = {
  kind: 'held',
  brief: 'held: certificate-expired',
  text: `held: ${'a reason that goes on and on '.repeat(8)}and ends; tried again in 10 min`,
};
const ROWS: readonly BoardRow[] = POSTURES.map(({ domain, words }, i) => ({
  domain,
  words,
  steps: i % 2 === 0 ? [] : [LONG],
  last: i % 2 === 0 ? undefined : LONG,
}));

describe('the board of the demo', () => {
  test('fits on the screen', () => {
    for (let columns = 80; columns <= 200; columns += 1) {
      const brief = briefBoard(ROWS, { columns, paint: plain, spinner: '|' });
      assert.equal(brief.length, ROWS.length);
      for (const line of [...brief, ...fullBoard(ROWS, { columns, paint: plain })]) {
        assert.ok(line.length <= columns, `${line.length} of ${columns}: ${line}`);
      }
    }
  });

  test('tells everything, whatever the width', () => {
    for (const columns of [80, 123, 200]) {
      const text = fullBoard(ROWS, { columns, paint: plain }).join(' ').replace(/\s+/g, ' ');
      for (const { words } of ROWS) assert.ok(text.includes(words), words);
      assert.ok(text.includes(LONG.text));
    }
  });
});

test('words are wrapped, and none is lost or cut', () => {
  const words = fc.array(fc.stringMatching(/^[a-z]{1,30}$/), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(words, fc.integer({ min: 30, max: 120 }), (list, width) => {
      const lines = wrap(list.join(' '), width);
      assert.deepEqual(lines.join(' '), list.join(' '));
      for (const line of lines) assert.ok(line.length <= width);
    }),
  );
});

test('a long command line is broken before its options', () => {
  const words = [
    'stsrelay',
    'override',
    'add',
    'expired.example',
    '--tls',
    'encrypt',
    '--for',
    '2h',
  ];
  assert.deepEqual(commandLines(words, 80), [words.join(' ')]);
  assert.deepEqual(commandLines(words, 50), [
    'stsrelay override add expired.example \\',
    '    --tls encrypt \\',
    '    --for 2h',
  ]);
});

test('short JSON says the same', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.integer({ min: 40, max: 120 }), (value, width) => {
      const text = jsonLines(value, width).join('\n');
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)));
    }),
  );
  const text = jsonLines({ a: [1, 2], b: { c: 'x'.repeat(40) }, d: [] }, 40).join('\n');
  assert.equal(
    text,
    `{\n  "a": [ 1, 2 ],\n  "b": {\n    "c": "${'x'.repeat(40)}"\n  },\n  "d": []\n}`,
  );
});

test('a metric that is not there is an error, not a gap', () => {
  assert.throws(() => shownMetrics('stsrelay_overrides_active 1\n'), /\/metrics has no stsrelay_/);
});
