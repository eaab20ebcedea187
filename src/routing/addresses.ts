/**
 * The addresses of one candidate, in the order they are to be tried (RFC 5321 §5.1), or why
 * there is none. Asked for just before connecting: a candidate whose lookup fails costs the
 * others nothing.
 */
import { type LocalFailure, localFailure } from '../mail/failure.ts';
import type { MxCandidate } from '../mail/route.ts';
import type { AddressGuard } from '../platform/address-guard.ts';
import type { Clock } from '../platform/clock.ts';
import {
  type HostAddresses,
  type IpFamily,
  judgeAddresses,
  lookupHostAddresses,
} from '../platform/host-addresses.ts';
import type { LookupResult, Resolver } from '../platform/resolver.ts';

export interface CandidateLookup {
  readonly resolver: Resolver;
  /** In the order of preference. */
  readonly families: readonly IpFamily[];
  readonly guard: AddressGuard;
  /** The recipient domain: an exception of the guard may name it or the host. */
  readonly destination?: string;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

/** What DNS says about the name of a host on the way to its addresses (RFC 7672 §2.2.2). */
export interface HostName {
  /** Addresses were found, and DNSSEC vouches for every step to them. */
  readonly secure: boolean;
  /** At the end of the CNAME chain; that of the host where there is none. */
  readonly canonicalName: string;
}

export type CandidateAddresses =
  | {
      readonly kind: 'addresses';
      readonly addresses: readonly string[];
      /** Absent where no name was looked up. */
      readonly named?: HostName;
    }
  | { readonly kind: 'failed'; readonly failure: LocalFailure };

/** Look up and judge the addresses of `candidate`. */
export async function resolveCandidate(
  candidate: MxCandidate,
  lookup: CandidateLookup,
): Promise<CandidateAddresses> {
  const { host, address } = candidate;
  if (address !== undefined) {
    const decided = decideAddresses(candidate, [foundAddress(address)], lookup);
    if (decided.kind === 'failed' || host === undefined) return decided;
    // The address is that of the last transaction; DANE asks what DNS says about the name.
    const named = nameIn(await lookupHostAddresses(host, lookup));
    return named ? { ...decided, named } : decided;
  }
  if (host === undefined) return decideAddresses(candidate, [], lookup);
  return decideAddresses(candidate, await lookupHostAddresses(host, lookup), lookup);
}

/** What the answers of the lookups (one a family) come to for `candidate`. Pure. */
export function decideAddresses(
  candidate: MxCandidate,
  answers: readonly LookupResult<string>[],
  { guard, destination }: Pick<CandidateLookup, 'guard' | 'destination'>,
): CandidateAddresses {
  const found = judgeAddresses(answers, (address) => {
    if (candidate.trusted) return { ok: true };
    const verdict = guard.check(address, candidate.host);
    return verdict.ok || destination === undefined ? verdict : guard.check(address, destination);
  });
  if (found.addresses.length > 0) {
    const named = candidate.address === undefined ? nameIn(answers) : undefined;
    return { kind: 'addresses', addresses: found.addresses, ...(named && { named }) };
  }
  return { kind: 'failed', failure: whyNone(candidate, found) };
}

/** Of two families the secure answer counts: DANE asks for more, never for less. */
function nameIn(answers: readonly LookupResult<string>[]): HostName | undefined {
  const found = answers.filter((answer) => answer.kind === 'found');
  const told = found.find(({ authenticated }) => authenticated) ?? found[0];
  return told && { secure: told.authenticated, canonicalName: told.canonicalName };
}

/** Unknown weighs more than refused, and that more than absent: only the last is for sure. */
function whyNone({ host, address, trusted }: MxCandidate, found: HostAddresses): LocalFailure {
  const name = host ?? address ?? 'the candidate';
  if (found.failures.length > 0) {
    return localFailure('dns-failed', `address lookup for ${name}: ${found.failures.join('; ')}`);
  }
  if (found.refused.length > 0) {
    return localFailure('address-refused', `${name}: ${found.refused.join('; ')}`);
  }
  // A route's next hop that does not resolve is a slip of the administrator's: the mail waits.
  return localFailure(trusted ? 'dns-failed' : 'no-usable-mx', `${name} has no address`);
}

function foundAddress(address: string): LookupResult<string> {
  const records = [address];
  return { kind: 'found', records, ttlSeconds: 0, authenticated: false, canonicalName: '' };
}
