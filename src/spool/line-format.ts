/**
 * The lines of a message's journal: `CRC32 JSON\n`, the first one the header with envelope and
 * body size, the rest records in order. Pure.
 *
 * A crash may leave a torn last line: it was never acknowledged to anybody and is left out.
 * A damaged line in the middle is reported, and so is one that is no record we know; what stands
 * after it is still read, because a lost record can only repeat a delivery, never lose one.
 */
import { crc32 } from 'node:zlib';
import type { Envelope } from '../mail/envelope.ts';
import { isSpoolRecord, type SpoolRecord } from './message-state.ts';

/** Version of the format; a journal of another version is left alone and reported. */
export const JOURNAL_VERSION = 1;

export interface JournalHeader {
  readonly version: number;
  readonly sizeBytes: number;
  readonly envelope: Envelope;
}

export type Journal =
  | {
      readonly kind: 'read';
      readonly header: JournalHeader;
      readonly records: readonly SpoolRecord[];
      /** Octets of whole lines; anything behind is a torn append. */
      readonly goodBytes: number;
      readonly damagedLines: number;
    }
  | { readonly kind: 'unreadable'; readonly reason: string };

/** One value as a line of the journal. */
export function formatLine(value: JournalHeader | SpoolRecord): Buffer {
  const json = JSON.stringify(value);
  return Buffer.from(`${crc32(json).toString(16).padStart(8, '0')} ${json}\n`);
}

/** Read a whole journal. */
export function parseJournal(bytes: Buffer): Journal {
  const goodBytes = bytes.lastIndexOf(0x0a) + 1;
  const lines = bytes.toString('utf8', 0, goodBytes).split('\n').slice(0, -1);
  const header = parseLine(lines[0] ?? '') as JournalHeader | undefined;
  if (!header?.envelope) return { kind: 'unreadable', reason: 'its header line is damaged' };
  if (header.version !== JOURNAL_VERSION) {
    return { kind: 'unreadable', reason: `its format is version ${header.version}, not 1` };
  }
  const records: SpoolRecord[] = [];
  let damagedLines = 0;
  for (const line of lines.slice(1)) {
    const record = parseLine(line);
    if (isSpoolRecord(record)) records.push(record);
    else damagedLines++;
  }
  return { kind: 'read', header, records, goodBytes, damagedLines };
}

function parseLine(line: string): unknown {
  const json = line.slice(9);
  if (line[8] !== ' ' || Number.parseInt(line.slice(0, 8), 16) !== crc32(json)) return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
