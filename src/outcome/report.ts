/**
 * Pays the DSNs that are owed: builds the one whose id stands in the record it is about, puts it
 * into the queue by the one door, and notes that it is done. Each step can be cut off and
 * done again: the id is fixed beforehand, so a DSN that is in the spool already is not made twice.
 */
import type { DkimSigner } from '../dkim/signer.ts';
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import type { ReportedRecord } from '../spool/message-state.ts';
import type { Draft, Spool, StoredMessage } from '../spool/store.ts';
import type { OutcomeEvents } from '../telemetry/outcome-events.ts';
import { hasSender } from './dsn-duty.ts';
import { type DsnEntry, dsnEntries } from './dsn-entries.ts';
import { buildDsn, type DsnMessage } from './dsn-message.ts';
import { narrowDsn } from './narrow-dsn.ts';

export interface ReportParts {
  readonly spool: Spool;
  readonly clock: Clock;
  readonly hostname: () => string;
  readonly events: OutcomeEvents;
  /** Signs for the domain of `hostname`, where it is configured. */
  readonly signer?: Pick<DkimSigner, 'begin'>;
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
export async function reportRecord(
  original: StoredMessage,
  record: ReportedRecord,
  parts: ReportParts & ReportMemory,
): Promise<boolean> {
  const { spool, clock, events, stored } = parts;
  const { id } = original.envelope;
  const { dsnId } = record;
  if (dsnId === undefined) return true;
  try {
    const isStored = stored.has(dsnId) || (await spool.read(dsnId)) !== undefined;
    if (!isStored) await queueDsn({ ...parts, original, record, dsnId });
    stored.add(dsnId);
    await spool.append(id, [{ kind: 'notified', atMs: clock.now(), dsnId }]);
    stored.delete(dsnId);
    return true;
  } catch (error) {
    events.dsnDelayed(id, error as Error);
    return false;
  }
}

interface OwedDsn extends ReportParts {
  readonly original: StoredMessage;
  readonly record: ReportedRecord;
  readonly dsnId: MessageId;
}

/** Nothing where there is nobody to tell about: who was delayed got a fate meanwhile. */
async function queueDsn(owed: OwedDsn): Promise<void> {
  const { original, dsnId } = owed;
  const made = hasSender(original.envelope) ? aboutMessage(owed) : aboutReport(owed);
  if (!made) return;
  const draft = await owed.beginOwn(dsnId);
  try {
    const dsn = await made.build();
    if (!dsn) return await draft.discard();
    const signing = owed.signer?.begin();
    for await (const chunk of dsn.body) {
      signing?.push(chunk as Buffer);
      await draft.write(chunk as Buffer);
    }
    const signed = await signing?.end();
    const signature = signed?.kind === 'signed' ? { signature: signed.fields } : {};
    await owed.commit(draft, { ...dsn.envelope, ...signature });
    const to = dsn.envelope.recipients[0]?.address ?? '';
    owed.events.dsnQueued({ id: dsnId, about: original.envelope.id, to, ...made.counts });
  } catch (error) {
    await draft.discard();
    throw error;
  }
}

interface OwnDsn {
  readonly build: () => Promise<DsnMessage | undefined>;
  /** Recipients it tells of. */
  readonly counts: Readonly<Record<DsnEntry['action'], number>>;
}

function aboutMessage({ original, record, dsnId, spool, hostname }: OwedDsn): OwnDsn | undefined {
  const entries = dsnEntries(original, record);
  if (entries.length === 0) return undefined;
  const openBody = () => spool.openBody(original.envelope.id);
  const facts = { dsnId, original, entries, atMs: record.atMs, hostname: hostname(), openBody };
  const count = (is: DsnEntry['action']) => entries.filter(({ action }) => action === is).length;
  const counts = { failed: count('failed'), delayed: count('delayed'), relayed: count('relayed') };
  return { build: () => buildDsn(facts), counts };
}

/** A report that no host took for its 8-bit content (dsn-duty.ts). */
function aboutReport({ original: { envelope }, record, dsnId, spool }: OwedDsn): OwnDsn {
  const openBody = () => spool.openBody(envelope.id);
  return {
    build: () => narrowDsn({ dsnId, envelope, atMs: record.atMs, openBody }),
    counts: { failed: 1, delayed: 0, relayed: 0 },
  };
}
