/**
 * `stsrelay start`: run the relay in the foreground. SIGTERM and SIGINT drain and end it (the
 * second one at once), SIGHUP and `stsrelay reload` have it apply the changed configuration.
 */
import { readFileSync } from 'node:fs';
import { loadSettings } from '../config/load.ts';
import { formatProblem, formatWarning } from '../config/problems.ts';
import type { Relay, ReloadAnswer } from '../relay.ts';
import { reportProcessTroubles } from '../telemetry/process-troubles.ts';
import { type CliCommand, CliError, EXIT } from './command.ts';
import { requireSettings } from './configuration.ts';

export const start: CliCommand = {
  usage: 'start',
  summary: 'run in the foreground until SIGTERM or SIGINT',
  notes: `
SIGTERM and SIGINT drain transactions under way for up to 30 s; a second one ends it at once.
SIGHUP applies the changed configuration file.`,
  async run(invocation) {
    const { settings, file, warnings } = requireSettings(invocation);
    const signals = listenForSignals();
    // Loaded here because no other command needs the whole relay.
    const { startRelay } = await import('../relay.ts');
    let relay: Relay | undefined;
    const reload = inTurn<ReloadAnswer>(async () => {
      if (relay === undefined) return { ok: false, problems: ['the relay is still starting'] };
      return reloadFrom(relay, file ?? invocation.configFile);
    });
    relay = await startRelay({
      settings,
      warnings: warnings.map(formatWarning),
      onReloadRequest: reload,
    }).catch((error: unknown) => {
      throw startError(error);
    });
    reportProcessTroubles(relay.log);
    signals.onReload(reload);
    await relay.stop(await signals.stop);
    return EXIT.done;
  },
};

/** Read the configuration again and put it into force, or leave everything as it is. */
async function reloadFrom(relay: Relay, configFile: string | undefined): Promise<ReloadAnswer> {
  if (configFile !== undefined && isBlank(configFile)) {
    // Half-written by an editor or a tool: not a wish for all the defaults.
    const problems = [`${configFile} is empty; the configuration before stays`];
    relay.reloadRefused(problems);
    return { ok: false, problems };
  }
  const loaded = loadSettings({ configFile });
  if (!loaded.ok) {
    const problems = loaded.problems.map(formatProblem);
    relay.reloadRefused(problems);
    return { ok: false, problems };
  }
  for (const warning of loaded.warnings) {
    relay.log.write('warn', 'relay.warning', { warning: formatWarning(warning) });
  }
  return relay.reload(loaded.settings);
}

function isBlank(file: string): boolean {
  try {
    return readFileSync(file, 'utf8').trim() === '';
  } catch {
    return false; // the loader says what is wrong with it
  }
}

/** Two reloads at once would mix their settings: the later one waits. */
function inTurn<T>(action: () => Promise<T>): () => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return () => {
    const mine = last.then(action);
    last = mine.catch(() => undefined);
    return mine;
  };
}

/** What startRelay rejects with, as something people can act on. */
function startError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if (error.name === 'DataDirLockedError') return new CliError(EXIT.wrong, error.message);
  return new CliError(EXIT.no, `the relay cannot start: ${error.message}`);
}

const SAME_WISH_MS = 250;

interface Signals {
  /** The first SIGTERM or SIGINT, also one that came while starting. */
  readonly stop: Promise<NodeJS.Signals>;
  /** What SIGHUP does from now on; before, it does nothing. */
  onReload(reload: () => Promise<unknown>): void;
}

function listenForSignals(): Signals {
  const { promise: stop, resolve } = Promise.withResolvers<NodeJS.Signals>();
  let askedAtMs: number | undefined;
  let reload = async (): Promise<unknown> => undefined;
  const onStop = (signal: NodeJS.Signals) => {
    const now = performance.now();
    // A signal to the whole group that make or npm hands on as well is one wish, not two.
    if (askedAtMs !== undefined && now - askedAtMs > SAME_WISH_MS) process.exit(EXIT.no);
    askedAtMs ??= now;
    resolve(signal);
  };
  process.on('SIGTERM', onStop);
  process.on('SIGINT', onStop);
  process.on('SIGHUP', () => void reload());
  return {
    stop,
    onReload(action) {
      reload = action;
    },
  };
}
