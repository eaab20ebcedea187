/**
 * The world of the cluster demo: a Redis, a pretend internet whose hosts note when they were asked for what, and three
 * relays as they are shipped, each on loopback addresses of its own.
 */
import { resolve } from 'node:path';
import {
  type PretendDomain,
  type PretendInternet,
  startPretendInternet,
} from '../support/pretend-internet.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';

export const NAMES = ['one', 'two', 'three'] as const;
export type NodeName = (typeof NAMES)[number];

export interface Plan {
  readonly rate: { readonly count: number; readonly perMs: number };
  /** Failures that open a breaker, and how long until the next probe. */
  readonly breaker: { readonly failures: number; readonly probeEveryMs: number };
  /** When things happen, in ms after the load begins. */
  readonly killAtMs: number;
  readonly restartAtMs: number;
  readonly reviveAtMs: number;
  readonly loadMs: number;
  /** Messages a second into each node. */
  readonly perSecond: number;
}

export interface Node {
  readonly name: NodeName;
  readonly relay: RelayProcess;
  state: 'up' | 'killed -9' | 'starting' | 'stopped';
}

export interface World {
  readonly redis: TestRedis;
  readonly net: PretendInternet;
  readonly nodes: readonly Node[];
  readonly domains: readonly PretendDomain[];
  /** When each message for `limited.test` arrived; ms since the epoch. */
  readonly limitedAtMs: readonly number[];
  /** When each connection to the host of `dead.test` came. */
  readonly deadAtMs: readonly number[];
  /** Its host answers from now on. */
  revive(): void;
  domain(name: string): PretendDomain;
  close(): Promise<void>;
}

const PLAIN = ['alfa.test', 'bravo.test', 'charlie.test'];
/** Where messages go, in turn. */
export const DESTINATIONS = [
  ...['alfa.test', 'limited.test', 'bravo.test', 'charlie.test', 'reported.test', 'alfa.test'],
  ...['bravo.test', 'limited.test', 'charlie.test', 'alfa.test', 'dead.test', 'bravo.test'],
];

/** `main`: the program. */
export async function openWorld(plan: Plan, main: string | undefined): Promise<World> {
  const redis = await startRedis({ aof: false });
  const net = await startPretendInternet();
  const [limitedAtMs, deadAtMs]: [number[], number[]] = [[], []];
  let isDead = true;
  const domains: PretendDomain[] = [];
  for (const name of PLAIN) domains.push(await net.domain(name, { sts: {} }));
  domains.push(
    await net.domain('limited.test', {
      mx: [
        {
          host: 'mx.limited.test',
          script: (_session, { verb }) => {
            if (verb === '.') limitedAtMs.push(Date.now());
            return undefined;
          },
        },
      ],
    }),
    await net.domain('dead.test', {
      mx: [
        {
          host: 'mx.dead.test',
          script: (_session, { verb }) => {
            if (verb === 'CONNECT') deadAtMs.push(Date.now());
            return isDead ? { ending: 'close' } : undefined;
          },
        },
      ],
    }),
    await net.domain('reported.test', { sts: {}, tlsRptRua: 'mailto:tls@alfa.test' }),
  );
  const relays = await Promise.all(
    NAMES.map((name, i) =>
      startNode({ name, plan, main, net, redis, address: `${net.network}.${251 + i}` }),
    ),
  );
  const nodes = relays.map((relay, i): Node => ({ name: NAMES[i] ?? 'one', relay, state: 'up' }));
  return {
    ...{ redis, net, nodes, domains, limitedAtMs, deadAtMs },
    revive() {
      isDead = false;
    },
    domain(name) {
      const found = domains.find((one) => one.name === name);
      if (!found) throw new Error(`no domain ${name}`);
      return found;
    },
    async close() {
      await Promise.all(nodes.map(({ relay }) => relay.close()));
      await Promise.all([net.close(), redis.close()]);
    },
  };
}

interface NodeParts {
  readonly name: NodeName;
  readonly plan: Plan;
  readonly main: string | undefined;
  readonly net: PretendInternet;
  readonly redis: TestRedis;
  readonly address: string;
}

function startNode({ name, plan, main, net, redis, address }: NodeParts): Promise<RelayProcess> {
  const { rate, breaker } = plan;
  return startRelay({
    address,
    ...(main === undefined ? {} : { main: resolve(main) }),
    settings: [
      net.relaySettings(),
      {
        ...{ node: name, hostname: `${name}.relay.test`, redis: { url: redis.url } },
        log: { level: 'info' },
        // So that a host sees which node it is.
        outbound: { sourceAddresses: [address] },
        retry: { schedule: ['2s'] },
        destinations: {
          domains: [
            { domain: 'limited.test', rate: `${rate.count}/${rate.perMs / 1000}s` },
            { domain: 'reported.test', messagesPerConnection: 1 },
          ],
          breaker: { failures: breaker.failures, probeEvery: `${breaker.probeEveryMs}ms` },
        },
        tlsRpt: { contact: 'tls@sender.test' },
      },
    ],
  });
}
