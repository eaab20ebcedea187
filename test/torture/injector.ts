/**
 * Hands mail to the relay over several sessions at once, whatever becomes of the connections,
 * and tells the ledger what was answered. Some senders break off in the middle of a message.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../fuzz/engine/random.ts';
import { ConnectionLost, connect, type SmtpClient, stuff } from '../support/smtp-client.ts';
import type { Ledger } from './ledger.ts';
import type { Composer, Mail } from './mail.ts';

const REPLY_TIMEOUT_MS = 60_000;
/** Between tries when nobody listens, or mail is refused. */
const PAUSE_MS = 100;
/** One message in so many is broken off. */
const BROKEN_OFF = 150;
/** One session in so many is over TLS. */
const SECURE = 6;
const MESSAGES_PER_SESSION = 60;

export interface Load {
  readonly port: number;
  readonly ledger: Ledger;
  readonly composer: Composer;
  readonly random: Random;
  /** The next token. */
  readonly nextToken: () => string;
  readonly sessions: number;
  /** Octets of the largest message. */
  readonly largest?: number;
  /** Asked before each message: how long to wait with it, in ms; undefined: send no more. */
  readonly pace: () => number | undefined;
  readonly onAcknowledged?: () => void;
  /** A 4xx to a message or to a connection. */
  readonly onTurnedAway?: (reply: string) => void;
}

/** Put the relay under load; resolves when `pace` has ended every session. */
export async function inject(load: Load): Promise<void> {
  await Promise.all(Array.from({ length: load.sessions }, () => keepSending(load)));
}

async function keepSending(load: Load): Promise<void> {
  let client: SmtpClient | undefined;
  let left = 0;
  for (;;) {
    const waitMs = load.pace();
    if (waitMs === undefined) break;
    if (waitMs > 0) await sleep(waitMs);
    try {
      if (client === undefined || client.isClosed || left === 0) {
        client?.close();
        client = await openSession(load);
        left = client === undefined ? 0 : MESSAGES_PER_SESSION;
      }
      const isTaken = client !== undefined && (await send(client, load)) === 'acknowledged';
      if (!isTaken) await sleep(PAUSE_MS);
      left -= 1;
    } catch (error) {
      if (!isLost(error)) throw error;
      client?.close();
      client = undefined;
      await sleep(PAUSE_MS);
    }
  }
  client?.close();
}

/** The relay went away, which it may. */
function isLost(error: unknown): boolean {
  return error instanceof ConnectionLost || (error as NodeJS.ErrnoException).code !== undefined;
}

async function openSession({ port, random, onTurnedAway }: Load): Promise<SmtpClient | undefined> {
  const client = await connect({ port, timeoutMs: REPLY_TIMEOUT_MS });
  if (client.banner.code !== 220) {
    onTurnedAway?.(client.banner.raw.trim());
    client.close();
    return undefined;
  }
  const isSecure = random.below(SECURE) === 0;
  const ehlo = await client.send('EHLO client.test');
  if (isSecure && ehlo.code === 250 && (await client.starttls()).code === 220) {
    await client.send('EHLO client.test');
  }
  return client;
}

async function send(client: SmtpClient, load: Load): Promise<'acknowledged' | 'refused'> {
  const { ledger, random } = load;
  const mail = load.composer.compose(load.nextToken(), random, load.largest);
  ledger.begin(mail);
  const breaksOff = random.below(BROKEN_OFF) === 0;
  let isSent = false;
  try {
    const accepted = await openTransaction(client, mail);
    if (typeof accepted === 'string') return await refused(client, { mail, load }, accepted);
    const wire = stuff(mail.content);
    if (breaksOff) {
      client.write(wire.subarray(0, wire.length >> 1));
      client.reset();
      throw new ConnectionLost('broken off by the sender');
    }
    isSent = true;
    client.write(wire);
    const reply = await client.read();
    const id = /queued as (\S+)/.exec(reply.raw)?.[1];
    if (reply.code !== 250 || id === undefined) {
      return await refused(client, { mail, load }, reply.raw.trim());
    }
    ledger.answered(mail.token, { kind: 'acknowledged', id, to: accepted });
    load.onAcknowledged?.();
    return 'acknowledged';
  } catch (error) {
    if (!ledger.isAnswered(mail.token)) {
      ledger.answered(mail.token, { kind: isSent ? 'unsure' : 'cut-off' });
    }
    throw error;
  }
}

/** MAIL, RCPT, DATA: the recipients that were taken, or the reply that refused them all. */
async function openTransaction(client: SmtpClient, mail: Mail): Promise<string[] | string> {
  const from = await client.send(`MAIL FROM:<${mail.from}> BODY=8BITMIME`);
  if (from.code !== 250) return from.raw.trim();
  const accepted: string[] = [];
  let refusal = '';
  for (const { address } of mail.to) {
    const reply = await client.send(`RCPT TO:<${address}>`);
    if (reply.code === 250) accepted.push(address);
    else refusal = reply.raw.trim();
  }
  if (accepted.length === 0) return refusal;
  const go = await client.send('DATA');
  return go.code === 354 ? accepted : go.raw.trim();
}

async function refused(
  client: SmtpClient,
  { mail, load }: { mail: Mail; load: Load },
  reply: string,
): Promise<'refused'> {
  load.ledger.answered(mail.token, { kind: 'refused', reply });
  load.onTurnedAway?.(reply);
  await client.send('RSET');
  return 'refused';
}
