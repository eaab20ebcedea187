/** A Node.js that is too old is told so in a line, by every command, before anything breaks in it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

function versionBy(node: string) {
  const pretended = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${node}' } })`;
  const args = ['--import', `data:text/javascript,${encodeURIComponent(pretended)}`, MAIN];
  return spawnSync(process.execPath, [...args, 'version'], { encoding: 'utf8' });
}

describe('the program', () => {
  for (const node of ['20.20.2', '22.18.0', '18.0.0']) {
    test(`does not run on Node.js ${node}`, () => {
      const { status, stdout, stderr } = versionBy(node);
      assert.equal(stdout, '');
      assert.match(
        stderr,
        new RegExp(`^stsrelay: Node\\.js 22\\.19 or newer is needed, this is ${node} \\(.*\\)\\n$`),
      );
      assert.equal(status, 2);
    });
  }

  for (const node of ['22.19.0', '24.0.0', '26.1.0']) {
    test(`runs on Node.js ${node}`, () => {
      const { status, stderr } = versionBy(node);
      assert.deepEqual([status, stderr], [0, '']);
    });
  }
});
