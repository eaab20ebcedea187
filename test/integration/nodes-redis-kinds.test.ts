/**
 * The kinds of Redis that several nodes may share, as real processes: Sentinel over a failover, a Cluster that loses
 * a master with and without a replica, and one behind TLS with an ACL user. Under load the relays take mail all the time, and
 * everything that they acknowledged arrives.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { runStsrelay } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { injectMany } from '../support/inject.ts';
import {
  type PretendDomain,
  type PretendInternet,
  startPretendInternet,
} from '../support/pretend-internet.ts';
import { redisMissing, startRedis } from '../support/redis.ts';
import { startClusterGroup, startSentinelGroup } from '../support/redis-groups.ts';
import { type RelayProcess, type Settings, startRelay } from '../support/relay-process.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const PER_NODE = 60;
const TRIES = 3;
/** Domains with a rate, `TRIES` of each. */
const LIMITED = ['sentinel-before', 'sentinel-after', 'cluster-before', 'cluster-after', 'tls'];

describe('two relays', { skip: redisMissing }, () => {
  let net: PretendInternet;
  let loads = 0;
  before(async () => {
    net = await startPretendInternet();
  });
  after(() => net?.close());

  async function pair(redis: Settings, env: Record<string, string> = {}) {
    const start = (node: string) => {
      const limited = LIMITED.flatMap((name) =>
        Array.from({ length: TRIES }, (_, i) => `${name}-${i + 1}.test`),
      );
      const domains = limited.map((domain) => ({ domain, rate: '4/1h' }));
      const own = { node, redis, retry: { schedule: ['1s'] }, destinations: { domains } };
      const settings = [net.relaySettings(), own];
      return startRelay({ settings, env });
    };
    const nodes = await Promise.all(['a', 'b'].map(start));
    return {
      nodes,
      async [Symbol.asyncDispose]() {
        for (const relay of nodes) await relay.close();
      },
    };
  }

  /** Mail for all of `domains` into every node; `during` happens when a third of it was taken. */
  async function load(
    nodes: readonly RelayProcess[],
    domains: readonly PretendDomain[],
    during: () => Promise<unknown> = async () => {},
  ): Promise<ReadonlySet<string>> {
    const acknowledged = new Set<string>();
    loads += 1;
    const token = (relay: RelayProcess, index: number) => `${loads}-${relay.smtpPort}-${index}`;
    const { promise: isTime, resolve } = Promise.withResolvers<void>();
    const event = isTime.then(during);
    await Promise.all(
      nodes.map(async (relay) => {
        const done = await injectMany({
          ...{ port: relay.smtpPort, count: PER_NODE, concurrency: 2 },
          makeMessage: (index) => {
            const to = `r@${domains[index % domains.length]?.name}`;
            return {
              from: 'ann@home.test',
              to,
              data: `Subject: ${token(relay, index)}\r\n\r\nhi\r\n`,
            };
          },
          onAcknowledged: (total) => {
            if (total === PER_NODE / 3) resolve();
          },
        });
        assert.deepEqual(
          [done.refused, done.uncertain, done.unsent],
          [[], [], []],
          'it takes mail all the time',
        );
        for (const { index } of done.acknowledged) acknowledged.add(token(relay, index));
      }),
    );
    await event;
    return acknowledged;
  }

  async function allArrive(domains: readonly PretendDomain[], wanted: ReadonlySet<string>) {
    const arrived = () =>
      domains
        .flatMap(({ messages }) => messages)
        .map(({ data }) => /^Subject: (.*?)\r$/m.exec(data.toString())?.[1] ?? '');
    await waitFor('everything that was acknowledged', () => {
      const there = new Set(arrived());
      return [...wanted].every((one) => there.has(one));
    });
    const all = arrived();
    assert.equal(all.length, new Set(all).size, 'each once: no relay was killed');
  }

  /** What is shared works: a rate holds for both nodes together, a pause on both, and a policy is fetched once. */
  async function sharing(name: string, { nodes }: { readonly nodes: readonly RelayProcess[] }) {
    let domain = await limitedMail(`${name}-1.test`, nodes);
    // A Redis that did not answer in half a second, on a machine this busy, is done without: each counts for itself.
    for (let more = 2; more <= TRIES && domain.messages.length > 4; more += 1) {
      domain = await limitedMail(`${name}-${more}.test`, nodes);
    }
    assert.equal(domain.messages.length, 4);
    const [one, other] = nodes;
    assert.ok(one && other);
    const paused = `${name}-paused.test`;
    const { code } = await runStsrelay(['domain', 'pause', paused, '--config', one.configFile]);
    assert.equal(code, 0);
    await other.waitForEvent('queue.shared_change', (line) => line['domain'] === paused);
    // At the same moment both may need it.
    assert.ok(net.policyHost.requestsFor(domain.policyHostName).length <= 2);
  }

  /** Five messages into each node for a domain that may have four an hour; when all have gone or wait. */
  async function limitedMail(name: string, nodes: readonly RelayProcess[]): Promise<PretendDomain> {
    const domain = await net.domain(name, { sts: {} });
    const before = await parked(nodes);
    await Promise.all(
      nodes.map((relay) =>
        injectMany({
          ...{ port: relay.smtpPort, count: 5 },
          makeMessage: () => ({
            ...{ from: 'a@home.test', to: `r@${name}`, data: 'A: b\r\n\r\nc\r\n' },
          }),
        }),
      ),
    );
    await waitFor('what may go to go, and the rest to wait', async () => {
      const gone = domain.messages.length;
      return gone >= 4 && (await parked(nodes)) - before + gone === 10;
    });
    return domain;
  }

  test('with Sentinel: the master is killed under load, and the replica becomes master', async () => {
    await using redis = await startSentinelGroup();
    const domains = [await net.domain('s1.test'), await net.domain('s2.test')];
    await using both = await pair({ url: 'redis://mymaster', sentinels: redis.sentinels });
    await sharing('sentinel-before', both);
    const [master, replica] = redis.servers;
    const acknowledged = await load(both.nodes, domains, () => master.kill());
    assert.equal(acknowledged.size, 2 * PER_NODE);
    await waitFor('the failover', async () =>
      /role:master/.test(String(await replica.command('INFO', 'replication'))),
    );
    await allArrive(domains, acknowledged);
    for (const relay of both.nodes) await relay.waitForReadiness(200);
    await sharing('sentinel-after', both);
    // What was the master comes back as a replica; nobody stays with it.
    await master.start();
    await allArrive(domains, new Set([...acknowledged, ...(await load(both.nodes, domains))]));
  });

  test('on a Cluster: the master of a queue is killed under load, and its replica takes over', async () => {
    await using redis = await startClusterGroup();
    const domains = [await net.domain('c1.test'), await net.domain('c2.test')];
    await using both = await pair({ cluster: redis.nodes });
    await sharing('cluster-before', both);
    const master = await redis.masterOf('{stsrelay-a}:deliveries-a:wait');
    const acknowledged = await load(both.nodes, domains, () => master.kill());
    assert.equal(acknowledged.size, 2 * PER_NODE);
    await allArrive(domains, acknowledged);
    for (const relay of both.nodes) await relay.waitForReadiness(200);
    await sharing('cluster-after', both);
  });

  test('on a Cluster without replicas: slots that are away keep back no mail but for a while', async () => {
    await using redis = await startClusterGroup({ replicas: false });
    const domains = [await net.domain('d1.test'), await net.domain('d2.test')];
    await using both = await pair({ cluster: redis.nodes });
    const master = await redis.masterOf('{stsrelay-a}:deliveries-a:wait');
    const [a] = both.nodes;
    const acknowledged = await load(both.nodes, domains, () => master.kill());
    await a?.waitForReadiness(503, ({ parts }) => parts['redis']?.ok === false);
    const more = await load(both.nodes, domains);
    assert.equal(more.size, 2 * PER_NODE, 'it goes on taking mail');
    await master.start(); // as empty as it can be
    await allArrive(domains, new Set([...acknowledged, ...more]));
    for (const relay of both.nodes) await relay.waitForReadiness(200);
  });

  test('behind TLS, as a user who may do no more than needed', async () => {
    using files = tempDir();
    const certificate = await net.ca.issueKind('good', 'localhost', '127.0.0.1');
    writeFileSync(files.file('crt.pem'), certificate.certPem);
    writeFileSync(files.file('key.pem'), certificate.keyPem, { mode: 0o600 });
    const port = await freePort();
    const tls = ['--tls-port', String(port), '--tls-auth-clients', 'no'];
    const pair_ = [
      '--tls-cert-file',
      files.file('crt.pem'),
      '--tls-key-file',
      files.file('key.pem'),
    ];
    const acl =
      'on >p@ss ~stsrelay* ~{stsrelay* &stsrelay* &{stsrelay* -@all +@read +@write +@connection +@scripting +@transaction +@blocking +info +cluster';
    await using redis = await startRedis({
      args: [...tls, ...pair_, '--tls-ca-cert-file', net.caFile],
    });
    await redis.command('ACL', 'SETUSER', 'relay', ...acl.split(' '));
    const domains = [await net.domain('t1.test')];
    const url = `rediss://relay:p%40ss@localhost:${port}`;
    await using both = await pair({ url }, { NODE_EXTRA_CA_CERTS: net.caFile });
    await sharing('tls', both);
    await allArrive(domains, await load(both.nodes, domains));
    for (const relay of both.nodes) {
      const denied = relay.log.filter(({ error }) => /NOPERM|permission/i.test(String(error)));
      assert.deepEqual(denied, []);
    }
    const clients = String(await redis.command('CLIENT', 'LIST'));
    assert.match(clients, /user=relay/);
  });
});

/** Deliveries that wait for something but their time, at all nodes together. */
async function parked(nodes: readonly RelayProcess[]): Promise<number> {
  const state = { state: 'parked' };
  const all = nodes.map((relay) => relay.metric('stsrelay_queue_messages', state));
  return (await Promise.all(all)).reduce<number>((sum, n) => sum + (n ?? 0), 0);
}
