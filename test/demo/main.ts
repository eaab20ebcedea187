/**
 * `make demo`: the relay in a minute. A pretend internet on loopback, the relay as it is shipped,
 * mail to eight domains, and what became of it. Needs neither root nor a network, ends by itself, and
 * leaves nothing behind, also when it is interrupted or the relay crashes.
 *
 *   node test/demo/main.ts [--keep] [--program FILE]
 *
 * Exit status: 0 when everything was shown, 1 when something failed, 2 for wrong usage, 130 after Ctrl-C
 * (0 with --keep, which waits for it).
 */
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { redisMissing } from '../support/redis.ts';
import { whenToldToEnd } from '../support/tied-child.ts';
import { greet, whereToGo } from './around.ts';
import { CommandLine } from './command-line.ts';
import { Screen } from './screen.ts';
import { type Stage, startStage } from './stage.ts';
import { Tour } from './tour.ts';

const FAREWELL = '\nThe relay and its internet have ended, and their files are removed.\n';
/** From the end of a process until its parent is told. */
const HEARD_OF_MS = 1000;
const SHIPPED = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

class UsageError extends Error {}

/** Somebody wants it to end. */
class Interrupted extends Error {
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`ended by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

interface Wishes {
  readonly keep: boolean;
  readonly program: string;
}

function readArguments(): Wishes {
  try {
    const options = { keep: { type: 'boolean' }, program: { type: 'string' } } as const;
    const { keep = false, program = SHIPPED } = parseArgs({ options }).values;
    if (existsSync(program)) return { keep, program };
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  throw new UsageError('the relay is not built: make demo does that first');
}

async function main(): Promise<number> {
  const wishes = readArguments();
  if (redisMissing) throw new UsageError(redisMissing);
  const told = new AbortController();
  whenToldToEnd((name) => told.abort(new Interrupted(name)));
  // The reader, or the terminal, is gone.
  process.stdout.on('error', () => told.abort(new Interrupted('SIGPIPE')));
  const screen = new Screen();
  const reached: Reached = { stage: undefined, isShown: false };
  try {
    await perform({ ...wishes, screen, signal: told.signal }, reached);
    return 0;
  } catch (error) {
    const { stage, isShown } = reached;
    screen.close();
    if (error instanceof Interrupted) return isShown ? 0 : error.exitCode;
    const cause = stage === undefined ? error : await causeOf(error, stage);
    process.stderr.write(`\nmake demo: ${messageOf(cause)}\n`);
    return 1;
  } finally {
    if (reached.stage) {
      await reached.stage.close();
      process.stdout.write(FAREWELL);
    }
  }
}

/**
 * Where the relay has ended, that is the cause, and what else failed only a consequence. Its ports are
 * closed a little before anybody hears of its end.
 */
function causeOf(error: unknown, stage: Stage): Promise<unknown> {
  const gone = stage.whenGone().catch((cause: unknown) => cause);
  return Promise.race([gone, sleep(HEARD_OF_MS, error, { ref: false })]);
}

/** How far it came. */
interface Reached {
  stage: Stage | undefined;
  /** All of the tour. */
  isShown: boolean;
}

async function perform(
  { keep, program, screen, signal }: Wishes & { screen: Screen; signal: AbortSignal },
  reached: Reached,
): Promise<void> {
  greet(screen);
  const stage = await unless(signal, screen.waiting('starting the relay', startStage(program)));
  reached.stage = stage;
  const commands = new CommandLine({ program, configFile: stage.relay.configFile, signal });
  const tour = new Tour({ screen, stage, commands, signal });
  await unless(signal, Promise.race([tour.run(), stage.whenGone()]));
  whereToGo(screen, { isKept: keep });
  reached.isShown = true;
  if (keep) await unless(signal, Promise.race([tour.stayUp(), stage.whenGone()]));
}

/** What comes of `work`, or the reason why it is not waited for any more. */
async function unless<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => aborted.reject(signal.reason), { once: true });
  if (signal.aborted) aborted.reject(signal.reason);
  work.catch(() => {}); // it may end badly when nobody waits any more
  return Promise.race([work, aborted.promise]);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

try {
  process.exit(await main());
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`make demo: ${error.message}\n`);
  process.exit(2);
}
