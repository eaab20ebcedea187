/**
 * What happens at the API. One function per event: log line and metric together. Never a token.
 * What is changed through it is in the audit log (admin/audit.ts).
 */
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

export function adminEvents(log: Log, metrics: Metrics) {
  return {
    /** A wrong token; who sends several waits in between, so these lines are few. */
    authFailed(facts: { readonly client: string }): void {
      metrics.authFailures.inc({ protocol: 'http' });
      log.write('warn', 'admin.auth_failed', facts);
    },
    /** Nobody gets in over HTTP until an administrator mends it. */
    tokenUnusable(facts: { readonly reason: string }): void {
      log.write('error', 'admin.token_unusable', facts);
    },
    /** The token file cannot be used; the token that was in it a moment ago counts on for so long. */
    tokenKept(facts: { readonly reason: string; readonly seconds: number }): void {
      log.write('warn', 'admin.token_kept', facts);
    },
    /** Somebody logged in or out, or sent a wrong token, and the disk did not take the note of it. */
    unnoted(error: Error): void {
      log.write('warn', 'relay.warning', {
        warning: `what happened at the API is not in the audit log: ${error.message}`,
      });
    },
  };
}
export type AdminEvents = ReturnType<typeof adminEvents>;
