/**
 * `stsrelay status`: one screen about the running relay.
 */
import { z } from 'zod';
import type { RelayStatus } from '../admin/status.ts';
import type { SupervisorFacts } from '../roles/roles-socket.ts';
import { askRoles, formatMail, formatRole } from './ask-roles.ts';
import { type CliCommand, CliError, EXIT } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { askRelay } from './control-client.ts';
import { counted, deliveries } from './counted.ts';
import { fold } from './fold.ts';
import { formatSpan, toTheSecond } from './span.ts';
import type { Screen } from './table.ts';
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
  notes: `
While deliver, which answers, is away, it says what is known of the two processes and ends with exit
code 3: since when, how often it was started again and when it will be.`,
  async run(invocation) {
    const dataDir = requireDataDir(invocation);
    const [answer, supervisor] = await Promise.all([
      askRelay(dataDir, {
        method: 'GET',
        path: '/api/v1/status',
        timeoutMs: STATUS_TIMEOUT_MS,
      }).catch((error: CliError) => error),
      askRoles(dataDir),
    ]);
    if (answer instanceof Error) {
      if (!supervisor) throw answer;
      const { message: error } = answer;
      if (invocation.json) printJson({ ok: false, error, ...rolesFacts(supervisor) });
      else print(foldStatus(formatAway(supervisor, error)));
      return EXIT.unreachable;
    }
    const { status: code, body } = answer;
    const parsed = statusSchema.safeParse(body);
    if (code !== 200 || !parsed.success) {
      throw new CliError(EXIT.unreachable, `the relay answered ${code}, which is no status`);
    }
    const relay = parsed.data as RelayStatus;
    if (invocation.json) printJson({ ...relay, ...(supervisor ? rolesFacts(supervisor) : {}) });
    else print(foldStatus(formatStatus(relay, supervisor)));
    return EXIT.done;
  },
};

function rolesFacts(facts: SupervisorFacts) {
  const { roles, version, pid, startedAt } = facts;
  const mail = formatMail(facts);
  return { supervisor: { version, pid, startedAt }, roles, ...(mail ? { mail } : {}) };
}

/** The numbers of the queue in words; others come as they are called. */
const QUEUE_WORDS: Readonly<Record<string, (count: number) => string>> = {
  messages: (count) => counted(count, 'message'),
  inFlight: (count) => `${deliveries(count)} under way`,
  due: (count) => `${count} due`,
  oldestDueSeconds: (count) => `the oldest due for ${formatSpan(count)}`,
  overdue: (count) => `${count} overdue`,
  parked: (count) => `${count} parked: hosts are away, a rate is used up, or paused`,
  delayed: (count) => `${count} waiting for ${count === 1 ? 'its' : 'their'} time`,
  held: (count) => `${count} held`,
};

/** A line for each number that is not zero. */
function queueLines(queue: RelayStatus['queue']): readonly string[] {
  const order = [...Object.keys(QUEUE_WORDS), ...Object.keys(queue)];
  const lines = [...new Set(order)].flatMap((name) => {
    const count = queue[name] ?? 0;
    return count === 0 ? [] : [QUEUE_WORDS[name]?.(count) ?? `${count} ${name}`];
  });
  return lines.length > 0 ? lines : ['empty'];
}

const LABEL_WIDTH = 13;
type Row = readonly [string, readonly string[]];

/** The screen while the role that would answer is away. */
export function formatAway(supervisor: SupervisorFacts, error: string): string {
  const { version, pid, startedAt, roles } = supervisor;
  const facts = `stsrelay ${printable(version)}, process ${pid}, started ${startedAt}`;
  // One that is up and does not answer needs more words than the rows below have.
  const isHung = roles.some(({ role, state }) => role === 'deliver' && state === 'up');
  return formatRows([
    ['relay', isHung ? [facts, printable(error)] : [facts]],
    ...rolesRows(supervisor),
  ]);
}

function rolesRows(supervisor: SupervisorFacts): readonly Row[] {
  const mail = formatMail(supervisor);
  return [
    ['roles', supervisor.roles.map((facts) => formatRole(facts, Date.now()))],
    ...(mail === undefined ? [] : [['mail', [mail]] as const]),
  ];
}

/** The screen. */
export function formatStatus(relay: RelayStatus, supervisor?: SupervisorFacts): string {
  const listeners = relay.listeners.map(({ address, port, tls, auth, connections }) => {
    const facts = [
      tls === undefined ? '' : `tls ${tls}`,
      auth === undefined ? '' : `auth ${auth}`,
      connections === undefined ? '' : counted(connections, 'connection'),
    ];
    const place = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    return [place, ...facts.filter((fact) => fact !== '')].join(', ');
  });
  const errors = relay.lastErrors
    .slice(0, SHOWN_ERRORS)
    .map(({ time, event, text }) => printable(`${toTheSecond(time)}  ${event}  ${text}`.trim()));
  return formatRows([
    [
      'relay',
      [`stsrelay ${relay.version}, node ${relay.node}, up ${formatSpan(relay.uptimeSeconds)}`],
    ],
    ...(supervisor ? rolesRows(supervisor) : []),
    ['listeners', listeners.length > 0 ? listeners : ['none open']],
    ['queue', queueLines(relay.queue)],
    ['redis', [state(relay.redis.up, 'up', 'DOWN', relay.redis.reason)]],
    ['spool', [state(relay.spool.ok, 'ok', 'FAILING', relay.spool.reason)]],
    ['last errors', errors.length > 0 ? errors : ['none']],
  ]);
}

function formatRows(rows: readonly Row[]): string {
  return rows
    .flatMap(([name, lines]) =>
      lines.map((line, i) => `${(i === 0 ? name : '').padEnd(LABEL_WIDTH)}${line}`),
    )
    .join('\n');
}

/** The screen as wide as the terminal: what has no room in its line goes on below its begin, an error's time included. */
export function foldStatus(text: string, screen: Screen = process.stdout): string {
  const { isTTY = false, columns = 0 } = screen;
  return fold(text, { isTTY, columns, hang: LABEL_WIDTH });
}

function state(good: boolean, yes: string, no: string, reason = ''): string {
  const detail = reason === '' || reason === yes ? '' : ` (${printable(reason)})`;
  return `${good ? yes : no}${detail}`;
}
