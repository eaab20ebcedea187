/**
 * Counts and reports of all nodes on one Redis, so that each domain gets one report a day. Nothing is there
 * that the disk of a node does not have: each node replaces its own part whole, as often as it likes, and
 * writes it anew when Redis has lost it. By day, in one slot of a cluster:
 *
 *   PREFIX:tlsrpt:{DAY}:nodes         node -> phase of its counts
 *   PREFIX:tlsrpt:{DAY}:counts:NODE   domain -> PolicyCounts[]
 *   PREFIX:tlsrpt:{DAY}:states        domain -> ReportState
 *   PREFIX:tlsrpt:{DAY}:lease:DOMAIN  the node that sends it, for a while
 *   PREFIX:tlsrpt:nodes               node -> when it was last there, ms
 *
 * Every call rejects while Redis is away. What another version, or somebody's hand, put there counts as
 * not there.
 */
import { z } from 'zod';
import type { Clock } from '../platform/clock.ts';
import type { RedisClient } from '../platform/redis.ts';
import { policyCountsForm } from './counted-form.ts';
import { DayTally } from './day-tally.ts';
import { type ReportState, reportStateForm } from './report-state.ts';

/** Where a node is with the counts of a day. `left`: it was stopped, and everything of it is there. */
export type CountPhase = 'counting' | 'left' | 'complete';

export interface SharedReportsParts {
  readonly redis: RedisClient;
  readonly keyPrefix: string;
  readonly node: string;
  readonly clock: Clock;
}

const KEEP_SECONDS = 9 * 86_400;
/** Longer than the longest wait between two attempts (report-state.ts). */
const LEASE_MS = 6 * 3_600_000;
const DAY_MS = 86_400_000;
/** Fields of one command. */
const AT_ONCE = 200;

/** SET with an end, unless somebody else has it. */
const TAKE = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`;

const countsForm = z.array(policyCountsForm);

export class SharedReports {
  readonly #parts: SharedReportsParts;
  /** What Redis has of this node: the JSON of each domain's counts, by day. */
  readonly #published = new Map<string, Map<string, string>>();
  /** States that Redis did not take, the latest of each report. */
  readonly #owed = new Map<string, { readonly day: string; readonly state: ReportState }>();
  /** When each of the other nodes was last seen: Redis may forget them. */
  readonly #seen = new Map<string, number>();

  constructor(parts: SharedReportsParts) {
    this.#parts = parts;
  }

  get node(): string {
    return this.#parts.node;
  }

  /** Put what this node counted on `day` in the place of what is there of it, as far as it differs. */
  async publish(day: string, tally: DayTally, phase: CountPhase): Promise<void> {
    const { redis, node } = this.#parts;
    const [nodes, counts] = [this.#key(day, 'nodes'), this.#key(day, `counts:${node}`)];
    const known = (await redis.hget(nodes, node)) === null ? undefined : this.#published.get(day);
    const published = known ?? new Map<string, string>();
    this.#published.set(day, published);
    let fields: string[] = [];
    const flush = async () => {
      if (fields.length > 0) await redis.hset(counts, ...fields);
      for (let at = 0; at < fields.length; at += 2) {
        published.set(fields[at] ?? '', fields[at + 1] ?? '');
      }
      fields = [];
    };
    for (const domain of tally.domains()) {
      const json = JSON.stringify(tally.countsOf(domain));
      if (published.get(domain) === json) continue;
      fields.push(domain, json);
      if (fields.length >= 2 * AT_ONCE) await flush();
    }
    await flush();
    await redis.expire(counts, KEEP_SECONDS);
    await redis.hset(nodes, node, phase);
    await redis.expire(nodes, KEEP_SECONDS);
  }

  /** Say that this node is there, and learn which others are. */
  async meet(): Promise<void> {
    const { redis, node, keyPrefix, clock } = this.#parts;
    const key = `${keyPrefix}:tlsrpt:nodes`;
    await redis.hset(key, node, String(clock.now()));
    for (const [name, atMs] of Object.entries(await redis.hgetall(key))) {
      if (name === node) continue;
      if (Number(atMs) < clock.now() - KEEP_SECONDS * 1000) await redis.hdel(key, name);
      else this.#seen.set(name, Math.max(Number(atMs), this.#seen.get(name) ?? 0));
    }
  }

  /** Other nodes that were there on `day`, or after it, and whose counts are not complete yet. */
  async awaited(day: string): Promise<readonly string[]> {
    const phases = await this.#parts.redis.hgetall(this.#key(day, 'nodes'));
    const beganMs = Date.parse(day);
    const names = new Set(
      [...this.#seen].filter(([, atMs]) => atMs >= beganMs).map(([name]) => name),
    );
    for (const name of Object.keys(phases)) names.add(name);
    names.delete(this.node);
    return [...names].filter((name) => (phases[name] ?? 'counting') === 'counting').sort();
  }

  /** What the other nodes counted for `domain`, by node. */
  async countsOf(day: string, domain: string): Promise<ReadonlyMap<string, DayTally>> {
    const found = new Map<string, DayTally>();
    for (const name of await this.#others(day)) {
      const json = await this.#parts.redis.hget(this.#key(day, `counts:${name}`), domain);
      const tally = new DayTally();
      if (json !== null && addJson(tally, domain, json)) found.set(name, tally);
    }
    return found;
  }

  /** What all other nodes counted on `day`. */
  async tallyOf(day: string): Promise<DayTally> {
    const tally = new DayTally();
    for (const name of await this.#others(day)) {
      const all = await this.#parts.redis.hgetall(this.#key(day, `counts:${name}`));
      for (const [domain, json] of Object.entries(all)) addJson(tally, domain, json);
    }
    return tally;
  }

  /** The domains that other nodes counted something for. */
  async domains(day: string): Promise<ReadonlySet<string>> {
    const domains = new Set<string>();
    for (const name of await this.#others(day)) {
      const names = await this.#parts.redis.hkeys(this.#key(day, `counts:${name}`));
      for (const domain of names) domains.add(domain);
    }
    return domains;
  }

  /** Whether it is for this node to send the report, for the next six hours. */
  async take(day: string, domain: string): Promise<boolean> {
    const { redis, node } = this.#parts;
    const key = this.#key(day, `lease:${domain}`);
    return (await redis.eval(TAKE, 1, key, node, LEASE_MS)) === 1;
  }

  /** What is known of a report, whoever sent it. */
  async state(day: string, domain: string): Promise<ReportState | undefined> {
    const json = await this.#parts.redis.hget(this.#key(day, 'states'), domain);
    return json === null ? undefined : reportStateForm.safeParse(parsed(json)).data;
  }

  /** What Redis does not take now is put there by `putOwed`, unless there is a later one by then. */
  async putState(day: string, state: ReportState): Promise<void> {
    const name = `${day} ${state.domain}`;
    this.#owed.set(name, { day, state });
    const key = this.#key(day, 'states');
    await this.#parts.redis.hset(key, state.domain, JSON.stringify(state));
    if (this.#owed.get(name)?.state === state) this.#owed.delete(name);
    await this.#parts.redis.expire(key, KEEP_SECONDS);
  }

  async putOwed(): Promise<void> {
    for (const { day, state } of [...this.#owed.values()]) await this.putState(day, state);
  }

  /** Whether Redis has lost what this node said of `day`. */
  async hasForgotten(day: string): Promise<boolean> {
    const { redis, node } = this.#parts;
    return (await redis.hget(this.#key(day, 'nodes'), node)) === null;
  }

  /** Days that are over for good. */
  forgetBefore(day: string): void {
    for (const one of [...this.#published.keys()]) if (one < day) this.#published.delete(one);
    for (const [name, owed] of [...this.#owed]) if (owed.day < day) this.#owed.delete(name);
    const oldestMs = this.#parts.clock.now() - 2 * DAY_MS;
    for (const [name, atMs] of [...this.#seen]) if (atMs < oldestMs) this.#seen.delete(name);
  }

  async #others(day: string): Promise<readonly string[]> {
    const names = await this.#parts.redis.hkeys(this.#key(day, 'nodes'));
    return names.filter((name) => name !== this.node).sort();
  }

  #key(day: string, rest: string): string {
    return `${this.#parts.keyPrefix}:tlsrpt:{${day}}:${rest}`;
  }
}

function addJson(tally: DayTally, domain: string, json: string): boolean {
  const { data } = countsForm.safeParse(parsed(json));
  for (const counts of data ?? []) tally.add({ domain, ...counts });
  return data !== undefined;
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined;
  }
}
