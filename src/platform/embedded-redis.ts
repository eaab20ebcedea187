/**
 * A private Redis for a relay that was given none: a `redis-server` (or `valkey-server`) child
 * on a unix socket under the data directory, append-only while there is room
 * (redis-persistence.ts), `noeviction`, started again when it dies, and never outliving us.
 *
 * It must end even when we are killed: the child is a shell that waits for the end of its
 * standard input (the kernel closes our side of the pipe, however we die) and then ends the
 * server. It runs in a session of its own, so that a Ctrl-C in the terminal reaches us alone
 * and the drain still has its Redis. One left behind all the same (the shell was killed) is
 * ended before another one starts, now or at the next start of the relay, which the lock on
 * the data directory makes safe: two servers would write into one append-only file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, lstat, mkdir, rename, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeDirectory } from './durable-file.ts';
import {
  askRedis,
  hasRoom,
  type PersistenceEvents,
  RedisPersistence,
} from './redis-persistence.ts';

const PROGRAMS = ['redis-server', 'valkey-server'];
/** Looked through after PATH, where a daemon's may be short. */
const USUAL_FOLDERS = ['/usr/local/bin', '/usr/bin', '/usr/sbin'];
/** Longest path a unix socket may have (sun_path, with its final NUL). */
const MAX_SOCKET_PATH = 103;
/** Of the first answer; a large queue is loaded before that. */
const START_TIMEOUT_MS = 60_000;
/** What Redis says of files it cannot load. */
const AOF_TEXT = /append.only|\baof\b/i;
/** What it says when it can no longer append to them. */
const AOF_ERROR = /writing to the AOF file|AOF fsync/i;
/** A server that ends this often while starting will not start. */
const MOST_DEATHS = 5;
const STOP_TIMEOUT_MS = 5000;
const FIRST_RESTART_MS = 100;
const LAST_RESTART_MS = 5000;
/** A server that ran this long was no failed start. */
const LONG_RUN_MS = 60_000;

/** "$@" is the server; it ends when our end of descriptor 3 is closed. */
const WATCHED = `exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ while read -r line <&3; do :; done; kill -TERM $server 2>/dev/null; } &
watcher=$!
exec 3<&-
wait $server
status=$?
kill $watcher 2>/dev/null
exit $status`;

export interface EmbeddedRedisEvents extends PersistenceEvents {
  started(program: string, socketPath: string): void;
  /** It ended without being asked to and is started again after `restartInMs`. */
  died(reason: string, restartInMs: number): void;
  /** It could not read its data, which was moved to `directory`: all in it can be made again. */
  setAside(directory: string): void;
  /** One line of the server's own output. */
  output(line: string): void;
}

export interface EmbeddedRedis {
  readonly socketPath: string;
  stop(): Promise<void>;
}

/** No Redis on this machine; the message says what to install. */
export class RedisNotInstalledError extends Error {
  constructor() {
    super(
      'no redis-server or valkey-server found: install one (Debian/Ubuntu: apt-get install redis-server), or set redis.url to use a Redis of yours',
    );
    this.name = 'RedisNotInstalledError';
  }
}

/**
 * Start the server below `directory` and wait until it takes connections; it may still be
 * loading then. The program is looked for in `folders`. Throws RedisNotInstalledError.
 */
export async function startEmbeddedRedis(
  directory: string,
  events: EmbeddedRedisEvents,
  folders: readonly string[] = programFolders(),
): Promise<EmbeddedRedis> {
  const program = await findProgram(folders);
  if (!program) throw new RedisNotInstalledError();
  await makeDirectory(directory);
  const socketPath = await chooseSocketPath(directory);
  await endLeftover(socketPath);
  const supervisor = new Supervisor({ program, directory, socketPath, events });
  await supervisor.start();
  return supervisor;
}

/** Move the append-only files away; where they went, or undefined when there are none. */
async function setDataAside(directory: string): Promise<string | undefined> {
  const aside = join(directory, `appendonlydir.damaged-${Date.now()}`);
  return rename(join(directory, 'appendonlydir'), aside).then(
    () => aside,
    () => undefined,
  );
}

function programFolders(): string[] {
  return [...(process.env['PATH'] ?? '').split(delimiter), ...USUAL_FOLDERS];
}

async function findProgram(folders: readonly string[]): Promise<string | undefined> {
  for (const name of PROGRAMS) {
    for (const folder of folders) {
      const path = join(folder, name);
      const found = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (folder !== '' && found) return path;
    }
  }
  return undefined;
}

/**
 * Under the data directory where its path is short enough, else in a private temporary directory:
 * the same one each time, or a server left behind could not be found.
 */
async function chooseSocketPath(directory: string): Promise<string> {
  const path = join(directory, 'redis.sock');
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return path;
  const name = createHash('sha256').update(resolve(directory)).digest('hex').slice(0, 16);
  const short = join(tmpdir(), `stsrelay-${process.getuid?.() ?? 0}-${name}`);
  await mkdir(short, { mode: 0o700 }).catch(() => {}); // looked at next
  const found = await lstat(short);
  // Anybody may make names there: somebody else's directory would be somebody else's Redis.
  if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o077) !== 0) {
    throw new Error(`${short} is needed for the socket of Redis and is not a private directory`);
  }
  return join(short, 'redis.sock');
}

/** A server that outlived a crash: ask it to go, and wait until it is gone. */
async function endLeftover(socketPath: string): Promise<void> {
  const socket = connect(socketPath);
  const closed = new Promise<void>((gone) => socket.once('close', () => gone()));
  socket.on('error', () => {}); // nobody there: `close` follows
  socket.once('connect', () => socket.resume().write('SHUTDOWN\r\n'));
  await Promise.race([closed, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })]);
  socket.destroy();
  await rm(socketPath, { force: true });
}

interface SupervisorParts {
  readonly program: string;
  readonly directory: string;
  readonly socketPath: string;
  readonly events: EmbeddedRedisEvents;
}

class Supervisor implements EmbeddedRedis {
  readonly socketPath: string;
  readonly #parts: SupervisorParts;
  readonly #persistence: RedisPersistence;
  #child: ChildProcess | undefined;
  #stopping = false;
  #restartInMs = FIRST_RESTART_MS;
  #deaths = 0;
  #lastLines: string[] = [];

  constructor(parts: SupervisorParts) {
    this.#parts = parts;
    this.#persistence = new RedisPersistence(parts);
    this.socketPath = parts.socketPath;
  }

  async start(): Promise<void> {
    await this.#launch();
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (!(await answers(this.socketPath))) {
      if (Date.now() > deadline || this.#deaths >= MOST_DEATHS) {
        await this.stop();
        throw new Error(
          `${this.#parts.program} does not start; it said: ${this.#lastLines.join(' / ')}`,
        );
      }
      await sleep(20);
    }
    this.#parts.events.started(this.#parts.program, this.socketPath);
    this.#persistence.start();
    await this.#persistence.look();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#persistence.stop();
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.stdin?.end();
    const late = sleep(STOP_TIMEOUT_MS, 'late', { ref: false });
    if ((await Promise.race([ended, late])) === 'late') killGroup(child);
  }

  async #launch(): Promise<void> {
    const { program, directory, events } = this.#parts;
    // One that cannot write its file would not even start.
    const appendonly = (await hasRoom(directory)) ? 'yes' : 'no';
    if (this.#stopping) return;
    const options = serverOptions({ directory, socketPath: this.socketPath, appendonly });
    const child = spawn('/bin/sh', ['-c', WATCHED, 'sh', program, ...options], {
      cwd: directory,
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child = child;
    child.stdin.on('error', () => {});
    for (const output of [child.stdout, child.stderr]) {
      output.on('error', () => {});
      createInterface({ input: output }).on('line', (line) => {
        this.#lastLines = [...this.#lastLines, line].slice(-5);
        events.output(line);
        if (AOF_ERROR.test(line)) void this.#persistence.look();
      });
    }
    const startedAt = performance.now();
    const ended = (reason: string) => {
      if (this.#stopping || this.#child !== child) return;
      this.#child = undefined;
      const wasLong = performance.now() - startedAt > LONG_RUN_MS;
      this.#deaths = wasLong ? 1 : this.#deaths + 1;
      if (wasLong) this.#restartInMs = FIRST_RESTART_MS;
      events.died(reason, this.#restartInMs);
      setTimeout(() => void this.#relaunch(), this.#restartInMs).unref();
      this.#restartInMs = Math.min(this.#restartInMs * 2, LAST_RESTART_MS);
    };
    child.once('error', (error) => ended(error.message));
    child.once('exit', (code, signal) => ended(signal ?? `exit status ${code}`));
  }

  /** Only the shell may have died: its server would take the new one's socket along when it goes. */
  async #relaunch(): Promise<void> {
    if (!this.#stopping) await endLeftover(this.socketPath).catch(() => {});
    if (!this.#stopping && this.#deaths >= 2 && AOF_TEXT.test(this.#lastLines.join('\n'))) {
      // It cannot read what it wrote, and all of that can be made again from the spool.
      const aside = await setDataAside(this.#parts.directory);
      if (aside !== undefined) this.#parts.events.setAside(aside);
    }
    if (!this.#stopping) await this.#launch();
  }
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid) process.kill(-pid, 'SIGKILL');
  } catch {
    // Gone meanwhile.
  }
}

function serverOptions({
  directory,
  socketPath,
  appendonly,
}: {
  readonly directory: string;
  readonly socketPath: string;
  readonly appendonly: 'yes' | 'no';
}): string[] {
  const options = {
    port: '0',
    unixsocket: socketPath,
    unixsocketperm: '600',
    dir: directory,
    appendonly,
    appendfsync: 'everysec',
    'maxmemory-policy': 'noeviction',
    save: '',
    daemonize: 'no',
    logfile: '',
  };
  return Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
}

/** Whether a server takes connections on the socket. */
async function answers(socketPath: string): Promise<boolean> {
  return /^(\+PONG|-LOADING)/.test(await askRedis(socketPath, 'PING'));
}
