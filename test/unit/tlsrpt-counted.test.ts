/** What sessions and policies add to the TLS reports (RFC 8460 §4.2, §4.3), and the tally of a day. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { localFailure } from '../../src/mail/failure.ts';
import type { SessionFacts, SessionResult } from '../../src/mail/session-result.ts';
import type { RequirementSource } from '../../src/mail/tls-requirement.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import type { AppliedPolicy } from '../../src/protocol/tlsrpt/counts.ts';
import { RESULT_TYPES } from '../../src/protocol/tlsrpt/result-type.ts';
import {
  appliedPolicy,
  type Counted,
  countPolicyFailure,
  countSession,
} from '../../src/reporting/counted.ts';
import { DayTally } from '../../src/reporting/day-tally.ts';

const DOMAIN = 'a.example' as DomainName;
const NONE: AppliedPolicy = { type: 'no-policy-found', domain: DOMAIN, lines: [], mx: [] };
const TEXT = 'version: STSv1\r\nmode: enforce\r\nmx: *.a.example\r\nmax_age: 86400\r\n';
const STS: RequirementSource = {
  ...{ kind: 'mta-sts', domain: DOMAIN, policyId: '1', policyText: TEXT },
  ...{ mode: 'enforce', listed: true },
};

function facts(change: Partial<SessionFacts> = {}): SessionFacts {
  return {
    candidate: { host: 'mx.a.example' as DomainName, preference: 0, port: 25 },
    ...{ address: '192.0.2.1', localAddress: '198.51.100.1', tls: undefined },
    announcedName: 'mail.a.example',
    requirement: { level: 'verify', minVersion: 'TLSv1.2', source: STS },
    ...change,
  };
}
const verdict = { verified: true, matchedName: 'mx.a.example' } as const;
const tls = { version: 'TLSv1.3', cipher: 'x', certSha256: undefined, verdict };
const transacted = (change: Partial<SessionFacts>): SessionResult => ({
  ...{ kind: 'transacted', facts: facts(change), recipients: new Map() },
});
const count = (result: SessionResult, isReportMail = false) =>
  countSession(result, { domain: DOMAIN, policy: NONE, isReportMail });

describe('a session', () => {
  test('R094 is counted once, with its first message', () => {
    const counted = { domain: DOMAIN, policy: NONE, successful: 1, failed: 0, details: [] };
    assert.deepEqual(count(transacted({ tls })), counted);
    assert.equal(count(transacted({ tls, reused: true })), undefined);
  });

  test('R111 that carried a report is not counted', () => {
    assert.equal(count(transacted({ tls }), true), undefined);
  });

  test('R109 that did not come to TLS is not counted', () => {
    const failure = localFailure('timeout', 'no greeting');
    assert.equal(count({ kind: 'ended-early', facts: facts(), failure }), undefined);
  });

  test('R095 R123 that failed is, with where and why', () => {
    const failure = localFailure('certificate-expired', 'it expired yesterday');
    const detail = {
      resultType: 'certificate-expired',
      sendingIp: '198.51.100.1',
      mxHost: 'mx.a.example',
      mxHelo: 'mail.a.example',
      receivingIp: '192.0.2.1',
      reasonCode: 'it expired yesterday',
    };
    const details = [{ detail, sessions: 1 }];
    const counted = { domain: DOMAIN, policy: NONE, successful: 0, failed: 1, details };
    assert.deepEqual(count({ kind: 'ended-early', facts: facts(), failure }), counted);
  });

  test('at a host that a testing policy does not list has failed, and says which', () => {
    const source = { ...STS, mode: 'testing', listed: false } as const;
    const requirement = { level: 'opportunistic', minVersion: 'TLSv1.2', source } as const;
    const counted = count(transacted({ tls, requirement }));
    assert.equal(counted?.failed, 1);
    assert.match(counted?.details[0]?.detail.reasonCode ?? '', /mx\.a\.example/);
  });
});

describe('a session under DANE', () => {
  const DANE: RequirementSource = {
    ...{ kind: 'dane', baseDomain: 'mx.a.example', names: ['mx.a.example', DOMAIN] },
    ...{ records: ['1 1 1 ab', '0 0 1 cd'], usable: [] },
  };
  const under = (source: RequirementSource) =>
    ({ level: 'verify', minVersion: 'TLSv1.2', source }) as const;
  const resultsOf = (counted: Counted | undefined) => [
    ...[counted?.successful, counted?.failed],
    ...(counted?.details ?? []).map(({ detail }) => detail.resultType),
  ];

  test('R118 is reported with one line for each record', () => {
    assert.deepEqual(appliedPolicy({ source: DANE }, DOMAIN), {
      ...{ type: 'tlsa', domain: 'mx.a.example', mx: [] },
      lines: ['1 1 1 ab', '0 0 1 cd'],
    });
  });

  test('R103 is tlsa-invalid where no record is the host, and a success that says so where none can be used', () => {
    const failure = localFailure('tlsa-mismatch', 'no record matches');
    const usable = { ...DANE, usable: ['3 1 1 ab'] };
    const early = {
      kind: 'ended-early',
      facts: facts({ requirement: under(usable) }),
      failure,
    } as const;
    assert.deepEqual(resultsOf(count(early)), [0, 1, 'tlsa-invalid']);
    assert.deepEqual(resultsOf(count(transacted({ tls, requirement: under(usable) }))), [1, 0]);
    const inVain = count(transacted({ tls, requirement: under(DANE) }));
    assert.deepEqual(resultsOf(inVain), [1, 0, 'tlsa-invalid']);
    assert.equal(inVain?.details[0]?.detail.reasonCode, 'all TLSA records unusable');
  });

  test('R104 R105 is dnssec-invalid or dane-required where the records cannot be had', () => {
    const source = { ...DANE, records: [] };
    const ended = (cause: 'dnssec-failed' | 'dane-required') =>
      count({
        kind: 'ended-early',
        facts: facts({ requirement: under(source) }),
        failure: localFailure(cause, 'x'),
      });
    assert.deepEqual(resultsOf(ended('dnssec-failed')), [0, 1, 'dnssec-invalid']);
    assert.deepEqual(resultsOf(ended('dane-required')), [0, 1, 'dane-required']);
  });
});

describe('the policy of a session', () => {
  test('R117 R121 is quoted line by line, with its patterns', () => {
    assert.deepEqual(appliedPolicy({ source: STS }, 'other.example'), {
      ...{ type: 'sts', domain: DOMAIN, mx: ['*.a.example'] },
      lines: ['version: STSv1', 'mode: enforce', 'mx: *.a.example', 'max_age: 86400'],
    });
  });

  test('R119 is none where there is none, and not known under an override', () => {
    const route = { kind: 'route', domain: 'b.example' } as const;
    assert.deepEqual(appliedPolicy({ source: { kind: 'default' } }, DOMAIN), NONE);
    assert.deepEqual(appliedPolicy({ source: route }, DOMAIN), NONE);
    const override = { kind: 'override', domain: DOMAIN } as const;
    assert.equal(appliedPolicy({ source: override }, DOMAIN), undefined);
  });

  test('is not the one to blame where the message asks for less or for more', () => {
    const source = { kind: 'default' } as const;
    const waived = { kind: 'tls-required-no', instead: source } as const;
    assert.equal(appliedPolicy({ source: waived }, DOMAIN), undefined);
    assert.equal(appliedPolicy({ source, requireTls: 'required' }, DOMAIN), undefined);
    assert.equal(appliedPolicy({ source: STS, requireTls: 'required' }, DOMAIN)?.type, 'sts');
    assert.deepEqual(appliedPolicy({ source, requireTls: 'preferred' }, DOMAIN), NONE);
  });
});

describe('a policy that cannot be had', () => {
  const failure = {
    domain: DOMAIN,
    fetched: {
      ...({ kind: 'failed', resultType: 'sts-policy-invalid', reason: 'no mx' } as const),
      lines: ['version: STSv1'],
    },
  };
  const inForce = { ...{ mx: ['x.a.example'], lines: ['kept'] }, maxAgeSeconds: 1, text: 'kept' };

  test('R106 is in no sum, and belongs to the one that stays in force', () => {
    const counted = countPolicyFailure({ ...failure, inForce: { ...inForce, mode: 'enforce' } });
    const detail = { resultType: 'sts-policy-invalid', reasonCode: 'no mx' };
    assert.deepEqual(counted, {
      domain: DOMAIN,
      policy: { type: 'sts', domain: DOMAIN, lines: ['kept'], mx: ['x.a.example'] },
      ...{ successful: 0, failed: 0, details: [{ detail, sessions: 1 }] },
    });
  });

  test('R107 shows the text with its errors where nothing is in force', () => {
    const counted = countPolicyFailure({ ...failure, inForce: undefined });
    assert.deepEqual(counted?.policy.lines, ['version: STSv1']);
    assert.deepEqual(counted?.policy.mx, []);
  });

  test('R110 is nothing while mode none is in force', () => {
    const none = { ...inForce, mode: 'none' } as const;
    assert.equal(countPolicyFailure({ ...failure, inForce: none }), undefined);
  });
});

const LIMITS = { domains: 3, policies: 2, details: 3, characters: 500, modest: 200 };
const anyCounted: fc.Arbitrary<Counted> = fc.record({
  domain: fc.constantFrom('a.example', 'b.example', 'c.example', 'd.example', 'e.example'),
  policy: fc.record({
    type: fc.constantFrom('sts' as const, 'no-policy-found' as const),
    domain: fc.constant('p.example'),
    lines: fc.array(fc.constantFrom('1', '2', '3'), { maxLength: 2 }),
    mx: fc.constant([]),
  }),
  successful: fc.nat(9),
  failed: fc.nat(9),
  details: fc.array(
    fc.record({
      detail: fc.record({
        resultType: fc.constantFrom(...RESULT_TYPES),
        mxHost: fc.constantFrom('1', '2', '3', '4', '5'),
      }),
      sessions: fc.integer({ min: 1, max: 9 }),
    }),
    { maxLength: 4 },
  ),
});

function sums(tally: DayTally) {
  let { successful, failed } = tally.other;
  for (const counted of tally.counted()) {
    successful += counted.successful;
    failed += counted.failed;
  }
  return { successful, failed };
}

describe('a tally', () => {
  test('counts everything, within its bounds, in any parts', () => {
    fc.assert(
      fc.property(fc.array(anyCounted, { maxLength: 40 }), fc.nat(40), (all, cut) => {
        const [one, other] = [new DayTally(LIMITS), new DayTally(LIMITS)];
        for (const counted of all.slice(0, cut)) one.add(counted);
        for (const counted of all.slice(cut)) other.add(counted);
        const merged = new DayTally(LIMITS);
        merged.addAll(one);
        merged.addAll(other);
        const wanted = { successful: 0, failed: 0 };
        for (const { successful, failed } of all) {
          wanted.successful += successful;
          wanted.failed += failed;
        }
        assert.deepEqual(sums(merged), wanted);
        assert.ok(merged.domains().length <= LIMITS.domains);
        for (const domain of merged.domains()) {
          const counts = merged.countsOf(domain);
          // Those there is room for, and one of each type without its lines.
          assert.ok(counts.length <= LIMITS.policies + 2);
          for (const { details } of counts) {
            assert.ok(details.length <= LIMITS.details + RESULT_TYPES.length);
          }
        }
      }),
    );
  });

  test('keeps room for others from domains with long policies', () => {
    const tally = new DayTally();
    const mx = Array.from({ length: 900 }, (_, n) => `${'m'.repeat(50)}${n}.evil.example`);
    const lines = mx.map((host) => `mx: ${host}`);
    const detail = { resultType: 'certificate-expired', mxHost: 'mx.good.example' } as const;
    const counted = { successful: 1, failed: 1, details: [{ detail, sessions: 1 }] };
    const long = { type: 'sts', domain: 'evil.example', lines, mx } as const;
    for (let n = 0; n < 200; n++)
      tally.add({ domain: `e${n}.evil.example`, policy: long, ...counted });
    const policy = {
      ...long,
      domain: 'good.example',
      lines: ['version: STSv1'],
      mx: ['a.example'],
    };
    tally.add({ domain: 'good.example', policy, ...counted });
    assert.deepEqual(tally.countsOf('good.example'), [{ policy, ...counted }]);
    assert.deepEqual(tally.countsOf('e0.evil.example')[0]?.policy, long);
    assert.deepEqual(tally.countsOf('e199.evil.example')[0]?.policy.lines, []);
  });

  test('with room for everything says what was counted, detail by detail', () => {
    fc.assert(
      fc.property(fc.array(anyCounted, { maxLength: 20 }), (all) => {
        const tally = new DayTally();
        for (const counted of all) tally.add(counted);
        const wanted = all.flatMap(({ details }) => details.map(({ sessions }) => sessions));
        const found = [...tally.counted()].flatMap(({ details }) =>
          details.map(({ sessions }) => sessions),
        );
        const sum = (list: readonly number[]) => list.reduce((total, one) => total + one, 0);
        assert.equal(sum(found), sum(wanted));
        assert.deepEqual(tally.other, { successful: 0, failed: 0 });
      }),
    );
  });

  test('gives hosts and reasons up first, then lines, then the names of domains', () => {
    const tally = new DayTally(LIMITS);
    const sts = (line: string) => ({ ...NONE, type: 'sts' as const, lines: [line] });
    const counted = { ...{ domain: DOMAIN, successful: 0, failed: 1 } };
    for (const mxHost of ['1', '2', '3', '4', '5']) {
      const detail = { resultType: 'certificate-expired', mxHost } as const;
      tally.add({ ...counted, policy: NONE, details: [{ detail, sessions: 1 }] });
    }
    const [none] = tally.countsOf(DOMAIN);
    assert.equal(none?.failed, 5);
    assert.equal(none?.details.at(-1)?.sessions, 2);
    assert.match(none?.details.at(-1)?.detail.reasonCode ?? '', /too many/);
    for (const line of ['1', '2', '3']) tally.add({ ...counted, policy: sts(line), details: [] });
    const [, first, folded] = tally.countsOf(DOMAIN);
    assert.deepEqual([first?.policy.lines, first?.failed], [['1'], 1]);
    assert.deepEqual([folded?.policy.lines, folded?.failed], [[], 2]);
    for (const domain of ['b.example', 'c.example', 'd.example', 'e.example']) {
      tally.add({ ...counted, domain, policy: NONE, details: [] });
    }
    assert.deepEqual(tally.domains(), [DOMAIN, 'b.example', 'c.example']);
    assert.deepEqual(tally.other, { successful: 0, failed: 2 });
  });
});
