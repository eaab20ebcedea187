/**
 * What all nodes on one Redis know together: small facts by topic and key (a pause, an override, hosts that
 * are away), each as somebody said it last. Nothing is there that some node does not have: a Redis that
 * was emptied is told again by all of them, and while it is away each node goes by what it knows.
 *
 *   PREFIX:{board}:facts   hash: name of a fact -> its JSON; beside them `#epoch` and `#version`
 *   PREFIX:{board}:order   sorted set: name of a fact, by the version that it was changed in
 *
 * So a node asks every LOOK_MS what is newer than the version it knows, in one command with an answer
 * of a few octets as long as nothing is. Another epoch, or a lower version, means that Redis lost data:
 * then everything is read, and said anew what is missing there; and so now and then in any case, since a failover
 * may lose a change unseen. Of two changes the later one counts, by the time in it: whoever changes what it
 * knows makes that later than before, also where clocks differ.
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from './clock.ts';
import type { RedisClient } from './redis.ts';
import { AT_ONCE, DROP, LOOK, SAY } from './shared-board-scripts.ts';

export interface Fact {
  /** When it was said; ms since the epoch. */
  readonly at: number;
  /** Who said it. */
  readonly node: string;
  /** Absent: it holds no more. */
  readonly value?: unknown;
  /** It is of no interest after this; ms since the epoch. */
  readonly ends?: number | undefined;
}

/** The facts of one kind. */
export interface Topic {
  /** What is known, by this node or others; those taken back, too. */
  get(key: string): Fact | undefined;
  /** Say it for all nodes; never waits. `atMs`: when it was said, where that is kept elsewhere. */
  say(key: string, fact: { value?: unknown; ends?: number | undefined; at?: number }): void;
}

export interface SharedBoardParts {
  /** One that fails at once while Redis is away. */
  readonly redis: RedisClient;
  readonly keyPrefix: string;
  readonly node: string;
  readonly clock: Clock;
  readonly onError: (error: Error) => void;
  /** There was no room for a fact of this kind; said once in TELL_FULL_MS at most. */
  readonly onFull?: (topic: string) => void;
}

export interface TopicLimits {
  /** Facts of this kind leave room for so many of other kinds. */
  readonly roomForOthers?: number;
}

const LOOK_MS = 500;
/** How often everything is read. */
const RECALL_MS = 60_000;
/** What has ended is kept for clocks that differ. */
const KEEP_ENDED_MS = 5 * 60_000;
/** Of all topics together; beyond it, less `roomForOthers`, nodes keep what is new to themselves. */
const MOST_FACTS = 20_000;
const TELL_FULL_MS = 10 * 60_000;
const MOST_OCTETS = 4096;

/** A later time is no date. */
const LATEST_MS = 8.64e15;
/** Clocks of nodes differ by less. What is said to come from later than that would count for ever. */
const MOST_AHEAD_MS = 86_400_000;

const stored = z.object({
  at: z.number().int().nonnegative(),
  node: z.string().max(100),
  value: z.unknown().optional(),
  ends: z.number().int().max(LATEST_MS).optional(),
});
const names = z.array(z.string());
const answered = z.tuple([z.string(), z.coerce.number(), z.coerce.number()]).rest(z.string());

export class SharedBoard {
  readonly #parts: SharedBoardParts;
  readonly #keys: readonly [string, string];
  readonly #facts = new Map<string, Fact>();
  readonly #unsaid = new Set<string>();
  readonly #heard = new Map<string, (key: string, fact: Fact) => void>();
  readonly #limits = new Map<string, TopicLimits>();
  #toldFullMs = Number.NEGATIVE_INFINITY;
  #epoch = '';
  #version = 0;
  #recallAtMs = 0;
  #cancel = () => {};
  #looking: Promise<void> = Promise.resolve();
  #isFlushing = false;
  #isStopped = false;

  constructor(parts: SharedBoardParts) {
    this.#parts = parts;
    const base = `${parts.keyPrefix}:{board}`;
    this.#keys = [`${base}:facts`, `${base}:order`];
  }

  /** `heard`: another node said something of this kind. To be called before `start`. */
  topic(name: string, heard: (key: string, fact: Fact) => void, limits: TopicLimits = {}): Topic {
    this.#heard.set(name, heard);
    this.#limits.set(name, limits);
    return {
      get: (key) => this.#lasting(`${name} ${key}`),
      say: (key, { at, ...fact }) => this.#say(`${name} ${key}`, { ...fact, at }),
    };
  }

  /** Begin to look; not waited for. */
  start(): void {
    this.#tick();
  }

  /** What was said and is not there yet goes out, if Redis is. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancel();
    await this.#looking;
    await this.#flush().catch(() => {});
  }

  /** Look now; never rejects. */
  look(): Promise<void> {
    this.#cancel();
    this.#tick();
    return this.#looking;
  }

  #tick(): void {
    this.#looking = this.#looking.then(async () => {
      try {
        await this.#lookOnce();
      } catch (error) {
        if (this.#parts.redis.status === 'ready') this.#parts.onError(error as Error);
      }
      this.#cancel();
      if (this.#isStopped) return;
      this.#cancel = this.#parts.clock.after(LOOK_MS, () => this.#tick());
    });
  }

  #lasting(name: string): Fact | undefined {
    const fact = this.#facts.get(name);
    return fact && (fact.ends ?? Infinity) > this.#parts.clock.now() ? fact : undefined;
  }

  #say(
    name: string,
    said: { value?: unknown; ends?: number | undefined; at?: number | undefined },
  ): void {
    const { clock, node } = this.#parts;
    const known = this.#facts.get(name);
    const at = said.at ?? Math.max(clock.now(), (known?.at ?? 0) + 1);
    if (known && known.at >= at) return;
    const { value, ends } = said;
    const fact: Fact = {
      ...{ at, node },
      ...(value === undefined ? {} : { value }),
      ...(ends === undefined ? {} : { ends: Math.ceil(ends) }),
    };
    if (!known && this.#facts.size >= this.#mostBefore(name)) {
      this.#tellFull(name);
      return;
    }
    if (JSON.stringify(fact).length > MOST_OCTETS) return;
    this.#facts.set(name, fact);
    this.#unsaid.add(name);
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    setImmediate(() => {
      this.#isFlushing = false;
      // The next look tries again.
      this.#flush().catch(() => {});
    });
  }

  async #flush(): Promise<void> {
    const { redis } = this.#parts;
    if (redis.status !== 'ready') return;
    while (this.#unsaid.size > 0) {
      const said: [string, Fact][] = [];
      for (const name of this.#unsaid) {
        const fact = this.#facts.get(name);
        if (fact) said.push([name, fact]);
        else this.#unsaid.delete(name);
        if (said.length >= AT_ONCE) break;
      }
      if (said.length === 0) return;
      const args = said.flatMap(([name, fact]) => [
        ...[name, fact.at, fact.node, JSON.stringify(fact), this.#mostBefore(name)],
      ]);
      const [refused] = names.parse(await SAY.run(redis, this.#keys, args));
      if (refused !== undefined) this.#tellFull(refused);
      // One that was changed meanwhile is still to be said.
      for (const [name, fact] of said)
        if (this.#facts.get(name) === fact) this.#unsaid.delete(name);
    }
  }

  async #lookOnce(): Promise<void> {
    const { clock, redis } = this.#parts;
    if (redis.status !== 'ready') return;
    await this.#flush();
    const now = clock.now();
    if (now >= this.#recallAtMs || this.#recallAtMs > now + RECALL_MS) this.#version = 0;
    let isWhole = this.#version === 0;
    const there = new Map<string, number>();
    const ended: string[] = [];
    for (;;) {
      const answer = await LOOK.run(redis, this.#keys, [
        randomBytes(8).toString('hex'),
        this.#epoch,
        this.#version,
      ]);
      const [epoch, reached, version, ...found] = answered.parse(answer);
      if (!isWhole && (epoch !== this.#epoch || reached < this.#version)) {
        // Redis lost something: what this answer holds is the beginning of all there is.
        isWhole = true;
        there.clear();
      }
      this.#epoch = epoch;
      this.#version = reached;
      for (let at = 0; at + 1 < found.length; at += 2) {
        const [name = '', json = ''] = [found[at], found[at + 1]];
        const fact = this.#hear(name, json);
        if (fact) there.set(name, fact.at);
        if (!fact || (fact.ends ?? Infinity) < now - KEEP_ENDED_MS) ended.push(name, json);
      }
      if (reached >= version) break;
    }
    if (isWhole) this.#recalled(there);
    if (ended.length > 0) await DROP.run(redis, this.#keys, ended.slice(0, 20 * AT_ONCE));
    if (isWhole) await this.#flush();
  }

  /** What somebody said; undefined: it cannot be understood, and counts as not there. */
  #hear(name: string, json: string): Fact | undefined {
    const { data: fact } = stored.safeParse(parsed(json));
    if (!fact || fact.at > this.#parts.clock.now() + MOST_AHEAD_MS) return undefined;
    const known = this.#facts.get(name);
    if (known && !isLater(fact, known)) return fact;
    if (!known && this.#facts.size >= this.#mostBefore(name)) {
      this.#tellFull(name);
      return fact;
    }
    this.#facts.set(name, fact);
    this.#unsaid.delete(name);
    if ((fact.ends ?? Infinity) > this.#parts.clock.now()) {
      const topic = topicOf(name);
      this.#heard.get(topic)?.(name.slice(topic.length + 1), fact);
    }
    return fact;
  }

  /** How many facts there may be before one of this name, and it is taken all the same. */
  #mostBefore(name: string): number {
    return MOST_FACTS - (this.#limits.get(topicOf(name))?.roomForOthers ?? 0);
  }

  #tellFull(name: string): void {
    const now = this.#parts.clock.now();
    if (now - this.#toldFullMs < TELL_FULL_MS) return;
    this.#toldFullMs = now;
    this.#parts.onFull?.(topicOf(name));
  }

  /** Everything that Redis has was read: what it lacks is to be said, what has ended is forgotten. */
  #recalled(there: ReadonlyMap<string, number>): void {
    const now = this.#parts.clock.now();
    this.#recallAtMs = now + RECALL_MS;
    for (const [name, { at, ends = Infinity }] of [...this.#facts]) {
      if (ends < now) this.#facts.delete(name);
      else if ((there.get(name) ?? -1) < at) this.#unsaid.add(name);
    }
  }
}

function topicOf(name: string): string {
  return name.slice(0, name.indexOf(' '));
}

/** Of two words of the same moment it is the same one everywhere. */
function isLater(a: Fact, b: Fact): boolean {
  return a.at > b.at || (a.at === b.at && a.node > b.node);
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined;
  }
}
