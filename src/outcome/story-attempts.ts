/**
 * The attempts that were made for one destination, for the story of a message: when, over which
 * sessions, and what each recipient was told. Pure.
 */
import { type TlsWords, tlsWords } from '../mail/tls-outcome.ts';
import type { AttemptRecord } from '../spool/message-state.ts';
import type { RecordedDemand, RecordedSession, RecordedTls } from '../spool/recorded-session.ts';
import type { StoredMessage } from '../spool/store.ts';
import { type ResultGroup, resultGroups, resultsOf } from './story-fates.ts';

/** TLS that was reached. */
export interface TlsStory extends Omit<RecordedTls, 'certValidToMs'> {
  /** When the certificate ends; RFC 3339. */
  readonly certValidTo?: string;
}

/** One session, or a host that was not connected to. */
export interface SessionStory extends Omit<RecordedSession, 'continued' | 'tls'> {
  readonly tls?: TlsStory;
  /** What was asked and what was reached, as in the log. Absent where it is not on record. */
  readonly tlsOutcome?: TlsWords;
  /** How many were made over it, where they were several. */
  readonly transactions?: number;
}

export interface AttemptStory {
  /** Counted from 1, for the destination. */
  readonly number: number;
  /** When its outcome was known; RFC 3339. */
  readonly at: string;
  /** Part of its transactions are on record: it is under way, or was cut off. */
  readonly unfinished?: true;
  /** None where it came to no host, and of attempts that an older version recorded. */
  readonly sessions: readonly SessionStory[];
  readonly sessionsLeftOut?: number;
  /** Recipients with the same answer together. */
  readonly results: readonly ResultGroup[];
  /** Groups that are not among them. */
  readonly resultsLeftOut?: number;
}

const MOST_SESSIONS = 8;

/** All attempts for `destination`, oldest first. */
export function attemptStories(
  { envelope, records }: StoredMessage,
  destination: string,
): readonly AttemptStory[] {
  const stories: AttemptStory[] = [];
  let parts: AttemptRecord[] = [];
  const tell = () => {
    const number = stories.length + 1;
    stories.push(attemptStory(parts, number, (index) => envelope.recipients[index]?.address ?? ''));
    parts = [];
  };
  for (const record of records) {
    if (record.kind !== 'attempt' || record.destination !== destination) continue;
    if (record.untried) continue;
    parts.push(record);
    // The transactions of one attempt have a record each.
    if (!record.more) tell();
  }
  if (parts.length > 0) tell();
  return stories;
}

function attemptStory(
  parts: readonly AttemptRecord[],
  number: number,
  addressOf: (index: number) => string,
): AttemptStory {
  const last = parts.at(-1);
  const sessions = parts.flatMap((record) => sessionStories(record.sessions ?? []));
  const told = merged(sessions);
  const sum = parts.reduce((count, { sessionsLeftOut = 0 }) => count + sessionsLeftOut, 0);
  const sessionsLeftOut = sum + Math.max(0, told.length - MOST_SESSIONS);
  const { groups, leftOut } = resultGroups(
    parts.flatMap((record) =>
      resultsOf(record).map(([index, result]) => ({ address: addressOf(index), result })),
    ),
  );
  return {
    number,
    at: new Date(last?.atMs ?? 0).toISOString(),
    ...(last?.more ? { unfinished: true } : {}),
    sessions: told.slice(0, MOST_SESSIONS),
    ...(sessionsLeftOut > 0 ? { sessionsLeftOut } : {}),
    results: groups,
    ...(leftOut > 0 ? { resultsLeftOut: leftOut } : {}),
  };
}

type Told = SessionStory & { readonly continued?: true };

/** Each with what it was asked for. */
function sessionStories(sessions: readonly RecordedSession[]): readonly Told[] {
  let asked: RecordedDemand | undefined;
  return sessions.map((session) => {
    const { tls, ...rest } = session;
    asked = session.asked ?? asked;
    return {
      ...rest,
      ...(asked && !session.continued ? { asked, tlsOutcome: outcomeOf(asked, session) } : {}),
      ...(tls ? { tls: tlsStory(tls) } : {}),
    };
  });
}

function outcomeOf({ level }: RecordedDemand, { tls, end }: RecordedSession): TlsWords {
  if (tls) return tlsWords(level, tls.verifiedAs === undefined ? 'encrypted' : 'verified');
  return tlsWords(level, end.kind === 'transacted' ? 'clear' : undefined);
}

function tlsStory({ certValidToMs, ...rest }: RecordedTls): TlsStory {
  const certValidTo = certValidToMs === undefined ? undefined : dateOf(certValidToMs);
  return { ...rest, ...(certValidTo === undefined ? {} : { certValidTo }) };
}

/** A certificate may name any date, also one that is none. */
function dateOf(ms: number): string | undefined {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

/** Transactions over one session are one session. */
function merged(sessions: readonly Told[]): readonly SessionStory[] {
  const stories: SessionStory[] = [];
  for (const { continued, ...session } of sessions) {
    const before = stories.at(-1);
    if (continued && before) {
      const transactions = (before.transactions ?? 1) + 1;
      stories[stories.length - 1] = { ...before, transactions };
    } else stories.push(session);
  }
  return stories;
}
