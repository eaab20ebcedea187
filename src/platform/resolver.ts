/**
 * The DNS port. Found, absent and failed are three different answers of every lookup:
 * `absent` means a server said so (NXDOMAIN or an empty answer), `failed` means nothing was
 * learned (SERVFAIL, REFUSED, timeout, nonsense) and never turns into absent.
 * The stub resolver behind it is in platform/dns/.
 */
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
}
export type LookupResult<T> = Found<T> | Absent | Failed;

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
}
