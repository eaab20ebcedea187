/**
 * What happens at the front door. One function per event: log line and metric together.
 * No message content and no passwords.
 *
 * When no mail can be taken at all, for a reason of our own, there is one line about it
 * (`intake.refusing`) and one at its end (`intake.accepting`); the single refusals are counted and go to the
 * log at level debug. So do those that strangers cause, once there were many of their kind within a minute
 * (line-budget.ts).
 */
import type { Envelope } from '../mail/envelope.ts';
import type { REFUSAL_REASONS } from './families/intake.ts';
import { LineBudget } from './line-budget.ts';
import type { Log, LogFields, LogLevel } from './log.ts';
import type { Metrics } from './metrics.ts';
import { Spell } from './spell.ts';

/** Why a client was told no; a closed set, it labels a metric. */
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

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

/** Whoever comes is refused: nothing about the client is wrong. */
const OWN_TROUBLES: readonly RefusalReason[] = [
  'spool-full',
  'spool-failed',
  'queue-full',
  'queue-away',
];

export function intakeEvents(log: Log, metrics: Metrics) {
  const spells = new Map(OWN_TROUBLES.map((reason) => [reason, new Spell()]));
  const works = (reason: RefusalReason, isSure: boolean) => {
    const over = spells.get(reason)?.works(isSure);
    if (over)
      log.write('info', 'intake.accepting', { reason, refused: over.count, seconds: over.seconds });
  };
  const budgets = new Map<string, LineBudget>();
  /** A line that any stranger can cause: at level debug when there were too many of its kind. */
  const tellStranger = (
    event: 'intake.refused' | 'intake.auth_failed' | 'intake.session_error',
    facts: LogFields,
    { level, kind = event }: { level: LogLevel; kind?: string },
  ) => {
    const budget = budgets.get(kind) ?? new LineBudget();
    budgets.set(kind, budget);
    const { mayTell, unsaid } = budget.take();
    log.write(mayTell ? level : 'debug', event, { ...facts, unsaid });
  };
  return {
    /** A listener is open. */
    listening(listener: {
      address: string;
      port: number;
      tls: string;
      auth: string;
      proxyProtocol?: readonly string[] | undefined;
    }): void {
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
        messageId: envelope.messageId,
        from: envelope.reversePath,
        recipients: envelope.recipients.length,
        size: sizeBytes,
        client: envelope.client?.address,
        helo: envelope.client?.helo,
        user: envelope.client?.user,
        tls: envelope.client?.tls,
        requireTls: envelope.requireTls,
        tlsRequiredNo: envelope.tlsRequiredNo,
        signed: envelope.signature === undefined ? undefined : true,
      });
      for (const reason of OWN_TROUBLES) works(reason, false);
    },
    refused(facts: RefusalFacts): void {
      const { reason, reply, detail } = facts;
      metrics.refusals.inc({ reason });
      const spell = spells.get(reason);
      if (spell) log.write('debug', 'intake.refused', { ...facts });
      else tellStranger('intake.refused', { ...facts }, { level: 'info', kind: reason });
      const told = spell?.hit();
      if (!told) return;
      const { count: refused, seconds } = told;
      log.write('warn', 'intake.refusing', { reason, reply, detail, refused, seconds });
    },
    /** The queue that was in another process and away (`queue-away`) is back. */
    queueIsBack(): void {
      works('queue-away', true);
    },
    authFailed(facts: { client: string; user: string }): void {
      metrics.authFailures.inc({ protocol: 'smtp' });
      tellStranger('intake.auth_failed', facts, { level: 'warn' });
    },
    authenticated(facts: { client: string; user: string }): void {
      log.write('info', 'intake.authenticated', facts);
    },
    /** Something that should not happen at the door and did; the session ends, the relay goes on. */
    sessionError(facts: { client: string | undefined; error: string }): void {
      tellStranger('intake.session_error', facts, { level: 'warn' });
    },
  };
}
export type IntakeEvents = ReturnType<typeof intakeEvents>;
