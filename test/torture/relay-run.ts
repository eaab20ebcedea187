/**
 * The relay under torture: the real program in a process group of its own, started again and
 * again on the same data. Its log goes to a file, and what the campaign needs to know of it is
 * read as it comes; nothing is kept in memory.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, createWriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { sumSamples } from '../support/relay-process.ts';
import { killProcessesIn, processesIn, spawnTied } from '../support/tied-child.ts';
import { Chronicle, waitFor } from '../support/wait-for.ts';
import { findPart, hasRoles, largestMiB, type Part } from './processes.ts';
import type { RelaySettings } from './relay-settings.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const PRELOAD = new URL('./preload.ts', import.meta.url).href;
const START_TIMEOUT_MS = 180_000;
const STOP_TIMEOUT_MS = 180_000;
const GONE_TIMEOUT_MS = 120_000;

export interface LogLine {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** Events that are read; the rest only goes to the file. */
const READ =
  /"event":"(delivery\.delivered|outcome\.bounced|relay\.[a-z_]+|config\.[a-z_]+|redis\.started|spool\.damaged)"/;

export interface RelayRunParts {
  /** For its log, its configuration and all it leaves behind. */
  readonly directory: string;
  readonly dataDir: string;
  readonly settings: RelaySettings;
  readonly onLine: (line: LogLine) => void;
}

export class RelayRun {
  readonly smtpPort: number;
  readonly #parts: RelayRunParts;
  #settings: RelaySettings;
  #child: ChildProcess | undefined;
  #lines = new Chronicle<LogLine>();

  constructor(parts: RelayRunParts) {
    this.#parts = parts;
    this.#settings = parts.settings;
    this.smtpPort = parts.settings.listeners[0]?.port ?? 0;
  }

  get directory(): string {
    return this.#parts.directory;
  }
  get dataDir(): string {
    return this.#parts.dataDir;
  }
  get configFile(): string {
    return join(this.directory, 'stsrelay.yaml');
  }
  get logFile(): string {
    return join(this.directory, 'relay.log');
  }
  get redisSocket(): string {
    return String(this.#lines.entries.find(({ event }) => event === 'redis.started')?.['socket']);
  }
  get isRunning(): boolean {
    return this.#child !== undefined;
  }
  get hasRoles(): boolean {
    return this.#child?.pid !== undefined && hasRoles(this.#child.pid);
  }
  /** Memory of its largest node process, in MiB. */
  get memoryMiB(): number {
    return this.#child?.pid === undefined ? 0 : largestMiB(this.#child.pid);
  }

  pidOf(part: Part): number | undefined {
    const pid = this.#child?.pid;
    return pid === undefined ? undefined : findPart(part, pid, this.dataDir);
  }

  /** Write a line of the campaign's own between those of the relay. */
  note(text: string): void {
    appendFileSync(this.logFile, `${JSON.stringify({ event: 'torture', text, at: new Date() })}\n`);
  }

  /** Start it (again) and wait until its listeners are open. */
  async start(): Promise<void> {
    this.launch();
    await this.waitReady();
  }

  /** Start it (again). */
  launch(): void {
    if (this.#child !== undefined) throw new Error('the relay is running');
    this.#writeSettings();
    const lines = new Chronicle<LogLine>();
    this.#lines = lines;
    const { directory } = this.#parts;
    const child = spawnTied(process.execPath, [MAIN, 'start', '--config', this.configFile], {
      cwd: directory,
      dir: directory,
      env: this.#environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
      group: true,
    });
    this.#child = child;
    child.once('error', (error) => lines.end(error));
    child.once('exit', (code, signal) => {
      if (this.#child === child) this.#child = undefined;
      child.once('close', () => lines.end(new Error(`the relay ended (${signal ?? code})`)));
    });
    if (child.stdout) this.#readLog(child.stdout, lines);
    child.stderr?.pipe(createWriteStream(join(directory, 'relay.stderr'), { flags: 'a' }));
  }

  async waitReady(): Promise<void> {
    await this.waitForEvent('relay.started', START_TIMEOUT_MS);
    await this.waitHealthy();
  }

  /** Until it says itself that everything works. */
  async waitHealthy(timeoutMs = START_TIMEOUT_MS): Promise<void> {
    await waitFor(
      '/readyz to say 200',
      async () => {
        const signal = AbortSignal.timeout(5000);
        const answer = await fetch(`http://127.0.0.1:${this.#settings.http.port}/readyz`, {
          signal,
        });
        await answer.arrayBuffer();
        return answer.status === 200;
      },
      timeoutMs,
    );
  }

  /** Until its queue holds nothing. */
  async waitQueueEmpty(timeoutMs: number): Promise<void> {
    await waitFor(
      'an empty queue',
      async () => {
        const answer = await fetch(`http://127.0.0.1:${this.#settings.http.port}/metrics`);
        return sumSamples(await answer.text(), 'stsrelay_queue_messages') === 0;
      },
      timeoutMs,
    );
  }

  /** The first line of this run, past or to come, with this event name. */
  waitForEvent(event: string, timeoutMs: number): Promise<LogLine> {
    const probe = (lines: readonly LogLine[]) => lines.find((line) => line.event === event);
    return this.#lines.until(`event ${event}`, probe, timeoutMs);
  }

  /** How many lines with this event name there were in this run. */
  countOf(event: string): number {
    return this.#lines.entries.filter((line) => line.event === event).length;
  }

  /** Until there were so many lines with this event name in this run. */
  async waitForCount(event: string, count: number, timeoutMs: number): Promise<void> {
    const probe = () => (this.countOf(event) >= count ? true : undefined);
    await this.#lines.until(`${count} x event ${event}`, probe, timeoutMs);
  }

  /** Have it apply other settings: SIGHUP. */
  async reload(changes: Partial<RelaySettings>): Promise<void> {
    this.#settings = { ...this.#settings, ...changes };
    this.#writeSettings();
    const before = this.countOf('config.reloaded');
    this.#child?.kill('SIGHUP');
    await this.waitForCount('config.reloaded', before + 1, START_TIMEOUT_MS);
  }

  /** SIGTERM; the exit code or the signal that ended it. */
  stop(): Promise<number | string> {
    return this.#end(() => this.#child?.kill('SIGTERM'), STOP_TIMEOUT_MS);
  }

  /** SIGKILL for the whole process group and Redis, all at once. */
  async killAll(): Promise<void> {
    const pid = this.#child?.pid;
    await this.#end(() => {
      if (pid !== undefined) process.kill(-pid, 'SIGKILL');
      killProcessesIn(this.directory);
    }, GONE_TIMEOUT_MS);
    await this.waitGone();
  }

  /** SIGKILL for the process that was started alone: everything else has to end by itself. */
  async killFirst(): Promise<void> {
    await this.#end(() => this.#child?.kill('SIGKILL'), GONE_TIMEOUT_MS);
    await this.waitGone();
  }

  /** Until nothing of it runs any more. */
  async waitGone(): Promise<void> {
    wake(processesIn(this.directory)); // one that is stopped cannot end
    const gone = () => processesIn(this.directory).length === 0;
    await waitFor('all processes of the relay to be gone', gone, GONE_TIMEOUT_MS);
  }

  async close(): Promise<void> {
    this.#child?.kill('SIGCONT');
    await this.killAll();
  }

  async #end(strike: () => void, timeoutMs: number): Promise<number | string> {
    const child = this.#child;
    if (child === undefined) return 0;
    const ended = once(child, 'exit', { signal: AbortSignal.timeout(timeoutMs) });
    strike();
    const [code, signal] = (await ended) as [number | null, string | null];
    return code ?? signal ?? 0;
  }

  #environment(): NodeJS.ProcessEnv {
    const kept = Object.entries(process.env).filter(
      ([name]) => !/^(STSRELAY_.*|NODE_OPTIONS|NODE_TEST_CONTEXT)$/.test(name),
    );
    return {
      ...Object.fromEntries(kept),
      NODE_OPTIONS: `--import=${PRELOAD}`,
      TORTURE_CLOCK_FILE: this.clockFile,
    };
  }

  /** Holds by how many milliseconds the relay's clock is wrong. */
  get clockFile(): string {
    return join(this.directory, 'clock');
  }

  #writeSettings(): void {
    writeFileSync(this.configFile, stringify(this.#settings));
  }

  #readLog(output: NodeJS.ReadableStream, lines: Chronicle<LogLine>): void {
    output.pipe(createWriteStream(this.logFile, { flags: 'a' }));
    createInterface({ input: output }).on('line', (text) => {
      if (!READ.test(text)) return;
      let line: LogLine;
      try {
        line = JSON.parse(text) as LogLine;
      } catch {
        return; // cut off by SIGKILL
      }
      this.#parts.onLine(line);
      const isKept = !/^(delivery|outcome)\./.test(line.event);
      if (isKept) lines.push(line);
    });
  }
}

function wake(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGCONT');
    } catch {
      // It has ended.
    }
  }
}
