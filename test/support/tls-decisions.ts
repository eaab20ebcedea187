/**
 * The decisions on TLS, all of them, as text: test/fixtures/tls-decisions.txt. What a word of the table stands for
 * is said here; what it leads to the relay's own functions say.
 */
import { decideSession, firstMode, requireTlsIn } from '../../src/delivery/admission.ts';
import { localFailure } from '../../src/mail/failure.ts';
import type { TlsFacts, TlsMode } from '../../src/mail/session-result.ts';
import {
  type DaneAnswer,
  decideTls,
  type StsAnswer,
  type TlsDecision,
  type TlsSituation,
} from '../../src/mail/tls-decision.ts';
import type { DaneSource, TlsLevel, TlsRequirement } from '../../src/mail/tls-requirement.ts';
import type { TlsWish } from '../../src/mail/tls-wish.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import { type DecisionTable, formatDecisions } from './decision-table.ts';

const HOST = 'mx.w.example' as DomainName;
const W = 'w.example' as DomainName;
const LEVELS = ['none', 'opportunistic', 'encrypt', 'verify'] as const;

/** Reads a word as what it stands for. */
function meaning<T>(words: Readonly<Record<string, T>>, word: string | undefined): T {
  if (word === undefined || !Object.hasOwn(words, word)) throw new Error(`what is ${word}?`);
  return words[word] as T;
}

const WISHES: Readonly<Record<string, TlsWish | undefined>> = {
  '-': undefined,
  'TLS-Required: No': 'waived',
  REQUIRETLS: 'required',
  'REQUIRETLS, bounce': 'preferred',
  'TLS report': 'report',
};

const RECORDS = [`3 1 1 ${'ab'.repeat(32)}`];
const DANE_SOURCE: DaneSource = {
  kind: 'dane',
  baseDomain: HOST,
  names: [HOST],
  records: RECORDS,
  usable: RECORDS,
};
const DANE: Readonly<Record<string, DaneAnswer>> = {
  none: { kind: 'none' },
  usable: { kind: 'usable', source: DANE_SOURCE },
  'unusable only': { kind: 'unusable-only', source: { ...DANE_SOURCE, usable: [] } },
  failed: {
    kind: 'failed',
    source: DANE_SOURCE,
    failure: localFailure('dns-failed', 'the TLSA records are bogus'),
  },
};

function sts(mode: 'enforce' | 'testing', listed: boolean): StsAnswer {
  const source = {
    kind: 'mta-sts',
    domain: W,
    policyId: '1',
    policyText: '',
    mode,
    listed,
  } as const;
  return { kind: 'policy', source, mx: ['*.w.example'] };
}
const STS: Readonly<Record<string, StsAnswer>> = {
  none: { kind: 'none' },
  'not to be had': { kind: 'none', unsure: 'the policy host does not answer' },
  testing: sts('testing', true),
  'testing, not listed': sts('testing', false),
  enforce: sts('enforce', true),
  'enforce, not listed': sts('enforce', false),
  'not known': { kind: 'unknown', reason: 'SERVFAIL' },
};

const ROUTES: Readonly<Record<string, TlsSituation['route']>> = {
  '-': undefined,
  ...Object.fromEntries(LEVELS.map((tls) => [tls, { domain: 'w.example', tls, hasLogin: false }])),
  'opportunistic, with a login': { domain: 'w.example', tls: 'opportunistic', hasLogin: true },
};

const BASE: TlsSituation = {
  wish: undefined,
  override: undefined,
  route: undefined,
  dane: { kind: 'none' },
  sts: { kind: 'none' },
  defaultLevel: 'opportunistic',
  minVersion: 'TLSv1.2',
  host: HOST,
  isNamedSecurely: false,
  policyDomain: W,
};

/** What the administrator asks for where nobody else has a say. */
export const OWN_TABLE: DecisionTable = {
  dimensions: [
    { name: 'route', values: Object.keys(ROUTES) },
    { name: 'security.default', values: LEVELS.filter((level) => level !== 'none') },
  ],
  answer: 'own level',
  decide: ([route, defaultLevel]) => {
    const decision = decideTls({
      ...BASE,
      route: meaning(ROUTES, route),
      defaultLevel: defaultLevel as TlsLevel,
    });
    return decision.requirement.level;
  },
};

/** The situation of a point of ASKED_TABLE, whose own level is the default, or the route's. */
export function situationOf(
  [wish, override, dane, policy, own, named]: readonly string[],
  by: 'default' | 'route' = 'default',
): TlsSituation {
  const level = own as TlsLevel;
  return {
    ...BASE,
    wish: meaning(WISHES, wish),
    override: override === '-' ? undefined : { domain: 'w.example', tls: override as TlsLevel },
    dane: meaning(DANE, dane),
    sts: meaning(STS, policy),
    isNamedSecurely: named === 'securely',
    ...(by === 'default'
      ? { defaultLevel: level }
      : { route: { domain: 'w.example', tls: level, hasLogin: false }, defaultLevel: 'verify' }),
  };
}

/** `verify by MTA-STS`; `own` for the level that the administrator asks for. */
export function describeDecision(decision: TlsDecision, own: TlsLevel): string {
  const { requirement } = decision;
  if (decision.kind === 'undecided') return `waits: ${decision.failure.cause}`;
  if (decision.kind === 'refused') return `next host: ${whyRefused(decision)}`;
  const { level, source, requireTls } = requirement;
  const tagged = requireTls === undefined ? '' : ' + REQUIRETLS';
  switch (source.kind) {
    case 'override':
      return `${level} by the override${tagged}`;
    case 'dane':
      return `${level} by DANE${tagged}`;
    case 'mta-sts':
      return source.mode === 'enforce'
        ? `${level} by MTA-STS${tagged}`
        : `${ownOr(level, own)}${tagged}`;
    default:
      return `${ownOr(level, own)}${tagged}`;
  }
}

function ownOr(level: TlsLevel, own: TlsLevel): string {
  return level === own ? 'own level' : level;
}

function whyRefused({ failure, requirement }: TlsDecision & { kind: 'refused' }): string {
  return requirement.source.kind === 'dane' ? 'DANE failed' : failure.cause;
}

/** What is asked of a host. */
export const ASKED_TABLE: DecisionTable = {
  dimensions: [
    { name: 'message says', values: Object.keys(WISHES) },
    { name: 'override', values: ['-', ...LEVELS] },
    { name: 'DANE', values: Object.keys(DANE) },
    { name: 'MTA-STS', values: Object.keys(STS) },
    { name: 'own level', values: LEVELS },
    { name: 'host named', values: ['by DNS', 'securely'] },
  ],
  answer: 'asked of the host',
  decide: (point) => describeDecision(decideTls(situationOf(point)), point[4] as TlsLevel),
};

const SESSIONS: Readonly<Record<string, Session>> = {
  'no STARTTLS, or refused': { tls: undefined },
  'no handshake, or no TLS 1.2': { breaks: ['full', 'small-hello'] },
  'no large ClientHello': { breaks: ['full'], tls: facts(true) },
  'certificate bad': { tls: facts(false) },
  'certificate good': { tls: facts(true) },
};

interface Session {
  readonly breaks?: readonly TlsMode[];
  readonly tls?: TlsFacts | undefined;
}

function facts(verified: boolean): TlsFacts {
  return {
    version: 'TLSv1.3',
    cipher: 'TLS_AES_128_GCM_SHA256',
    certSha256: undefined,
    verdict: verified
      ? { verified: true, matchedName: HOST }
      : { verified: false, cause: 'certificate-expired', detail: 'expired' },
  };
}

interface Demand {
  readonly level: TlsLevel;
  readonly requireTls?: TlsRequirement['requireTls'];
  readonly implicitTls?: true;
}
const DEMANDS: Readonly<Record<string, Demand>> = {
  ...Object.fromEntries(LEVELS.map((level) => [level, { level }])),
  'opportunistic + REQUIRETLS, bounce': { level: 'opportunistic', requireTls: 'preferred' },
  'encrypt + REQUIRETLS, bounce': { level: 'encrypt', requireTls: 'preferred' },
  'verify + REQUIRETLS, bounce': { level: 'verify', requireTls: 'preferred' },
  'verify + REQUIRETLS': { level: 'verify', requireTls: 'required' },
  'none, implicit TLS': { level: 'none', implicitTls: true },
  'opportunistic, implicit TLS': { level: 'opportunistic', implicitTls: true },
};

/** What becomes of a session with the host. */
export const SESSION_TABLE: DecisionTable = {
  dimensions: [
    { name: 'asked', values: Object.keys(DEMANDS) },
    { name: 'what the host does', values: Object.keys(SESSIONS) },
    { name: 'offers REQUIRETLS', values: ['no', 'yes'] },
  ],
  answer: 'what becomes of it',
  decide: ([asked, peer, offers]) => {
    const { implicitTls, level, requireTls } = meaning(DEMANDS, asked);
    if (implicitTls && peer === 'no STARTTLS, or refused') return '(cannot be)';
    const requirement: TlsRequirement = {
      level,
      minVersion: 'TLSv1.2',
      source: { kind: 'default' },
      ...(requireTls ? { requireTls } : {}),
    };
    const plan = { requirement, ...(implicitTls ? { implicitTls } : {}) };
    return becomes(plan, meaning(SESSIONS, peer), offers === 'yes');
  },
};

type Plan = Parameters<typeof firstMode>[0];

/** The tries at one address, one behind the other, and what the last one came to. */
function becomes(plan: Plan, { breaks = [], tls }: Session, isOffered: boolean): string {
  const tries: string[] = [];
  const failure = localFailure('tls-handshake-failed', 'reset');
  for (let mode = firstMode(plan); ; ) {
    const isBroken = breaks.includes(mode);
    const open = { kind: 'open', tls: mode === 'clear' ? undefined : tls } as const;
    const end = isBroken ? ({ kind: 'broken', failure } as const) : open;
    const step = decideSession({ ...plan, mode }, end);
    if (step.kind === 'again') {
      tries.push(step.mode === 'clear' ? 'then in clear text' : 'again with a small ClientHello');
      mode = step.mode;
      continue;
    }
    if (step.kind === 'refused') return [...tries, `next host: ${step.failure.cause}`].join(', ');
    const required = requireTlsIn(plan.requirement, { tls: open.tls, isOffered });
    if (typeof required !== 'string') return [...tries, `next host: ${required.cause}`].join(', ');
    const tagged = required === 'with' ? ' with REQUIRETLS' : '';
    return [...tries, `delivered${tagged}, ${step.reached}`].join(', ');
  }
}

/** The whole document. */
export function renderTlsDecisions(): string {
  return `What decides TLS: every case there is, by the relay's own functions.

Written by \`node test/support/write-docs.ts\`; test/unit/tls-decision.test.ts compares, and holds every case against
the lines. Not to be edited: change src/mail/tls-decision.ts or src/delivery/admission.ts, and read what changes here.

How to read: exactly one line fits. * is anything; | is or; - is none there. "next host" means that this one is passed over;
when none is left the message waits (for good is refused only requiretls-mx-insecure, and requiretls-unsupported: it bounces).


1. The administrator's own level, where nobody else has a say

${formatDecisions(OWN_TABLE)}


2. What is asked of a host: the requirement, who asks for it, and whether MAIL FROM is to have REQUIRETLS

"own level" is that of table 1. DANE "none" is also: switched off, not secure, not asked. MTA-STS "none" is also: mode none,
switched off, an address. "not to be had": a policy may be published, and neither it nor a former one can be got.
"not known": not even that can be said for now. "REQUIRETLS, bounce": from the null reverse-path.
Named "securely": by DNSSEC, or in the configuration.
TLS-Required: No stands for itself only where \`security.honorTlsRequiredNo\` says so; else the message says "-".

${formatDecisions(ASKED_TABLE)}


3. What becomes of a session under it

"good": by the roots and the name of the host, or where DANE asks by its TLSA records. A try "again" has a connection of its own.

${formatDecisions(SESSION_TABLE)}
`;
}
