/**
 * `stsrelay audit`: who changed what on the running relay, and when.
 */
import { Option } from 'commander';
import { z } from 'zod';
import type { CliCommand } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { filtersOf, LIST_EXIT_CODES, limitOf, limitOption, listAll, showList } from './list.ts';
import { toTheSecond } from './span.ts';

const FILTERS = ['actor', 'action', 'target', 'since'];
export const AUDIT_HEADING = ['WHEN', 'WHO', 'WHAT', 'TO', 'HOW'];
/** Who, and to what. */
export const AUDIT_SHORTENED = [1, 3];

const entry = z.looseObject({
  at: z.string(),
  actor: z.string(),
  action: z.string(),
  target: z.string(),
  facts: z.record(z.string(), z.unknown()).optional(),
  result: z.string().optional(),
});

export const audit: CliCommand = {
  usage: 'audit',
  summary: 'the changes made by commands, the newest first: when, who, what, to what',
  options: [
    new Option('--actor <pattern>', 'by these: root*'),
    new Option('--action <pattern>', 'these actions: queue.*'),
    new Option('--target <pattern>', 'to these: example.org, *shop.example*'),
    new Option('--since <when>', 'not older than 7d, 2027-01-31 or 2027-01-31T12:00:00Z'),
    limitOption(),
  ],
  notes: `
* stands for any characters. An action is noted before it is made; where it came to nothing, or not to all of it, a
second entry says so (result: failed), and after one on queued mail how much it was (result: done). What was changed in the configuration file is not in it, but
that it was read again is (relay.reload).
${LIST_EXIT_CODES}`,
  run(invocation) {
    const filters = filtersOf(invocation, FILTERS);
    const asked = { path: '/api/v1/audit', filters, name: 'entries', entry } as const;
    const limit = limitOf(invocation);
    const entries = listAll(requireDataDir(invocation), { ...asked, limit, cursor: 'before' });
    const isFiltered = Object.keys(filters).length > 0;
    const none = 'nothing was changed yet';
    return showList(invocation, entries, {
      ...{ heading: AUDIT_HEADING, rowOf: auditRow, none, isFiltered },
      shortened: AUDIT_SHORTENED,
    });
  },
};

/** A row of the log. */
export function auditRow({ at, actor, action, target, facts = {}, result }: z.infer<typeof entry>) {
  const how = Object.entries(facts).map(([name, value]) => `${name}: ${String(value)}`);
  const said = [...(result ? [`result: ${result}`] : []), ...how].join(', ');
  return [toTheSecond(at), actor, action, target, said];
}
