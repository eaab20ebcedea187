/** The report of a day: its form, its order and its bounds (RFC 8460 §4.4). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type PolicyCounts, plainDetail } from '../../src/protocol/tlsrpt/counts.ts';
import { makeReport, reportIdOf, submitterOf } from '../../src/protocol/tlsrpt/report.ts';
import { RESULT_TYPES } from '../../src/protocol/tlsrpt/result-type.ts';
import { assertIsReport } from '../support/tlsrpt-schema.ts';

const reporter = { organization: 'Example Ltd', contact: 'tls@relay.example' };
const DAY = '2026-03-14';
const parts = {
  ...{ reporter, day: DAY },
  reportId: reportIdOf(DAY, 'a.example', submitterOf(reporter)),
};

const sts: PolicyCounts = {
  policy: { type: 'sts', domain: 'a.example', lines: ['version: STSv1'], mx: ['*.a.example'] },
  ...{ successful: 2, failed: 0, details: [] },
};

const text = fc.string({ minLength: 1, maxLength: 40, unit: 'binary' });
const detail = fc
  .record(
    {
      resultType: fc.constantFrom(...RESULT_TYPES),
      sendingIp: fc.oneof(fc.ipV4(), fc.ipV6()),
      mxHost: fc.constantFrom('mx1.a.example', 'mx2.a.example'),
      mxHelo: text,
      receivingIp: fc.oneof(fc.ipV4(), fc.ipV6()),
      reasonCode: text,
    },
    { requiredKeys: ['resultType'] },
  )
  .map(plainDetail);
const countsOf = fc.array(
  fc.record({
    policy: fc.record({
      type: fc.constantFrom('sts', 'no-policy-found'),
      domain: fc.constant('a.example'),
      lines: fc.array(text, { maxLength: 3 }),
      mx: fc.array(fc.constantFrom('*.a.example', 'mx.a.example'), { maxLength: 2 }),
    }),
    successful: fc.nat(1000),
    failed: fc.nat(1000),
    details: fc.array(fc.record({ detail, sessions: fc.integer({ min: 1, max: 999 }) })),
  }),
  { maxLength: 5 },
) as fc.Arbitrary<readonly PolicyCounts[]>;

describe('a report', () => {
  test('R113 R114 R115 has the members of RFC 8460 §4.4, and no other', () => {
    const report = makeReport({ ...parts, counts: [sts] });
    assert.deepEqual(report, {
      'organization-name': 'Example Ltd',
      'date-range': {
        'start-datetime': '2026-03-14T00:00:00Z',
        'end-datetime': '2026-03-14T23:59:59Z',
      },
      'contact-info': 'tls@relay.example',
      'report-id': '20260314.a.example@relay.example',
      policies: [
        {
          policy: {
            'policy-type': 'sts',
            'policy-string': ['version: STSv1'],
            'policy-domain': 'a.example',
            'mx-host': ['*.a.example'],
          },
          summary: { 'total-successful-session-count': 2, 'total-failure-session-count': 0 },
          'failure-details': [],
        },
      ],
    });
    assertIsReport(report);
  });

  test('R079 is made of failures to get a policy alone, not of nothing', () => {
    const one = { detail: { resultType: 'sts-policy-fetch-error' }, sessions: 3 } as const;
    const report = makeReport({ ...parts, counts: [{ ...sts, successful: 0, details: [one] }] });
    assertIsReport(report);
    assert.deepEqual(report?.policies[0]?.summary, {
      'total-successful-session-count': 0,
      'total-failure-session-count': 0,
    });
    assert.deepEqual(report?.policies[0]?.['failure-details'], [
      { 'result-type': 'sts-policy-fetch-error', 'failed-session-count': 3 },
    ]);
    assert.equal(makeReport({ ...parts, counts: [{ ...sts, successful: 0 }] }), undefined);
    assert.equal(makeReport({ ...parts, counts: [] }), undefined);
  });

  test('R097 R112 R116 R120 R122 is as the schema of RFC 8460 §4.4 has it, and the same for the same counts', () => {
    fc.assert(
      fc.property(countsOf, (counts) => {
        const report = makeReport({ ...parts, counts });
        if (
          counts.some(({ successful, failed, details }) => successful + failed + details.length > 0)
        ) {
          assertIsReport(report);
        } else assert.equal(report, undefined);
        const turned = makeReport({ ...parts, counts: counts.toReversed() });
        assert.deepEqual(inSorts(turned), inSorts(report));
      }),
    );
  });

  test('R124 counts equal details together, whatever the order of their members', () => {
    const details = [
      { detail: { resultType: 'certificate-expired', mxHost: 'x.example' }, sessions: 2 },
      { detail: { mxHost: 'x.example', resultType: 'certificate-expired' }, sessions: 3 },
      { detail: { resultType: 'certificate-expired', mxHost: 'y.example' }, sessions: 9 },
    ] as const;
    const report = makeReport({ ...parts, counts: [{ ...sts, failed: 14, details }] });
    const shown = report?.policies[0]?.['failure-details'];
    assert.deepEqual(
      shown?.map((one) => [one['receiving-mx-hostname'], one['failed-session-count']]),
      [
        ['y.example', 9],
        ['x.example', 5],
      ],
    );
  });

  test('that would be too large keeps the largest details, and every session', () => {
    const details = Array.from({ length: 500 }, (_, index) => ({
      detail: { resultType: 'certificate-expired', mxHost: `mx${index}.a.example` } as const,
      sessions: index + 1,
    }));
    const failed = details.reduce((sum, { sessions }) => sum + sessions, 0);
    const maxOctets = 20_000;
    const report = makeReport({ ...parts, counts: [{ ...sts, failed, details }], maxOctets });
    assertIsReport(report);
    const octets = Buffer.byteLength(JSON.stringify(report));
    assert.ok(octets <= maxOctets && octets > maxOctets / 2, `${octets} octets`);
    const shown = report?.policies[0]?.['failure-details'] ?? [];
    const sum = shown.reduce((total, one) => total + one['failed-session-count'], 0);
    assert.equal(sum, failed);
    const [folded, ...named] = shown;
    assert.match(folded?.['failure-reason-code'] ?? '', /too many to be listed/);
    assert.equal(folded?.['receiving-mx-hostname'], undefined);
    assert.deepEqual(
      named.map((one) => one['failed-session-count']),
      named.map((_, index) => 500 - index),
    );
  });
});

function inSorts(report: ReturnType<typeof makeReport>): readonly string[] | undefined {
  return report?.policies.map((policy) => JSON.stringify(policy)).sort();
}

describe('a detail', () => {
  test('R125 has addresses in one form', () => {
    const forms: readonly (readonly [string, string])[] = [
      ['192.0.2.1', '192.0.2.1'],
      ['::ffff:192.0.2.1', '192.0.2.1'],
      ['::FFFF:C000:201', '192.0.2.1'],
      ['2001:0db8:0:0:0:0:0:00EB', '2001:db8::eb'],
      ['fe80::1%eth0', 'fe80::1'],
      ['::1', '::1'],
    ];
    for (const [given, wanted] of forms) {
      const made = plainDetail({ resultType: 'validation-failure', receivingIp: given });
      assert.equal(made.receivingIp, wanted, given);
    }
  });

  test('has texts in bounds, and none that is no Unicode', () => {
    const made = plainDetail({
      ...{ resultType: 'validation-failure', mxHost: undefined },
      ...{ mxHelo: '', reasonCode: `${'x'.repeat(254)}\u{1f600}` },
    });
    assert.deepEqual(Object.keys(made), ['resultType', 'reasonCode']);
    assert.equal(made.reasonCode, `${'x'.repeat(254)}\ufffd`);
  });
});
