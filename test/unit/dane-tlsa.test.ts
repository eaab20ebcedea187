/** TLSA records: reading them, which of them can be used, which of them count. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  formatTlsa,
  parseTlsa,
  parseTlsaText,
  type TlsaRecord,
  tlsaName,
} from '../../src/protocol/dane/tlsa.ts';
import { isUsable, strongestOnly, usableRecords } from '../../src/protocol/dane/usable.ts';
import { daneCertificate } from '../support/dane-certificates.ts';

const LEAF = daneCertificate('leafA');
const octets = (length: number) => 'ab'.repeat(length);

function record(text: string): TlsaRecord {
  return parseTlsaText(text) ?? assert.fail(`no TLSA record: ${text}`);
}

const anyRecord = fc
  .tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.uint8Array({ maxLength: 80 }))
  .map(([usage, selector, matchingType, data]) => ({
    ...{ usage, selector, matchingType },
    data: Buffer.from(data),
  }));

describe('reading', () => {
  test('what is written comes back', () => {
    fc.assert(
      fc.property(anyRecord, (one) => {
        assert.deepEqual(parseTlsaText(formatTlsa(one)), one);
        const { usage, selector, matchingType, data } = one;
        const rdata = Buffer.concat([Buffer.of(usage, selector, matchingType), data]);
        assert.deepEqual(parseTlsa(rdata), one);
      }),
    );
  });

  test('the data may be written with blanks and capitals', () => {
    assert.equal(formatTlsa(record('3 1 1 AB cd\tEF')), '3 1 1 abcdef');
  });

  test('what is too short is none; without data it is one that nobody can use', () => {
    assert.equal(parseTlsa(Buffer.of(3, 1)), undefined);
    assert.equal(formatTlsa(parseTlsa(Buffer.of(3, 1, 1)) ?? assert.fail()), '3 1 1 ');
  });

  for (const text of [
    '',
    '3 1',
    '3 1 256 ab',
    '3 1 1 abc',
    '3 1 1 xy',
    '-3 1 1 ab',
    '3 1 1e0 ab',
  ]) {
    test(`"${text}" is none`, () => assert.equal(parseTlsaText(text), undefined));
  }

  test('where they stand', () => {
    assert.equal(tlsaName('mx.dane.example', 25), '_25._tcp.mx.dane.example');
  });
});

const USABLE: readonly (readonly [text: string, usable: boolean, why: string])[] = [
  [`3 1 1 ${octets(32)}`, true, 'DANE-EE, key, SHA2-256'],
  [`3 0 2 ${octets(64)}`, true, 'DANE-EE, certificate, SHA2-512'],
  [`2 1 1 ${octets(32)}`, true, 'DANE-TA'],
  [`3 0 0 ${LEAF.der.toString('hex')}`, true, 'a whole certificate'],
  [`2 1 0 ${LEAF.spki.toString('hex')}`, true, 'a whole key'],
  [`1 1 1 ${octets(32)}`, false, 'PKIX-EE means nothing for SMTP'],
  [`0 1 1 ${octets(32)}`, false, 'nor does PKIX-TA'],
  [`4 1 1 ${octets(32)}`, false, 'no such usage'],
  [`255 1 1 ${octets(32)}`, false, 'for private use'],
  [`3 2 1 ${octets(32)}`, false, 'no such selector'],
  [`3 1 3 ${octets(32)}`, false, 'no such matching type'],
  [`3 1 1 ${octets(31)}`, false, 'a digest that is too short'],
  [`3 1 1 ${octets(33)}`, false, 'a digest that is too long'],
  [`3 1 2 ${octets(32)}`, false, 'SHA2-512 with the length of SHA2-256'],
  ['3 1 1 ', false, 'no digest'],
  ['3 0 0 ', false, 'no certificate'],
  ['2 0 0 deadbeef', false, 'no certificate, either'],
  [`3 0 0 ${LEAF.der.toString('hex')}00`, false, 'a certificate, and something after it'],
  [`3 0 0 ${LEAF.spki.toString('hex')}`, false, 'a key where a certificate should be'],
  [`3 1 0 ${LEAF.der.toString('hex')}`, false, 'a certificate where a key should be'],
];

describe('usable (RFC 7672 §2.2)', () => {
  for (const [text, usable, why] of USABLE) {
    test(`R155 R156 R174 ${usable ? 'yes' : 'no'}: ${why}`, () =>
      assert.equal(isUsable(record(text)), usable));
  }

  test('of a flood only so many count', () => {
    const flood = Array.from({ length: 500 }, () => record(`3 1 1 ${octets(32)}`));
    assert.equal(usableRecords(flood).length, 64);
  });
});

describe('the strongest digest (RFC 7671 §9)', () => {
  const kept = (...texts: string[]) =>
    strongestOnly(texts.map(record)).map(({ usage, selector, matchingType }) =>
      [usage, selector, matchingType].join(' '),
    );
  const weak = octets(32);
  const strong = octets(64);

  test('R170 silences the weaker one of the same usage and selector', () => {
    assert.deepEqual(kept(`3 1 1 ${weak}`, `3 1 2 ${strong}`), ['3 1 2']);
  });
  test('and no other', () => {
    const texts = [`3 0 1 ${weak}`, `2 1 1 ${weak}`, `3 1 2 ${strong}`];
    assert.deepEqual(kept(...texts), ['3 0 1', '2 1 1', '3 1 2']);
  });
  test('full values count always', () => {
    const whole = `3 1 0 ${LEAF.spki.toString('hex')}`;
    assert.deepEqual(kept(whole, `3 1 2 ${strong}`), ['3 1 0', '3 1 2']);
  });
  test('never leaves a usage and selector without any', () => {
    fc.assert(
      fc.property(fc.array(anyRecord), (records) => {
        const keys = (some: readonly TlsaRecord[]) =>
          [...new Set(some.map(({ usage, selector }) => `${usage} ${selector}`))].sort();
        assert.deepEqual(keys(strongestOnly(records)), keys(records));
      }),
    );
  });
});
