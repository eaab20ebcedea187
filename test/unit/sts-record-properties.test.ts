/**
 * What holds of every MTA-STS record (RFC 8461 §3.1): each legal spelling of it is the same
 * record, no illegal one is any, and a second reading of the grammar agrees on what lies between.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { discoverRecord } from '../../src/protocol/mta-sts/record.ts';
import { referenceRecordId } from '../support/sts-grammar.ts';

const octets = (text: string) => Buffer.from(text, 'latin1');
const idOf = (...texts: readonly string[]) => {
  const found = discoverRecord(texts.map((text) => [octets(text)]));
  return found.kind === 'record' ? found.id : undefined;
};

const id = fc.stringMatching(/^[A-Za-z0-9]{1,32}$/);
const value = fc.stringMatching(/^[!-:<>-~]{1,20}$/);
/** Any extension, one that looks like ours included; never `id` itself. */
const extension = fc
  .tuple(fc.stringMatching(/^(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,31}|ID|iD|id[0-9]|v)$/), value)
  .filter(([name]) => name !== 'id')
  .map(([name, text]) => `${name}=${text}`);
const delimiter = fc.stringMatching(/^[ \t]{0,2};[ \t]{0,2}$/);
/** A field that may follow the id: another id is one of them, and means nothing. */
const later = fc.oneof(
  extension,
  value.map((text) => `id=${text.replace(/[^A-Za-z0-9]/g, 'x')}`),
);

interface Spelling {
  readonly id: string;
  readonly text: string;
}

/** A record in one of its spellings; `first` stands behind the version. */
function spelled(first: fc.Arbitrary<string>): fc.Arbitrary<Spelling> {
  return fc
    .record({
      wanted: id,
      before: fc.array(extension, { maxLength: 3 }),
      after: fc.array(later, { maxLength: 3 }),
      first,
      between: fc.infiniteStream(delimiter),
      end: fc.option(delimiter, { nil: '' }),
    })
    .map(({ wanted, before, after, first: behindVersion, between, end }) => {
      const [head = '', ...rest] = [...before, `id=${wanted}`, ...after];
      const tail = rest.map((field) => `${between.next().value}${field}`).join('');
      return { id: wanted, text: `v=STSv1${behindVersion}${head}${tail}${end}` };
    });
}

const record = spelled(delimiter);

describe('a record in any legal spelling', () => {
  test('has its id', () => {
    fc.assert(fc.property(record, (spelling) => assert.equal(idOf(spelling.text), spelling.id)));
  });

  test('wherever its character-strings end', () => {
    const cuts = fc.array(fc.nat(200), { maxLength: 6 });
    fc.assert(
      fc.property(record, cuts, ({ id: wanted, text }, places) => {
        const ends = [...new Set([0, ...places.filter((at) => at < text.length), text.length])];
        const sorted = ends.sort((a, b) => a - b);
        const strings = sorted.slice(1).map((end, index) => octets(text.slice(sorted[index], end)));
        assert.deepEqual(discoverRecord([strings]), { kind: 'record', id: wanted });
      }),
    );
  });

  test('among other TXT records, in any order', () => {
    const other = fc.constantFrom(
      '',
      'v=spf1 -all',
      'v=STSv2; id=x;',
      'V=STSv1; id=x;',
      ' v=STSv1;',
    );
    const others = fc.array(other, { minLength: 1, maxLength: 4 });
    const exact = spelled(fc.stringMatching(/^;[ \t]{0,2}$/));
    fc.assert(
      fc.property(exact, others, fc.nat(4), ({ id: wanted, text }, around, at) => {
        assert.equal(idOf(...around.slice(0, at), text, ...around.slice(at)), wanted);
        // Twice is one too many.
        assert.equal(idOf(text, ...around, text), undefined);
      }),
    );
  });
});

/** Each makes a record that was one into none; `n` picks a place. */
const violations: Readonly<Record<string, (text: string, n: number) => string>> = {
  'an empty field': (text, n) => atDelimiter(text, n, ';;'),
  'an empty field of blanks': (text, n) => atDelimiter(text, n, '; ;'),
  'a blank at the very end': (text) => `${text.replace(/[ \t]*;[ \t]*$/, '')} `,
  'a blank in front': (text) => ` ${text}`,
  'a version in capitals': (text) => text.replace('v=STSv1', 'V=STSV1'),
  'another version': (text) => text.replace('v=STSv1', 'v=STSv11'),
  'a blank in the version': (text) => text.replace('v=STSv1', 'v = STSv1'),
  'no delimiter at all': (text) => text.replaceAll(/[;]/g, ''),
  'a field without a name': (text, n) => atDelimiter(text, n, ';=x;'),
  'a field without a value': (text, n) => atDelimiter(text, n, ';x=;'),
  'a field without a sign': (text, n) => atDelimiter(text, n, ';x;'),
  'a name of 33 characters': (text, n) => atDelimiter(text, n, `;${'n'.repeat(33)}=x;`),
  'a name that begins with a hyphen': (text, n) => atDelimiter(text, n, ';-x=y;'),
  'a second sign in a value': (text, n) => atDelimiter(text, n, ';x=y=z;'),
  'a blank before the sign': (text, n) => atDelimiter(text, n, ';x =y;'),
  'a blank inside a value': (text, n) => atDelimiter(text, n, ';x=y z;'),
  'a line end for a blank': (text, n) => atDelimiter(text, n, ';\r\nx=y;'),
  'a blank that is not ASCII': (text, n) => atDelimiter(text, n, ';\xa0x=y;'),
  'a NUL': (text, n) => atDelimiter(text, n, ';x=\0;'),
  'an octet above 127': (text, n) => atDelimiter(text, n, ';x=\xe9;'),
  'an id of 33 characters': (text) =>
    text.replace(/v=STSv1[ \t]*;/, `v=STSv1;id=${'1'.repeat(33)};`),
  'an id with a hyphen': (text) => text.replace(/v=STSv1[ \t]*;/, 'v=STSv1;id=2016-08;'),
  'an id in quotes': (text) => text.replace(/v=STSv1[ \t]*;/, 'v=STSv1;id="1";'),
};

/** `text` with the n-th of its delimiters, the last one apart, replaced. */
function atDelimiter(text: string, n: number, by: string): string {
  const places = [...text.matchAll(/;(?=.*=)/g)].map(({ index }) => index);
  const at = places[n % places.length] ?? 0;
  return text.slice(0, at) + by + text.slice(at + 1);
}

describe('a record with', () => {
  for (const [what, violate] of Object.entries(violations)) {
    test(`${what} is none`, () => {
      fc.assert(
        fc.property(record, fc.nat(20), ({ text }, n) => {
          assert.equal(idOf(violate(text, n)), undefined);
        }),
      );
    });
  }
});

describe('the second reading agrees', () => {
  test('on every change of one octet', () => {
    const text = 'v=STSv1; x=y ; id=2016a;';
    for (let at = 0; at <= text.length; at++) {
      assert.equal(
        idOf(text.slice(0, at) + text.slice(at + 1)),
        referenceRecordId([text.slice(0, at) + text.slice(at + 1)]),
      );
      for (let octet = 0; octet < 256; octet++) {
        for (const kept of [at, at + 1]) {
          const changed = text.slice(0, at) + String.fromCharCode(octet) + text.slice(kept);
          assert.equal(idOf(changed), referenceRecordId([changed]), JSON.stringify(changed));
        }
      }
    }
  });

  test('on anything made of what records are made of', () => {
    const pieces = [
      'v=STSv1',
      'v=STSv1;',
      ';',
      ' ',
      '\t',
      'id=',
      'a1',
      'x=y',
      '=',
      'id=1',
      '\xa0',
      'v=spf1',
    ];
    const text = fc.string({ unit: fc.constantFrom(...pieces), maxLength: 9 });
    const changed = fc
      .tuple(record, fc.nat(60), text)
      .map(([{ text: good }, at, by]) => good.slice(0, at) + by + good.slice(at + 1));
    fc.assert(
      fc.property(fc.array(fc.oneof(text, changed), { maxLength: 3 }), (texts) => {
        assert.equal(idOf(...texts), referenceRecordId(texts));
      }),
      { numRuns: 3000 },
    );
  });
});
