/**
 * A private Postfix: its own configuration, queue and log in a temp dir, one smtpd on a
 * loopback address. Needs root, as Postfix does. Nothing of the system's Postfix is touched.
 */
import type { ChildProcess } from 'node:child_process';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { freePort } from './free-port.ts';
import { type TempDir, tempDir } from './temp-dir.ts';
import { findCommand, killProcessesIn, processesIn, spawnTied } from './tied-child.ts';
import { waitFor } from './wait-for.ts';

const START_TIMEOUT_MS = 180_000;

/** Why there can be no Postfix here; false when there can. */
export const postfixMissing: string | false =
  findCommand('postfix') === undefined
    ? 'postfix is not installed'
    : process.getuid?.() !== 0
      ? 'Postfix runs as root only'
      : false;

export interface PostfixOptions {
  readonly hostname: string;
  readonly address?: string;
  /** Default: a free one. */
  readonly port?: number;
  /** More of main.cf. `@ROOT@` is the temp dir. */
  readonly mainCf: Readonly<Record<string, string>>;
}

export class Postfix implements AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly #dir: TempDir;
  readonly #child: ChildProcess;

  /** @NOTE call startPostfix instead. */
  constructor(parts: { dir: TempDir; child: ChildProcess; address: string; port: number }) {
    this.#dir = parts.dir;
    this.#child = parts.child;
    this.address = parts.address;
    this.port = parts.port;
  }

  /** Path of something in its directory. */
  file(name: string): string {
    return this.#dir.file(name);
  }

  get log(): string {
    try {
      return readFileSync(this.file('mail.log'), 'utf8');
    } catch {
      return '';
    }
  }

  /** Wait for a line of its log; the line. Throws, with the log, when none comes. */
  async waitForLog(pattern: RegExp, timeoutMs = START_TIMEOUT_MS): Promise<string> {
    try {
      return await waitFor(
        `${pattern} in Postfix's log`,
        () => this.log.split('\n').find((line) => pattern.test(line)),
        timeoutMs,
      );
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.log}`);
    }
  }

  async close(): Promise<void> {
    this.#child.kill('SIGKILL'); // first the master, who would replace the others
    await waitFor('the end of Postfix', () => {
      killProcessesIn(this.#dir.path);
      return processesIn(this.#dir.path).length === 0;
    });
    this.#dir.remove();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Start one and wait until it answers. */
export async function startPostfix(options: PostfixOptions): Promise<Postfix> {
  const { address = '127.0.0.1' } = options;
  const port = options.port ?? (await freePort(address));
  const dir = tempDir('postfix-');
  chmodSync(dir.path, 0o755); // its processes run as other users
  for (const name of ['conf', 'spool', 'data']) mkdirSync(dir.file(name));
  spawnSync('chown', ['postfix', dir.file('data')]);
  const settings = { ...baseSettings(options.hostname), ...options.mainCf };
  const mainCf = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
  writeFileSync(dir.file('conf/main.cf'), mainCf.join('').replaceAll('@ROOT@', dir.path));
  writeFileSync(dir.file('conf/master.cf'), `${address}:${port} inet n - n - - smtpd\n${SERVICES}`);
  const command = findCommand('postfix') ?? 'postfix';
  spawnSync(command, ['-c', dir.file('conf'), 'check']); // makes the queue directories
  const child = spawnTied(command, ['-c', dir.file('conf'), 'start-fg'], {
    dir: dir.path,
    group: true,
    stdio: 'ignore',
  });
  const postfix = new Postfix({ dir, child, address, port });
  try {
    await postfix.waitForLog(/daemon started/, START_TIMEOUT_MS);
    return postfix;
  } catch (error) {
    await postfix.close();
    throw error;
  }
}

function baseSettings(hostname: string): Record<string, string> {
  return {
    compatibility_level: '3.6',
    queue_directory: '@ROOT@/spool',
    data_directory: '@ROOT@/data',
    maillog_file_prefixes: '@ROOT@',
    maillog_file: '@ROOT@/mail.log',
    mail_owner: 'postfix',
    setgid_group: 'postdrop',
    myhostname: hostname,
    mydestination: '',
    alias_maps: '',
    local_recipient_maps: '',
    mynetworks: '127.0.0.0/8',
    inet_interfaces: '127.0.0.1', // smtpd names its own address in master.cf
    inet_protocols: 'ipv4',
    smtp_dns_support_level: 'disabled',
    smtpd_peername_lookup: 'no',
    smtpd_recipient_restrictions: '',
    maximal_backoff_time: '1s',
    minimal_backoff_time: '1s',
    queue_run_delay: '1s',
  };
}

const SERVICES = `
cleanup    unix  n  -  n  -     0  cleanup
qmgr       unix  n  -  n  300   1  qmgr
tlsmgr     unix  -  -  n  1000? 1  tlsmgr
rewrite    unix  -  -  n  -     -  trivial-rewrite
bounce     unix  -  -  n  -     0  bounce
defer      unix  -  -  n  -     0  bounce
trace      unix  -  -  n  -     0  bounce
verify     unix  -  -  n  -     1  verify
flush      unix  n  -  n  1000? 0  flush
proxymap   unix  -  -  n  -     -  proxymap
proxywrite unix  -  -  n  -     1  proxymap
smtp       unix  -  -  n  -     -  smtp
relay      unix  -  -  n  -     -  smtp
error      unix  -  -  n  -     -  error
retry      unix  -  -  n  -     -  error
virtual    unix  -  n  n  -     -  virtual
anvil      unix  -  -  n  -     1  anvil
scache     unix  -  -  n  -     1  scache
postlog    unix-dgram n - n -   1  postlogd
`.trimStart();
