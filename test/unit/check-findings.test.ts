/**
 * Findings from facts: decision tables, without any network. Each row changes good facts in one
 * place and names the finding that is to come of it.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
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
import type { DomainName } from '../../src/protocol/domain.ts';
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
      defaultLevel: 'opportunistic',
      dnsFailureGraceMs: 3_600_000,
    },
    mx: { kind: 'found', records: [{ preference: 10, exchange: HOST }] },
    route: { found: true, kind: 'mx', policyDomain: DOMAIN },
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

test('nothing to say about a domain that does everything well, but that DANE is not looked at', () => {
  assert.deepEqual(said(findingsAbout(facts())), [
    'info dane-not-evaluated',
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
    [
      'other hosts',
      { mx: ['*.mx.example.test'] },
      ['error mx-outside-policy', 'warning sts-pattern-stale', 'info sts-pattern-wildcard'],
    ],
    [
      'other hosts in mode testing',
      { mx: ['a.test'], mode: 'testing' },
      ['warning mx-outside-policy', 'warning sts-pattern-stale', 'info sts-mode-testing'],
    ],
  ];
  for (const [what, over, expected] of rows) {
    test(`${what}: ${expected.join(', ') || 'nothing'}`, () =>
      assert.deepEqual(said(found({ policy: policy(over) })), expected));
  }

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
      { route: { found: true, kind: 'implicit-mx', policyDomain: DOMAIN } },
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
    [
      'a route',
      { route: { found: true, kind: 'configured', policyDomain: DOMAIN } },
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
