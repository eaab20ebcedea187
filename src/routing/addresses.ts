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

export type CandidateAddresses =
  | { readonly kind: 'addresses'; readonly addresses: readonly string[] }
  | { readonly kind: 'failed'; readonly failure: LocalFailure };

/** Look up and judge the addresses of `candidate`. */
export async function resolveCandidate(
  candidate: MxCandidate,
  lookup: CandidateLookup,
): Promise<CandidateAddresses> {
  const { host, address } = candidate;
  if (address !== undefined) return decideAddresses(candidate, [foundAddress(address)], lookup);
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
  if (found.addresses.length > 0) return { kind: 'addresses', addresses: found.addresses };
  return { kind: 'failed', failure: whyNone(candidate, found) };
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
