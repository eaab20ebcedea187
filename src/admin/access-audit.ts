/**
 * Who came in over HTTP, and who did not, in the audit log: logins, their ends on demand, and wrong tokens, at the login or in
 * Authorization. What cannot be noted keeps nobody out: on a full disk an administrator has to get in.
 */
import type { Clock } from '../platform/clock.ts';
import type { AuditLog } from './audit.ts';
import { boundedNotes } from './bounded-notes.ts';

export interface AccessEvents {
  /** Somebody logged in; resolves when it is noted, or cannot be. */
  loggedIn(actor: string): Promise<void>;
  loggedOut(actor: string): Promise<void>;
}

/** Wrong tokens that are noted in an hour; strangers send them. */
const MOST_REFUSED = 60;

/** For those who want no notes. */
export const UNNOTED: AccessEvents = { loggedIn: async () => {}, loggedOut: async () => {} };

export function accessAudit(parts: {
  readonly audit: Pick<AuditLog, 'note'>;
  readonly clock: Clock;
  /** The disk did not take it. */
  readonly onError: (error: Error) => void;
}): AccessEvents & { readonly refused: (client: string) => void } {
  const { audit, onError } = parts;
  const target = 'HTTP';
  const refused = boundedNotes({ ...parts, most: MOST_REFUSED });
  return {
    loggedIn: (actor) => audit.note({ actor, action: 'session.login', target }).catch(onError),
    loggedOut: (actor) => audit.note({ actor, action: 'session.logout', target }).catch(onError),
    refused: (client) =>
      refused({ actor: `somebody at ${client}`, action: 'session.refused', target }),
  };
}
