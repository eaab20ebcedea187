/**
 * `stsrelay status`: one screen about the running relay.
 */
import { z } from 'zod';
import type { RelayStatus } from '../admin/status.ts';
import { type CliCommand, CliError, EXIT } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { askRelay } from './control-client.ts';
import { print, printable, printJson } from './terminal.ts';

const STATUS_TIMEOUT_MS = 10_000;
const SHOWN_ERRORS = 10;

/** Loose: a relay of another version may say more. */
const statusSchema = z.looseObject({
  version: z.string(),
  uptimeSeconds: z.number(),
  node: z.string(),
  listeners: z.array(
    z.looseObject({
      address: z.string(),
      port: z.number(),
      tls: z.string().optional(),
      auth: z.string().optional(),
      connections: z.number().optional(),
    }),
  ),
  queue: z.record(z.string(), z.number()),
  redis: z.looseObject({ up: z.boolean(), reason: z.string().optional() }),
  spool: z.looseObject({ ok: z.boolean(), reason: z.string().optional() }),
  lastErrors: z.array(z.looseObject({ time: z.string(), event: z.string(), text: z.string() })),
});

export const status: CliCommand = {
  usage: 'status',
  summary: 'one screen: uptime, listeners, queue, Redis, spool, last errors',
  async run(invocation) {
    const { status: code, body } = await askRelay(requireDataDir(invocation), {
      method: 'GET',
      path: '/api/v1/status',
      timeoutMs: STATUS_TIMEOUT_MS,
    });
    const parsed = statusSchema.safeParse(body);
    if (code !== 200 || !parsed.success) {
      throw new CliError(EXIT.unreachable, `the relay answered ${code}, which is no status`);
    }
    if (invocation.json) printJson(body);
    else print(formatStatus(parsed.data as RelayStatus));
    return EXIT.done;
  },
};

/** The numbers of the queue in words; others come as they are called. */
const QUEUE_WORDS: Readonly<Record<string, (count: number) => string>> = {
  messages: (count) => `${count} messages`,
  inFlight: (count) => `${count} deliveries under way`,
  due: (count) => `${count} due`,
  delayed: (count) => `${count} waiting for their time`,
  overdue: (count) => `${count} overdue`,
  oldestDueSeconds: (count) => `oldest due for ${Math.round(count)} s`,
};

/** The screen. */
export function formatStatus(relay: RelayStatus): string {
  const listeners = relay.listeners.map(({ address, port, tls, auth, connections }) => {
    const facts = [
      tls === undefined ? '' : `tls ${tls}`,
      auth === undefined ? '' : `auth ${auth}`,
      connections === undefined ? '' : `${connections} connections`,
    ];
    const place = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    return [place, ...facts.filter((fact) => fact !== '')].join(', ');
  });
  const queue = Object.entries(relay.queue).map(
    ([name, count]) => QUEUE_WORDS[name]?.(count) ?? `${count} ${name}`,
  );
  const errors = relay.lastErrors
    .slice(0, SHOWN_ERRORS)
    .map(({ time, event, text }) => printable(`${time}  ${event}  ${text}`));
  const rows: readonly (readonly [string, readonly string[]])[] = [
    [
      'relay',
      [`stsrelay ${relay.version}, node ${relay.node}, up ${formatUptime(relay.uptimeSeconds)}`],
    ],
    ['listeners', listeners.length > 0 ? listeners : ['none open']],
    ['queue', [queue.length > 0 ? queue.join(', ') : 'empty']],
    ['redis', [state(relay.redis.up, 'up', 'DOWN', relay.redis.reason)]],
    ['spool', [state(relay.spool.ok, 'ok', 'FAILING', relay.spool.reason)]],
    ['last errors', errors.length > 0 ? errors : ['none']],
  ];
  return rows
    .flatMap(([name, lines]) =>
      lines.map((line, i) => `${(i === 0 ? name : '').padEnd(13)}${line}`),
    )
    .join('\n');
}

function state(good: boolean, yes: string, no: string, reason = ''): string {
  const detail = reason === '' || reason === yes ? '' : ` (${printable(reason)})`;
  return `${good ? yes : no}${detail}`;
}

/** The two largest units that are not zero: `3 d 4 h`, `12 min`. */
export function formatUptime(seconds: number): string {
  const units = [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ] as const;
  let rest = Math.max(0, Math.floor(seconds));
  const parts: string[] = [];
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest %= size;
    if (count > 0 || parts.length > 0) parts.push(count > 0 ? `${count} ${unit}` : '');
  }
  return (
    parts
      .slice(0, 2)
      .filter((part) => part !== '')
      .join(' ') || '0 s'
  );
}
