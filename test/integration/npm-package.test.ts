/**
 * The npm package: what is in it, and that it runs where it was installed, with nothing of this repository around it.
 * Its dependencies come from npm's cache, or from where npm gets them; where neither is, the second half is skipped.
 */
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ROOT, readFile } from '../support/deploy-files.ts';
import { compileTo, type PackedFile, packNpm, run } from '../support/packages.ts';
import { redisMissing } from '../support/redis.ts';
import { openSession } from '../support/relay-mail.ts';
import { startRelay } from '../support/relay-process.ts';
import { tempDir } from '../support/temp-dir.ts';
import { findCommand } from '../support/tied-child.ts';

const PACKAGE = JSON.parse(readFile('package.json'));
const MOST_PACKED_OCTETS = 1_000_000;
const dir = tempDir('npm-');
after(() => dir.remove());

describe('the npm package', {
  skip: findCommand('npm') === undefined && 'npm is not installed',
}, () => {
  let packed: {
    readonly file: string;
    readonly files: readonly PackedFile[];
    readonly size: number;
  };
  before(() => {
    // From a tree of its own, so that dist/ of tests that run beside this one stays as it is; with what must not get in.
    for (const path of ['docs', 'deploy', 'grafana', 'src', 'test/bench']) {
      cpSync(ROOT + path, dir.file(`tree/${path}`), { recursive: true });
    }
    for (const name of [
      'package.json',
      'LICENSE',
      'README.md',
      'CHANGELOG.md',
      'SECURITY.md',
      'Makefile',
    ]) {
      copyFileSync(ROOT + name, dir.file(`tree/${name}`));
    }
    compileTo(dir.file('tree/dist'));
    mkdirSync(dir.file('packed'));
    packed = packNpm(dir.file('tree'), dir.file('packed'));
  });

  test('holds program, documents, dashboards and what a machine is set up with; nothing else', () => {
    const paths = packed.files.map(({ path }) => path);
    for (const path of [
      'dist/main.js',
      'LICENSE',
      'README.md',
      'CHANGELOG.md',
      'SECURITY.md',
      'docs/going-live.md',
      'dist/page/page.js',
    ]) {
      assert.ok(paths.includes(path), path);
    }
    const wanted =
      /^(package\.json|LICENSE|README\.md|CHANGELOG\.md|SECURITY\.md|dist\/[\w/-]+\.js|docs\/[\w-]+\.md|dist\/page\/[\w.]+|deploy\/(README\.md|stsrelay\.(yaml|service)|(kubernetes|prometheus|smarthost|systemd)\/[\w./-]+)|grafana\/(dashboards|provisioning)\/[\w./-]+)$/;
    assert.deepEqual(
      paths.filter((path) => !wanted.test(path)),
      [],
    );
    assert.deepEqual(
      paths.filter((path) => /\btests?\/|\.test\./.test(path)),
      [],
    );
    assert.ok(packed.size < MOST_PACKED_OCTETS, `${packed.size}`);
  });

  test('every module of src is in it, compiled', () => {
    const paths = new Set(packed.files.map(({ path }) => path));
    const { stdout } = run('find', ['src', '-name', '*.ts', '!', '-name', '*.d.ts']);
    const sources = stdout.trim().split('\n');
    assert.ok(sources.length > 300);
    for (const source of sources) {
      if (source.startsWith('src/admin/page/')) continue; // bundled
      assert.ok(paths.has(source.replace(/^src/, 'dist').replace(/\.ts$/, '.js')), source);
    }
  });

  describe('installed globally', () => {
    let main = '';
    let why = '';
    before(() => {
      const flags = [
        '--global',
        '--prefix',
        dir.file('prefix'),
        '--prefer-offline',
        '--no-progress',
      ];
      const { code, stderr } = run('npm', ['install', ...flags, packed.file]);
      main = dir.file('prefix/bin/stsrelay');
      why =
        code === 0 ? '' : `its dependencies cannot be installed here: ${stderr.trim().slice(-300)}`;
    });
    const unreachable = /ENOTFOUND|ECONNREFUSED|ENETUNREACH|EAI_AGAIN|ETIMEDOUT|ENOTCACHED/;

    test('says its version, checks a configuration, and brings its files', (context) => {
      if (unreachable.test(why)) return context.skip(why);
      assert.equal(why, '');
      assert.equal(run(main, ['version']).stdout.split(' ')[1], PACKAGE.version);
      const root = dirname(run('readlink', ['-f', main]).stdout.trim());
      const check = run(main, ['config', 'check', '--config', `${root}/../deploy/stsrelay.yaml`]);
      assert.equal(check.code, 0, check.stderr);
      assert.equal(
        readFileSync(`${root}/../deploy/stsrelay.service`, 'utf8'),
        readFile('deploy/stsrelay.service'),
      );
    });

    test('takes mail', { skip: redisMissing }, async (context) => {
      if (unreachable.test(why)) return context.skip(why);
      // No look-up leaves this machine.
      const settings = { dns: { servers: ['127.0.0.1:1'] } };
      await using relay = await startRelay({ main, settings });
      using client = await openSession({ port: relay.smtpPort });
      const message = { from: 'a@sender.test', data: 'Subject: x\r\n\r\nhello\r\n' };
      const { id } = await client.deliver({ ...message, to: 'b@nowhere.test' });
      await relay.waitForEvent('delivery.deferred', (line) => line.id === id);
      assert.equal(await relay.stop(), 0);
    });
  });
});
