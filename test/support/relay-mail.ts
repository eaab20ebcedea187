/**
 * What tests of the whole relay keep doing: open a session with it, have an MX host answer one
 * command in its own way, wait for the DSN about a recipient.
 */
import { readFileSync } from 'node:fs';
import type { MxHost } from './mx-host.ts';
import type { Script, ScriptedReply } from './mx-script.ts';
import { type ConnectOptions, connect, type SmtpClient, type SmtpReply } from './smtp-client.ts';
import { processesIn } from './tied-child.ts';
import { waitFor } from './wait-for.ts';

/** Settings: what was deferred is not tried again within any test. */
export const NO_RETRY = {
  retry: {
    schedule: ['1h'],
    classes: { greylisted: { schedule: ['1h'] }, tlsPolicy: { schedule: ['1h'] } },
  },
} as const;

const STEPS = ['connect', 'greeting', 'helo', 'mail', 'rcpt', 'tls'];
const DATA_STEPS = ['dataInit', 'dataBlock', 'dataDone'];
const timeouts = (each: string) => ({
  outbound: { timeouts: Object.fromEntries([...STEPS, ...DATA_STEPS].map((step) => [step, each])) },
});

/**
 * Settings: an MX host that says nothing is given up within a second. So is one that is well, on a
 * machine that stands still; where it is not to be, go back to PATIENCE.
 */
export const IMPATIENCE = timeouts('700ms');
/** Settings: an MX host is not given up within any test. */
export const PATIENCE = timeouts('5m');

/** Connect and say EHLO. */
export async function openSession(options: ConnectOptions): Promise<SmtpClient> {
  const client = await connect(options);
  await client.send('EHLO client.test');
  return client;
}

/** Connect, STARTTLS, EHLO. */
export async function openSecureSession(options: ConnectOptions): Promise<SmtpClient> {
  const client = await openSession(options);
  await client.starttls();
  await client.send('EHLO client.test');
  return client;
}

/** AUTH PLAIN. */
export function logIn(client: SmtpClient, name: string, password: string): Promise<SmtpReply> {
  return client.send(`AUTH PLAIN ${Buffer.from(`\0${name}\0${password}`).toString('base64')}`);
}

/**
 * Wait until AUTH gives this code: the users file is looked at once a second. Each try comes
 * from an address of its own, since wrong passwords slow an address down.
 */
export async function waitForLogin(
  port: number,
  login: { readonly name: string; readonly password: string; readonly code: number },
): Promise<void> {
  let host = 0;
  await waitFor(`${login.code} for ${login.name}`, async () => {
    host += 1;
    const localAddress = `127.0.${1 + (host >> 8)}.${host & 255}`;
    using client = await openSecureSession({ port, localAddress });
    return (await logIn(client, login.name, login.password)).code === login.code;
  });
}

/** A script that answers `verb` this way, and everything else as usual. */
export function onVerb(verb: string, answer: ScriptedReply): Script {
  return (_session, command) => (command.verb === verb ? answer : undefined);
}

/** Wait until `host` has got a DSN about `recipient`; its text. */
export function dsnAbout(host: MxHost, recipient: string): Promise<string> {
  const field = `Final-Recipient: rfc822; ${recipient}\r\n`;
  return host.waitUntil(`a DSN about ${recipient}`, (sessions) =>
    sessions
      .flatMap(({ messages }) => messages.map(({ data }) => data.toString()))
      .find((text) => text.includes(field)),
  );
}

/** Process ids of the private Redis of the relay with this data directory. */
export function redisIn(dataDir: string): number[] {
  return processesIn(dataDir).filter((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return /^[^\0]*(?:redis|valkey)-server/.test(command);
    } catch {
      return false; // it ended meanwhile
    }
  });
}
