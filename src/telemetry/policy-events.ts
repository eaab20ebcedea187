/**
 * What happens while policies are looked up. One function per event: log line and metric together.
 */
import type { StsMode } from '../protocol/mta-sts/policy.ts';
import type { ResultType } from '../protocol/tlsrpt/result-type.ts';
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

export function policyEvents(log: Log, metrics: Metrics) {
  return {
    lookedUp(domain: string, result: StsMode | 'absent' | 'unknown'): void {
      metrics.mtastsLookups.inc({ result });
      log.write('debug', 'policy.looked_up', { domain, result });
    },
    fetched(domain: string, facts: { id: string; mode: StsMode; maxAgeSeconds: number }): void {
      metrics.mtastsFetches.inc({ result: 'fetched' });
      log.write('info', 'policy.fetched', { domain, ...facts });
    },
    /** `inForce` is the mode of the older policy that stays. */
    fetchFailed(
      domain: string,
      facts: { id: string; resultType: ResultType; reason: string; inForce: StsMode | undefined },
    ): void {
      metrics.mtastsFetches.inc({ result: facts.resultType });
      if (facts.inForce === 'enforce') metrics.downgradeSuspected.inc({ signal: 'fetch-failed' });
      log.write('warn', 'policy.fetch_failed', { domain, ...facts });
    },
    /** The TXT record is gone, broken or cannot be looked up while a policy is in force. */
    recordGone(
      domain: string,
      facts: { mode: StsMode; live: 'none' | 'failed'; detail: string },
    ): void {
      if (facts.mode === 'enforce') {
        const signal = facts.live === 'none' ? 'record-gone' : 'record-lookup-failed';
        metrics.downgradeSuspected.inc({ signal });
      }
      log.write('warn', 'policy.record_gone', { domain, ...facts });
    },
    /** DNS kept failing for `dnsFailureGrace` with nothing in force: mail goes as without a policy. */
    graceOver(domain: string, reason: string): void {
      metrics.downgradeSuspected.inc({ signal: 'dns-failure' });
      log.write('warn', 'policy.dns_grace_over', { domain, reason });
    },
    /** One of the places where policies are kept did not do its part; the others did. */
    cacheError(place: 'redis' | 'disk', error: Error): void {
      if (place === 'redis') metrics.redisErrors.inc({ kind: 'policy-cache' });
      else metrics.spoolErrors.inc({ operation: 'policy' });
      log.write('warn', 'policy.cache_error', { place, error: error.message });
    },
  };
}
export type PolicyEvents = ReturnType<typeof policyEvents>;
