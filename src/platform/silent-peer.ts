/**
 * Gives up a connection to a Redis that was asked something and says nothing, for as long as the
 * connection lives: a failover behind an address, a firewall that forgot it, a process that is
 * stopped. TCP itself would wait for a quarter of an hour, and for ever if the peer's kernel still
 * answers. ioredis then reconnects, and asks again what it had asked.
 *
 * Looks are counted, not time: after this process stood still there is one look, whatever the
 * clock says, and what came meanwhile is read before the next.
 */
import type { Redis } from 'ioredis';

const LOOK_MS = 3000;

/** Give up each connection of the client on which nothing comes for so many looks, 3 s apart. */
export function giveUpSilent(client: Redis, looks: number): void {
  client.on('connect', () => watch(client, looks));
}

function watch({ stream }: Redis, looks: number): void {
  let [readOctets, writtenOctets, silentLooks] = [0, 0, 0];
  const timer = setInterval(() => {
    const { bytesRead, bytesWritten } = stream;
    const isOwed = bytesRead === readOctets && bytesWritten > writtenOctets;
    silentLooks = isOwed ? silentLooks + 1 : 0;
    if (!isOwed) [readOctets, writtenOctets] = [bytesRead, bytesWritten];
    if (silentLooks < looks) return;
    stream.destroy(new Error(`Redis has not answered for ${(looks * LOOK_MS) / 1000} s`));
  }, LOOK_MS);
  timer.unref();
  stream.once('close', () => clearInterval(timer));
}
