/**
 * The cache of DNS answers, positive and negative (RFC 2308 §5). An answer is kept for its TTL,
 * never longer than an hour and never lengthened; failures are not kept. Bounded in entries
 * and in octets. What is read from it carries the TTL that is left.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import type { Absent, Found } from '../resolver.ts';
import type { Question, RecordData, RecordKind } from './answer.ts';

type Kept<K extends RecordKind> = Found<RecordData[K]> | Absent;

interface Entry {
  readonly answer: Kept<RecordKind>;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
}

export interface AnswerCache {
  /** The answer with its remaining TTL, or undefined when there is none or it is over. */
  get<K extends RecordKind>(question: Question<K>): Kept<K> | undefined;
  put<K extends RecordKind>(question: Question<K>, answer: Kept<K>): void;
}

/** The longest any answer is believed: an operator's mistake in a TTL is over within the hour. */
export const MAX_TTL_SECONDS = 3600;
const MAX_ENTRIES = 50_000;
const MAX_OCTETS = 32 * 1024 * 1024;
/** What an entry costs besides its texts. */
const ENTRY_OVERHEAD = 200;

/** An empty cache that tells time by `clock`. */
export function createAnswerCache(clock: Pick<Clock, 'now'>): AnswerCache {
  const entries = new LRUCache<string, Entry>({
    max: MAX_ENTRIES,
    maxSize: MAX_OCTETS,
    sizeCalculation: (entry, key) => key.length + sizeOf(entry.answer),
  });
  return {
    get<K extends RecordKind>(question: Question<K>) {
      const entry = entries.get(keyOf(question));
      if (entry === undefined) return undefined;
      const leftMs = entry.expiresAtMs - clock.now();
      // A clock that was set back must not stretch an answer beyond the cap either.
      if (leftMs <= 0 || leftMs > MAX_TTL_SECONDS * 1000) {
        entries.delete(keyOf(question));
        return undefined;
      }
      // The key holds the type, so the records are of type K.
      return { ...entry.answer, ttlSeconds: Math.floor(leftMs / 1000) } as Kept<K>;
    },
    put(question, answer) {
      const ttlSeconds = Math.min(answer.ttlSeconds, MAX_TTL_SECONDS);
      if (ttlSeconds <= 0) return;
      entries.set(keyOf(question), { answer, expiresAtMs: clock.now() + ttlSeconds * 1000 });
    },
  };
}

function keyOf(question: Question): string {
  return `${question.type} ${question.name}`;
}

function sizeOf(answer: Kept<RecordKind>): number {
  if (answer.kind === 'absent') return ENTRY_OVERHEAD;
  let octets = ENTRY_OVERHEAD + answer.canonicalName.length;
  for (const record of answer.records) {
    if (typeof record === 'string') octets += record.length;
    else if ('exchange' in record) octets += record.exchange.length + 16;
    else if ('usage' in record) octets += record.data.length + ENTRY_OVERHEAD;
    else for (const part of record) octets += part.length + ENTRY_OVERHEAD;
  }
  return octets;
}
