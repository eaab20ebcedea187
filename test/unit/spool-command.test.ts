/**
 * `stsrelay spool check | export` as people meet it: the real program on a spool that a relay left.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openDataDir } from '../../src/platform/data-dir.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { attempt, FAILURE, openSpool, RECEIVED_AT, sampleEnvelope, store } from './sample-mail.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const LARGE = Buffer.from('0123456789abcde\n'.repeat(20_000));

interface Ending {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(dir: TempDir, ...args: string[]): Promise<Ending> {
  const env = { ...process.env, NO_COLOR: '1', STSRELAY_DATADIR: dir.file('data') };
  const child = spawn(process.execPath, [MAIN, 'spool', ...args], { cwd: dir.path, env });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}

/** A spool with a small message that was tried, and a large one. */
async function leaveSpool(dir: TempDir) {
  const { spool } = await openSpool(dir.file('data/spool'));
  const small = sampleEnvelope({ reversePath: 'ann@sender.example' });
  const large = sampleEnvelope({ reversePath: '' });
  await store(spool, small, 'Subject: small\r\n\r\nhello\r\n');
  await store(spool, large, LARGE);
  const deferred = [{ index: 0, failure: { ...FAILURE, text: '450 4.2.0 greylisted' } }];
  await spool.append(small.id, [attempt({ deferred, nextAttemptMs: RECEIVED_AT + 60_000 })]);
  await spool.close();
  return { small: small.id, large: large.id };
}

function segmentIn(dir: TempDir): string {
  const spool = dir.file('data/spool');
  const name = readdirSync(spool).find((one) => one.endsWith('.segment2'));
  assert.ok(name);
  return join(spool, name);
}

describe('spool check', () => {
  test('lists what is there, and says that all can be read', async () => {
    using dir = tempDir();
    const { small, large } = await leaveSpool(dir);
    const { code, out, err } = await run(dir, 'check');
    assert.equal(code, 0, err);
    const rows = out.trim().split('\n');
    assert.equal(rows.length, 2);
    assert.match(
      rows[0] ?? '',
      new RegExp(`^${small}\t.*ann@sender\\.example\tbob@dest\\.example\t450`),
    );
    assert.match(rows[1] ?? '', new RegExp(`^${large}\t.*\t${LARGE.length}\t<>\t`));
    assert.match(err, /2 messages in 1 segments .*all can be read/);
  });

  test('--json holds envelopes and the fate of every recipient', async () => {
    using dir = tempDir();
    const { small } = await leaveSpool(dir);
    const { code, out } = await run(dir, 'check', '--json');
    const answer = JSON.parse(out);
    assert.deepEqual([code, answer.ok, answer.messages.length], [0, true, 2]);
    assert.equal(answer.messages[0].id, small);
    assert.deepEqual(answer.messages[0].recipients, [
      {
        address: 'bob@dest.example',
        state: 'waiting',
        reason: '450 4.2.0 greylisted',
        nextAttempt: '2026-01-15T12:01:00.000Z',
      },
    ]);
  });

  test('names what is damaged; nothing is changed by looking', async () => {
    using dir = tempDir();
    const { small, large } = await leaveSpool(dir);
    const file = segmentIn(dir);
    const octets = readFileSync(file);
    const at = octets.indexOf('Subject: small');
    octets[at] = 0x58;
    writeFileSync(file, octets);
    writeFileSync(dir.file(`data/spool/large/${large}.eml`), LARGE.subarray(1));
    const { code, out, err } = await run(dir, 'check');
    assert.equal(code, 1);
    assert.match(out, new RegExp(`^${small}\t.*DAMAGED`, 'm'));
    assert.match(out, new RegExp(`^${large}\t.*DAMAGED`, 'm'));
    assert.match(err, /2 messages .* 2 cannot be read whole/);
    assert.deepEqual(readFileSync(file), octets);
  });

  test('is refused while the relay runs', async () => {
    using dir = tempDir();
    await leaveSpool(dir);
    const lock = await openDataDir(dir.file('data'));
    const { code, err } = await run(dir, 'check');
    await lock.unlock();
    assert.equal(code, 2);
    assert.match(err, new RegExp(`is in use: stop the relay \\(process ${process.pid}\\) first`));
  });

  test('without a spool the answer is no, and none is made', async () => {
    using dir = tempDir();
    const { code, err } = await run(dir, 'check');
    assert.equal(code, 1);
    assert.match(err, /there is no spool/);
    assert.equal(existsSync(dir.file('data')), false);
  });
});

describe('spool export', () => {
  test('copies every message, octet for octet, with its envelope', async () => {
    using dir = tempDir();
    const { small, large } = await leaveSpool(dir);
    const { code, out, err } = await run(dir, 'export', 'rescued');
    assert.equal(code, 0, err);
    assert.match(out, /2 of 2 messages exported/);
    assert.equal(
      String(readFileSync(dir.file(`rescued/${small}.eml`))),
      'Subject: small\r\n\r\nhello\r\n',
    );
    assert.deepEqual(readFileSync(dir.file(`rescued/${large}.eml`)), LARGE);
    const facts = JSON.parse(readFileSync(dir.file(`rescued/${small}.json`), 'utf8'));
    assert.equal(facts.envelope.reversePath, 'ann@sender.example');
    assert.equal(facts.records.length, 1);
    assert.equal(statSync(dir.file(`rescued/${small}.eml`)).mode & 0o777, 0o600);
    // Still there, to be delivered.
    assert.equal((await run(dir, 'check')).code, 0);
  });

  test('what is signed comes out signed, as it would be delivered', async () => {
    using dir = tempDir();
    const { spool } = await openSpool(dir.file('data/spool'));
    const signature = 'DKIM-Signature: v=1; d=sender.example;\r\n b=x\r\n';
    const [small, large] = [sampleEnvelope({ signature }), sampleEnvelope({ signature })];
    const body = 'Received: x\r\n\r\nhello\r\n';
    await store(spool, small, body);
    await store(spool, large, LARGE);
    await spool.close();
    const { code, err } = await run(dir, 'export', 'rescued');
    assert.equal(code, 0, err);
    assert.equal(String(readFileSync(dir.file(`rescued/${small.id}.eml`))), signature + body);
    const found = readFileSync(dir.file(`rescued/${large.id}.eml`));
    assert.ok(found.equals(Buffer.concat([Buffer.from(signature), LARGE])));
    const facts = JSON.parse(readFileSync(dir.file(`rescued/${small.id}.json`), 'utf8'));
    assert.equal(facts.envelope.signature, signature);
  });

  test('one that is damaged hides no other', async () => {
    using dir = tempDir();
    const { small, large } = await leaveSpool(dir);
    writeFileSync(dir.file(`data/spool/large/${large}.eml`), 'short');
    const { code, out, err } = await run(dir, 'export', 'rescued');
    assert.equal(code, 1);
    assert.match(out, /1 of 2 messages exported/);
    assert.match(err, new RegExp(`^${large}: `, 'm'));
    assert.ok(existsSync(dir.file(`rescued/${small}.eml`)));
    assert.ok(!existsSync(dir.file(`rescued/${large}.eml`)));
    assert.ok(existsSync(dir.file(`rescued/${large}.eml.damaged`)));
  });

  test('takes ids; overwrites nothing', async () => {
    using dir = tempDir();
    const { small } = await leaveSpool(dir);
    assert.equal((await run(dir, 'export', 'rescued', small)).code, 0);
    assert.deepEqual(readdirSync(dir.file('rescued')).sort(), [`${small}.eml`, `${small}.json`]);
    const again = await run(dir, 'export', 'rescued', small, 'NOSUCHMESSAGE000');
    assert.equal(again.code, 1);
    assert.match(again.err, /is there already, and left alone/);
    assert.match(again.err, /NOSUCHMESSAGE000: not in the spool/);
  });

  test('--damaged finds what was set aside, large bodies included', async () => {
    using dir = tempDir();
    const { small, large } = await leaveSpool(dir);
    assert.equal((await run(dir, 'export', 'rescued', '--damaged')).code, 1);
    const segment = segmentIn(dir);
    const octets = readFileSync(segment);
    octets.fill('#', octets.indexOf(`"id":"${large}"`), octets.indexOf(`"id":"${large}"`) + 4);
    writeFileSync(segment, octets);
    // The relay starts: it sets aside the body of which nobody knows whose it is.
    await (await openSpool(dir.file('data/spool'))).spool.close();
    const { code, out, err } = await run(dir, 'export', 'rescued', '--damaged');
    assert.equal(code, 1, 'not whole');
    assert.match(err, new RegExp(`^${large}: its envelope is lost; ${large}.eml.damaged is`, 'm'));
    assert.match(out, /0 of 1 messages exported/);
    assert.ok(readFileSync(dir.file(`rescued/${large}.eml.damaged`)).equals(LARGE));

    // The segment follows when nobody needs it any more; what can be read of it comes out whole.
    renameSync(segment, segment.replace('/spool/', '/spool/damaged/'));
    const both = await run(dir, 'export', 'again', '--damaged');
    assert.match(both.out, /1 of 2 messages exported/);
    assert.ok(existsSync(dir.file(`again/${small}.json`)));
    assert.ok(readFileSync(dir.file(`again/${large}.eml.damaged`)).equals(LARGE));
  });

  test('--damaged finds a large message whose neighbour was damaged, wherever its body is', async () => {
    using dir = tempDir();
    const { small, large } = await leaveSpool(dir);
    const segment = segmentIn(dir);
    const octets = readFileSync(segment);
    octets.fill('#', octets.indexOf('Subject: small'), octets.indexOf('Subject: small') + 1);
    mkdirSync(dir.file('data/spool/damaged'));
    writeFileSync(segment.replace('/spool/', '/spool/damaged/'), octets);
    const { out } = await run(dir, 'export', 'rescued', '--damaged');
    assert.match(out, /1 of 2 messages exported/);
    assert.ok(readFileSync(dir.file(`rescued/${large}.eml`)).equals(LARGE));
    assert.ok(existsSync(dir.file(`rescued/${small}.eml.damaged`)));
  });
});
