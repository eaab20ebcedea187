/**
 * What happened to a message, as records, and its state as their fold. Pure.
 *
 * A recipient has no fate until a record says delivered or bounced; fates never change, so a
 * record that names a recipient twice (an append repeated after a crash) is harmless. The
 * message is finished when every recipient has a fate and every DSN that is owed was queued.
 */
import type { Envelope } from '../mail/envelope.ts';
import type { HeldBy, Hold } from '../mail/hold.ts';
import type { MessageId } from '../mail/message-id.ts';
import type { CauseClass } from '../mail/outcome.ts';
import type { Destination } from '../mail/route.ts';
import type { RecordedSession } from './recorded-session.ts';

/** Why a recipient waits or was given up, kept for the queue listing and the bounce. */
export interface RecordedFailure {
  /** The remote reply, or the local cause and its detail, in one line. */
  readonly text: string;
  readonly source: 'remote' | 'local';
  /** The SMTP stage of a remote reply, or the local cause. */
  readonly cause: string;
  readonly host?: string;
  readonly address?: string;
  /** RFC 3463. */
  readonly status: string;
  readonly causeClass: CauseClass;
  /** With a TLS policy that was not met: who asks for what, in a sentence. */
  readonly demand?: string;
  /** It was temporary, and the message's lifetime ended on it. */
  readonly expired?: boolean;
}

/**
 * An attempt for one destination ended, or one of its transactions; its recipients' fates, and when
 * the rest is tried again.
 */
export interface AttemptRecord {
  readonly kind: 'attempt';
  readonly atMs: number;
  readonly destination: Destination;
  /** By recipient index. */
  readonly delivered: readonly number[];
  /** Those of `delivered` whose next hop does not do DSNs: reporting success falls to us (RFC 3461 §5.2.2). */
  readonly relayed: readonly {
    readonly index: number;
    readonly host: string;
    readonly reply: string;
  }[];
  readonly bounced: readonly { readonly index: number; readonly failure: RecordedFailure }[];
  readonly deferred: readonly { readonly index: number; readonly failure: RecordedFailure }[];
  /** Absolute; present when `deferred` is not empty. */
  readonly nextAttemptMs?: number;
  /** Other transactions of the same attempt follow: this is no attempt of its own. */
  readonly more?: true;
  /** Nothing was tried: those who bounced were given up while they waited. This is no attempt. */
  readonly untried?: true;
  /**
   * Where it was tried and what TLS there was, in order; since the last record of the same attempt. Only
   * where somebody of the message still waits, and none where it did not come to a host.
   */
  readonly sessions?: readonly RecordedSession[];
  /** How many sessions more there were. */
  readonly sessionsLeftOut?: number;
  /** The id the DSN about this attempt gets, fixed before the DSN is made, so that it is made once. */
  readonly dsnId?: MessageId;
}

/** The message has waited for so long that its sender is told: once, by one DSN about all who wait. */
export interface DelayRecord {
  readonly kind: 'delay';
  readonly atMs: number;
  /** The recipients the sender may be told about, by destination. */
  readonly waiting: readonly {
    readonly destination: Destination;
    /** By recipient index. */
    readonly recipients: readonly number[];
    /** When they are given up; absolute. */
    readonly untilMs: number;
  }[];
  /** As in an attempt's record. */
  readonly dsnId: MessageId;
}

/** What a DSN may be about. */
export type ReportedRecord = AttemptRecord | DelayRecord;

/** The DSN with this id is in the spool: nothing more is owed for it. */
export interface NotifiedRecord {
  readonly kind: 'notified';
  readonly atMs: number;
  readonly dsnId: MessageId;
}

/** An administrator's word about one destination: hold the mail for it, or, without `hold`, let it go. */
export interface HoldRecord {
  readonly kind: 'hold';
  readonly atMs: number;
  readonly destination: Destination;
  readonly hold?: Hold;
}

export type SpoolRecord = ReportedRecord | NotifiedRecord | HoldRecord;

/** Whether a line of a journal is a record that can be folded: another version may write others. */
export function isSpoolRecord(value: unknown): value is SpoolRecord {
  const record = (value ?? {}) as Partial<Record<string, unknown>>;
  if (record['kind'] === 'notified') return typeof record['dsnId'] === 'string';
  if (record['kind'] === 'delay') {
    return typeof record['dsnId'] === 'string' && Array.isArray(record['waiting']);
  }
  if (record['kind'] === 'hold') return isHoldRecord(record);
  const lists = [record['delivered'], record['bounced'], record['deferred']];
  return record['kind'] === 'attempt' && lists.every(Array.isArray);
}

function isHoldRecord(record: Partial<Record<string, unknown>>): boolean {
  if (typeof record['destination'] !== 'string' || typeof record['atMs'] !== 'number') return false;
  if (record['hold'] === undefined) return true;
  const { reason, by, sinceMs, untilMs } = (record['hold'] ?? {}) as Partial<Hold>;
  const isText = typeof reason === 'string' && typeof by === 'string';
  return isText && typeof sinceMs === 'number' && ['number', 'undefined'].includes(typeof untilMs);
}

/** One message x one destination: the unit of delivery. */
export interface DeliveryState {
  readonly destination: Destination;
  /** Recipients without a fate, by index. */
  readonly pending: readonly number[];
  /** Attempts made. */
  readonly attempts: number;
  /** Absolute, ms; the time of receipt before the first attempt. */
  readonly nextAttemptMs: number;
  /** When the last of them ended that left somebody waiting; absolute, ms. */
  readonly triedAtMs: number | undefined;
  readonly lastFailure: RecordedFailure | undefined;
  readonly heldBy: HeldBy | undefined;
}

export interface MessageState {
  readonly envelope: Envelope;
  /** Deliveries with recipients left. */
  readonly pending: readonly DeliveryState[];
  /** Records whose DSN is still owed. */
  readonly unreported: readonly ReportedRecord[];
  readonly finished: boolean;
}

/** A destination for a recipient address; undefined where the address has no usable domain. */
export type DestinationOf = (address: string) => Destination | undefined;

/** The destination of recipients whose address names none: they bounce at the first attempt. */
export const NO_DESTINATION = '' as Destination;

/** The state of a message after `records`. */
export function foldRecords(
  envelope: Envelope,
  records: readonly SpoolRecord[],
  destinationOf: DestinationOf,
): MessageState {
  const settled = new Set<number>();
  const reported = new Set<MessageId>();
  const attempts = new Map<Destination, AttemptRecord[]>();
  const held = new Map<Destination, HeldBy>();
  /** By the id of the DSN: an attempt recorded twice owes one. */
  const owed = new Map<MessageId, ReportedRecord>();
  for (const record of records) {
    if (record.kind === 'notified') reported.add(record.dsnId);
    if (record.kind === 'delay') owed.set(record.dsnId, record);
    if (record.kind === 'hold') held.set(record.destination, record);
    if (record.kind !== 'attempt') continue;
    for (const index of record.delivered) settled.add(index);
    for (const { index } of record.bounced) settled.add(index);
    const made = attempts.get(record.destination);
    if (made) made.push(record);
    else attempts.set(record.destination, [record]);
    if (record.dsnId !== undefined) owed.set(record.dsnId, record);
  }
  const groups = groupByDestination(envelope, destinationOf);
  const pending: DeliveryState[] = [];
  for (const [destination, indexes] of groups) {
    const open = indexes.filter((index) => !settled.has(index));
    if (open.length === 0) continue;
    const made = attempts.get(destination) ?? [];
    const last = made.findLast(({ deferred }) => deferred.length > 0);
    pending.push({
      destination,
      pending: open,
      attempts: made.filter(({ more, untried }) => !more && !untried).length,
      nextAttemptMs: last?.nextAttemptMs ?? envelope.receivedAtMs,
      triedAtMs: last?.atMs,
      lastFailure: last?.deferred[0]?.failure,
      heldBy: held.get(destination),
    });
  }
  const unreported = [...owed].flatMap(([id, record]) => (reported.has(id) ? [] : [record]));
  return {
    envelope,
    pending,
    unreported,
    finished: pending.length === 0 && unreported.length === 0,
  };
}

/** Recipient indexes by destination, in the order of the envelope: one delivery each. */
export function groupByDestination(
  envelope: Envelope,
  destinationOf: DestinationOf,
): Map<Destination, number[]> {
  const groups = new Map<Destination, number[]>();
  envelope.recipients.forEach((recipient, index) => {
    const destination = destinationOf(recipient.address) ?? NO_DESTINATION;
    const group = groups.get(destination);
    if (group) group.push(index);
    else groups.set(destination, [index]);
  });
  return groups;
}
