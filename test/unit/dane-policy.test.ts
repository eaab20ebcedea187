/** What DANE makes of a requirement, and what is asked of DNS for it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Route } from '../../src/mail/route.ts';
import type { TlsWish } from '../../src/mail/tls-wish.ts';
import type { LookupResult } from '../../src/platform/resolver.ts';
import { createDanePolicy } from '../../src/policy/dane-policy.ts';
import { createTlsPolicy, type TlsPolicySettings } from '../../src/policy/tls-policy.ts';
import type { TlsaRecord } from '../../src/protocol/dane/tlsa.ts';
import { domain } from './policy-parts.ts';

const HOST = domain('mx.w.example');
const W = domain('w.example');
const { signal } = new AbortController();

const usable: TlsaRecord = { usage: 3, selector: 1, matchingType: 1, data: Buffer.alloc(32, 1) };
const unusable: TlsaRecord = { ...usable, usage: 1 };

function found<T>(records: readonly T[], authenticated = true): LookupResult<T> {
  return { kind: 'found', records, ttlSeconds: 60, authenticated, canonicalName: '' };
}
const none: LookupResult<never> = {
  ...{ kind: 'absent', nameExists: true, ttlSeconds: 60, authenticated: true },
};
const failed: LookupResult<never> = { kind: 'failed', reason: 'SERVFAIL' };

interface Situation {
  /** By base domain. */
  readonly tlsa?: Readonly<Record<string, LookupResult<TlsaRecord>>>;
  readonly cname?: LookupResult<string>;
  readonly named?: { readonly secure: boolean; readonly canonicalName: string } | undefined;
  readonly secured?: boolean;
  readonly mandatory?: boolean;
  readonly settings?: Partial<TlsPolicySettings>;
  readonly wish?: TlsWish;
}

/** `verify dane`, `refused dnssec-failed`, or `not asked`; and every question. */
async function bind(situation: Situation) {
  const { tlsa = {}, cname = none, secured = true, mandatory = false } = situation;
  const { settings = {}, wish } = situation;
  const asked: string[] = [];
  const dane = createDanePolicy({
    mandatory,
    resolver: {
      async lookupTlsa(name) {
        asked.push(name);
        return tlsa[name.replace(/^_25\._tcp\./, '')] ?? none;
      },
      async lookupCname(name) {
        asked.push(`CNAME ${name}`);
        return cname;
      },
    },
  });
  const tlsPolicy = createTlsPolicy({
    settings: () => ({
      defaultLevel: 'opportunistic',
      minVersion: 'TLSv1.2',
      mtaStsEnabled: false,
      honorTlsRequiredNo: true,
      overrides: [],
      routes: [],
      ...settings,
    }),
    lookupSts: () => Promise.reject(new Error('MTA-STS is off')),
    dane,
    now: () => 0,
  });
  const candidate = { host: HOST, preference: 10, port: 25 };
  const route: Route = {
    ...{ destination: W, policyDomain: W, kind: 'mx', candidates: [candidate] },
    ...(secured ? { securedNames: [W] } : {}),
  };
  const named = 'named' in situation ? situation.named : { secure: true, canonicalName: HOST };
  const policy = await tlsPolicy(route, signal, wish);
  if (policy.kind === 'undecided') return { answer: 'undecided', asked };
  if (!policy.bindByDane) return { answer: 'not asked', asked };
  const { requirement } = policy.requirementFor(candidate);
  const verdict = await policy.bindByDane(candidate, { requirement, named }, signal);
  const now = verdict.requirement;
  const answer =
    verdict.kind === 'refused'
      ? `refused ${verdict.failure.cause}`
      : `${now.level} ${now.source.kind}`;
  return { answer, asked, requirement: now };
}

const AT_HOST = { [HOST]: found([usable]) };
const FAR = { secure: false, canonicalName: 'far.example' };
const VERIFY = { settings: { defaultLevel: 'verify' } } as const;
const OVERRIDE = { settings: { overrides: [{ domain: W, tls: 'opportunistic' }] } } as const;

const ROWS: readonly (readonly [
  why: string,
  situation: Situation,
  answer: string,
  asked: string,
])[] = [
  ['records', { tlsa: AT_HOST }, 'verify dane', '_25._tcp.mx.w.example'],
  ['none', {}, 'opportunistic default', '_25._tcp.mx.w.example'],
  ['none, and more was asked for', VERIFY, 'verify default', '_25._tcp.mx.w.example'],
  [
    'a failed lookup',
    { tlsa: { [HOST]: failed } },
    'refused dnssec-failed',
    '_25._tcp.mx.w.example',
  ],
  [
    'an answer that is not secure',
    { tlsa: { [HOST]: found([usable], false) } },
    'opportunistic default',
    '_25._tcp.mx.w.example',
  ],
  [
    'none that can be used',
    { tlsa: { [HOST]: found([unusable]) } },
    'encrypt dane',
    '_25._tcp.mx.w.example',
  ],
  [
    'none that can be used, and a certificate is asked for',
    { ...VERIFY, tlsa: { [HOST]: found([unusable]) } },
    'verify default',
    '_25._tcp.mx.w.example',
  ],
  ['insecure MX records', { secured: false, tlsa: AT_HOST }, 'not asked', ''],
  [
    'insecure addresses',
    { named: { secure: false, canonicalName: HOST }, tlsa: AT_HOST },
    'opportunistic default',
    '',
  ],
  ['addresses that could not be had', { named: undefined }, 'refused dnssec-failed', ''],
  [
    'an insecure alias',
    { named: FAR, tlsa: AT_HOST },
    'opportunistic default',
    'CNAME mx.w.example',
  ],
  [
    'an alias that is secure itself',
    { named: FAR, cname: found(['far.example']), tlsa: AT_HOST },
    'verify dane',
    'CNAME mx.w.example _25._tcp.mx.w.example',
  ],
  [
    'an alias that cannot be looked up',
    { named: FAR, cname: failed },
    'refused dnssec-failed',
    'CNAME mx.w.example',
  ],
  [
    'a secure alias: its target first',
    { named: { ...FAR, secure: true }, tlsa: AT_HOST },
    'verify dane',
    '_25._tcp.far.example _25._tcp.mx.w.example',
  ],
  [
    'the target fails: the name is not asked',
    { named: { ...FAR, secure: true }, tlsa: { ...AT_HOST, 'far.example': failed } },
    'refused dnssec-failed',
    '_25._tcp.far.example',
  ],
  ['an override', { ...OVERRIDE, tlsa: { [HOST]: failed } }, 'not asked', ''],
];

describe('a candidate', () => {
  for (const [why, situation, answer, questions] of ROWS) {
    test(`${why}: ${answer}`, async () => {
      const { answer: came, asked } = await bind(situation);
      assert.deepEqual([came, asked.join(' ')], [answer, questions]);
    });
  }

  test('keeps what else was asked for: REQUIRETLS, and the least version', async () => {
    const settings = { minVersion: 'TLSv1.3' } as const;
    const { requirement } = await bind({ tlsa: AT_HOST, settings, wish: 'required' });
    assert.equal(requirement?.requireTls, 'required');
    assert.equal(requirement?.minVersion, 'TLSv1.3');
  });

  test('R171 where DANE is a must nothing less will do', async () => {
    const mandatory = true;
    const answers = [
      await bind({ mandatory, tlsa: AT_HOST }),
      await bind({ mandatory }),
      await bind({ mandatory, secured: false, tlsa: AT_HOST }),
      await bind({ mandatory, tlsa: { [HOST]: found([unusable]) } }),
    ];
    const no = 'refused dane-required';
    assert.deepEqual(
      answers.map(({ answer }) => answer),
      ['verify dane', no, no, no],
    );
  });
});
