/** A-labels on the admin page as people read them: what Node.js says of the same, and nothing that deceives. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { domainToASCII, domainToUnicode } from 'node:url';
import fc from 'fast-check';
import { asciiOf, unicodeOf } from '../../src/admin/page/u-label.ts';

describe('U-labels beside A-labels', () => {
  const good = [
    ['xn--bcher-kva.example', 'bücher.example'],
    ['mx.xn--bcher-kva.xn--p1ai', 'mx.bücher.рф'],
    ['xn--mgbh0fb.xn--kgbechtv', 'مثال.إختبار'],
    ['xn--n3h.example', '☃.example'],
    ['xn--fiqs8s', '中国'],
    ['xn--strae-oqa.example', 'straße.example'],
  ] as const;
  for (const [ascii, unicode] of good) {
    test(`${ascii} is ${unicode}`, () => {
      assert.equal(unicodeOf(ascii), unicode);
      assert.equal(asciiOf(unicode), ascii);
    });
  }

  /** A name, why nothing stands beside it. */
  const none = [
    ['example.org', 'no A-label'],
    ['xn--.example', 'nothing in it'],
    ['xn--a.example', 'no Punycode of anything that would be written so'],
    ['xn--bcher-kva-.example', 'another way to write it'],
    ['xn--99999999999999999.example', 'beyond Unicode'],
    ['xn--a b.example', 'no name'],
    ['xn--ab-j1t.example', 'a character that nobody sees'],
    ['xn--ab-m1t.example', 'a zero width joiner'],
  ] as const;
  for (const [name, why] of none) {
    test(`${name}: nothing, ${why}`, () => assert.equal(unicodeOf(name), undefined));
  }

  test('whatever Node.js writes in A-labels comes back, and whatever comes fits them', () => {
    let shown = 0;
    const label = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 });
    const made = fc.property(fc.oneof(label, fc.stringMatching(/^[a-z0-9-]{1,30}$/)), (text) => {
      for (const name of [domainToASCII(`${text}.example`), `xn--${text}.example`]) {
        const unicode = unicodeOf(name);
        if (unicode === undefined) continue;
        shown += 1;
        assert.equal(domainToASCII(unicode), name);
        assert.equal(unicode, domainToUnicode(name));
      }
    });
    fc.assert(made, { numRuns: 2000 });
    assert.ok(shown > 50, `${shown}`);
  });
});
