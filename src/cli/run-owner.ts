/**
 * `stsrelay start --role deliver` and `--role all`: the process that owns the data directory. It
 * loads the configuration, tells a receiving role what it needs of it, and applies changes.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { loadSettings } from '../config/load.ts';
import { formatProblem, formatWarning } from '../config/problems.ts';
import type { Settings } from '../config/settings.ts';
import { rolesSocket } from '../door.ts';
import { tellSystemdReady } from '../platform/tell-systemd.ts';
import { type ReceiverLink, type Relay, type ReloadAnswer, startRelay } from '../relay.ts';
import { type Order, type Supervised, takeOrders } from '../roles/orders.ts';
import { listenForSignals } from '../roles/signals.ts';
import { createLog } from '../telemetry/log.ts';
import { reportProcessTroubles } from '../telemetry/process-troubles.ts';
import { systemdUntold } from '../telemetry/role-events.ts';
import { CliError, EXIT, type ExitCode, type Invocation } from './command.ts';
import { requireSettings } from './configuration.ts';

export interface OwnerRole {
  /** The listeners are in another process. */
  readonly isAlone: boolean;
  readonly isSupervised: boolean;
}

/** Run until told to stop. Throws CliError when it cannot start. */
export async function runOwner(invocation: Invocation, role: OwnerRole): Promise<ExitCode> {
  if (!role.isSupervised) return run(invocation, role, undefined);
  const orders = takeOrders();
  const { isAgain } = await orders.begin;
  try {
    return await run(invocation, role, orders);
  } catch (error) {
    if (!isAgain || !(error instanceof CliError)) throw error;
    // The relay is running: stderr is for JSON lines only, and nobody looks at it.
    createLog({ level: 'info' }).write('error', 'relay.cannot_start', { error: error.message });
    orders.report({ kind: 'failed', reason: error.message });
    return error.exitCode;
  }
}

async function run(
  invocation: Invocation,
  role: OwnerRole,
  orders: Supervised | undefined,
): Promise<ExitCode> {
  const { settings, file, warnings } = requireSettings(invocation);
  const signals = orders ?? listenForSignals();
  let relay: Relay | undefined;
  const reload = inTurn<ReloadAnswer>(async () => {
    if (relay === undefined) return { ok: false, problems: ['the relay is still starting'] };
    const answer = await reloadFrom(relay, file ?? invocation.configFile, (changed) =>
      orders?.report({ kind: 'log', log: changed.log }),
    );
    return answer;
  });
  const receiver = role.isAlone ? await receiverLink(settings, orders) : undefined;
  relay = await startRelay({
    settings,
    warnings: warnings.map(formatWarning),
    onReloadRequest: reload,
    ...(receiver ? { receiver } : {}),
    beforeStarted: async (started) => {
      relay = started;
      if (orders) await followOrders(orders, started);
    },
  }).catch((error: unknown) => {
    throw startError(error, settings.dataDir);
  });
  const { log } = relay;
  reportProcessTroubles(log);
  if (!orders) tellSystemdReady((why) => systemdUntold(log, why)); // else the supervisor does
  if ('onReload' in signals) signals.onReload(async () => relay?.reloadBySignal());
  await relay.stop(await signals.stop);
  return EXIT.done;
}

async function receiverLink(
  settings: Settings,
  orders: Supervised | undefined,
): Promise<ReceiverLink> {
  if (!orders) return { supervisor: 0, isAwaited: false, onListening: () => {} };
  const { isAgain } = await orders.begin;
  return {
    supervisor: orders.supervisor,
    isAwaited: !isAgain,
    onListening: (dataDir) =>
      orders.report({
        kind: 'listening',
        owner: { dataDir, log: settings.log, rolesSocket: rolesSocket(dataDir) },
      }),
  };
}

/** The supervisor is told before anybody can read in the log that the relay has started. */
async function followOrders(orders: Supervised, relay: Relay): Promise<void> {
  orders.onOrder((order: Order) => {
    if (order.kind === 'reload') void relay.reloadBySignal();
    if (order.kind === 'restarted') relay.roleRestarted(order.role);
  });
  const { restarts } = await orders.begin;
  relay.roleRestarted('deliver', restarts.deliver);
  relay.roleRestarted('receive', restarts.receive);
  orders.report({ kind: 'started' });
}

/** Read the configuration again and put it into force, or leave everything as it is. */
async function reloadFrom(
  relay: Relay,
  configFile: string | undefined,
  changed: (settings: Settings) => void,
): Promise<ReloadAnswer> {
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
  const answer = await relay.reload(loaded.settings);
  if (answer.ok) changed(loaded.settings);
  return answer;
}

function isBlank(file: string): boolean {
  try {
    return readFileSync(file, 'utf8').trim() === '';
  } catch {
    return false; // the loader says what is wrong with it
  }
}

/** Two reloads at once would mix their settings: the later one waits, and does for all that come meanwhile. */
function inTurn<T>(action: () => Promise<T>): () => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  let waiting: Promise<T> | undefined;
  return () => {
    waiting ??= last.then(() => {
      waiting = undefined;
      return action();
    });
    last = waiting.catch(() => undefined);
    return waiting;
  };
}

/** What startRelay rejects with, as something people can act on. */
function startError(error: unknown, dataDir: string): unknown {
  if (!(error instanceof Error)) return error;
  if (['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')) {
    const advice = `the disk of dataDir ${resolve(dataDir)} is full, make room there`;
    return new CliError(EXIT.no, `the relay cannot start: ${advice} (${error.message})`);
  }
  if (error.name === 'DataDirLockedError') return new CliError(EXIT.wrong, error.message);
  if (error.name === 'NodeNameTakenError') return new CliError(EXIT.wrong, error.message);
  return new CliError(EXIT.no, `the relay cannot start: ${error.message}`);
}
