/**
 * Which of what happens is counted for the TLS reports: nothing while they are off, nothing about
 * domains that are excluded, nothing where no domain's policy can apply (address literals), and not
 * the sessions of our own report mail (RFC 8460 §3).
 */
import type { Settings } from '../config/settings.ts';
import type { Envelope } from '../mail/envelope.ts';
import type { Route } from '../mail/route.ts';
import type { SessionResult } from '../mail/session-result.ts';
import type { PolicyFailure } from '../policy/sts-fetch.ts';
import { appliedPolicy, type Counted, countPolicyFailure, countSession } from './counted.ts';
import { excludes } from './reports.ts';

type ReportSettings = Settings['tlsRpt'];

export interface CountingParts {
  /** As they are now: a reload changes them. */
  readonly settings: () => Pick<ReportSettings, 'enabled' | 'exclude'>;
  readonly count: (counted: Counted) => void;
  /** A session was counted as failed. */
  readonly onFailure?: (domain: string, counted: Counted, result: SessionResult) => void;
}

export interface Counting {
  /** A message went over a session to a host of the route, or the session ended before. */
  session(
    envelope: Pick<Envelope, 'tlsReport'>,
    route: Pick<Route, 'policyDomain'>,
    result: SessionResult,
  ): void;
  policyFailure(failure: PolicyFailure): void;
}

export function createCounting({ settings, count, onFailure }: CountingParts): Counting {
  /** A fetch fails once, however many deliveries waited for it. */
  const failed = new WeakSet<PolicyFailure['fetched']>();
  let seen: readonly string[] = [];
  let isExcluded = excludes({ exclude: seen });
  const isCounted = (domain: string): boolean => {
    const { enabled, exclude } = settings();
    if (exclude !== seen) isExcluded = excludes({ exclude });
    seen = exclude;
    return enabled && !isExcluded(domain);
  };
  return {
    session({ tlsReport: isReportMail = false }, { policyDomain: domain }, result) {
      if (domain === undefined || !isCounted(domain)) return;
      const policy = appliedPolicy(result.facts.requirement, domain);
      if (!policy) return;
      const counted = countSession(result, { domain, policy, isReportMail });
      if (!counted) return;
      count(counted);
      if (counted.failed > 0) onFailure?.(domain, counted, result);
    },
    policyFailure(failure) {
      if (failed.has(failure.fetched)) return;
      failed.add(failure.fetched);
      const counted = isCounted(failure.domain) ? countPolicyFailure(failure) : undefined;
      if (counted) count(counted);
    },
  };
}
