/** Lines folded for a terminal: none is wider than it, nothing is lost, labels stand alone. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { fold } from '../../src/cli/fold.ts';

const on = (columns: number) => ({ isTTY: true, columns });

describe('a long line', () => {
  test('is broken between words, below the text behind its label', () => {
    assert.equal(
      fold('waits       mx.example: certificate has expired, and nobody minds', on(40)),
      `waits       mx.example: certificate has
            expired, and nobody minds`,
    );
    assert.equal(
      fold('  last failure   fetching the policy of dest.example failed', on(40)),
      `  last failure   fetching the policy of
                 dest.example failed`,
    );
  });

  test('without a label goes on a little deeper', () => {
    assert.equal(
      fold('    deferred: bob@dest.example: 450 4.7.1 come back in five minutes', on(44)),
      `    deferred: bob@dest.example: 450 4.7.1
      come back in five minutes`,
    );
  });

  test('stays whole anywhere but on a terminal', () => {
    const line = 'word '.repeat(100);
    assert.equal(fold(line, {}), line);
    assert.equal(fold(line, { isTTY: false, columns: 80 }), line);
  });

  test('keeps a word that is longer than the screen in one piece', () => {
    const word = 'x'.repeat(90);
    assert.deepEqual(fold(`a ${word} b`, on(60)).split('\n'), ['a', `  ${word}`, '  b']);
  });
});

test('whatever is folded has the same words, and no line is too wide', () => {
  const line = fc
    .array(fc.stringMatching(/^[a-z]{1,12}$/), { minLength: 1, maxLength: 60 })
    .map((words) => words.join(' '));
  const indent = fc.nat({ max: 16 }).map((width) => ' '.repeat(width));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(indent, line)),
      fc.integer({ min: 60, max: 200 }),
      (all, columns) => {
        const text = all.map((parts) => parts.join('')).join('\n');
        const folded = fold(text, on(columns));
        assert.deepEqual(folded.split(/\s+/), text.split(/\s+/));
        for (const one of folded.split('\n')) assert.ok(one.length <= columns);
      },
    ),
  );
});
