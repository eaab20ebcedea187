/**
 * A disk that is really full: a small file system in memory, where the system allows making one,
 * and a limit on the size of files everywhere. The store with the disk of the system.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { MessageId } from '../../src/mail/message-id.ts';
import { type Spool, SpoolError } from '../../src/spool/store.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';
import { attempt, octets, openSpool, sampleEnvelope, store } from './sample-mail.ts';

const KIB = 1024;
const OPTIONS = { segmentOctets: 256 * KIB, reserveOctets: 512 * KIB };

/** A file system of 6 MiB; undefined where mounting is not permitted. */
function smallDisk(): TempDir | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return undefined;
  const dir = tempDir();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m,mode=0700', 'tmpfs', dir.path], {
      stdio: 'ignore',
    });
  } catch {
    dir.remove();
    return undefined;
  }
  const remove = () => {
    execFileSync('umount', ['-l', dir.path]);
    dir.remove();
  };
  return { ...dir, remove, [Symbol.dispose]: remove };
}

/** Messages of `size` octets until no more is taken. */
async function fillUp(spool: Spool, size: number): Promise<MessageId[]> {
  const ids: MessageId[] = [];
  for (;;) {
    const envelope = sampleEnvelope();
    const draft = await spool.begin(envelope.id).catch(() => undefined);
    try {
      await draft?.write(Buffer.alloc(size, envelope.id));
      await draft?.commit(envelope);
    } catch (error) {
      assert.ok(error instanceof SpoolError);
      assert.equal(error.kind, 'full');
      await draft?.discard();
      return ids;
    }
    if (!draft) return ids;
    ids.push(envelope.id);
  }
}

describe('a full file system', () => {
  const probe = smallDisk();
  probe?.remove();
  const skip = probe ? false : 'mounting a small file system needs root';

  test('stops intake, never outcomes; and takes mail again when mail has gone', {
    skip,
  }, async () => {
    using dir = smallDisk() ?? assert.fail();
    const { spool } = await openSpool(dir.file('spool'), () => 0, OPTIONS);
    const ids = [...(await fillUp(spool, 40 * KIB)), ...(await fillUp(spool, 700))];
    assert.ok(ids.length > 60, `${ids.length} messages`);
    assert.equal(spool.health().ok, false);
    // Somebody else takes what is left to the last octet.
    const hog = dir.file('hog');
    assert.throws(() => {
      for (;;) writeFileSync(hog, Buffer.alloc(4 * KIB), { flag: 'a' });
    });
    for (const id of ids) await spool.append(id, [attempt({ delivered: [0] })]);
    await assert.rejects(spool.begin(sampleEnvelope().id), { name: 'SpoolError', kind: 'full' });
    for (const id of ids) {
      const body = await octets(await spool.openBody(id));
      assert.equal(body.subarray(0, 16).toString(), id);
      assert.equal((await spool.read(id))?.records.length, 1);
    }
    for (const id of ids.slice(1)) await spool.remove(id);
    rmSync(hog);
    await waitFor('health to recover', () => spool.health().ok);
    const more = await fillUp(spool, 40 * KIB);
    assert.ok(more.length > 20, `${more.length} messages in the space that came back`);
    await spool.close();

    const again = await openSpool(dir.file('spool'), () => 0, OPTIONS);
    const listed: MessageId[] = [];
    for await (const { envelope } of again.spool.list()) listed.push(envelope.id);
    for (const id of [ids[0], ...more]) assert.ok(listed.includes(id ?? assert.fail()));
    assert.deepEqual(again.recorded.of('damaged'), []);
    await again.spool.close();
  });

  test('refuses a large message half way, and forgets it', { skip }, async () => {
    using dir = smallDisk() ?? assert.fail();
    const { spool } = await openSpool(dir.file('spool'), () => 0, OPTIONS);
    const draft = await spool.begin(sampleEnvelope().id);
    await assert.rejects(
      async () => {
        for (let n = 0; n < 200; n++) await draft.write(Buffer.alloc(64 * KIB));
      },
      { name: 'SpoolError', kind: 'full' },
    );
    assert.equal(spool.health().ok, false);
    await draft.discard();
    assert.deepEqual(readdirSync(dir.file('spool/large')), []);
    await waitFor('health to recover', () => spool.health().ok);
    await store(spool, sampleEnvelope(), Buffer.alloc(1024 * KIB));
    await spool.close();
  });
});

describe('room', () => {
  test('a new message is refused below limits.minFreeDisk; settling and reading go on', async () => {
    using dir = tempDir();
    let least = 0;
    const { spool } = await openSpool(dir.file('spool'), () => least);
    const envelope = sampleEnvelope();
    await store(spool, envelope);
    assert.equal(spool.health().ok, true);

    least = Number.MAX_SAFE_INTEGER;
    const refusal = await spool.begin(sampleEnvelope().id).catch((error: unknown) => error);
    assert.ok(refusal instanceof SpoolError);
    assert.equal(refusal.kind, 'full');
    assert.match(refusal.message, /minFreeDisk/);
    assert.equal(spool.health().ok, false);
    assert.match(spool.health().reason, /minFreeDisk/);
    await spool.append(envelope.id, [attempt({ delivered: [0] })]);
    assert.equal((await spool.read(envelope.id))?.records.length, 1);

    least = 0;
    // Nobody offers a message to a relay that is not ready: health has to find out by itself.
    await waitFor('health to recover', () => spool.health().ok);
    await spool.close();
  });

  test('a write that the system cuts short leaves what was there, and can be repeated', async () => {
    using dir = tempDir();
    const envelope = sampleEnvelope();
    const first = await openSpool(dir.file('spool'));
    await store(first.spool, envelope);
    await first.spool.close();
    // A limit on the size of files (`ulimit -f`, in blocks) cuts a write short in the middle.
    const script = `
      import { openSegmentStore } from ${JSON.stringify(import.meta.resolve('../../src/spool/segment-store.ts'))};
      const nothing = () => {};
      const events = { took: nothing, failed: nothing, damaged: nothing, leftover: nothing };
      const [directory, id, record] = process.argv.slice(1);
      const spool = await openSegmentStore({
        directory, minFreeBytes: () => 0, events, reserveOctets: 1024, segmentOctets: 1024 * 1024,
      });
      const failures = [];
      let kept = 0;
      for (let n = 0; n < 100; n++) {
        await spool.append(id, [JSON.parse(record)]).then(
          () => kept++,
          (error) => failures.push([error.name, error.cause?.code]),
        );
      }
      console.log(JSON.stringify({ kept, failures }));`;
    const args = ['-c', 'ulimit -f 16; exec "$@"', 'sh', process.execPath, '--input-type=module'];
    args.push('-e', script, dir.file('spool'), envelope.id, JSON.stringify(attempt()));
    const { stdout } = await promisify(execFile)('/bin/sh', args);
    const { kept, failures } = JSON.parse(stdout) as { kept: number; failures: string[][] };
    assert.ok(failures.length > 0 && failures.length < 20, `${failures.length} failed`);
    for (const failure of failures) assert.deepEqual(failure, ['SpoolError', 'EFBIG']);
    const { spool, recorded } = await openSpool(dir.file('spool'));
    assert.equal((await spool.read(envelope.id))?.records.length, kept);
    assert.deepEqual(recorded.of('damaged'), []);
    await spool.append(envelope.id, [attempt({ delivered: [0] })]);
    assert.equal((await spool.read(envelope.id))?.records.length, kept + 1);
    await spool.close();
  });
});
