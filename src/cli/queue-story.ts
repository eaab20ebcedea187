/**
 * The story of a message as text for people: what it is, then for each destination in one sentence how
 * things stand, who has which fate, and the attempts, the newest last. Pure; text of strangers is made
 * printable.
 */
import type { Recipient } from '../mail/envelope.ts';
import type { DestinationStory, MessageStory, RecipientStory } from '../outcome/story.ts';
import type { DsnStory } from '../outcome/story-dsns.ts';
import type { FateCounts, ResultGroup } from '../outcome/story-fates.ts';
import { attemptLines, describeFailure, whereOf, whoIs } from './queue-story-attempts.ts';
import { moment, secondsFrom, when } from './span.ts';
import { printable } from './terminal.ts';

export interface StoryView {
  readonly nowMs: number;
  /** In which state of the queue a destination's delivery is. */
  readonly stateOf?: (destination: string) => string | undefined;
  /** What is in its way now: a line each. */
  readonly waitsFor?: (destination: string) => readonly string[];
}

const LABEL_WIDTH = 12;
const MOST_PARAMETERS = 5;

/** The whole story, without a final line end. */
export function formatStory(story: MessageStory, view: StoryView): string {
  const blocks = [
    headRows(story, view.nowMs),
    ...story.destinations.map((destination) => destinationLines(destination, view)),
    ...(story.destinationsLeftOut === undefined
      ? []
      : [[`${story.destinationsLeftOut} more destinations`]]),
  ];
  return blocks.map((lines) => lines.map(printable).join('\n')).join('\n\n');
}

/** What the message is. */
function headRows(story: MessageStory, nowMs: number): readonly string[] {
  const { client, sender, dsns, messageId } = story;
  return [
    ...row('message', [story.id]),
    ...row('Message-ID', messageId === undefined ? [] : [messageId]),
    ...row('received', [moment(story.received, nowMs)]),
    ...row('client', [client ? describeClient(client) : 'none: the relay made it itself']),
    ...row('sender', [sender === '' ? '<> (no reports are sent about it)' : sender]),
    ...row('size', [`${story.sizeBytes} octets`]),
    ...row('parameters', parametersOf(story)),
    ...row('TLS', tlsWishes(story)),
    ...row('recipients', [`${totalOf(story.counts)}: ${fatesIn(story.counts)}`]),
    ...row('notify', notifyLines(story.recipients)),
    ...row('orcpt', orcptLines(story.recipients)),
    ...row('reports', [...dsns.map((dsn) => describeDsn(dsn, nowMs)), ...toBeTold(story, nowMs)]),
  ];
}

function row(label: string, texts: readonly string[], indent = ''): readonly string[] {
  return texts.map((text, i) => indent + (i === 0 ? label : '').padEnd(LABEL_WIDTH) + text);
}

function describeClient({ address, helo, user, tls }: NonNullable<MessageStory['client']>): string {
  const how = tls ? 'over TLS' : 'in clear text';
  return `${address} (HELO ${helo})${user === undefined ? '' : `, user ${user}`}, ${how}`;
}

/** What was said with MAIL; no line where there was nothing. */
function parametersOf(story: MessageStory): readonly string[] {
  const { eightBitMime, smtpUtf8, requireTls, ret, envid } = story;
  const all = [
    ...(eightBitMime ? ['BODY=8BITMIME'] : []),
    ...(smtpUtf8 ? ['SMTPUTF8'] : []),
    ...(requireTls ? ['REQUIRETLS'] : []),
    ...(ret ? [`RET=${ret}`] : []),
    ...(envid === undefined ? [] : [`ENVID=${envid}`]),
  ];
  return all.length === 0 ? [] : [all.join(' ')];
}

/** What the message itself says about TLS; no line where it says nothing. */
function tlsWishes({ requireTls, tlsRequiredNo, sender }: MessageStory): readonly string[] {
  if (tlsRequiredNo)
    return ['its header says TLS-Required: No: rather in clear text than not at all'];
  if (!requireTls) return [];
  return sender === ''
    ? ['REQUIRETLS where the way allows it: from <>, it is not to be lost']
    : ['REQUIRETLS: only to hosts that are known securely and promise the same'];
}

/** `1 waits, 2 delivered`; `all wait`; of one alone `waits`. */
function fatesIn(counts: FateCounts): string {
  const { waiting, delivered, bounced } = counts;
  const total = totalOf(counts);
  const number = (count: number) => (count < total ? `${count} ` : count > 1 ? 'all ' : '');
  return [
    ...(waiting > 0 ? [`${number(waiting)}${waiting === 1 ? 'waits' : 'wait'}`] : []),
    ...(delivered > 0 ? [`${number(delivered)}delivered`] : []),
    ...(bounced > 0 ? [`${number(bounced)}bounced`] : []),
  ].join(', ');
}

function totalOf({ waiting, delivered, bounced }: FateCounts): number {
  return waiting + delivered + bounced;
}

/** A line for each different NOTIFY. */
function notifyLines(recipients: readonly RecipientStory[]): readonly string[] {
  const byNotify = new Map<string, string[]>();
  for (const { address, notify } of recipients) {
    if (!notify) continue;
    const key = notify.join(',');
    const same = byNotify.get(key);
    if (same) same.push(address);
    else byNotify.set(key, [address]);
  }
  return some([...byNotify], MOST_PARAMETERS, ([notify, addresses]) =>
    addresses.length === recipients.length
      ? `${notify} for all`
      : `${notify} for ${whoIs(addresses, addresses.length)}`,
  );
}

function orcptLines(recipients: readonly Pick<Recipient, 'address' | 'orcpt'>[]) {
  const own = recipients.filter(({ orcpt }) => orcpt !== undefined);
  return some(own, MOST_PARAMETERS, ({ address, orcpt }) => `${address} was ${orcpt}`);
}

function some<T>(items: readonly T[], most: number, line: (item: T) => string): readonly string[] {
  const more = items.length > most ? [`and ${items.length - most} more`] : [];
  return [...items.slice(0, most).map(line), ...more];
}

function describeDsn({ id, actions, destination, at, queued }: DsnStory, nowMs: number): string {
  const what = `${actions.join(' and ')}${destination ? ` (${destination})` : ''}`;
  return queued === undefined
    ? `${what}: owed since ${when(at, nowMs)}`
    : `${what}: queued as ${id} at ${when(queued, nowMs)}`;
}

/** What the sender will be told, and when. */
function toBeTold(
  { delayWarningDue: at, tellsOfFailure }: MessageStory,
  nowMs: number,
): readonly string[] {
  const isDue = at !== undefined && secondsFrom(at, nowMs) >= 0;
  const since = isDue ? 'has been due since' : 'at';
  return [
    ...(at === undefined ? [] : [`delayed: ${since} ${when(at, nowMs)}, if it still waits`]),
    ...(tellsOfFailure ? ['failed: when it is given up, with the last reason'] : []),
  ];
}

function destinationLines(story: DestinationStory, view: StoryView): readonly string[] {
  const { recipients, recipientsLeftOut, historyLeftOut, history } = story;
  const attempts = attemptLines(history, view.nowMs);
  return [
    `${nameOf(story)}: ${stateOf(story, view.nowMs)}`,
    ...row('state', [view.stateOf?.(story.destination) ?? []].flat(), '  '),
    ...row('because', view.waitsFor?.(story.destination) ?? [], '  '),
    ...recipients.flatMap((group) => fateLines(group, view.nowMs)),
    ...(recipientsLeftOut === undefined
      ? []
      : [`  and ${recipientsLeftOut} more different answers`]),
    ...(historyLeftOut === undefined
      ? []
      : [`  ${historyLeftOut} attempts in between are not shown`]),
    ...attempts.map((line) => `  ${line}`),
  ];
}

function nameOf({ destination, counts }: DestinationStory): string {
  const total = totalOf(counts);
  const name = destination === '' ? 'addresses without a usable domain' : destination;
  return `${name}, ${total} recipient${total === 1 ? '' : 's'}`;
}

/** How things stand, in one sentence. */
function stateOf(story: DestinationStory, nowMs: number): string {
  const { counts, nextAttempt, expires } = story;
  if (counts.waiting === 0) return `${fatesIn(counts)}; nothing is left to do.`;
  const end = expires === undefined ? '' : `, given up after ${when(expires, nowMs)}`;
  if (nextAttempt === undefined) {
    const tried = story.attempts > 0 ? `tried ${timesOf(story.attempts)}` : 'not tried yet';
    return `${fatesIn(counts)}; ${tried}${end}.`;
  }
  const isLast = expires !== undefined && Date.parse(nextAttempt) >= Date.parse(expires);
  const isDue = secondsFrom(nextAttempt, nowMs) >= 0;
  const due = `${isDue ? 'has been due since' : 'is due at'} ${when(nextAttempt, nowMs)}`;
  return `${fatesIn(counts)}; ${whatIsNext(story, isLast)} ${due}${end}.`;
}

function whatIsNext({ attempts, history }: DestinationStory, isLast: boolean): string {
  if (attempts > 0) return `tried ${timesOf(attempts)}, the ${isLast ? 'last' : 'next'} attempt`;
  if (history.length > 0) return 'the first attempt, which is not at its end,';
  return 'not tried yet, the first attempt';
}

function timesOf(count: number): string {
  return count === 1 ? 'once' : count === 2 ? 'twice' : `${count} times`;
}

/** Who has which fate, since when, by whom or why. */
function fateLines(group: ResultGroup, nowMs: number): readonly string[] {
  const { fate, count, at, by, reply, failure } = group;
  const who = whoIs(group.recipients, count);
  const since = at === undefined ? [] : [when(at, nowMs)];
  if (fate === 'delivered') {
    const where = by && whereOf(by);
    const took = where === undefined ? [] : [`by ${where}`];
    const said = reply === undefined ? [] : [reply];
    return row('delivered', [who, [...since, ...took, ...said].join(', ')], '  ');
  }
  const why = failure ? [describeFailure(failure)] : [];
  const demand = failure?.demand === undefined ? [] : [failure.demand];
  if (fate === 'bounced') return row('bounced', [who, ...since, ...why, ...demand], '  ');
  return row(count === 1 ? 'waits' : 'wait', [who, ...why, ...demand], '  ');
}
