/**
 * What a command of the command line is, and how it ends (product contract §5). Each command is
 * one value of type CliCommand in a file of its own; run.ts puts them together.
 */
import type { Option } from 'commander';

export const EXIT = {
  done: 0,
  /** The answer is "no": a check failed, nothing matched. */
  no: 1,
  /** Wrong usage or configuration. */
  wrong: 2,
  /** The relay cannot be reached. */
  unreachable: 3,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** How somebody called a command. */
export interface Invocation {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
  /** `--config` */
  readonly configFile: string | undefined;
  /** `--json` */
  readonly json: boolean;
}

export interface CliCommand {
  /** Its name and arguments, in commander's notation: `add <name>`. */
  readonly usage: string;
  readonly summary: string;
  /** Examples and notes below the options in `--help`. */
  readonly notes?: string;
  readonly options?: readonly Option[];
  /** Does it, and says how it ended; throws CliError for what the caller has to be told. */
  readonly run: (invocation: Invocation) => Promise<ExitCode> | ExitCode;
}

/** Ends a command: a message that says what, where and what to do, and the exit code. */
export class CliError extends Error {
  readonly exitCode: ExitCode;
  /** More of it, for `--json`. */
  readonly facts: Readonly<Record<string, unknown>>;

  constructor(exitCode: ExitCode, message: string, facts: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.name = 'CliError';
    this.exitCode = exitCode;
    this.facts = facts;
  }
}
