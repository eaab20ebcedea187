/**
 * Finds the TLSA records that bind one candidate (RFC 7672 §2.2). Asks DNS, decides nothing about TLS.
 *
 * Asked is only where every step before is secure: the MX records (Route.securedNames), then the addresses
 * or at least an alias at the name of the host itself. The TLSA base domain is the name at the end of the aliases, and
 * where that has no secure records the name in the MX record (RFC 7672 §2.2.2).
 *
 * Absent and failed stay apart: a secure denial or an insecure answer means that DANE does not apply; a
 * lookup that failed or did not validate means that the host must not be used (RFC 7672 §2.1.2).
 */
import type { MxCandidate } from '../mail/route.ts';
import { type LookupResult, type Resolver, securityOf } from '../platform/resolver.ts';
import { type TlsaRecord, tlsaName } from '../protocol/dane/tlsa.ts';
import { type DomainName, mxHostName } from '../protocol/domain.ts';
import type { HostName } from '../routing/addresses.ts';

export interface DaneQuestion {
  readonly candidate: MxCandidate;
  /** What was found on the way to its addresses; undefined: the lookup failed. */
  readonly named: HostName | undefined;
}

export type DaneFinding =
  | {
      readonly kind: 'records';
      readonly baseDomain: DomainName;
      /** Secure, usable or not; never empty. */
      readonly records: readonly TlsaRecord[];
    }
  /** DANE does not apply. For people: why. */
  | { readonly kind: 'absent'; readonly why: string }
  | { readonly kind: 'failed'; readonly baseDomain: string; readonly reason: string };

/** Look them up; the MX records that name the candidate are secure. */
export async function lookupDane(
  { candidate, named }: DaneQuestion,
  resolver: Pick<Resolver, 'lookupTlsa' | 'lookupCname'>,
  signal: AbortSignal,
): Promise<DaneFinding> {
  const { host, port } = candidate;
  if (host === undefined) return absent('an address has no TLSA records');
  if (named === undefined) return failed(host, `the addresses of ${host} could not be looked up`);
  const where = await baseDomains(host, named, { resolver, signal });
  if ('kind' in where) return where;
  const { bases } = where;
  for (const baseDomain of bases) {
    const name = tlsaName(baseDomain, port);
    const answer = await resolver.lookupTlsa(name, signal);
    // RFC 7672 §2.1.2: nobody who can break a lookup may switch DANE off with it.
    if (answer.kind === 'failed') return failed(baseDomain, whyFailed('TLSA', name, answer));
    if (answer.kind === 'found' && securityOf(answer) === 'secure') {
      return { kind: 'records', baseDomain, records: answer.records };
    }
  }
  return absent(
    `no secure TLSA records at ${bases.map((one) => tlsaName(one, port)).join(' or ')}`,
  );
}

/** The names where records may stand, in the order they are asked for (RFC 7672 §2.2.2, RFC 7671 §7). */
async function baseDomains(
  host: DomainName,
  { secure, canonicalName }: HostName,
  { resolver, signal }: { resolver: Pick<Resolver, 'lookupCname'>; signal: AbortSignal },
): Promise<{ readonly bases: readonly DomainName[] } | DaneFinding> {
  const expanded = mxHostName(canonicalName) ?? host;
  if (secure) return { bases: expanded === host ? [host] : [expanded, host] };
  const insecure = absent(`DNSSEC does not vouch for the addresses of ${host}`);
  if (expanded === host) return insecure;
  // Signed where the alias stands, not where it leads to.
  const alias = await resolver.lookupCname(host, signal);
  if (alias.kind === 'failed') return failed(host, whyFailed('CNAME', host, alias));
  return alias.kind === 'found' && securityOf(alias) === 'secure' ? { bases: [host] } : insecure;
}

function whyFailed(
  type: string,
  name: string,
  answer: LookupResult<unknown> & { readonly kind: 'failed' },
): string {
  return `${type} lookup for ${name}: ${answer.reason}`;
}

function absent(why: string): DaneFinding & { readonly kind: 'absent' } {
  return { kind: 'absent', why };
}

function failed(baseDomain: string, reason: string): DaneFinding & { readonly kind: 'failed' } {
  return { kind: 'failed', baseDomain, reason };
}
