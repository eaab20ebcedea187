/**
 * Connections to Redis, whoever runs it. Two kinds: one that fails at once while Redis is away
 * (the relay goes on without it and catches up later), and one that waits (BullMQ's worker).
 * Every connection reconnects for ever; every error is heard.
 */
import { isIP } from 'node:net';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { giveUpSilent } from './silent-peer.ts';

export type RedisClient = Redis | Cluster;

/** Where Redis is. */
export type RedisTarget =
  | { readonly kind: 'socket'; readonly path: string }
  | { readonly kind: 'url'; readonly url: string }
  /** User, password, database and TLS are those of `url`; its path, or else its host, names the master. */
  | {
      readonly kind: 'sentinel';
      readonly url: string;
      readonly sentinels: readonly string[];
      /** How to log in at the Sentinels; without a password they ask for none. */
      readonly user?: string;
      readonly password?: string;
    }
  /** User, password and TLS are those of `url`. */
  | { readonly kind: 'cluster'; readonly nodes: readonly string[]; readonly url?: string };

export type RedisPatience =
  /** Commands fail at once without a connection, and after `COMMAND_TIMEOUT_MS` without an answer. */
  | 'fail-fast'
  /** Commands wait until Redis is back, as BullMQ's worker demands. */
  | 'wait';

const COMMAND_TIMEOUT_MS = 3000;
const LAST_RETRY_MS = 2000;
/** So often a connection is looked at that owes an answer, 3 s apart; BullMQ's worker blocks for up to 10 s. */
const SILENT_LOOKS: Readonly<Record<RedisPatience, number>> = { 'fail-fast': 3, wait: 5 };
/** A replica is left for the master that may be behind its address by now, but not more often than this. */
const REPLICA_LEFT_MS = 1000;

/** A connection; `onError` hears every error, so none can end the process. */
export function connectRedis(
  target: RedisTarget,
  patience: RedisPatience,
  onError: (error: Error) => void,
): RedisClient {
  const common: RedisOptions = {
    maxRetriesPerRequest: null,
    enableOfflineQueue: patience === 'wait',
    retryStrategy: (times) => Math.min(50 * times, LAST_RETRY_MS),
    connectTimeout: 5000,
    reconnectOnError: leaveReplica(),
    ...(patience === 'fail-fast' ? { commandTimeout: COMMAND_TIMEOUT_MS } : {}),
  };
  const client = open(target, common);
  client.on('error', onError);
  const looks = SILENT_LOOKS[patience];
  if (client instanceof Cluster) client.on('+node', (node: Redis) => giveUpSilent(node, looks));
  else giveUpSilent(client, looks);
  return client;
}

/**
 * Waits until a connection that was just opened stands, or came to nothing; not for longer than a command is waited
 * for. Never rejects.
 */
export async function firstTry(client: RedisClient): Promise<void> {
  if (!['connecting', 'connect'].includes(client.status)) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const ends = ['ready', 'error', 'close', 'end'] as const;
  for (const end of ends) client.once(end, resolve);
  const timer = setTimeout(resolve, COMMAND_TIMEOUT_MS);
  await promise;
  clearTimeout(timer);
  for (const end of ends) client.off(end, resolve);
}

/** Says of an error whether it is better to connect anew: this was a master once, and is a replica now. */
function leaveReplica(): (error: Error) => boolean {
  let leftAtMs = Number.NEGATIVE_INFINITY;
  return ({ message }) => {
    const now = performance.now();
    if (!message.includes('READONLY') || now - leftAtMs < REPLICA_LEFT_MS) return false;
    leftAtMs = now;
    return true;
  };
}

function open(target: RedisTarget, options: RedisOptions): RedisClient {
  switch (target.kind) {
    case 'socket':
      return new Redis({ ...options, path: target.path });
    case 'url':
      return new Redis(target.url, options);
    case 'sentinel': {
      const sentinels = target.sentinels.map((text) => hostAndPort(text, 26379));
      const named = { sentinels, ...masterOf(target.url), ...sentinelTls(target.url) };
      const { user = '', password = '' } = target;
      const login = {
        ...(user === '' ? {} : { sentinelUsername: user }),
        ...(password === '' ? {} : { sentinelPassword: password }),
      };
      return new Redis({ ...options, ...credentials(target.url), ...named, ...login });
    }
    case 'cluster':
      return new Cluster(
        target.nodes.map((text) => hostAndPort(text, 6379)),
        {
          redisOptions: { ...options, ...credentials(target.url) },
          enableOfflineQueue: options.enableOfflineQueue ?? false,
          clusterRetryStrategy: (times) => Math.min(50 * times, LAST_RETRY_MS),
          // Certificates name hosts: what the cluster announces is what is looked for in them.
          dnsLookup: (address, callback) => callback(null, address),
        },
      );
  }
}

/** The name of the master that Sentinels know, and the database there. */
export function masterOf(url: string): { readonly name: string; readonly db?: number } {
  const name = 'mymaster';
  if (!URL.canParse(url)) return { name };
  const { hostname, pathname } = new URL(url);
  const path = decodeURIComponent(pathname.slice(1));
  const host =
    isIP(hostname.replace(/^\[|\]$/g, '')) === 0 && hostname !== 'localhost' ? hostname : '';
  if (/^\d+$/.test(path)) return { name: host || name, db: Number(path) };
  return { name: path || host || name };
}

/** Without this ioredis speaks in clear to the master, whatever the URL says. */
function sentinelTls(url: string): RedisOptions {
  const isTls = URL.canParse(url) && new URL(url).protocol === 'rediss:';
  return isTls ? { enableTLSForSentinelMode: true, sentinelTLS: {} } : {};
}

/** What a URL says beyond the host. */
function credentials(url = ''): RedisOptions {
  if (!URL.canParse(url)) return {};
  const { username, password, protocol } = new URL(url);
  return {
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
    ...(protocol === 'rediss:' ? { tls: {} } : {}),
  };
}

function hostAndPort(text: string, defaultPort: number): { host: string; port: number } {
  const { hostname, port } = new URL(text.includes('://') ? text : `redis://${text}`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || defaultPort };
}

/**
 * The eviction policy in force; only `noeviction` is safe for a queue. Of a cluster that of a master which has
 * another one, if there is one. Undefined when Redis hides it.
 */
export async function evictionPolicy(client: RedisClient): Promise<string | undefined> {
  const masters = client instanceof Cluster ? client.nodes('master') : [client];
  const policies = await Promise.all(
    masters.map(async (one) => /^maxmemory_policy:(\S+)/m.exec(await one.info('memory'))?.[1]),
  );
  return policies.find((one) => one !== undefined && one !== 'noeviction') ?? policies[0];
}
