/**
 * The two TXT records of a policy domain: MTA-STS (RFC 8461 §3.1) and TLSRPT (RFC 8460 §3), and
 * where an MTA-STS record may have been put by mistake.
 */
import type { LookupResult, Resolver } from '../platform/resolver.ts';
import type { DomainName } from '../protocol/domain.ts';
import { discoverRecord } from '../protocol/mta-sts/record.ts';
import { discoverTlsRptRecord } from '../protocol/tlsrpt/record.ts';
import type { RecordFacts, StsRecordFacts, TlsRptRecordFacts } from './types.ts';

const MOST_TEXTS = 20;
const MOST_OCTETS = 1000;

/** Look up the MTA-STS record of `domain`. */
export async function examineStsRecord(
  domain: DomainName,
  resolver: Resolver,
  signal: AbortSignal,
): Promise<StsRecordFacts> {
  const name = `_mta-sts.${domain}`;
  const facts = readRecord(name, await resolver.lookupTxt(name, signal), discoverRecord);
  const isMissing = facts.kind === 'none' && facts.reason === 'no-record';
  const elsewhere = isMissing ? await findElsewhere(domain, resolver, signal) : [];
  return { ...facts, elsewhere };
}

/** Look up the TLSRPT record of `domain`. */
export async function examineTlsRptRecord(
  domain: DomainName,
  resolver: Resolver,
  signal: AbortSignal,
): Promise<TlsRptRecordFacts> {
  const name = `_smtp._tls.${domain}`;
  return readRecord(name, await resolver.lookupTxt(name, signal), discoverTlsRptRecord);
}

function readRecord<Discovery>(
  name: string,
  answer: LookupResult<readonly Buffer[]>,
  discover: (rrs: readonly (readonly Buffer[])[]) => Discovery,
): RecordFacts<Discovery> {
  if (answer.kind === 'failed') return { name, texts: [], kind: 'failed', detail: answer.reason };
  const rrs = answer.kind === 'found' ? answer.records : [];
  return { name, texts: rrs.slice(0, MOST_TEXTS).map(textOf), ...discover(rrs) };
}

function textOf(strings: readonly Buffer[]): string {
  return Buffer.concat(strings).subarray(0, MOST_OCTETS).toString('latin1');
}

/**
 * The domain itself, the policy host, an underscore too many, and the name a zone file makes
 * of one that lacks its final dot.
 */
async function findElsewhere(
  domain: DomainName,
  resolver: Resolver,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const names = [
    domain,
    `mta-sts.${domain}`,
    `_mta_sts.${domain}`,
    `_mta-sts.mta-sts.${domain}`,
    `_mta-sts.${domain}.${domain}`,
  ];
  const found = await Promise.all(
    names.map(async (name) => {
      const answer = await resolver.lookupTxt(name, signal);
      const texts = answer.kind === 'found' ? answer.records.map(textOf) : [];
      return texts.some((text) => /^v=STSv1\b/i.test(text)) ? [name] : [];
    }),
  );
  return found.flat();
}
