/**
 * `stsrelay …` as the viewer would type it: the shipped program in a process of its own, with
 * $STSRELAY_CONFIG set, writing straight to the viewer's screen; or read, where the tour abridges
 * what it says.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { cleanEnvironment } from '../support/relay-process.ts';
import { spawnTied } from '../support/tied-child.ts';

const SIGNAL_MS = 200;

export interface CommandLineParts {
  /** The program, e.g. dist/main.js. */
  readonly program: string;
  readonly configFile: string;
  /** Ends what is running. */
  readonly signal: AbortSignal;
}

export class CommandLine {
  readonly #parts: CommandLineParts;

  constructor(parts: CommandLineParts) {
    this.#parts = parts;
  }

  /** Let it write to the screen. Throws when it does not end with 0. */
  async show(args: readonly string[]): Promise<void> {
    await this.#run(args, 1);
  }

  /** What it writes to stdout, as JSON. Throws when it does not end with 0. */
  async read(args: readonly string[]): Promise<unknown> {
    return JSON.parse(await this.#run(args, 'pipe'));
  }

  async #run(args: readonly string[], stdout: 1 | 'pipe'): Promise<string> {
    const { program, configFile, signal } = this.#parts;
    signal.throwIfAborted();
    const child = spawnTied(process.execPath, [program, ...args], {
      env: { ...cleanEnvironment(), STSRELAY_CONFIG: configFile },
      // Results and what is said about them, in order.
      stdio: ['ignore', stdout, 1],
      signal,
      killSignal: 'SIGKILL',
    });
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    const [code] = (await once(child, 'close')) as [number | null];
    if (code === 0) return text;
    // Ctrl-C reaches it before us.
    if (code === null) await sleep(SIGNAL_MS);
    signal.throwIfAborted();
    throw new Error(`stsrelay ${args.join(' ')} ended with ${code}`);
  }
}

/** The arguments as typed into a shell. */
export function typed(args: readonly string[]): readonly string[] {
  return ['stsrelay', ...args.map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg}'`))];
}
