/**
 * The sessions of an attempt as its record keeps them, for whoever asks later why a message waits.
 * Pure. Bounded: so many sessions, and so much text of strangers in all of them together, that the
 * record of an attempt stays at a few KiB whatever the hosts say.
 */
import type { Failure } from '../mail/failure.ts';
import type { SessionResult, TlsFacts, TlsTrouble } from '../mail/session-result.ts';
import { describeRequirement, type TlsRequirement } from '../mail/tls-requirement.ts';
import { oneLine } from '../protocol/dsn/delivery-status.ts';
import { formatReply } from '../protocol/smtp/reply.ts';
import type { AttemptRecord } from '../spool/message-state.ts';
import type { RecordedEnd, RecordedSession, RecordedTls } from '../spool/recorded-session.ts';
import type { StoredMessage } from '../spool/store.ts';

/** Of one attempt. */
const MOST_SESSIONS = 8;
/** Of one text, in characters, and shared by the sessions, which have three of them at most. */
const MOST_TEXT = 1000;
const MOST_TEXT_IN_ALL = 1600;
const SMTP_PORT = 25;
/** Any digest; of a whole certificate enough to tell it. */
const MOST_TLSA = 160;

type Cut = (text: string) => string;

/**
 * The sessions in their order; where they are too many the first ones and the last, which decided.
 * `before`: the last session of the attempt that is on record already.
 */
export function recordSessions(
  results: readonly SessionResult[],
  before?: SessionResult,
): Pick<AttemptRecord, 'sessions' | 'sessionsLeftOut'> {
  const all = results.map((result, i) => ({
    result,
    continued: continues(result, i === 0 ? before : results[i - 1]),
  }));
  const kept = all.length > MOST_SESSIONS ? fewer(all) : all;
  if (kept.length === 0) return {};
  const most = Math.min(MOST_TEXT, Math.floor(MOST_TEXT_IN_ALL / kept.length));
  const cut: Cut = (text) => oneLine(text).slice(0, most);
  let asked: string | undefined;
  const sessions = kept.map(({ result, continued }) => {
    const session = continued ? oneMore(result, cut) : recordSession(result, cut);
    if (session.asked === undefined || session.asked.text !== asked) {
      asked = session.asked?.text ?? asked;
      return session;
    }
    const { asked: _same, ...rest } = session;
    return rest;
  });
  const leftOut = all.length - kept.length;
  return { sessions, ...(leftOut > 0 ? { sessionsLeftOut: leftOut } : {}) };
}

/**
 * Whether somebody of the message, here or at another destination, has no fate after `last`: nobody asks
 * about a message that is gone.
 */
export function leavesSomebody({ envelope, records }: StoredMessage, last: AttemptRecord): boolean {
  const { length } = envelope.recipients;
  if (last.delivered.length + last.bounced.length >= length) return false;
  const settled = new Set<number>();
  for (const record of [...records, last]) {
    if (record.kind !== 'attempt') continue;
    for (const index of record.delivered) settled.add(index);
    for (const { index } of record.bounced) settled.add(index);
  }
  return settled.size < length;
}

/** What repeats a session says least. */
function fewer<T extends { readonly continued: boolean }>(all: readonly T[]): readonly T[] {
  const own = all.filter(({ continued }) => !continued);
  const some = own.length > 0 ? own : all;
  if (some.length <= MOST_SESSIONS) return some;
  return [...some.slice(0, MOST_SESSIONS - 1), ...some.slice(-1)];
}

/** Whether it is a further transaction over the session that `before` was. */
function continues(result: SessionResult, before: SessionResult | undefined): boolean {
  if (before?.kind !== 'transacted' || result.kind !== 'transacted') return false;
  const [a, b] = [before.facts, result.facts];
  return (
    b.reused === true &&
    b.address === a.address &&
    b.candidate.host === a.candidate.host &&
    b.tls?.certSha256 === a.tls?.certSha256
  );
}

function oneMore(result: SessionResult, cut: Cut): RecordedSession {
  return { ...placeOf(result), continued: true, end: endOf(result, cut) };
}

function recordSession(result: SessionResult, cut: Cut): RecordedSession {
  const { requirement, tls, smallHelloBecause, clearTextBecause, reused } = result.facts;
  return {
    ...placeOf(result),
    asked: demandOf(requirement),
    ...(tls ? { tls: recordTls(tls, cut) } : {}),
    ...(smallHelloBecause ? { smallHelloBecause: cutTrouble(smallHelloBecause, cut) } : {}),
    ...(clearTextBecause ? { clearTextBecause: cutTrouble(clearTextBecause, cut) } : {}),
    ...(reused ? { reused } : {}),
    end: endOf(result, cut),
  };
}

function cutTrouble({ cause, detail }: TlsTrouble, cut: Cut): TlsTrouble {
  return { cause, detail: cut(detail) };
}

function placeOf({ facts: { candidate, address } }: SessionResult) {
  return {
    ...(candidate.host === undefined ? {} : { host: candidate.host }),
    ...(address === undefined ? {} : { address }),
    ...(candidate.port === SMTP_PORT ? {} : { port: candidate.port }),
  };
}

function demandOf(requirement: TlsRequirement): NonNullable<RecordedSession['asked']> {
  return {
    level: requirement.level,
    text: describeRequirement(requirement).slice(0, MOST_TEXT),
  };
}

function recordTls(
  { version, cipher, certSha256, certValidToMs, verdict }: TlsFacts,
  cut: Cut,
): RecordedTls {
  const hasEnd = certValidToMs !== undefined && !Number.isNaN(certValidToMs);
  return {
    version,
    cipher,
    ...(certSha256 === undefined ? {} : { certSha256 }),
    ...(hasEnd ? { certValidToMs } : {}),
    ...(verdict.verified
      ? {
          verifiedAs: cut(verdict.matchedName),
          ...(verdict.tlsa === undefined ? {} : { tlsa: cut(verdict.tlsa).slice(0, MOST_TLSA) }),
        }
      : { doubt: { cause: verdict.cause, detail: cut(verdict.detail) } }),
  };
}

function endOf(result: SessionResult, cut: Cut): RecordedEnd {
  if (result.kind === 'ended-early') return failedEnd(result.failure, cut);
  for (const one of result.recipients.values()) {
    if (one.kind !== 'accepted') continue;
    return { kind: 'transacted', reply: cut(formatReply(one.reply)) };
  }
  return { kind: 'transacted' };
}

function failedEnd(failure: Failure, cut: Cut): RecordedEnd {
  return failure.kind === 'reply'
    ? { kind: 'reply', stage: failure.stage, text: cut(formatReply(failure.reply)) }
    : { kind: 'local', cause: failure.cause, text: cut(failure.detail) };
}
