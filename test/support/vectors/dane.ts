/**
 * Vectors `dane`: one delivery under RFC 7672, from the MX answer to the certificate. Route, addresses,
 * policy and the walk over the hosts are the relay's own; played are DNS and the handshakes, whose certificates
 * are those of fixtures/certs/dane-certs.json.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { refusesSession } from '../../../src/delivery/admission.ts';
import { judgeByDane } from '../../../src/delivery/dane-verdict.ts';
import { deliver } from '../../../src/delivery/deliver.ts';
import type { Consignment, SessionPlan } from '../../../src/delivery/session.ts';
import type { SessionResult, TlsFacts } from '../../../src/mail/session-result.ts';
import { daneCheck } from '../../../src/mail/tls-requirement.ts';
import { classify } from '../../../src/outcome/classify.ts';
import { createAddressGuard } from '../../../src/platform/address-guard.ts';
import { createDanePolicy } from '../../../src/policy/dane-policy.ts';
import { createTlsPolicy } from '../../../src/policy/tls-policy.ts';
import { formatTlsa, parseTlsaText } from '../../../src/protocol/dane/tlsa.ts';
import { parseDomain } from '../../../src/protocol/domain.ts';
import { resolveCandidate } from '../../../src/routing/addresses.ts';
import { createRouter } from '../../../src/routing/route.ts';
import { FakeClock } from '../fake-clock.ts';
import { differences, isObject } from './compare.ts';
import { DaneDns, type DnsInput, type HostInput } from './dane-dns.ts';
import { onlyKeys, type VectorContext, type VectorKind } from './vector.ts';

interface Input extends DnsInput {
  readonly now: string;
  readonly mode: 'opportunistic' | 'mandatory';
}

/** The file of certificates among the fixtures. */
export const DANE_CERTIFICATES = 'dane-certs.json';

const NO_MESSAGE = { recipients: [0], sizeBytes: 0 } as unknown as Consignment;

export const dane: VectorKind = {
  async answer(input: Input, context: VectorContext) {
    checkKeys(input);
    const dns = new DaneDns(input);
    const plans: SessionPlan[] = [];
    const results = await attempt(input, { dns, plans, chainOf: certificatesIn(context) });
    const { tlsaQueries } = dns;
    const base = { tlsa_query: tlsaQueries.length > 0 };
    if (results === 'failed') return { outcome: 'defer', via: null, ...base };
    const last = results.find(({ kind }) => kind === 'transacted') ?? results.at(-1);
    if (!last) throw new Error('nothing was tried');
    return { ...base, ...outcomeOf(last, results, input), ...factsOf(last, plans, tlsaQueries) };
  },
  differences: (answer, expected) => differences(plainMatch(answer), plainMatch(expected)),
};

/** RFC 6698 §2.2: the digits of a record have no case, and may have blanks between them. */
function plainMatch(value: unknown): unknown {
  if (!isObject(value) || typeof value['matched'] !== 'string') return value;
  const record = parseTlsaText(value['matched']);
  return record ? { ...value, matched: formatTlsa(record) } : value;
}

function checkKeys(input: Input): void {
  onlyKeys('input', input, ['now', 'next_hop', 'next_hop_cname', 'mode', 'mx', 'hosts']);
  onlyKeys('mx', input.mx, ['status', 'rrs']);
  for (const host of Object.values(input.hosts)) {
    onlyKeys('host', host, ['address', 'cname', 'tlsa', 'server', 'port']);
    onlyKeys('server', host.server, ['starttls', 'chain']);
    for (const tlsa of Object.values(host.tlsa)) {
      onlyKeys('tlsa', tlsa, ['status', 'rrs', 'via_cname']);
    }
  }
}

interface Stage {
  readonly dns: DaneDns;
  readonly plans: SessionPlan[];
  readonly chainOf: (names: readonly string[]) => readonly Buffer[];
}

/** The stages as transactions.ts puts them together. */
async function attempt(
  input: Input,
  { dns, plans, chainOf }: Stage,
): Promise<readonly SessionResult[] | 'failed'> {
  const { signal } = new AbortController();
  const nowMs = Date.parse(input.now);
  const clock = new FakeClock(nowMs);
  const [first] = Object.values(input.hosts);
  const router = createRouter({ resolver: dns, port: first?.port ?? 25, ownNames: [], clock });
  const destination = parseDomain(input.next_hop) ?? input.next_hop;
  const routed = await router.findRoute(destination, signal);
  if (routed.kind === 'failed') return 'failed';
  const tlsPolicy = createTlsPolicy({
    settings: () => ({
      defaultLevel: 'opportunistic',
      minVersion: 'TLSv1.2',
      mtaStsEnabled: false,
      honorTlsRequiredNo: true,
      overrides: [],
      routes: [],
    }),
    lookupSts: () => Promise.reject(new Error('MTA-STS is off')),
    dane: createDanePolicy({ resolver: dns, mandatory: input.mode === 'mandatory' }),
    now: () => nowMs,
  });
  const policy = await tlsPolicy(routed.route, signal);
  if (policy.kind === 'undecided') return 'failed';
  const guard = createAddressGuard(true);
  return deliver(routed.route, NO_MESSAGE, {
    signal,
    steps: {
      ...policy,
      addressesOf: (candidate, ending) =>
        resolveCandidate(candidate, {
          ...{ resolver: dns, guard, clock, destination },
          families: ['ipv4', 'ipv6'],
          signal: ending,
        }),
      runSession: async (plan) => {
        plans.push(plan);
        const host = dns.hostOf(plan.candidate.host ?? input.next_hop);
        if (!host) throw new Error(`connected to ${plan.candidate.host}`);
        return play(plan, { host, chain: chainOf(host.server.chain), nowMs });
      },
      triesNextHost: (failure) => classify(failure).tryNextHost,
      onResult: () => {},
    },
  });
}

/** A session as delivery/open-session.ts has it, where the host speaks TLS 1.3 or none. */
function play(
  { candidate, address, requirement }: SessionPlan,
  {
    host,
    chain,
    nowMs,
  }: { readonly host: HostInput; readonly chain: readonly Buffer[]; readonly nowMs: number },
): SessionResult {
  const check = daneCheck(requirement);
  const unchecked = { verified: false, cause: 'certificate-untrusted', detail: 'no root' } as const;
  const verdict = check ? judgeByDane({ chain, nowMs }, check) : unchecked;
  const tls: TlsFacts | undefined = host.server.starttls
    ? { version: 'TLSv1.3', cipher: 'TLS_AES_128_GCM_SHA256', certSha256: undefined, verdict }
    : undefined;
  const base = { candidate, address, localAddress: undefined, requirement };
  const offered = { cause: 'starttls-not-offered', detail: 'STARTTLS was not offered' } as const;
  const facts = { ...base, tls, ...(tls ? {} : { clearTextBecause: offered }) };
  const failure = refusesSession(requirement, tls);
  if (failure) return { kind: 'ended-early', facts, failure };
  const reply = { code: 250, enhanced: undefined, text: 'taken' };
  const recipients = new Map([[0, { kind: 'accepted', reply, dsnOffered: false } as const]]);
  return { kind: 'transacted', facts, recipients };
}

/** In the words of the vectors. */
function outcomeOf(last: SessionResult, results: readonly SessionResult[], input: Input) {
  const via = last.kind === 'transacted' ? last.facts.candidate.host : null;
  if (last.kind === 'transacted') {
    const { tls, requirement } = last.facts;
    if (tls?.verdict.verified) return { outcome: 'verified', via, matched: tls.verdict.tlsa };
    const isForced = requirement.source.kind === 'dane';
    return { outcome: isForced ? 'tls-unauthenticated' : 'opportunistic', via };
  }
  // One host that is excluded and nobody to take its place; or nobody to ask, and nothing is known.
  const isRequired = last.failure.kind === 'local' && last.failure.cause === 'dane-required';
  const isOnly = results.length === 1 && Object.keys(input.hosts).length === 1;
  return { outcome: isOnly && !isRequired ? 'host-unusable' : 'defer', via };
}

function factsOf(
  { facts }: SessionResult,
  plans: readonly SessionPlan[],
  tlsaQueries: readonly string[],
) {
  const { source } = facts.requirement;
  if (source.kind !== 'dane') return {};
  return {
    usable: source.usable.length,
    base: source.baseDomain,
    references: source.names,
    qname: tlsaQueries.at(-1),
    ...(plans.length > 0 ? { sni: source.baseDomain } : {}),
  };
}

type Fixtures = Readonly<Record<string, { readonly der_b64: string } | undefined>>;

function certificatesIn({ fixtures }: VectorContext): Stage['chainOf'] {
  const text = readFileSync(join(fixtures, DANE_CERTIFICATES), 'utf8');
  const known = JSON.parse(text) as Fixtures;
  return (names) =>
    names.map((name) => {
      const fixture = Object.hasOwn(known, name) ? known[name] : undefined;
      if (!fixture) throw new Error(`no certificate ${name}`);
      return Buffer.from(fixture.der_b64, 'base64');
    });
}
