/** What decides TLS: the table of the product contract, section 8, one line a row. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MxCandidate, Route } from '../../src/mail/route.ts';
import type { TlsLevel } from '../../src/mail/tls-requirement.ts';
import type { StsLookup } from '../../src/policy/sts-lookup.ts';
import { createTlsPolicy, type TlsPolicySettings } from '../../src/policy/tls-policy.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import type { StsPolicy } from '../../src/protocol/mta-sts/policy.ts';
import { domain, keptPolicy, policy } from './policy-parts.ts';

const NOW = 1_800_000_000_000;
const W = domain('w.example');
const LISTED = candidate('mx.w.example');
const STRAY = candidate('mx.stray.example');
const signal = new AbortController().signal;

function candidate(host?: string): MxCandidate {
  return { host: host === undefined ? undefined : domain(host), preference: 10, port: 25 };
}

function route(change: Partial<Route> = {}): Route {
  return { destination: 'w.example', policyDomain: W, kind: 'mx', candidates: [LISTED], ...change };
}

function found(published: StsPolicy): StsLookup {
  return { kind: 'policy', kept: keptPolicy('one', published, NOW) };
}

const ABSENT: StsLookup = { kind: 'absent' };
const UNKNOWN: StsLookup = { kind: 'unknown', reason: 'SERVFAIL' };
const ENFORCE = found(policy('enforce'));
const TESTING = found(policy('testing'));
const NONE = found(policy('none', ['nothing.example']));

interface Situation {
  readonly settings?: Partial<TlsPolicySettings>;
  readonly route?: Partial<Route>;
  readonly sts?: StsLookup;
  readonly to?: MxCandidate;
}

/** `verify mta-sts`, `refused mta-sts`, `undecided`; and which domains were asked about. */
async function decide({ settings, route: change, sts = ABSENT, to = LISTED }: Situation) {
  const asked: DomainName[] = [];
  const decideFor = createTlsPolicy({
    settings: () => ({
      defaultLevel: 'opportunistic',
      minVersion: 'TLSv1.2',
      mtaStsEnabled: true,
      overrides: [],
      routes: [],
      ...settings,
    }),
    lookupSts: async (name) => {
      asked.push(name);
      return sts;
    },
    now: () => NOW,
  });
  const decided = await decideFor(route(change), signal);
  if (decided.kind === 'undecided') return { answer: 'undecided', failure: decided.failure, asked };
  const verdict = decided.requirementFor(to);
  const { level, source } = verdict.requirement;
  const answer = `${verdict.kind === 'allowed' ? level : 'refused'} ${source.kind}`;
  return { answer, verdict, asked };
}

const override = (tls: TlsLevel, change = {}) => ({
  overrides: [{ domain: 'w.example', tls, ...change }],
});
const routed = { kind: 'configured', policyDomain: domain('hub.example') } as const;
const routes = (tls: TlsLevel, name = 'w.example') => ({ routes: [{ domain: name, tls }] });

const ROWS: readonly (readonly [why: string, situation: Situation, answer: string])[] = [
  ['nothing published', {}, 'opportunistic default'],
  ['the default raised', { settings: { defaultLevel: 'verify' } }, 'verify default'],
  ['enforce', { sts: ENFORCE }, 'verify mta-sts'],
  ['enforce, and a host outside it', { sts: ENFORCE, to: STRAY }, 'refused mta-sts'],
  ['enforce, and a host without a name', { sts: ENFORCE, to: candidate() }, 'refused mta-sts'],
  [
    'enforce over a lower default',
    { sts: ENFORCE, settings: { defaultLevel: 'none' } },
    'verify mta-sts',
  ],
  ['testing', { sts: TESTING }, 'opportunistic mta-sts'],
  ['testing, and a host outside it', { sts: TESTING, to: STRAY }, 'opportunistic mta-sts'],
  [
    'testing does not lower the default',
    { sts: TESTING, settings: { defaultLevel: 'verify' } },
    'verify mta-sts',
  ],
  ['none', { sts: NONE }, 'opportunistic default'],
  ['none, and a host outside it', { sts: NONE, to: STRAY }, 'opportunistic default'],
  ['not known', { sts: UNKNOWN }, 'undecided'],
  [
    'MTA-STS switched off',
    { sts: ENFORCE, settings: { mtaStsEnabled: false } },
    'opportunistic default',
  ],
  ['an override before enforce', { sts: ENFORCE, settings: override('none') }, 'none override'],
  [
    'an override for an unlisted host',
    { sts: ENFORCE, to: STRAY, settings: override('encrypt') },
    'encrypt override',
  ],
  ['an override that is stronger', { settings: override('verify') }, 'verify override'],
  [
    'an override while DNS fails',
    { sts: UNKNOWN, settings: override('encrypt') },
    'encrypt override',
  ],
  [
    'an override that lasts',
    { sts: ENFORCE, settings: override('none', { expires: NOW + 1 }) },
    'none override',
  ],
  [
    'an override that ends now',
    { sts: ENFORCE, settings: override('none', { expires: NOW }) },
    'verify mta-sts',
  ],
  [
    'an override that ended',
    { sts: ENFORCE, settings: override('none', { expires: 1 }) },
    'verify mta-sts',
  ],
  [
    'an override for another domain',
    { sts: ENFORCE, settings: { overrides: [{ domain: 'example', tls: 'none' }] } },
    'verify mta-sts',
  ],
  [
    'an override before a route',
    { route: routed, settings: { ...override('verify'), ...routes('none') } },
    'verify override',
  ],
  ['a route', { route: routed, settings: routes('encrypt') }, 'encrypt route'],
  [
    'a route with a login: never less than TLS (RFC 8314 §5.1)',
    {
      route: routed,
      settings: { routes: [{ domain: 'w.example', tls: 'opportunistic', user: 'ann' }] },
    },
    'encrypt route',
  ],
  ['a route for all', { route: routed, settings: routes('verify', '*') }, 'verify route'],
  [
    'a route of its own before the one for all',
    {
      route: routed,
      settings: { routes: [...routes('none', '*').routes, ...routes('encrypt').routes] },
    },
    'encrypt route',
  ],
  [
    'a route whose next hop enforces',
    { route: routed, sts: ENFORCE, settings: routes('none') },
    'verify mta-sts',
  ],
  [
    'a route whose next hop tests',
    { route: routed, sts: TESTING, settings: routes('encrypt') },
    'encrypt mta-sts',
  ],
  ['a route that did not apply', { settings: routes('encrypt') }, 'opportunistic default'],
  [
    'an address literal',
    { route: { kind: 'literal', policyDomain: undefined }, sts: ENFORCE, to: candidate() },
    'opportunistic default',
  ],
];

describe('the TLS policy', () => {
  for (const [why, situation, answer] of ROWS) {
    test(`${why}: ${answer}`, async () => assert.equal((await decide(situation)).answer, answer));
  }

  test('asks about the policy domain of the route alone (RFC 8461 §3.4)', async () => {
    assert.deepEqual((await decide({})).asked, ['w.example']);
    assert.deepEqual((await decide({ route: routed, settings: routes('none') })).asked, [
      'hub.example',
    ]);
    assert.deepEqual((await decide({ route: { policyDomain: undefined } })).asked, []);
    assert.deepEqual((await decide({ settings: override('none') })).asked, []);
    assert.deepEqual((await decide({ settings: { mtaStsEnabled: false } })).asked, []);
  });

  test('says who asks, so that log, bounce and report can', async () => {
    const { verdict } = await decide({ sts: ENFORCE });
    assert.deepEqual(verdict?.requirement.source, {
      kind: 'mta-sts',
      domain: 'w.example',
      policyId: 'one',
      policyText: policy('enforce').text,
      mode: 'enforce',
      listed: true,
    });
    const stray = await decide({ sts: TESTING, to: STRAY });
    const { source } = stray.verdict?.requirement ?? {};
    assert.ok(source?.kind === 'mta-sts' && !source.listed);
  });

  test('refuses with the host and the hosts that would do', async () => {
    const { verdict } = await decide({ sts: ENFORCE, to: STRAY });
    assert.ok(verdict?.kind === 'refused');
    assert.equal(verdict.failure.cause, 'mx-outside-policy');
    assert.match(verdict.failure.detail, /mx\.stray\.example .* w\.example \(\*\.w\.example\)/);
  });

  test('quotes a long policy in part', async () => {
    const many = Array.from({ length: 2000 }, (_, n) => `mx${n}.w.example`);
    const { verdict } = await decide({ sts: found(policy('enforce', many)), to: STRAY });
    assert.ok(verdict?.kind === 'refused' && verdict.failure.detail.length < 500);
  });

  test('waits when the policy is not known, and says why', async () => {
    const { failure } = await decide({ sts: UNKNOWN });
    assert.equal(failure?.cause, 'policy-unknown');
    assert.match(failure?.detail ?? '', /w\.example.*SERVFAIL/);
  });

  test('reads the settings afresh each time', async () => {
    let level: TlsLevel = 'opportunistic';
    const decideFor = createTlsPolicy({
      settings: () => ({
        defaultLevel: level,
        minVersion: 'TLSv1.3',
        mtaStsEnabled: true,
        overrides: [],
        routes: [],
      }),
      lookupSts: async () => ABSENT,
      now: () => NOW,
    });
    for (level of ['encrypt', 'verify'] as const) {
      const decided = await decideFor(route(), signal);
      assert.ok(decided.kind === 'decided');
      const { requirement } = decided.requirementFor(LISTED);
      assert.deepEqual([requirement.level, requirement.minVersion], [level, 'TLSv1.3']);
    }
  });
});
