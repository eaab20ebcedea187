/**
 * The lock on the data directory: one owner at a time, whoever it is named after, and no owner
 * that is gone in anybody's way.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDataDir } from '../../src/platform/data-dir.ts';
import { holdName } from '../../src/platform/held-name.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { spawnTied } from '../support/tied-child.ts';

/** A process that does nothing until it is killed. */
class Idle implements AsyncDisposable {
  readonly #child: ChildProcess = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)']);

  get pid(): number {
    return this.#child.pid ?? 0;
  }
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}

/** When a process started, as the lock has it. */
function startedAt(pid: number): string | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

function facts({ pid }: { readonly pid: number }) {
  return { pid, startedAt: startedAt(pid) };
}

function lock(dir: TempDir, owner: object): void {
  writeFileSync(dir.file('lock'), JSON.stringify(owner));
}

describe('the data directory', () => {
  test('is made private, and locked until it is unlocked', async () => {
    using dir = tempDir();
    const path = dir.file('data');
    const first = await openDataDir(path);
    assert.equal(statSync(path).mode & 0o777, 0o700);
    const again = { name: 'DataDirLockedError', pid: process.pid, message: /is in use by process/ };
    await assert.rejects(openDataDir(path), again);
    await first.unlock();
    await (await openDataDir(path)).unlock();
  });

  test('an owner with a supervisor goes by that one’s process id', async () => {
    using dir = tempDir();
    await using supervisor = new Idle();
    const first = await openDataDir(dir.path, supervisor.pid);
    await assert.rejects(openDataDir(dir.path), { pid: supervisor.pid });
    await first.unlock();
  });

  test('an owner that is gone stops nobody, nor one whose process id is another’s now', async () => {
    using dir = tempDir();
    await using idle = new Idle();
    const pid = idle.pid;
    const owners = [{ pid, startedAt: '1' }, { pid: 0 }, { pid: -1 }, { pid: 'x' }, {}, []];
    for (const owner of owners) {
      lock(dir, owner);
      await (await openDataDir(dir.path)).unlock();
    }
    writeFileSync(dir.file('lock'), 'half a lo');
    await (await openDataDir(dir.path)).unlock();
  });

  test('an owner whose supervisor is gone is waited for', async () => {
    using dir = tempDir();
    await using owner = new Idle();
    await using supervisor = new Idle();
    lock(dir, { ...facts(owner), supervisor: facts(supervisor) });
    await supervisor.kill();
    const opened = openDataDir(dir.path);
    assert.equal(await Promise.race([opened, sleep(150, 'waiting')]), 'waiting');
    await owner.kill();
    await (await opened).unlock();
  });

  test('but not for ever', async () => {
    using dir = tempDir();
    await using owner = new Idle();
    lock(dir, { ...facts(owner), supervisor: { pid: owner.pid, startedAt: '1' } });
    await assert.rejects(openDataDir(dir.path), { name: 'DataDirLockedError', pid: owner.pid });
  });
});

describe('a lock that was left behind', () => {
  const CONTENDERS = 6;
  const ROUNDS = 80;
  const contender = new URL('../support/lock-contender.ts', import.meta.url).pathname;

  test('is taken over by one of many processes that try at once, every time', async (context) => {
    using dir = tempDir();
    const children = Array.from({ length: CONTENDERS }, () =>
      spawnTied(process.execPath, [contender, dir.path], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      }),
    );
    context.after(() => {
      for (const child of children) child.kill('SIGKILL');
    });
    const answerOf = async (child: ChildProcess) => String((await once(child, 'message'))[0]);
    await Promise.all(children.map(answerOf));
    for (let round = 0; round < ROUNDS; round++) {
      lock(dir, { pid: process.pid, startedAt: '1', nonce: String(round) });
      const answers = children.map(answerOf);
      for (const child of children) child.send('go');
      const expected = ['got it', ...Array.from({ length: CONTENDERS - 1 }, () => 'locked')];
      assert.deepEqual((await Promise.all(answers)).sort(), expected, `round ${round}`);
    }
    assert.deepEqual(readdirSync(dir.path), ['lock'], 'nothing else is left');
  });

  test('is nobody’s while another process that takes it over does not come to an end', async () => {
    using dir = tempDir();
    const left = JSON.stringify({ pid: process.pid, startedAt: '1', nonce: 'x' });
    writeFileSync(dir.file('lock'), left);
    const { dev, ino } = statSync(dir.path);
    const name = createHash('sha256').update(`${dev} ${ino} ${left}`).digest('hex');
    const held = (await holdName(`stsrelay-${name}`)) ?? assert.fail();
    await assert.rejects(openDataDir(dir.path), { name: 'DataDirLockedError', pid: undefined });
    assert.equal(readFileSync(dir.file('lock'), 'utf8'), left);
    await held.letGo();
    await (await openDataDir(dir.path)).unlock();
  });
});

describe('a held name', () => {
  test('has one holder until it lets go, or ends', async () => {
    const name = `test-${process.pid}`;
    const first = (await holdName(name)) ?? assert.fail();
    assert.equal(await holdName(name), undefined);
    const other = (await holdName(`${name}0`)) ?? assert.fail();
    await Promise.all([first.letGo(), other.letGo()]);
    const { href } = new URL('../../src/platform/held-name.ts', import.meta.url);
    const script = `await (await import('${href}')).holdName('${name}'); process.send('held');`;
    const child = spawnTied(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    await once(child, 'message');
    assert.equal(await holdName(name), undefined);
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    await ((await holdName(name)) ?? assert.fail()).letGo();
  });
});
