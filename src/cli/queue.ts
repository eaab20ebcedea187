/**
 * `stsrelay queue summary | list | show | holds`: what is queued, and why it waits.
 */
import { Option } from 'commander';
import type { OverrideView } from '../admin/overrides.ts';
import type { MessageView } from '../admin/queue-show.ts';
import { type CliCommand, EXIT } from './command.ts';
import { requireDataDir } from './configuration.ts';
import {
  domainOption,
  filtersOf,
  LIST_EXIT_CODES,
  limitOf,
  limitOption,
  showList,
} from './list.ts';
import {
  type HoldRow,
  listHolds,
  listQueue,
  type Row,
  type Summary,
  showMessage,
  summarize,
} from './queue-client.ts';
import { FILTER_NOTES, FILTER_OPTIONS, filterOf, idsOf, stateOption } from './queue-filter.ts';
import { formatStory } from './queue-story.ts';
import { formatSpan } from './span.ts';
import { formatTable } from './table.ts';
import { print, printError, printJson } from './terminal.ts';

export const queueSummary: CliCommand = {
  usage: 'summary',
  summary: 'the queue by destination: how much in what state, how old, what closes it',
  options: [
    domainOption(),
    stateOption('those with mail in this state, with most of it first'),
    limitOption(),
  ],
  notes: `
In numbers of deliveries: one for each message and destination. Those with most come first. The sums are of all that
fits --domain.
${LIST_EXIT_CODES}`,
  async run(invocation) {
    const filters = filtersOf(invocation, ['domain', 'state']);
    const limit = limitOf(invocation);
    const summary = await summarize(requireDataDir(invocation), { filters, limit });
    const isFiltered = Object.keys(filters).length > 0;
    const isEmpty = summary.entries.length === 0;
    if (invocation.json) printJson(summary);
    else if (isEmpty) printError(isFiltered ? 'nothing fits' : 'the queue is empty');
    else printSummary(summary);
    return isEmpty && isFiltered ? EXIT.no : EXIT.done;
  },
};

const SUMMARY_HEADING = [
  ...['DESTINATION', 'ALL', 'ACTIVE', 'DUE', 'PARKED', 'DELAYED', 'HELD', 'OLDEST', 'NEXT'],
  'CLOSED BY',
];

function printSummary({ entries, deliveries, messages, destinations }: Summary): void {
  const now = Date.now();
  const rows = entries.map(({ domain, total, counts, oldest, nextAttempt, closedBy }) => [
    domain,
    `${total}`,
    ...['active', 'due', 'parked', 'delayed', 'held'].map((state) => `${counts[state] ?? 0}`),
    formatSpan((now - Date.parse(oldest)) / 1000),
    nextAttempt === undefined ? '-' : fromNow(nextAttempt, now),
    closedBy.map(({ text }) => text).join(' ') || '-',
  ]);
  print(formatTable(SUMMARY_HEADING, rows));
  const more = destinations - entries.length;
  printError(
    `${messages} messages, ${deliveries} deliveries for ${destinations} destinations` +
      (more > 0 ? `, ${more} of them not shown` : ''),
  );
}

export const queueList: CliCommand = {
  usage: 'list',
  summary: 'list what is queued, the oldest first: state, age, sender, recipients, why it waits',
  options: [...FILTER_OPTIONS, limitOption()],
  notes: `${FILTER_NOTES}
Away from a terminal: no heading, a tab between the columns.
${LIST_EXIT_CODES}`,
  run(invocation) {
    const filters = filterOf(invocation);
    const rows = listQueue(requireDataDir(invocation), { filters, limit: limitOf(invocation) });
    const isFiltered = Object.keys(filters).length > 0;
    const none = 'the queue is empty';
    return showList(invocation, rows, { heading: LIST_HEADING, rowOf: listRow, none, isFiltered });
  },
};

const LIST_HEADING = ['ID', 'STATE', 'AGE', 'TRIED', 'NEXT', 'SENDER', 'RECIPIENTS', 'WHY'];

function listRow(row: Row, now: number): readonly string[] {
  const { id, state, received, attempts, nextAttempt, sender, recipients, recipientCount } = row;
  const more = recipientCount - recipients.length;
  const isTime = state === 'delayed' && nextAttempt !== undefined;
  return [
    id,
    state,
    formatSpan((now - Date.parse(received)) / 1000),
    `${attempts}`,
    isTime ? fromNow(nextAttempt, now) : '-',
    sender === '' ? '<>' : sender,
    recipients.join(',') + (more > 0 ? ` and ${more} more` : ''),
    row.lastFailure ?? row.waitsFor ?? '-',
  ];
}

export const queueShow: CliCommand = {
  usage: 'show <ids...>',
  summary: 'explain a message: envelope, every attempt with TLS and replies, what it waits for',
  notes: `
--json gives an object for one message, an array for several.

Exit codes:
  0  shown
  1  one of them is not in the queue: it was delivered or bounced (the log has its lines, by id), or never here
  2  wrong usage or configuration
  3  the relay cannot be reached`,
  async run(invocation) {
    const ids = idsOf(invocation);
    const dataDir = requireDataDir(invocation);
    const shown: unknown[] = [];
    let code: 0 | 1 = EXIT.done;
    for (const id of ids) {
      const message = await showMessage(dataDir, id);
      const error = 'is not in the queue: delivered, bounced, or never here; the log has its lines';
      if (message === undefined) {
        code = EXIT.no;
        shown.push({ ok: false, id, error: `it ${error}` });
        if (!invocation.json) printError(`${id} ${error}`);
      } else {
        shown.push(message);
        if (!invocation.json) print(textOf(message as MessageView));
      }
    }
    if (invocation.json) printJson(shown.length === 1 ? shown[0] : shown);
    return code;
  },
};

/** The story, and beside each destination what holds it now. */
function textOf(message: MessageView): string {
  return formatStory(message, {
    nowMs: Date.now(),
    heldBy: (destination) => {
      const now = message.now.find((one) => one.destination === destination);
      if (!now) return [];
      const { override, waitsFor } = now;
      return [
        ...waitsFor.map(({ text }) => text),
        ...(override ? [describeOverride(override)] : []),
      ];
    },
  });
}

function describeOverride({ tls, owner, reason, expires }: OverrideView): string {
  const end = expires === undefined ? '' : `, until ${expires}`;
  const whose = owner === '' ? '' : ` of ${owner}`;
  return `An override${whose} is in force: TLS ${tls}, whatever the domain publishes${end}: ${reason}`;
}

export const queueHolds: CliCommand = {
  usage: 'holds',
  summary: 'list the rules that hold mail, also what comes in later',
  options: [
    new Option('--text <text>', 'with this in the rule, its reason or who made it'),
    limitOption(),
  ],
  notes: LIST_EXIT_CODES,
  run(invocation) {
    const filters = filtersOf(invocation, ['text']);
    const holds = listHolds(requireDataDir(invocation), { filters, limit: limitOf(invocation) });
    const isFiltered = Object.keys(filters).length > 0;
    const none = 'no rule holds mail';
    return showList(invocation, holds, {
      heading: HOLDS_HEADING,
      rowOf: holdRow,
      none,
      isFiltered,
    });
  },
};

const HOLDS_HEADING = ['HOLDS', 'SINCE', 'UNTIL', 'BY', 'REASON'];

function holdRow({ rule, since, expires, by, reason }: HoldRow): readonly string[] {
  return [rule, since, expires ?? 'released', by, reason];
}

function fromNow(time: string, now: number): string {
  const seconds = (Date.parse(time) - now) / 1000;
  return seconds <= 0 ? 'now' : `in ${formatSpan(seconds)}`;
}
