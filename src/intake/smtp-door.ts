/**
 * The listening side of a port: smtp-server's SMTPServer, version 3.21, with sessions of our own
 * kind, connections counted from the moment they are accepted, and a stop that lets messages
 * finish.
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
import type { Ticket } from './connection-count.ts';
import { REFUSALS } from './replies.ts';
import { SmtpSession } from './smtp-session.ts';

const HANDSHAKE_TIMEOUT_MS = 30_000;

export class SmtpDoor extends SMTPServer {
  readonly #parts: SessionParts;
  /** By accepted socket, and by the TLS socket on top of it. */
  readonly #tickets = new WeakMap<Socket, Ticket>();
  readonly #sessions = new Map<SMTPServerSession, SmtpSession>();
  /** Messages and logins being worked on; they may outlive their connection. */
  readonly #work = new Set<Promise<void>>();
  #sessionsBegun = 0;
  #stopping = false;
  /** Called when the last session has ended. */
  #emptied: () => void = () => {};

  constructor(options: SMTPServerOptions, parts: SessionParts) {
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
    const { limits, events } = this.#parts;
    const client = socket.remoteAddress ?? '';
    const ticket = limits.connections.admit(client);
    if (this.#stopping || ticket.verdict === 'dropped') {
      const { reason } = REFUSALS.tooManyConnections;
      if (!this.#stopping) events.refused({ reason, client, detail: 'dropped without a reply' });
      ticket.release();
      socket.destroy();
      return false;
    }
    this.#tickets.set(socket, ticket);
    // Covers the time until a session holds the ticket; STARTTLS takes this listener away.
    socket.once('close', ticket.release);
    return super._acceptSocket(socket, handshake);
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
      const ticket = this.#tickets.get(socket);
      if (tlsSocket && ticket) this.#tickets.set(tlsSocket, ticket);
      callback(error, tlsSocket);
    });
  }

  override connect(socket: Socket | TLSSocket, options?: SMTPConnectionOptions | null): void {
    const ticket = this.#tickets.get(socket);
    // A socket that is gone already would never say so again.
    if (!ticket || this.#stopping || socket.destroyed) {
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
    const accepted = { socket, options: named, ticket, ended, track };
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
