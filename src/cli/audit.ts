/**
 * `stsrelay audit`: who changed what on the running relay, and when.
 */
import { InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import { MOST_ENTRIES } from '../admin/audit-routes.ts';
import { readAnswer, TIMEOUT_MS } from './answers.ts';
import { type CliCommand, EXIT } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { askRelay } from './control-client.ts';
import { formatTable } from './table.ts';
import { print, printError, printJson } from './terminal.ts';

const HEADING = ['when', 'who', 'what', 'to', 'how'];

const schema = z.object({
  entries: z.array(
    z.looseObject({
      at: z.string(),
      actor: z.string(),
      action: z.string(),
      target: z.string(),
      facts: z.record(z.string(), z.unknown()).optional(),
    }),
  ),
});

export const audit: CliCommand = {
  usage: 'audit',
  summary: 'the last changes made by commands: when, who, what, to what',
  options: [
    new Option('--limit <n>', 'so many, the newest first').argParser(parseLimit).default(100),
  ],
  notes: `
Changes of the configuration file are not in it: the log has them (config.reloaded).`,
  async run(invocation) {
    const { options, json } = invocation;
    const path = `/api/v1/audit?limit=${String(options['limit'])}`;
    const dataDir = requireDataDir(invocation);
    const asked = { method: 'GET', path, timeoutMs: TIMEOUT_MS } as const;
    const { entries } = readAnswer(await askRelay(dataDir, asked), schema);
    if (json) printJson(entries);
    else if (entries.length === 0) printError('nothing was changed yet');
    else {
      const rows = entries.map(({ at, actor, action, target, facts = {} }) => {
        const how = Object.entries(facts).map(([name, value]) => `${name}: ${String(value)}`);
        return [at, actor, action, target, how.join(', ')];
      });
      print(formatTable(HEADING, rows));
    }
    return EXIT.done;
  },
};

function parseLimit(text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= MOST_ENTRIES) return Number(text);
  throw new InvalidArgumentError(`It is a whole number from 1 to ${MOST_ENTRIES}.`);
}
