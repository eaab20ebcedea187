/**
 * Whole sessions with the front door over TCP: never an open relay, and what is taken is what
 * may be sent on.
 */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { parsePathCommand } from '../../../src/intake/path-command.ts';
import { type FrontDoor, openDoor } from '../../support/front-door.ts';
import type { FuzzTarget } from '../engine/target.ts';

/** A door keeps all that happened at it: a new one from time to time. */
const SESSIONS_A_DOOR = 100;
/** Addresses to come from, so that no port has to be used again soon. */
const CLIENTS = 200;

let door: FrontDoor | undefined;
let sessions = 0;

async function currentDoor(): Promise<FrontDoor> {
  if (door && sessions % SESSIONS_A_DOOR === 0) await closeDoor();
  door ??= await openDoor({
    access: { trustedNetworks: ['127.0.1.0/24'] },
    limits: { messageSize: 2000, recipientsPerMessage: 5, receivedHops: 3 },
  });
  sessions += 1;
  return door;
}

async function closeDoor(): Promise<void> {
  await door?.[Symbol.asyncDispose]();
  door = undefined;
}

/** Wait for the greeting, say everything, and give all that was answered. */
function converse(port: number, localAddress: string, input: Buffer): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, localAddress });
    let answer = '';
    socket.once('data', () => socket.end(input));
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
  });
}

const session = (...lines: readonly string[]) => Buffer.from(lines.join('\r\n'));
const MAIL = [
  'EHLO c.example',
  'MAIL FROM:<a@example.com> SMTPUTF8',
  'RCPT TO:<b@example.org>',
  'DATA',
];

const intake: FuzzTarget = {
  name: 'smtp-intake',
  seeds: [
    session(...MAIL, 'Subject: x', '', 'body', '.', 'QUIT', ''),
    session(
      ...MAIL,
      'Received: a',
      'Received: b',
      'Received: c',
      'Received: d',
      '',
      '..',
      '.',
      'NOOP',
      '',
    ),
    session(
      'HELO c',
      'MAIL FROM:<>',
      'RCPT TO:<"a b"@[192.0.2.1]>',
      'RCPT TO:<Postmaster>',
      'DATA',
      '.',
      '',
    ),
    session('EHLO c', 'RSET', 'VRFY a', 'HELP', 'AUTH PLAIN AGEAYg==', 'STARTTLS', 'NOOP', ''),
    session(...MAIL, 'x\n.\nMAIL FROM:<evil@example.com>', '.', 'QUIT', ''),
    session(...MAIL, 'one', '.', ...MAIL.slice(1), 'two', '.', 'QUIT', ''),
  ],
  tokens: [
    ...[
      '\r\n',
      '\n',
      '\r',
      '\0',
      '.',
      '\r\n.\r\n',
      '\n.\n',
      '\r.\r',
      'RSET\r\n',
      'DATA\r\n',
      'MAIL FROM:<',
      'RCPT TO:<',
    ],
    ...[
      '>',
      '"',
      'ü',
      '\xff',
      ' SIZE=9999',
      ' BODY=8BITMIME',
      ' NOTIFY=NEVER',
      'BDAT 5\r\n',
      'STARTTLS\r\n',
      'EHLO [',
    ],
  ],
  maxOctets: 6000,
  async run(input) {
    const at = await currentDoor();
    const client = 1 + (sessions % CLIENTS);
    const before = at.queue.drafts.entries.length;
    const refused = await converse(at.listener.port, `127.0.2.${client}`, input);
    // A stranger gets nothing in, not even a draft.
    assert.equal(at.queue.drafts.entries.length, before);
    assert.match(refused, /^(?:[2345]\d\d[ -][^\r\n]*\r\n)+$/);
    assert.doesNotMatch(refused, /queued as/);
    const answer = await converse(at.listener.port, `127.0.1.${client}`, input);
    assert.match(answer, /^(?:[2345]\d\d[ -][^\r\n]*\r\n)+$/);
    const taken = at.queue.drafts.entries
      .slice(before)
      .filter(({ state }) => state === 'committed');
    assert.ok((answer.match(/^250 2\.0\.0 Ok: queued as /gm) ?? []).length <= taken.length);
    for (const { chunks, envelope } of taken) {
      const text = Buffer.concat(chunks).toString('latin1');
      assert.match(text, /^Received: from [^\r\n]+\r\n\t/);
      assert.doesNotMatch(text, /\r(?!\n)|(?<!\r)\n|\0/);
      for (const path of [
        envelope?.reversePath ?? '',
        ...(envelope?.recipients ?? []).map(({ address }) => address),
      ]) {
        assert.equal(parsePathCommand('RCPT', `RCPT TO:<${path}>`).kind, 'parsed');
      }
    }
    const codes = new Set(answer.match(/^[2345]\d\d(?= )/gm));
    return `${taken.length} taken, ${[...codes].sort().join(' ')}`;
  },
  close: closeDoor,
};

export const intakeTargets: readonly FuzzTarget[] = [intake];
