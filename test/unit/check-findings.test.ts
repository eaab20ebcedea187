/**
 * Findings from facts: decision tables, without any network. Each row changes good facts in one
 * place and names the finding that is to come of it.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { lineOf } from '../../src/check/examine-policy-host.ts';
import { findingsAbout } from '../../src/check/findings.ts';
import type {
  AddressFacts,
  DomainFacts,
  Finding,
  HostFacts,
  PolicyFacts,
  PolicyHostTrouble,
  StsRecordFacts,
} from '../../src/check/types.ts';
import type { CertificateFacts } from '../../src/delivery/certificate.ts';
import { type LocalCause, localFailure } from '../../src/mail/failure.ts';
import type { TlsFacts } from '../../src/mail/session-result.ts';
import type { TlsRequirement } from '../../src/mail/tls-requirement.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import { parsePolicy } from '../../src/protocol/mta-sts/policy.ts';
import { discoverRecord } from '../../src/protocol/mta-sts/record.ts';

const DOMAIN = 'example.test' as DomainName;
const HOST = 'mx.example.test';
const NOW_MS = Date.parse('2026-06-01T00:00:00Z');

const CERTIFICATE: CertificateFacts = {
  names: [HOST],
  commonName: HOST,
  issuer: 'Some CA',
  validFrom: '2026-05-01T00:00:00.000Z',
  validTo: '2026-08-01T00:00:00.000Z',
  sha256: 'ab',
  key: 'ec prime256v1',
};
const TLS: TlsFacts = {
  version: 'TLSv1.3',
  cipher: 'TLS_AES_256_GCM_SHA384',
  certSha256: 'ab',
  verdict: { verified: true, matchedName: HOST },
};
const ADDRESS: AddressFacts = {
  address: '192.0.2.1',
  mode: 'full',
  tls: TLS,
  certificate: CERTIFICATE,
};
const GOOD_HOST: HostFacts = {
  host: HOST,
  preference: 10,
  port: 25,
  refusedAddresses: [],
  foundAddresses: ['192.0.2.1'],
  addresses: [ADDRESS],
};

function policy(
  over: { mode?: 'enforce' | 'testing' | 'none'; mx?: string[]; maxAge?: number } = {},
) {
  const { mode = 'enforce', mx = [HOST], maxAge = 604_800 } = over;
  const lines = ['version: STSv1', `mode: ${mode}`, `max_age: ${maxAge}`];
  const terms = { mode, mx, maxAgeSeconds: Math.min(maxAge, 31_557_600), lines };
  return { kind: 'fetched', host: `mta-sts.${DOMAIN}`, policy: terms, look: {} } as const;
}

function record(...texts: string[]): StsRecordFacts {
  const discovery = discoverRecord(texts.map((text) => [Buffer.from(text)]));
  return { name: `_mta-sts.${DOMAIN}`, texts, elsewhere: [], ...discovery };
}

const TLSRPT = {
  kind: 'record',
  name: `_smtp._tls.${DOMAIN}`,
  texts: [],
  rua: ['mailto:a@b.test'],
} as const;

function facts(over: Partial<DomainFacts> = {}): DomainFacts {
  return {
    domain: DOMAIN,
    checkedAtMs: NOW_MS,
    connected: true,
    timedOut: false,
    configured: {
      mtaStsEnabled: true,
      daneEnabled: true,
      defaultLevel: 'opportunistic',
      dnsFailureGraceMs: 3_600_000,
      resolvers: ['192.0.2.53:53'],
      believesDnssec: false,
    },
    mx: { kind: 'found', records: [{ preference: 10, exchange: HOST }] },
    route: { found: true, kind: 'mx', policyDomain: DOMAIN, secure: false },
    record: record('v=STSv1; id=1;'),
    policy: policy(),
    hosts: [GOOD_HOST],
    tlsRpt: TLSRPT,
    ...over,
  };
}

/** Findings besides those that good facts give. */
function found(over: Partial<DomainFacts>): readonly Finding[] {
  const usual = findingsAbout(facts()).map(({ code }) => code);
  return findingsAbout(facts(over)).filter(
    ({ code, severity }) => severity !== 'ok' && !usual.includes(code),
  );
}

const said = (findings: readonly Finding[]) =>
  findings.map(({ severity, code }) => `${severity} ${code}`);

test('nothing to say about a domain that does everything well', () => {
  assert.deepEqual(said(findingsAbout(facts())), [
    'ok sts-record',
    'ok sts-policy',
    'ok tlsrpt-record',
    'ok mx-tls',
  ]);
});

describe('the MTA-STS record', () => {
  const slips: readonly (readonly [string, readonly string[], string, RegExp])[] = [
    ['two', ['v=STSv1; id=1;', 'v=STSv1; id=2;'], 'sts-record-multiple', /v=STSv1; id=2;/],
    ['no id', ['v=STSv1;'], 'sts-record-malformed', /no id field/],
    ['an id with a dash', ['v=STSv1; id=2026-01;'], 'sts-record-malformed', /malformed id/],
    ['another case', ['v=stsv1; id=1;'], 'sts-record-malformed', /capital STS/],
    ['a capital V', ['V=STSv1; id=1;'], 'sts-record-malformed', /small v/],
    ['no semicolon', ['v=STSv1 id=1'], 'sts-record-malformed', /no ";" behind/],
    ['a comma', ['v=STSv1, id=1;'], 'sts-record-malformed', /does not begin with "v=STSv1;"/],
    ['a blank before', [' v=STSv1; id=1;'], 'sts-record-malformed', /begins with a blank/],
    ['quotes', ['"v=STSv1; id=1;"'], 'sts-record-malformed', /quotation marks/],
    ['id first', ['id=1; v=STSv1;'], 'sts-record-malformed', /has to come first/],
  ];
  for (const [what, texts, code, text] of slips) {
    test(`${what}: ${code}`, () => {
      const [finding, ...more] = found({ record: record(...texts), policy: { kind: 'not-asked' } });
      assert.deepEqual([finding?.severity, finding?.code, more], ['error', code, []]);
      assert.match(finding?.text ?? '', text);
      assert.match(finding?.rfc ?? '', /^RFC 8461 §3\.1$/);
    });
  }

  test('the id of a record to publish is the time of the check', () => {
    const checkedAtMs = Date.parse('2027-03-04T05:06:07.890Z');
    const untold = { checkedAtMs, policy: { kind: 'not-asked' } } as const;
    for (const texts of [[], ['v=STSv1;']]) {
      const [finding] = found({ ...untold, record: record(...texts) });
      const text = /"(.*?)"/.exec(finding?.fix ?? '')?.[1] ?? '';
      assert.equal(text, 'v=STSv1; id=20270304050607;');
      assert.equal(discoverRecord([[Buffer.from(text)]]).kind, 'record');
    }
  });

  const none = { policy: { kind: 'not-asked' } } as const;
  const { served } = { served: policy().policy };
  const missing: readonly (readonly [string, Partial<DomainFacts>, string])[] = [
    ['none at all', { ...none, record: record() }, 'info sts-not-published'],
    ['other records', { ...none, record: record('v=spf1 -all') }, 'info sts-not-published'],
    [
      'one at another name',
      { ...none, record: { ...record(), elsewhere: [DOMAIN] } },
      'error sts-record-misplaced',
    ],
    [
      'a policy all the same',
      { record: record(), policy: { kind: 'not-asked', served } },
      'error sts-policy-unannounced',
    ],
    [
      'a policy that says none',
      { record: record(), policy: { kind: 'not-asked', served: { ...served, mode: 'none' } } },
      'info sts-not-published',
    ],
  ];
  for (const [what, over, expected] of missing) {
    test(`no record, ${what}: ${expected}`, () => assert.deepEqual(said(found(over)), [expected]));
  }

  test('a lookup that fails is no missing record', () => {
    const failed = {
      name: 'n',
      texts: [],
      elsewhere: [],
      kind: 'failed',
      detail: 'SERVFAIL',
    } as const;
    const findings = found({ record: failed, ...none });
    assert.deepEqual(said(findings), ['error sts-record-lookup-failed']);
    assert.match(findings[0]?.text ?? '', /holds their mail for 1 hour/);
  });
});

describe('the policy', () => {
  const rows: readonly (readonly [string, Parameters<typeof policy>[0], readonly string[]])[] = [
    ['testing', { mode: 'testing' }, ['info sts-mode-testing']],
    ['none', { mode: 'none', mx: [] }, ['info sts-mode-none']],
    ['less than a day', { maxAge: 86_399 }, ['warning sts-max-age-short']],
    ['a day', { maxAge: 86_400 }, []],
    ['no time at all', { maxAge: 0 }, ['error sts-max-age-short']],
    ['more than a year', { maxAge: 31_557_601 }, ['warning sts-max-age-long']],
    ['a year', { maxAge: 31_557_600 }, []],
    ['a wildcard', { mx: ['*.example.test'] }, ['info sts-pattern-wildcard']],
    ['a host too many', { mx: [HOST, 'old.example.test'] }, ['warning sts-pattern-stale']],
    ['other hosts', { mx: ['*.mx.example.test'] }, ['error mx-outside-policy']],
    [
      'other hosts in mode testing',
      { mx: ['a.test'], mode: 'testing' },
      ['warning mx-outside-policy', 'info sts-mode-testing'],
    ],
  ];
  for (const [what, over, expected] of rows) {
    test(`${what}: ${expected.join(', ') || 'nothing'}`, () =>
      assert.deepEqual(said(found({ policy: policy(over) })), expected));
  }

  test('that names none of the hosts: what it should say, and nothing to take out', () => {
    const rows: readonly (readonly [string[], string[], RegExp])[] = [
      [
        ['mail.example.test'],
        [HOST],
        /^Probably "mx: mail\.example\.test" should read "mx: mx\.example\.test": /,
      ],
      [['*.mx.example.test'], [HOST], /A "\*\." stands for exactly one label\.$/],
      [
        ['c.test'],
        ['a.test', 'b.test'],
        /^Probably the mx lines should read "mx: a\.test", "mx: b\.test": /,
      ],
    ];
    for (const [patterns, names, fix] of rows) {
      const records = names.map((exchange) => ({ preference: 1, exchange }));
      const findings = found({ policy: policy({ mx: patterns }), mx: { kind: 'found', records } });
      assert.deepEqual(said(findings), ['error mx-outside-policy']);
      assert.equal(findings[0]?.subject, `mta-sts.${DOMAIN}`);
      assert.match(findings[0]?.text ?? '', /names none of the MX hosts/);
      assert.match(findings[0]?.fix ?? '', fix);
      assert.doesNotMatch(findings[0]?.fix ?? '', /take/i);
    }
  });

  test('mode none: testing comes first', () => {
    const [finding] = found({ policy: policy({ mode: 'none', mx: [] }) });
    assert.match(finding?.fix ?? '', /change the mode to testing .* enforce comes later/);
  });

  test('every MX record counts, also one that is not tried', () => {
    const records = [HOST, 'b.test', 'B.test'].map((exchange) => ({ preference: 1, exchange }));
    const findings = found({ mx: { kind: 'found', records } });
    assert.deepEqual(
      findings.map(({ code, subject }) => [code, subject]),
      [['mx-outside-policy', 'b.test']],
    );
  });

  test('fetched, but not the second time', () => {
    const look = { trouble: { at: 'connect', detail: 'refused' } } as const;
    const findings = found({ policy: { ...policy(), look } });
    assert.deepEqual(said(findings), ['warning policy-host-unsteady']);
  });
});

describe('a policy host', () => {
  const certificate = { ...CERTIFICATE, names: ['www.example.test'] };
  const rows: readonly (readonly [PolicyHostTrouble, string, RegExp])[] = [
    [{ at: 'dns' }, 'policy-host-dns-failed', /lookup failed: WHY/],
    [{ at: 'no-address' }, 'policy-host-no-address', /has no address/],
    [{ at: 'address' }, 'policy-host-private-address', /no public address: WHY/],
    [{ at: 'connect' }, 'policy-host-unreachable', /No connection/],
    [{ at: 'handshake' }, 'policy-host-tls-failed', /no TLS handshake: WHY/],
    [
      { at: 'certificate', cause: 'certificate-host-mismatch' },
      'policy-host-certificate-host-mismatch',
      /is for www\.example\.test/,
    ],
    [
      { at: 'certificate', cause: 'certificate-expired' },
      'policy-host-certificate-expired',
      /has expired \(2026-08-01\)/,
    ],
    [{ at: 'http' }, 'policy-host-bad-response', /no proper HTTP/],
    [{ at: 'status', status: 404 }, 'policy-host-status', /status 404/],
    [{ at: 'status', status: 302 }, 'policy-host-redirect', /302, a redirect/],
    [{ at: 'policy', reason: 'content-type' }, 'policy-media-type', /served with WHY/],
    [{ at: 'policy', reason: 'too-large' }, 'policy-too-large', /too large/],
    [
      { at: 'policy', reason: 'syntax', line: 3 },
      'policy-malformed',
      /not valid: WHY \(line 3\)\./,
    ],
  ];
  for (const [trouble, code, text] of rows) {
    test(code, () => {
      const failed: PolicyFacts = {
        kind: 'failed',
        host: `mta-sts.${DOMAIN}`,
        resultType: 'sts-policy-fetch-error',
        detail: 'as the fetch says',
        look: { certificate, trouble: { ...trouble, detail: 'WHY' } },
      };
      const [finding, ...more] = found({ policy: failed });
      assert.deepEqual([finding?.severity, finding?.code, more], ['error', code, []]);
      assert.match(finding?.text ?? '', text);
      assert.ok(finding?.fix);
    });
  }

  const texts: readonly (readonly [what: string, text: string, said: RegExp, fix: RegExp])[] = [
    [
      'an empty line',
      'version: STSv1\nmode: enforce\nmx: a.test\n\nmax_age: 1\n',
      /: line 4 is empty\. /,
      /^Take line 4 out\.$/,
    ],
    [
      'a line without colon',
      'version: STSv1\nmode enforce\n',
      /line 2 \("mode enforce"\) has no colon/,
      /^Write it as "mode: enforce"\.$/,
    ],
    [
      'a line of another kind',
      'version: STSv1\n<html>\n',
      /line 2 \("<html>"\) has no colon/,
      /^Take line 2 out, or/,
    ],
    ['no value', 'version: STSv1\nmx:\n', /has no value/, /^Give it a value/],
    ['a blank', ' version: STSv1\n', /begins with a blank/, /^Take the blank/],
    ['a byte order mark', '\u{feff}version: STSv1\n', /byte order mark/, /not "UTF-8 with BOM"/],
    ['a bad name', 'version: STSv1\nm/x: a\n', /line 2 .* is malformed/, /^Correct line 2\. Write/],
    ['no version', 'mode: enforce\n', /no version line/, /^Add the line "version: STSv1"/],
    ['no mode', 'version: STSv1\n', /no mode line/, /^Add the line "mode: testing"/],
    ['no max_age', 'version: STSv1\nmode: none\n', /no max_age line/, /"max_age: 1209600"/],
    [
      'no mx',
      'version: STSv1\nmode: enforce\nmax_age: 1\n',
      /no mx line/,
      /^Add the line "mx: mx\.example\.test"\.$/,
    ],
    ['another version', 'version: STSv2\n', /\(line 1\)/, /line 1 read "version: STSv1"/],
    [
      'a capital',
      'version: STSv1\nmode: Enforce\n',
      /\(line 2\)/,
      /line 2 read "mode: enforce"\.$/,
    ],
    ['another mode', 'version: STSv1\nmode: report\n', /\(line 2\)/, /"mode: testing", or/],
    ['a unit', 'version: STSv1\nmode: none\nmax_age: 1d\n', /\(line 3\)/, /digits alone\.$/],
    [
      'a U-label',
      'version: STSv1\nmode: enforce\nmx: a.test\nmx: *.b\u{fc}cher.test\nmax_age: 1\n',
      /\(line 4\)/,
      /^Have line 4 read "mx: \*\.xn--bcher-kva\.test"\.$/,
    ],
    [
      'a final dot',
      'version: STSv1\nmode: enforce\nmx: a.test.\nmax_age: 1\n',
      /\(line 3\)/,
      /read "mx: a\.test"/,
    ],
    [
      'a list',
      'version: STSv1\nmode: enforce\nmx: a.test, b.test\nmax_age: 1\n',
      /\(line 3\)/,
      /^Name one MX host in line 3/,
    ],
  ];
  for (const [what, text, says, fix] of texts) {
    test(`a policy with ${what}`, () => {
      const judged = parsePolicy(Buffer.from(text));
      assert.ok(!judged.ok);
      const { reason, detail } = judged;
      const line = lineOf(judged);
      const place = line === undefined ? {} : { line, content: judged.lines[line - 1] ?? '' };
      const trouble = { at: 'policy', reason, detail, ...place } as const;
      const failed = { kind: 'failed', host: 'h', resultType: 'sts-policy-invalid' } as const;
      const [finding] = found({ policy: { ...failed, detail, look: { trouble } } });
      assert.equal(finding?.code, 'policy-malformed');
      assert.match(finding?.text ?? '', says);
      assert.match(finding?.fix ?? '', fix);
    });
  }

  test('that works the second time', () => {
    const failed = { kind: 'failed', host: 'h', detail: 'no answer in 20 s', look: {} } as const;
    const findings = found({ policy: { ...failed, resultType: 'sts-policy-fetch-error' } });
    assert.deepEqual(said(findings), ['error policy-fetch-failed']);
    assert.match(findings[0]?.text ?? '', /no answer in 20 s/);
  });
});

describe('a session', () => {
  const ended = (cause: LocalCause): AddressFacts => ({
    address: '192.0.2.1',
    mode: 'full',
    failure: localFailure(cause, 'WHY'),
  });
  const hosts = (...addresses: AddressFacts[]) => ({ hosts: [{ ...GOOD_HOST, addresses }] });
  const unverified = (cause: 'certificate-expired' | 'certificate-self-signed'): AddressFacts => ({
    ...ADDRESS,
    tls: { ...TLS, verdict: { verified: false, cause, detail: 'WHY' } },
  });
  const inClear: AddressFacts = {
    address: '192.0.2.1',
    mode: 'full',
    clearTextBecause: { cause: 'starttls-not-offered', detail: 'STARTTLS was not offered' },
  };
  for (const [usage, expired, misnamed] of [
    [2, 'RFC 7672 §3.1.2, RFC 7671 §5.2', 'RFC 7672 §3.2.2'],
    [3, 'RFC 8461 §4.2', 'RFC 8461 §4.2'],
  ] as const) {
    test(`a bad certificate under TLSA records of usage ${usage}: who wants it otherwise`, () => {
      const records = [`${usage} 1 1 ${'ab'.repeat(32)}`];
      const source = { kind: 'dane', baseDomain: HOST, records, usable: records, names: [HOST] };
      const requirement = { level: 'verify', minVersion: 'TLSv1.2', source } as TlsRequirement;
      const rfcOf = (cause: LocalCause) => {
        const host = { ...GOOD_HOST, requirement, addresses: [ended(cause)] };
        const findings = findingsAbout(facts({ hosts: [host] }));
        return findings.find(({ code }) => code === cause)?.rfc;
      };
      assert.equal(rfcOf('certificate-expired'), expired);
      assert.equal(rfcOf('certificate-host-mismatch'), misnamed);
      assert.equal(rfcOf('tlsa-mismatch'), 'RFC 7672 §3');
    });
  }

  const rows: readonly (readonly [string, Partial<DomainFacts>, readonly string[]])[] = [
    [
      'refused for its certificate',
      hosts(ended('certificate-expired')),
      ['error certificate-expired'],
    ],
    ['without STARTTLS', hosts(ended('starttls-not-offered')), ['error starttls-not-offered']],
    ['of old TLS', hosts(ended('tls-version-too-low')), ['error tls-version-too-low']],
    ['that nobody took', hosts(ended('connect-refused')), ['error connect-refused']],
    ['beside a good one', hosts(ADDRESS, ended('timeout')), ['warning timeout']],
    [
      'with a bad certificate that an override takes',
      hosts(unverified('certificate-self-signed')),
      ['error certificate-self-signed'],
    ],
    [
      'with a bad certificate in mode testing',
      { ...hosts(unverified('certificate-expired')), policy: policy({ mode: 'testing' }) },
      ['warning certificate-expired', 'info sts-mode-testing'],
    ],
    [
      'in clear text, nothing published',
      { ...hosts(inClear), record: record(), policy: { kind: 'not-asked' } },
      ['warning starttls-not-offered', 'info sts-not-published'],
    ],
    ['in clear text, as an override says', hosts({ address: '192.0.2.1', mode: 'clear' }), []],
    [
      'with a small hello',
      hosts({ ...ADDRESS, mode: 'small-hello' }),
      ['warning tls-small-hello-only'],
    ],
  ];
  for (const [what, over, expected] of rows) {
    test(`${what}: ${expected.join(', ') || 'nothing'}`, () =>
      assert.deepEqual(said(found(over)), expected));
  }

  const ends: readonly (readonly [LocalCause, string, RegExp, RegExp])[] = [
    ['timeout', 'no answer in time at stage greeting', /accepts .* sends no greeting/, /log/],
    ['timeout', 'no answer in time at stage ehlo', /at stage ehlo/, /what it waits for/],
    ['timeout', 'no connection to 192.0.2.1:2525 in 20 s', /no connection/, /port 2525 of every/],
    ['connection-lost', 'the connection was lost at stage greeting: x', /ends it without/, /log/],
    [
      'connection-lost',
      'lost at stage ehlo: read ECONNRESET',
      /connection reset/,
      /ends the session/,
    ],
    [
      'connect-refused',
      'connect ECONNREFUSED 192.0.2.1:2525',
      /^connection refused \(/,
      /port 2525/,
    ],
  ];
  for (const [cause, detail, text, fix] of ends) {
    test(`${cause}, ${detail}`, () => {
      const address = { ...ended(cause), failure: localFailure(cause, detail) };
      const [finding] = found({ hosts: [{ ...GOOD_HOST, port: 2525, addresses: [address] }] });
      assert.match(finding?.text ?? '', text);
      assert.match(finding?.fix ?? '', fix);
      assert.doesNotMatch(finding?.fix ?? '', /\b25\b/);
      if (!/connect/.test(cause) && !/no connection/.test(detail)) {
        assert.doesNotMatch(finding?.fix ?? '', /listen/);
      }
    });
  }

  test('with a host outside the policy counts as no delivery', () => {
    const outside = {
      ...GOOD_HOST,
      host: 'b.test',
      failure: localFailure('mx-outside-policy', 'WHY'),
    };
    const away = { ...GOOD_HOST, addresses: [ended('connect-refused')] };
    assert.deepEqual(said(found({ hosts: [outside, away] })), ['error connect-refused']);
  });

  test('a refusal before TLS', () => {
    const reply = { code: 554, enhanced: '5.7.1', text: 'go away' };
    const failure = { kind: 'reply', stage: 'greeting', reply } as const;
    const [finding] = found(hosts({ address: '192.0.2.1', mode: 'full', failure }));
    assert.equal(finding?.code, 'mx-refuses-session');
    assert.match(finding?.text ?? '', /greets with: 554 5\.7\.1 go away/);
  });

  test('a certificate with a CN alone', () => {
    const certificate = { ...CERTIFICATE, names: [] };
    const [finding] = found(hosts({ ...ended('certificate-host-mismatch'), certificate }));
    assert.match(finding?.text ?? '', /only the CN mx\.example\.test, which does not count/);
  });

  test('the same at several addresses is said once, with the addresses where it is not all', () => {
    const at = (address: string) => ({ ...ended('certificate-expired'), address });
    const twice = found(hosts(at('192.0.2.1'), at('192.0.2.2')));
    assert.deepEqual(said(twice), ['error certificate-expired']);
    assert.doesNotMatch(twice[0]?.text ?? '', /192/);
    const partly = found(
      hosts(at('192.0.2.1'), at('192.0.2.2'), { ...ADDRESS, address: '192.0.2.3' }),
    );
    assert.match(partly[0]?.text ?? '', /^At 192\.0\.2\.1, 192\.0\.2\.2: The certificate/);
  });

  const expiries: readonly (readonly [string, readonly string[]])[] = [
    ['2026-06-01T00:00:01Z', ['certificate-expires-soon']],
    ['2026-06-14T23:59:59Z', ['certificate-expires-soon']],
    ['2026-06-15T00:00:00Z', []],
    ['2026-05-31T00:00:00Z', []],
    ['unknown', []],
  ];
  for (const [validTo, expected] of expiries) {
    test(`a certificate until ${validTo}: ${expected.join() || 'nothing'}`, () => {
      const certificate = { ...CERTIFICATE, validTo };
      const findings = found(hosts({ ...ADDRESS, certificate }));
      assert.deepEqual(
        findings.map(({ code }) => code),
        expected,
      );
      const host = found({ policy: { ...policy(), look: { certificate } } });
      assert.deepEqual(
        host.map(({ code }) => code),
        expected,
      );
    });
  }
});

describe('where mail goes', () => {
  const failed = (cause: LocalCause): Partial<DomainFacts> => ({
    route: { found: false, failure: localFailure(cause, 'WHY') },
    hosts: [],
    mx: { kind: 'absent', nameExists: false },
  });
  const mx = (...exchanges: string[]): Partial<DomainFacts> => ({
    mx: { kind: 'found', records: exchanges.map((exchange) => ({ preference: 1, exchange })) },
  });
  const host = (over: Partial<HostFacts>): Partial<DomainFacts> => ({
    hosts: [{ ...GOOD_HOST, foundAddresses: [], addresses: [], ...over }],
  });
  const rows: readonly (readonly [string, Partial<DomainFacts>, readonly string[]])[] = [
    ['no domain', failed('domain-not-found'), ['error domain-not-found']],
    ['null MX', failed('null-mx'), ['info null-mx']],
    ['a lookup that fails', failed('dns-failed'), ['error mx-lookup-failed']],
    ['this relay itself', failed('mail-loops-back'), ['error mail-loops-back']],
    [
      'implicit MX',
      { route: { found: true, kind: 'implicit-mx', policyDomain: DOMAIN, secure: false } },
      ['warning mx-implicit'],
    ],
    ['a null MX beside others', mx(HOST, ''), ['warning null-mx-not-alone']],
    ['an alias', host({ ...GOOD_HOST, aliasOf: 'other.test' }), ['warning mx-is-alias']],
    ['no address', host({ failure: localFailure('no-usable-mx', 'WHY') }), ['error mx-no-address']],
    [
      'private addresses',
      host({
        refusedAddresses: ['10.0.0.1 is refused'],
        failure: localFailure('address-refused', ''),
      }),
      ['error mx-private-address'],
    ],
    [
      'a private address among others',
      host({ ...GOOD_HOST, refusedAddresses: ['10.0.0.1 is refused'] }),
      ['warning mx-private-address'],
    ],
    [
      'an address lookup that fails',
      host({ failure: localFailure('dns-failed', 'SERVFAIL') }),
      ['error mx-address-lookup-failed'],
    ],
  ];
  for (const [what, over, expected] of rows) {
    test(`${what}: ${expected.join(', ')}`, () => assert.deepEqual(said(found(over)), expected));
  }

  test('an address in an MX record', () => {
    const findings = found(mx(HOST, '192.0.2.1'));
    assert.ok(said(findings).includes('warning mx-not-a-host'));
  });

  test('without connecting, a host that has addresses counts as one that is reached', () => {
    const away = { ...GOOD_HOST, host: 'b.test', foundAddresses: [], addresses: [] };
    const failure = localFailure('no-usable-mx', 'WHY');
    const hosts = [
      { ...GOOD_HOST, addresses: [] },
      { ...away, failure },
    ];
    assert.deepEqual(said(found({ connected: false, hosts })), ['warning mx-no-address']);
  });
});

describe('a resolver that does not answer', () => {
  const silent = (detail: string, answered: Partial<DomainFacts> = {}): readonly Finding[] => {
    const failed = { texts: [], kind: 'failed', detail } as const;
    return found({
      mx: { kind: 'failed', detail },
      route: { found: false, failure: localFailure('dns-failed', detail) },
      record: { ...failed, name: 'n', elsewhere: [] },
      policy: { kind: 'not-asked' },
      hosts: [],
      tlsRpt: { ...failed, name: 'n' },
      ...answered,
    });
  };
  const rows: readonly (readonly [string, boolean])[] = [
    ['recvmsg ECONNREFUSED from 127.0.0.1:1', true],
    ['connection refused from 127.0.0.1:1', true],
    ['connection closed before the answer from 127.0.0.1:1', false],
    ['no answer in 5 s from 192.0.2.1:53, send ENETUNREACH from [2001:db8::1]:53', true],
    ['no answer in 10 s', true],
    ['SERVFAIL from 127.0.0.1:53', false],
    ['REFUSED from 127.0.0.1:53', false],
    ['no answer in 5 s from 192.0.2.1:53, SERVFAIL from 192.0.2.2:53', false],
    ['malformed answer from 127.0.0.1:53', false],
    ['lookup of a.test ended: no answer in 60 s', false],
  ];
  for (const [detail, expected] of rows) {
    test(`${detail}: ${expected ? 'one finding, about this machine' : 'about the domain'}`, () => {
      const findings = silent(detail);
      if (!expected) return assert.ok(said(findings).includes('error mx-lookup-failed'));
      assert.deepEqual(said(findings), ['error resolver-unreachable']);
      assert.match(findings[0]?.text ?? '', /^No resolver answered \(.*nothing is known/);
      assert.match(findings[0]?.fix ?? '', /dns\.servers .* \/etc\/resolv\.conf/);
    });
  }

  test('but answered something else', () => {
    const mx = { kind: 'absent', nameExists: true } as const;
    const findings = silent('no answer in 5 s from 192.0.2.1:53', { mx });
    assert.ok(said(findings).includes('error sts-record-lookup-failed'));
  });

  test('for the next hop of a route', () => {
    const detail = 'recvmsg ECONNREFUSED from 127.0.0.1:1';
    const failure = localFailure('dns-failed', `address lookup for ${HOST}: ${detail}; ${detail}`);
    const findings = silent(detail, {
      mx: { kind: 'not-asked' },
      route: { found: true, kind: 'configured', policyDomain: DOMAIN, secure: true },
      hosts: [{ ...GOOD_HOST, foundAddresses: [], addresses: [], failure }],
    });
    assert.deepEqual(said(findings), ['error resolver-unreachable', 'info route-applies']);
  });

  test('who was asked about a domain that does not exist', () => {
    const [finding] = found({
      route: { found: false, failure: localFailure('domain-not-found', 'WHY') },
      hosts: [],
    });
    assert.equal(finding?.text, 'The domain does not exist (asked: 192.0.2.53:53).');
  });
});

describe('reports and configuration', () => {
  const { rua: _, kind: __, ...name } = TLSRPT;
  const none = (reason: 'no-record' | 'multiple' | 'syntax', texts: string[] = []) =>
    ({ ...name, texts, kind: 'none', reason, detail: 'WHY' }) as const;
  const { configured } = facts();
  const override = { domain: DOMAIN, tls: 'encrypt', expires: Date.parse('2027-01-01') } as const;
  const rows: readonly (readonly [string, Partial<DomainFacts>, readonly string[]])[] = [
    ['no TLSRPT record', { tlsRpt: none('no-record') }, ['warning tlsrpt-missing']],
    [
      'a misspelt one',
      { tlsRpt: none('no-record', ['v=TLSRPT1; rua=x']) },
      ['warning tlsrpt-malformed'],
    ],
    ['two of them', { tlsRpt: none('multiple') }, ['warning tlsrpt-multiple']],
    ['a malformed one', { tlsRpt: none('syntax') }, ['warning tlsrpt-malformed']],
    [
      'a lookup that fails',
      { tlsRpt: { ...name, kind: 'failed', detail: 'SERVFAIL' } },
      ['warning tlsrpt-lookup-failed'],
    ],
    ['an override', { configured: { ...configured, override } }, ['info override-applies']],
    [
      'MTA-STS off',
      { configured: { ...configured, mtaStsEnabled: false } },
      ['warning mta-sts-disabled'],
    ],
    ['DANE off', { configured: { ...configured, daneEnabled: false } }, ['warning dane-disabled']],
    [
      'a route',
      { route: { found: true, kind: 'configured', policyDomain: DOMAIN, secure: true } },
      ['info route-applies'],
    ],
    ['no time', { timedOut: true }, ['error check-timed-out']],
  ];
  for (const [what, over, expected] of rows) {
    test(`${what}: ${expected.join(', ')}`, () => assert.deepEqual(said(found(over)), expected));
  }

  test('the last day of an override is the one that was written', () => {
    const [finding] = found({ configured: { ...configured, override } });
    assert.match(finding?.text ?? '', /until 2026-12-31;/);
  });
});
