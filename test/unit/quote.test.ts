/** Foreign text that people look at: what is not seen, or turns lines around, is told. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { quoted, unhidden, unhiddenJson } from '../../src/protocol/quote.ts';
import { parseReply } from '../../src/protocol/smtp/reply.ts';

const HIDDEN = [
  ...[0x7f, 0x80, 0x85, 0x9b, 0x9f, 0x61c, 0x200e, 0x200f, 0x2028, 0x2029],
  ...[0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069],
];

describe('what is hidden', () => {
  for (const code of HIDDEN) {
    const character = String.fromCodePoint(code);
    test(`U+${code.toString(16)} is told, and JSON says the same`, () => {
      assert.equal(unhidden(`a${character}b`), `a\\u{${code.toString(16)}}b`);
      const json = unhiddenJson(JSON.stringify({ [character]: `a${character}` }));
      assert.ok(!json.includes(character));
      assert.deepEqual(JSON.parse(json), { [character]: `a${character}` });
    });
  }

  test('letters of every script, and lines, stay', () => {
    for (const text of [
      'Zürich',
      'دامنه\u200cها',
      'שלום',
      '日本',
      '👩\u200d💻',
      'a\n\tb',
      '\u001b[1m',
    ]) {
      assert.equal(unhidden(text), text);
    }
  });

  test('whatever it is, JSON says the same', () => {
    fc.assert(
      fc.property(fc.json(), (json) => {
        assert.deepEqual(JSON.parse(unhiddenJson(json)), JSON.parse(json));
      }),
    );
  });
});

test('a reply cannot turn around the line that it stands in', () => {
  const reply = parseReply('550 5.1.1 no\u0007 such \u009b2J\u202eresu\u2066\r\n');
  assert.equal(reply?.text, 'no  such  2J\\u{202e}resu\\u{2066}');
});

test('in quotes everything is told that is not ASCII', () => {
  assert.equal(quoted('a\u202e"'), '"a\\u{202e}\\""');
});
