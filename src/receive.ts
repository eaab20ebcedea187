/**
 * Composition of the receiving role: a process with the listeners of the relay and no queue.
 * What clients hand over goes over the link to the owner of the spool, and is acknowledged
 * when that has it; while the owner is away clients are told 451, and the listeners stay open.
 * An owner that sends it away is the end of it: somebody else does its work.
 *
 * Its settings come over the link. Until the first ones are there nothing listens.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { DkimSigner } from './dkim/signer.ts';
import type { DoorFacts, DoorNews, DoorRequest, DoorSettings, SettingsAnswer } from './door.ts';
import { FrontDoor } from './front-door.ts';
import { LinkClient } from './link/link-client.ts';
import { RemoteQueue } from './link/remote-queue.ts';
import { systemClock } from './platform/clock.ts';
import { dkimEvents } from './telemetry/dkim-events.ts';
import { type IntakeEvents, intakeEvents } from './telemetry/intake-events.ts';
import { createLog, type Log, type LogOptions } from './telemetry/log.ts';
import { collectMetrics } from './telemetry/merge-metrics.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { processGauges } from './telemetry/process-gauges.ts';
import { relayEvents } from './telemetry/relay-events.ts';
import { receiverEvents } from './telemetry/role-events.ts';
import { traceEvents } from './telemetry/trace-events.ts';
import { openTraces, type Traces } from './telemetry/traces/open-traces.ts';
import { VERSION } from './version.ts';

export interface ReceiverOptions {
  /** Absolute. */
  readonly dataDir: string;
  /** Of the owner's socket. */
  readonly path: string;
  readonly log: Pick<LogOptions, 'level' | 'format'>;
  /** Process id of the supervisor; 0 without one. */
  readonly supervisor: number;
}

/** The receiving process of a relay that was killed may still have our ports for a moment. */
const PORT_WAIT_MS = 2000;
const PORT_LOOK_MS = 100;

/** The owner of the spool has a receiving role already, or is no match for this one. */
export class SentAwayError extends Error {
  constructor(reason: string) {
    super(`the owner of the queue sent it away: ${reason}`);
    this.name = 'SentAwayError';
  }
}

export class Receiver {
  readonly log: Log;
  readonly #options: ReceiverOptions;
  readonly #metrics = createMetrics();
  readonly #gauges = processGauges(this.#metrics, 'receive');
  readonly #intakeEvents: IntakeEvents;
  readonly #signer: DkimSigner;
  readonly #queue = new RemoteQueue(systemClock);
  readonly #link: LinkClient;
  readonly #failed = Promise.withResolvers<Error>();
  readonly #opened = Promise.withResolvers<void>();
  #traces: Traces | undefined;
  #door: FrontDoor | undefined;
  #stopping = false;
  /** Settings come into force one after the other. */
  #applying: Promise<unknown> = Promise.resolve();

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.log = createLog(options.log);
    this.#intakeEvents = intakeEvents(this.log, this.#metrics);
    const signingEvents = dkimEvents(this.log, this.#metrics);
    this.#signer = new DkimSigner({ clock: systemClock, events: signingEvents });
    const { queueLinked, queueGone } = receiverEvents(this.log);
    this.#link = new LinkClient({
      path: options.path,
      hello: { pid: process.pid, supervisor: options.supervisor },
      queue: this.#queue,
      answer: (request) => this.#answer(request as DoorRequest),
      up: () => {
        queueLinked();
        this.#intakeEvents.queueIsBack();
      },
      down: queueGone,
      sentAway: (reason) => this.#failed.resolve(new SentAwayError(reason)),
    });
  }

  /** Resolves when the listeners cannot be opened, or the owner wants none of us, with why. */
  get failed(): Promise<Error> {
    return this.#failed.promise;
  }

  /** Resolves when the listeners are open. */
  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  /** It had listeners open. */
  get wasOpen(): boolean {
    return this.#door !== undefined;
  }

  /** Refuse new connections, let messages in transit finish for at most `graceMs`, end the link. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    await this.#applying.catch(() => {});
    await this.#door?.close(graceMs);
    this.#link.close();
    await this.#traces?.close();
  }

  async #answer(request: DoorRequest): Promise<unknown> {
    switch (request.kind) {
      case 'settings': {
        const applied = this.#applying.then(() => this.#apply(request.settings));
        this.#applying = applied;
        return applied;
      }
      case 'facts':
        return this.#facts();
      case 'metrics':
        this.#metrics.logLinesLost.set(this.log.lostLines());
        this.#gauges.set();
        return collectMetrics(this.#metrics);
    }
  }

  async #facts(): Promise<DoorFacts> {
    const facts = await this.#door?.facts();
    return { listeners: facts?.listeners ?? [], troubles: this.log.recentTroubles() };
  }

  /** Never rejects. */
  async #apply(settings: DoorSettings): Promise<SettingsAnswer> {
    try {
      if (this.#stopping) throw new Error('the receiving role is about to end');
      if (this.#door) await this.#door.update(settings);
      else this.#door = await this.#open(settings);
      this.#opened.resolve();
      this.log.setLevel(settings.log.level);
      return { ok: true, certificate: this.#door.certificate };
    } catch (error) {
      if (!this.#door) this.#failed.resolve(error as Error);
      return { ok: false, problem: (error as Error).message };
    }
  }

  async #open(settings: DoorSettings): Promise<FrontDoor> {
    const { dataDir } = this.#options;
    const tell = (news: DoorNews) => this.#link.tell(news);
    const traces = await this.#openTraces();
    const deadline = performance.now() + PORT_WAIT_MS;
    for (;;) {
      try {
        return await FrontDoor.open({
          settings,
          dataDir,
          submit: this.#queue,
          signer: this.#signer,
          clock: systemClock,
          intakeEvents: this.#intakeEvents,
          relayEvents: relayEvents(this.log, this.#metrics),
          traces,
          certificateChanged: (certificate) => tell({ kind: 'certificate', certificate }),
        });
      } catch (error) {
        const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
        if (code !== 'EADDRINUSE' || performance.now() > deadline) throw error;
        await sleep(PORT_LOOK_MS);
      }
    }
  }

  async #openTraces(): Promise<Traces | undefined> {
    this.#traces ??= await openTraces({
      environment: process.env,
      version: VERSION,
      role: 'receive',
      events: traceEvents(this.log),
    });
    this.log.nameTraces?.((id) => this.#traces?.of(id)?.traceId);
    return this.#traces;
  }
}
