/**
 * A listener of the relay's front door on a loopback port, with a queue in memory behind it
 * that shows what became of each draft.
 */
import { setImmediate } from 'node:timers/promises';
import type { User, Users } from '../../src/intake/access.ts';
import { createIntakeLimits, type LimitSettings } from '../../src/intake/intake-limits.ts';
import {
  compileRules,
  type Listener,
  type ListenerParts,
  type ListenerSettings,
  openListener,
  type RuleSettings,
} from '../../src/intake/smtp-listener.ts';
import type { PemPair } from '../../src/intake/tls-material.ts';
import type { Envelope } from '../../src/mail/envelope.ts';
import { newMessageId } from '../../src/mail/message-id.ts';
import { type Clock, systemClock } from '../../src/platform/clock.ts';
import type { Submit } from '../../src/queue/submit-port.ts';
import type { Draft } from '../../src/spool/store.ts';
import { intakeEvents } from '../../src/telemetry/intake-events.ts';
import type { LogFields } from '../../src/telemetry/log.ts';
import { createMetrics, type Metrics } from '../../src/telemetry/metrics.ts';
import { createCa } from './ca.ts';
import { type ConnectOptions, connect, type SmtpClient } from './smtp-client.ts';
import { Chronicle } from './wait-for.ts';

/** A message in the making, and what became of it. */
export interface KeptDraft extends Draft {
  readonly chunks: Buffer[];
  state: 'open' | 'committed' | 'discarded';
  /** Its commit was asked for. */
  isComplete?: boolean;
  envelope?: Envelope;
}

export class MemoryQueue implements Submit {
  /** An entry per draft; changes of state are announced. */
  readonly drafts = new Chronicle<KeptDraft>();
  beginError: Error | undefined;
  commitError: Error | undefined;
  /** Given to the body's write instead of room. */
  writeError: Error | undefined;
  /** `begin` waits for it. */
  holdBegin: Promise<void> = Promise.resolve();
  /** Commits wait for it. */
  hold: Promise<void> = Promise.resolve();

  async begin(id = newMessageId(Date.now())) {
    await this.holdBegin;
    if (this.beginError) throw this.beginError;
    const chunks: Buffer[] = [];
    const draft: KeptDraft = {
      id,
      chunks,
      state: 'open',
      write: async (chunk) => {
        await setImmediate();
        if (this.writeError) throw this.writeError;
        chunks.push(chunk);
      },
      commit: () => Promise.reject(new Error('commit belongs to the queue')),
      discard: async () => {
        draft.state = 'discarded';
        this.drafts.changed();
      },
    };
    this.drafts.push(draft);
    return draft;
  }

  async commit(draft: Draft, envelope: Envelope): Promise<void> {
    const kept = this.drafts.entries.find(({ id }) => id === draft.id);
    if (kept) kept.isComplete = true;
    this.drafts.changed();
    await this.hold;
    if (this.commitError) throw this.commitError;
    if (kept?.state !== 'open') throw new Error('bad commit');
    kept.state = 'committed';
    kept.envelope = envelope;
    this.drafts.changed();
  }

  get states(): string[] {
    return this.drafts.entries.map(({ state }) => state);
  }

  /** The last message that was committed. */
  get last(): { envelope: Envelope; trace: string; content: string } {
    const kept = this.drafts.entries.findLast(({ state }) => state === 'committed');
    if (!kept?.envelope) throw new Error('nothing was committed');
    const text = Buffer.concat(kept.chunks).toString('latin1');
    const end = /\r\n(?![ \t])/.exec(text)?.index ?? -2;
    return { envelope: kept.envelope, trace: text.slice(0, end + 2), content: text.slice(end + 2) };
  }
}

export interface DoorOptions {
  readonly listener?: Partial<ListenerSettings>;
  readonly access?: Partial<RuleSettings['access']>;
  readonly limits?: Partial<RuleSettings['limits'] & LimitSettings>;
  readonly postmaster?: string;
  /** Name to password; every user may send as anybody unless `allowedSenders` says else. */
  readonly users?: Readonly<Record<string, string>>;
  readonly allowedSenders?: readonly string[];
  readonly verify?: Users['verify'];
  readonly clock?: Clock;
  readonly signer?: ListenerParts['signer'];
}

export interface LoggedEvent extends LogFields {
  readonly event: string;
}

let pem: Promise<PemPair> | undefined;

/** One pair for all doors of a test file. */
export function doorPem(): Promise<PemPair> {
  pem ??= createCa()
    .then((ca) => ca.issueKind('good', 'relay.example.net'))
    .then(({ certPem, keyPem }) => ({ cert: certPem, key: keyPem }));
  return pem;
}

export class FrontDoor implements AsyncDisposable {
  readonly queue: MemoryQueue;
  readonly listener: Listener;
  readonly log: Chronicle<LoggedEvent>;
  readonly metrics: Metrics;

  constructor(parts: {
    queue: MemoryQueue;
    listener: Listener;
    log: Chronicle<LoggedEvent>;
    metrics: Metrics;
  }) {
    this.queue = parts.queue;
    this.listener = parts.listener;
    this.log = parts.log;
    this.metrics = parts.metrics;
  }

  connect(options: Partial<ConnectOptions> = {}): Promise<SmtpClient> {
    return connect({ port: this.listener.port, ...options });
  }

  /** Connected, greeted with EHLO. */
  async session(options: Partial<ConnectOptions> = {}): Promise<SmtpClient> {
    const client = await this.connect(options);
    await client.send('EHLO client.example');
    return client;
  }

  /** Under STARTTLS, greeted with EHLO. */
  async secureSession(options: Partial<ConnectOptions> = {}): Promise<SmtpClient> {
    const client = await this.session(options);
    await client.starttls();
    await client.send('EHLO client.example');
    return client;
  }

  events(name: string): LoggedEvent[] {
    return this.log.entries.filter(({ event }) => event === name);
  }

  /** How many were refused for this reason. */
  async refusals(reason: string): Promise<number> {
    const { values } = await this.metrics.refusals.get();
    return values.find(({ labels }) => labels.reason === reason)?.value ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.listener.close(0);
  }
}

export const DOOR_LIMITS = {
  messageSize: 1_000_000,
  recipientsPerMessage: 1000,
  connections: 1000,
  connectionsPerClient: 1000,
  receivedHops: 100,
};

/** Open a door that trusts loopback and knows no users, unless told otherwise. */
export async function openDoor(options: DoorOptions = {}): Promise<FrontDoor> {
  const clock = options.clock ?? systemClock;
  const log = new Chronicle<LoggedEvent>();
  const write = (_level: unknown, event: string, fields: LogFields = {}) =>
    log.push({ event, ...fields });
  const metrics = createMetrics();
  const events = intakeEvents(
    { write, setLevel: () => {}, recentTroubles: () => [], lostLines: () => 0 },
    metrics,
  );
  const limitSettings = { ...DOOR_LIMITS, ...options.limits };
  const queue = new MemoryQueue();
  const listener = await openListener({
    listener: {
      address: '127.0.0.1',
      port: 0,
      tls: 'starttls',
      auth: 'optional',
      ...options.listener,
    },
    rules: compileRules({
      hostname: 'relay.example.net',
      postmaster: options.postmaster ?? '',
      access: { trustedNetworks: ['127.0.0.0/8'], allowedSenderDomains: [], ...options.access },
      limits: limitSettings,
    }),
    limits: createIntakeLimits({
      settings: limitSettings,
      clock,
      connectionsOpen: events.connectionsOpen,
    }),
    users: { verify: options.verify ?? ((name, password) => verify(options, name, password)) },
    pem: await doorPem(),
    submit: queue,
    signer: options.signer,
    events,
    clock,
  });
  return new FrontDoor({ queue, listener, log, metrics });
}

async function verify(
  options: DoorOptions,
  name: string,
  password: string,
): Promise<User | undefined> {
  const known = options.users?.[name];
  if (known === undefined || known !== password) return undefined;
  return { name, allowedSenders: options.allowedSenders ?? ['*'] };
}

/** The argument of AUTH PLAIN. */
export function plain(user: string, password: string, authzid = ''): string {
  return Buffer.from(`${authzid}\0${user}\0${password}`).toString('base64');
}
