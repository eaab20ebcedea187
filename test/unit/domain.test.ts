import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { domainToUnicode } from 'node:url';
import fc from 'fast-check';
import { isDomainSyntax, mxHostName, parseDomain } from '../../src/protocol/domain.ts';

const LABEL_63 = 'a'.repeat(63);
const OCTETS_253 = `${LABEL_63}.${LABEL_63}.${LABEL_63}.${'a'.repeat(61)}`;

/** text, canonical form, why. */
const good: readonly (readonly [string, string, string])[] = [
  ['example.com', 'example.com', 'plain'],
  ['EXAMPLE.Com', 'example.com', 'case'],
  ['example.com.', 'example.com', 'one final dot'],
  ['localhost', 'localhost', 'a single label is a domain'],
  ['a--b.example', 'a--b.example', 'hyphens inside, third and fourth place too'],
  ['1.example', '1.example', 'a label of digits'],
  ['0x7f.example', '0x7f.example', 'only the last label makes a number'],
  ['bücher.example', 'xn--bcher-kva.example', 'U-label'],
  ['BÜCHER.example', 'xn--bcher-kva.example', 'U-label in capitals'],
  ['XN--BCHER-KVA.example', 'xn--bcher-kva.example', 'A-label in capitals'],
  ['faß.example', 'xn--fa-hia.example', 'non-transitional: sharp s is a letter of its own'],
  ['例え。jp', 'xn--r8jz45g.jp', 'ideographic full stop'],
  ['bücher.example。', 'xn--bcher-kva.example', 'ideographic full stop as the final dot'],
  ['почта.рф', 'xn--80a1acny.xn--p1ai', 'no ASCII at all'],
  ['ｅxample.com', 'example.com', 'full-width letter'],
  [`${LABEL_63}.example`, `${LABEL_63}.example`, 'label of 63 octets'],
  [OCTETS_253, OCTETS_253, '253 octets'],
  [`${OCTETS_253}.`, OCTETS_253, '253 octets and the final dot'],
];

/** text, why. */
const bad: readonly (readonly [string, string])[] = [
  ['', 'empty'],
  ['.', 'the root'],
  ['example.com..', 'two final dots'],
  ['.example.com', 'empty first label'],
  ['a..b', 'empty label'],
  ['-a.example', 'leading hyphen'],
  ['a-.example', 'trailing hyphen'],
  ['a_b.example', 'underscore'],
  ['a＿b.example', 'full-width underscore, mapped to one'],
  ['*.example', 'star'],
  ['a b', 'blank'],
  ['a\tb', 'tab, which a URL parser drops'],
  ['a\nb', 'line feed, which a URL parser drops'],
  ['example.com\n', 'line feed at the end'],
  ['ü\nb.example', 'line feed beside a U-label'],
  ['a\0b', 'NUL'],
  ['x/y', 'slash, where a URL parser cuts'],
  ['ü/y', 'slash beside a U-label'],
  ['ü?y', 'question mark beside a U-label'],
  ['ü#y', 'hash beside a U-label'],
  ['ü\\y', 'backslash beside a U-label'],
  ['u@ü.example', 'user part'],
  ['ü.example:80', 'port'],
  ['%61.example', 'percent encoding'],
  ['%61.ü.example', 'percent encoding beside a U-label'],
  ['％61.example', 'full-width percent sign'],
  ['192.0.2.1', 'IPv4 address'],
  ['192.0.2.1.', 'IPv4 address, final dot'],
  ['１２７.0.0.1', 'IPv4 address, full-width digits'],
  ['127。0。0。1', 'IPv4 address, ideographic full stops'],
  ['0x7f.1', 'IPv4 address, hexadecimal and short'],
  ['0x7f000001', 'IPv4 address, one hexadecimal number'],
  ['０x7f', 'IPv4 address, full-width zero'],
  ['2130706433', 'IPv4 address, one decimal number'],
  ['example.123', 'all digits at the top'],
  ['example.0x1', 'a hexadecimal number at the top'],
  ['[192.0.2.1]', 'address literal'],
  ['[::1]', 'bracketed IPv6 address'],
  ['::1', 'IPv6 address'],
  ['℀.example', 'maps to a/c'],
  ['\u00ad', 'maps to nothing'],
  ['\u00ad.example', 'maps to an empty label'],
  ['\u202eabc.example', 'direction override'],
  ['ex\u200dample.com', 'joiner out of context'],
  ['\ud800.example', 'half a surrogate pair'],
  [`${LABEL_63}a.example`, 'label of 64 octets'],
  [`${'ü'.repeat(60)}.example`, 'label over 63 octets as an A-label'],
  [`${OCTETS_253}a`, '254 octets'],
  ['ü'.repeat(2000), 'far too long'],
];

describe('parseDomain', () => {
  for (const [text, name, why] of good) {
    test(`takes ${why}`, () => assert.equal(parseDomain(text), name));
  }
  for (const [text, why] of bad) {
    test(`refuses ${why}`, () => assert.equal(parseDomain(text), undefined));
  }

  test('is canonical, LDH and bounded for any text', () => {
    const anyText = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom(...'aZ09-._%/@:[]\t\nü。．é\u200d１') }),
      fc.domain(),
    );
    fc.assert(
      fc.property(anyText, (text) => {
        const name = parseDomain(text);
        if (name === undefined) return;
        assert.match(name, /^[a-z0-9-]+(?:\.[a-z0-9-]+)*$/);
        assert.ok(name.length <= 253);
        assert.equal(parseDomain(name), name);
        assert.equal(parseDomain(`${name}.`), name);
        assert.ok(isDomainSyntax(name));
        assert.equal(mxHostName(name), name);
      }),
    );
  });
});

describe('a domain in U-labels', () => {
  const uLabel = fc.constantFrom('bücher', 'почта', '例え', 'faß', 'ελλάς', '한국', 'é', '𐐨');
  const aLabel = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
  const labels = fc.tuple(uLabel, fc.array(fc.oneof(uLabel, aLabel), { maxLength: 4 }));
  const dot = fc.constantFrom('.', '\u3002', '\uff0e', '\uff61');

  test('is one domain, whatever its case, its full stops and its final dot', () => {
    fc.assert(
      fc.property(labels, dot, ([first, rest], stop) => {
        const all = [first, ...rest];
        const name = parseDomain(all.join('.'));
        assert.ok(name);
        assert.equal(name.split('.').length, all.length);
        const capitals = all.map((label) => (/ß|ς/.test(label) ? label : label.toUpperCase()));
        for (const spelling of [all, capitals]) {
          assert.equal(parseDomain(spelling.join(stop)), name);
          assert.equal(parseDomain(spelling.join('.') + stop), name);
        }
        // Unicode has two ways to write an umlaut.
        assert.equal(parseDomain(all.join('.').normalize('NFD')), name);
        assert.equal(parseDomain(domainToUnicode(name)), name);
        assert.equal(mxHostName(all.join('.')), undefined);
      }),
    );
  });
});

describe('mxHostName', () => {
  test('takes what a domain may be, and underscores', () => {
    assert.equal(mxHostName('MX_1._in.Example.'), 'mx_1._in.example');
  });

  for (const [text, why] of [
    ['', 'the root of a null MX'],
    ['192.0.2.1', 'an address'],
    ['bücher.example', 'raw UTF-8: another name than its A-label'],
    ['mx-.example', 'a trailing hyphen'],
    ['mx 1.example', 'a blank'],
    ['mx\n.example', 'a line feed'],
    [`${LABEL_63}_.example`, 'a label of 64 octets'],
  ] as const) {
    test(`refuses ${why}`, () => assert.equal(mxHostName(text), undefined));
  }
});

describe('isDomainSyntax', () => {
  test('judges text as it stands', () => {
    for (const text of ['Mail', 'MX1.Example', '192.0.2.1', LABEL_63])
      assert.ok(isDomainSyntax(text));
    for (const text of ['', 'a.', 'a_b', 'ü.example', '*.example', `${LABEL_63}a`]) {
      assert.ok(!isDomainSyntax(text), text);
    }
  });

  test('does not take the Kelvin sign for a k', () => assert.ok(!isDomainSyntax('\u212A.example')));
});
