/**
 * The part of a DSN that people read: which host, what it said or what its certificate said, what
 * the policy asks, since when and how often it was tried. Pure text, plain words, lines ended by
 * CRLF.
 */
import { oneLine } from './delivery-status.ts';

export interface Explanation {
  readonly reportingMta: string;
  readonly receivedAtMs: number;
  readonly failed: readonly Undelivered[];
  readonly delayed: readonly (Undelivered & {
    /** When they are given up; absolute, ms. */
    readonly retryUntilMs: number;
  })[];
  readonly relayed: readonly { readonly recipient: string; readonly host: string }[];
}

export interface Undelivered {
  readonly recipient: string;
  readonly attempts: number;
  /** Of the last attempt; undefined before the first. */
  readonly reason:
    | {
        readonly host?: string | undefined;
        readonly address?: string | undefined;
        /** The remote reply, or our reason. */
        readonly text: string;
        readonly source: 'remote' | 'local';
        /** The TLS that was asked for was not reached: who asks for what, in a sentence. */
        readonly demand?: string | undefined;
      }
    | undefined;
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
      failed.map((one) => [...explainReason(one), ...explainAttempts(one, since)]),
    ),
    section(
      DELAYED,
      delayed.map((one) => [
        ...explainReason(one),
        ...explainAttempts(one, since),
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

function explainReason({ recipient, reason }: Undelivered): string[] {
  if (!reason) return [`  <${recipient}>`];
  const { host, address, text, source, demand } = reason;
  const where =
    host !== undefined && address !== undefined ? `${host} (${address})` : (host ?? address);
  const said = source === 'remote' ? `${where ?? 'The mail server'} answered:` : 'Reason:';
  return [
    `  <${recipient}>`,
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

function explainAttempts({ attempts }: Undelivered, since: string): string[] {
  if (attempts === 0) return [`    Waiting since ${since}; not tried yet.`];
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
