/**
 * The DNS port. Found, absent and failed are three different answers of every lookup:
 * `absent` means a server said so (NXDOMAIN or an empty answer), `failed` means nothing was
 * learned (SERVFAIL, REFUSED, timeout, nonsense) and never turns into absent. How sure an answer is
 * for DNSSEC is a word of its own: securityOf.
 * The stub resolver behind it is in platform/dns/.
 */
import type { TlsaRecord } from '../protocol/dane/tlsa.ts';
import type { DomainName } from '../protocol/domain.ts';

export interface Found<T> {
  readonly kind: 'found';
  readonly records: readonly T[];
  /** Smallest TTL on the way to the records, CNAMEs included, in seconds. */
  readonly ttlSeconds: number;
  /** The resolver vouched for DNSSEC (AD bit) and is one whose word is taken. */
  readonly authenticated: boolean;
  /** The name at the end of the CNAME chain; the asked name when there was none. */
  readonly canonicalName: string;
}
export interface Absent {
  readonly kind: 'absent';
  /** The name itself does not exist (NXDOMAIN), not just this type at it. */
  readonly nameExists: boolean;
  /** Negative TTL from the SOA (RFC 2308), 0 when there was none. */
  readonly ttlSeconds: number;
  readonly authenticated: boolean;
}
export interface Failed {
  readonly kind: 'failed';
  /** For people, e.g. `SERVFAIL from 127.0.0.1:53` or `no answer from 127.0.0.1:53 in 5 s`. */
  readonly reason: string;
  /** The resolver says that it is DNSSEC that failed (RFC 8914): for people, as whoever writes the answer may say so. */
  readonly bogus?: true;
}
export type LookupResult<T> = Found<T> | Absent | Failed;

/**
 * RFC 4035 §4.3: `secure` was validated; `insecure` lies in a zone that is not signed, or was told by a
 * resolver whose word is not taken; `bogus` did not validate. Of bogus and failed nothing was learned.
 */
export type DnsSecurity = 'secure' | 'insecure' | 'bogus' | 'failed';

/** How sure a lookup's answer is, denials (NXDOMAIN, no data) included. */
export function securityOf(result: LookupResult<unknown>): DnsSecurity {
  if (result.kind === 'failed') return result.bogus ? 'bogus' : 'failed';
  return result.authenticated ? 'secure' : 'insecure';
}

export interface MxRecord {
  readonly preference: number;
  /** As in the record, without the final dot; empty for the root (null MX, RFC 7505). */
  readonly exchange: string;
}

export interface Resolver {
  lookupMx(name: DomainName, signal: AbortSignal): Promise<LookupResult<MxRecord>>;
  /** Each record as its character-strings, joined by nobody yet (RFC 8461 §3.1 joins them). */
  lookupTxt(
    name: string,
    signal: AbortSignal,
    options?: { /** Pass over what is cached, and cache the answer. */ readonly fresh?: boolean },
  ): Promise<LookupResult<readonly Buffer[]>>;
  /** IPv4 or IPv6 addresses in textual form, in the order of the answer. */
  lookupAddress(
    name: DomainName,
    family: 4 | 6,
    signal: AbortSignal,
  ): Promise<LookupResult<string>>;
  /** TLSA records at `_port._tcp.` before a host (RFC 6698 §3); CNAMEs are followed. */
  lookupTlsa(name: string, signal: AbortSignal): Promise<LookupResult<TlsaRecord>>;
  /** The one CNAME at a name itself: how sure an alias is whose target is not. */
  lookupCname(name: DomainName, signal: AbortSignal): Promise<LookupResult<string>>;
}
