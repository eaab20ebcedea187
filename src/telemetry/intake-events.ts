/**
 * What happens at the front door. One function per event: log line and metric together.
 * No message content and no passwords.
 */
import type { Envelope } from '../mail/envelope.ts';
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

/** Why a client was told no; a closed set, it labels a metric. */
export type RefusalReason =
  | 'relay-denied'
  | 'auth-required'
  | 'auth-failed'
  | 'sender-not-allowed'
  | 'too-many-connections'
  | 'too-many-recipients'
  | 'too-large'
  | 'rate-limited'
  | 'smuggling'
  | 'loop'
  | 'spool-full'
  | 'spool-failed'
  | 'queue-full'
  | 'bad-address'
  | 'tls-failed'
  | 'proxy-protocol'
  | 'protocol-error';

export interface RefusalFacts {
  readonly reason: RefusalReason;
  /** Client address. */
  readonly client: string;
  /** The reply given, when there was one. */
  readonly reply?: string;
  readonly sender?: string;
  readonly recipient?: string;
  readonly detail?: string;
}

export function intakeEvents(log: Log, metrics: Metrics) {
  return {
    /** A listener is open. */
    listening(listener: { address: string; port: number; tls: string; auth: string }): void {
      log.write('info', 'intake.listening', listener);
    },
    connectionsOpen(count: number): void {
      metrics.intakeConnections.set(count);
    },
    /** The message is on disk; its 250 is about to be sent. */
    accepted(envelope: Envelope, sizeBytes: number): void {
      metrics.messagesReceived.inc();
      log.write('info', 'intake.accepted', {
        id: envelope.id,
        from: envelope.reversePath,
        recipients: envelope.recipients.length,
        size: sizeBytes,
        client: envelope.client?.address,
        helo: envelope.client?.helo,
        user: envelope.client?.user,
        tls: envelope.client?.tls,
      });
    },
    refused(facts: RefusalFacts): void {
      metrics.refusals.inc({ reason: facts.reason });
      log.write('info', 'intake.refused', { ...facts });
    },
    authFailed(facts: { client: string; user: string }): void {
      metrics.authFailures.inc();
      log.write('warn', 'intake.auth_failed', facts);
    },
    authenticated(facts: { client: string; user: string }): void {
      log.write('info', 'intake.authenticated', facts);
    },
    /** Something that should not happen at the door and did; the session ends, the relay goes on. */
    sessionError(facts: { client: string | undefined; error: string }): void {
      log.write('warn', 'intake.session_error', facts);
    },
  };
}
export type IntakeEvents = ReturnType<typeof intakeEvents>;
