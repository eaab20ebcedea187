/**
 * The reporter counts leaves, names what was skipped and why, and closes with the one line
 * that is read by others.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tempDir } from '../support/temp-dir.ts';

const REPORTER = fileURLToPath(new URL('../support/reporter.ts', import.meta.url));
const HEAD = `
import { before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
`;

async function report(files: Readonly<Record<string, string>>) {
  using dir = tempDir();
  for (const [name, code] of Object.entries(files)) writeFileSync(dir.file(name), HEAD + code);
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawn(
    process.execPath,
    ['--test', `--test-reporter=${REPORTER}`, ...Object.keys(files).map((name) => `./${name}`)],
    { cwd: dir.path, env, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const exited = once(child, 'exit');
  const [output, [code]] = await Promise.all([text(child.stdout), exited]);
  return { output, code, closing: output.trimEnd().split('\n').at(-1) };
}

test('all passed: leaves are counted, suites and parents are not', async () => {
  const { closing, code } = await report({
    'a.test.ts': `
      test('one', () => {});
      describe('suite', () => { test('two', () => {}); describe('inner', () => test('three', () => {})); });
      test('parent', async (t) => { await t.test('four', () => {}); });
      describe('empty', () => {});`,
    'b.test.ts': `test('five', () => {});`,
  });
  assert.equal(closing, '5 passed, 0 failed');
  assert.equal(code, 0);
});

test('failures come with path, place and difference; skipped tests with their reason', async () => {
  const { output, closing, code } = await report({
    'a.test.ts': `
      describe('suite', () => { test('differs', () => assert.deepEqual([1, 2], [1, 3])); });
      test('no redis', { skip: 'redis-server is not installed' }, () => {});
      describe('whole suite', { skip: 'needs root' }, () => { test('x', () => {}); });
      test('later', { todo: true }, () => assert.fail());`,
  });
  assert.equal(closing, '0 passed, 1 failed, 3 skipped');
  assert.equal(code, 1);
  assert.match(output, /FAILED suite > differs\n {2}at a\.test\.ts:5\n/);
  assert.match(output, /\+ {3}2\n\s+- {3}3/);
  assert.match(output, /^skipped: no redis \(redis-server is not installed\)$/m);
  assert.match(output, /^skipped: whole suite \(needs root\)$/m);
});

test('what is not a plain failing test counts too: hooks, crashes, bad exit codes', async () => {
  const { output, closing, code } = await report({
    'crash.test.ts': `import './missing.ts'; test('never', () => {});`,
    'exit.test.ts': `test('fine', () => {}); process.exitCode = 3;`,
    'hook.test.ts': `describe('s', () => { before(() => { throw new Error('hook broke'); }); test('x', () => {}); });`,
    'late.test.ts': `test('fine', () => {}); console.error('noise'); setTimeout(() => { throw new Error('late'); }, 20);`,
  });
  assert.equal(closing, '2 passed, 5 failed');
  assert.equal(code, 1);
  assert.match(output, /missing\.ts/);
  assert.match(output, /FAILED exit\.test\.ts\n.*\n.*exit code 3/);
  assert.match(output, /hook broke/);
  assert.match(output, /noise/);
});
