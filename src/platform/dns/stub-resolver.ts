/**
 * The stub resolver behind the Resolver port: cache, single flight, deadline, and CNAMEs
 * that a server left unfollowed. Who is asked is in ask-servers.ts, how a query travels in
 * transport.ts, what an answer means in message.ts and answer.ts.
 *
 * Promises: never throws; `found` and `absent` only when a server said so; everything else,
 * the caller's own abort included, is `failed` with a reason. A lookup ends within `totalMs`.
 */
import { type Clock, systemClock } from '../clock.ts';
import { withDeadline } from '../deadline.ts';
import type { LookupResult, Resolver } from '../resolver.ts';
import { createSingleFlight } from '../single-flight.ts';
import {
  MAX_CNAMES,
  type Question,
  type RecordData,
  type RecordKind,
  type Unanswered,
} from './answer.ts';
import { askServers, type QueryFacts, reasonOf, type Told } from './ask-servers.ts';
import { createAnswerCache, MAX_TTL_SECONDS } from './cache.ts';
import { isAskable } from './message.ts';
import { believesAd, type ServerAddress, serversToAsk, type TrustAd } from './servers.ts';

export interface ResolverOptions {
  /** In the order they are asked; chooseServers gives them. */
  readonly servers: readonly ServerAddress[];
  readonly trustAd: TrustAd;
  readonly clock?: Clock;
  /** For a whole lookup, CNAMEs and retries included. */
  readonly totalMs?: number;
  /** Patience with one server in the first round, the second, ...; the last one repeats. */
  readonly tryMs?: readonly number[];
  /** Told about every try at a server. */
  readonly onQuery?: (facts: QueryFacts) => void;
}

/** A resolver that asks `servers`, as far as serversToAsk has them, and remembers what they said. */
export function createResolver(options: ResolverOptions): Resolver {
  const { trustAd, clock = systemClock, totalMs = 10_000 } = options;
  const servers = serversToAsk(options.servers, trustAd);
  const { tryMs = [2000, 3000, 5000], onQuery = () => {} } = options;
  const cache = createAnswerCache(clock);
  const flights = createSingleFlight<LookupResult<RecordData[RecordKind]>>();

  async function ask<K extends RecordKind>(question: Question<K>, deadline: AbortSignal) {
    const told = await askServers(question, { servers, clock, tryMs, onQuery }, deadline);
    if (told.kind === 'failed') return told;
    return { ...told, authenticData: told.authenticData && believesAd(told.server, trustAd) };
  }

  async function askAndKeep<K extends RecordKind>(question: Question<K>, signal: AbortSignal) {
    return withDeadline({ clock, waitMs: totalMs }, signal, async (deadline) => {
      const result = await followChain(question, (at) => ask(at, deadline));
      if (result.kind !== 'failed') cache.put(question, result);
      return result;
    });
  }

  async function lookup<K extends RecordKind>(
    question: Question<K>,
    signal: AbortSignal,
    fresh = false,
  ): Promise<LookupResult<RecordData[K]>> {
    if (!isAskable(question.name)) return unaskable(question.name);
    const cached = fresh ? undefined : cache.get(question);
    if (cached !== undefined) return cached;
    try {
      const key = `${question.type} ${question.name}`;
      const result = await flights.run(key, signal, (shared) => askAndKeep(question, shared));
      // The key holds the type, so the records are of type K.
      return result as LookupResult<RecordData[K]>;
    } catch (error) {
      return { kind: 'failed', reason: `lookup of ${question.name} ended: ${reasonOf(error)}` };
    }
  }

  return {
    lookupMx: (name, signal) => lookup({ name: name.toLowerCase(), type: 'MX' }, signal),
    lookupTxt: (name, signal, options) =>
      lookup({ name: name.toLowerCase(), type: 'TXT' }, signal, options?.fresh),
    lookupAddress: (name, family, signal) =>
      lookup({ name: name.toLowerCase(), type: family === 4 ? 'A' : 'AAAA' }, signal),
    lookupTlsa: (name, signal) => lookup({ name: name.toLowerCase(), type: 'TLSA' }, signal),
    lookupCname: (name, signal) => lookup({ name: name.toLowerCase(), type: 'CNAME' }, signal),
  };
}

/** A name longer than DNS can hold does not exist; one of impossible form was not asked for. */
function unaskable(name: string): LookupResult<never> {
  if (name.split('.').every((label) => isAskable(label))) {
    return { kind: 'absent', nameExists: false, ttlSeconds: 0, authenticated: false };
  }
  return { kind: 'failed', reason: 'not a name that can be asked for' };
}

/**
 * Ask, and where an answer stops at a CNAME whose target the server did not look up, ask for
 * the target: so it shall be for MX (RFC 5321 §5.1) and for TXT (RFC 8461 §3.1); the host of an
 * MX record should have none (RFC 2181 §10.3), and where it does mail gets there. The chain is bounded over all answers together (RFC 1034 §3.6.2), and secure
 * only when every part of it is.
 */
async function followChain<K extends RecordKind>(
  question: Question<K>,
  ask: (question: Question<K>) => Promise<Told<K> | Unanswered>,
): Promise<LookupResult<RecordData[K]>> {
  const passed = new Set<string>();
  let ttlSeconds = MAX_TTL_SECONDS;
  let authenticated = true;
  let at = question;
  for (;;) {
    const told = await ask(at);
    if (told.kind === 'failed') return told;
    const { records, canonicalName, nameExists } = told;
    ttlSeconds = Math.min(ttlSeconds, told.ttlSeconds);
    authenticated &&= told.authenticData;
    if (records.length > 0) {
      return { kind: 'found', records, ttlSeconds, authenticated, canonicalName };
    }
    if (!told.unresolved) return { kind: 'absent', nameExists, ttlSeconds, authenticated };
    for (const name of told.chain.slice(0, -1)) passed.add(name);
    if (passed.has(canonicalName) || passed.size > MAX_CNAMES) {
      return { kind: 'failed', reason: `CNAME loop or chain too long at ${question.name}` };
    }
    if (!isAskable(canonicalName)) {
      return { kind: 'failed', reason: `CNAME of ${question.name} leads to an impossible name` };
    }
    at = { name: canonicalName, type: question.type };
  }
}
