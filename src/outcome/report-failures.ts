/**
 * Pays the DSNs that are owed: builds the one whose id stands in the attempt's record, puts it
 * into the queue by the one door, and notes that it is done. Each step can be cut off and
 * done again: the id is fixed beforehand, so a DSN that is in the spool already is not made twice.
 */
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import type { AttemptRecord } from '../spool/message-state.ts';
import type { Draft, Spool, StoredMessage } from '../spool/store.ts';
import type { OutcomeEvents } from '../telemetry/outcome-events.ts';
import { buildDsn, type DsnMessage } from './dsn-message.ts';

export interface ReportParts {
  readonly spool: Spool;
  readonly clock: Clock;
  readonly hostname: () => string;
  readonly events: OutcomeEvents;
  /** The door for messages with an id of our own choosing (queue/submit.ts). */
  readonly beginOwn: (id: MessageId) => Promise<Draft>;
  readonly commit: (draft: Draft, envelope: Envelope) => Promise<void>;
}

/** What one process remembers of its reporting. */
export interface ReportMemory {
  /** DSNs in the spool whose note could not be made yet: they may be delivered and gone by now. */
  readonly stored: Set<MessageId>;
}

/** Make the DSN of `record`. False when it could not be stored for now: it stays owed. */
export async function reportAttempt(
  original: StoredMessage,
  record: AttemptRecord,
  parts: ReportParts & ReportMemory,
): Promise<boolean> {
  const { spool, clock, events, stored } = parts;
  const { id } = original.envelope;
  if (record.dsnId === undefined) return true;
  try {
    const isStored = stored.has(record.dsnId) || (await spool.read(record.dsnId)) !== undefined;
    if (!isStored) await queueDsn(original, record, parts);
    stored.add(record.dsnId);
    await spool.append(id, [{ kind: 'notified', atMs: clock.now(), dsnId: record.dsnId }]);
    stored.delete(record.dsnId);
    return true;
  } catch (error) {
    events.dsnDelayed(id, error as Error);
    return false;
  }
}

async function queueDsn(
  original: StoredMessage,
  record: AttemptRecord,
  parts: ReportParts,
): Promise<void> {
  const { id, reversePath } = original.envelope;
  if (record.dsnId === undefined) return;
  const attempts = original.records.filter(
    (made) => made.kind === 'attempt' && made.destination === record.destination,
  ).length;
  const draft = await parts.beginOwn(record.dsnId);
  let dsn: DsnMessage;
  try {
    dsn = await buildDsn({
      dsnId: record.dsnId,
      original,
      record,
      attempts: Math.max(1, attempts),
      hostname: parts.hostname(),
      openBody: () => parts.spool.openBody(id),
    });
    for await (const chunk of dsn.body) await draft.write(chunk as Buffer);
    await parts.commit(draft, dsn.envelope);
  } catch (error) {
    await draft.discard();
    throw error;
  }
  const { failed, relayed } = dsn;
  parts.events.dsnQueued({ id: record.dsnId, about: id, to: reversePath, failed, relayed });
}
