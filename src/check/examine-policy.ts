/**
 * The policy of a domain as a sender sees it that has nothing cached: fetched where a record
 * announces it, and looked for where none does, since then somebody meant to have one.
 */
import type { LookupResult } from '../platform/resolver.ts';
import { policyInForce } from '../policy/sts-entry.ts';
import type { StsLookup } from '../policy/sts-lookup.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import type { StsPolicy } from '../protocol/mta-sts/policy.ts';
import type { CheckParts } from './examine.ts';
import { examinePolicyHost } from './examine-policy-host.ts';
import type { PolicyFacts, PolicyTerms, StsRecordFacts } from './types.ts';

export interface PolicyQuestion {
  readonly policyDomain: DomainName | undefined;
  readonly record: StsRecordFacts | undefined;
  /** A route of the administrator's leads there: the address guard is not asked. */
  readonly trusted: boolean;
}

export interface ExaminedPolicy {
  readonly facts: PolicyFacts;
  /** What would be kept; undefined when there is none. */
  readonly policy?: StsPolicy;
}

/** Fetch the policy, and look at the policy host. */
export async function examinePolicy(
  { policyDomain, record, trusted }: PolicyQuestion,
  parts: CheckParts,
  signal: AbortSignal,
): Promise<ExaminedPolicy> {
  const host = policyDomain && parseDomain(`mta-sts.${policyDomain}`);
  if (!policyDomain || !host || !record) return { facts: { kind: 'not-asked' } };
  // RFC 8461 §3.1: without an answer nobody knows whether a policy is announced.
  if (record.kind === 'failed') return { facts: { kind: 'not-asked' } };
  if (record.kind !== 'record') {
    return { facts: await findUnannounced({ policyDomain, host }, parts, signal) };
  }
  const fetched = await parts.fetch(policyDomain, signal);
  const look = await examinePolicyHost(
    host,
    {
      resolver: parts.resolver,
      families: parts.families,
      guard: trusted ? { check: () => ({ ok: true }) } : parts.guard,
      context: parts.policyHostContext,
      httpsPort: parts.httpsPort,
      stepMs: parts.stepMs,
    },
    signal,
  );
  if (fetched.kind === 'fetched') {
    const { policy } = fetched;
    return { facts: { kind: 'fetched', host, policy: termsOf(policy), look }, policy };
  }
  const { resultType, reason: detail } = fetched;
  return { facts: { kind: 'failed', host, resultType, detail, look } };
}

/** Without a record nobody asks the policy host; that there is one shows what was meant. */
async function findUnannounced(
  { policyDomain, host }: { policyDomain: DomainName; host: DomainName },
  { resolver, fetch }: CheckParts,
  signal: AbortSignal,
): Promise<PolicyFacts> {
  const isThere = (answer: LookupResult<string>) => answer.kind === 'found';
  const families = [4, 6] as const;
  const answers = families.map((family) => resolver.lookupAddress(host, family, signal));
  if (!(await Promise.all(answers)).some(isThere)) return { kind: 'not-asked' };
  const fetched = await fetch(policyDomain, signal);
  return fetched.kind === 'fetched'
    ? { kind: 'not-asked', served: termsOf(fetched.policy) }
    : { kind: 'not-asked' };
}

function termsOf({ mode, mx, maxAgeSeconds, lines }: StsPolicy): PolicyTerms {
  return { mode, mx, maxAgeSeconds, lines };
}

/** The answer that policy/sts-lookup.ts would give with nothing cached. */
export function stsLookupFrom(
  domain: DomainName,
  { record, policy }: { record: StsRecordFacts | undefined; policy: ExaminedPolicy | undefined },
  parts: Pick<CheckParts, 'clock' | 'dnsFailureGraceMs'> & { readonly signal: AbortSignal },
): StsLookup {
  const { clock, dnsFailureGraceMs, signal } = parts;
  if (record?.kind === 'failed' && dnsFailureGraceMs > 0) {
    return { kind: 'unknown', reason: record.detail };
  }
  if (policy?.facts.kind === 'failed' && signal.aborted) {
    return { kind: 'unknown', reason: policy.facts.detail };
  }
  // RFC 8461 §3.3: a fetch that fails, and nothing cached: as without MTA-STS.
  if (record?.kind !== 'record' || !policy?.policy) return { kind: 'absent' };
  const now = clock.now();
  const fresh = {
    id: record.id,
    policy: policy.policy,
    fetchedAtMs: now,
    source: 'fetch',
  } as const;
  const kept = policyInForce({ domain, kept: fresh, changedAtMs: now }, now);
  return kept ? { kind: 'policy', kept } : { kind: 'absent' };
}
