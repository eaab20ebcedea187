/**
 * Clients of a node, as mail servers are: each hands over one message after the other at a steady pace, and what was not
 * acknowledged again, until it is. So a node that is away costs them time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RelayProcess } from '../support/relay-process.ts';
import { connect, type SmtpClient } from '../support/smtp-client.ts';
import type { Ledger } from './ledger.ts';

const AWAY_MS = 200;

export interface LoadPlan {
  readonly relay: RelayProcess;
  readonly node: string;
  /** Where the n-th message goes. */
  readonly destinationOf: (n: number) => string;
  readonly perSecond: number;
  /** No new message is begun after this; what was begun is handed over. */
  readonly until: AbortSignal;
  /** Nothing is tried any more. */
  readonly end: AbortSignal;
}

/** Returns when everything that was begun is acknowledged; how many times something had to be handed over again. */
export async function runLoad(plan: LoadPlan, ledger: Ledger): Promise<number> {
  const { relay, node, destinationOf, perSecond, until, end } = plan;
  const beganAtMs = performance.now();
  let again = 0;
  let client: SmtpClient | undefined;
  for (let n = 0; !until.aborted; n += 1) {
    const token = `${node}-${n}`;
    for (;;) {
      if (end.aborted) return again;
      try {
        client ??= await open(relay);
        const data = `Subject: ${token}\r\n\r\nMessage ${n} by way of ${node}.\r\n`;
        const to = `r${n}@${destinationOf(n)}`;
        const { accepted } = await client.deliver({ from: 'app@sender.test', to, data });
        if (accepted) break;
        await client.send('RSET');
      } catch {
        client?.close();
        client = undefined;
      }
      again += 1;
      await sleep(AWAY_MS);
    }
    ledger.acknowledged(token, node);
    const dueMs = ((n + 1) * 1000) / perSecond - (performance.now() - beganAtMs);
    if (dueMs > 0) await sleep(dueMs, undefined, { signal: until }).catch(() => {});
  }
  client?.close();
  return again;
}

async function open({ address: host, smtpPort: port }: RelayProcess): Promise<SmtpClient> {
  const client = await connect({ host, port });
  await client.send('EHLO app.sender.test');
  return client;
}
