/**
 * The name of a node on its Redis belongs to one relay: two with the same name would take each other's jobs,
 * overwrite each other's report counts and, where a machine was copied with its spool, send mail twice. So a
 * relay claims its name for a quarter of a minute, again and again, and without the claim it delivers nothing.
 *
 *   PREFIX:node:NAME   who has it: identity, machine and directory, for people
 *
 * The same data directory on the same machine (its lock lets in one process) takes its name up again at once; another
 * one waits until the claim of one that died has run out. Redis away, or emptied, changes nothing for who has the name.
 */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Clock } from './clock.ts';
import type { RedisClient } from './redis.ts';
import { RedisScript } from './redis-script.ts';

/** Another relay that is alive has the name. */
export class NodeNameTakenError extends Error {
  constructor(node: string, holder: string) {
    super(
      `the name ${node} belongs to another relay on this Redis, ${holder}: two with one name would take each other's mail. Give this relay another \`node\`, or, where its dataDir is a copy, another spool: see "Several nodes" in docs/operations.md`,
    );
    this.name = 'NodeNameTakenError';
  }
}

const CLAIM_MS = 15_000;
const RENEW_MS = 3000;
const LOOK_MS = 500;

/** `ARGV`: identity, identity with what people want to know, how long. Nothing, or who has it and for how long still. */
const CLAIM = new RedisScript(`
local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, #ARGV[1]) ~= ARGV[1] then
  return {holder, redis.call('PTTL', KEYS[1])}
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {}`);

const RELEASE = new RedisScript(`
local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, #ARGV[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end`);

export interface NodeClaimEvents {
  /** Another relay has it: nothing is delivered here. Once a spell. */
  nodeTaken(node: string, holder: string): void;
  /** It is ours (again, where it was not). */
  nodeRegained(node: string): void;
  /** Redis answers, and does not let it be claimed: nothing is delivered here. Once a spell. */
  redisError(kind: 'shared', error: Error): void;
}

export interface NodeClaimParts {
  /** One that fails at once while Redis is away. */
  readonly redis: RedisClient;
  readonly keyPrefix: string;
  readonly node: string;
  /** Absolute. */
  readonly dataDir: string;
  readonly clock: Clock;
  readonly events: NodeClaimEvents;
}

export class NodeClaim {
  readonly #parts: NodeClaimParts;
  readonly #key: string;
  readonly #identity: string;
  #state: 'unknown' | 'ours' | 'taken' = 'unknown';
  /** Not asked since the connection was lost: by now somebody else may have it. */
  #isStale = false;
  #holder = '';
  /** Why it could not be claimed at the last look. */
  #refusal: Error | undefined;
  #claimedAtMs = Number.NEGATIVE_INFINITY;
  #cancel = () => {};
  #isStarted = false;
  #isStopped = false;

  private constructor(parts: NodeClaimParts, identity: string) {
    this.#parts = parts;
    this.#key = `${parts.keyPrefix}:node:${parts.node}`;
    this.#identity = identity;
    parts.redis.on('close', () => {
      this.#isStale = true;
    });
    parts.redis.on('ready', () => {
      if (this.#isStarted) void this.renew();
    });
  }

  static async open(parts: NodeClaimParts): Promise<NodeClaim> {
    return new NodeClaim(parts, await identityOf(parts.dataDir));
  }

  /** Whether mail may be attempted: the name was ours at the last look. */
  get isOurs(): boolean {
    return this.#state === 'ours';
  }

  /** Whether the queue in Redis may be changed: nobody else can have had it meanwhile. */
  get isCertain(): boolean {
    return this.isOurs && !this.#isStale && this.#parts.clock.now() - this.#claimedAtMs < CLAIM_MS;
  }

  /** Why nothing is delivered, for people; undefined where that is not the reason. */
  get trouble(): string | undefined {
    const { node } = this.#parts;
    if (this.#state === 'unknown' && this.#refusal) {
      const why = this.#refusal.message;
      return `the name ${node} cannot be claimed on Redis (${why}): nothing is delivered here`;
    }
    if (this.#state !== 'taken') return undefined;
    return `the name ${node} belongs to another relay, ${this.#holder}: nothing is delivered here`;
  }

  /**
   * Claim the name now, and then again and again. Where another one has it that is waited for, unless it is
   * alive: then NodeNameTakenError. Without Redis it is claimed later.
   */
  async start(): Promise<void> {
    let leastLeftMs = Infinity;
    for (;;) {
      const other = await this.#look();
      if (!other) break;
      // It has renewed its claim since.
      if (other.leftMs > leastLeftMs) throw new NodeNameTakenError(this.#parts.node, other.holder);
      leastLeftMs = other.leftMs;
      await this.#pause(LOOK_MS);
    }
    this.#isStarted = true;
    this.#renewLater();
  }

  /** Claim it at once: Redis is back. Never rejects. */
  async renew(): Promise<void> {
    this.#cancel();
    const before = this.#state;
    const { node, events } = this.#parts;
    const other = await this.#look();
    if (other && before !== 'taken') events.nodeTaken(node, other.holder);
    if (before === 'taken' && this.isOurs) events.nodeRegained(node);
    this.#renewLater();
  }

  /** Others may have it from now on. */
  async release(): Promise<void> {
    this.#isStopped = true;
    this.#cancel();
    const { redis } = this.#parts;
    if (redis.status !== 'ready') return;
    await RELEASE.run(redis, [this.#key], [this.#identity]).catch(() => {});
  }

  #renewLater(): void {
    if (this.#isStopped) return;
    this.#cancel = this.#parts.clock.after(RENEW_MS, () => void this.renew());
  }

  /** Never rejects: without an answer nothing changes. */
  async #look(): Promise<{ readonly holder: string; readonly leftMs: number } | undefined> {
    const { redis, events } = this.#parts;
    try {
      const other = await this.#claim();
      this.#refusal = undefined;
      return other;
    } catch (error) {
      // While Redis is away others say so.
      if (redis.status === 'ready' && !this.#refusal) events.redisError('shared', error as Error);
      if (redis.status === 'ready') this.#refusal = error as Error;
      return undefined;
    }
  }

  async #claim(): Promise<{ readonly holder: string; readonly leftMs: number } | undefined> {
    const { redis, dataDir } = this.#parts;
    const claim = `${this.#identity} ${hostname()}:${dataDir}`;
    const args = [this.#identity, claim, CLAIM_MS];
    const askedAtMs = this.#parts.clock.now();
    const answer = (await CLAIM.run(redis, [this.#key], args)) as readonly (string | number)[];
    const [holder, leftMs] = answer;
    this.#isStale = false;
    if (holder === undefined) {
      this.#state = 'ours';
      this.#claimedAtMs = askedAtMs;
      return undefined;
    }
    this.#state = 'taken';
    this.#holder = String(holder).slice(0, 300).split(' ').slice(1).join(' ');
    return { holder: this.#holder, leftMs: Number(leftMs) };
  }

  #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#parts.clock.after(ms, resolve);
    return promise;
  }
}

/** Of a directory on a machine that has not been started again since: a copy of either is another one. */
async function identityOf(dataDir: string): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => hostname());
  const { dev, ino } = await stat(dataDir, { bigint: true });
  return createHash('sha256').update(`${boot} ${dev} ${ino}`).digest('hex').slice(0, 16);
}
