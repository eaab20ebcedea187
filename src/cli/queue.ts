/**
 * `stsrelay queue summary | list | show`: what is queued, and why it waits.
 */
import type { OverrideView } from '../admin/overrides.ts';
import type { MessageView } from '../admin/queue-show.ts';
import { type CliCommand, EXIT } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { counted, deliveries } from './counted.ts';
import { fold } from './fold.ts';
import {
  domainOption,
  filtersOf,
  LIST_EXIT_CODES,
  limitOf,
  limitOption,
  showList,
} from './list.ts';
import { listQueue, type Row, type Summary, showMessage, summarize } from './queue-client.ts';
import {
  FILTER_NOTES,
  FILTER_OPTIONS,
  filterOf,
  idsOf,
  NOT_QUEUED,
  stateOption,
} from './queue-filter.ts';
import { formatStory } from './queue-story.ts';
import { briefSpan, formatSpan } from './span.ts';
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
    const isEmpty = summary.destinations.length === 0;
    if (invocation.json) printJson(summary);
    else if (isEmpty) printError(isFiltered ? 'nothing fits' : 'the queue is empty');
    else printSummary(summary);
    return isEmpty && isFiltered ? EXIT.no : EXIT.done;
  },
};

const SUMMARY_HEADING = [
  ...['DESTINATION', 'ALL', 'ACTIVE', 'DUE', 'PARKED', 'DELAYED', 'HELD', 'OLDEST', 'NEXT'],
  ...['FAILURES', 'CLOSED BY'],
];

function printSummary(summary: Summary): void {
  const { destinations, destinationCount } = summary;
  const now = Date.now();
  const rows = destinations.map(
    ({ domain, total, counts, oldest, nextAttempt, cause, closedBy }) => [
      domain,
      `${total}`,
      ...['active', 'due', 'parked', 'delayed', 'held'].map((state) => `${counts[state] ?? 0}`),
      formatSpan((now - Date.parse(oldest)) / 1000),
      nextAttempt === undefined ? '-' : fromNow(nextAttempt, now),
      cause ?? '-',
      closedBy.map(({ text }) => text).join(' ') || '-',
    ],
  );
  print(formatTable(SUMMARY_HEADING, rows));
  const more = destinationCount - destinations.length;
  const [messages, to] = [
    counted(summary.messages, 'message'),
    counted(destinationCount, 'destination'),
  ];
  const rest = more > 0 ? `, ${more} of them left out by --limit` : '';
  printError(`${messages}, ${deliveries(summary.deliveries)} for ${to}${rest}`);
}

export const queueList: CliCommand = {
  usage: 'list',
  summary: 'list what is queued, the oldest first: state, age, sender, recipients, why it waits',
  options: [...FILTER_OPTIONS, limitOption()],
  notes: `${FILTER_NOTES}
On a terminal one recipient is named, and how many more there are.
${LIST_EXIT_CODES}`,
  run(invocation) {
    const filters = filterOf(invocation);
    const rows = listQueue(requireDataDir(invocation), { filters, limit: limitOf(invocation) });
    const isFiltered = Object.keys(filters).length > 0;
    const none = 'the queue is empty';
    return showList(invocation, rows, {
      ...{ heading: LIST_HEADING, rowOf: listRow, none, isFiltered },
      ...{ shortened: LIST_SHORTENED, counted: deliveries },
    });
  },
};

export const LIST_HEADING = ['ID', 'STATE', 'AGE', 'TRIED', 'NEXT', 'SENDER', 'RECIPIENTS', 'WHY'];
/** Their senders and recipients. */
export const LIST_SHORTENED = [5, 6];

/** A row of the list; on a screen times and recipients are brief. */
export function listRow(row: Row, now: number, isScreen: boolean): readonly string[] {
  const { id, state, received, attempts, nextAttempt, sender, recipients, recipientCount } = row;
  const named = isScreen ? recipients.slice(0, 1) : recipients;
  const more = recipientCount - named.length;
  const rest = more > 0 ? (isScreen ? ` +${more}` : ` and ${more} more`) : '';
  const span = isScreen ? briefSpan : formatSpan;
  return [
    id,
    state,
    span((now - Date.parse(received)) / 1000),
    `${attempts}`,
    nextAttempt === undefined ? '-' : fromNow(nextAttempt, now, span),
    sender === '' ? '<>' : sender,
    named.join(',') + rest,
    whyOf(row),
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
      if (message === undefined) {
        code = EXIT.no;
        shown.push({ ok: false, id, error: `it ${NOT_QUEUED}` });
        if (!invocation.json) printError(`${id} ${NOT_QUEUED}`);
      } else {
        shown.push(message);
        if (!invocation.json) print(fold(textOf(message as MessageView)));
      }
    }
    if (invocation.json) printJson(shown.length === 1 ? shown[0] : shown);
    return code;
  },
};

/** What is in its way, and what the last attempt came to: that first where the time of the next one is all it waits for. */
function whyOf({ state, waitsFor, lastFailure }: Row): string {
  if (state === 'delayed') return lastFailure ?? waitsFor ?? '-';
  const last = lastFailure === undefined ? '' : ` Last attempt: ${lastFailure}`;
  return `${waitsFor ?? 'It is being attempted.'}${last}`;
}

/** The story, and beside each destination what holds it now. */
function textOf(message: MessageView): string {
  return formatStory(message, {
    nowMs: Date.now(),
    stateOf: (destination) => message.now.find((one) => one.destination === destination)?.state,
    waitsFor: (destination) => {
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

function fromNow(time: string, now: number, span = formatSpan): string {
  const seconds = (Date.parse(time) - now) / 1000;
  return seconds <= 0 ? 'now' : `in ${span(seconds)}`;
}
