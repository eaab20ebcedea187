/**
 * Composition of the way in when its listeners are open in another process, the receiving role:
 * the owner's end of the link, settings that go over, facts and metrics that come back. Built
 * by relay.ts.
 *
 * The receiving role gets the settings when it connects and at each reload, and says when they
 * are in force or why they cannot be. Without it mail is delivered and none is taken.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Door,
  type DoorFacts,
  type DoorNews,
  type DoorRequest,
  type DoorSettings,
  pickDoorSettings,
  type SettingsAnswer,
} from './door.ts';
import type { PemPair } from './intake/tls-material.ts';
import { LinkHost } from './link/link-host.ts';
import { NoAnswerError } from './link/peer.ts';
import type { Clock } from './platform/clock.ts';
import type { Submit } from './queue/submit-port.ts';
import type { MetricFacts } from './telemetry/merge-metrics.ts';
import type { OwnerEvents } from './telemetry/role-events.ts';

export interface RemoteDoorParts {
  readonly settings: DoorSettings;
  /** Of the socket; short enough for one. */
  readonly path: string;
  readonly submit: Submit;
  readonly clock: Clock;
  /** Process id of the supervisor, which starts and ends both roles together; 0 without one. */
  readonly supervisor: number;
  readonly events: OwnerEvents;
  readonly certificateChanged: (pem: PemPair) => void;
}

/** For listeners to open, and a users file to be read. */
const SETTINGS_MS = 60_000;
/** A role that is alive answers sooner; who asks is waiting. */
const FACTS_MS = 1000;
/** What a receiving role may need on top of the grace. */
const END_MS = 2000;

export class RemoteDoor implements Door {
  readonly #parts: RemoteDoorParts;
  readonly #first = Promise.withResolvers<void>();
  #host: LinkHost | undefined;
  #settings: DoorSettings;
  #certificate: PemPair | undefined;
  #lastMetrics: readonly MetricFacts[] | undefined;
  #closing = false;

  private constructor(parts: RemoteDoorParts) {
    this.#parts = parts;
    this.#settings = pickDoorSettings(parts.settings);
    this.#first.promise.catch(() => {}); // only some wait for it
  }

  /** Wait for a receiving role from now on. Rejects with the system's error. */
  static async open(parts: RemoteDoorParts): Promise<RemoteDoor> {
    const door = new RemoteDoor(parts);
    const { path, submit, clock, supervisor } = parts;
    door.#host = await LinkHost.open({
      path,
      submit,
      clock,
      supervisor,
      up: (pid) => void door.#linked(pid),
      down: (pid, reason) => door.#gone(pid, reason),
      told: (news) => door.#told(news as DoorNews),
    });
    return door;
  }

  /** Until the first receiving role has opened its listeners. Rejects with why it cannot. */
  async untilOpen(): Promise<void> {
    const late = sleep(SETTINGS_MS, 'late' as const, { ref: false });
    if ((await Promise.race([this.#first.promise, late])) === 'late') {
      throw new Error('the receiving role does not answer');
    }
  }

  get certificate(): PemPair | undefined {
    return this.#certificate;
  }

  async update(settings: DoorSettings): Promise<void> {
    const before = this.#settings;
    this.#settings = pickDoorSettings(settings);
    const problem = await this.#push();
    if (problem === undefined) return;
    this.#settings = before;
    throw new Error(problem);
  }

  async facts(): Promise<DoorFacts> {
    return (await this.#ask({ kind: 'facts' }, FACTS_MS)) as DoorFacts;
  }

  /** The last known ones of a role that is slow: numbers that vanish look like a restart. */
  async metrics(): Promise<readonly MetricFacts[] | undefined> {
    try {
      this.#lastMetrics = (await this.#ask({ kind: 'metrics' }, FACTS_MS)) as MetricFacts[];
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
    }
    return this.#lastMetrics;
  }

  /** Under a supervisor the receiving role ends as well, and is waited for. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    const host = this.#host;
    if (!host) return;
    const isAlone = this.#parts.supervisor === 0;
    const ended = isAlone ? host.drain() : host.untilGone();
    const waitMs = isAlone || graceMs === 0 ? graceMs : graceMs + END_MS;
    await Promise.race([ended, sleep(waitMs, undefined, { ref: false })]);
    await host.close();
  }

  async #linked(pid: number): Promise<void> {
    this.#parts.events.receiverLinked(pid);
    const problem = await this.#push();
    if (problem === undefined) {
      if (this.#host?.isLinked) this.#first.resolve();
      return;
    }
    this.#first.reject(new Error(problem));
    this.#parts.events.receiverRefused(problem);
  }

  #gone(pid: number, reason: string): void {
    this.#lastMetrics = undefined;
    if (!this.#closing) this.#parts.events.receiverGone(pid, reason);
  }

  /** Have the settings put into force; why they cannot be. Without a receiving role they can. */
  async #push(): Promise<string | undefined> {
    const request: DoorRequest = { kind: 'settings', settings: this.#settings };
    try {
      const answer = (await this.#ask(request, SETTINGS_MS)) as SettingsAnswer;
      if (!answer.ok) return answer.problem;
      if (answer.certificate) this.#newCertificate(answer.certificate);
      return undefined;
    } catch (error) {
      // One that went away meanwhile gets them when it is back.
      return this.#host?.isLinked ? (error as Error).message : undefined;
    }
  }

  async #ask(request: DoorRequest, timeoutMs: number): Promise<unknown> {
    if (!this.#host) throw new NoAnswerError('the link is not open yet');
    return this.#host.request(request, timeoutMs);
  }

  #told(news: DoorNews): void {
    if (news.kind === 'certificate') this.#newCertificate(news.certificate);
  }

  #newCertificate(pem: PemPair): void {
    const isNew = this.#certificate?.cert !== pem.cert || this.#certificate.key !== pem.key;
    this.#certificate = pem;
    if (isNew) this.#parts.certificateChanged(pem);
  }
}
