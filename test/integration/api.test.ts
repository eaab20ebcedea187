/**
 * The API over HTTP as a tool elsewhere uses it: with the token, off loopback over TLS alone, and what
 * it does in the audit log.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request as secureRequest } from 'node:https';
import { describe, test } from 'node:test';
import { runStsrelay } from '../support/cli.ts';
import { startRelay } from '../support/relay-process.ts';
import { tempDir } from '../support/temp-dir.ts';

const TOKEN = 'correct-horse-battery-staple';
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

test('with a token: what the commands do, in the audit log as from HTTP', async () => {
  using dir = tempDir();
  const tokenFile = dir.file('token');
  writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
  await using relay = await startRelay({ settings: { http: { tokenFile } } });
  assert.equal((await relay.http('/api/v1/status')).status, 401);
  const status = await relay.http('/api/v1/status', { headers: bearer(TOKEN) });
  assert.equal(status.status, 200);
  assert.ok('uptimeSeconds' in ((await status.json()) as object));
  const document = await relay.http('/api/v1/openapi.json', { headers: bearer(TOKEN) });
  assert.equal(((await document.json()) as { openapi: string }).openapi, '3.1.0');

  const paused = await relay.http('/api/v1/domains/partner.test/pause', {
    method: 'PUT',
    headers: { ...bearer(TOKEN), 'content-type': 'application/json', 'x-stsrelay-actor': 'root' },
    body: JSON.stringify({ reason: 'moving' }),
  });
  assert.deepEqual(
    [paused.status, await paused.json()],
    [200, { domain: 'partner.test', result: 'paused' }],
  );
  const cli = (...args: string[]) => runStsrelay([...args, '--config', relay.configFile]);
  const audit = await cli('audit', '--json');
  const [entry] = JSON.parse(audit.stdout) as Record<string, string>[];
  assert.deepEqual(
    [entry?.['actor'], entry?.['action'], entry?.['target']],
    ['http token from 127.0.0.1', 'domain.pause', 'partner.test'],
  );

  const other = 'another-token-of-today';
  writeFileSync(tokenFile, other);
  assert.equal((await relay.http('/api/v1/status', { headers: bearer(other) })).status, 200);
  assert.equal((await relay.http('/api/v1/status', { headers: bearer(TOKEN) })).status, 401);
  const told = await relay.waitForEvent('admin.auth_failed');
  assert.deepEqual([told.level, told['client']], ['warn', '127.0.0.1']);
  const held = await relay.http('/api/v1/status', { headers: bearer(other) });
  assert.ok(held.status === 429 || held.status === 200, 'unless a second went by');
  await relay.waitForMetric('stsrelay_auth_failures_total', 1, { protocol: 'http' });
  assert.equal(await relay.metric('stsrelay_auth_failures_total', { protocol: 'smtp' }), 0);
  assert.equal((await cli('status')).code, 0, 'the control socket knows no token');
  const accesses = await cli('audit', '--json', '--action', 'session.*');
  const [refused] = JSON.parse(accesses.stdout) as Record<string, string>[];
  assert.deepEqual(
    [refused?.['actor'], refused?.['action'], refused?.['target']],
    ['somebody at 127.0.0.1', 'session.refused', 'HTTP'],
  );
  assert.doesNotMatch(JSON.stringify(relay.log), new RegExp(`${TOKEN}|${other}`));
});

test('without a token, or off loopback in clear text: 404, why, and what to set', async () => {
  using dir = tempDir();
  const tokenFile = dir.file('token');
  writeFileSync(tokenFile, TOKEN, { mode: 0o600 });
  await using relay = await startRelay();
  async function refusal() {
    const answer = await relay.http('/api/v1/status', { headers: bearer(TOKEN) });
    assert.equal(answer.status, 404);
    return ((await answer.json()) as { error: string }).error;
  }
  assert.match(await refusal(), /set http\.tokenFile .*control\.sock/);

  relay.changeSettings({ http: { address: '0.0.0.0', tokenFile } });
  await relay.restart();
  assert.match(await refusal(), /over TLS alone: set http\.tls/);
  assert.equal((await relay.http('/healthz')).status, 200);
  assert.equal((await relay.http('/metrics')).status, 200);

  relay.changeSettings({ http: { tls: true } });
  await relay.restart();
  for (const [token, status] of [
    [TOKEN, 200],
    [`${TOKEN}x`, 401],
  ] as const) {
    const asking = secureRequest({
      ...{ host: '127.0.0.1', port: relay.httpPort, path: '/api/v1/status', agent: false },
      headers: bearer(token),
      rejectUnauthorized: false, // a pair the relay made for itself
    }).end();
    const [response] = (await once(asking, 'response')) as [IncomingMessage];
    response.resume();
    assert.equal(response.statusCode, status);
  }
});

describe('config check tells of a token file that', () => {
  /** What is wrong, the text of the file (undefined: none), its mode, what is said. */
  const cases: readonly (readonly [string, string | undefined, number, RegExp])[] = [
    ['is not there', undefined, 0, /http\.tokenFile: .* cannot be read \(ENOENT\)/],
    ['is empty', '\n', 0o600, /http\.tokenFile: .* is empty; until then nobody can use the API/],
    ['is short', 'secret', 0o600, /holds 6 characters, and a token has 16 or more/],
    ['is large', 'x'.repeat(5000), 0o600, /is larger than 4096 octets; until then nobody/],
    ['others can read', TOKEN, 0o644, /holds a token and is open to other users \(mode 644\)/],
  ];
  for (const [what, text, mode, said] of cases) {
    test(what, async () => {
      using dir = tempDir();
      const [file, config] = [dir.file('token'), dir.file('stsrelay.yaml')];
      if (text !== undefined) {
        writeFileSync(file, text);
        chmodSync(file, mode);
      }
      writeFileSync(config, `http: { tokenFile: ${file} }\n`);
      const { code, stdout, stderr } = await runStsrelay(['config', 'check', '--config', config]);
      assert.equal(code, 0, stderr);
      assert.match(stdout + stderr, said);
      assert.doesNotMatch(stdout + stderr, /secret|horse|not in effect/i);
    });
  }
});
