/**
 * The filters of the queue commands, as options and as the API takes them.
 */
import { Option } from 'commander';
import { isMessageId } from '../mail/message-id.ts';
import { quoted } from '../protocol/quote.ts';
import { QUEUE_STATES } from '../queue/gates.ts';
import { CliError, EXIT, type Invocation } from './command.ts';
import { domainOption, durationText, filtersOf } from './list.ts';

export const stateOption = (what: string) =>
  new Option('--state <state>', what).choices([...QUEUE_STATES, 'deferred']);

export const FILTER_OPTIONS: readonly Option[] = [
  domainOption(),
  new Option('--sender <address>', 'from this sender; * stands for anything, <> for no sender'),
  new Option('--recipient <address>', 'to this recipient; * stands for anything'),
  new Option('--user <name>', 'handed over by this login; * stands for anything, <> for none'),
  new Option(
    '--client <address>',
    'by this client address, or network (10.0.0.0/8); * for anything, <> for the relay itself',
  ),
  stateOption('in this state'),
  new Option('--older-than <duration>', 'received so long ago or longer: 30m, 2h, 7d').argParser(
    durationText,
  ),
];

export const FILTER_NOTES = `
Filters: all that are given have to be true. A row, and what is done, is about one message for one destination;
states are ${QUEUE_STATES.join(', ')}: due means that it is next, parked that its destination is closed,
delayed (or deferred) that it waits for its time.`;

/** Of an id. */
export const NOT_QUEUED =
  'is not in the queue: delivered, bounced, or never here; the log has its lines';

/** The filter somebody gave. */
export function filterOf(invocation: Invocation): Readonly<Record<string, string>> {
  return filtersOf(invocation, [
    ...['domain', 'sender', 'recipient', 'user', 'client'],
    ...['state', 'olderThan'],
  ]);
}

/** The ids somebody gave. Throws CliError for what is none. */
export function idsOf({ args }: Invocation): readonly string[] {
  return args.map((text) => {
    const id = text.trim().toUpperCase();
    if (isMessageId(id)) return id;
    throw new CliError(
      EXIT.wrong,
      `${quoted(text)} is no message id: 16 letters and digits, as after "queued as"`,
    );
  });
}
