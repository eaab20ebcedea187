/**
 * Draws the dashboards with real data: `node test/support/draw-dashboards.ts` (needs Redis and Prometheus; some
 * minutes) starts a relay in a pretend internet, a Prometheus that scrapes it each second, writes mail to domains of
 * every sort, breaks some of them on the way, and asks every query of every panel. The pictures go to
 * docs/pictures. They are no screenshots of Grafana.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Curve, drawBoard } from './board-picture.ts';
import { concrete, type Panel, RULES_FILE, readBoards } from './dashboards.ts';
import type { Script } from './mx-script.ts';
import { type Prometheus, startPrometheus } from './prometheus.ts';
import { type RelayWorld, startWorld } from './relay-world.ts';

const SECONDS = Number(process.env['DRAW_SECONDS'] ?? 150);
const MESSAGES_A_SECOND = 6;
/** So many messages before a certificate expires. */
const HEALTHY = 300;
const STEP = Math.max(1, Math.round(SECONDS / 60));
/** What Grafana makes of $__rate_interval, for so short a time. */
const RATE_INTERVAL = '15s';
const PICTURES = new URL('../../docs/pictures/', import.meta.url);

/** How often each is written to. */
const SHARES: Readonly<Record<string, number>> = {
  'large.test': 10,
  'enforced.test': 6,
  'signed.test': 4,
  'plain.test': 3,
  'testing.test': 2,
  'greylisting.test': 2,
  'clear.test': 1,
  'garbled.test': 1,
  'breaks.test': 2,
  'mismatch.test': 1,
  'away.test': 1,
  'gone.test': 1,
};
const LIST = Object.entries(SHARES).flatMap(
  ([domain, share]) => Array(share).fill(domain) as string[],
);

const WAITS = ['5s', '10s', '20s'];
const SETTINGS = {
  destinations: { breaker: { failures: 3, probeEvery: '10s' } },
  retry: {
    schedule: WAITS,
    classes: { tlsPolicy: { schedule: WAITS }, greylisted: { schedule: ['8s'] } },
  },
};

async function settle({ internet }: RelayWorld): Promise<void> {
  await internet.domain('client.test'); // who writes all that, and gets the bounces
  await internet.domain('large.test');
  await internet.domain('enforced.test', { sts: {} });
  await internet.domain('testing.test', { sts: { mode: 'testing' } });
  await internet.domain('plain.test');
  await internet.domain('signed.test', {
    secure: true,
    mx: [{ host: 'mx.signed.test', tlsa: 'match' }],
  });
  await internet.domain('mismatch.test', {
    secure: true,
    mx: [{ host: 'mx.mismatch.test', tlsa: 'mismatch' }],
  });
  await internet.domain('clear.test', { mx: [{ host: 'mx.clear.test', certificate: null }] });
  await internet.domain('garbled.test', {
    mx: [{ host: 'mx.garbled.test', startTls: 'reset' }],
  });
  // Closes after each message: every one begins with a handshake.
  const script: Script = (_session, { verb }) =>
    verb === '.' ? { reply: '250 2.0.0 Ok', ending: 'close' } : undefined;
  await internet.domain('breaks.test', { sts: {}, mx: [{ host: 'mx.breaks.test', script }] });
  await internet.domain('away.test', { mx: [{ host: 'mx.away.test', down: true }] });
  await internet.domain('gone.test', { nullMx: true });
  const seen = new Set<string>();
  await internet.domain('greylisting.test', {
    mx: [
      {
        host: 'mx.greylisting.test',
        script: (_session, { verb, argument }) => {
          if (verb !== 'RCPT' || seen.has(argument)) return undefined;
          seen.add(argument);
          return '451 4.7.1 Greylisted, try again later';
        },
      },
    ],
  });
}

/** Mail for all of them, more in the middle; for a while one of them has an expired certificate. */
async function load(world: RelayWorld): Promise<void> {
  const { internet } = world;
  const begin = performance.now();
  let sent = 0;
  for (let t = 0; t < SECONDS; t = (performance.now() - begin) / 1000) {
    const domain = LIST[(sent * 7) % LIST.length];
    const wanted = MESSAGES_A_SECOND * (1 + Math.sin((t / SECONDS) * Math.PI));
    await world.send({ to: `user${sent}@${domain}` });
    sent += 1;
    if (sent === HEALTHY) {
      const host = await internet.mxHost({ host: 'mx.breaks.test' });
      const certificate = await internet.ca.issueKind('expired', host.name, host.address);
      host.change({ certificate });
    }
    await sleep(Math.random() * (2000 / wanted));
  }
}

async function curvesOf(prometheus: Prometheus, panel: Panel): Promise<readonly Curve[]> {
  const end = Math.floor(Date.now() / 1000) - 1;
  const span = { start: end - SECONDS, end, step: STEP };
  const curves = [];
  for (const { expr, legendFormat = '', instant } of panel.targets ?? []) {
    const found = await prometheus.range(
      concrete(expr, RATE_INTERVAL),
      instant ? { ...span, start: end } : span,
    );
    for (const { metric, values } of found) {
      const name = legendFormat.replaceAll(
        /\{\{(\w+)\}\}/g,
        (_, label: string) => metric[label] ?? '',
      );
      const points = values.map(
        ([seconds, value]) => [seconds - span.start, Number(value)] as const,
      );
      const real = points.filter(([, value]) => Number.isFinite(value));
      if (real.length > 0)
        curves.push({ name: name.replaceAll(/127\.0\.0\.1:\d+/g, 'relay1'), points: real });
    }
  }
  return curves;
}

await using world = await startWorld(SETTINGS);
await settle(world);
await using prometheus = await startPrometheus(`127.0.0.1:${world.relay.httpPort}`, RULES_FILE);
await prometheus.scrapes(1);
await load(world);
for (const { file, panels } of readBoards()) {
  const picture = await drawBoard(panels, (panel) => curvesOf(prometheus, panel));
  writeFileSync(new URL(file.replace('.json', '.svg'), PICTURES), picture);
}
