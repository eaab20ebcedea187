/**
 * The routing vectors (RFC 5321 §5.1, RFC 7505) against the pure decisions of routing/: MX
 * records to candidates, address lookups to addresses or a failure. A resolver plays the
 * input; the status of each failure is the one its cause stands for.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { isIP, isIPv6 } from 'node:net';
import { describe, test } from 'node:test';
import type { LocalCause, LocalFailure } from '../../src/mail/failure.ts';
import type { MxCandidate, Route } from '../../src/mail/route.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import { conclude } from '../../src/outcome/conclude.ts';
import { createAddressGuard } from '../../src/platform/address-guard.ts';
import type { LookupResult, MxRecord, Resolver } from '../../src/platform/resolver.ts';
import { parseDomain } from '../../src/protocol/domain.ts';
import { resolveCandidate } from '../../src/routing/addresses.ts';
import { createRouter } from '../../src/routing/route.ts';

type HostAnswer = 'NXDOMAIN' | 'SERVFAIL' | readonly string[];

interface Input {
  readonly domain: string;
  readonly mx: {
    readonly rcode: 'NOERROR' | 'NXDOMAIN' | 'SERVFAIL' | 'TIMEOUT' | 'BOGUS';
    readonly rrs: readonly { readonly pref: number; readonly host: string }[];
  };
  readonly cname?: readonly string[];
  readonly a?: readonly string[];
  readonly aaaa?: readonly string[];
  readonly hosts?: Readonly<Record<string, HostAnswer>>;
  readonly self?: readonly string[];
}
type Expectation = Readonly<Record<string, unknown>>;
interface Vector {
  readonly id: string;
  readonly note: string;
  readonly input: Input;
  readonly expect: Expectation;
  readonly alt?: readonly Expectation[];
}

const path = new URL('../fixtures/vectors/null-mx-and-mx-order.json', import.meta.url);
const vectors = JSON.parse(readFileSync(path, 'utf8')) as readonly Vector[];

/** What a failure means is decided in outcome/; here only whether it is the right one. */
const PERMANENT: Partial<Record<LocalCause, { status: string; reply?: number }>> = {
  'null-mx': { status: '5.1.10', reply: 556 },
  'domain-not-found': { status: '5.1.2' },
  'no-usable-mx': { status: '5.4.4' },
  'mail-loops-back': { status: '5.4.6' },
  'malformed-address': { status: '5.1.3' },
};

function found<T>(records: readonly T[], canonicalName: string): LookupResult<T> {
  return { kind: 'found', records, canonicalName, ttlSeconds: 60, authenticated: false };
}
function absent(nameExists: boolean): LookupResult<never> {
  return { kind: 'absent', nameExists, ttlSeconds: 60, authenticated: false };
}

/** A resolver that knows what the vector says; hosts it says nothing about have an address. */
function resolverOf(input: Input): Resolver {
  const domain = parseDomain(input.domain);
  const canonicalName = input.cname?.at(-1) ?? domain ?? '';

  function mxAnswer(): LookupResult<MxRecord> {
    const { rcode, rrs } = input.mx;
    if (rcode === 'NXDOMAIN') return absent(false);
    if (rcode !== 'NOERROR') return { kind: 'failed', reason: rcode };
    if (rrs.length === 0) return absent(true);
    const records = rrs.map(({ pref, host }) => ({
      preference: pref,
      exchange: host.replace(/\.$/, ''),
    }));
    return found(records, canonicalName);
  }

  function addressesOf(host: string): HostAnswer {
    const given = input.hosts?.[host];
    if (given !== undefined) return given;
    const own = [...(input.a ?? []), ...(input.aaaa ?? [])];
    return host === domain && own.length > 0 ? own : ['192.0.2.200', '2001:db8::200'];
  }

  return {
    async lookupMx(name) {
      assert.equal(name, domain, 'the A-label form of the recipient domain is asked for');
      return mxAnswer();
    },
    async lookupAddress(host, family) {
      const answer = addressesOf(host);
      if (answer === 'NXDOMAIN') return absent(false);
      if (answer === 'SERVFAIL') return { kind: 'failed', reason: 'SERVFAIL' };
      const records = answer.filter((address) => isIPv6(address) === (family === 6));
      return records.length > 0 ? found(records, host) : absent(true);
    },
    lookupTxt: () => Promise.reject(new Error('not asked')),
  };
}

interface Outcome {
  readonly result: 'candidates' | 'permfail' | 'tempfail';
  readonly groups?: readonly (readonly string[])[];
  readonly implicit?: boolean;
  readonly literal?: boolean;
  readonly status?: string;
  readonly reply?: number;
}

function ofFailure({ cause }: LocalFailure): Outcome {
  const permanent = PERMANENT[cause];
  return permanent === undefined ? { result: 'tempfail' } : { result: 'permfail', ...permanent };
}

function ofCandidates(route: Route, candidates: readonly MxCandidate[]): Outcome {
  const preferences = [...new Set(candidates.map(({ preference }) => preference))];
  const groups = preferences.map((wanted) =>
    candidates
      .filter(({ preference }) => preference === wanted)
      .map(({ host }) => host ?? route.destination)
      .sort(),
  );
  return {
    result: 'candidates',
    groups,
    implicit: route.kind === 'implicit-mx',
    literal: route.kind === 'literal',
  };
}

/** Route, then look up every candidate, as a delivery that finds each one down would. */
async function walk(input: Input): Promise<Outcome> {
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
  const usable: MxCandidate[] = [];
  const sessions: SessionResult[] = [];
  const lookup = {
    resolver,
    families: ['ipv6', 'ipv4'] as const,
    guard: createAddressGuard(true),
    signal,
  };
  for (const candidate of routed.route.candidates) {
    const resolved = await resolveCandidate(candidate, lookup);
    if (resolved.kind === 'addresses') usable.push(candidate);
    else sessions.push(untried(candidate, resolved.failure));
  }
  if (usable.length > 0) return ofCandidates(routed.route, usable);
  const outcome = conclude(sessions, [0]).get(0);
  assert.ok(outcome && outcome.kind !== 'delivered' && outcome.diagnosis.failure.kind === 'local');
  return ofFailure(outcome.diagnosis.failure);
}

function untried(candidate: MxCandidate, failure: LocalFailure): SessionResult {
  const source = { kind: 'default' } as const;
  const requirement = { level: 'opportunistic', minVersion: 'TLSv1.2', source } as const;
  const facts = {
    candidate,
    address: undefined,
    localAddress: undefined,
    requirement,
    tls: undefined,
  };
  return { kind: 'ended-early', facts, failure };
}

function meets(outcome: Outcome, expected: Expectation): boolean {
  const compared = Object.fromEntries(
    Object.keys(expected).map((key) => [key, outcome[key as keyof Outcome]]),
  );
  try {
    assert.deepEqual(compared, expected);
    return true;
  } catch {
    return false;
  }
}

describe('null-mx-and-mx-order', () => {
  test('there are vectors', () => assert.ok(vectors.length >= 36));
  for (const { id, note, input, expect, alt = [] } of vectors) {
    test(`${id}: ${note}`, async () => {
      const outcome = await walk(input);
      const accepted = [expect, ...alt];
      assert.ok(
        accepted.some((expected) => meets(outcome, expected)),
        `got ${JSON.stringify(outcome)}, wanted ${JSON.stringify(accepted)}`,
      );
    });
  }
});
