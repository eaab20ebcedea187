/**
 * Two relays on one Redis, as programs: what both counted for a domain on a day goes out as one report with the
 * sum, by one of them, though both try at the same time, and over a SIGKILL of the one that sent it.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { TlsReport } from '../../src/protocol/tlsrpt/report.ts';
import { runStsrelay } from '../support/cli.ts';
import { rsaPair } from '../support/dkim-keys.ts';
import {
  type PretendDomain,
  type PretendInternet,
  startPretendInternet,
} from '../support/pretend-internet.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { startRelay } from '../support/relay-process.ts';
import { RelayWorld } from '../support/relay-world.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { assertIsReport } from '../support/tlsrpt-schema.ts';
import { waitFor } from '../support/wait-for.ts';
import { WrongClock } from '../support/wrong-clock.ts';
import { parseMultipart } from '../unit/report-parser.ts';

const DAY_MS = 86_400_000;
const NODES = ['left', 'right'] as const;
/** Messages of each node, every one over a session of its own. */
const MESSAGES = { left: 3, right: 2 } as const;

describe('two relays on one Redis', { skip: redisMissing }, () => {
  let clock: WrongClock;
  let files: TempDir;
  let redis: TestRedis;
  let internet: PretendInternet;
  let both: PretendDomain;
  let reports: PretendDomain;
  const worlds: RelayWorld[] = [];
  let day = '';

  before(async () => {
    clock = new WrongClock();
    clock.set(aheadMs({ days: 1, hour: 12 })); // no midnight comes between
    files = tempDir();
    const keyFile = files.file('key.pem');
    writeFileSync(keyFile, rsaPair(2048).keyPem, { mode: 0o600 });
    redis = await startRedis();
    internet = await startPretendInternet();
    const tlsRptRua = 'mailto:tls@reports.test';
    // Nobody keeps an answer about it: who wants the report is asked each time.
    both = await internet.domain('both.test', { sts: {}, tlsRptRua, ttl: 0 });
    await internet.domain('one.test', { tlsRptRua }); // of the left node alone
    reports = await internet.domain('reports.test');
    for (const node of NODES) {
      const settings = {
        ...{ node, hostname: `${node}.sender.test`, redis: { url: redis.url } },
        destinations: { default: { messagesPerConnection: 1 } },
        tlsRpt: {
          ...{ contact: 'tls@sender.test', from: 'noreply@sender.test' },
          ...{ sendAfter: '00:00', sendWindow: '0s' },
        },
        dkim: [{ domain: 'sender.test', selector: 's1', keyFile }],
      };
      const all = [internet.relaySettings(), settings];
      worlds.push(new RelayWorld(internet, await startRelay({ env: clock.env, settings: all })));
    }
  });
  after(async () => {
    for (const { relay } of worlds) await relay.close();
    await internet?.close();
    await redis?.close();
    for (const one of [clock, files]) one?.remove();
  });

  function of(node: (typeof NODES)[number]): RelayWorld {
    const world = worlds[NODES.indexOf(node)];
    assert.ok(world, node);
    return world;
  }

  function sendAt({ relay }: RelayWorld) {
    return runStsrelay(['tlsrpt', 'send', '--day', day, '--config', relay.configFile]);
  }

  const sendAtBoth = () => Promise.all(worlds.map(sendAt));

  function reportsFor(domain: string): readonly TlsReport[] {
    return reports.messages.flatMap(({ data }) => {
      const { fields, parts } = parseMultipart(data);
      if (fields.get('tls-report-domain') !== domain) return [];
      const report: unknown = JSON.parse(gunzipSync(parts[1]?.content ?? '').toString());
      assertIsReport(report);
      return [report as TlsReport];
    });
  }

  function sumsOf(report: TlsReport | undefined): readonly number[] {
    assert.equal(report?.policies.length, 1);
    return Object.values(report.policies[0]?.summary ?? {});
  }

  test('have sessions with the same domain on one day', async () => {
    const days = new Set<string>();
    const sendTo = async (node: (typeof NODES)[number], to: string) => {
      const answer = await of(node).answer(await of(node).send({ to }));
      assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
      days.add(String(answer.time).slice(0, 10));
    };
    for (const node of NODES) {
      for (let i = 0; i < MESSAGES[node]; i++) await sendTo(node, `ann${i}@both.test`);
    }
    await sendTo('left', 'ann@one.test');
    assert.equal(both.mx[0]?.sessions.length, MESSAGES.left + MESSAGES.right);
    assert.equal(days.size, 1);
    [day = ''] = days;
    const nodes = `stsrelay:tlsrpt:{${day}}:nodes`;
    await waitFor('each to say that it is there', async () => {
      return (await redis.command('HLEN', nodes)) === NODES.length;
    });
  });

  test('R088 send one report of it, with the sum, when both are at it', async () => {
    // Within the hour that the reports of a day wait for everybody's counts.
    clock.set(aheadMs({ days: 2, hour: 0 }));
    // Time for the other one to come to it while the first one still asks who wants the report.
    internet.dns.behave('_smtp._tls.both.test', 'TXT', { kind: 'answer', delayMs: 2000 });
    const untilThere = (world: RelayWorld) =>
      waitFor('the reports', async () => {
        await sendAt(world);
        return reports.messages.length >= 2;
      });
    await Promise.all(worlds.map(untilThere));
    const [report, ...others] = reportsFor('both.test');
    assert.equal(others.length, 0);
    assert.deepEqual(sumsOf(report), [MESSAGES.left + MESSAGES.right, 0]);
    assert.deepEqual(reportsFor('one.test').map(sumsOf), [[1, 0]]);
    const made = worlds
      .flatMap(({ relay }) => relay.events('report.made'))
      .filter(({ domain }) => domain === 'both.test');
    assert.deepEqual(
      made.map(({ nodes }) => [...(nodes as string[])].sort()),
      [[...NODES]],
    );
  });

  test('send nothing again when they are asked to, and over a SIGKILL of the one that did', async () => {
    const isSender = ({ relay }: RelayWorld) =>
      relay.events('report.made').some(({ domain }) => domain === 'both.test');
    const sender = worlds.find(isSender)?.relay;
    await sender?.waitForEvent('report.delivered', ({ domain }) => domain === 'both.test');
    for (const { code, stdout } of await sendAtBoth()) assert.equal(code, 1, stdout);
    await sender?.kill('SIGKILL', { group: true });
    await sender?.start();
    for (const { code, stdout } of await sendAtBoth()) assert.equal(code, 1, stdout);
    assert.equal(reports.messages.length, 2);
  });
});

/** How far ahead an hour (UTC) of the day in so many days is. */
function aheadMs({ days, hour }: { readonly days: number; readonly hour: number }): number {
  return days * DAY_MS + hour * 3_600_000 - (Date.now() % DAY_MS);
}
