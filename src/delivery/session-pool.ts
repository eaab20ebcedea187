/**
 * Open sessions between two messages (RFC 5321 §3.3: a session may carry any number of them).
 * Whoever plans a session under the same key gets the one used last; what nobody takes is left
 * with QUIT when it has been idle for long enough.
 *
 * Every session in here is watched by its wire: one that the peer ends, or says anything in, is
 * gone at once. Whether a message may go over it is asked again for each (hand-over.ts).
 */
import type { Destination } from '../mail/route.ts';
import type { Clock } from '../platform/clock.ts';
import type { OpenSession } from './session.ts';
import { isCurrent } from './verdict-age.ts';

/** How long connections to one destination are used. */
export interface ReuseLimits {
  readonly messagesPerConnection: number;
  readonly idleMs: number;
}

export interface PoolParts {
  readonly clock: Clock;
  readonly limitsFor: (destination: Destination) => ReuseLimits;
}

/** Idle sessions of one pool: there is one in each session thread. */
const MOST_IDLE = 500;
/** For the replies to QUIT when everything ends. */
const CLOSE_MS = 2000;

export class SessionPool {
  readonly #parts: PoolParts;
  /** What cancels their timers; the longest idle first. */
  readonly #idle = new Map<OpenSession, () => void>();
  /** The one used last at the end. */
  readonly #byKey = new Map<string, OpenSession[]>();
  #isClosed = false;

  constructor(parts: PoolParts) {
    this.#parts = parts;
  }

  /** Idle sessions. */
  get size(): number {
    return this.#idle.size;
  }

  /** A session that was opened under `key`, for one message to `destination`; it is the caller's until `put`. */
  take(key: string, destination: Destination): OpenSession | undefined {
    for (;;) {
      // One that has had enough for this destination may do for others on the same host.
      const session = this.#byKey.get(key)?.findLast((one) => this.#hasRoom(one, destination));
      if (!session) return undefined;
      this.#remove(session);
      if (this.#isFit(session, destination) && session.wire.wake()) return session;
      session.wire.finish();
    }
  }

  /** Keep `session` for the next message. It rests; or it is left, if it is not worth keeping. */
  put(session: OpenSession, destination: Destination): void {
    const { idleMs } = this.#parts.limitsFor(destination);
    if (this.#isClosed || idleMs === 0 || !this.#isFit(session, destination)) {
      session.wire.finish();
      return;
    }
    if (session.wire.destroyed) return;
    this.#idle.set(
      session,
      this.#parts.clock.after(idleMs, () => this.#leave(session)),
    );
    const alike = this.#byKey.get(session.key);
    if (alike) alike.push(session);
    else this.#byKey.set(session.key, [session]);
    const [oldest] = this.#idle.keys();
    if (oldest && this.#idle.size > MOST_IDLE) this.#leave(oldest);
  }

  /** The connection of `session` has ended. */
  forget(session: OpenSession): void {
    if (this.#idle.has(session)) this.#remove(session);
  }

  /** Leave all idle sessions, and from now on every one that is put back. Resolves when they have ended, soon in any case. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const sessions = [...this.#idle.keys()];
    for (const session of sessions) this.#remove(session);
    const soon = AbortSignal.timeout(CLOSE_MS);
    await Promise.all(sessions.map(({ wire }) => wire.leave(soon)));
  }

  /** Whether it may carry another message, as far as its age and limits go. */
  #isFit(session: OpenSession, destination: Destination): boolean {
    const now = this.#parts.clock.now();
    const { facts, judgedAtMs } = session;
    return isCurrent({ tls: facts.tls, judgedAtMs }, now) && this.#hasRoom(session, destination);
  }

  /** Whether our limits and those of the server let it carry another message to `destination`. */
  #hasRoom({ messages, destinations, wire }: OpenSession, destination: Destination): boolean {
    const { messagesPerConnection } = this.#parts.limitsFor(destination);
    const { mailMax = Infinity, rcptDomainMax = Infinity } = wire.limits;
    // RFC 9422 §4.1: beyond it the server would refuse MAIL.
    if (messages >= Math.min(messagesPerConnection, mailMax)) return false;
    // RFC 9422 §4.3: all recipients of a delivery are in one domain.
    return destinations.has(destination) || destinations.size < rcptDomainMax;
  }

  #leave(session: OpenSession): void {
    this.#remove(session);
    session.wire.finish();
  }

  #remove(session: OpenSession): void {
    this.#idle.get(session)?.();
    this.#idle.delete(session);
    const alike = this.#byKey.get(session.key) ?? [];
    const at = alike.lastIndexOf(session);
    if (at >= 0) alike.splice(at, 1);
    if (alike.length === 0) this.#byKey.delete(session.key);
  }
}
