/**
 * The part of a DSN that people read: which host, what it said or what its certificate said,
 * since when and how often it was tried. Pure text, plain words, lines ended by CRLF.
 */
import { oneLine } from './delivery-status.ts';

export interface Explanation {
  readonly reportingMta: string;
  readonly receivedAtMs: number;
  readonly failed: readonly {
    readonly recipient: string;
    readonly host: string | undefined;
    /** The remote reply, or our reason. */
    readonly text: string;
    readonly source: 'remote' | 'local';
    readonly attempts: number;
    /** It was tried until the message's lifetime ended. */
    readonly expired: boolean;
    /** The TLS that was asked for was not reached: who asks for what, in a sentence. */
    readonly demand: string | undefined;
  }[];
  readonly relayed: readonly { readonly recipient: string; readonly host: string }[];
}

export function explain(explanation: Explanation): string {
  const lines = [`This is the mail system at ${explanation.reportingMta}.`, ''];
  if (explanation.failed.length > 0) {
    lines.push(
      'Your message could not be delivered to the recipients below. No further',
      'attempts will be made; what went wrong stands under each address.',
      '',
    );
    for (const failure of explanation.failed) lines.push(...explainFailure(failure, explanation));
  }
  if (explanation.relayed.length > 0) {
    lines.push(
      'Your message was handed to the hosts below. They do not send',
      'confirmations of delivery, so this is the last one you will get.',
      '',
    );
    for (const { recipient, host } of explanation.relayed) {
      lines.push(`  <${recipient}>`, `    ${host}`, '');
    }
  }
  return lines.map((line) => `${oneLine(line)}\r\n`).join('');
}

function explainFailure(
  failure: Explanation['failed'][number],
  { receivedAtMs }: Explanation,
): string[] {
  const { recipient, host, text, source, attempts, expired, demand } = failure;
  const said = source === 'remote' ? `${host ?? 'The mail server'} answered:` : 'Reason:';
  const since = new Date(receivedAtMs).toUTCString();
  return [
    `  <${recipient}>`,
    ...(source === 'local' && host ? [`    Mail server: ${host}`] : []),
    `    ${said}`,
    ...wrap(text, 66).map((line) => `      ${line}`),
    ...(demand === undefined
      ? []
      : wrap(`${demand} The message was not sent over anything less.`, 66).map(
          (line) => `    ${line}`,
        )),
    ...(expired ? [`    Tried ${attempts} times since ${since}.`] : []),
    '',
  ];
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
