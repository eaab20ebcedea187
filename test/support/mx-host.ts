/**
 * A scripted MX host on a loopback address, over raw sockets so that it can misbehave in every
 * way. Records each session and each message octet for octet; what it does is in mx-script.ts,
 * and can be changed while it runs.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { MxBehaviour, MxSessionRecord, ReceivedMessage } from './mx-script.ts';
import { runMxSession } from './mx-session.ts';
import { Chronicle } from './wait-for.ts';

export type { MxBehaviour, MxCommand, MxSessionRecord, ReceivedMessage } from './mx-script.ts';

export interface MxHostOptions extends MxBehaviour {
  /** In banner and EHLO. */
  readonly name: string;
  /** Default 127.0.0.1. */
  readonly address?: string;
  /** Default 0: any. */
  readonly port?: number;
}

export class MxHost implements AsyncDisposable {
  readonly name: string;
  readonly address: string;
  #port: number;
  #behaviour: MxBehaviour;
  #context: SecureContext | undefined;
  #listener: Server | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Chronicle<MxSessionRecord>();
  readonly #received = new Chronicle<ReceivedMessage>();

  constructor(options: MxHostOptions) {
    const { name, address, port, ...behaviour } = options;
    this.name = name;
    this.address = address ?? '127.0.0.1';
    this.#port = port ?? 0;
    this.#behaviour = behaviour;
  }

  get port(): number {
    return this.#port;
  }
  /** Every connection, in the order they came. */
  get sessions(): readonly MxSessionRecord[] {
    return this.#sessions.entries;
  }
  /** Messages answered with a 2xx. */
  get messages(): readonly ReceivedMessage[] {
    return this.#received.entries.filter((message) => message.reply?.startsWith('2') === true);
  }
  /** Every message whose final dot came, whatever the answer. */
  get received(): readonly ReceivedMessage[] {
    return this.#received.entries;
  }
  /** Connections open now. */
  get connectionsOpen(): number {
    return this.#sockets.size;
  }

  /** Change some of what it does, from the next command on. */
  change(behaviour: MxBehaviour): void {
    this.#behaviour = { ...this.#behaviour, ...behaviour };
    this.#context = undefined;
  }

  /** Wait until `count` messages were answered with a 2xx. */
  waitForMessages(count: number, timeoutMs?: number): Promise<readonly ReceivedMessage[]> {
    return this.#received.until(
      `${count} messages at ${this.name}`,
      () => (this.messages.length >= count ? this.messages : undefined),
      timeoutMs,
    );
  }

  /** Wait until `probe` gives something; looked at whenever a session changes. */
  waitUntil<R>(
    what: string,
    probe: (sessions: readonly MxSessionRecord[]) => R | undefined,
    timeoutMs?: number,
  ): Promise<R> {
    return this.#sessions.until(`${what} at ${this.name}`, probe, timeoutMs);
  }

  /** Wait until `count` sessions have ended. */
  waitForSessions(count: number, timeoutMs?: number): Promise<readonly MxSessionRecord[]> {
    return this.waitUntil(
      `${count} sessions ended`,
      (sessions) => {
        const ended = sessions.filter((session) => session.ended);
        return ended.length >= count ? ended : undefined;
      },
      timeoutMs,
    );
  }

  /** Open the listener, on the same port as before if there was one. */
  async start(): Promise<void> {
    if (this.#listener !== undefined) return;
    const listener = createServer({ allowHalfOpen: false }, (socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject);
      listener.listen({ host: this.address, port: this.#port, exclusive: true }, resolve);
    });
    const bound = listener.address();
    if (bound !== null && typeof bound === 'object') this.#port = bound.port;
    this.#listener = listener;
  }

  /** Connections are refused until the next start; open ones are cut. */
  async stop(): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    this.cut();
    if (listener !== undefined)
      await new Promise<void>((resolve) => listener.close(() => resolve()));
  }

  /** Cut all open connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Write something nobody asked for on all open connections; those in clear text understand it. */
  say(text: string): void {
    for (const socket of this.#sockets) socket.write(text);
  }

  async close(): Promise<void> {
    await this.stop();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    const record: MxSessionRecord = {
      number: this.sessions.length + 1,
      remoteAddress: socket.remoteAddress ?? '',
      remotePort: socket.remotePort ?? 0,
      helo: undefined,
      tls: undefined,
      tlsError: undefined,
      authenticatedAs: undefined,
      commands: [],
      replies: [],
      messages: [],
      violations: [],
      octets: { clear: 0, encrypted: 0, contentClear: 0, contentEncrypted: 0 },
      ended: false,
    };
    socket.on('error', () => {});
    socket.setNoDelay(true);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      record.ended = true;
      this.#sessions.changed();
    });
    this.#sessions.push(record);
    void runMxSession({
      socket,
      hostName: this.name,
      record,
      behaviour: () => this.#behaviour,
      secureContext: () => this.#secureContext(),
      changed: () => {
        this.#sessions.changed();
        this.#received.changed();
      },
      received: (message) => this.#received.push(message),
    });
  }

  /** One context for all connections, so that clients can resume their TLS sessions. */
  #secureContext(): SecureContext | undefined {
    const { certificate, minTls, maxTls, ciphers } = this.#behaviour;
    if (certificate === undefined) return undefined;
    const old = [minTls, maxTls].some((version) => version === 'TLSv1' || version === 'TLSv1.1');
    this.#context ??= createSecureContext({
      cert: certificate.certPem,
      key: certificate.keyPem,
      minVersion: minTls ?? (maxTls === 'TLSv1' || maxTls === 'TLSv1.1' ? maxTls : 'TLSv1.2'),
      maxVersion: maxTls ?? 'TLSv1.3',
      ...(ciphers !== undefined ? { ciphers } : old ? { ciphers: 'DEFAULT@SECLEVEL=0' } : {}),
    });
    return this.#context;
  }
}

/** Start one. */
export async function startMxHost(options: MxHostOptions): Promise<MxHost> {
  const host = new MxHost(options);
  await host.start();
  return host;
}
