/**
 * What the TLS reports count (RFC 8460 §4.2.1, §4.2.2, §4.3): of a session its success or how it failed, of a
 * policy that could not be had the failure alone. Pure.
 *
 * A session counts once, with its first message, by the policy that it was made under. Not counted:
 * what did not come to TLS (RFC 8460 §4.3.4), clear text that an administrator wants, sessions under
 * an override, `TLS-Required: No`, or REQUIRETLS without a policy, since it is not the domain's own policy
 * that they were made under, and those of report mail (RFC 8460 §3). A policy that could not be fetched adds to no sum: those are about sessions. With
 * nothing older in force it is an sts policy without lines, or with those that were no policy, beside
 * the no-policy-found of the sessions. TLSA records none of which can be used ask for TLS and for nothing more (RFC 7672 §2.2):
 * a session under them is a success, with a detail that says so (RFC 8460 §4.3.2.1).
 */
import { LRUCache } from 'lru-cache';
import type { SessionFacts, SessionResult } from '../mail/session-result.ts';
import { sessionTlsOutcome } from '../mail/session-result-type.ts';
import type { TlsRequirement } from '../mail/tls-requirement.ts';
import { tlsResultType } from '../mail/tls-result-type.ts';
import type { PolicyFailure } from '../policy/sts-fetch.ts';
import { parsePolicy } from '../protocol/mta-sts/policy.ts';
import {
  type AppliedPolicy,
  type FailureDetail,
  type PolicyCounts,
  plainDetail,
} from '../protocol/tlsrpt/counts.ts';

/** To be added to what is there. */
export interface Counted extends PolicyCounts {
  /** Whose report it belongs into. */
  readonly domain: string;
}

/** The policy that a session was made under (RFC 8460 §4.4); undefined where the domain's own was set aside. */
export function appliedPolicy(
  { source, requireTls }: Pick<TlsRequirement, 'source' | 'requireTls'>,
  domain: string,
): AppliedPolicy | undefined {
  // Its sender asks for more than the domain does.
  if (requireTls === 'required' && source.kind !== 'mta-sts') return undefined;
  switch (source.kind) {
    case 'override':
    case 'tls-required-no':
      return undefined;
    case 'mta-sts':
      return stsPolicy(source.domain, source.policyText);
    case 'dane':
      return { type: 'tlsa', domain: source.baseDomain, lines: source.records, mx: [] };
    case 'route':
    case 'default':
      return { type: 'no-policy-found', domain, lines: [], mx: [] };
  }
}

/** What a session is counted by. */
export interface SessionScope {
  /** Whose report it belongs into. */
  readonly domain: string;
  readonly policy: AppliedPolicy;
  /** It carried a TLS report. */
  readonly isReportMail: boolean;
}

/** What `result` adds to the report for `domain`, under `policy`. */
export function countSession(
  result: SessionResult,
  { domain, policy, isReportMail }: SessionScope,
): Counted | undefined {
  const { facts } = result;
  // RFC 8460 §3: reports about the mail of reports would never end.
  const outcome = facts.reused || isReportMail ? undefined : sessionTlsOutcome(result);
  if (outcome === undefined || outcome === 'clear-text') return undefined;
  if (outcome === 'successful') {
    const isInVain = isUnusable(facts.requirement);
    const details = isInVain ? [{ detail: detailOf(facts, UNUSABLE), sessions: 1 }] : [];
    return { domain, policy, successful: 1, failed: 0, details };
  }
  const { cause, detail: reasonCode } = outcome;
  const detail = detailOf(facts, { resultType: tlsResultType(cause), reasonCode });
  return { domain, policy, successful: 0, failed: 1, details: [{ detail, sessions: 1 }] };
}

/** The domain believes that its hosts are authenticated, and they are not. */
const UNUSABLE = { resultType: 'tlsa-invalid', reasonCode: 'all TLSA records unusable' } as const;

function isUnusable({ source }: TlsRequirement): boolean {
  return source.kind === 'dane' && source.records.length > 0 && source.usable.length === 0;
}

function detailOf(
  facts: SessionFacts,
  what: Pick<FailureDetail, 'resultType' | 'reasonCode'>,
): FailureDetail {
  return plainDetail({
    ...what,
    sendingIp: facts.localAddress,
    mxHost: facts.candidate.host,
    mxHelo: facts.announcedName,
    receivingIp: facts.address,
  });
}

/** What a policy that could not be had adds (RFC 8460 §4.3.2.2); nothing while one of mode none is in force (RFC 8461 §5). */
export function countPolicyFailure(failure: PolicyFailure): Counted | undefined {
  const { domain, inForce, fetched } = failure;
  const { resultType, reason, lines = [] } = fetched;
  if (inForce?.mode === 'none') return undefined;
  const policy: AppliedPolicy = {
    type: 'sts',
    domain,
    lines: inForce?.lines ?? lines,
    mx: inForce?.mx ?? [],
  };
  const detail = plainDetail({ resultType, reasonCode: reason });
  return { domain, policy, successful: 0, failed: 0, details: [{ detail, sessions: 1 }] };
}

/** Policies by their text: every session of a domain comes with the same one. */
const parsed = new LRUCache<string, AppliedPolicy>({
  max: 1000,
  maxSize: 4_000_000,
  sizeCalculation: ({ lines }) => 100 + lines.join().length,
});

function stsPolicy(domain: string, text: string): AppliedPolicy {
  const key = `${domain} ${text}`;
  const known = parsed.get(key);
  if (known) return known;
  const verdict = parsePolicy(Buffer.from(text));
  const [lines, mx] = verdict.ok ? [verdict.policy.lines, verdict.policy.mx] : [verdict.lines, []];
  const policy: AppliedPolicy = { type: 'sts', domain, lines, mx };
  parsed.set(key, policy);
  return policy;
}
