/**
 * The verdict in words, the places in a policy that are complained about, and the bound on what
 * goes on at a time.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { atMost } from '../../src/check/at-most.ts';
import { lineOf } from '../../src/check/examine-policy-host.ts';
import { inWords } from '../../src/check/text.ts';
import type { DomainFacts } from '../../src/check/types.ts';
import { decideVerdict } from '../../src/check/verdict.ts';
import { type LocalCause, localFailure } from '../../src/mail/failure.ts';
import type { SessionFacts, TlsFacts } from '../../src/mail/session-result.ts';
import { plainErrors } from '../../src/mail/system-errors.ts';
import type { RequirementSource, TlsLevel } from '../../src/mail/tls-requirement.ts';
import { concludeWithoutSession } from '../../src/outcome/conclude.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import { parsePolicy } from '../../src/protocol/mta-sts/policy.ts';

const DOMAIN = 'example.test' as DomainName;
const HOST = 'mx.example.test' as DomainName;

const FACTS: DomainFacts = {
  domain: DOMAIN,
  checkedAtMs: 0,
  connected: true,
  timedOut: false,
  configured: {
    mtaStsEnabled: true,
    daneEnabled: true,
    defaultLevel: 'opportunistic',
    dnsFailureGraceMs: 3_600_000,
    resolvers: ['127.0.0.1:53'],
    believesDnssec: true,
  },
  mx: { kind: 'not-asked' },
  route: { found: true, kind: 'mx', policyDomain: DOMAIN, secure: false },
  policy: { kind: 'not-asked' },
  hosts: [],
};

const tls = (verified: boolean): TlsFacts => ({
  version: 'TLSv1.3',
  cipher: 'c',
  certSha256: undefined,
  verdict: verified
    ? { verified, matchedName: HOST }
    : { verified, cause: 'certificate-expired', detail: 'certificate has expired' },
});

const STS: RequirementSource = {
  kind: 'mta-sts',
  domain: DOMAIN,
  policyId: 'abc',
  policyText: 'x',
  mode: 'enforce',
  listed: true,
};
const TESTING: RequirementSource = { ...STS, mode: 'testing' };

function session(
  level: TlsLevel,
  source: RequirementSource,
  over: Partial<SessionFacts> = {},
): SessionFacts {
  return {
    candidate: { host: HOST, preference: 10, port: 25 },
    address: '192.0.2.1',
    localAddress: undefined,
    requirement: { level, minVersion: 'TLSv1.2', source },
    tls: undefined,
    ...over,
  };
}

function taken(facts: SessionFacts) {
  const reply = { code: 250, enhanced: undefined, text: 'ok' };
  return { kind: 'delivered', facts, reply, dsnOffered: false } as const;
}

describe('the verdict', () => {
  const clearTextBecause = {
    cause: 'starttls-not-offered',
    detail: 'STARTTLS was not offered',
  } as const;
  const rows: readonly (readonly [string, SessionFacts, string, RegExp])[] = [
    [
      'enforce',
      session('verify', STS, { tls: tls(true) }),
      'verified-tls',
      /^TLSv1\.3 with a certificate that is valid for mx\.example\.test\. The MTA-STS policy of example\.test \(mode enforce, id abc\)/,
    ],
    [
      'testing',
      session('opportunistic', TESTING, { tls: tls(false) }),
      'unauthenticated-tls',
      /does not prove who it is: certificate has expired\. .* mode testing and demands nothing\.$/,
    ],
    [
      'nothing published',
      session('opportunistic', { kind: 'default' }, { tls: tls(true) }),
      'verified-tls',
      /No policy in force demands TLS/,
    ],
    [
      'clear text',
      session('opportunistic', { kind: 'default' }, { clearTextBecause }),
      'clear-text',
      /^STARTTLS was not offered\. No policy/,
    ],
    [
      'an override that turns TLS off',
      session('none', { kind: 'override', domain: DOMAIN }),
      'clear-text',
      /^An override of this relay for example\.test turns TLS off\.$/,
    ],
    [
      'an override that wants less',
      session('encrypt', { kind: 'override', domain: DOMAIN }, { tls: tls(false) }),
      'unauthenticated-tls',
      /The override of this mail system for example\.test asks for TLS\.$/,
    ],
  ];
  for (const [what, facts, how, why] of rows) {
    test(`${what}: ${how}`, () => {
      const verdict = decideVerdict(taken(facts), FACTS);
      assert.deepEqual(
        [verdict.outcome, verdict.how, verdict.host, verdict.address],
        ['delivered', how, HOST, '192.0.2.1'],
      );
      assert.match(verdict.why, why);
    });
  }

  test('without connecting: what would be asked for', () => {
    const unconnected = { ...FACTS, connected: false };
    const asked: readonly (readonly [TlsLevel, string])[] = [
      ['verify', 'verified-tls'],
      ['encrypt', 'unauthenticated-tls'],
      ['opportunistic', 'tls-if-offered'],
      ['none', 'clear-text'],
    ];
    for (const [level, how] of asked) {
      const source = { kind: 'override', domain: DOMAIN } as const;
      const verdict = decideVerdict(taken(session(level, source)), unconnected);
      assert.deepEqual([verdict.outcome, verdict.how], ['attempted', how]);
      assert.match(verdict.why, /No MX host was connected to\.$/);
    }
  });

  const undelivered = (cause: LocalCause, detail: string, facts = FACTS) => {
    const outcome = concludeWithoutSession(localFailure(cause, detail), [0]).get(0);
    assert.ok(outcome);
    return decideVerdict(outcome, facts);
  };

  test('bounced', () => {
    const verdict = undelivered('domain-not-found', 'example.test does not exist');
    assert.deepEqual(verdict, {
      outcome: 'bounced',
      cause: 'domain-not-found',
      status: '5.1.2',
      why: 'example.test does not exist.',
    });
  });

  test('names of domains and errors keep their small letters', () => {
    const rows: readonly (readonly [string, RegExp])[] = [
      ['localhost does not exist', /^localhost does/],
      ['connect ECONNREFUSED 127.0.0.1:25', /^connection refused \(127\.0\.0\.1:25\)\.$/],
      ['connect ESOMETHING 127.0.0.1:25', /^connect ESOMETHING/],
      ['no answer in time', /^No answer in time\.$/],
    ];
    const domain = 'localhost' as DomainName;
    for (const [detail, expected] of rows) {
      const { why } = undelivered('connect-refused', detail, { ...FACTS, domain });
      assert.match(why, expected);
    }
  });

  test('no resolver answered: nothing is said of the domain', () => {
    const detail = 'recvmsg ECONNREFUSED from 127.0.0.1:1';
    const silent = { ...FACTS, mx: { kind: 'failed', detail } } as const;
    const { why, cause } = undelivered('dns-failed', `MX lookup for a.test failed: ${detail}`, {
      ...silent,
      route: { found: false, failure: localFailure('dns-failed', detail) },
    });
    assert.equal(cause, 'dns-failed');
    assert.equal(
      why,
      'No resolver answered (connection refused by 127.0.0.1:1): nothing is known about the domain.',
    );
  });

  test('an unknown policy: deferred, and for how long', () => {
    const verdict = undelivered('policy-unknown', 'the record could not be looked up');
    assert.deepEqual([verdict.outcome, verdict.status], ['deferred', '4.4.3']);
    assert.match(verdict.why, /^The record could not be looked up\. After 1 hour of this /);
    const late = undelivered('policy-unknown', 'no answer', { ...FACTS, timedOut: true });
    assert.doesNotMatch(late.why, /After/);
  });

  test('deferred for a policy: what it asks for', () => {
    const diagnosis = {
      failure: localFailure('certificate-expired', 'certificate has expired'),
      host: HOST,
      address: '192.0.2.1',
      status: '4.7.5',
      causeClass: 'tlsPolicy',
      requirement: session('verify', STS).requirement,
    } as const;
    const verdict = decideVerdict({ kind: 'deferred', diagnosis }, FACTS);
    assert.equal(verdict.host, HOST);
    assert.match(verdict.why, /^Certificate has expired\. The MTA-STS policy of example\.test/);
  });
});

describe('the line a policy breaks at', () => {
  const rows: readonly (readonly [string, number | undefined])[] = [
    ['version: STSv1\n\nmode: enforce\n', 2],
    ['version: STSv1\nmode: Enforce\nmx: a.test\nmax_age: 1\n', 2],
    ['version: STSv1\nmode: enforce\nmx: a.test\nmx: b_.test\nmax_age: 1\n', 4],
    ['version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1d\n', 4],
    ['version: STSv1\nmode: enforce\nmx: a.test\nmx: m\u00fcller.test\nmax_age: 1\n', 4],
    [`version: STSv1\nmode: enforce\nmx: ${'b_'.repeat(60)}\nmax_age: 1\n`, 3],
    ['version: STSv1\nmode: enforce\nmax_age: 1\n', undefined],
  ];
  for (const [text, line] of rows) {
    test(`${JSON.stringify(text)}: ${line}`, () => {
      const judged = parsePolicy(Buffer.from(text));
      assert.ok(!judged.ok);
      assert.equal(lineOf(judged), line);
    });
  }
});

test('errors of system calls in words', () => {
  const rows: readonly (readonly [string, string])[] = [
    ['connect ECONNREFUSED 192.0.2.1:25', 'connection refused (192.0.2.1:25)'],
    ['connect ENETUNREACH 2001:db8::1:25 - Local (:::0)', 'network unreachable (2001:db8::1:25)'],
    ['lost at stage ehlo: read ECONNRESET', 'lost at stage ehlo: connection reset'],
    ['read ECONNRESET at 12:30', 'connection reset at 12:30'],
    ['recvmsg ECONNREFUSED from 127.0.0.1:1', 'connection refused from 127.0.0.1:1'],
    ['the host says to EHLO: 550 no', 'the host says to EHLO: 550 no'],
    ['SERVFAIL from 127.0.0.1:53', 'SERVFAIL from 127.0.0.1:53'],
  ];
  for (const [text, words] of rows) assert.equal(plainErrors(text), words);
});

test('durations in words', () => {
  const rows: readonly (readonly [number, string])[] = [
    [0, '0 seconds'],
    [1, '1 second'],
    [60, '1 minute'],
    [3600, '1 hour'],
    [86_400, '1 day'],
    [129_600, '36 hours'],
    [604_800, '7 days'],
    [604_801, '604801 seconds'],
  ];
  for (const [seconds, words] of rows) assert.equal(inWords(seconds), words);
});

test('so much at a time, and everything in the end', async () => {
  const gate = atMost(2);
  let [running, most] = [0, 0];
  const work = Array.from({ length: 7 }, (_, i) =>
    gate(async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      if (i === 3) throw new Error('one fails');
      return i;
    }).catch(() => 'failed'),
  );
  assert.deepEqual(await Promise.all(work), [0, 1, 2, 'failed', 4, 5, 6]);
  assert.equal(most, 2);
});
