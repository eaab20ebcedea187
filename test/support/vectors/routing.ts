/**
 * Vectors `null-mx-and-mx-order` (RFC 5321 §5.1, RFC 7505): the router, then the addresses of every
 * candidate, as a delivery that finds each host away would go. A resolver plays the input.
 */
import { isIP, isIPv6 } from 'node:net';
import type { LocalCause, LocalFailure } from '../../../src/mail/failure.ts';
import type { MxCandidate, Route } from '../../../src/mail/route.ts';
import type { SessionResult } from '../../../src/mail/session-result.ts';
import { classify } from '../../../src/outcome/classify.ts';
import { conclude } from '../../../src/outcome/conclude.ts';
import { createAddressGuard } from '../../../src/platform/address-guard.ts';
import type { LookupResult, MxRecord, Resolver } from '../../../src/platform/resolver.ts';
import { parseDomain } from '../../../src/protocol/domain.ts';
import { resolveCandidate } from '../../../src/routing/addresses.ts';
import { createRouter } from '../../../src/routing/route.ts';
import { NotSupported, onlyKeys, type VectorKind } from './vector.ts';

interface Input {
  readonly domain: string;
  readonly mx: {
    readonly rcode: string;
    readonly rrs: readonly { readonly pref: number; readonly host: string }[];
  };
  readonly cname?: readonly string[];
  /** Addresses of the domain itself. */
  readonly a?: readonly string[];
  readonly aaaa?: readonly string[];
  /** Addresses, or the lookup's result; a host that is not named has addresses. */
  readonly hosts?: Readonly<Record<string, string | readonly string[]>>;
  /** Names and addresses of the relay. */
  readonly self?: readonly string[];
}

const FAILURES = ['SERVFAIL', 'TIMEOUT', 'BOGUS', 'REFUSED'];
const SOME_ADDRESSES = ['192.0.2.200', '2001:db8::200'];

/** Replies that a refusal at RCPT would have; the relay looks up after it took the mail, and bounces. */
const REPLIES: { readonly [cause in LocalCause]?: number } = { 'null-mx': 556 }; // RFC 7505 §4.1

export const routing: VectorKind = {
  async answer(input: Input) {
    onlyKeys('input', input, ['domain', 'mx', 'cname', 'a', 'aaaa', 'hosts', 'self']);
    const resolver = resolverOf(input);
    const { signal } = new AbortController();
    const self = input.self ?? [];
    const router = createRouter({
      resolver,
      port: 25,
      ownNames: self.filter((name) => isIP(name) === 0),
      ownAddresses: self.filter((name) => isIP(name) !== 0),
    });
    const routed = await router.findRoute(input.domain, signal);
    if (routed.kind === 'failed') return ofFailure(routed.failure);
    const { route } = routed;
    const guard = createAddressGuard(true);
    const lookup = { resolver, families: ['ipv6', 'ipv4'] as const, guard, signal };
    const usable: MxCandidate[] = [];
    const results: SessionResult[] = [];
    for (const candidate of route.candidates) {
      const resolved = await resolveCandidate(candidate, lookup);
      if (resolved.kind === 'addresses') usable.push(candidate);
      else results.push(untried(candidate, resolved.failure));
    }
    if (usable.length > 0) return ofCandidates(route, usable);
    const outcome = conclude(results, [0]).get(0);
    if (!outcome || outcome.kind === 'delivered') throw new Error('delivered to nobody');
    const { failure } = outcome.diagnosis;
    if (failure.kind === 'reply') throw new Error('a reply of nobody');
    return ofFailure(failure);
  },
};

function ofFailure(failure: LocalFailure) {
  const { permanent, status } = classify(failure);
  if (!permanent) return { result: 'tempfail' };
  return { result: 'permfail', status, reply: REPLIES[failure.cause] };
}

function ofCandidates(route: Route, candidates: readonly MxCandidate[]) {
  const preferences = [...new Set(candidates.map(({ preference }) => preference))];
  const groups = preferences.map((wanted) =>
    candidates
      .filter(({ preference }) => preference === wanted)
      .map(({ host }) => host ?? route.destination)
      .sort(),
  );
  const { kind } = route;
  return {
    result: 'candidates',
    groups,
    implicit: kind === 'implicit-mx',
    literal: kind === 'literal',
  };
}

function untried(candidate: MxCandidate, failure: LocalFailure): SessionResult {
  const source = { kind: 'default' } as const;
  const requirement = { level: 'opportunistic', minVersion: 'TLSv1.2', source } as const;
  const nowhere = { address: undefined, localAddress: undefined, tls: undefined };
  return { kind: 'ended-early', facts: { candidate, requirement, ...nowhere }, failure };
}

/** A resolver that knows what the vector says. */
function resolverOf(input: Input): Resolver {
  const domain = parseDomain(input.domain);
  return {
    async lookupMx(name) {
      if (name !== domain) throw new Error(`asked for the MX of ${name}`);
      const { rcode, rrs } = input.mx;
      if (rcode !== 'NOERROR') return withoutRecords(rcode);
      if (rrs.length === 0) return withoutRecords('NODATA');
      const records: MxRecord[] = rrs.map(({ pref, host }) => ({
        preference: pref,
        exchange: host.replace(/\.$/, ''),
      }));
      return found(records, input.cname?.at(-1) ?? name);
    },
    async lookupAddress(host, family) {
      const answer = addressesOf(input, host, host === domain);
      if (typeof answer === 'string') return withoutRecords(answer);
      const records = answer.filter((address) => isIPv6(address) === (family === 6));
      return records.length > 0 ? found(records, host) : withoutRecords('NODATA');
    },
    lookupTxt: () => Promise.reject(new Error('asked for TXT')),
    lookupTlsa: () => Promise.reject(new Error('asked for TLSA')),
    lookupCname: () => Promise.reject(new Error('asked for CNAME')),
  };
}

function addressesOf({ hosts = {}, a = [], aaaa = [] }: Input, host: string, isDomain: boolean) {
  const known = Object.entries(hosts).find(([name]) => parseDomain(name) === host);
  if (known) return known[1];
  return isDomain && a.length + aaaa.length > 0 ? [...a, ...aaaa] : SOME_ADDRESSES;
}

function found<T>(records: readonly T[], canonicalName: string): LookupResult<T> {
  return { kind: 'found', records, canonicalName, ttlSeconds: 60, authenticated: false };
}

function withoutRecords(rcode: string): LookupResult<never> {
  if (FAILURES.includes(rcode)) return { kind: 'failed', reason: rcode };
  if (rcode !== 'NXDOMAIN' && rcode !== 'NODATA') throw new NotSupported(`rcode ${rcode}`);
  return { kind: 'absent', nameExists: rcode === 'NODATA', ttlSeconds: 60, authenticated: false };
}
