/** What decides TLS: the table of the product contract, section 8, one line a row. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MxCandidate, Route } from '../../src/mail/route.ts';
import { describeRequirement, type TlsLevel } from '../../src/mail/tls-requirement.ts';
import type { TlsWish } from '../../src/mail/tls-wish.ts';
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
  /** What the message says. */
  readonly wish?: TlsWish;
}

/** `verify mta-sts`, `refused mta-sts`, `undecided`; and which domains were asked about. */
async function decide({ settings, route: change, sts = ABSENT, to = LISTED, wish }: Situation) {
  const asked: DomainName[] = [];
  const decideFor = createTlsPolicy({
    settings: () => ({
      defaultLevel: 'opportunistic',
      minVersion: 'TLSv1.2',
      mtaStsEnabled: true,
      honorTlsRequiredNo: true,
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
  const decided = await decideFor(route(change), signal, wish);
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
  [
    'a route without a login, as the configuration has it',
    {
      route: routed,
      settings: { routes: [{ domain: 'w.example', tls: 'opportunistic', user: '' }] },
    },
    'opportunistic route',
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
        honorTlsRequiredNo: true,
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

const HUB = { host: domain('hub.example'), preference: 0, port: 25, trusted: true } as const;
const toHub = { route: { ...routed, candidates: [HUB] }, to: HUB } as const;
const UNSURE: StsLookup = { kind: 'absent', unsure: 'the policy host does not answer' };

/** With REQUIRETLS: as above, and what else the requirement says, or why the host is refused. */
async function decideTagged(situation: Situation): Promise<string> {
  const { answer, verdict } = await decide({ wish: 'required', ...situation });
  if (!verdict) return answer;
  if (verdict.kind === 'refused') return `${answer}: ${verdict.failure.cause}`;
  return `${answer} ${verdict.requirement.requireTls ?? 'nothing'}`;
}

const INSECURE = 'refused default: requiretls-mx-insecure';
const TAGGED: readonly (readonly [why: string, situation: Situation, answer: string])[] = [
  ['enforce', { sts: ENFORCE }, 'verify mta-sts required'],
  [
    'enforce, and a host outside it',
    { sts: ENFORCE, to: STRAY },
    'refused mta-sts: mx-outside-policy',
  ],
  ['testing', { sts: TESTING }, INSECURE],
  ['none', { sts: NONE }, INSECURE],
  ['nothing published', {}, INSECURE],
  [
    'nothing published, and a default of verify',
    { settings: { defaultLevel: 'verify' } },
    INSECURE,
  ],
  ['a policy that could not be had', { sts: UNSURE }, 'undecided'],
  ['not known', { sts: UNKNOWN }, 'undecided'],
  ['MTA-STS switched off', { sts: ENFORCE, settings: { mtaStsEnabled: false } }, INSECURE],
  [
    'an address literal',
    { route: { kind: 'literal', policyDomain: undefined }, to: candidate() },
    INSECURE,
  ],
  ['an override to none', { sts: ENFORCE, settings: override('none') }, 'verify mta-sts required'],
  ['an override to verify', { settings: override('verify') }, INSECURE],
  ['an override to none, and nothing published', { settings: override('none') }, INSECURE],
  ['a route', { ...toHub, settings: routes('encrypt') }, 'verify route required'],
  ['a route to none', { ...toHub, settings: routes('none') }, 'verify route required'],
  [
    'a route whose next hop has a policy that could not be had',
    { ...toHub, sts: UNSURE, settings: routes('verify') },
    'verify route required',
  ],
  [
    'a route against the policy of its next hop',
    { ...toHub, sts: ENFORCE, settings: routes('verify') },
    'refused mta-sts: mx-outside-policy',
  ],
  [
    "a route to a domain's MX hosts, which nothing vouches for",
    { route: routed, to: { ...LISTED, trusted: true }, settings: routes('verify') },
    'refused route: requiretls-mx-insecure',
  ],
  [
    'a route to an address',
    {
      route: { ...routed, policyDomain: undefined },
      to: { ...candidate(), address: '192.0.2.1', trusted: true },
      settings: routes('verify'),
    },
    'refused route: requiretls-mx-insecure',
  ],
];

describe('REQUIRETLS before everything else (RFC 8689 §4.2.1)', () => {
  for (const [why, situation, answer] of TAGGED) {
    test(`${why}: ${answer}`, async () => assert.equal(await decideTagged(situation), answer));
  }

  test('whatever the overrides say, they are not even asked', async () => {
    for (const level of ['none', 'opportunistic', 'encrypt', 'verify'] as const) {
      const lookups: readonly StsLookup[] = [ENFORCE, TESTING, NONE, ABSENT, UNSURE, UNKNOWN];
      for (const sts of lookups) {
        const without = await decideTagged({ sts });
        assert.equal(await decideTagged({ sts, settings: override(level) }), without);
      }
    }
  });

  test('a host that DNSSEC vouched for a moment ago is judged anew when it does no more', async () => {
    const settings: TlsPolicySettings = {
      ...{ defaultLevel: 'opportunistic', minVersion: 'TLSv1.2', mtaStsEnabled: true },
      ...{ honorTlsRequiredNo: true, overrides: [], routes: [] },
    };
    const decideFor = createTlsPolicy({
      settings: () => settings,
      lookupSts: async () => TESTING,
      now: () => NOW,
    });
    const verdictFor = async (change: Partial<Route>) => {
      const decided = await decideFor(route(change), signal, 'required');
      return decided.kind === 'decided' ? decided.requirementFor(LISTED).kind : decided.kind;
    };
    assert.equal(await verdictFor({ securedNames: [W] }), 'allowed');
    assert.equal(await verdictFor({}), 'refused');
    assert.equal(await verdictFor({ securedNames: [W] }), 'allowed');
  });

  test('says which hosts would do', async () => {
    const { verdict } = await decide({ wish: 'required' });
    assert.ok(verdict?.kind === 'refused');
    assert.match(
      verdict.failure.detail,
      /neither DNSSEC nor an MTA-STS policy of w\.example in mode enforce/,
    );
    assert.match(describeRequirement(verdict.requirement), /REQUIRETLS.*promise to do the same\.$/);
    const { verdict: other } = await decide({ wish: 'required', sts: ENFORCE });
    assert.ok(other);
    assert.match(describeRequirement(other.requirement), /policy of w\.example \(mode enforce/);
  });

  test('the requirement is another one than without, so that no session is shared', async () => {
    const wishes = [undefined, 'required', 'preferred', 'waived'] as const;
    const digests = await Promise.all(
      wishes.map(async (wish) => {
        const { verdict } = await decide({ sts: ENFORCE, ...(wish ? { wish } : {}) });
        return JSON.stringify(verdict?.requirement);
      }),
    );
    assert.equal(new Set(digests).size, wishes.length);
  });
});

describe('a bounce with REQUIRETLS (RFC 8689 §5)', () => {
  const rows: readonly (readonly [why: string, situation: Situation, answer: string])[] = [
    ['enforce', { sts: ENFORCE }, 'verify mta-sts preferred'],
    ['testing', { sts: TESTING }, 'opportunistic mta-sts nothing'],
    ['nothing published', {}, 'opportunistic default nothing'],
    [
      'an override to none: TLS is tried',
      { sts: ENFORCE, settings: override('none') },
      'opportunistic override nothing',
    ],
    ['a route', { ...toHub, settings: routes('opportunistic') }, 'opportunistic route preferred'],
    ['not known', { sts: UNKNOWN }, 'undecided'],
  ];
  for (const [why, situation, answer] of rows) {
    test(`${why}: ${answer}`, async () => {
      assert.equal(await decideTagged({ wish: 'preferred', ...situation }), answer);
    });
  }
});

describe('TLS-Required: No (RFC 8689 §4.2.2)', () => {
  const rows: readonly (readonly [why: string, situation: Situation, answer: string])[] = [
    ['enforce', { sts: ENFORCE }, 'opportunistic tls-required-no'],
    [
      'enforce, and a host outside it',
      { sts: ENFORCE, to: STRAY },
      'opportunistic tls-required-no',
    ],
    ['not known: it does not wait for that', { sts: UNKNOWN }, 'opportunistic tls-required-no'],
    [
      'an administrator does not honor it',
      { sts: ENFORCE, settings: { honorTlsRequiredNo: false } },
      'verify mta-sts',
    ],
    [
      'an override binds all the same',
      { sts: ENFORCE, settings: override('verify') },
      'verify override',
    ],
    [
      'a default of verify binds all the same',
      { sts: ENFORCE, settings: { defaultLevel: 'verify' } },
      'verify tls-required-no',
    ],
    [
      'a route binds all the same',
      { ...toHub, settings: routes('encrypt') },
      'encrypt tls-required-no',
    ],
  ];
  for (const [why, situation, answer] of rows) {
    test(`${why}: ${answer}`, async () => {
      assert.equal((await decide({ wish: 'waived', ...situation })).answer, answer);
    });
  }

  test('R136 a TLS report of ours goes as far as it gets (RFC 8460 §3), but for what an administrator says', async () => {
    const rows: readonly (readonly [Situation, string])[] = [
      [{ sts: ENFORCE, settings: { honorTlsRequiredNo: false } }, 'opportunistic tls-required-no'],
      [{ settings: { defaultLevel: 'verify' } }, 'opportunistic tls-required-no'],
      [{ ...toHub, settings: routes('encrypt') }, 'encrypt tls-required-no'],
      [{ sts: ENFORCE, settings: override('verify') }, 'verify override'],
    ];
    for (const [situation, answer] of rows) {
      assert.equal((await decide({ wish: 'report', ...situation })).answer, answer);
    }
  });

  test('asks nobody for a policy, and says why none counts', async () => {
    const { asked, verdict } = await decide({ wish: 'waived', sts: ENFORCE });
    assert.deepEqual(asked, []);
    assert.ok(verdict);
    assert.equal(
      describeRequirement(verdict.requirement),
      "The message says TLS-Required: No, so the policy of its recipients' domain is set aside. This mail system asks for TLS where it is offered.",
    );
  });
});
