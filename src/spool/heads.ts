/**
 * The heads of frames: JSON, and what is taken for it. Pure.
 */
import type { Envelope } from '../mail/envelope.ts';
import { isSpoolRecord, type SpoolRecord } from './message-state.ts';

export interface MessageHead {
  readonly envelope: Envelope;
  /** Octets of the body. */
  readonly sizeBytes: number;
  /** Of a body in a file of its own: the CRC-32 of its octets. */
  readonly bodyCrc?: number;
  /** What had happened to the message when it was moved here. */
  readonly records?: readonly SpoolRecord[];
}

export function formatHead(head: MessageHead | readonly SpoolRecord[]): Buffer {
  return Buffer.from(JSON.stringify(head));
}

/** Undefined for what no version of ours wrote. */
export function parseMessageHead(octets: Buffer): MessageHead | undefined {
  const head = parse(octets) as Partial<MessageHead> | undefined;
  const { envelope, sizeBytes } = head ?? {};
  if (typeof envelope?.id !== 'string' || !Array.isArray(envelope.recipients)) return undefined;
  if (!Number.isSafeInteger(sizeBytes)) return undefined;
  const { records = [] } = head as MessageHead;
  return { ...(head as MessageHead), records: records.filter(isSpoolRecord) };
}

/** The records that can be folded; another version may have written others. */
export function parseRecords(octets: Buffer): readonly SpoolRecord[] {
  const records = parse(octets);
  return Array.isArray(records) ? records.filter(isSpoolRecord) : [];
}

function parse(octets: Buffer): unknown {
  try {
    return JSON.parse(octets.toString('utf8')) ?? undefined;
  } catch {
    return undefined;
  }
}
