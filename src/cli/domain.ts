/**
 * `stsrelay domain pause | resume | list`: stop and restart delivery to a destination.
 */
import { Option } from 'commander';
import { z } from 'zod';
import { LONGEST_REASON } from '../queue/pauses.ts';
import {
  changeSchema,
  EXIT_CODES,
  parseSpan,
  parseText,
  readAnswer,
  requireDomain,
  TIMEOUT_MS,
} from './answers.ts';
import { type CliCommand, EXIT, type Invocation } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { askRelay } from './control-client.ts';
import {
  domainOption,
  filtersOf,
  LIST_EXIT_CODES,
  limitOf,
  limitOption,
  listAll,
  showList,
} from './list.ts';
import { toTheSecond } from './span.ts';
import { print, printable, printJson } from './terminal.ts';

const pauseSchema = z.looseObject({
  domain: z.string(),
  reason: z.string(),
  pausedAt: z.string(),
  expires: z.string().optional(),
  waiting: z.number(),
});
const HEADING = ['DOMAIN', 'SINCE', 'ENDS', 'WAITING', 'REASON'];

export const domainPause: CliCommand = {
  usage: 'pause <domain>',
  summary: 'stop delivery to a destination; its mail waits, also what comes in later',
  options: [
    new Option('--reason <text>', 'why, e.g. a ticket').argParser(parseText(LONGEST_REASON)),
    new Option(
      '--for <duration>',
      'for how long: 2h, 7d; without it until `domain resume`',
    ).argParser(parseSpan),
  ],
  notes: `
Of a destination that is paused already, what is not given (reason, end) stays as it was.
An attempt that is under way is finished. A pause is kept over restarts. What reaches the end of its lifetime
meanwhile is bounced.
${EXIT_CODES}`,
  run(invocation) {
    const { reason, for: span } = invocation.options as { reason?: string; for?: number };
    const until = span === undefined ? {} : { expires: new Date(Date.now() + span).toISOString() };
    return change(invocation, { method: 'PUT', body: { reason: reason ?? '', ...until } });
  },
};

export const domainResume: CliCommand = {
  usage: 'resume <domain>',
  summary: 'restart delivery to a destination that was paused',
  notes: EXIT_CODES,
  run: (invocation) => change(invocation, { method: 'DELETE' }),
};

export const domainList: CliCommand = {
  usage: 'list',
  summary: 'list the destinations that are paused: since when, when that ends, how much waits, why',
  options: [domainOption(), limitOption()],
  notes: LIST_EXIT_CODES,
  run(invocation) {
    const filters = filtersOf(invocation, ['domain']);
    const asked = { path: '/api/v1/pauses', filters, name: 'pauses', entry: pauseSchema };
    const limit = limitOf(invocation);
    return showList(invocation, listAll(requireDataDir(invocation), { ...asked, limit }), {
      ...{ heading: HEADING, rowOf, none: 'no destination is paused' },
      isFiltered: Object.keys(filters).length > 0,
    });
  },
};

function rowOf({ domain, pausedAt, expires, waiting, reason }: z.infer<typeof pauseSchema>) {
  const [since, ends] = [toTheSecond(pausedAt), toTheSecond(expires ?? 'never')];
  return [domain, since, ends, `${waiting}`, reason];
}

async function change(
  invocation: Invocation,
  asked: { readonly method: 'PUT' | 'DELETE'; readonly body?: unknown },
) {
  const domain = requireDomain(invocation.args[0] ?? '');
  const path = `/api/v1/domains/${domain}/pause`;
  const dataDir = requireDataDir(invocation);
  const answer = await askRelay(dataDir, { ...asked, path, timeoutMs: TIMEOUT_MS });
  const made = readAnswer(answer, changeSchema);
  if (invocation.json) printJson({ ok: true, ...made });
  else print(`${domain}: ${printable(made.result)}`);
  return EXIT.done;
}
