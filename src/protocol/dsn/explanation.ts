/**
 * The part of a DSN that people read: which host, what it said or what its certificate said, what
 * the policy asks, since when and how often it was tried, and why that ends now. Pure text, plain words, lines ended by
 * CRLF.
 */
import { oneLine } from './delivery-status.ts';

export interface Explanation {
  readonly reportingMta: string;
  readonly receivedAtMs: number;
  readonly failed: readonly (Undelivered & {
    /** Where `reason` is no attempt's: what went wrong at the last one. */
    readonly lastReason?: Reason | undefined;
    /** When that ended. */
    readonly lastAttemptMs?: number | undefined;
    /** Its time is over: after so long. */
    readonly givenUpAfterMs?: number | undefined;
  })[];
  readonly delayed: readonly (Undelivered & {
    /** When they are given up; absolute, ms. */
    readonly retryUntilMs: number;
  })[];
  readonly relayed: readonly { readonly recipient: string; readonly host: string }[];
}

export interface Undelivered {
  readonly recipient: string;
  readonly attempts: number;
  /** Of the last attempt, or why it is given up; undefined before the first. */
  readonly reason: Reason | undefined;
}

/** What went wrong. */
export interface Reason {
  readonly host?: string | undefined;
  readonly address?: string | undefined;
  /** The remote reply, or our reason. */
  readonly text: string;
  readonly source: 'remote' | 'local';
  /** The TLS that was asked for was not reached: who asks for what, in a sentence. */
  readonly demand?: string | undefined;
}

const FAILED = [
  'Your message could not be delivered to the recipients below. No further',
  'attempts will be made; what went wrong stands under each address.',
];
const DELAYED = [
  'Your message has not been delivered yet to the recipients below. There is',
  'nothing you need to do, and no need to send it again: it will be tried',
  'again. What stood in the way stands under each address.',
];
const RELAYED = [
  'Your message was handed to the hosts below. They do not send',
  'confirmations of delivery, so this is the last one you will get.',
];

export function explain(explanation: Explanation): string {
  const { reportingMta, failed, delayed, relayed, receivedAtMs } = explanation;
  const since = new Date(receivedAtMs).toUTCString();
  const sections = [
    [`This is the mail system at ${reportingMta}.`, ''],
    section(
      FAILED,
      failed.map((one) => [
        ...explainRecipient(one),
        ...explainLast(one),
        ...explainAttempts(one.attempts, since),
        ...explainEnd(one.givenUpAfterMs),
      ]),
    ),
    section(
      DELAYED,
      delayed.map((one) => [
        ...explainRecipient(one),
        ...(one.attempts === 0
          ? [`    Waiting since ${since}; not tried yet.`]
          : explainAttempts(one.attempts, since)),
        `    To be tried again until ${new Date(one.retryUntilMs).toUTCString()}.`,
      ]),
    ),
    section(
      RELAYED,
      relayed.map(({ recipient, host }) => [`  <${recipient}>`, `    ${host}`]),
    ),
  ];
  return sections
    .flat()
    .map((line) => `${oneLine(line)}\r\n`)
    .join('');
}

/** Nothing where there is no recipient. */
function section(introduction: readonly string[], recipients: readonly (readonly string[])[]) {
  if (recipients.length === 0) return [];
  return [...introduction, '', ...recipients.flatMap((lines) => [...lines, ''])];
}

function explainRecipient({ recipient, reason }: Undelivered): string[] {
  return [`  <${recipient}>`, ...(reason ? explainReason(reason) : [])];
}

function explainReason({ host, address, text, source, demand }: Reason): string[] {
  const where =
    host !== undefined && address !== undefined ? `${host} (${address})` : (host ?? address);
  const said = source === 'remote' ? `${where ?? 'The mail server'} answered:` : 'Reason:';
  return [
    ...(source === 'local' && where ? [`    Mail server: ${where}`] : []),
    `    ${said}`,
    ...wrap(text, 66).map((line) => `      ${line}`),
    ...(demand === undefined
      ? []
      : wrap(`${demand} The message was not sent over anything less.`, 66).map(
          (line) => `    ${line}`,
        )),
  ];
}

function explainLast({ lastReason, lastAttemptMs }: Explanation['failed'][number]): string[] {
  if (!lastReason || lastAttemptMs === undefined) return [];
  const at = new Date(lastAttemptMs).toUTCString();
  return [`    The last attempt ended at ${at}.`, ...explainReason(lastReason)];
}

function explainEnd(afterMs: number | undefined): string[] {
  if (afterMs === undefined) return [];
  return [`    Given up after ${inWords(afterMs)}: messages are kept no longer.`];
}

const UNITS = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
] as const;

/** `5 days`, `5 days and 3 hours`: in whole units, two of them at most. */
function inWords(spanMs: number): string {
  let rest = Math.max(0, Math.floor(spanMs / 1000));
  const counts = UNITS.map(([name, size]) => {
    const count = Math.floor(rest / size);
    rest %= size;
    return { count, name: count === 1 ? name : `${name}s` };
  });
  const first = counts.findIndex(({ count }) => count > 0);
  if (first < 0) return 'less than a second';
  const told = counts.slice(first, first + 2).filter(({ count }) => count > 0);
  return told.map(({ count, name }) => `${count} ${name}`).join(' and ');
}

function explainAttempts(attempts: number, since: string): string[] {
  if (attempts === 0) return [`    Not tried; the message came at ${since}.`];
  if (attempts === 1) return [`    Tried once; the message came at ${since}.`];
  return [`    Tried ${attempts} times since ${since}.`];
}

/** Lines of at most `width` characters, broken at blanks; at most 20. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of oneLine(text).split(' ')) {
    if (line !== '' && line.length + word.length + 1 > width) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].slice(0, 20);
}
