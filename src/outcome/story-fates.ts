/**
 * What became of recipients, for the story of a message: the fate of each, and recipients with the
 * same answer together, so that 500 of them with one reply are one line. Pure.
 */
import type { AttemptRecord, RecordedFailure } from '../spool/message-state.ts';
import type { RecordedSession } from '../spool/recorded-session.ts';
import type { StoredMessage } from '../spool/store.ts';

export type Fate = 'waiting' | 'delivered' | 'bounced';

/** How many recipients have which fate. */
export type FateCounts = Readonly<Record<Fate, number>>;

export interface FateStory {
  readonly fate: Fate;
  /** When that became known; RFC 3339. Absent for who waits for the first attempt. */
  readonly at?: string;
  /** Of who has it: the host that took it, and its reply, as far as they were kept. */
  readonly by?: { readonly host?: string; readonly address?: string };
  readonly reply?: string;
  /** Of who bounced, or waits: why. */
  readonly failure?: RecordedFailure;
}

/** Recipients who got the same answer. */
export interface ResultGroup extends FateStory {
  readonly count: number;
  /** The first few of them. */
  readonly recipients: readonly string[];
}

/** A recipient and its answer. */
export interface Answered {
  readonly address: string;
  readonly result: FateStory;
}

const MOST_GROUPS = 20;
const FIRST_FEW = 5;
/** In the place of the addresses, where a reply is the same for several recipients but for them. */
const ADDRESS = '(address)';

/** The fate of each recipient of the envelope. A fate does not change: the first record counts. */
export function fatesOf({ envelope, records }: StoredMessage): readonly FateStory[] {
  const fates: FateStory[] = envelope.recipients.map(() => ({ fate: 'waiting' }));
  for (const record of records) {
    if (record.kind !== 'attempt') continue;
    for (const [index, result] of resultsOf(record)) {
      if (fates[index]?.fate === 'waiting') fates[index] = result;
    }
  }
  return fates;
}

export function countFates(fates: readonly FateStory[]): FateCounts {
  const counts = { waiting: 0, delivered: 0, bounced: 0 };
  for (const { fate } of fates) counts[fate] += 1;
  return counts;
}

const RANKS: FateCounts = { waiting: 0, bounced: 1, delivered: 2 };

/** Who is told of first. */
export function rankOf(fate: Fate = 'waiting'): number {
  return RANKS[fate];
}

/** What a record says of each recipient, by index. */
export function resultsOf(record: AttemptRecord): readonly (readonly [number, FateStory])[] {
  const at = new Date(record.atMs).toISOString();
  const taken = whoTook(record.sessions ?? []);
  const relayed = new Map(
    record.relayed.map(({ index, host, reply }) => [
      index,
      { ...(taken.by || host === '' ? {} : { by: { host } }), reply },
    ]),
  );
  return [
    ...record.delivered.map((index): [number, FateStory] => [
      index,
      { fate: 'delivered', at, ...taken, ...relayed.get(index) },
    ]),
    ...record.bounced.map(({ index, failure }): [number, FateStory] => [
      index,
      { fate: 'bounced', at, failure },
    ]),
    ...record.deferred.map(({ index, failure }): [number, FateStory] => [
      index,
      { fate: 'waiting', at, failure },
    ]),
  ];
}

/** The session that came to a transaction. */
function whoTook(sessions: readonly RecordedSession[]): Pick<FateStory, 'by' | 'reply'> {
  const session = sessions.findLast(({ end }) => end.kind === 'transacted');
  if (session?.end.kind !== 'transacted') return {};
  const { host, address, end } = session;
  return {
    by: {
      ...(host === undefined ? {} : { host }),
      ...(address === undefined ? {} : { address }),
    },
    ...(end.reply === undefined ? {} : { reply: end.reply }),
  };
}

/** Together what is the same but for the recipient's address; in the order of the first of each. */
export function resultGroups(answers: readonly Answered[]): {
  readonly groups: readonly ResultGroup[];
  /** How many groups there are besides. */
  readonly leftOut: number;
} {
  const groups = new Map<string, Answered[]>();
  for (const answer of answers) {
    const key = keyOf(answer);
    const group = groups.get(key);
    if (group) group.push(answer);
    else groups.set(key, [answer]);
  }
  return {
    groups: [...groups.values()].slice(0, MOST_GROUPS).map(asGroup),
    leftOut: Math.max(0, groups.size - MOST_GROUPS),
  };
}

function keyOf({ address, result }: Answered): string {
  const { failure, ...rest } = result;
  return JSON.stringify([
    rest,
    failure && { ...failure, text: withoutAddress(failure.text, address) },
  ]);
}

function asGroup(answers: readonly Answered[]): ResultGroup {
  const [{ address, result } = { address: '', result: { fate: 'waiting' as const } }] = answers;
  const { failure } = result;
  const isSame = answers.every((answer) => answer.result.failure?.text === failure?.text);
  const text = failure && withoutAddress(failure.text, address);
  return {
    ...result,
    ...(failure && text !== undefined && !isSame ? { failure: { ...failure, text } } : {}),
    count: answers.length,
    recipients: answers.slice(0, FIRST_FEW).map((answer) => answer.address),
  };
}

/** Many a host repeats the address it refuses. */
function withoutAddress(text: string, address: string): string {
  return address === '' ? text : text.replaceAll(address, ADDRESS);
}
