/**
 * Both ends of the link in one process: an owner with a queue in memory behind a socket in a
 * temp dir, and a receiving role's queue connected to it.
 */
import { connect, type Socket } from 'node:net';
import { LinkClient } from '../../src/link/link-client.ts';
import { LinkHost } from '../../src/link/link-host.ts';
import { RemoteQueue } from '../../src/link/remote-queue.ts';
import { type Clock, systemClock } from '../../src/platform/clock.ts';
import type { Submit } from '../../src/queue/submit-port.ts';
import { MemoryQueue } from './front-door.ts';
import { tempDir } from './temp-dir.ts';
import { Chronicle } from './wait-for.ts';

export interface LinkOptions {
  readonly queue?: Submit;
  readonly clock?: Clock;
  /** What the owner takes the receiving role for. */
  readonly supervisor?: number;
  readonly answer?: (request: unknown) => Promise<unknown>;
}

export class TestLink implements AsyncDisposable {
  /** Behind the owner, unless the test gave another one. */
  readonly queue = new MemoryQueue();
  /** What a listener would be handed. */
  readonly remote: RemoteQueue;
  /** `up` and `down …` of the receiving end, `linked`, `gone …` and `told …` of the owner. */
  readonly events = new Chronicle<string>();
  readonly #dir = tempDir();
  readonly #options: LinkOptions;
  #host: LinkHost | undefined;
  #client: LinkClient | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.remote = new RemoteQueue(options.clock ?? systemClock);
  }

  get path(): string {
    return this.#dir.file('intake.sock');
  }
  get host(): LinkHost {
    if (!this.#host) throw new Error('there is no owner');
    return this.#host;
  }

  async startOwner(): Promise<void> {
    this.#host = await LinkHost.open({
      path: this.path,
      submit: this.#options.queue ?? this.queue,
      clock: systemClock,
      supervisor: 0,
      up: () => {
        this.events.push('linked');
        // As the relay does: the first word is the owner's.
        void this.host.request({ kind: 'hello' }, 1000).catch(() => {});
      },
      down: (_pid, reason) => this.events.push(`gone ${reason}`),
      told: (news) => this.events.push(`told ${JSON.stringify(news)}`),
    });
  }

  startReceiver(): LinkClient {
    this.#client = new LinkClient({
      path: this.path,
      hello: { pid: process.pid, supervisor: this.#options.supervisor ?? 0 },
      queue: this.remote,
      answer: this.#options.answer ?? (async (request) => request),
      up: () => this.events.push('up'),
      down: (reason) => this.events.push(`down ${reason}`),
      sentAway: (reason) => this.events.push(`away ${reason}`),
    });
    return this.#client;
  }

  /** The n-th event that begins with `start`. */
  until(start: string, nth = 1): Promise<string> {
    return this.events.until(
      `${start} (${nth})`,
      () => this.events.entries.filter((event) => event.startsWith(start))[nth - 1],
    );
  }

  /** A bare connection to the owner. */
  dial(): Socket {
    return connect(this.path).on('error', () => {});
  }

  async stopOwner(): Promise<void> {
    await this.#host?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client?.close();
    await this.#host?.close();
    this.#dir.remove();
  }
}

/** Both ends, connected. */
export async function openLink(options: LinkOptions = {}): Promise<TestLink> {
  const link = new TestLink(options);
  await link.startOwner();
  link.startReceiver();
  await link.until('up');
  return link;
}
