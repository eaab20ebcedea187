/**
 * `make torture`: the crash campaign. Settings come from the environment: ROUNDS (200), SEED
 * (another each time), MESSAGES (of a round, about), ONLY and WITHOUT (names of disturbances, with
 * commas), LONG (1: with disturbances of a minute), DISK (small: a tmpfs that can be full; real), JSON (1: the
 * tally as JSON, also `--json`). Exit status 1 at the first broken promise, 2 for wrong usage.
 */
import { randomInt } from 'node:crypto';
import { redisMissing } from '../support/redis.ts';
import { runCampaign } from './campaign.ts';
import { DISTURBANCES } from './choice.ts';
import { PROGRESS_HEADING, progressLine, type RoundFacts, sum, tallyTable } from './tally.ts';

const setting = (name: string) => process.env[name] ?? '';

class UsageError extends Error {}

function wholeNumber(name: string, otherwise: number): number {
  const text = setting(name);
  if (text === '') return otherwise;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${name}=${text} is no whole number`);
  return Number(text);
}

function disturbancesIn(name: string): readonly string[] {
  const wanted = setting(name).split(',').filter(Boolean);
  const known = DISTURBANCES.map(({ name }) => name);
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown === undefined) return wanted;
  throw new UsageError(`no disturbance ${unknown}; there are ${known.join(', ')}`);
}

async function main(): Promise<number> {
  const isJson = setting('JSON') === '1' || process.argv.includes('--json');
  const say = (text: string) => void (isJson ? process.stderr : process.stdout).write(`${text}\n`);
  if (redisMissing) throw new UsageError(redisMissing);
  const options = {
    seed: wholeNumber('SEED', randomInt(1, 1_000_000_000)),
    rounds: wholeNumber('ROUNDS', 200),
    messages: wholeNumber('MESSAGES', 250),
    only: disturbancesIn('ONLY'),
    without: disturbancesIn('WITHOUT'),
    isLong: setting('LONG') === '1',
    onSmallDisk: setting('DISK') !== 'real',
  };
  say(`seed ${options.seed}, ${options.rounds} rounds of about ${options.messages} messages`);
  say(PROGRESS_HEADING);
  const rounds: RoundFacts[] = [];
  let isTold = false;
  const tell = () => {
    if (!isTold) for (const line of ['', ...tallyTable(rounds), '']) say(line);
    isTold = true;
  };
  // Also when somebody has had enough and interrupts it.
  process.on('exit', (code) => {
    if (!isTold) say(`ended early, exit status ${code}`);
    tell();
  });
  const { violation } = await runCampaign({
    ...options,
    onRound: (facts) => {
      rounds.push(facts);
      say(progressLine(facts));
    },
    onNote: say,
  });
  tell();
  for (const line of violation ?? []) say(line);
  if (isJson) {
    const broken = violation === undefined ? {} : { violation: violation.join('\n') };
    const json = { seed: options.seed, total: sum(rounds), rounds, ...broken };
    process.stdout.write(`${JSON.stringify(json)}\n`);
  }
  if (violation === undefined) say(`no promise was broken in ${rounds.length} rounds`);
  return violation === undefined ? 0 : 1;
}

try {
  process.exit(await main());
} catch (error) {
  const isUsage = error instanceof UsageError;
  process.stderr.write(`${isUsage ? error.message : (error as Error).stack}\n`);
  process.exit(isUsage ? 2 : 1);
}
