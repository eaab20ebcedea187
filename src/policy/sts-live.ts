/**
 * What the TXT record of a domain says now (RFC 8461 §3.1), within its DNS TTL: a record, none,
 * or no answer. Three answers: that DNS failed is never "none".
 */
import type { Resolver } from '../platform/resolver.ts';
import type { DomainName } from '../protocol/domain.ts';
import { discoverRecord } from '../protocol/mta-sts/record.ts';

export type LiveRecord =
  | { readonly kind: 'record'; readonly id: string }
  | { readonly kind: 'none'; readonly detail: string }
  | { readonly kind: 'failed'; readonly detail: string };

export interface LiveOptions {
  readonly resolver: Resolver;
  /** Ask DNS even when an answer is cached: an administrator wants to see what is there now. */
  readonly fresh?: boolean;
}

/** Look up and read the record. */
export async function readLiveRecord(
  domain: DomainName,
  { resolver, fresh = false }: LiveOptions,
  signal: AbortSignal,
): Promise<LiveRecord> {
  // RFC 8461 §3.1: the record stands at _mta-sts.<policy domain>.
  const answer = await resolver.lookupTxt(`_mta-sts.${domain}`, signal, { fresh });
  if (answer.kind === 'failed') return { kind: 'failed', detail: answer.reason };
  if (answer.kind === 'absent') return { kind: 'none', detail: 'no TXT record' };
  return discoverRecord(answer.records);
}
