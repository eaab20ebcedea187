/**
 * `stsrelay queue holds`: the rules that hold mail.
 */
import { Option } from 'commander';
import type { CliCommand } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { filtersOf, LIST_EXIT_CODES, limitOf, limitOption, showList } from './list.ts';
import { type HoldRow, listHolds } from './queue-client.ts';

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

const HOLDS_HEADING = ['HOLDS', 'SINCE', 'ENDS', 'BY', 'REASON'];

function holdRow({ rule, since, expires, by, reason }: HoldRow): readonly string[] {
  return [rule, since, expires ?? 'never', by, reason];
}
