/**
 * The end of a message: when no recipient is left, pays the DSNs that are still owed and
 * removes the message from the spool. What cannot be done now is tried again; after a crash
 * the next start calls it for every message that was about to end.
 */
import type { MessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import { type DestinationOf, foldRecords } from '../spool/message-state.ts';
import type { Spool, StoredMessage } from '../spool/store.ts';
import type { OutcomeEvents } from '../telemetry/outcome-events.ts';
import { type ReportMemory, type ReportParts, reportRecord } from './report.ts';

const TRY_AGAIN_MS = 10_000;

export interface FinishParts extends ReportParts {
  readonly spool: Spool;
  readonly clock: Clock;
  readonly destinationOf: DestinationOf;
  readonly events: OutcomeEvents;
  /** Told of a message of which every recipient has an answer, when it is gone. */
  readonly onFinished?: ((message: StoredMessage) => void) | undefined;
}

/** A function that does what is left to do about one message; calls for the same one go in turn. */
export function createFinisher(parts: FinishParts): (id: MessageId) => Promise<void> {
  const underWay = new Map<MessageId, Promise<void>>();
  const memory: ReportMemory = { stored: new Set() };
  /** Messages whose next try waits for its time: one each, however often it was asked for. */
  const waiting = new Set<MessageId>();
  const later = (id: MessageId) => {
    if (waiting.has(id)) return;
    waiting.add(id);
    parts.clock.after(TRY_AGAIN_MS, () => {
      waiting.delete(id);
      void finish(id);
    });
  };
  const finish = (id: MessageId): Promise<void> => {
    const before = underWay.get(id) ?? Promise.resolve();
    const mine = before.then(async () => {
      const done = await finishNow(id, { ...parts, ...memory }).catch((error: Error) => {
        parts.events.dsnDelayed(id, error);
        return false;
      });
      if (underWay.get(id) === mine) underWay.delete(id);
      if (!done) later(id);
    });
    underWay.set(id, mine);
    return mine;
  };
  return finish;
}

/** False when something is owed that could not be done now. */
async function finishNow(id: MessageId, parts: FinishParts & ReportMemory): Promise<boolean> {
  const { spool, destinationOf, events } = parts;
  const message = await spool.read(id);
  if (!message) return true;
  const { unreported } = foldRecords(message.envelope, message.records, destinationOf);
  for (const record of unreported) {
    if (!(await reportRecord(message, record, parts))) return false;
  }
  const after = unreported.length > 0 ? await spool.read(id) : message;
  if (!after || !foldRecords(after.envelope, after.records, destinationOf).finished) return true;
  await spool.remove(id);
  events.finished(id);
  parts.onFinished?.(after);
  return true;
}
