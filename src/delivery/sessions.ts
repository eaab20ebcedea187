/**
 * All sessions of one set of settings: what runs them, and the pool they rest in. Described by plain
 * data, so that they can be built where they are to run: here, or in a thread (threads/).
 */
import type { Destination } from '../mail/route.ts';
import type { SessionResult } from '../mail/session-result.ts';
import type { Clock } from '../platform/clock.ts';
import { createSecureContexts, type SecureContextOptions } from './secure-contexts.ts';
import { type Consignment, runSession, type SessionParts, type SessionPlan } from './session.ts';
import { type ReuseLimits, SessionPool } from './session-pool.ts';
import { SessionTickets } from './session-tickets.ts';
import type { SmtpTimeouts } from './smtp-timeouts.ts';
import { sourceAddresses } from './source-address.ts';

/** How sessions are opened, and how long they are used. */
export interface SessionSettings {
  readonly heloName: string;
  readonly sourceAddresses: readonly string[];
  readonly timeouts: SmtpTimeouts & { readonly connect: number };
  readonly secure: SecureContextOptions;
  readonly reuse: ReuseSettings;
}

/** `destinations` of the settings; `idle` in milliseconds. */
export interface ReuseSettings {
  readonly default: { readonly messagesPerConnection: number; readonly idle: number };
  readonly domains: readonly {
    readonly domain: string;
    readonly messagesPerConnection?: number | undefined;
    readonly idle?: number | undefined;
  }[];
}

/** Runs sessions; made from one set of settings. */
export interface Sessions {
  /** As `runSession` (session.ts), which says what comes of it. */
  run(plan: SessionPlan, consignment: Consignment, signal: AbortSignal): Promise<SessionResult>;
  /**
   * End the idle sessions, and from now on every session once its message has gone. Resolves
   * when the idle ones have ended, soon in any case.
   */
  close(): Promise<void>;
}

/** Where sessions run. */
export interface SessionHome {
  open(settings: SessionSettings): Sessions;
}

export interface SessionHomeParts {
  readonly clock: Clock;
  /** A connection was made, or has ended. */
  readonly onConnection: (change: 1 | -1) => void;
}

/** Sessions that run in this thread. */
export function sessionsHere({ clock, onConnection }: SessionHomeParts): SessionHome {
  return {
    open(settings) {
      const parts = { ...sessionParts(settings), onConnection };
      // Of these settings, roots and names alone: what a reload builds begins with no session.
      const pool = new SessionPool({ clock, limitsFor: reuseLimits(settings.reuse) });
      const reuse = { pool, tickets: new SessionTickets(), clock };
      return {
        run: (plan, consignment, signal) =>
          runSession(plan, consignment, { ...parts, signal, reuse }),
        close: () => pool.close(),
      };
    },
  };
}

/** Built once for all sessions. Throws when a root cannot be read. */
export function sessionParts(
  settings: Omit<SessionSettings, 'reuse'>,
): Omit<SessionParts, 'onConnection'> {
  return {
    heloName: settings.heloName,
    localAddressFor: sourceAddresses(settings.sourceAddresses),
    timeouts: settings.timeouts,
    secureContexts: createSecureContexts(settings.secure),
  };
}

/** How long connections are used, by destination. */
function reuseLimits({
  default: normal,
  domains,
}: ReuseSettings): (destination: Destination) => ReuseLimits {
  const own = new Map<string, ReuseLimits>(
    domains.map(({ domain, messagesPerConnection, idle }) => [
      domain,
      {
        messagesPerConnection: messagesPerConnection ?? normal.messagesPerConnection,
        idleMs: idle ?? normal.idle,
      },
    ]),
  );
  const others = { messagesPerConnection: normal.messagesPerConnection, idleMs: normal.idle };
  return (destination) => own.get(destination) ?? others;
}
