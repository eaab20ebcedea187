/**
 * The table of the cluster demo: what each node took and delivered, its queue and what it knows of the dead host, and what
 * holds for all of them together.
 */
import type { Ledger } from './ledger.ts';
import { bar } from './screen.ts';
import type { Node, Plan, World } from './world.ts';

export interface Figures {
  readonly table: readonly string[];
  readonly plain: string;
}

interface Row {
  readonly node: Node;
  readonly taken: number;
  readonly delivered: number;
  readonly queued: number | undefined;
}

export async function look(world: World, ledger: Ledger, plan: Plan): Promise<Figures> {
  const rows = await Promise.all(world.nodes.map((node) => rowOf(node, ledger)));
  const now = Date.now();
  const { rate } = plan;
  const inWindow = world.limitedAtMs.filter((atMs) => atMs > now - rate.perMs).length;
  const window = `${rate.count} in ${rate.perMs / 1000} s`;
  const { acknowledged, missing, twice } = ledger.account();
  const table = [
    '',
    '  node    address            state       acknowledged  delivered  queued   mx.dead.test',
    ...rows.map(line),
    '',
    `  limited.test   ${bar(inWindow, rate.count)} ${inWindow} arrived in the last ${rate.perMs / 1000} s; ${window} for all nodes together`,
    `  dead.test      ${world.deadAtMs.length} connections of all nodes together so far`,
    `  ledger         ${acknowledged} acknowledged, ${missing.length} still under way, ${twice.length} arrived twice`,
  ];
  const nodes = rows.map(
    ({ node, taken, delivered, queued }) =>
      `${node.name} ${node.state}: ${taken} acknowledged, ${delivered} delivered, ${queued ?? '?'} queued, mx.dead.test ${breakerOf(node)}`,
  );
  const plain = [
    ...nodes,
    `limited.test ${inWindow} of ${window}`,
    `${missing.length} of ${acknowledged} under way`,
  ].join(' | ');
  return { table, plain };
}

async function rowOf(node: Node, ledger: Ledger): Promise<Row> {
  const { relay, name, state } = node;
  const delivered = relay.wholeLog.filter(({ event }) => event === 'delivery.delivered').length;
  const queued = state === 'up' ? await queueOf(node) : undefined;
  return { node, taken: ledger.takenBy(name), delivered, queued };
}

async function queueOf({ relay }: Node): Promise<number | undefined> {
  try {
    const response = await relay.http('/metrics', { signal: AbortSignal.timeout(2000) });
    let sum = 0;
    for (const [, value] of (await response.text()).matchAll(
      /^stsrelay_queue_messages\{.*\} (\d+)/gm,
    )) {
      sum += Number(value);
    }
    return sum;
  } catch {
    return undefined;
  }
}

/** What the node last said about the hosts of dead.test in this life. */
export function breakerOf({ relay, state }: Node): string {
  if (state !== 'up') return '';
  const last = relay.log.findLast(({ event }) => /^queue\.breaker_/.test(event));
  if (!last) return 'closed';
  const isOpen = last.event === 'queue.breaker_opened';
  const by = last['node'] === undefined ? 'found out itself' : `told by ${last['node']}`;
  return `${isOpen ? 'OPEN' : 'closed again'}, ${by}`;
}

function line({ node, taken, delivered, queued }: Row): string {
  const { name, relay, state } = node;
  const cells = [
    name.padEnd(7),
    relay.address.padEnd(18),
    state.padEnd(11),
    String(taken).padStart(12),
    String(delivered).padStart(10),
    String(queued ?? '').padStart(7),
  ];
  return `  ${cells.join(' ')}   ${breakerOf(node)}`;
}
