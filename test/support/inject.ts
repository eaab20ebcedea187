/**
 * Hands many messages to a relay over several connections and remembers which were
 * acknowledged. Made for crash tests: a lost connection is no error, what was not answered
 * with 250 simply does not count.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Delivery, type SmtpClient } from './smtp-client.ts';

export interface InjectOptions {
  readonly port: number;
  readonly host?: string;
  readonly count: number;
  /** Connections at a time; default 5. */
  readonly concurrency?: number;
  readonly makeMessage: (index: number) => Delivery;
  /** Called at each acknowledgement with how many there are by now. */
  readonly onAcknowledged?: (total: number) => void;
  /** No new message is begun once it is aborted. */
  readonly signal?: AbortSignal;
}

export interface Injected {
  /** Answered with 250. */
  readonly acknowledged: readonly { readonly index: number; readonly id: string }[];
  /** Begun, and the connection was lost before an answer: may or may not be in the queue. */
  readonly uncertain: readonly number[];
  /** Answered otherwise: index and reply. */
  readonly refused: readonly { readonly index: number; readonly reply: string }[];
  /** Never begun: no connection could be made, or the signal came. */
  readonly unsent: readonly number[];
}

/** Inject `count` messages; returns when each has its fate. */
export async function injectMany(options: InjectOptions): Promise<Injected> {
  const acknowledged: { index: number; id: string }[] = [];
  const uncertain: number[] = [];
  const refused: { index: number; reply: string }[] = [];
  const unsent: number[] = [];
  let next = 0;

  const worker = async (): Promise<void> => {
    let client: SmtpClient | undefined;
    while (next < options.count) {
      const index = next;
      next += 1;
      if (options.signal?.aborted !== true) client = await usable(client, options);
      if (client === undefined || options.signal?.aborted === true) {
        unsent.push(index);
        continue;
      }
      try {
        const { reply, accepted, id } = await client.deliver(options.makeMessage(index));
        if (accepted && id !== undefined) {
          acknowledged.push({ index, id });
          options.onAcknowledged?.(acknowledged.length);
        } else {
          refused.push({ index, reply: reply.raw.trimEnd() });
          await client.send('RSET');
        }
      } catch {
        if (!refused.some((one) => one.index === index)) uncertain.push(index);
        client.close();
        client = undefined;
      }
    }
    await client?.quit().catch(() => {});
    client?.close();
  };
  const workers = Array.from({ length: options.concurrency ?? 5 }, worker);
  await Promise.all(workers);
  return { acknowledged, uncertain, refused, unsent };
}

async function usable(
  client: SmtpClient | undefined,
  options: InjectOptions,
): Promise<SmtpClient | undefined> {
  if (client !== undefined && !client.isClosed) return client;
  try {
    const { port, host = '127.0.0.1' } = options;
    const fresh = await connect({ port, host });
    await fresh.send('EHLO client.example.net');
    return fresh;
  } catch {
    await sleep(5); // nobody listens: leave the CPU to whoever is restarting
    return undefined;
  }
}
