/**
 * What happens to messages outside their attempts, told to their traces: that the relay made them, that they are given up,
 * that every recipient has an answer. Without traces the parts are what they were.
 */
import { timeOfId } from './mail/message-id.ts';
import type { FinishParts } from './outcome/finish.ts';
import type { AttemptOutcomes } from './outcome/settle.ts';
import { wallMs } from './platform/wall-time.ts';
import type { createSubmit } from './queue/submit.ts';
import type { AttemptRecord } from './spool/message-state.ts';
import type { StoredMessage } from './spool/store.ts';
import type { OutcomeEvents } from './telemetry/outcome-events.ts';
import {
  aboutMessage,
  type Fates,
  fateAttributes,
  madeSpan,
  problemAmong,
  settledSpan,
} from './telemetry/traces/message-spans.ts';
import type { Traces } from './telemetry/traces/open-traces.ts';

type QueueOwn = ReturnType<typeof createSubmit>['queueOwn'];

/** What a finisher (outcome/finish.ts) tells; DSNs begin a trace of their own, with a link to the one they are about. */
export function tellingFinisher(
  outcomeEvents: OutcomeEvents,
  traces: Traces | undefined,
): Pick<FinishParts, 'events' | 'onFinished'> {
  if (!traces) return { events: outcomeEvents };
  return {
    events: {
      ...outcomeEvents,
      dsnQueued(facts) {
        outcomeEvents.dsnQueued(facts);
        const { id, about } = facts;
        const attributes = { 'stsrelay.about': about };
        traces.of(id)?.begin(madeSpan('compose dsn', { id, atMs: wallMs(), attributes }), about);
      },
    },
    onFinished: (message) => tellSettled(message, traces),
  };
}

function tellSettled({ envelope, records }: StoredMessage, traces: Traces): void {
  const trace = traces.of(envelope.id);
  if (!trace) return;
  const delivered = new Set<number>();
  for (const record of records) {
    if (record.kind !== 'attempt') continue;
    for (const index of record.delivered) delivered.add(index);
  }
  const endMs = wallMs();
  const startMs = Math.min(timeOfId(envelope.id), endMs);
  trace.tell(settledSpan(envelope, { startMs, endMs, delivered: delivered.size }));
}

/** `queueOwn`, for TLS reports, whose traces begin with it. */
export function tracedOwn(queueOwn: QueueOwn, traces: Traces | undefined): QueueOwn {
  if (!traces) return queueOwn;
  return async (envelope, body, recorded) => {
    const atMs = wallMs();
    await queueOwn(envelope, body, recorded);
    const { id, recipients } = envelope;
    const attributes = {
      'messaging.message.body.size': body.length,
      'stsrelay.recipients': recipients.length,
    };
    traces.of(id)?.begin(madeSpan('compose tls report', { id, atMs, attributes }));
  };
}

/** Recipients were given up without an attempt. */
export function tellGivenUp(
  { message, destination, outcomes }: AttemptOutcomes,
  record: AttemptRecord,
  traces: Traces | undefined,
): void {
  const { id } = message.envelope;
  const atMs = wallMs();
  traces?.of(id)?.tell({
    ...{ name: 'give up', startMs: atMs, endMs: atMs },
    attributes: {
      ...aboutMessage('give up', id),
      'messaging.destination.name': destination,
      ...fateAttributes(fatesOf(record)),
    },
    problem: problemAmong(outcomes.values()),
  });
}

export function fatesOf({ delivered, deferred, bounced }: AttemptRecord): Fates {
  return { delivered: delivered.length, deferred: deferred.length, bounced: bounced.length };
}
