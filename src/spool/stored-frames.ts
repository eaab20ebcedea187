/**
 * Reads messages back from where the index says they stand. What is read is what was written, or
 * a SpoolError.
 */
import type { MessageId } from '../mail/message-id.ts';
import { decodeHeader, HEADER_OCTETS, isBodyIntact, isHeadIntact } from './frame.ts';
import { type MessageHead, parseMessageHead, parseRecords } from './heads.ts';
import type { IndexEntry } from './message-index.ts';
import type { SpoolRecord } from './message-state.ts';
import type { Location, Segment } from './segment.ts';
import { SpoolError } from './store.ts';

/** Gives `length` octets of a segment from `at` on. */
export type ReadOctets = (segment: Segment, at: number, length: number) => Promise<Buffer>;

export const readDirectly: ReadOctets = (segment, at, length) => segment.read(at, length);

export interface FoundHead extends MessageHead {
  readonly records: readonly SpoolRecord[];
  /** Records are missing, because where they stood is damaged; the rest is here. */
  readonly damage: { readonly segment: Segment; readonly error: Error } | undefined;
}

/** The head and the records of a message: as at a start, a damaged record hides no other. */
export async function readHead(
  id: MessageId,
  entry: IndexEntry,
  read: ReadOctets = readDirectly,
): Promise<FoundHead> {
  const head = parseMessageHead(await readHeadOctets(id, entry.location, read));
  if (!head) throw damaged(id, entry.location);
  const records = [...(head.records ?? [])];
  let damage: FoundHead['damage'];
  // Others may be added meanwhile.
  for (const location of [...(entry.records ?? [])]) {
    try {
      records.push(...parseRecords(await readHeadOctets(id, location, read)));
    } catch (error) {
      if (!isDamage(error)) throw error;
      damage = { segment: location.segment, error: error as Error };
    }
  }
  return { ...head, records, damage };
}

/** Gives them at once, or not at all. */
export type PeekOctets = (segment: Segment, at: number, length: number) => Buffer | undefined;

/**
 * The same, at once, where all octets are at hand and are what was written: of thousands of
 * messages, read one after the other, those few that have to be waited for. Undefined otherwise.
 */
export function peekHead(
  id: MessageId,
  { location, records: places = [] }: IndexEntry,
  peek: PeekOctets,
): Omit<FoundHead, 'damage'> | undefined {
  const octets = peekHeadOctets(id, location, peek);
  const head = octets && parseMessageHead(octets);
  if (!head) return undefined;
  const records = [...(head.records ?? [])];
  for (const place of places) {
    const more = peekHeadOctets(id, place, peek);
    if (!more) return undefined;
    records.push(...parseRecords(more));
  }
  return { ...head, records };
}

/** The body of a message that stands in a segment. */
export async function readBody(id: MessageId, { location }: IndexEntry): Promise<Buffer> {
  const { segment, at, headLength, bodyLength } = location;
  const octets = await segment.read(at, HEADER_OCTETS + headLength + bodyLength);
  const header = decodeHeader(octets, 0, segment.name.mark);
  const body = octets.subarray(HEADER_OCTETS + headLength);
  if (header?.id !== id || !isBodyIntact(body, header)) throw damaged(id, location);
  return body;
}

async function readHeadOctets(
  id: MessageId,
  { segment, at, headLength }: Location,
  read: ReadOctets,
): Promise<Buffer> {
  const octets = await read(segment, at, HEADER_OCTETS + headLength);
  const head = intactHead(id, octets, segment);
  if (!head) throw damaged(id, { segment, at });
  return head;
}

function peekHeadOctets(
  id: MessageId,
  { segment, at, headLength }: Location,
  peek: PeekOctets,
): Buffer | undefined {
  const octets = peek(segment, at, HEADER_OCTETS + headLength);
  return octets && intactHead(id, octets, segment);
}

/** The head of the frame of `id` that `octets` begin with; undefined when they do not. */
function intactHead(id: MessageId, octets: Buffer, { name }: Segment): Buffer | undefined {
  const header = decodeHeader(octets, 0, name.mark);
  if (header?.id !== id || !isHeadIntact(octets, 0, header)) return undefined;
  return octets.subarray(HEADER_OCTETS, HEADER_OCTETS + header.headLength);
}

/** What the system lacks, or does not allow, for now: it says nothing about the file. */
const PASSING = ['EMFILE', 'ENFILE', 'ENOMEM', 'EACCES', 'EPERM', 'EAGAIN'];

/** Whether reading failed because of what is, or is not, on the disk. */
export function isDamage(error: unknown): boolean {
  const { code, cause } = error as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException };
  return !PASSING.includes(code ?? cause?.code ?? '');
}

function damaged(id: MessageId, { segment, at }: Pick<Location, 'segment' | 'at'>): SpoolError {
  segment.isDamaged = true;
  return new SpoolError('failed', `${id} is damaged on the disk (${segment.path}, octet ${at})`);
}
