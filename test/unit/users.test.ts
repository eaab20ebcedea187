import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { hashPassword } from '../../src/intake/password.ts';
import { createUsers } from '../../src/intake/users.ts';
import { addUser, removeUser } from '../../src/intake/users-edit.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';

const COST = { logN: 10, blockSize: 8, parallel: 1 };
const HASH = await hashPassword('geheim', COST);
const OTHER = await hashPassword('anders', COST);

class World implements Disposable {
  readonly dir: TempDir = tempDir();
  readonly file = this.dir.file('users.yaml');
  readonly problems: string[] = [];
  readonly users = createUsers({
    file: this.file,
    problem: (text) => this.problems.push(text),
  });

  add(name: string, hash = HASH): Promise<unknown> {
    return addUser(this.file, { name, hash, allowedSenders: ['*@example.com'] }, true);
  }
  async knows(name: string, password = 'geheim'): Promise<boolean> {
    return (await this.users.verify(name, password)) !== undefined;
  }
  [Symbol.dispose](): void {
    this.dir.remove();
  }
}

describe('users', () => {
  test('are known by name and password', async () => {
    using world = new World();
    await world.add('alice');
    assert.deepEqual(await world.users.verify('alice', 'geheim'), {
      name: 'alice',
      allowedSenders: ['*@example.com'],
    });
    assert.equal(await world.knows('alice', 'Geheim'), false);
    assert.equal(await world.knows('Alice'), false);
    assert.equal(await world.knows('bob'), false);
    assert.equal(await world.knows('constructor', ''), false);
    assert.deepEqual(world.problems, []);
  });

  test('without a file there are none, and that is no problem', async () => {
    using world = new World();
    assert.equal(await world.knows('alice'), false);
    assert.deepEqual(world.problems, []);
    await world.add('alice');
    assert.equal(await world.knows('alice'), true);
  });

  test('the file is looked at for every login, and read when it changed', async () => {
    using world = new World();
    await world.add('alice');
    assert.equal(await world.knows('alice'), true);
    await world.add('alice', OTHER);
    await world.add('bob');
    assert.equal(await world.knows('bob'), true);
    assert.equal(await world.knows('alice'), false);
    assert.equal(await world.knows('alice', 'anders'), true);
    await removeUser(world.file, 'alice');
    assert.equal(await world.knows('alice', 'anders'), false);
  });

  test('a broken file keeps those of the last good one, and is reported once', async () => {
    using world = new World();
    await world.add('alice');
    assert.equal(await world.knows('alice'), true);
    for (const text of ['alice: [', 'alice: [']) {
      writeFileSync(world.file, text);
      assert.equal(await world.knows('alice'), true);
    }
    assert.equal(world.problems.length, 1);
    assert.match(world.problems[0] ?? '', /users\.yaml:1: .*; the users read before stay$/s);
    rmSync(world.file);
    await world.add('bob');
    assert.equal(await world.knows('alice'), false);
    assert.equal(await world.knows('bob'), true);
  });

  test('a file that is gone keeps them too', async () => {
    using world = new World();
    await world.add('alice');
    assert.equal(await world.knows('alice'), true);
    rmSync(world.file);
    for (let i = 0; i < 3; i++) {
      assert.equal(await world.knows('alice'), true);
    }
    assert.deepEqual(world.problems, [
      `${world.file} cannot be read (ENOENT); the users read before stay`,
    ]);
  });

  test('where the first file cannot be used, nobody is told that a password is wrong', async () => {
    using world = new World();
    mkdirSync(world.file);
    await assert.rejects(world.users.verify('alice', 'geheim'), /cannot be used/);
    assert.deepEqual(world.problems, [`${world.file} is no regular file; nobody can log in`]);
    rmSync(world.file, { recursive: true });
    await world.add('alice');
    assert.equal(await world.knows('alice'), true);
  });

  test('a name nobody has takes as long as a wrong password', async () => {
    using world = new World();
    await addUser(world.file, {
      name: 'alice',
      hash: await hashPassword('geheim'),
      allowedSenders: ['*'],
    });
    await world.users.refresh();
    const cpuOf = async (name: string): Promise<number> => {
      const before = process.cpuUsage();
      await world.users.verify(name, 'falsch');
      const { user, system } = process.cpuUsage(before);
      return user + system;
    };
    await cpuOf('alice');
    const [known, unknown] = [await cpuOf('alice'), await cpuOf('bob')];
    // Without its scrypt an unknown name would take a thousandth of it.
    assert.ok(unknown > known / 4, `${unknown} µs against ${known} µs`);
  });

  test('many at once all get their answer', async () => {
    using world = new World();
    await world.add('alice');
    const passwords = Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? 'geheim' : 'falsch'));
    const answers = await Promise.all(passwords.map((password) => world.knows('alice', password)));
    assert.deepEqual(
      answers,
      passwords.map((password) => password === 'geheim'),
    );
  });
});
