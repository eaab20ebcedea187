/**
 * `stsrelay start --role receive`: the process with the listeners. All it needs to know by
 * itself is where the data directory is, and how to log; the rest of its settings comes from
 * the owner of the spool.
 */
import { resolve } from 'node:path';
import { intakeSocket, STOP_GRACE_MS } from '../door.ts';
import { tellSystemdReady } from '../platform/tell-systemd.ts';
import { Receiver, SentAwayError } from '../receive.ts';
import { type OwnerPlace, takeOrders } from '../roles/orders.ts';
import { listenForSignals } from '../roles/signals.ts';
import { reportProcessTroubles } from '../telemetry/process-troubles.ts';
import { systemdUntold } from '../telemetry/role-events.ts';
import { CliError, EXIT, type ExitCode, type Invocation } from './command.ts';

/** Run until told to stop. Throws CliError when it cannot listen. */
export async function runReceiver(
  invocation: Invocation,
  isSupervised: boolean,
): Promise<ExitCode> {
  if (!isSupervised) return runApart(invocation);
  const orders = takeOrders();
  const begun = await Promise.race([orders.begin, orders.stop]);
  if (typeof begun === 'string' || !begun.owner) return EXIT.done;
  const receiver = open(begun.owner, orders.supervisor);
  const { isAgain } = begun;
  void receiver.opened.then(() => orders.report({ kind: 'started' }));
  const ended = await Promise.race([orders.stop, endOf(receiver, isAgain)]);
  if (typeof ended !== 'string') {
    if (ended instanceof SentAwayError) cannotStart(receiver, ended);
    orders.report({ kind: 'failed', reason: ended.message });
    return EXIT.no; // and the supervisor starts another one, of the program as it is now
  }
  await receiver.stop(STOP_GRACE_MS);
  return EXIT.done;
}

async function runApart(invocation: Invocation): Promise<ExitCode> {
  const { requireSettings } = await import('./configuration.ts');
  const { settings } = requireSettings(invocation);
  const signals = listenForSignals();
  const receiver = open({ dataDir: resolve(settings.dataDir), log: settings.log }, 0);
  void receiver.opened.then(() => tellSystemdReady((why) => systemdUntold(receiver.log, why)));
  const ended = await Promise.race([signals.stop, receiver.failed]);
  if (typeof ended !== 'string') {
    await receiver.stop(0);
    // As a second start on one dataDir.
    const code = ended instanceof SentAwayError ? EXIT.wrong : EXIT.no;
    if (!receiver.wasOpen)
      throw new CliError(code, `the receiving role cannot start: ${ended.message}`);
    cannotStart(receiver, ended);
    return code;
  }
  receiver.log.write('info', 'relay.stopping', { signal: ended });
  await receiver.stop(STOP_GRACE_MS);
  receiver.log.write('info', 'relay.stopped');
  return EXIT.done;
}

/** The listeners cannot be opened, or the owner wants none of us. */
async function endOf({ failed }: Receiver, isAgain: boolean): Promise<Error> {
  const error = await failed;
  // At the start the owner says what is wrong, and that is the end of all.
  return isAgain || error instanceof SentAwayError ? error : new Promise<never>(() => {});
}

/** After the start stderr is for JSON lines only, and nobody looks at it. */
function cannotStart({ log }: Receiver, error: Error): void {
  log.write('error', 'relay.cannot_start', { role: 'receive', error: error.message });
}

function open({ dataDir, log }: Omit<OwnerPlace, 'rolesSocket'>, supervisor: number): Receiver {
  let path: string;
  try {
    path = intakeSocket(dataDir);
  } catch (error) {
    throw new CliError(EXIT.no, `the receiving role cannot start: ${(error as Error).message}`);
  }
  const receiver = new Receiver({ dataDir, path, log, supervisor });
  reportProcessTroubles(receiver.log);
  return receiver;
}
