import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isListedMx, matchesMxPattern } from '../../src/protocol/mta-sts/match.ts';
import {
  isMxPattern,
  judgeFetchResponse,
  MAX_MAX_AGE_SECONDS,
  parsePolicy,
} from '../../src/protocol/mta-sts/policy.ts';

const TEXT =
  'version: STSv1\r\nmode: enforce\r\nmx: MX1.Example\r\nmx: *.mx.example\nmax_age: 60\r\n';
const OK = { status: 200, contentType: 'text/plain', body: Buffer.from(TEXT) };

describe('judgeFetchResponse', () => {
  test('gives the policy with its text as published', () => {
    assert.deepEqual(judgeFetchResponse(OK), {
      ok: true,
      policy: {
        mode: 'enforce',
        mx: ['mx1.example', '*.mx.example'],
        maxAgeSeconds: 60,
        text: TEXT,
        lines: [
          'version: STSv1',
          'mode: enforce',
          'mx: MX1.Example',
          'mx: *.mx.example',
          'max_age: 60',
        ],
      },
    });
  });

  const bad = [
    ['status', { ...OK, status: 404 }],
    ['status', { ...OK, status: 304 }],
    ['content-type', { ...OK, contentType: undefined }],
    ['content-type', { ...OK, contentType: '' }],
    ['content-type', { ...OK, contentType: 'text/plain, text/html' }],
    ['content-type', { ...OK, contentType: 'text/html; x=text/plain' }],
    ['too-large', { ...OK, body: Buffer.alloc(65_537, 'a') }],
    ['syntax', { ...OK, body: Buffer.alloc(0) }],
    ['syntax', { ...OK, body: Buffer.from([0xff]) }],
    ['syntax', { ...OK, body: Buffer.from(`\ufeff${TEXT}`) }],
  ] as const;
  for (const [reason, response] of bad) {
    test(`${reason}: ${response.status} ${response.contentType} ${response.body.length}`, () => {
      const verdict = judgeFetchResponse(response);
      assert.equal(verdict.ok, false);
      assert.equal(!verdict.ok && verdict.reason, reason);
    });
  }
});

/** Replaces one line of a good policy; what the detail must name. */
const malformed: readonly (readonly [string, string, string])[] = [
  ['mode: enforce', 'mode enforce', 'line 2 is malformed: "mode enforce"'],
  ['mode: enforce', '', 'line 2 is malformed: ""'],
  ['mode: enforce', 'mode: Enforce', 'malformed mode "Enforce"'],
  ['mode: enforce', 'Mode: enforce', 'no mode'],
  ['mode: enforce', 'mode:', 'line 2 is malformed'],
  ['mode: enforce', 'mode: en\u001bforce', 'line 2 is malformed: "mode: en\\u{1b}force"'],
  ['version: STSv1', 'version: STSv2', 'malformed version "STSv2"'],
  ['max_age: 60', 'max_age: +60', 'malformed max_age "+60"'],
  ['max_age: 60', 'max_age: ٦٠', 'malformed max_age "\\u{666}\\u{660}"'],
  ['max_age: 60', 'max_age: 60\u2028x: y', 'malformed max_age'],
  ['mx: MX1.Example', 'mx: bücher.example', 'malformed mx "b\\u{fc}cher.example"'],
  ['mx: MX1.Example', 'mx: \u212Amx.example', 'malformed mx'],
  ['mx: MX1.Example', 'mx: mx1.example.', 'malformed mx "mx1.example."'],
];

describe('parsePolicy', () => {
  for (const [line, replacement, detail] of malformed) {
    test(`refuses ${JSON.stringify(replacement)} for ${line}`, () => {
      const verdict = parsePolicy(Buffer.from(TEXT.replace(line, replacement)));
      assert.ok(!verdict.ok);
      assert.ok(verdict.detail.startsWith(detail), verdict.detail);
      // RFC 8460 §4.3.2.2 reports the text with its errors.
      assert.equal(verdict.lines.length, 5);
    });
  }

  test('a later duplicate is not read, a malformed one still breaks the grammar', () => {
    assert.ok(parsePolicy(Buffer.from(`${TEXT}mode: nonsense\n`)).ok);
    assert.ok(!parsePolicy(Buffer.from(`${TEXT}mode\n`)).ok);
  });

  test('no lifetime is longer than the maximum', () => {
    const verdict = parsePolicy(Buffer.from(TEXT.replace('60', '9999999999')));
    assert.equal(verdict.ok && verdict.policy.maxAgeSeconds, MAX_MAX_AGE_SECONDS);
  });

  test('takes linear time on runs of blanks', () => {
    const startedAt = process.hrtime.bigint();
    parsePolicy(Buffer.from(`a: x${' '.repeat(65_000)}x\n`));
    assert.ok(process.hrtime.bigint() - startedAt < 1_000_000_000n);
  });

  test('never throws, never gives a policy that lacks its terms', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        ...TEXT.split(/(?<=\n)/),
        'version',
        'mode: none',
        'mx: ',
        ':',
        '\r',
        '\n',
        '*.',
        ' ',
      ),
      fc.string({ unit: 'binary', maxLength: 3 }),
    );
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const verdict = parsePolicy(Buffer.from(pieces.join('')));
        if (!verdict.ok) return;
        const { mode, mx, maxAgeSeconds } = verdict.policy;
        assert.ok(['enforce', 'testing', 'none'].includes(mode));
        assert.ok(mode === 'none' || mx.length > 0);
        assert.ok(mx.every(isMxPattern));
        assert.ok(maxAgeSeconds >= 0 && maxAgeSeconds <= MAX_MAX_AGE_SECONDS);
      }),
      { numRuns: 2000 },
    );
  });

  test('never throws on arbitrary octets', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => {
        parsePolicy(Buffer.from(octets));
      }),
    );
  });
});

/** Short enough to take more labels within 253 octets. */
const domainArbitrary = fc.domain().filter((domain) => domain.length <= 200);

describe('matchesMxPattern', () => {
  /** pattern, host, why not. */
  const never: readonly (readonly [string, string, string])[] = [
    ['*.example', 'mx_1.example', 'an underscore is in no host name'],
    ['mx_1.example', 'mx_1.example', 'not even when both say it'],
    ['192.0.2.25', '192.0.2.25', 'an address is no MX host'],
    ['*.0.2.25', '192.0.2.25', 'nor under a star'],
    ['*.example', '.example', 'empty label under the star'],
    ['\u212A.example', 'k.example', 'the Kelvin sign is no k'],
    ['*', '*', 'lone star'],
    ['', '', 'nothing'],
  ];
  for (const [pattern, host, why] of never) {
    test(`${pattern} does not allow ${host}: ${why}`, () =>
      assert.ok(!matchesMxPattern(pattern, host)));
  }

  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
  test('a star allows one label and never none or two', () => {
    fc.assert(
      fc.property(label, label, domainArbitrary, (first, second, domain) => {
        assert.ok(matchesMxPattern(`*.${domain}`, `${first}.${domain.toUpperCase()}.`));
        assert.ok(!matchesMxPattern(`*.${domain}`, domain));
        assert.ok(!matchesMxPattern(`*.${domain}`, `${second}.${first}.${domain}`));
      }),
    );
  });

  test('a name allows itself alone', () => {
    fc.assert(
      fc.property(label, domainArbitrary, (first, domain) => {
        assert.ok(matchesMxPattern(domain, domain));
        assert.ok(!matchesMxPattern(domain, `${first}.${domain}`));
        assert.ok(!matchesMxPattern(domain, `${first}${domain}`));
      }),
    );
  });

  test('never throws', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom(...'*.a') }),
    );
    fc.assert(fc.property(text, text, (pattern, host) => void matchesMxPattern(pattern, host)));
  });
});

test('isListedMx asks every pattern', () => {
  const policy = { mx: ['mx1.example', '*.mx.example'] };
  assert.ok(isListedMx(policy, 'a.mx.example'));
  assert.ok(!isListedMx(policy, 'mx2.example'));
  assert.ok(!isListedMx({ mx: [] }, 'mx1.example'));
});
