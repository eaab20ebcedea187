/**
 * The listening side of a port: smtp-server's SMTPServer, version 3.21, with sessions of our own
 * kind, connections counted from the moment they are accepted, and a stop that lets messages
 * finish.
 *
 * Behind proxies (`listeners[].proxyProtocol`) it takes connections from these alone, and
 * nothing is said to one, nor a TLS handshake begun, before its PROXY header is there. From then on the client is the
 * one that the header names. smtp-server's own reading of it does version 1 only, laxly.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import {
  SMTPServer,
  type SMTPServerAddress,
  type SMTPServerAuthentication,
  type SMTPServerOptions,
  type SMTPServerSession,
} from 'smtp-server';
import type { SMTPConnectionOptions } from 'smtp-server/lib/smtp-connection.js';
import type { SessionParts } from './client-dialog.ts';
import type { ProxiedTicket, Ticket } from './connection-count.ts';
import type { Networks } from './networks.ts';
import { type GreetingEnd, readProxyGreeting } from './proxy-greeting.ts';
import { REFUSALS } from './replies.ts';
import { SmtpSession } from './smtp-session.ts';

/** What a door is handed, besides what it hands on to its sessions. */
export interface DoorParts extends SessionParts {
  /** The only ones that may connect, each with a PROXY header; undefined: clients do so themselves. */
  readonly proxies: Networks | undefined;
}

/** A connection that was accepted. */
interface Arrival {
  readonly ticket: Ticket;
  /** The same ticket, while the PROXY header is ahead. */
  readonly unnamed?: ProxiedTicket | undefined;
  /** Address of the client; of the proxy, while and where that does not say more. */
  readonly client: string;
  /** A proxy that does not say for whom it connects. */
  readonly anonymous: boolean;
}

type ProxyCallback = Parameters<SMTPServer['_handleProxy']>[1];

const HANDSHAKE_TIMEOUT_MS = 30_000;

export class SmtpDoor extends SMTPServer {
  readonly #parts: DoorParts;
  /** By accepted socket, and by the TLS socket on top of it. */
  readonly #arrivals = new WeakMap<Socket, Arrival>();
  readonly #sessions = new Map<SMTPServerSession, SmtpSession>();
  /** Messages and logins being worked on; they may outlive their connection. */
  readonly #work = new Set<Promise<void>>();
  #sessionsBegun = 0;
  #stopping = false;
  /** Called when the last session has ended. */
  #emptied: () => void = () => {};

  constructor(options: SMTPServerOptions, parts: DoorParts) {
    super(options);
    this.#parts = parts;
  }

  get sessionCount(): number {
    return this.#sessions.size + this._pendingSockets.size;
  }

  /**
   * Take no new connection, send idle clients away (421), let those that are sending a message
   * finish, for at most `graceMs`; then cut them. Resolves when the last one is gone and every
   * message has either been committed or discarded.
   */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const socket of this._pendingSockets.values()) socket.destroy();
    for (const session of this.#sessions.values()) session.drain();
    const cancel = this.#parts.clock.after(graceMs, () => {
      for (const session of this.#sessions.values()) session.abort();
    });
    await closed;
    // A TLS session ends a little later than the socket below it.
    if (this.#sessions.size > 0) await new Promise<void>((resolve) => (this.#emptied = resolve));
    cancel();
    await Promise.all(this.#work);
  }

  override _acceptSocket(socket: Socket, handshake: boolean): (() => void) | false {
    socket.on('error', () => {}); // until somebody listens who can tell the client
    const client = socket.remoteAddress ?? '';
    const { proxies, limits } = this.#parts;
    if (proxies && !this.#stopping && !proxies.has(client)) {
      this.#refuseProxy(client, 'not one of the proxies of this listener');
      socket.destroy();
      return false;
    }
    const { connections } = limits;
    const unnamed = proxies && connections.admitProxied();
    const ticket = unnamed ?? connections.admit(client);
    if (this.#stopping || ticket.verdict === 'dropped') {
      if (!this.#stopping) this.#tellDropped(client);
      ticket.release();
      socket.destroy();
      return false;
    }
    this.#arrivals.set(socket, { ticket, unnamed, client, anonymous: false });
    // Covers the time until a session holds the ticket; STARTTLS takes this listener away.
    socket.once('close', ticket.release);
    return super._acceptSocket(socket, handshake);
  }

  #tellDropped(client: string): void {
    const { reason } = REFUSALS.tooManyConnections;
    this.#parts.events.refused({ reason, client, detail: 'dropped without a reply' });
  }

  #refuseProxy(client: string, detail: string): void {
    this.#parts.events.refused({ reason: 'proxy-protocol', client, detail });
  }

  /** Whether smtp-server is to guard the socket until a session has it. */
  override _expectsProxyHeader(): boolean {
    return this.#parts.proxies !== undefined;
  }

  override _handleProxy(socket: Socket, callback: ProxyCallback): void {
    const { unnamed, client: proxy } = this.#arrivals.get(socket) ?? {};
    if (!unnamed || proxy === undefined) {
      super._handleProxy(socket, callback);
      return;
    }
    readProxyGreeting(socket, this.#parts.clock, (end) => {
      if (this.#admitGreeted(end, proxy, unnamed)) {
        const source = end.kind === 'proxied' ? end.source : undefined;
        const client = source?.address ?? proxy;
        this.#arrivals.set(socket, { ticket: unnamed, client, anonymous: !source });
        const named = source && { remoteAddress: source.address, remotePort: source.port };
        callback(null, { id: '', ...named }); // `connect` gives the id
      } else {
        socket.destroy();
        callback(new Error('no client behind the proxy'));
      }
    });
  }

  /** Whether there is a client to go on with; tells, if not. */
  #admitGreeted(end: GreetingEnd, proxy: string, ticket: ProxiedTicket): boolean {
    if (this.#stopping) return false;
    if (end.kind === 'failed') {
      if (end.reason !== undefined) this.#refuseProxy(proxy, end.reason);
      return false;
    }
    if (end.kind !== 'proxied') return true;
    ticket.nameClient(end.source.address);
    if (ticket.verdict !== 'dropped') return true;
    this.#tellDropped(end.source.address);
    return false;
  }

  override _upgrade(
    socket: Socket,
    callback: (error: Error | null, tlsSocket?: TLSSocket) => void,
  ): void {
    const cancel = this.#parts.clock.after(HANDSHAKE_TIMEOUT_MS, () => {
      this._pendingSockets.get(socket)?.destroy();
    });
    super._upgrade(socket, (error, tlsSocket) => {
      cancel();
      const arrival = this.#arrivals.get(socket);
      if (tlsSocket && arrival) this.#arrivals.set(tlsSocket, arrival);
      if (error && arrival) blame(error, arrival.client);
      callback(error, tlsSocket);
    });
  }

  override connect(socket: Socket | TLSSocket, options?: SMTPConnectionOptions | null): void {
    const arrival = this.#arrivals.get(socket);
    // A socket that is gone already would never say so again.
    if (!arrival || this.#stopping || socket.destroyed) {
      socket.destroy();
      return;
    }
    const ended = () => {
      this.#sessions.delete(session.session);
      if (this.#sessions.size === 0) this.#emptied();
    };
    const track = (work: Promise<void>) => this.#track(session, work);
    // smtp-server would draw random octets for a name that only its own log has.
    const named = { ...options, id: String(++this.#sessionsBegun) };
    const accepted = { socket, options: named, ...arrival, ended, track };
    const session = new SmtpSession(this.#parts, this, accepted);
    this.connections.add(session);
    this.#sessions.set(session.session, session);
    session.on('error', (error) => this._onError(error));
    session.init();
  }

  override onAuth(
    auth: SMTPServerAuthentication,
    session: SMTPServerSession,
    callback: Parameters<SMTPServer['onAuth']>[2],
  ): void {
    const of = this.#sessions.get(session);
    if (of) this.#track(of, of.login(auth, callback));
  }

  override onMailFrom(
    _address: SMTPServerAddress,
    session: SMTPServerSession,
    callback: (error?: Error | null) => void,
  ): void {
    this.#sessions.get(session)?.mail(callback);
  }

  override onRcptTo(
    _address: SMTPServerAddress,
    session: SMTPServerSession,
    callback: (error?: Error | null) => void,
  ): void {
    this.#sessions.get(session)?.rcpt(callback);
  }

  /** Work of a session; an error in it is a bug: told, and the connection cut. */
  #track(session: SmtpSession, task: Promise<void>): void {
    const work = task.catch((error: unknown) => {
      this._onError(error instanceof Error ? error : new Error(String(error)));
      session.abort();
    });
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work));
  }
}

/** A handshake that failed is the client's; smtp-server knows whose the socket is. */
function blame(error: Error, client: string): void {
  const { meta } = error as Error & { meta?: { remoteAddress?: string } };
  if (meta) meta.remoteAddress = client;
}
