/**
 * `stsrelay queue retry | hold | release | bounce | drop`: by ids, or by filters.
 */
import { Option } from 'commander';
import { LONGEST_HOLD_REASON } from '../queue/hold-rules.ts';
import { EXIT_CODES, parseSpan, parseText } from './answers.ts';
import { type CliCommand, CliError, EXIT, type Invocation } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { counted, deliveries } from './counted.ts';
import { type ActionAnswer, act } from './queue-client.ts';
import { FILTER_NOTES, FILTER_OPTIONS, filterOf, idsOf, NOT_QUEUED } from './queue-filter.ts';
import { print, printable, printError, printJson } from './terminal.ts';

const dryRun = () => new Option('--dry-run', 'say how many it would touch, and do nothing');
const all = () => new Option('--all', 'everything, in place of a filter');
const reason = (what: string) =>
  new Option('--reason <text>', what).argParser(parseText(LONGEST_HOLD_REASON));
const COMMON = () => [...FILTER_OPTIONS, all(), dryRun()];

const NOTES = `${FILTER_NOTES}
${EXIT_CODES.replace('the answer is no', 'nothing fits, or none of the ids is in the queue')}`;

export const queueRetry: CliCommand = {
  usage: 'retry [ids...]',
  summary: 'try now what waits for its time; a destination whose hosts are away gets a probe',
  options: COMMON(),
  notes: `
What is held or paused stays where it is: release or resume it. What is named by its id goes before all that is due for
the same destination, and is the probe where the hosts are away.
${NOTES}`,
  run: (invocation) => run(invocation, 'retry'),
};

export const queueHold: CliCommand = {
  usage: 'hold [ids...]',
  summary: 'keep mail in the queue: it is neither attempted nor given up',
  options: [
    ...COMMON(),
    reason('why, e.g. a ticket'),
    new Option(
      '--for <duration>',
      'for how long: 2h, 7d; without it until `queue release`',
    ).argParser(parseSpan),
    new Option('--only-queued', 'not what comes in later'),
  ],
  notes: `
By --domain, --sender, --recipient, --user, --client or --all alone, mail that comes in later is held, too (\`queue
holds\` lists these rules); with ids, --state or --older-than what is queued now. Holds are kept over restarts.
${NOTES}`,
  run: (invocation) => run(invocation, 'hold'),
};

export const queueRelease: CliCommand = {
  usage: 'release [ids...]',
  summary: 'end holds',
  options: [...COMMON(), new Option('--force', 'with filters: also what other rules hold')],
  notes: `
Filters end the rule that has exactly these, and the holds of single messages that fit; what another rule holds stays
held, and is told. With ids, --all or --force mail goes whatever holds it; --all ends all rules, too.
${NOTES}`,
  run: (invocation) => run(invocation, 'release'),
};

export const queueBounce: CliCommand = {
  usage: 'bounce [ids...]',
  summary: 'give mail up and tell its senders',
  options: [...COMMON(), reason('why: the senders read it')],
  notes: `
With --recipient those recipients alone are given up. What is being attempted is given up after that, unless
it was delivered.
${NOTES}`,
  run: (invocation) => run(invocation, 'bounce'),
};

export const queueDrop: CliCommand = {
  usage: 'drop [ids...]',
  summary: 'remove mail and tell nobody; the log has a line for each recipient',
  options: [...COMMON(), reason('why, for the log')],
  notes: `
With --recipient those recipients alone are removed.
${NOTES}`,
  run: (invocation) => run(invocation, 'drop'),
};

async function run(invocation: Invocation, action: string) {
  const { options } = invocation;
  const ids = idsOf(invocation);
  const filter = filterOf(invocation);
  const isAll = options['all'] === true;
  const ways = [ids.length > 0, Object.keys(filter).length > 0, isAll].filter(Boolean);
  if (ways.length > 1) {
    const [one, other] =
      ids.length > 0 ? ['ids', isAll ? '--all' : 'filters'] : ['--all', 'filters'];
    throw new CliError(EXIT.wrong, `${one} and ${other} exclude each other`);
  }
  if (ways.length === 0) {
    throw new CliError(EXIT.wrong, 'say which messages: by their ids, by filters, or --all');
  }
  const span = options['for'] as number | undefined;
  const body = {
    ...(ids.length > 0 ? { ids } : isAll ? { all: true } : { filter }),
    ...(options['dryRun'] === true ? { dryRun: true } : {}),
    ...(typeof options['reason'] === 'string' ? { reason: options['reason'] } : {}),
    ...(span === undefined ? {} : { expires: new Date(Date.now() + span).toISOString() }),
    ...(options['onlyQueued'] === true ? { onlyQueued: true } : {}),
    ...(options['force'] === true && ids.length === 0 && !isAll ? { force: true } : {}),
  };
  const answer = await act(requireDataDir(invocation), action, body);
  if (invocation.json) printJson({ ok: true, ...answer });
  else tell(answer);
  const isRule = answer.rule !== undefined;
  if (answer.failed) return EXIT.no;
  return answer.touched + answer.underWay > 0 || isRule ? EXIT.done : EXIT.no;
}

const DONE: Readonly<Record<string, readonly [string, string]>> = {
  retry: ['due now', 'would be due now'],
  hold: ['held', 'would be held'],
  release: ['released', 'would be released'],
  bounce: ['bounced', 'would be bounced'],
  drop: ['dropped', 'would be dropped'],
};

function tell(answer: ActionAnswer): void {
  const { action, dryRun, matched, touched, underWay, closed } = answer;
  const { recipients, failed, rule, notQueued = [], nullSender } = answer;
  const { held, rulesLeft = [], closedBy = [] } = answer;
  const words = DONE[action]?.[dryRun ? 1 : 0] ?? action;
  const whom = recipients === undefined ? '' : ` (${counted(recipients, 'recipient')})`;
  if (matched > 0) print(`${touched - (closed ?? 0)} of ${deliveries(matched)} ${words}${whom}`);
  else if (notQueued.length === 0 && rule === undefined) printError('nothing is queued that fits');
  tellGone(notQueued);
  if (nullSender)
    printError(`${nullSender} without a sender: nobody is told of ${itOr(nullSender)}`);
  if (underWay > 0) {
    const later = `; that follows for what is left of ${itOr(underWay)} then`;
    printError(`${isOr(underWay)} being attempted${action === 'retry' ? '' : later}`);
  }
  if (failed) printError(`${failed} could not be ${words}, and waits as before: see the log`);
  if (closed) printError(`${counted(closed, 'delivery', 'deliveries')} waiting on:`);
  for (const reason of closedBy) printError(`  ${printable(reason)}`);
  if (rule !== undefined) printError(`rule ${describeRule(answer)}: ${printable(rule)}`);
  if (held && (action === 'retry' || action === 'release')) {
    const by = rulesLeft.length > 0 ? `, by: ${rulesLeft.map(printable).join('; ')}` : '';
    printError(`${isOr(held)} held${action === 'release' ? ' still' : ''}${by}`);
  }
}

function describeRule({ action, dryRun, ruleChanged }: ActionAnswer): string {
  if (action === 'release') return dryRun ? 'would be ended' : 'ended';
  if (ruleChanged) return dryRun ? 'would be changed' : 'changed';
  return dryRun ? 'would hold from now on' : 'holds from now on';
}

const isOr = (count: number) => `${count} ${count === 1 ? 'is' : 'are'}`;
const itOr = (count: number) => (count === 1 ? 'it' : 'them');

/** Ids that are named. */
const NAMED = 20;

function tellGone(ids: readonly string[]): void {
  for (const id of ids.slice(0, NAMED)) printError(`${id} ${NOT_QUEUED}`);
  if (ids.length > NAMED) printError(`and ${ids.length - NAMED} more are not in the queue`);
}
