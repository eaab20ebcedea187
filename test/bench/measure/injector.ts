/** The injector: a program in C that hands mail to a relay over many sessions and times it. */
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { spawnTied } from '../../support/tied-child.ts';

export interface Injection {
  readonly program: string;
  readonly port: number;
  readonly messages: number;
  readonly sessions: number;
  readonly messagesPerConnection: number;
  readonly octets: number;
  readonly domain: string;
  readonly domains: number;
  /** Messages a second at most; as fast as they are acknowledged when absent. */
  readonly rate?: number;
}

export interface InjectionResult {
  readonly accepted: number;
  readonly refused: number;
  readonly connectionErrors: number;
  /** First connect and last `250`, in milliseconds since 1970. */
  readonly startMs: number;
  readonly endMs: number;
  /** From the end of the message to its `250`. */
  readonly ackP50Ms: number;
  readonly ackP99Ms: number;
}

interface Printed {
  readonly ok: number;
  readonly failed: number;
  readonly conn_errors: number;
  readonly start_ns: number;
  readonly end_ns: number;
  readonly ack_ms_p50: number;
  readonly ack_ms_p99: number;
}

/** Run it to its end. */
export async function inject(injection: Injection): Promise<InjectionResult> {
  const { program, port, messages, sessions, octets, domain, domains } = injection;
  const numbers = { p: port, n: messages, c: sessions, l: octets, d: domains };
  const args = Object.entries(numbers).flatMap(([option, value]) => [`-${option}`, `${value}`]);
  args.push('-m', String(injection.messagesPerConnection), '-h', domain);
  if (injection.rate !== undefined) args.push('-r', String(injection.rate));
  const child = spawnTied(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  const printed = child.stdout === null ? '' : await text(child.stdout);
  await ended;
  if (printed.trim() === '') throw new Error(`the injector ended (${child.exitCode})`);
  const said = JSON.parse(printed) as Printed;
  return {
    accepted: said.ok,
    refused: said.failed,
    connectionErrors: said.conn_errors,
    startMs: said.start_ns / 1e6,
    endMs: said.end_ns / 1e6,
    ackP50Ms: said.ack_ms_p50,
    ackP99Ms: said.ack_ms_p99,
  };
}
