/**
 * TLS 1.3 sessions to be resumed (RFC 8446 §2.2) when the next connection to a host is opened under an equal
 * plan (session-key.ts): same host, address, port, requirement and policy text. That the peer has the
 * secret of the session proves that it is the one whose certificate was judged, and a connection that is
 * resumed has the verdict, the name and the certificate of that full handshake (RFC 9325 §3.4),
 * never a verdict that OpenSSL remembers.
 *
 * A verdict grows no older here than on a connection that stays open: five minutes from the full handshake
 * on, however often it was resumed since, and not beyond the end of the certificate. Each session is
 * offered once (RFC 8446 §C.4). Sessions of TLS 1.2 are not kept: those without an extended
 * master secret prove less (RFC 7627), and nobody can see which these are.
 */
import type { TLSSocket } from 'node:tls';
import { LRUCache } from 'lru-cache';
import type { TlsFacts } from '../mail/session-result.ts';
import { isCurrent } from './verdict-age.ts';

export interface SessionTicket {
  /** For `tls.connect`. */
  readonly session: Buffer;
  /** As judged in the full handshake. */
  readonly tls: TlsFacts;
  /** When that was, milliseconds since the epoch. */
  readonly judgedAtMs: number;
}

/** A session takes some 2 KiB, its certificate included. */
const MOST_KEYS = 1000;
/** As many as may be of use at once. */
const MOST_OF_ONE_KEY = 4;

export class SessionTickets {
  readonly #byKey = new LRUCache<string, SessionTicket[]>({ max: MOST_KEYS });

  /** A session that was opened under `key`; nobody else gets it. */
  take(key: string, nowMs: number): SessionTicket | undefined {
    const tickets = this.#byKey.get(key);
    for (;;) {
      const ticket = tickets?.pop();
      if (!ticket) return undefined;
      if (isCurrent(ticket, nowMs)) return ticket;
    }
  }

  /**
   * Keep what `socket` can be resumed by, if that is anything: called when the server has said something
   * over it, since a TLS 1.3 server hands tickets out after the handshake.
   */
  keep(key: string, socket: TLSSocket, judged: Omit<SessionTicket, 'session'>): void {
    if (judged.tls.version !== 'TLSv1.3') return;
    const session = socket.getSession();
    if (!session) return;
    const tickets = this.#byKey.get(key) ?? [];
    tickets.push({ ...judged, session });
    if (tickets.length > MOST_OF_ONE_KEY) tickets.shift();
    this.#byKey.set(key, tickets);
  }
}
