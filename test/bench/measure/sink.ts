/**
 * The sink: the MX host of the bench, a program in C that counts messages, connections and
 * handshakes in a file that it shares with us.
 */
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawnTied } from '../../support/tied-child.ts';
import { waitFor } from '../../support/wait-for.ts';

const STATS_OCTETS = 13 * 8;

export interface SinkStats {
  readonly messages: number;
  readonly octets: number;
  readonly connections: number;
  readonly handshakes: number;
  readonly resumed: number;
  /** When the last message was complete, in milliseconds since 1970. */
  readonly lastMs: number;
  readonly messagesOverTls: number;
  readonly errors: number;
  readonly mostConnections: number;
}

/** The stats file: 64-bit counters in this machine's (little-endian) order. */
export function parseStats(file: Buffer): SinkStats {
  if (file.length < STATS_OCTETS) throw new Error(`stats of ${file.length} octets only`);
  const at = (index: number) => Number(file.readBigUInt64LE(index * 8));
  return {
    messages: at(0),
    octets: at(1),
    connections: at(2),
    handshakes: at(3),
    resumed: at(4),
    lastMs: Number(file.readBigUInt64LE(6 * 8) / 1000n) / 1000,
    messagesOverTls: at(7),
    errors: at(8),
    mostConnections: at(10),
  };
}

export interface SinkRequest {
  /** Path of the compiled program. */
  readonly program: string;
  readonly dir: string;
  readonly port: number;
  /** PEM files to offer STARTTLS with. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
}

export interface Sink {
  stats(): SinkStats;
  /** Stop answering, with connections still accepted by the kernel. */
  pause(): void;
  resume(): void;
  stop(): void;
}

/** Start one on 127.0.0.1; it answers when this resolves. */
export async function startSink(request: SinkRequest): Promise<Sink> {
  const file = join(request.dir, 'sink.stats');
  writeFileSync(file, '');
  // -q: acknowledge TCP segments at once. Without it some relays wait for the 40 ms timer.
  const args = ['-p', String(request.port), '-s', file, '-q'];
  if (request.tls !== undefined) args.push('-c', request.tls.cert, '-k', request.tls.key);
  const child = spawnTied(request.program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const fd = openSync(file, 'r');
  const stats = () => {
    const buffer = Buffer.alloc(STATS_OCTETS);
    const octets = readSync(fd, buffer, 0, STATS_OCTETS, 0);
    return parseStats(buffer.subarray(0, octets));
  };
  await waitFor('the sink', () => {
    if (child.exitCode !== null) throw new Error(`the sink ended (${child.exitCode})`);
    return stats();
  });
  return {
    stats,
    pause: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
    stop: () => {
      child.kill('SIGKILL');
      closeSync(fd);
    },
  };
}
