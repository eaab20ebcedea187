/**
 * Where a password comes from: typed twice on a terminal without being shown, or from stdin.
 */
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { MAX_PASSWORD_OCTETS } from '../intake/password.ts';
import { CliError, EXIT } from './command.ts';
import { printError } from './terminal.ts';

/** The password for `--password-stdin`: all of stdin but its last line end. */
export async function readPassword(): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of process.stdin) {
    parts.push(Buffer.from(part as Buffer));
    length += (part as Buffer).length;
    if (length > MAX_PASSWORD_OCTETS + 2) break;
  }
  const text = Buffer.concat(parts)
    .toString('utf8')
    .replace(/\r?\n$/, '');
  if (/[\r\n]/.test(text))
    throw new CliError(EXIT.wrong, 'the password on stdin has several lines');
  return checked(text);
}

/** Ask on the terminal, twice. */
export async function askPassword(name: string): Promise<string> {
  if (!process.stdin.isTTY) {
    const text = 'there is no terminal to ask for the password on; give it with --password-stdin';
    throw new CliError(EXIT.wrong, text);
  }
  const first = checked(await ask(`Password for ${name}: `));
  if ((await ask('Again: ')) !== first) {
    throw new CliError(EXIT.no, 'the two passwords differ; nothing was changed');
  }
  return first;
}

function checked(password: string): string {
  if (password === '') throw new CliError(EXIT.wrong, 'an empty password is none');
  if (Buffer.byteLength(password) > MAX_PASSWORD_OCTETS) {
    throw new CliError(EXIT.wrong, `a password has at most ${MAX_PASSWORD_OCTETS} octets`);
  }
  return password;
}

async function ask(question: string): Promise<string> {
  // readline echoes what is typed to its output: to this one, where nobody sees it.
  const nowhere = new Writable({ write: (_part, _encoding, done) => done() });
  const lines = createInterface({
    input: process.stdin,
    output: nowhere,
    terminal: true,
    historySize: 0,
  });
  process.stderr.write(question);
  try {
    return await new Promise<string>((resolve, reject) => {
      lines.question('', resolve);
      lines.once('SIGINT', () => reject(new CliError(EXIT.no, 'cancelled; nothing was changed')));
      lines.once('close', () => reject(new CliError(EXIT.no, 'cancelled; nothing was changed')));
    });
  } finally {
    lines.close();
    printError('');
  }
}
