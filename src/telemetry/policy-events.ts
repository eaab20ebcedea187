/**
 * What happens while policies are looked up. One function per event: log line and metric together.
 */
import { LRUCache } from 'lru-cache';
import type { DowngradeSignal } from '../mail/downgrade-signal.ts';
import type { StsMode } from '../protocol/mta-sts/policy.ts';
import type { ResultType } from '../protocol/tlsrpt/result-type.ts';
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

/** Why a policy is fetched without a delivery that needs it. */
export type RefreshCause =
  /** Before it expires. */
  | 'background'
  /** `stsrelay policy refresh`. */
  | 'admin'
  /** A message that the policy holds back is about to be given up. */
  | 'last-attempt';

/** What goes on is told once in a while, the rest is for debugging. */
const TELL_AGAIN_MS = 10 * 60_000;

export function policyEvents(log: Log, metrics: Metrics) {
  const told = new LRUCache<string, true>({ max: 10_000, ttl: TELL_AGAIN_MS });
  const levelOf = (key: string) => {
    if (told.has(key)) return 'debug';
    told.set(key, true);
    return 'warn';
  };
  return {
    /** An exception ends soon; afterwards the domain's mail goes as its policy says, or waits. */
    overrideExpiring(domain: string, expires: number): void {
      log.write('warn', 'policy.override_expiring', {
        domain,
        expires: new Date(expires).toISOString(),
      });
    },
    overrideExpired(domain: string): void {
      log.write('info', 'policy.override_expired', { domain });
    },
    overridesUnreadable(file: string, reason: string): void {
      log.write('error', 'policy.overrides_unreadable', { file, reason });
    },
    lookedUp(domain: string, result: StsMode | 'absent' | 'unknown'): void {
      metrics.mtastsLookups.inc({ result });
      log.write('debug', 'policy.looked_up', { domain, result });
    },
    fetched(domain: string, facts: { id: string; mode: StsMode; maxAgeSeconds: number }): void {
      metrics.mtastsFetches.inc({ result: 'fetched' });
      log.write('info', 'policy.fetched', { domain, ...facts });
    },
    /** RFC 8461 §6: with a valid record. `inForce` is the mode of the older policy that stays. */
    fetchFailed(
      domain: string,
      facts: {
        id: string;
        kind: 'failed';
        resultType: ResultType;
        reason: string;
        inForce: StsMode | undefined;
      },
    ): void {
      metrics.mtastsFetches.inc({ result: facts.resultType });
      log.write('warn', 'policy.fetch_failed', { domain, ...facts });
    },
    refreshed(
      domain: string,
      facts: {
        cause: RefreshCause;
        id: string;
        mode: StsMode;
        maxAgeSeconds: number;
        changed: boolean;
      },
    ): void {
      metrics.mtastsRefreshes.inc({ cause: facts.cause, result: 'fetched' });
      log.write('info', 'policy.refreshed', { domain, ...facts });
    },
    /** `inForce` is the mode of the policy that stays. RFC 8461 §3.3: the operator is told, but for mode none. */
    refreshFailed(
      domain: string,
      facts: {
        cause: RefreshCause;
        id: string;
        resultType: ResultType;
        reason: string;
        inForce: StsMode | undefined;
      },
    ): void {
      metrics.mtastsRefreshes.inc({ cause: facts.cause, result: facts.resultType });
      const level = facts.inForce === 'none' ? 'debug' : 'warn';
      log.write(level, 'policy.refresh_failed', { domain, ...facts });
    },
    /** A refresh did not come to a result: the disk cannot say what is kept, or time ran out. */
    refreshCrashed(domain: string, error: Error): void {
      metrics.mtastsRefreshes.inc({ cause: 'background', result: 'crashed' });
      log.write('warn', 'policy.refresh_crashed', { domain, error: error.message });
    },
    /** Nobody asked for it in a long time, or an administrator said so. */
    forgotten(domain: string, reason: 'unused' | 'admin'): void {
      log.write('info', 'policy.forgotten', { domain, reason });
    },
    /** The TXT record is gone, broken or cannot be looked up while a policy is in force. */
    recordGone(
      domain: string,
      facts: { mode: StsMode; live: 'none' | 'failed'; detail: string },
    ): void {
      log.write(levelOf(`${facts.live} ${domain}`), 'policy.record_gone', { domain, ...facts });
    },
    /** DNS kept failing for `dnsFailureGrace` with nothing in force: mail goes as without a policy. */
    graceOver(domain: string, reason: string): void {
      log.write('warn', 'policy.dns_grace_over', { domain, reason });
    },
    /** A sign that somebody weakens the TLS of a domain: counted each time. */
    downgradeSign(signal: DowngradeSignal): void {
      metrics.downgradeSuspected.inc({ signal });
    },
    /** Such a sign is new, or still there; `count` of them since the last such line. */
    downgradeSuspected(
      domain: string,
      facts: { signal: DowngradeSignal; detail: string; count: number },
    ): void {
      log.write('warn', 'policy.downgrade_suspected', { domain, ...facts });
    },
    /** A policy holds back a message whose lifetime is over, and could not be checked for a newer one. */
    lastCheckFailed(domain: string, reason: string): void {
      log.write('warn', 'policy.last_check_failed', { domain, reason });
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
