/**
 * Everything that is known of one message, told in order: what was handed over by whom, and for each
 * destination who has which fate, every attempt with its sessions, and what comes next by schedule
 * (RFC 5321 §4.5.4.1). Plain data, which is also what `--json` prints: names stay as they are, new
 * ones may come. What holds a delivery now (a pause, a breaker) is not in it. Pure.
 *
 * Bounded, however many recipients, destinations and attempts there are: what is left out is counted.
 */
import type { ClientFacts, Notify } from '../mail/envelope.ts';
import { expiry } from '../queue/retry-schedule.ts';
import {
  type DeliveryState,
  foldRecords,
  groupByDestination,
  type MessageState,
  type RecordedFailure,
} from '../spool/message-state.ts';
import type { StoredMessage } from '../spool/store.ts';
import { type AttemptStory, attemptStories } from './story-attempts.ts';
import {
  type DsnStory,
  type DsnsToCome,
  dsnStories,
  dsnsToCome,
  type ToComeParts,
} from './story-dsns.ts';
import {
  countFates,
  type FateCounts,
  type FateStory,
  fatesOf,
  type ResultGroup,
  rankOf,
  resultGroups,
} from './story-fates.ts';

export type RecipientStory = FateStory & {
  readonly address: string;
  /** Empty where the address has no usable domain. */
  readonly destination: string;
  /** RFC 3461 §4.1. */
  readonly notify?: readonly Notify[];
  /** RFC 3461 §4.2, as `addr-type;address`. */
  readonly orcpt?: string;
};

/** One destination of the message. */
export interface DestinationStory {
  /** Empty: the addresses have no usable domain. */
  readonly destination: string;
  readonly counts: FateCounts;
  /** Made so far. */
  readonly attempts: number;
  /** By schedule; RFC 3339. With `expires`, only where somebody waits. */
  readonly nextAttempt?: string;
  /** When those who wait are given up. */
  readonly expires?: string;
  /** Of those who wait: why the last attempt failed. */
  readonly lastFailure?: RecordedFailure;
  /** What is so now, recipients with the same answer together; those who wait first. */
  readonly recipients: readonly ResultGroup[];
  /** Groups that are not among them. */
  readonly recipientsLeftOut?: number;
  /** Oldest first. Where there are too many, those in the middle are missing. */
  readonly history: readonly AttemptStory[];
  readonly historyLeftOut?: number;
}

export interface MessageStory extends DsnsToCome {
  readonly id: string;
  /** Of its header, when it came in. */
  readonly messageId?: string;
  /** RFC 3339, UTC, like all times. */
  readonly received: string;
  /** Empty for the null reverse-path. */
  readonly sender: string;
  readonly sizeBytes: number;
  /** Absent for what the relay made itself. */
  readonly client?: ClientFacts;
  /** RFC 3461 §4.3, §4.4. */
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
  readonly eightBitMime: boolean;
  readonly smtpUtf8: boolean;
  /** REQUIRETLS, and `TLS-Required: No` in the header (RFC 8689). */
  readonly requireTls?: true;
  readonly tlsRequiredNo?: true;
  readonly counts: FateCounts;
  /** Those who wait first, then who bounced, then who has it. */
  readonly recipients: readonly RecipientStory[];
  readonly recipientsLeftOut?: number;
  /** Those where somebody waits first. */
  readonly destinations: readonly DestinationStory[];
  readonly destinationsLeftOut?: number;
  /** When the sender was told that the message waits. */
  readonly delayWarning?: string;
  readonly dsns: readonly DsnStory[];
}

export type StoryParts = ToComeParts;

const MOST_RECIPIENTS = 1000;
const MOST_DESTINATIONS = 100;
/** Of one destination, and of all of them together. */
const MOST_ATTEMPTS = 60;
const MOST_ATTEMPTS_IN_ALL = 300;
const LEAST_ATTEMPTS = 2;

/** The story so far. */
export function storyOf(message: StoredMessage, parts: StoryParts): MessageStory {
  const { envelope, records, sizeBytes } = message;
  const state = foldRecords(envelope, records, parts.destinationOf);
  const fates = fatesOf(message);
  const groups = [...groupByDestination(envelope, parts.destinationOf)];
  const destinations = sorted(groups, ([, indexes]) =>
    indexes.some((index) => fates[index]?.fate === 'waiting') ? 0 : 1,
  );
  const mostAttempts = Math.max(
    LEAST_ATTEMPTS,
    Math.min(MOST_ATTEMPTS, Math.floor(MOST_ATTEMPTS_IN_ALL / destinations.length)),
  );
  const delay = records.find((record) => record.kind === 'delay');
  return {
    id: envelope.id,
    ...(envelope.messageId === undefined ? {} : { messageId: envelope.messageId }),
    received: timeOf(envelope.receivedAtMs),
    sender: envelope.reversePath,
    sizeBytes,
    ...(envelope.client ? { client: envelope.client } : {}),
    ...(envelope.ret ? { ret: envelope.ret } : {}),
    ...(envelope.envid === undefined ? {} : { envid: envelope.envid }),
    eightBitMime: envelope.eightBitMime,
    smtpUtf8: envelope.smtpUtf8,
    ...(envelope.requireTls ? { requireTls: true as const } : {}),
    ...(envelope.tlsRequiredNo ? { tlsRequiredNo: true as const } : {}),
    counts: countFates(fates),
    ...recipientStories(message, { fates, groups }),
    destinations: destinations
      .slice(0, MOST_DESTINATIONS)
      .map(([destination, indexes]) =>
        destinationStory(message, { ...parts, state, fates, destination, indexes, mostAttempts }),
      ),
    ...leftOut('destinationsLeftOut', destinations.length - MOST_DESTINATIONS),
    ...(delay ? { delayWarning: timeOf(delay.atMs) } : {}),
    ...dsnsToCome(message, fates, parts),
    dsns: dsnStories(message),
  };
}

interface DestinationParts extends StoryParts {
  readonly state: MessageState;
  readonly fates: readonly FateStory[];
  readonly destination: string;
  readonly indexes: readonly number[];
  readonly mostAttempts: number;
}

function destinationStory(message: StoredMessage, parts: DestinationParts): DestinationStory {
  const { state, fates, destination, indexes, mostAttempts } = parts;
  const { recipients } = message.envelope;
  const all = attemptStories(message, destination);
  const waiting = state.pending.find((delivery) => delivery.destination === destination);
  const own = sorted(
    indexes.map((index) => ({
      address: recipients[index]?.address ?? '',
      result: fates[index] ?? { fate: 'waiting' as const },
    })),
    ({ result }) => rankOf(result.fate),
  );
  const now = resultGroups(own);
  return {
    destination,
    counts: countFates(own.map(({ result }) => result)),
    attempts: all.filter(({ unfinished }) => !unfinished).length,
    ...(waiting ? whatComes(message, waiting, parts) : {}),
    recipients: now.groups,
    ...leftOut('recipientsLeftOut', now.leftOut),
    history: someOf(all, mostAttempts),
    ...leftOut('historyLeftOut', all.length - mostAttempts),
  };
}

/** Where somebody waits. */
function whatComes(
  { envelope }: StoredMessage,
  { destination, nextAttemptMs, lastFailure }: DeliveryState,
  { retry }: StoryParts,
) {
  const { receivedAtMs, reversePath } = envelope;
  const nullReversePath = reversePath === '';
  return {
    nextAttempt: timeOf(nextAttemptMs),
    expires: timeOf(expiry(retry, { destination, receivedAtMs, nullReversePath })),
    ...(lastFailure ? { lastFailure } : {}),
  };
}

/** The first few and the last ones. */
function someOf(attempts: readonly AttemptStory[], most: number): readonly AttemptStory[] {
  if (attempts.length <= most) return attempts;
  const first = Math.ceil(most / 6);
  return [...attempts.slice(0, first), ...attempts.slice(first - most)];
}

function recipientStories(
  { envelope }: StoredMessage,
  {
    fates,
    groups,
  }: { fates: readonly FateStory[]; groups: readonly (readonly [string, readonly number[]])[] },
): Pick<MessageStory, 'recipients' | 'recipientsLeftOut'> {
  const destinations = new Map(
    groups.flatMap(([destination, indexes]) => indexes.map((index) => [index, destination])),
  );
  const indexes = sorted([...fates.keys()], (index) => rankOf(fates[index]?.fate));
  const recipients = indexes.slice(0, MOST_RECIPIENTS).map((index) => {
    const { address = '', notify, orcpt } = envelope.recipients[index] ?? {};
    return {
      address,
      destination: destinations.get(index) ?? '',
      ...(notify ? { notify } : {}),
      ...(orcpt === undefined ? {} : { orcpt }),
      ...(fates[index] ?? { fate: 'waiting' as const }),
    };
  });
  return { recipients, ...leftOut('recipientsLeftOut', indexes.length - MOST_RECIPIENTS) };
}

/** By rank, else as they were. */
function sorted<T>(items: readonly T[], rank: (item: T) => number): readonly T[] {
  const ranked = items.map((item) => ({ item, rank: rank(item) }));
  return ranked.sort((a, b) => a.rank - b.rank).map(({ item }) => item);
}

function leftOut<K extends string>(name: K, count: number): { readonly [name in K]?: number } {
  return count > 0 ? ({ [name]: count } as { readonly [name in K]?: number }) : {};
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
