/**
 * `stsrelay override list | add | remove`: exceptions from the TLS policy of single domains. Those of
 * the configuration file are listed and can only be changed there.
 */
import { Option } from 'commander';
import { z } from 'zod';
import { LONGEST_TEXT } from '../policy/override-store.ts';
import {
  changeSchema,
  EXIT_CODES,
  parseEnd,
  parseSpan,
  parseText,
  readAnswer,
  requireDomain,
  TIMEOUT_MS,
} from './answers.ts';
import { type CliCommand, CliError, EXIT, type Invocation } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { askRelay } from './control-client.ts';
import {
  domainOption,
  durationText,
  filtersOf,
  LIST_EXIT_CODES,
  limitOf,
  limitOption,
  listAll,
  showList,
} from './list.ts';
import { toTheSecond } from './span.ts';
import { print, printable, printJson } from './terminal.ts';

const viewSchema = z.looseObject({
  domain: z.string(),
  tls: z.string(),
  owner: z.string(),
  reason: z.string(),
  expires: z.string().optional(),
  source: z.string(),
});

export const overrideList: CliCommand = {
  usage: 'list',
  summary: 'list the overrides in force: domain, TLS asked for, end, where from, owner, reason',
  options: [
    domainOption(),
    new Option('--expiring-within <duration>', 'that end in this time: 7d').argParser(durationText),
    limitOption(),
  ],
  notes: LIST_EXIT_CODES,
  run(invocation) {
    const filters = filtersOf(invocation, ['domain', 'expiringWithin']);
    const asked = { path: '/api/v1/overrides', filters, name: 'overrides', entry: viewSchema };
    const limit = limitOf(invocation);
    return showList(invocation, listAll(requireDataDir(invocation), { ...asked, limit }), {
      ...{ heading: HEADING, rowOf, none: 'no override is in force' },
      isFiltered: Object.keys(filters).length > 0,
    });
  },
};

const HEADING = ['DOMAIN', 'TLS', 'ENDS', 'FROM', 'OWNER', 'REASON'];

function rowOf({ domain, tls, expires, source, owner, reason }: z.infer<typeof viewSchema>) {
  return [domain, tls, toTheSecond(expires ?? 'never'), source, owner, reason];
}

export const overrideAdd: CliCommand = {
  usage: 'add <domain>',
  summary: 'make an exception for a domain, or change one that was added',
  options: [
    new Option('--tls <level>', 'what is asked of its TLS instead of what it publishes')
      .choices(['none', 'opportunistic', 'encrypt', 'verify'])
      .makeOptionMandatory(),
    new Option('--reason <text>', 'why, e.g. a ticket')
      .argParser(parseText(LONGEST_TEXT))
      .makeOptionMandatory(),
    new Option('--owner <who>', 'who answers for it')
      .argParser(parseText(LONGEST_TEXT))
      .default(''),
    new Option('--expires <when>', 'when it ends: 2027-01-31 or 2027-01-31T12:00:00Z').argParser(
      parseEnd,
    ),
    new Option('--for <duration>', 'for how long: 2h, 7d')
      .argParser(parseSpan)
      .conflicts('expires'),
  ],
  notes: `
It holds at once, for queued mail at its next attempt, is kept over restarts, and ends by itself: seven days and
one day before the log warns (policy.override_expiring).

  stsrelay override add partner.example --tls encrypt --for 7d --owner ops@example.net \\
    --reason 'their certificate expired, ticket 123'
${EXIT_CODES}`,
  run(invocation) {
    const { options } = invocation;
    const span = options['for'] as number | undefined;
    const expires = span === undefined ? options['expires'] : Date.now() + span;
    if (typeof expires !== 'number') {
      throw new CliError(EXIT.wrong, 'an override has an end: --for 7d, or --expires 2027-01-31');
    }
    const { tls, reason, owner } = options;
    const body = { tls, reason, owner, expires: new Date(expires).toISOString() };
    const said = `, TLS ${String(tls)} until ${toTheSecond(body.expires)}`;
    return change(invocation, { method: 'PUT', body, said });
  },
};

export const overrideRemove: CliCommand = {
  usage: 'remove <domain>',
  summary: 'end an exception that was added',
  notes: EXIT_CODES,
  run: (invocation) => change(invocation, { method: 'DELETE' }),
};

async function change(
  invocation: Invocation,
  {
    said = '',
    ...asked
  }: { readonly method: 'PUT' | 'DELETE'; readonly body?: unknown; readonly said?: string },
) {
  const domain = requireDomain(invocation.args[0] ?? '');
  const path = `/api/v1/overrides/${domain}`;
  const dataDir = requireDataDir(invocation);
  const answer = await askRelay(dataDir, { ...asked, path, timeoutMs: TIMEOUT_MS });
  const made = readAnswer(answer, changeSchema);
  if (invocation.json) printJson({ ok: true, ...made });
  else print(`${domain}: ${printable(made.result)}${said}`);
  return EXIT.done;
}
