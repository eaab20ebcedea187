/**
 * The snippet of docs/recipes.md, as it stands there, in a real HAProxy: its health check, and mail through it, by both
 * versions of the PROXY protocol.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readFile } from '../support/deploy-files.ts';
import { freePort } from '../support/free-port.ts';
import { type FrontDoor, openDoor } from '../support/front-door.ts';
import { type Haproxy, haproxyMissing, startHaproxy } from '../support/haproxy.ts';
import { connect } from '../support/smtp-client.ts';
import { waitFor } from '../support/wait-for.ts';

const SNIPPET = /^```\n(listen smtp\n[^`]*)^```$/m.exec(readFile('docs/recipes.md'))?.[1] ?? '';
/** HAProxy's own address, one of a client, and one of somebody else. */
const [PROXY, CLIENT, STRANGER] = ['127.0.0.5', '127.0.0.9', '127.0.0.10'];
const MAIL = { from: 'a@example.com', to: 'b@example.org', data: 'Subject: x\r\n\r\nbody\r\n' };

/** The snippet between loopback addresses. */
function snippetFor(door: FrontDoor): string {
  const [first = '', ...others] = SNIPPET.split('\n').filter((line) => !/^ *server b /.test(line));
  assert.match(others.join('\n'), /server a .* send-proxy-v2 check check-send-proxy/);
  return [first, ...others]
    .join('\n')
    .replace('bind :587', 'bind 127.0.0.1:@PORT@')
    .replace('192.0.2.11:587', `127.0.0.1:${door.listener.port} source ${PROXY}`);
}

/** Checks that are made often, and may take their time. */
function checkedOften(snippet: string): string {
  const often = snippet.replace('inter 10s', 'inter 100ms fall 1');
  assert.notEqual(often, snippet);
  return often.replace('timeout connect 5s', 'timeout connect 60s\n    timeout check 60s');
}

/** For a listener with implicit TLS HAProxy's check has to speak it, as the recipe says. */
function checkedOver(tls: 'starttls' | 'implicit', snippet: string): string {
  const option = 'check-ssl verify none';
  assert.ok(readFile('docs/recipes.md').includes(`\`${option}\``));
  return tls === 'starttls' ? snippet : snippet.replace(' check ', ` check ${option} `);
}

const WAYS: readonly (readonly [string, (snippet: string) => string])[] = [
  ['as it stands', (snippet) => snippet],
  ['version 1', (snippet) => snippet.replace('send-proxy-v2', 'send-proxy')],
  [
    'version 2 with a checksum',
    (snippet) => snippet.replace('check ', 'proxy-v2-options crc32c,unique-id check '),
  ],
];

describe('docs/recipes.md, HAProxy in front', { skip: haproxyMissing }, () => {
  for (const tls of ['starttls', 'implicit'] as const) {
    const sendThrough = async ({ port }: Haproxy, localAddress: string) => {
      const options = { port, localAddress };
      using client = await connect(tls === 'implicit' ? { ...options, tls: {} } : options);
      await client.send('EHLO client.example');
      if (tls === 'starttls') await client.starttls();
      await client.send('EHLO client.example');
      return (await client.deliver(MAIL)).reply.raw;
    };

    for (const [name, change] of WAYS) {
      test(`mail, ${name}, ${tls}`, async () => {
        await using door = await openDoor({
          listener: { tls, proxyProtocol: [PROXY] },
          access: { trustedNetworks: [`${CLIENT}/32`] },
        });
        await using proxy = await startHaproxy(checkedOver(tls, change(snippetFor(door))));
        assert.match(await sendThrough(proxy, CLIENT), /^250 /);
        assert.equal(door.queue.last.envelope.client?.address, CLIENT);
        assert.match(await sendThrough(proxy, STRANGER), /^554 5\.7\.1 /);
      });
    }

    test(`the check finds a relay that is away, and one that is there, ${tls}`, async () => {
      const listener = { tls, port: await freePort(), proxyProtocol: [PROXY] };
      const before = await openDoor({ listener });
      await using proxy = await startHaproxy(checkedOften(checkedOver(tls, snippetFor(before))));
      await before.listener.close(0);
      await waitFor('DOWN', () => /smtp\/a is DOWN/.test(proxy.said));
      await using door = await openDoor({ listener });
      await waitFor('UP', () => /smtp\/a is UP/.test(proxy.said));
      assert.deepEqual(door.events('intake.refused'), []);
    });
  }
});
