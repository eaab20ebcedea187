/**
 * The unit: what systemd itself says about it, and that it fits the program. It is run for real, under a booted
 * systemd, by test/integration/debian-package.test.ts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { EXIT } from '../../src/cli/command.ts';
import { ROOT, readFile, readUnit } from '../support/deploy-files.ts';
import { tempDir } from '../support/temp-dir.ts';
import { findCommand } from '../support/tied-child.ts';

const UNIT = 'deploy/stsrelay.service';
const analyze = findCommand('systemd-analyze');
const skip = analyze === undefined && 'systemd-analyze is not installed';
const unit = readUnit(UNIT);
const one = (name: string) => unit.get(name)?.at(-1);

function run(args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(analyze ?? '', args, { encoding: 'utf8' });
  return { status, output: `${stdout}${stderr}` };
}

describe('stsrelay.service', () => {
  test('is understood by systemd, all of it', { skip }, () => {
    using dir = tempDir();
    // Installed programs and pages are looked for, too.
    const text = readFile(UNIT)
      .replaceAll('/usr/bin/stsrelay', process.execPath)
      .replace(/^Documentation=.*\n/m, '');
    writeFileSync(dir.file('stsrelay.service'), text);
    const { status, output } = run(['verify', '--man=no', dir.file('stsrelay.service')]);
    const ours = output.split('\n').filter((line) => line.includes('stsrelay'));
    assert.deepEqual(ours, []);
    assert.equal(status, 0, output);
  });

  test('is exposed by at most 2.0 of 10', { skip }, () => {
    const offline = ['security', '--offline=true', '--no-pager'];
    const { status, output } = run([...offline, '--threshold=20', ROOT + UNIT]);
    assert.match(output, /Overall exposure level for stsrelay.service: [01]\.\d/);
    assert.equal(status, 0, output);
    // The check can fail.
    assert.notEqual(run([...offline, '--threshold=1', ROOT + UNIT]).status, 0);
  });

  test('waits for longer than the program takes to end', () => {
    const ms = /^const END_MS = ([\d_]+);/m.exec(readFile('src/roles/supervisor.ts'))?.[1];
    const seconds = Number(ms?.replaceAll('_', '')) / 1000;
    assert.ok(seconds > 30);
    assert.match(one('TimeoutStopSec') ?? '', /^\d+s$/);
    assert.ok(Number.parseInt(one('TimeoutStopSec') ?? '', 10) > seconds);
    // Redis and the roles are ended by the supervisor, in order.
    assert.equal(one('KillMode'), 'mixed');
  });

  test('does not try again what cannot succeed', () => {
    assert.equal(one('RestartPreventExitStatus'), String(EXIT.wrong));
    assert.equal(one('Restart'), 'always');
    assert.equal(one('StartLimitIntervalSec'), '0');
  });

  test('account, directories and files are those of the other files', () => {
    assert.match(readFile('deploy/systemd/sysusers.conf'), new RegExp(`^u ${one('User')} `, 'm'));
    const made = readFile('deploy/systemd/tmpfiles.conf');
    const lines = made.split('\n').filter((line) => /^[dfz] /.test(line));
    const modes = new Map(lines.map((line) => line.split(/ +/)).map((word) => [word[1], word]));
    const data = `/var/lib/${one('StateDirectory')}`;
    assert.deepEqual(modes.get(data), [
      'd',
      data,
      one('StateDirectoryMode'),
      'stsrelay',
      'stsrelay',
      '-',
    ]);
    assert.equal(one('WorkingDirectory'), data);
    assert.match(readFile('deploy/stsrelay.yaml'), new RegExp(`^dataDir: ${data}$`, 'm'));
    const [, credentials = ''] = one('LoadCredential')?.split(':') ?? [];
    assert.deepEqual(modes.get(credentials)?.slice(2, 4), ['0700', 'root']);
    for (const secret of readFile('deploy/stsrelay.yaml').match(/\/run\/credentials\/\S+/g) ?? []) {
      assert.match(secret, /^\/run\/credentials\/stsrelay\.service\/secret_/);
    }
  });
});
