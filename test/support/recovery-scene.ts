/**
 * A relay with a Redis that tests do things to: a few domains whose MX hosts defer all mail while
 * they are told to, mail for them, and the queue in Redis as somebody with BullMQ sees it.
 */
import assert from 'node:assert/strict';
import { type Job, Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { type JobContent, queueNames } from '../../src/queue/job-queue.ts';
import type { MxHost } from './mx-host.ts';
import type { ReceivedMessage, Script } from './mx-script.ts';
import { startRedis, type TestRedis, type TestRedisOptions } from './redis.ts';
import type { LogLine, RelayOptions, RelayProcess, Settings } from './relay-process.ts';
import { assertSameContent, type RelayWorld, type Sent, startWorldWith } from './relay-world.ts';
import { waitFor } from './wait-for.ts';

const NODE = 'n1';

export interface SceneOptions {
  readonly settings?: Settings;
  readonly redis?: TestRedisOptions;
  /** Where the relay is told that Redis is; default: where it is. */
  readonly redisUrl?: (redis: TestRedis) => string;
  readonly relay?: Omit<RelayOptions, 'settings'>;
  /** How many domains, each with a host of its own; default 4. */
  readonly domains?: number;
}

export class RecoveryScene implements AsyncDisposable {
  readonly redis: TestRedis;
  readonly world: RelayWorld;
  /** While true every attempt ends in a 451. */
  isHeld = false;
  /** Over the usual answers, once nothing is held. */
  script: Script = () => undefined;
  readonly #hosts: MxHost[] = [];
  #client: Redis | undefined;
  #queue: Queue<JobContent> | undefined;
  #sent = 0;

  /** @NOTE call startScene instead. */
  constructor(redis: TestRedis, world: RelayWorld) {
    this.redis = redis;
    this.world = world;
  }

  get relay(): RelayProcess {
    return this.world.relay;
  }
  get hosts(): readonly MxHost[] {
    return this.#hosts;
  }
  /** Of the relay's queue in Redis. */
  get names() {
    return queueNames('stsrelay', NODE);
  }

  async addDomains(count: number): Promise<void> {
    const script: Script = (session, command) => {
      if (this.isHeld && command.verb === 'MAIL') return '451 4.3.0 Later';
      return this.script(session, command);
    };
    for (let i = 0; i < count; i += 1) {
      const mx = [{ host: `mx.d${i}.test`, script }];
      const domain = await this.world.internet.domain(`d${i}.test`, { mx });
      this.#hosts.push(...domain.mx);
    }
  }

  /** The queue as somebody with BullMQ alone sees it. */
  get queue(): Queue<JobContent> {
    this.#queue ??= this.#openQueue();
    return this.#queue;
  }

  #openQueue(): Queue<JobContent> {
    const { name, prefix } = this.names;
    const connection = new Redis(this.redis.socketPath, { maxRetriesPerRequest: null });
    this.#client = connection;
    const options = { connection, prefix, skipVersionCheck: true, skipMetasUpdate: true };
    const queue = new Queue<JobContent>(name, options);
    connection.on('error', () => {});
    queue.on('error', () => {});
    return queue;
  }

  /** Every key of the relay's queue. */
  async keys(): Promise<readonly string[]> {
    const all = (await this.redis.command('KEYS', '*')) as string[];
    const { prefix } = this.names;
    return all.filter((key) => key.startsWith(`${prefix}:`)).sort();
  }

  /** Jobs that wait for a worker or for their time. */
  jobs(): Promise<Job<JobContent>[]> {
    return this.queue.getJobs(['wait', 'delayed', 'active', 'prioritized']);
  }

  /** Have new turns stay in line: pause the queue, and wait for the resting ones to end. */
  async holdTurns(): Promise<void> {
    await this.queue.pause();
    await waitFor('no turn', async () => (await this.queue.getActiveCount()) === 0);
  }

  /** So many messages, to one domain after the other. */
  send(count: number): Promise<readonly Sent[]> {
    const one = () => {
      const domain = this.#hosts[this.#sent % this.#hosts.length]?.name.slice('mx.'.length);
      return this.world.send({ to: `r${this.#sent++}@${domain}` });
    };
    return Promise.all(Array.from({ length: count }, one));
  }

  /** So many messages that wait for their second attempt; nothing is held any more. */
  async sendDeferred(count: number): Promise<readonly Sent[]> {
    this.isHeld = true;
    const all = await this.send(count);
    for (const sent of all) {
      assert.equal((await this.world.answer(sent)).event, 'delivery.deferred');
    }
    this.isHeld = false;
    return all;
  }

  /** Each has arrived, unchanged, and none twice; but those of `inFlight` may have. */
  async assertDelivered(all: readonly Sent[], inFlight: readonly Sent[] = []): Promise<void> {
    const arrivals = () => {
      const byId = new Map<string, ReceivedMessage[]>();
      for (const message of this.#hosts.flatMap((host) => host.messages)) {
        byId.set(idOf(message), [...(byId.get(idOf(message)) ?? []), message]);
      }
      return byId;
    };
    await waitFor(`${all.length} messages to arrive`, () => {
      const byId = arrivals();
      return all.every(({ id }) => byId.has(id));
    });
    await this.untilEmpty();
    const byId = arrivals();
    for (const sent of all) {
      const times = byId.get(sent.id) ?? [];
      assert.ok(times.length <= (inFlight.includes(sent) ? 2 : 1), `${sent.id}: ${times.length}`);
      assertSameContent(times[0], sent.data);
    }
  }

  /** Nothing is waiting or under way. */
  async untilEmpty(): Promise<void> {
    const isEmpty = async () => (await this.relay.metric('stsrelay_queue_messages')) === 0;
    await waitFor('an empty queue', isEmpty);
  }

  /** None was attempted the second time before its time. */
  assertNotEarly(all: readonly Sent[]): void {
    for (const sent of all) {
      const [first, second] = this.world.answers(sent);
      const dueMs = Date.parse(String(first?.['nextAttempt']));
      const madeMs = Date.parse(String(second?.time));
      assert.ok(madeMs >= dueMs, `${sent.id}: due at ${dueMs}, made at ${madeMs}`);
    }
  }

  /** What the reconciler said it put right from now on, by reason. */
  watchRequeued(): (reason: string) => Promise<LogLine> {
    const before = new Set(this.relay.log);
    return (reason) =>
      this.relay.waitForLog(`requeued, ${reason}`, (lines) =>
        lines.find(
          (line) =>
            !before.has(line) &&
            (line.event === 'queue.requeued' || line.event === 'queue.entered') &&
            line['reason'] === reason,
        ),
      );
  }

  async close(): Promise<void> {
    await this.#queue?.close();
    this.#client?.disconnect();
    await this.world.close();
    await this.redis.close();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The relay's id of a message, from the trace field. */
export function idOf({ data }: ReceivedMessage): string {
  return / id ([0-9A-Z]{16})/.exec(data.subarray(0, 500).toString('latin1'))?.[1] ?? '';
}

/** A relay, its Redis and its domains. */
export async function startScene(options: SceneOptions = {}): Promise<RecoveryScene> {
  const redis = await startRedis(options.redis);
  try {
    const url = options.redisUrl?.(redis) ?? redis.url;
    const settings = { node: NODE, redis: { url }, retry: { schedule: ['1s'] } };
    const world = await startWorldWith(options.relay ?? {}, settings, options.settings ?? {});
    const scene = new RecoveryScene(redis, world);
    await scene.addDomains(options.domains ?? 4);
    return scene;
  } catch (error) {
    await redis.close();
    throw error;
  }
}
