/**
 * systemd, which waits for a unit of Type=notify, is told when the relay takes mail, and not before. Its part is played
 * by a socket as it has one; test/integration/debian-package.test.ts has the real one.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, test } from 'node:test';
import { startRelay } from '../support/relay-process.ts';
import { tempDir } from '../support/temp-dir.ts';
import { findCommand, spawnTied } from '../support/tied-child.ts';
import { waitFor } from '../support/wait-for.ts';

const python = findCommand('python3');
const skip =
  (findCommand('systemd-notify') === undefined && 'systemd-notify is not installed') ||
  (python === undefined && 'python3 is not installed');

/** Node.js has no datagram sockets on paths. Descriptors that come along are closed, which ends the barrier. */
const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    print(s.recv(4096).decode().strip().replace("\\n", " "), flush=True)
`;

class NotifySocket implements AsyncDisposable {
  readonly said: string[] = [];
  readonly #dir = tempDir();
  readonly #child = spawnTied(python ?? '', ['-c', LISTENER, this.path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });

  constructor() {
    const { stdout } = this.#child;
    if (stdout) createInterface({ input: stdout }).on('line', (line) => this.said.push(line));
  }
  get path(): string {
    return this.#dir.file('notify');
  }
  async bound(): Promise<this> {
    await waitFor('the socket', () => this.said.includes('bound'));
    return this;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
    this.#dir.remove();
  }
}

describe('readiness', { skip }, () => {
  for (const args of [[], ['--role', 'all'], ['--role', 'deliver']]) {
    test(`start ${args.join(' ')} tells systemd once it takes mail`, async () => {
      await using systemd = await new NotifySocket().bound();
      await using relay = await startRelay({ args, env: { NOTIFY_SOCKET: systemd.path } });
      await waitFor('READY', () => systemd.said.includes('READY=1'));
      assert.equal(relay.events('relay.started').length, 1);
      assert.equal(await relay.stop(), 0);
      assert.equal(systemd.said.filter((line) => line === 'READY=1').length, 1);
    });
  }

  test('a relay that cannot start says nothing', async () => {
    await using systemd = await new NotifySocket().bound();
    await using first = await startRelay();
    await using second = await startRelay({
      settings: { listeners: [{ address: '127.0.0.1', port: first.smtpPort }] },
      env: { NOTIFY_SOCKET: systemd.path },
      dontWait: true,
    });
    assert.equal(await second.waitForExit(), 1);
    assert.deepEqual(systemd.said, ['bound']);
  });

  test('where nobody listens it is a warning, and the relay goes on', async () => {
    using dir = tempDir();
    await using relay = await startRelay({ env: { NOTIFY_SOCKET: dir.file('nobody') } });
    const { warning } = await relay.waitForEvent('relay.warning', ({ warning }) =>
      String(warning).startsWith('systemd could not be told of the start: systemd-notify'),
    );
    assert.match(String(warning), /No such file|ENOENT|Failed/i);
    assert.equal((await relay.http('/healthz')).status, 200);
  });
});
