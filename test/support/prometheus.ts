/**
 * A private Prometheus: one target, its own data and configuration in a temp dir, on a random port
 * of 127.0.0.1. And promtool, which comes with it. Nothing of the system's Prometheus is touched.
 */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { freePort } from './free-port.ts';
import { type TempDir, tempDir } from './temp-dir.ts';
import { findCommand, spawnTied } from './tied-child.ts';
import { waitFor } from './wait-for.ts';

const PROMETHEUS = findCommand('prometheus');
const PROMTOOL = findCommand('promtool');
const AMTOOL = findCommand('amtool');

/** For `{ skip: prometheusMissing }`: false when both are there. */
export const prometheusMissing: string | false =
  (PROMETHEUS === undefined || PROMTOOL === undefined) &&
  'prometheus (with promtool) is not installed';

/** It comes with Alertmanager. */
export const amtoolMissing: string | false =
  AMTOOL === undefined && 'amtool (of Alertmanager) is not installed';

export interface ToolResult {
  readonly code: number | null;
  readonly output: string;
}

/** Run promtool to its end. */
export function promtool(args: readonly string[], input = ''): ToolResult {
  if (PROMTOOL === undefined) throw new Error(String(prometheusMissing));
  return runTool(PROMTOOL, args, input);
}

/** The same with amtool. */
export function amtool(args: readonly string[]): ToolResult {
  if (AMTOOL === undefined) throw new Error(String(amtoolMissing));
  return runTool(AMTOOL, args);
}

function runTool(tool: string, args: readonly string[], input = ''): ToolResult {
  const { status, stdout, stderr } = spawnSync(tool, args, { input, encoding: 'utf8' });
  return { code: status, output: `${stdout}${stderr}` };
}

/** One series of an answer, with its value now. */
export interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [seconds: number, value: string];
}

/** The same over time. */
export interface Curve {
  readonly metric: Readonly<Record<string, string>>;
  readonly values: readonly Series['value'][];
}

export interface Exemplar {
  readonly labels: Readonly<Record<string, string>>;
}

export class Prometheus implements AsyncDisposable {
  readonly url: string;
  readonly #dir: TempDir;
  readonly #child: ChildProcess;

  /** @NOTE call startPrometheus instead. */
  constructor(parts: { dir: TempDir; child: ChildProcess; url: string }) {
    this.#dir = parts.dir;
    this.#child = parts.child;
    this.url = parts.url;
  }

  /** An instant query; throws with what Prometheus says about a wrong one. */
  async query(expr: string): Promise<readonly Series[]> {
    const { result } = (await this.#ask('query', { query: expr })) as { result: Series[] };
    return result;
  }

  /** A query for each step of a time; all in seconds. */
  async range(
    query: string,
    { start, end, step }: { start: number; end: number; step: number },
  ): Promise<readonly Curve[]> {
    const span = { start: String(start), end: String(end), step: String(step) };
    const { result } = (await this.#ask('query_range', { query, ...span })) as { result: Curve[] };
    return result;
  }

  /** All exemplars of a metric in the last minute. */
  async exemplars(query: string): Promise<readonly Exemplar[]> {
    const now = Date.now() / 1000;
    const span = { start: String(now - 60), end: String(now + 1) };
    const answer = (await this.#ask('query_exemplars', { query, ...span })) as readonly {
      readonly exemplars: readonly Exemplar[];
    }[];
    return answer.flatMap(({ exemplars }) => exemplars);
  }

  /** Until so many scrapes more than now have succeeded. */
  async scrapes(count: number): Promise<void> {
    const done = async () => {
      const [series] = await this.query('sum_over_time(up{job="stsrelay"}[10m])');
      return Number(series?.value[1] ?? 0);
    };
    const before = await done();
    await waitFor(`${count} scrapes`, async () => (await done()) >= before + count);
  }

  async close(): Promise<void> {
    this.#child.kill('SIGKILL');
    await waitFor('the end of Prometheus', () => this.#child.exitCode ?? this.#child.signalCode);
    this.#dir.remove();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #ask(path: string, parameters: Readonly<Record<string, string>>): Promise<unknown> {
    const response = await fetch(`${this.url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const answer = (await response.json()) as { data?: unknown; error?: string };
    if (answer.error !== undefined) throw new Error(`${answer.error}: ${parameters['query']}`);
    return answer.data;
  }
}

/** Start one that scrapes `target` (host:port) each second, and evaluates these rules as often. */
export async function startPrometheus(target: string, rules: string): Promise<Prometheus> {
  if (PROMETHEUS === undefined) throw new Error(String(prometheusMissing));
  const dir = tempDir();
  const port = await freePort();
  // JSON is YAML.
  const configuration = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [rules],
    scrape_configs: [{ job_name: 'stsrelay', static_configs: [{ targets: [target] }] }],
  };
  writeFileSync(dir.file('prometheus.yml'), JSON.stringify(configuration));
  const args = [
    `--config.file=${dir.file('prometheus.yml')}`,
    `--storage.tsdb.path=${dir.file('data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--enable-feature=exemplar-storage',
  ];
  const child = spawnTied(PROMETHEUS, args, {
    cwd: dir.path,
    dir: dir.path,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const prometheus = new Prometheus({ dir, child, url: `http://127.0.0.1:${port}` });
  const isUp = async () => (await fetch(`${prometheus.url}/-/ready`)).ok;
  await waitFor('Prometheus', isUp).catch((error: Error) => {
    throw new Error(`${error.message}\n${said}`);
  });
  return prometheus;
}
