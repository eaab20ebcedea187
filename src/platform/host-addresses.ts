/**
 * The addresses of a host, in the order they are to be tried: by family as configured, within
 * a family as the resolver gave them (RFC 5321 §5.1), each judged before it counts.
 * A family whose lookup failed or lags never keeps the other's addresses back.
 */
import type { DomainName } from '../protocol/domain.ts';
import type { GuardVerdict } from './address-guard.ts';
import { type Clock, systemClock } from './clock.ts';
import { follow } from './deadline.ts';
import type { LookupResult, Resolver } from './resolver.ts';

/** A member of `outbound.ipFamilies`. */
export type IpFamily = 'ipv6' | 'ipv4';

export interface HostAddressLookup {
  readonly resolver: Resolver;
  /** In the order of preference. */
  readonly families: readonly IpFamily[];
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

export interface HostAddresses {
  /** Those that may be connected to. */
  readonly addresses: readonly string[];
  /** Those that may not, each with its reason. */
  readonly refused: readonly string[];
  /** Why lookups failed; what they would have found is unknown. */
  readonly failures: readonly string[];
}

/** More than this many addresses of one host and family are not tried. */
const MAX_ADDRESSES = 10;
/** How long one family waits for another once it has addresses. */
const GRACE_MS = 2000;

/** One answer a family, in the order of `families`. */
export async function lookupHostAddresses(
  host: DomainName,
  { resolver, families, signal, clock = systemClock }: HostAddressLookup,
): Promise<readonly LookupResult<string>[]> {
  const grace = new AbortController();
  let cancelGrace: (() => void) | undefined;
  const release = follow(signal, grace);
  const lookups = families.map(async (family) => {
    const answer = await resolver.lookupAddress(host, family === 'ipv6' ? 6 : 4, grace.signal);
    if (answer.kind === 'found') {
      cancelGrace ??= clock.after(GRACE_MS, () =>
        grace.abort(new Error(`no ${other(family)} addresses ${GRACE_MS / 1000} s after the rest`)),
      );
    }
    return answer;
  });
  try {
    return await Promise.all(lookups);
  } finally {
    release();
    cancelGrace?.();
  }
}

function other(family: IpFamily): IpFamily {
  return family === 'ipv6' ? 'ipv4' : 'ipv6';
}

/** What the answers come to when `judge` has its say about each address. Pure. */
export function judgeAddresses(
  answers: readonly LookupResult<string>[],
  judge: (address: string) => GuardVerdict,
): HostAddresses {
  const addresses = new Set<string>();
  const refused: string[] = [];
  const failures: string[] = [];
  for (const answer of answers) {
    if (answer.kind === 'failed') failures.push(answer.reason);
    if (answer.kind !== 'found') continue;
    for (const address of answer.records.slice(0, MAX_ADDRESSES)) {
      const verdict = judge(address);
      if (verdict.ok) addresses.add(address);
      else refused.push(`${address} is refused: ${verdict.reason}`);
    }
  }
  return { addresses: [...addresses], refused, failures };
}
