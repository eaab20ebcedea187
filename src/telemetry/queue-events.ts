/**
 * What happens in the queue and with Redis. One function per event: log line and metric together.
 */
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

export type RedisErrorKind =
  | 'worker'
  | 'reschedule'
  | 'add'
  | 'reconcile'
  | 'connection'
  | 'rate'
  | 'shared';

const QUIET_MS = 10_000;
/** What was said last about each kind; per process, whoever says it. */
const lastError = new Map<RedisErrorKind, { atMs: number; unsaid: number }>();

export function queueEvents(log: Log, metrics: Metrics) {
  return {
    /** All deliveries of the spool were given a job; anew, because Redis lost them or nobody took them. */
    entered(count: number, reason: 'start' | 'redis-emptied' | 'worker-silent'): void {
      if (reason !== 'start') metrics.requeued.inc({ reason }, count);
      log.write(reason === 'start' ? 'info' : 'warn', 'queue.entered', {
        deliveries: count,
        reason,
      });
    },
    requeued(
      reason: 'missing' | 'ended' | 'stuck' | 'abandoned' | 'not-added',
      count: number,
    ): void {
      metrics.requeued.inc({ reason }, count);
      log.write('warn', 'queue.requeued', { reason, deliveries: count });
    },
    /** BullMQ thought a job abandoned; it is attempted again. */
    stalled(job: string): void {
      metrics.requeued.inc({ reason: 'stalled' });
      log.write('warn', 'queue.stalled', { job });
    },
    /** The hosts of a site are away: its mail waits, but for a probe now and then. `node`: the one that found out. */
    breakerOpened(site: string, facts: { failures: number; failure: string; node?: string }): void {
      metrics.breakerChanges.inc({ change: 'opened' });
      log.write('warn', 'queue.breaker_opened', { site, ...facts });
    },
    breakerClosed(site: string, afterMs: number, node?: string): void {
      metrics.breakerChanges.inc({ change: 'closed' });
      const afterSeconds = Math.round(afterMs / 1000);
      log.write('info', 'queue.breaker_closed', { site, afterSeconds, node });
    },
    /** Mail waits because the rate of a domain, or of hosts, is used up; once a window. */
    rateReached(
      scope: 'domain' | 'site',
      { key, rate, untilMs }: { key: string; rate: string; untilMs: number },
    ): void {
      metrics.rateLimited.inc({ scope });
      const until = new Date(untilMs).toISOString();
      log.write('info', 'queue.rate_reached', { scope, key, rate, until });
    },
    /** A pause or override was made, changed or removed on another node, and holds here, too. */
    takenOver(
      list: 'pause' | 'override',
      facts: { domain: string; node: string; change: 'set' | 'removed' },
    ): void {
      log.write('info', 'queue.shared_change', { list, ...facts });
    },
    /** Nodes share no more facts: what was new stays with the node that said it. */
    boardFull(list: string): void {
      log.write('warn', 'queue.board_full', { list });
    },
    /** The name of this node belongs to another relay: nothing is delivered. */
    nodeTaken(node: string, holder: string): void {
      metrics.redisUp.set(0);
      log.write('error', 'queue.node_taken', { node, holder });
    },
    nodeRegained(node: string): void {
      metrics.redisUp.set(1);
      log.write('info', 'queue.node_regained', { node });
    },
    pauseOver(domain: string): void {
      log.write('info', 'queue.pause_over', { domain });
    },
    pausesUnreadable(file: string, reason: string): void {
      log.write('error', 'queue.pauses_unreadable', { file, reason });
    },
    /** A rule that held mail is over by itself. */
    holdOver(rule: string): void {
      log.write('info', 'queue.hold_over', { rule });
    },
    holdsUnreadable(file: string, reason: string): void {
      log.write('error', 'queue.holds_unreadable', { file, reason });
    },
    /** A bug: the attempt threw. The delivery stays queued. */
    attemptCrashed(delivery: { id: string; destination: string }, error: Error): void {
      log.write('error', 'queue.attempt_crashed', {
        id: delivery.id,
        destination: delivery.destination,
        error: error.message,
        stack: error.stack,
      });
    },
    /** One line a kind in QUIET_MS: an outage is told by `redis.down`, not by its thousand errors. */
    redisError(kind: RedisErrorKind, error: Error): void {
      metrics.redisErrors.inc({ kind });
      const last = lastError.get(kind);
      const now = Date.now();
      if (last && now - last.atMs < QUIET_MS) {
        last.unsaid += 1;
        return;
      }
      lastError.set(kind, { atMs: now, unsaid: 0 });
      const unsaid = last?.unsaid || undefined;
      log.write('warn', 'redis.error', { kind, error: error.message, unsaid });
    },
    redisUp(): void {
      metrics.redisUp.set(1);
      log.write('info', 'redis.up');
    },
    redisDown(reason: string): void {
      metrics.redisUp.set(0);
      log.write('error', 'redis.down', { reason });
    },
  };
}
export type QueueEvents = ReturnType<typeof queueEvents>;
