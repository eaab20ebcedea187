/**
 * The attempts of a message's story as lines of text: each with the hosts that were tried, their TLS,
 * and what they said. Attempts that went the same way, one behind the other, are told once. Pure;
 * the caller makes the lines printable.
 */
import { plainErrors } from '../mail/system-errors.ts';
import type { AttemptStory, SessionStory, TlsStory } from '../outcome/story-attempts.ts';
import type { ResultGroup } from '../outcome/story-fates.ts';
import type { RecordedFailure } from '../spool/message-state.ts';
import { when } from './span.ts';

const LABEL_WIDTH = 8;
/** Before the other hosts in the text of a failure (outcome/conclude.ts). */
const ALSO = '; also tried: ';
/** So many recipients are all named, of more than that the first few. */
const MOST_NAMED = 5;
const FIRST_FEW = 3;

/** All of them, the newest last. */
export function attemptLines(attempts: readonly AttemptStory[], nowMs: number): readonly string[] {
  const told: { first: AttemptStory; last: AttemptStory; body: readonly string[] }[] = [];
  for (const attempt of attempts) {
    const body = bodyOf(attempt);
    const before = told.at(-1);
    const follows = before?.last.number === attempt.number - 1 && !attempt.unfinished;
    if (before && follows && before.body.join('\n') === body.join('\n')) before.last = attempt;
    else told.push({ first: attempt, last: attempt, body });
  }
  return told.flatMap(({ first, last, body }) => [
    headingOf(first, last, nowMs),
    ...body.map((line) => `  ${line}`),
  ]);
}

function headingOf(first: AttemptStory, last: AttemptStory, nowMs: number): string {
  if (first !== last) {
    const [from, to] = [when(first.at, nowMs), when(last.at, nowMs)];
    return `attempts ${first.number} to ${last.number}, all alike, from ${from} to ${to}`;
  }
  const state = first.unfinished ? ', not at its end: under way, or cut off' : '';
  return `attempt ${first.number} at ${when(first.at, nowMs)}${state}`;
}

function bodyOf(attempt: AttemptStory): readonly string[] {
  const { sessions, sessionsLeftOut, results, resultsLeftOut } = attempt;
  return [
    ...sessions.flatMap((session, i) => sessionLines(session, sessions[i - 1])),
    ...(sessionsLeftOut === undefined ? [] : [`and ${sessionsLeftOut} more hosts or addresses`]),
    ...results.map((group) => resultLine(group, sessions)),
    ...(resultsLeftOut === undefined ? [] : [`and ${resultsLeftOut} more different answers`]),
  ];
}

function sessionLines(session: SessionStory, before: SessionStory | undefined): readonly string[] {
  const { asked, tls, smallHelloBecause, clearTextBecause, end } = session;
  const words = session.tlsOutcome === undefined ? '' : ` (${session.tlsOutcome})`;
  const isNew = asked !== undefined && asked.text !== before?.asked?.text;
  const wasOpen = end.kind === 'transacted' || tls !== undefined;
  return [
    placeOf(session),
    ...(isNew ? [line('asked', asked.text)] : []),
    ...(smallHelloBecause ? [againLine(smallHelloBecause.detail)] : []),
    ...(tls ? tlsLines(tls, words) : []),
    ...(wasOpen && !tls ? [line('TLS', `${inClear(clearTextBecause?.detail)}${words}`)] : []),
    ...endLines(session),
  ];
}

/** `mx.example[192.0.2.1]`, and what there is to know of the connection. */
function placeOf({ host, address, port, reused, transactions }: SessionStory): string {
  return [
    `${whereOf({ host, address }) ?? 'a host'}${port === undefined ? '' : `, port ${port}`}`,
    ...(address === undefined ? ['not connected to'] : []),
    ...(reused ? ['over a connection that was open'] : []),
    ...(transactions === undefined ? [] : [`${transactions} transactions`]),
  ].join(', ');
}

/** `mx.example[192.0.2.1]`, as far as it is known. */
export function whereOf(place: {
  readonly host?: string | undefined;
  readonly address?: string | undefined;
}): string | undefined {
  const { host, address } = place;
  const literal = address === undefined ? '' : `[${address}]`;
  return host === undefined && literal === '' ? undefined : `${host ?? ''}${literal}`;
}

function line(label: string, text: string): string {
  return `  ${label.padEnd(LABEL_WIDTH)}${text}`;
}

function againLine(detail: string): string {
  return line('', `tried again with a small ClientHello: ${plainErrors(detail)}`);
}

function inClear(detail: string | undefined): string {
  return `none, in clear text${detail === undefined ? '' : `: ${plainErrors(detail)}`}`;
}

function tlsLines(tls: TlsStory, words: string): readonly string[] {
  const { version, cipher, certSha256, certValidTo, verifiedAs, tlsa, doubt } = tls;
  const ends = certValidTo === undefined ? '' : `, ends ${certValidTo.slice(0, 10)}`;
  const why = doubt === undefined ? '' : `: ${plainErrors(doubt.detail)}`;
  const verdict =
    verifiedAs === undefined ? `not verified${why}` : `valid for ${verifiedAs}${ends}`;
  return [
    line('TLS', `${version} ${cipher}${words}`),
    line('cert', verdict),
    ...(certSha256 === undefined ? [] : [line('', `SHA-256 ${certSha256}`)]),
    ...(tlsa === undefined ? [] : [line('', `TLSA ${tlsa}`)]),
  ];
}

function endLines({ end, address, tls }: SessionStory): readonly string[] {
  if (end.kind === 'transacted') return [];
  if (end.kind === 'reply') return [line('ended', `${saidAt(end.stage)} ${end.text}`)];
  // The verdict on the certificate was told.
  const why = end.text === tls?.doubt?.detail ? 'before any mail' : plainErrors(end.text);
  return [line(address === undefined ? 'skipped' : 'ended', `${why} (${end.cause})`)];
}

const RESULTS = { delivered: 'delivered', bounced: 'bounced', waiting: 'deferred' } as const;

/** What recipients were told; in short where the session above says it. */
function resultLine(group: ResultGroup, sessions: readonly SessionStory[]): string {
  const { fate, failure, reply, count } = group;
  const head = `${RESULTS[fate]}: ${whoIs(group.recipients, count)}`;
  if (!failure) return reply === undefined ? head : `${head}: ${reply}`;
  const isTold = sessions.some(
    ({ end }) => end.kind !== 'transacted' && failure.text.startsWith(end.text),
  );
  if (!isTold) return `${head}: ${describeFailure(failure)}`;
  const cause =
    failure.source === 'remote' ? `the reply ${whenSaid(failure.cause)}` : failure.cause;
  return `${head} (${cause}, ${failure.status}${failure.expired ? ', lifetime over' : ''})`;
}

/** The host, and what it said or what was wrong. */
export function describeFailure(failure: RecordedFailure): string {
  const { text, source, cause, status, expired } = failure;
  const where = whereOf(failure);
  const over = expired ? 'lifetime over; the last reason: ' : '';
  if (source === 'remote') return `${over}${where ?? 'the host'} ${saidAt(cause)} ${text}`;
  // The cause is of this host, not of those that were tried besides.
  const [own = '', ...also] = plainErrors(text).split(ALSO);
  const besides = also.map((one) => ALSO + one).join('');
  return `${over}${where === undefined ? '' : `${where}: `}${own} (${cause}, ${status})${besides}`;
}

/** `to RCPT` */
function whenSaid(stage: string): string {
  if (stage === 'greeting') return 'at the greeting';
  if (stage === 'end-of-data') return 'to the message';
  return `to ${stage.toUpperCase()}`;
}

/** `said to RCPT:` */
function saidAt(stage: string): string {
  if (stage === 'greeting') return 'greeted with:';
  if (stage === 'end-of-data') return 'said to the message:';
  return `said to ${stage.toUpperCase()}:`;
}

/** All of `count` recipients where they are few, else the first of them. */
export function whoIs(addresses: readonly string[], count: number): string {
  const names = addresses.slice(0, count <= MOST_NAMED ? MOST_NAMED : FIRST_FEW);
  if (names.length === count) return names.join(', ');
  return `${count} recipients (${names.join(', ')} and ${count - names.length} more)`;
}
