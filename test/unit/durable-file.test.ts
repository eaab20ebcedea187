/** Small files that survive: whole or not at all, also when several write at once. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { makeDirectory, replaceFile } from '../../src/platform/durable-file.ts';
import { tempDir } from '../support/temp-dir.ts';

describe('makeDirectory', () => {
  test('makes parents, private all of them; again does no harm', async () => {
    using dir = tempDir();
    await makeDirectory(dir.file('a/b/c'));
    await makeDirectory(dir.file('a/b/c'));
    for (const name of ['a', 'a/b', 'a/b/c']) {
      assert.equal(statSync(dir.file(name)).mode & 0o777, 0o700);
    }
  });

  test('refuses where a file is in the way', async () => {
    using dir = tempDir();
    writeFileSync(dir.file('a'), '');
    await assert.rejects(makeDirectory(dir.file('a/b')));
    await assert.rejects(makeDirectory(dir.file('a')), { code: 'EEXIST' });
  });

  test('comes to an end where nothing can be made, and the system says that nothing is there', async () => {
    await assert.rejects(makeDirectory('/proc/stsrelay/a'), { code: 'ENOENT' });
  });

  test('two at once make the same', async () => {
    using dir = tempDir();
    await Promise.all([1, 2, 3].map(() => makeDirectory(dir.file('a/b/c'))));
    assert.ok(statSync(dir.file('a/b/c')).isDirectory());
  });
});

test('makeDirectory beside others that make the same parents', async () => {
  using dir = tempDir();
  for (let round = 0; round < 200; round += 1) {
    const parent = dir.file(`${round}`);
    const made = Array.from({ length: 6 }, async (_, i) => {
      for (let turn = 0; turn < i; turn += 1) await access(dir.path); // one after the other, nearly
      await makeDirectory(`${parent}/${i % 2}/${i}`);
    });
    await Promise.all(made);
    assert.equal(readdirSync(parent).length, 2);
  }
});

describe('replaceFile', () => {
  test('writes a private file, whatever was there', async () => {
    using dir = tempDir();
    writeFileSync(dir.file('x.new'), 'left by a crash, longer than what comes');
    for (const content of ['first', Buffer.from([0, 255]), '']) {
      await replaceFile(dir.file('x'), content);
      assert.deepEqual(readFileSync(dir.file('x')), Buffer.from(content as string));
    }
    assert.equal(statSync(dir.file('x')).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(dir.path), ['x']);
  });

  test('several at once: the last one called stays, whole', async () => {
    using dir = tempDir();
    const contents = Array.from({ length: 30 }, (_, n) =>
      String(n % 10).repeat(1 + ((n * 7919) % 50_000)),
    );
    await Promise.all(contents.map((content) => replaceFile(dir.file('x'), content)));
    assert.equal(readFileSync(dir.file('x'), 'utf8'), contents.at(-1));
    assert.deepEqual(readdirSync(dir.path), ['x']);
  });

  test('one that fails is told to its caller alone', async () => {
    using dir = tempDir();
    mkdirSync(dir.file('x'));
    const results = await Promise.allSettled([
      replaceFile(dir.file('x'), 'a'),
      replaceFile(dir.file('y'), 'b'),
      replaceFile(dir.file('x'), 'c'),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['rejected', 'fulfilled', 'rejected'],
    );
    assert.equal(readFileSync(dir.file('y'), 'utf8'), 'b');
  });
});
