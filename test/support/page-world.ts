/**
 * A relay with mail that waits for every usual reason, in a pretend internet, and its admin page behind a token: for
 * the tests of the page, and for its pictures in the documentation.
 */
import { writeFileSync } from 'node:fs';
import { buildPage } from '../../src/admin/page/build.ts';
import type { Settings } from './relay-process.ts';
import { type RelayWorld, startWorld } from './relay-world.ts';
import { tempDir } from './temp-dir.ts';
import { waitFor } from './wait-for.ts';

export const TOKEN = 'a-token-for-the-page-0123456789';

export interface PageWorld extends AsyncDisposable {
  readonly world: RelayWorld;
  /** Of the page. */
  readonly url: string;
  /** As a tool asks, with the token. */
  api(method: string, path: string, body?: object): Promise<unknown>;
}

/** With `partner.example` behind a certificate that has expired, which its policy forbids. */
export async function startPageWorld(settings: Settings = {}): Promise<PageWorld> {
  await buildPage();
  const dir = tempDir();
  const tokenFile = dir.file('token');
  writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
  const world = await startWorld(settings, {
    http: { tokenFile },
    destinations: { breaker: { failures: 3, probeEvery: '10m' } },
    retry: { schedule: ['5m', '30m', '1h'], classes: { tlsPolicy: { schedule: ['10m', '1h'] } } },
  });
  const url = `http://127.0.0.1:${world.relay.httpPort}`;
  const api = async (method: string, path: string, body?: object): Promise<unknown> => {
    const answer = await fetch(`${url}/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${TOKEN}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    return answer.json();
  };
  return {
    ...{ world, url, api },
    async [Symbol.asyncDispose]() {
      await world.close();
      dir.remove();
    },
  };
}

/** Its domains, and mail for each; until each waits for its reason. */
export async function fillWorld({ world, api }: PageWorld): Promise<void> {
  const { internet } = world;
  await internet.domain('good.example', { sts: {} });
  await internet.domain('plain.example', { mx: [{ host: 'mx.plain.example', certificate: null }] });
  await internet.domain('partner.example', {
    mx: [{ host: 'mx.partner.example', certificate: 'expired' }],
    sts: {},
    tlsRptRua: 'mailto:tls@partner.example',
  });
  await internet.domain('away.example', { mx: [{ host: 'mx.away.example', down: true }] });
  await internet.domain('slow.example', {});
  await internet.domain('held.example', {});
  await api('PUT', '/domains/slow.example/pause', { reason: 'moving to another provider' });
  await api('POST', '/queue/hold', { filter: { domain: 'held.example' }, reason: 'ticket 7' });
  for (const [domain, count] of MAIL) {
    for (let i = 0; i < count; i += 1) {
      await world.send({ from: `${SENDERS[i % 3]}@shop.example`, to: `user${i}@${domain}` });
    }
  }
  await waitFor('the mail to wait', async () => {
    const { counts } = (await api('GET', '/queue/summary')) as {
      counts: Record<string, number>;
    };
    return counts['active'] === 0 && counts['due'] === 0;
  });
}

const SENDERS = ['orders', 'support', 'billing'] as const;
const MAIL = [
  ['good.example', 6],
  ['plain.example', 2],
  ['partner.example', 4],
  ['away.example', 5],
  ['slow.example', 3],
  ['held.example', 2],
] as const;
