/**
 * The relay as its users start it: `node src/main.ts start --config FILE` in a process of its
 * own, with a config file in a temp dir, watched through its log lines, its metrics and its
 * exit code. It can be stopped, killed and started again on the same data.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { freePort } from './free-port.ts';
import { type TempDir, tempDir } from './temp-dir.ts';
import { killProcessesIn, spawnTied } from './tied-child.ts';
import { Chronicle, DEFAULT_TIMEOUT_MS, waitFor } from './wait-for.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const LINES_SHOWN = 40;

export type Settings = { readonly [key: string]: unknown };

/** One line of the relay's log. */
export interface LogLine {
  readonly event: string;
  readonly level?: string;
  readonly time?: string;
  readonly id?: string;
  readonly [field: string]: unknown;
}

/** What `/readyz` says. */
export interface Readiness {
  readonly parts: Readonly<Record<string, { readonly ok: boolean; readonly reason: string }>>;
}

export interface RelayOptions {
  /** Merged over the test defaults, objects key by key; arrays and scalars replace. */
  readonly settings?: Settings | readonly Settings[];
  /** Over the environment of the test, with every STSRELAY_ and OTEL_ variable taken out. */
  readonly env?: Readonly<Record<string, string>>;
  /** More arguments behind `start --config FILE`. */
  readonly args?: readonly string[];
  /** Arguments for node itself. */
  readonly nodeArgs?: readonly string[];
  /** Loopback address of its listener and its HTTP; default 127.0.0.1. */
  readonly address?: string;
  /** The program to run in place of `src/main.ts`. */
  readonly main?: string;
  /** Return without waiting until it is ready. */
  readonly dontWait?: boolean;
}

export class RelayProcess implements AsyncDisposable {
  readonly smtpPort: number;
  readonly httpPort: number;
  readonly #dir: TempDir;
  readonly #options: RelayOptions;
  #settings: Settings;
  #child: ChildProcess | undefined;
  #lines = new Chronicle<LogLine>();
  #runs: Chronicle<LogLine>[] = [];
  #stray: string[] = [];
  #stderr = '';

  /** @NOTE call startRelay instead. */
  constructor(parts: { dir: TempDir; smtpPort: number; httpPort: number; options: RelayOptions }) {
    this.#dir = parts.dir;
    this.smtpPort = parts.smtpPort;
    this.httpPort = parts.httpPort;
    this.#options = parts.options;
    this.#settings = this.#defaults();
    const given = parts.options.settings ?? [];
    for (const one of Array.isArray(given) ? (given as readonly Settings[]) : [given as Settings]) {
      this.#settings = mergeSettings(this.#settings, one);
    }
  }

  get address(): string {
    return this.#options.address ?? '127.0.0.1';
  }
  get configFile(): string {
    return this.#dir.file('stsrelay.yaml');
  }
  get dataDir(): string {
    return this.#dir.file('data');
  }
  get controlSocket(): string {
    return this.#dir.file('data/control.sock');
  }
  get pid(): number | undefined {
    return this.#child?.pid;
  }
  /** Process id of a role of this run; once it was started again, of the new one. */
  rolePid(role: 'receive' | 'deliver'): number {
    const pid = this.events('relay.role_started').findLast((line) => line['role'] === role)?.[
      'pid'
    ];
    if (typeof pid !== 'number') throw new Error(`no ${role} was started`);
    return pid;
  }
  get isRunning(): boolean {
    return this.#child !== undefined;
  }
  /** Log lines of the run that is on, or was last. */
  get log(): readonly LogLine[] {
    return this.#lines.entries;
  }
  /** Log lines of all runs. */
  get wholeLog(): readonly LogLine[] {
    return this.#runs.flatMap((run) => run.entries);
  }
  /** What came on stdout and was no JSON line; the relay promises that there is nothing. */
  get strayOutput(): readonly string[] {
    return this.#stray;
  }
  get stderr(): string {
    return this.#stderr;
  }
  /** The settings as written to the config file. */
  get settings(): Settings {
    return this.#settings;
  }

  /** Log lines with this event name, of the current run. */
  events(name: string): readonly LogLine[] {
    return this.log.filter((line) => line.event === name);
  }

  /** Start it (again), on the same data. */
  async start(): Promise<void> {
    if (this.#child !== undefined) throw new Error('the relay is running');
    writeFileSync(this.configFile, stringify(this.#settings));
    const lines = new Chronicle<LogLine>();
    this.#lines = lines;
    this.#runs.push(lines);
    const child = this.#spawn();
    this.#child = child;
    child.once('error', (error) => lines.end(error));
    child.once('exit', (code, signal) => {
      if (this.#child === child) this.#child = undefined;
      // The last lines may still be in the pipe.
      child.once('close', () => lines.end(new Error(`the relay ended (${signal ?? code})`)));
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    if (child.stdout !== null) {
      createInterface({ input: child.stdout }).on('line', (line) => this.#onLine(lines, line));
    }
    if (this.#options.dontWait !== true) await this.waitReady();
  }

  /** Until all listeners are open: the event `relay.started`. */
  async waitReady(timeoutMs = DEFAULT_TIMEOUT_MS): Promise<void> {
    const { pid } = await this.waitForEvent('relay.started', () => true, timeoutMs);
    if (pid !== this.pid || this.#options.args?.includes('--role') === true) return;
    // Told by another process, the supervisor, maybe later.
    for (const role of ['deliver', 'receive']) {
      await this.waitForEvent('relay.role_started', (line) => line['role'] === role, timeoutMs);
    }
  }

  /** The first line, past or to come in this run, with this event name that `matches`. */
  waitForEvent(
    name: string,
    matches: (line: LogLine) => boolean = () => true,
    timeoutMs = DEFAULT_TIMEOUT_MS,
  ): Promise<LogLine> {
    const probe = () => this.events(name).find(matches);
    return this.#explained(this.#lines.until(`event ${name}`, probe, timeoutMs));
  }

  /** Until this run has had `count` lines with this event name that `matches`; all of them. */
  waitForEvents(
    name: string,
    count: number,
    options: { matches?: (line: LogLine) => boolean; timeoutMs?: number } = {},
  ): Promise<readonly LogLine[]> {
    const probe = () => {
      const found = this.events(name).filter(options.matches ?? (() => true));
      return found.length >= count ? found : undefined;
    };
    return this.#explained(this.#lines.until(`${count} x event ${name}`, probe, options.timeoutMs));
  }

  /** Until `probe`, asked at each new line, finds something in the log of this run. */
  waitForLog<R>(
    what: string,
    probe: (lines: readonly LogLine[]) => R | undefined,
    timeoutMs = DEFAULT_TIMEOUT_MS,
  ): Promise<R> {
    return this.#explained(this.#lines.until(what, probe, timeoutMs));
  }

  /** Write changed settings (merged over the present ones); `reload` makes the relay read them. */
  changeSettings(changes: Settings): void {
    this.#settings = mergeSettings(this.#settings, changes);
    writeFileSync(this.configFile, stringify(this.#settings));
  }
  /** SIGHUP. */
  reload(): void {
    this.signal('SIGHUP');
  }
  /** Send a signal to the relay alone. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** SIGTERM, and wait until its last line is read; the exit code, or the signal that ended it. */
  async stop(timeoutMs = DEFAULT_TIMEOUT_MS): Promise<number | NodeJS.Signals> {
    return this.#whole(this.#end('SIGTERM', timeoutMs), timeoutMs);
  }
  /**
   * End it without warning. `group`: its children (embedded Redis) too. `whole`: wait until its
   * roles have noticed and all they said is read, too.
   */
  async kill(
    signal: NodeJS.Signals = 'SIGKILL',
    options: { group?: boolean; whole?: boolean } = {},
  ): Promise<void> {
    const pid = this.pid;
    const end = this.#end(signal, DEFAULT_TIMEOUT_MS);
    const ended = options.whole === true ? this.#whole(end, DEFAULT_TIMEOUT_MS) : end;
    if (options.group === true && pid !== undefined) {
      killGroup(pid);
      killProcessesIn(this.#dir.path);
    }
    await ended;
  }
  /** Stop in order and start again. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }
  /** Wait until it ends by itself, and its last line is read. */
  async waitForExit(timeoutMs = DEFAULT_TIMEOUT_MS): Promise<number | NodeJS.Signals> {
    const child = this.#child;
    if (child === undefined) throw new Error('the relay is not running');
    return this.#whole(this.#explained(exitOf(child, timeoutMs)), timeoutMs);
  }

  /** GET a path of its HTTP listener. */
  http(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`http://${this.address}:${this.httpPort}${path}`, init);
  }
  /** `/metrics` as text. */
  async metrics(): Promise<string> {
    return (await this.http('/metrics')).text();
  }
  /** The sum of a metric's samples that carry these labels; undefined when there is none. */
  async metric(
    name: string,
    labels: Readonly<Record<string, string>> = {},
  ): Promise<number | undefined> {
    return sumSamples(await this.metrics(), name, labels);
  }
  /**
   * Until it is so many: a role that is too slow to be asked is shown with the numbers it gave
   * before.
   */
  async waitForMetric(
    name: string,
    value: number,
    labels: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    let last: number | undefined;
    await waitFor(name, async () => {
      last = await this.metric(name, labels);
      return last === value;
    }).catch((error: Error) => {
      throw new Error(`${error.message}: ${last}, not ${value}`);
    });
  }
  /** Until `/readyz` gives this status, and what `matches`: Redis and roles may be slow to answer. */
  async waitForReadiness(
    status: 200 | 503,
    matches: (readiness: Readiness) => boolean = () => true,
  ): Promise<Readiness> {
    return waitFor(`${status} from /readyz`, async () => {
      const response = await this.http('/readyz');
      const readiness = (await response.json()) as Readiness;
      return response.status === status && matches(readiness) ? readiness : undefined;
    });
  }

  async close(): Promise<void> {
    await this.kill('SIGKILL', { group: true });
    killProcessesIn(this.#dir.path); // an embedded Redis may have left the process group
    this.#dir.remove();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #spawn(): ChildProcess {
    const { nodeArgs = [], main = MAIN, args = [], env } = this.#options;
    const command = [...nodeArgs, main, 'start', '--config', this.configFile, ...args];
    return spawnTied(process.execPath, command, {
      cwd: this.#dir.path,
      dir: this.#dir.path,
      env: { ...cleanEnvironment(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      group: true,
    });
  }

  #defaults(): Settings {
    return {
      hostname: 'relay.example.net',
      dataDir: this.dataDir,
      listeners: [
        { address: this.address, port: this.smtpPort, tls: 'starttls', auth: 'optional' },
      ],
      http: { address: this.address, port: this.httpPort },
      limits: { minFreeDisk: '1MiB' },
      log: { level: 'debug', format: 'json' },
    };
  }

  #onLine(lines: Chronicle<LogLine>, line: string): void {
    try {
      const parsed: unknown = JSON.parse(line);
      if (typeof parsed === 'object' && parsed !== null && 'event' in parsed) {
        lines.push(parsed as LogLine);
        return;
      }
    } catch {
      // No JSON: kept as stray.
    }
    this.#stray.push(line);
  }

  async #end(signal: NodeJS.Signals, timeoutMs: number): Promise<number | NodeJS.Signals> {
    const child = this.#child;
    if (child === undefined) return 0;
    const exit = exitOf(child, timeoutMs);
    child.kill(signal);
    return this.#explained(exit);
  }

  /** An exit code comes before the last lines are read: wait for these too. */
  async #whole<T>(exit: Promise<T>, timeoutMs: number): Promise<T> {
    const lines = this.#lines;
    const code = await exit;
    await this.#explained(lines.whenEnded(timeoutMs));
    return code;
  }

  /** Add what the relay said last to an error. */
  async #explained<T>(outcome: Promise<T>): Promise<T> {
    try {
      return await outcome;
    } catch (error) {
      const log = this.log.slice(-LINES_SHOWN).map((line) => JSON.stringify(line));
      const said = [...log, ...this.#stray.slice(-LINES_SHOWN)].join('\n');
      const message = error instanceof Error ? error.message : String(error);
      throw new Error(`${message}\n--- its log:\n${said}\n--- its stderr:\n${this.#stderr}`);
    }
  }
}

/** Start a relay in a temp dir; ready unless `dontWait`. Close it at the end of the test. */
export async function startRelay(options: RelayOptions = {}): Promise<RelayProcess> {
  const { address } = options;
  const [smtpPort, httpPort] = [await freePort(address), await freePort(address)];
  const relay = new RelayProcess({ dir: tempDir(), smtpPort, httpPort, options });
  try {
    await relay.start();
  } catch (error) {
    await relay.close();
    throw error;
  }
  return relay;
}

/** Merge settings: objects key by key, everything else of `over` replaces. */
export function mergeSettings(base: Settings, over: Settings): Settings {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = merged[key];
    merged[key] = isSection(old) && isSection(value) ? mergeSettings(old, value) : value;
  }
  return merged;
}

function isSection(value: unknown): value is Settings {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The sum of the samples of `name` in a Prometheus text that carry `labels`. */
export function sumSamples(
  text: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  let sum: number | undefined;
  for (const line of text.split('\n')) {
    const match = /^([a-zA-Z0-9_:]+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (match === null || match[1] !== name) continue;
    const has = `,${match[2] ?? ''}`;
    if (!Object.entries(labels).every(([key, value]) => has.includes(`,${key}="${value}"`)))
      continue;
    sum = (sum ?? 0) + Number(match[3]);
  }
  return sum;
}

/** The environment without what would change a relay's settings, or its Node.js. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const env = Object.entries(process.env).filter(
    ([name]) =>
      !/^(STSRELAY|OTEL)_/.test(name) && name !== 'NODE_OPTIONS' && name !== 'NODE_TEST_CONTEXT',
  );
  return Object.fromEntries(env);
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Ended by itself meanwhile.
  }
}

async function exitOf(child: ChildProcess, timeoutMs: number): Promise<number | NodeJS.Signals> {
  if (child.exitCode !== null) return child.exitCode;
  if (child.signalCode !== null) return child.signalCode;
  const deadline = AbortSignal.timeout(timeoutMs);
  const [code, signal] = await once(child, 'exit', { signal: deadline }).catch(() => {
    throw new Error(`the relay did not end within ${timeoutMs} ms`);
  });
  return (code as number | null) ?? (signal as NodeJS.Signals);
}
