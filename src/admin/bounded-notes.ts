/**
 * Notes in the audit log of what happens without an administrator of this node: it is over when it is noted, others cause
 * it, and they must not push out what is there. So many an hour, and the next one says how many there were beside them
 * (`unnoted`); the relay's log has each.
 */
import type { Clock } from '../platform/clock.ts';
import { LineBudget } from '../telemetry/line-budget.ts';
import type { AuditLog } from './audit.ts';

type Entry = Omit<Parameters<AuditLog['note']>[0], 'result'>;

export interface BoundedNotesParts {
  readonly audit: Pick<AuditLog, 'note'>;
  readonly clock: Clock;
  /** In an hour. */
  readonly most: number;
  /** The disk did not take one. */
  readonly onError: (error: Error) => void;
}

const WINDOW_MS = 3_600_000;

/** A function that notes; it does not wait, and never throws. */
export function boundedNotes({ audit, clock, most, onError }: BoundedNotesParts) {
  const budget = new LineBudget(() => clock.now(), { windowMs: WINDOW_MS, most });
  return (entry: Entry): void => {
    const { mayTell, unsaid } = budget.take();
    if (!mayTell) return;
    const facts = unsaid === undefined ? entry.facts : { ...entry.facts, unnoted: unsaid };
    audit.note({ ...entry, ...(facts ? { facts } : {}) }).catch(onError);
  };
}
