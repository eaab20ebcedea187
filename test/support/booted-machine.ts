/**
 * A machine of its own for what only a whole system shows: packages being installed, systemd starting units. It is
 * this machine, seen through an overlay that takes all changes, with a systemd as process 1 in namespaces of its own (mounts,
 * processes, network, names). Nothing of the real one is touched; when process 1 is killed, all of it is gone.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type TempDir, tempDir } from './temp-dir.ts';
import { findCommand, spawnTied } from './tied-child.ts';
import { waitFor } from './wait-for.ts';

const BOOT_TIMEOUT_MS = 180_000;
const TOOLS = ['unshare', 'nsenter', 'pivot_root', 'mount', 'ip', 'dpkg', 'systemctl'];
const SYSTEMD = '/lib/systemd/systemd';

/** In new namespaces: see this machine through an overlay, turn into its process 1. $1: a directory. */
const BOOT = `
set -e
root=$1/root
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$root"
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t cgroup2 none "$root/sys/fs/cgroup" 2>/dev/null || {
  mount -t sysfs sysfs "$root/sys"
  mount -t cgroup2 none "$root/sys/fs/cgroup"
}
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/run/from-outside"
mount --bind "$1/shared" "$root/run/from-outside"
# The journal is all that runs; packages may start what they bring.
rm -f "$root"/etc/systemd/system/*.wants/* "$root/usr/sbin/policy-rc.d"
printf '[Unit]\\nWants=systemd-journald.service\\n' > "$root/etc/systemd/system/booted.target"
echo relay.example.net > "$root/etc/hostname"
ip link set lo up
mkdir -p "$root/outside"
cd "$root"
pivot_root . outside
# As at a boot: units get mounts of their own from here.
mount --make-rshared /
umount -l /outside
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin ${SYSTEMD} --system --unit=booted.target --log-target=null
`;

/** Why there can be none here; false when there can. */
export function whyNoMachine(): string | false {
  if (process.getuid?.() !== 0) return 'only root can make namespaces and mounts';
  if (!existsSync(SYSTEMD)) return 'systemd is not installed';
  const missing = TOOLS.find((name) => findCommand(name) === undefined);
  if (missing !== undefined) return `${missing} is not installed`;
  using dir = tempDir();
  for (const name of ['upper', 'work', 'root']) mkdirSync(dir.file(name));
  const options = `lowerdir=/,upperdir=${dir.file('upper')},workdir=${dir.file('work')}`;
  const line = `mount -t overlay overlay -o ${options} ${dir.file('root')} && mount -t cgroup2 none ${dir.file('root')}/mnt`;
  const { status, stderr } = spawnSync(
    'unshare',
    ['--mount', '--pid', '--fork', 'sh', '-c', line],
    {
      encoding: 'utf8',
    },
  );
  return status === 0 ? false : `no overlay of this machine: ${stderr.trim()}`;
}

export interface Ran {
  readonly code: number | null;
  /** stdout and stderr. */
  readonly output: string;
}

export class BootedMachine implements AsyncDisposable {
  readonly #dir: TempDir;
  readonly #child: ChildProcess;
  #init = 0;

  /** @NOTE call bootMachine instead. */
  constructor(dir: TempDir, child: ChildProcess) {
    this.#dir = dir;
    this.#child = child;
  }

  /** A directory that is /run/from-outside in there. */
  get shared(): string {
    return this.#dir.file('shared');
  }

  async booted(): Promise<void> {
    await waitFor('a booted systemd', () => this.#looksBooted(), BOOT_TIMEOUT_MS);
  }

  /** Run a shell script in there, as root, to its end. */
  async run(script: string, input = ''): Promise<Ran> {
    const target = ['-t', String(this.#init), '-m', '-p', '-u', '-i', '-n', '-C', '-r', '-w'];
    const clean = [
      'env',
      '-i',
      'PATH=/usr/sbin:/usr/bin:/sbin:/bin',
      'DEBIAN_FRONTEND=noninteractive',
    ];
    const child = spawn('nsenter', [...target, ...clean, 'bash', '--norc', '-c', script]);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.stdin.on('error', () => {}); // it may end without reading
    child.stdin.end(input);
    const { promise, resolve } = Promise.withResolvers<number | null>();
    child.once('close', resolve);
    return { code: await promise, output };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return this.#dir.remove();
    this.#child.kill('SIGKILL'); // unshare, which takes process 1 along, and that one all others
    await ended;
    await waitFor('the end of the machine', () => !existsSync(`/proc/${this.#init}/ns/pid`));
    this.#dir.remove();
  }

  async #looksBooted(): Promise<boolean> {
    const { pid } = this.#child;
    if (this.#child.exitCode !== null) throw new Error(`it ended with ${this.#child.exitCode}`);
    const [init] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
    if (!init || !readFileSync(`/proc/${init}/cmdline`, 'utf8').startsWith(SYSTEMD)) return false;
    this.#init = Number(init);
    return (await this.run('systemctl is-active booted.target')).code === 0;
  }
}

/** Boot one; gone at the end of the test. */
export async function bootMachine(): Promise<BootedMachine> {
  const dir = tempDir('machine-');
  for (const name of ['upper', 'work', 'root', 'shared']) mkdirSync(dir.file(name));
  writeFileSync(dir.file('boot.sh'), BOOT);
  const own = [
    '--mount',
    '--pid',
    '--fork',
    '--uts',
    '--ipc',
    '--cgroup',
    '--net',
    '--kill-child=KILL',
  ];
  const child = spawnTied('unshare', [...own, 'bash', dir.file('boot.sh'), dir.path], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const machine = new BootedMachine(dir, child);
  try {
    await machine.booted();
    return machine;
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
}
