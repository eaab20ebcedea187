/**
 * What happens to the relay as a whole. One function per event: log line and metric together.
 */
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';
import { Spell } from './spell.ts';

export function relayEvents(log: Log, metrics: Metrics) {
  /** Of operations of the spool that failed lately, by operation and kind of error. */
  const spells = new Map<string, Spell>();
  const spoolWorks = (operation: string) => {
    for (const [key, spell] of spells) {
      const over = key.startsWith(`${operation} `) ? spell.works() : undefined;
      if (!over) continue;
      spells.delete(key);
      log.write('info', 'spool.works', { operation, failures: over.count, seconds: over.seconds });
    }
  };
  return {
    /** Listeners are open: the relay takes mail. */
    started(facts: {
      version: string;
      node: string;
      dataDir: string;
      /** Messages found in the spool. */
      recovered: number;
      /** The process that takes signals. */
      pid: number;
    }): void {
      metrics.buildInfo.set({ version: facts.version, node_version: process.version }, 1);
      log.write('info', 'relay.started', facts);
    },
    stopping(signal: string): void {
      log.write('info', 'relay.stopping', { signal });
    },
    stopped(): void {
      log.write('info', 'relay.stopped');
    },
    /** Something an administrator should know, e.g. a setting without effect. */
    warning(warning: string): void {
      log.write('warn', 'relay.warning', { warning });
    },
    reloaded(facts: { needRestart: readonly string[] }): void {
      metrics.configReloads.inc({ result: 'applied' });
      log.write('info', 'config.reloaded', facts);
    },
    reloadRefused(problems: readonly string[]): void {
      metrics.configReloads.inc({ result: 'refused' });
      log.write('error', 'config.reload_refused', { problems });
    },
    /** The private Redis. */
    redisStarted(program: string, socket: string): void {
      log.write('info', 'redis.started', { program, socket });
    },
    redisDied(reason: string, restartInMs: number): void {
      log.write('error', 'redis.died', { reason, restartInMs });
    },
    /** Redis could not read what it had written; the queue is made anew from the spool. */
    redisDataSetAside(directory: string): void {
      log.write('error', 'redis.data_set_aside', { directory });
    },
    /** It goes on in memory; the spool has what it knows. */
    redisPersistenceOff(directory: string, reason: string): void {
      const advice = 'make room there; deliveries go on, and it is written again by itself';
      log.write('error', 'redis.persistence_off', { directory, reason, advice });
    },
    redisPersistenceOn(directory: string): void {
      log.write('info', 'redis.persistence_on', { directory });
    },
    redisOutput(line: string): void {
      const alarming =
        /error|fail|denied|misconf|oom|corrupt/i.test(line) &&
        // The first is the system's, the second is told by `redis.persistence_off`.
        !/WARNING Memory overcommit|writing to the AOF file/.test(line);
      log.write(alarming ? 'warn' : 'debug', 'redis.output', { line });
    },
    /** Redis is up and said under which policy it drops keys. */
    evictionPolicy(policy: string | undefined): void {
      const isUnsafe = policy !== undefined && policy !== 'noeviction';
      metrics.redisEvictionUnsafe.set(isUnsafe ? 1 : 0);
      if (isUnsafe) log.write('error', 'redis.eviction_policy', { policy, wanted: 'noeviction' });
    },
    spoolTook(operation: 'commit' | 'append' | 'remove', seconds: number): void {
      metrics.spoolLatency.observe({ operation }, seconds);
      if (spells.size === 0) return;
      spoolWorks(operation);
      if (operation === 'commit') spoolWorks('begin');
    },
    /** What fails for every message alike, on a full or broken disk, is told once a spell. */
    spoolFailed(operation: string, error: Error & { readonly kind?: string }): void {
      metrics.spoolErrors.inc({ operation });
      const facts = { operation, error: error.message };
      if (operation === 'read' || operation === 'remove') {
        log.write('error', 'spool.failed', facts);
        return;
      }
      const key = `${operation} ${error.kind}`;
      const spell = spells.get(key) ?? new Spell();
      spells.set(key, spell);
      const told = spell.hit();
      if (!told) return;
      const { count: failures, seconds } = told;
      log.write('error', 'spool.failed', { ...facts, failures, seconds });
    },
    spoolDamaged(file: string, reason: string, id?: string): void {
      metrics.spoolErrors.inc({ operation: 'damaged' });
      log.write('error', 'spool.damaged', { ...(id === undefined ? {} : { id }), file, reason });
    },
    /** A message that was never acknowledged, cut off by a crash. */
    spoolLeftover(file: string, reason: string): void {
      log.write('info', 'spool.leftover', { file, reason });
    },
  };
}
export type RelayEvents = ReturnType<typeof relayEvents>;
