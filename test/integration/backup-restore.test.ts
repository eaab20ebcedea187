/**
 * Backup and restore by the very commands of docs/operations.md: what waits, what was excepted and what is known of
 * policies comes along; what belongs to the machine does not.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { runStsrelay } from '../support/cli.ts';
import { redisMissing } from '../support/redis.ts';
import { startRelay } from '../support/relay-process.ts';
import { assertSameContent, RelayWorld, startWorld } from '../support/relay-world.ts';
import { tempDir } from '../support/temp-dir.ts';

const OPERATIONS = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');

/** The `tar` command of the document that contains `words`, with other places in it. */
function documented(words: string, places: Readonly<Record<string, string>>): string {
  const lines = OPERATIONS.split('\n').filter(
    (line) => line.startsWith('tar ') && line.includes(words),
  );
  assert.equal(lines.length, 1, `one tar command with ${words}`);
  const [line = ''] = lines;
  return Object.entries(places).reduce((text, [from, to]) => text.replaceAll(from, to), line);
}

test('a backup, restored elsewhere', { skip: redisMissing }, async () => {
  using dir = tempDir();
  const settings = { retry: { classes: { tlsPolicy: { schedule: ['1h'] } } } };
  await using world = await startWorld(settings);
  const { internet, relay } = world;
  const late = await internet.domain('late.test', {
    sts: { id: '1' },
    ttl: 0,
    mx: [{ host: 'mx.late.test', certificate: 'expired' }],
  });
  const [host] = late.mx;
  assert.ok(host);
  const sent = await world.send({ to: 'ann@late.test' });
  assert.equal((await world.answer(sent)).cause, 'certificate-expired');
  const on = async (configFile: string, ...args: string[]) => {
    const { code, stdout, stderr } = await runStsrelay([...args, '--config', configFile]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const wish = ['--tls', 'encrypt', '--owner', 'ops', '--reason', 'ticket 1', '--for', '7d'];
  await on(relay.configFile, 'override', 'add', 'partner.test', ...wish);
  await on(relay.configFile, 'queue', 'hold', '--sender', 'eve@home.test', '--reason', 'ticket 2');
  await relay.stop();

  const restored = dir.file('restored');
  const places = { '/backup/stsrelay.tar.gz': dir.file('backup.tar.gz') };
  const shell = (command: string) => execFileSync('sh', ['-c', command]);
  shell(documented('-czf', { ...places, '/var/lib/stsrelay': relay.dataDir }));
  mkdirSync(restored, { mode: 0o700 });
  shell(documented('-C /var/lib/stsrelay -xzf', { ...places, '/var/lib/stsrelay': restored }));
  assert.deepEqual(readdirSync(restored).sort(), ['node-id', 'spool', 'state', 'tls']);

  // The record is gone meanwhile: the policy in the backup is all that protects.
  late.withdrawSts();
  await using elsewhere = await startRelay({
    settings: [internet.relaySettings(), settings, { dataDir: restored }],
  });
  const there = new RelayWorld(internet, elsewhere);
  const list = await on(elsewhere.configFile, 'queue', 'list');
  assert.match(list, new RegExp(`^${sent.id}\tdelayed\t`));
  assert.match(await on(elsewhere.configFile, 'override', 'list'), /^partner\.test\tencrypt\t/);
  assert.match(await on(elsewhere.configFile, 'queue', 'holds'), /^mail from eve@home\.test\t/);
  assert.match(await on(elsewhere.configFile, 'audit'), /override\.add/);
  await on(elsewhere.configFile, 'queue', 'retry', '--all');
  assert.equal((await there.answer(sent)).cause, 'certificate-expired');
  assert.equal(host.messages.length, 0);

  host.change({ certificate: await internet.ca.issueKind('good', host.name) });
  await on(elsewhere.configFile, 'queue', 'retry', '--all');
  await host.waitForMessages(1);
  assertSameContent(host.messages[0], sent.data);
  const delivered = await there.answer(sent, { nth: 2 });
  assert.deepEqual([delivered.event, delivered['policyId']], ['delivery.delivered', '1']);
});
