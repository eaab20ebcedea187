/**
 * Composition of the way in: the listeners with their certificate, users and limits. Built by
 * relay.ts, or in a process of its own by receive.ts. On a reload, listeners that stay keep their connections; those that are new are
 * opened, those that are gone are closed once their sessions are through.
 */
import type { DkimSigner } from './dkim/signer.ts';
import type { Door, DoorFacts, DoorSettings } from './door.ts';
import type { Users } from './intake/access.ts';
import { createIntakeLimits, type IntakeLimits } from './intake/intake-limits.ts';
import {
  compileRules,
  type Listener,
  type ListenerSettings,
  openListener,
} from './intake/smtp-listener.ts';
import { openTlsMaterial, type PemPair, type TlsMaterial } from './intake/tls-material.ts';
import { createUsers } from './intake/users.ts';
import type { Clock } from './platform/clock.ts';
import type { Submit } from './queue/submit-port.ts';
import type { IntakeEvents } from './telemetry/intake-events.ts';
import type { RelayEvents } from './telemetry/relay-events.ts';
import type { Traces } from './telemetry/traces/open-traces.ts';

export interface FrontDoorParts {
  readonly settings: DoorSettings;
  /** Absolute. */
  readonly dataDir: string;
  readonly submit: Submit;
  /** Told of the `dkim` section in force. */
  readonly signer: DkimSigner;
  readonly clock: Clock;
  readonly intakeEvents: IntakeEvents;
  readonly relayEvents: RelayEvents;
  readonly traces: Traces | undefined;
  /** For whoever else uses the listeners' certificate. */
  readonly certificateChanged: (pem: PemPair) => void;
}

/** How long a listener that a reload took away waits for its sessions. */
const CLOSE_REMOVED_MS = 30_000;

export class FrontDoor implements Door {
  readonly #parts: FrontDoorParts;
  readonly #limits: IntakeLimits;
  readonly #listeners = new Map<string, { settings: ListenerSettings; listener: Listener }>();
  #tls: TlsMaterial | undefined;
  #users: Users | undefined;
  #settings: DoorSettings;

  private constructor(parts: FrontDoorParts) {
    this.#parts = parts;
    this.#settings = parts.settings;
    this.#limits = createIntakeLimits({
      settings: parts.settings.limits,
      clock: parts.clock,
      connectionsOpen: parts.intakeEvents.connectionsOpen,
    });
  }

  /** Open every listener. Rejects (with none left open) when one cannot be opened. */
  static async open(parts: FrontDoorParts): Promise<FrontDoor> {
    const door = new FrontDoor(parts);
    parts.signer.use(parts.settings.dkim);
    try {
      door.#users = await door.#openUsers(parts.settings);
      door.#tls = await door.#openTls(parts.settings);
      for (const listener of parts.settings.listeners) {
        await door.#open(listener, parts.settings, door.#tls);
      }
      // Not before: while a port is somebody else's this is tried again and again.
      if (door.#tls.warning) parts.relayEvents.warning(door.#tls.warning);
      return door;
    } catch (error) {
      await door.close(0);
      throw error;
    }
  }

  /** Put changed settings into force. Rejects, with everything as it was, when they cannot be. */
  async update(settings: DoorSettings): Promise<void> {
    const users = await this.#openUsers(settings);
    const tls = sameFiles(this.#settings, settings) ? this.#tls : await this.#openTls(settings);
    const held = new Set([...this.#listeners.values()].map((open) => placeOf(open.settings)));
    const elsewhere = settings.listeners.filter((listener) => !held.has(placeOf(listener)));
    try {
      // All that can fail comes before anything is changed.
      for (const listener of elsewhere) await this.#open(listener, settings, tls);
    } catch (error) {
      for (const listener of elsewhere) this.#closeRemoved(keyOf(listener));
      if (tls !== this.#tls) tls?.close();
      throw error;
    }
    this.#settings = settings;
    this.#users = users;
    this.#parts.signer.use(settings.dkim);
    if (tls !== this.#tls) {
      this.#tls?.close();
      this.#tls = tls;
      this.#newCertificate();
    }
    this.#limits.update(settings.limits);
    const wanted = new Map(settings.listeners.map((listener) => [keyOf(listener), listener]));
    for (const [key, { listener }] of this.#listeners) {
      if (wanted.has(key)) listener.update(compileRules(settings));
      else this.#closeRemoved(key);
    }
    for (const [key, listener] of wanted) {
      if (!this.#listeners.has(key)) await this.#open(listener, settings, tls);
    }
  }

  /** Close a listener once its sessions are through. */
  #closeRemoved(key: string): void {
    void this.#listeners.get(key)?.listener.close(CLOSE_REMOVED_MS);
    this.#listeners.delete(key);
  }

  /** Refuse new connections; wait at most `graceMs` for messages in transit. */
  async close(graceMs: number): Promise<void> {
    this.#tls?.close();
    const closing = [...this.#listeners.values()].map(({ listener }) => listener.close(graceMs));
    this.#listeners.clear();
    await Promise.all(closing);
  }

  async facts(): Promise<DoorFacts> {
    const listeners = [...this.#listeners.values()].map(
      ({ settings: { tls, auth }, listener }) => ({
        address: listener.address,
        port: listener.port,
        tls,
        auth,
        connections: listener.connections(),
      }),
    );
    return { listeners, troubles: [] };
  }

  async metrics(): Promise<undefined> {
    return undefined;
  }

  /** Certificate and key in use, for HTTPS of our own. */
  get certificate(): PemPair | undefined {
    return this.#tls?.current();
  }

  async #open(
    listener: ListenerSettings,
    settings: DoorSettings,
    tls: TlsMaterial | undefined,
  ): Promise<void> {
    const { submit, signer, clock, intakeEvents, traces } = this.#parts;
    const place = `${listener.address}:${listener.port}`;
    const opened = await openListener({
      listener,
      rules: compileRules(settings),
      pem: listener.tls === 'none' ? undefined : tls?.current(),
      limits: this.#limits,
      users: { verify: async (name, password) => this.#users?.verify(name, password) },
      submit,
      signer,
      clock,
      traces,
      events: intakeEvents,
    }).catch((error: Error) => {
      throw new Error(`cannot listen on ${place} (listeners): ${error.message}`, { cause: error });
    });
    this.#listeners.set(keyOf(listener), { settings: listener, listener: opened });
  }

  async #openUsers(settings: DoorSettings): Promise<Users> {
    const users = createUsers({
      file: settings.access.usersFile,
      problem: this.#parts.relayEvents.warning,
    });
    await users.refresh();
    return users;
  }

  #openTls(settings: DoorSettings): Promise<TlsMaterial> {
    const { dataDir, clock, relayEvents } = this.#parts;
    return openTlsMaterial({
      files: settings.tls,
      dataDir,
      hostname: settings.hostname,
      clock,
      changed: () => this.#newCertificate(),
      failed: (reason) => relayEvents.warning(reason),
    });
  }

  #newCertificate(): void {
    const pem = this.#tls?.current();
    if (!pem) return;
    for (const { listener } of this.#listeners.values()) listener.updateTls(pem);
    this.#parts.certificateChanged(pem);
  }
}

function keyOf({ address, port, tls, auth, proxyProtocol }: ListenerSettings): string {
  return `${address} ${port} ${tls} ${auth} ${proxyProtocol?.join() ?? ''}`;
}

function placeOf({ address, port }: ListenerSettings): string {
  return `${address} ${port}`;
}

function sameFiles(a: DoorSettings, b: DoorSettings): boolean {
  return a.tls.certFile === b.tls.certFile && a.tls.keyFile === b.tls.keyFile;
}
