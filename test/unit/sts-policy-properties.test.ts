/**
 * What holds of every MTA-STS policy (RFC 8461 §3.2, §3.3): it says what its lines say, in each
 * legal spelling; whatever breaks the grammar is no policy; and no damage makes an enforce
 * policy a weaker one.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  judgeFetchResponse,
  MAX_MAX_AGE_SECONDS,
  parsePolicy,
  type StsPolicy,
} from '../../src/protocol/mta-sts/policy.ts';
import { referencePolicy } from '../support/sts-grammar.ts';

function termsOf(
  text: string | Buffer,
): Pick<StsPolicy, 'mode' | 'mx' | 'maxAgeSeconds'> | undefined {
  const verdict = parsePolicy(Buffer.from(text as string));
  if (!verdict.ok) return undefined;
  const { mode, mx, maxAgeSeconds } = verdict.policy;
  return { mode, mx, maxAgeSeconds };
}

const label = fc.stringMatching(/^[A-Za-z0-9](?:[A-Za-z0-9-]{0,8}[A-Za-z0-9])?$/);
const domain = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
const pattern = fc.tuple(fc.constantFrom('', '*.'), domain).map(([star, name]) => star + name);
/** Names that no single change of an octet makes one of ours. */
const extension = fc
  .tuple(
    fc.stringMatching(/^[A-Z][A-Za-z0-9_.-]{6,20}$/),
    fc.stringMatching(/^[!-~ü€]{1,10}(?: [!-~]{1,5})?$/),
  )
  .map(([name, value]) => ({ name, value }));
const blanks = fc.stringMatching(/^[ \t]{0,2}$/);

interface Model {
  readonly mode: 'enforce' | 'testing' | 'none';
  readonly mx: readonly string[];
  readonly maxAge: number;
  readonly extensions: readonly { readonly name: string; readonly value: string }[];
}

const anyModel: fc.Arbitrary<Model> = fc.record({
  mode: fc.constantFrom('enforce', 'testing', 'none'),
  mx: fc.array(pattern, { minLength: 1, maxLength: 4 }),
  maxAge: fc.integer({ min: 0, max: MAX_MAX_AGE_SECONDS }),
  extensions: fc.array(extension, { maxLength: 2 }),
});
const enforced = anyModel.map((model): Model => ({ ...model, mode: 'enforce' }));

/** The lines of a model, the mx ones in their order and all others anywhere. */
function linesOf({ mode, mx, maxAge, extensions }: Model): { name: string; value: string }[] {
  return [
    { name: 'version', value: 'STSv1' },
    { name: 'mode', value: mode },
    ...mx.map((value) => ({ name: 'mx', value })),
    ...extensions,
    { name: 'max_age', value: String(maxAge) },
  ];
}

const plain = (model: Model) =>
  linesOf(model)
    .map(({ name, value }) => `${name}: ${value}\n`)
    .join('');

/** A model, and its text in one of its spellings. */
const spelled = fc
  .record({
    model: anyModel,
    turn: fc.nat(20),
    blank: fc.infiniteStream(blanks),
    end: fc.infiniteStream(fc.constantFrom('\n', '\r\n')),
    last: fc.constantFrom('', '\n', '\r\n'),
  })
  .map(({ model, turn, blank, end, last }) => {
    const lines = linesOf(model);
    const by = turn % lines.length;
    const turned = [...lines.slice(by), ...lines.slice(0, by)];
    const texts = turned.map(
      ({ name, value }) => `${name}:${blank.next().value}${value}${blank.next().value}`,
    );
    const mx = turned.filter(({ name }) => name === 'mx').map(({ value }) => value.toLowerCase());
    const text = texts.reduce((before, line) => `${before}${end.next().value}${line}`) + last;
    return { model, mx, text };
  });

describe('a policy in any legal spelling', () => {
  test('says what its lines say', () => {
    fc.assert(
      fc.property(spelled, ({ model, mx, text }) => {
        assert.deepEqual(termsOf(text), { mode: model.mode, mx, maxAgeSeconds: model.maxAge });
      }),
    );
  });

  test('of a repeated field, with another value, the first counts', () => {
    const repeated = fc.constantFrom(
      'mode: none',
      'mode: testing',
      'mode: x',
      'max_age: 0',
      'max_age: x',
      'version: x',
    );
    fc.assert(
      fc.property(enforced, fc.array(repeated), (model, more) => {
        assert.deepEqual(termsOf(plain(model) + more.join('\n')), termsOf(plain(model)));
      }),
    );
  });

  test('max_age has one to ten digits, and counts up to about a year', () => {
    fc.assert(
      fc.property(anyModel, fc.stringMatching(/^[0-9]{1,14}$/), (model, digits) => {
        const terms = termsOf(plain(model).replace(/max_age: .*/, `max_age: ${digits}`));
        const expected =
          digits.length > 10 ? undefined : Math.min(Number(digits), MAX_MAX_AGE_SECONDS);
        assert.equal(terms?.maxAgeSeconds, expected);
      }),
    );
  });

  test('is one as text/plain of a 200 only', () => {
    const response = fc.record({
      status: fc.oneof(fc.constant(200), fc.integer({ min: 100, max: 599 })),
      contentType: fc.constantFrom(
        'text/plain',
        'Text/Plain ; charset=x',
        'text/html',
        'text/plain2',
        '',
        undefined,
      ),
    });
    fc.assert(
      fc.property(anyModel, response, (model, { status, contentType }) => {
        const verdict = judgeFetchResponse({
          status,
          contentType,
          body: Buffer.from(plain(model)),
        });
        assert.equal(verdict.ok, status === 200 && /^text\/plain(?: ;|$)/i.test(contentType ?? ''));
      }),
    );
  });
});

/** Each makes a policy that was one into none; `n` picks a place. */
const violations: Readonly<Record<string, (text: string, n: number) => string>> = {
  'an empty line': (text, n) => atLine(text, n, (line) => `\n${line}`),
  'a line of blanks': (text, n) => atLine(text, n, (line) => ` \t\n${line}`),
  'a line without a colon': (text, n) => atLine(text, n, (line) => line.replace(/:.*/, '')),
  'mode enforce, colon forgotten': (text) => text.replace('mode:', 'mode'),
  'a line without a value': (text, n) => atLine(text, n, (line) => line.replace(/:.*/, ':')),
  'a line without a name': (text, n) => atLine(text, n, (line) => line.replace(/.*:/, ':')),
  'a blank in front of a name': (text, n) => atLine(text, n, (line) => ` ${line}`),
  'a blank before the colon': (text, n) => atLine(text, n, (line) => line.replace(':', ' :')),
  'a name of 33 characters': (text, n) =>
    atLine(text, n, (line) => `${'n'.repeat(33)}: x\n${line}`),
  'a lone CR': (text, n) => atLine(text, n, (line) => `x: y\r${line}`),
  'two CRs before an LF': (text, n) => atLine(text, n, (line) => `${line}\r\r`),
  'a TAB inside a value': (text, n) => atLine(text, n, (line) => `x: y\tz\n${line}`),
  'a control character': (text, n) => atLine(text, n, (line) => `${line.replace(': ', ': \x1b')}`),
  'a NUL behind a value': (text, n) => atLine(text, n, (line) => `${line}\0`),
  'a byte order mark': (text) => `\ufeff${text}`,
  'a continuation line': (text, n) => atLine(text, n, (line) => line.replace(': ', ':\n ')),
  'a colon that is none': (text, n) => atLine(text, n, (line) => line.replace(':', '\uff1a')),
  'another version': (text) => text.replace('STSv1', 'STSv2'),
  'a version in small letters': (text) => text.replace('STSv1', 'stsv1'),
  'no version': (text) => text.replace(/version: .*\n/, ''),
  'no mode': (text) => text.replace(/mode: .*\n/, ''),
  'no max_age': (text) => text.replace(/max_age: .*\n/, ''),
  'a mode with a capital': (text) => text.replace('mode: e', 'mode: E'),
  'a mode and a comment': (text) => text.replace(/mode: .*/, '$& # really'),
  'a signed max_age': (text) => text.replace('max_age: ', 'max_age: +'),
  'a max_age with a fraction': (text) => text.replace(/max_age: .*/, '$&.0'),
  'a max_age in another script': (text) => text.replace(/max_age: .*/, 'max_age: ٦٠'),
  'a max_age with a separator': (text) => text.replace(/max_age: .*/, 'max_age: 604,800'),
  'an mx with a final dot': (text) => text.replace(/mx: .*/, '$&.'),
  'an mx with an underscore': (text) => text.replace(/mx: .*/, '$&_'),
  'an mx in U-labels': (text) => text.replace(/mx: .*/, 'mx: bücher.example'),
  'an mx that is a lone star': (text) => text.replace(/mx: .*/, 'mx: *'),
  'two stars': (text) => text.replace(/mx: .*/, 'mx: *.*.example'),
  'a star inside': (text) => text.replace(/mx: .*/, 'mx: a*.example'),
  'an mx with a port': (text) => text.replace(/mx: .*/, 'mx: mx.example:25'),
  'several mx on a line': (text) => text.replace(/mx: .*/, 'mx: a.example, b.example'),
  'an mx with the Kelvin sign': (text) => text.replace(/mx: .*/, 'mx: \u212a.example'),
  'no mx': (text) => text.replace(/mx: .*\n/g, ''),
};

function atLine(text: string, n: number, change: (line: string) => string): string {
  const lines = text.split('\n').slice(0, -1);
  const at = n % lines.length;
  return [...lines.slice(0, at), change(lines[at] ?? ''), ...lines.slice(at + 1), ''].join('\n');
}

describe('a policy with', () => {
  for (const [what, violate] of Object.entries(violations)) {
    test(`${what} is none`, () => {
      fc.assert(
        fc.property(enforced, fc.nat(20), (model, n) => {
          assert.equal(termsOf(violate(plain(model), n)), undefined);
        }),
      );
    });
  }

  test('octets that are no UTF-8 is none', () => {
    const bad = fc.constantFrom([0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xc3]);
    fc.assert(
      fc.property(enforced, bad, fc.nat(20), (model, octets, n) => {
        const text = atLine(plain(model), n, (line) => `${line}\0`);
        const [before = '', after = ''] = text.split('\0');
        const broken = Buffer.concat([
          Buffer.from(before),
          Buffer.from(octets),
          Buffer.from(after),
        ]);
        assert.equal(termsOf(broken), undefined);
      }),
    );
  });
});

describe('damage', () => {
  const damaged = [
    'version: STSv1\r\nmode: enforce\r\nmx: mx1.example\r\nmx: *.mx.example\r\nmax_age: 604800\r\n',
    'max_age: 10\nmode: enforce\nComment: mode: none\nmx: none\nversion: STSv1',
  ];
  for (const text of damaged) {
    test(`to one octet makes no weaker mode of ${JSON.stringify(text.slice(0, 40))}`, () => {
      const octets = Buffer.from(text);
      for (let at = 0; at <= octets.length; at++) {
        const [before, from, after] = [
          octets.subarray(0, at),
          octets.subarray(at),
          octets.subarray(at + 1),
        ];
        assertNoWeaker(Buffer.concat([before, after]));
        for (let octet = 0; octet < 256; octet++) {
          assertNoWeaker(Buffer.concat([before, Buffer.of(octet), after]));
          assertNoWeaker(Buffer.concat([before, Buffer.of(octet), from]));
        }
      }
    });
  }

  test('to a few octets of any enforce policy, or an end cut off, makes no weaker mode', () => {
    const change = fc.tuple(fc.nat(200), fc.constantFrom(0, 1), fc.uint8Array({ maxLength: 2 }));
    fc.assert(
      fc.property(
        enforced,
        fc.array(change, { minLength: 1, maxLength: 2 }),
        fc.nat(200),
        (model, changes, end) => {
          let octets = Buffer.from(plain(model));
          assertNoWeaker(octets.subarray(0, end));
          for (const [at, gone, by] of changes) {
            octets = Buffer.concat([octets.subarray(0, at), by, octets.subarray(at + gone)]);
          }
          assertNoWeaker(octets);
        },
      ),
      { numRuns: 3000 },
    );
  });

  function assertNoWeaker(octets: Buffer): void {
    const terms = termsOf(octets);
    if (terms === undefined) return;
    assert.equal(terms.mode, 'enforce', JSON.stringify(octets.toString('latin1')));
    assert.ok(terms.mx.length > 0);
  }
});

test('the second reading agrees on anything made of what policies are made of', () => {
  const pieces = [
    'version: STSv1',
    'mode: enforce',
    'mode: none',
    'mx: a.example',
    'mx: *.b',
    'max_age: 9',
    '\n',
    '\r\n',
    '\r',
    ':',
    ' ',
    '\t',
    'x: y',
    'ü',
    '\u2028',
    '\x7f',
    '.',
    '*.',
    '0',
  ];
  const piece = fc.constantFrom(...pieces);
  const change = fc.tuple(fc.nat(120), fc.nat(2), fc.string({ unit: piece, maxLength: 2 }));
  fc.assert(
    fc.property(spelled, fc.array(change, { maxLength: 3 }), ({ text }, changes) => {
      const changed = changes.reduce(
        (now, [at, gone, by]) => now.slice(0, at) + by + now.slice(at + gone),
        text,
      );
      assert.deepEqual(termsOf(changed), referencePolicy(changed), JSON.stringify(changed));
    }),
    { numRuns: 3000 },
  );
});
