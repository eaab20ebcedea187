/**
 * A sender in this process: the relay's own way out (outside.ts, outbound.ts), pipeline, settling,
 * policy store, refresher and events, on a clock that tests move, in a pretend internet. What
 * is left away is the front door, the queue, the disk of the spool and the process: `send`
 * takes a message and makes the first attempt, `attempt` the next one.
 *
 * Each message has a connection of its own, so that what a host does is seen by the next one, unless a
 * test says otherwise (`destinations`).
 *
 * DNS answers live for no time unless a test says otherwise, so that what is changed in DNS is
 * seen at the next attempt. Time outside (sockets, TLS, SMTP) is real.
 */
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { settingsFrom } from '../../src/config/load.ts';
import type { Settings, SettingsInput } from '../../src/config/settings.ts';
import { sessionsHere } from '../../src/delivery/sessions.ts';
import type { Envelope } from '../../src/mail/envelope.ts';
import { type MessageId, newMessageId } from '../../src/mail/message-id.ts';
import type { Outcome } from '../../src/mail/outcome.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import { createOutbound, destinationOf, type Outbound } from '../../src/outbound.ts';
import { type AttemptOutcomes, policyToCheck, settle } from '../../src/outcome/settle.ts';
import { attemptDelivery, type Stages } from '../../src/pipeline.ts';
import type { RedisClient } from '../../src/platform/redis.ts';
import { DowngradeDetector } from '../../src/policy/downgrade-detector.ts';
import { checkPolicy } from '../../src/policy/last-check.ts';
import { StsRefresher } from '../../src/policy/sts-refresher.ts';
import { StsStore } from '../../src/policy/sts-store.ts';
import { TlsMemory } from '../../src/policy/tls-memory.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import type { AttemptRecord } from '../../src/spool/message-state.ts';
import { createLog, type Log } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { outcomeEvents } from '../../src/telemetry/outcome-events.ts';
import { policyEvents } from '../../src/telemetry/policy-events.ts';
import { MapRedis } from '../unit/policy-parts.ts';
import { store as storeMessage } from '../unit/sample-mail.ts';
import type { DnsServer } from './dns-server.ts';
import { FakeClock } from './fake-clock.ts';
import { MemorySpool } from './memory-spool.ts';
import type { MxHost, ReceivedMessage } from './mx-host.ts';
import {
  type DomainDescription,
  type PretendDomain,
  type PretendInternet,
  startPretendInternet,
} from './pretend-internet.ts';
import { type TempDir, tempDir } from './temp-dir.ts';
import { Chronicle } from './wait-for.ts';

/** A line of the relay's log. */
export type LogLine = Readonly<Record<string, unknown>> & {
  readonly level: string;
  readonly event: string;
};

/** What one attempt came to. */
export interface Sent {
  readonly id: MessageId;
  readonly outcome: Outcome;
  /** As the spool keeps it: bounced at the end of the lifetime, and the next attempt. */
  readonly record: AttemptRecord;
  /** Sessions and skipped candidates, in order. */
  readonly sessions: readonly SessionResult[];
  /** What MX hosts accepted of this message so far. */
  readonly messages: readonly ReceivedMessage[];
  /** What was logged meanwhile. */
  readonly events: readonly LogLine[];
}

/** Of two milliseconds each, without a question: the sender waits for something. */
const IDLE_TURNS = 100;

export interface SenderOptions {
  /** Besides those that make it use the pretend internet. */
  readonly settings?: Pick<SettingsInput, 'hostname' | 'overrides' | 'routes' | 'destinations'>;
  /** `security.default`. */
  readonly defaultLevel?: Settings['security']['default'];
  readonly clock?: FakeClock;
  /** Where policies are kept; a new place when absent. */
  readonly dir?: TempDir;
}

interface SenderParts {
  readonly dns: DnsServer;
  /** Everybody who may have got a message. */
  readonly hosts: ReadonlySet<MxHost>;
  readonly settings: Settings;
  readonly clock: FakeClock;
  readonly dir: TempDir;
}

export class Sender implements AsyncDisposable {
  readonly clock: FakeClock;
  readonly settings: Settings;
  readonly dir: TempDir;
  /** Every line of the log, those of level debug too. */
  readonly log = new Chronicle<LogLine>();
  readonly policies: StsStore;
  /** Refreshes policies in the background once a test starts it. */
  readonly refresher: StsRefresher;
  readonly #parts: SenderParts;
  readonly #metrics = createMetrics();
  readonly #outbound: Outbound;
  readonly #ownStages: Omit<Stages, keyof Outbound | 'settle' | 'onSession'>;
  readonly #settle: Stages['settle'];
  readonly #onSession: Stages['onSession'];
  readonly #spool = new MemorySpool();

  private constructor(parts: SenderParts, kept: { store: StsStore; memory: TlsMemory; log: Log }) {
    const { clock, settings } = parts;
    this.clock = clock;
    this.settings = settings;
    this.dir = parts.dir;
    this.#parts = parts;
    this.policies = kept.store;
    const events = policyEvents(kept.log, this.#metrics);
    const outcome = outcomeEvents(kept.log, this.#metrics);
    const detector = new DowngradeDetector({ ...kept, clock, events });
    this.#outbound = createOutbound({
      settings,
      clock,
      policies: kept.store,
      detector,
      policyEvents: events,
      addedOverrides: () => [],
      sessions: sessionsHere({ clock, onConnection: outcome.connection }),
      loginEvents: outcome,
    });
    const { refreshPolicy } = this.#outbound;
    const { enabled, refreshEvery, forgetUnusedAfter, fetchTimeout } = settings.security.mtaSts;
    this.refresher = new StsRefresher({
      store: kept.store,
      refresh: (domain, signal) => refreshPolicy(domain, 'background', signal),
      settings: () => ({
        enabled,
        refreshEveryMs: refreshEvery,
        forgetUnusedAfterMs: forgetUnusedAfter,
        fetchTimeoutMs: fetchTimeout,
      }),
      clock,
      events,
    });
    const spool = this.#spool;
    const retry = () => settings.retry;
    this.#ownStages = {
      spool,
      destinationOf,
      policyToCheck: (attempt) => policyToCheck(attempt, { clock, retry }),
      recheckPolicy: (used, signal) => {
        const refresh = (name: DomainName, ending: AbortSignal) =>
          refreshPolicy(name, 'last-attempt', ending);
        return checkPolicy(used, { refresh, events }, signal);
      },
      isExpired: () => false,
      finish: async () => {},
      onFirstAttempt: () => {},
      hasRoomFor: () => true,
      onSessions: () => {},
    };
    this.#settle = (made) => settle(made, { spool, clock, retry, events: outcome });
    this.#onSession = ({ id }, route, result) => {
      outcome.session(id, result);
      detector.session(route.destination, result);
    };
  }

  /** @NOTE call SenderWorld.sender instead. */
  static async open(parts: SenderParts): Promise<Sender> {
    const { clock, dir } = parts;
    const lines: LogLine[] = [];
    let keep = (line: LogLine): unknown => lines.push(line);
    const destination = { write: (text: string) => void keep(JSON.parse(text) as LogLine) };
    const log = createLog({ level: 'debug', format: 'json', destination });
    // Empty, as one that was flushed: what outlives a sender is on disk.
    const redis = new MapRedis() as unknown as RedisClient;
    const events = policyEvents(log, createMetrics());
    const store = await StsStore.open({
      directory: dir.file('policies'),
      redis,
      keyPrefix: 'test',
      clock,
      events,
    });
    const onError = (error: Error) => events.cacheError('disk', error);
    const memory = await TlsMemory.open({ file: dir.file('tls-seen.json'), clock, onError });
    const sender = new Sender(parts, { store, memory, log });
    keep = (line) => sender.log.push(line);
    for (const line of lines) keep(line);
    return sender;
  }

  /** Take a message for one recipient and attempt to deliver it; `said` is what MAIL or its header say besides. */
  async send(recipient: string, said: Partial<Envelope> = {}): Promise<Sent> {
    const id = newMessageId(this.clock.now());
    const envelope = {
      id,
      reversePath: 'ann@sender.example',
      recipients: [{ address: recipient }],
      receivedAtMs: this.clock.now(),
      eightBitMime: false,
      smtpUtf8: false,
      ...said,
    };
    await storeMessage(this.#spool, envelope, `Message-ID: <${id}>\r\n\r\nhello\r\n`);
    return this.attempt(id);
  }

  /** Attempt again what is in the spool. */
  async attempt(id: MessageId): Promise<Sent> {
    const recipient = (await this.#spool.read(id))?.envelope.recipients[0]?.address ?? '';
    const destination = destinationOf(recipient);
    if (destination === undefined) throw new Error(`${recipient} leads nowhere`);
    const linesBefore = this.log.entries.length;
    const sessions: SessionResult[] = [];
    let settled: { made: AttemptOutcomes; record: AttemptRecord } | undefined;
    const stages: Stages = {
      ...this.#ownStages,
      ...this.#outbound,
      settle: async (made) => {
        const record = await this.#settle(made);
        settled = { made, record };
        return record;
      },
      onSession: (of, to, result) => {
        sessions.push(result);
        this.#onSession(of, to, result);
      },
    };
    const delivery = { id, destination, nextAttemptMs: 0 };
    await attemptDelivery(delivery, stages, new AbortController().signal);
    const outcome = settled?.made.outcomes.get(0);
    if (!settled || !outcome) throw new Error('the attempt was not settled');
    const { record } = settled;
    const messages = this.#messagesOf(id);
    return { id, outcome, record, sessions, messages, events: this.log.entries.slice(linesBefore) };
  }

  /** The log lines of one event so far. */
  logged(event: string): readonly LogLine[] {
    return this.log.entries.filter((line) => line.event === event);
  }

  /** The value of a metric, without `stsrelay_`; 0 when nothing was counted under these labels. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const family = await this.#metrics.registry.getSingleMetric(`stsrelay_${name}`)?.get();
    if (!family) throw new Error(`there is no metric ${name}`);
    const wanted = Object.entries(labels);
    const found = family.values.find((one) =>
      wanted.every(([key, value]) => (one.labels as Record<string, unknown>)[key] === value),
    );
    return found?.value ?? 0;
  }

  /**
   * Let the sender lose its patience with DNS: the clock runs whenever it has asked for `name`, to
   * which there is no good answer, or has done nothing for a while, until `work` is done.
   */
  async outlast<T>(name: string, work: Promise<T>): Promise<T> {
    const { dns } = this.#parts;
    let isDone = false;
    const done = () => {
      isDone = true;
    };
    work.then(done, done);
    while (!isDone) {
      const asked = dns.queriesFor(name).length;
      // Turns, not time: a machine that stands still lets nobody act meanwhile.
      for (let turns = 0; !isDone && turns < IDLE_TURNS; turns += 1) {
        if (dns.queriesFor(name).length !== asked) break;
        await sleep(2);
      }
      // The longest that one server has for one answer.
      if (!isDone) this.clock.advance(5000);
    }
    return work;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.refresher.stop();
    await this.#outbound.close();
    this.dir.remove();
  }

  #messagesOf(id: MessageId): readonly ReceivedMessage[] {
    return [...this.#parts.hosts].flatMap((host) =>
      host.messages.filter(({ data }) => data.includes(`<${id}>`)),
    );
  }
}

/** One pretend internet for all tests of a file, made when it is first needed, and senders in it. */
export class SenderWorld {
  readonly #hosts = new Set<MxHost>();
  #starting: Promise<PretendInternet> | undefined;
  #internet: PretendInternet | undefined;

  /** There once a domain or a sender was made. */
  get internet(): PretendInternet {
    if (!this.#internet) throw new Error('neither a domain nor a sender was made yet');
    return this.#internet;
  }

  /** A new domain; its DNS answers may not be cached. */
  async domain(name: string, description: DomainDescription = {}): Promise<PretendDomain> {
    const internet = await this.#start();
    const made = await internet.domain(name, { ttl: 0, ...description });
    for (const host of made.mx) this.#hosts.add(host);
    return made;
  }

  /** A sender with nothing in its caches, unless it is given another one's `dir`. */
  async sender(options: SenderOptions = {}): Promise<Sender> {
    const { clock = new FakeClock(), dir = tempDir(), defaultLevel = 'opportunistic' } = options;
    const internet = await this.#start();
    const relay = internet.relaySettings();
    const settings = settingsFrom({
      hostname: 'relay.sender.example',
      destinations: { default: { messagesPerConnection: 1 } },
      ...relay,
      security: { ...relay.security, default: defaultLevel },
      ...options.settings,
    });
    const { dns } = internet;
    return Sender.open({ dns, hosts: this.#hosts, settings, clock, dir });
  }

  async close(): Promise<void> {
    await (await this.#starting)?.close();
  }

  async #start(): Promise<PretendInternet> {
    this.#starting ??= startPretendInternet();
    this.#internet = await this.#starting;
    this.#internet.dns.negativeTtl = 0;
    return this.#internet;
  }
}

/** The world of a test file; closed when its tests are through. */
export function senderWorld(): SenderWorld {
  const world = new SenderWorld();
  after(() => world.close());
  return world;
}
