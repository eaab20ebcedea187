/**
 * The command line put together: commander reads the arguments, a command does the work, and
 * every ending becomes an exit code and, where something is wrong, a message on stderr.
 */
import { Command, CommanderError } from 'commander';
import { VERSION } from '../version.ts';
import { type CliCommand, CliError, EXIT } from './command.ts';
import type { CommandGroup } from './commands.ts';
import { start } from './start.ts';
import { flushOutput, printError, printJson } from './terminal.ts';

/** Run one command line (without node and the script); the exit code, when all is printed. */
export async function runCli(argv: readonly string[]): Promise<number> {
  endQuietlyWithoutReader();
  const code = await runCommand(argv);
  await flushOutput();
  return code;
}

async function runCommand(argv: readonly string[]): Promise<number> {
  const ending: { code: number } = { code: EXIT.done };
  const program = buildProgram(await commandsFor(argv), ending);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return ending.code;
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has written its message; --help and --version end here too.
      if (error.exitCode === 0) return EXIT.done;
      if (wantsJson(argv)) printJson({ ok: false, error: usageError(error) });
      return EXIT.wrong;
    }
    if (!(error instanceof CliError)) throw error;
    const { message, facts } = error;
    if (program.opts()['json'] === true) printJson({ ok: false, error: message, ...facts });
    printError(`stsrelay: ${message}`);
    return error.exitCode;
  }
}

/** Arguments that commander refused may not have been read to their end: what they ask for stands in them. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return argv.slice(0, end < 0 ? argv.length : end).includes('--json');
}

function usageError({ code, message }: CommanderError): string {
  if (code === 'commander.help') return 'a command is missing; --help shows what there is';
  return message.replace(/^error: /, '');
}

interface Commands {
  readonly commands: readonly CliCommand[];
  readonly groups: readonly CommandGroup[];
}

/** A process that runs for months has nothing in it of the commands that run for a second. */
async function commandsFor(argv: readonly string[]): Promise<Commands> {
  if (firstWord(argv) === start.usage) return { commands: [start], groups: [] };
  const { COMMANDS, GROUPS } = await import('./commands.ts');
  return { commands: COMMANDS, groups: GROUPS };
}

function firstWord(argv: readonly string[]): string | undefined {
  return argv.find((word, i) => !word.startsWith('-') && argv[i - 1] !== '--config');
}

/** Everything commander needs; `ending.code` is how the command that was called ended. */
export function buildProgram({ commands, groups }: Commands, ending: { code: number }): Command {
  const program = new Command('stsrelay')
    .description('Outbound SMTP relay that enforces MTA-STS and DANE.')
    .option('--config <file>', 'configuration file')
    .option('--json', 'machine-readable output')
    .version(VERSION)
    .showHelpAfterError('(--help shows what there is)')
    .configureHelp({ showGlobalOptions: true })
    .exitOverride();
  for (const command of commands) add(program, command, ending);
  for (const { name, summary, commands } of groups) {
    const group = program.command(name).description(summary);
    for (const command of commands) add(group, command, ending);
  }
  return program;
}

function add(
  parent: Command,
  { usage, summary, notes, options, run }: CliCommand,
  ending: { code: number },
): void {
  const command = parent.command(usage).description(summary);
  for (const option of options ?? []) command.addOption(option);
  if (notes !== undefined) command.addHelpText('after', notes);
  command.action(async () => {
    const { config, json, ...rest } = command.optsWithGlobals<Record<string, unknown>>();
    ending.code = await run({
      args: command.args,
      options: rest,
      configFile: typeof config === 'string' ? config : undefined,
      json: json === true,
    });
  });
}

/** `stsrelay config schema | head -1` is no error. */
function endQuietlyWithoutReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.done);
    throw error;
  });
}
