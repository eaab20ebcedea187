/** The supervisor where a role does not do as it is told. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tempDir } from '../support/temp-dir.ts';

const SUPERVISOR = fileURLToPath(new URL('../../src/roles/supervisor.ts', import.meta.url));

test('SIGTERM during a start that hangs ends it, when its time is over', async () => {
  using dir = tempDir();
  const role = dir.file('role.mjs');
  // It never says that it is ready, and ends only with the supervisor.
  writeFileSync(role, "process.on('SIGTERM', () => {}); process.on('disconnect', process.exit);");
  const program = dir.file('supervisor.mts');
  const options = `{ program: ${JSON.stringify(role)}, argumentsFor: (role) => [role], endMs: 100 }`;
  writeFileSync(
    program,
    `import { supervise } from ${JSON.stringify(SUPERVISOR)};
     const ended = supervise(${options});
     process.stdout.write('up');
     process.exit(await ended);`,
  );
  const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  const [code] = await once(child, 'close');
  assert.equal(code, 1, stderr);
  assert.match(stderr, /^stsrelay: the relay did not start: .* ended with SIGKILL$/m);
});
