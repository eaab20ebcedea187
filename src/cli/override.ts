/**
 * `stsrelay override list | add | remove`: exceptions from the TLS policy of single domains. Those of
 * the configuration file are listed and can only be changed there.
 */
import { InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import { parseDuration, parseExpiry } from '../config/units.ts';
import { LONGEST_TEXT } from '../policy/override-store.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import { quoted } from '../protocol/quote.ts';
import { type CliCommand, CliError, EXIT, type Invocation } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { askRelay, type ControlAnswer } from './control-client.ts';
import { formatTable } from './table.ts';
import { print, printable, printError, printJson } from './terminal.ts';

const TIMEOUT_MS = 30_000;

const viewSchema = z.looseObject({
  domain: z.string(),
  tls: z.string(),
  owner: z.string(),
  reason: z.string(),
  expires: z.string().optional(),
  source: z.string(),
});
const listSchema = z.object({ overrides: z.array(viewSchema) });
const changeSchema = z.looseObject({ domain: z.string(), result: z.string() });
const refusalSchema = z.object({ error: z.string() });

const EXIT_CODES = `
Exit codes:
  0  done
  1  the answer is no
  2  wrong usage or configuration
  3  the relay cannot be reached`;

export const overrideList: CliCommand = {
  usage: 'list',
  summary: 'list the overrides in force: domain, TLS asked for, end, where from, owner, reason',
  notes: EXIT_CODES,
  async run(invocation) {
    const path = '/api/v1/overrides';
    const dataDir = requireDataDir(invocation);
    const answer = await askRelay(dataDir, { method: 'GET', path, timeoutMs: TIMEOUT_MS });
    const { overrides } = read(answer, listSchema);
    if (invocation.json) printJson(overrides);
    else if (overrides.length === 0) printError('no override is in force');
    else print(formatTable(HEADING, overrides.map(rowOf)));
    return EXIT.done;
  },
};

const HEADING = ['domain', 'TLS', 'ends', 'from', 'owner', 'reason'];

function rowOf({ domain, tls, expires, source, owner, reason }: z.infer<typeof viewSchema>) {
  return [domain, tls, expires ?? 'never', source, owner, reason];
}

export const overrideAdd: CliCommand = {
  usage: 'add <domain>',
  summary: 'make an exception for a domain, or change one that was added',
  options: [
    new Option('--tls <level>', 'what is asked of its TLS instead of what it publishes')
      .choices(['none', 'opportunistic', 'encrypt', 'verify'])
      .makeOptionMandatory(),
    new Option('--reason <text>', 'why, e.g. a ticket').argParser(parseText).makeOptionMandatory(),
    new Option('--owner <who>', 'who answers for it').argParser(parseText).default(''),
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
    return change(invocation, { method: 'PUT', body });
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
  asked: { readonly method: 'PUT' | 'DELETE'; readonly body?: unknown },
) {
  const domain = requireDomain(invocation.args[0] ?? '');
  const path = `/api/v1/overrides/${domain}`;
  const dataDir = requireDataDir(invocation);
  const made = read(
    await askRelay(dataDir, { ...asked, path, timeoutMs: TIMEOUT_MS }),
    changeSchema,
  );
  if (invocation.json) printJson({ ok: true, ...made });
  else print(`${domain}: ${printable(made.result)}`);
  return EXIT.done;
}

function requireDomain(text: string): DomainName {
  const domain = parseDomain(text);
  if (domain !== undefined) return domain;
  throw new CliError(EXIT.wrong, `${quoted(text)} is no domain name`);
}

/** The body as `schema` wants it. Throws CliError for every other answer. */
function read<T>({ status, body }: ControlAnswer, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(body);
  if (status === 200 && parsed.success) return parsed.data;
  const refusal = refusalSchema.safeParse(body);
  const why = refusal.success ? refusal.data.error : `the relay answered ${status}`;
  throw new CliError(EXIT.no, printable(why), { status });
}

function parseText(text: string): string {
  const trimmed = text.trim();
  if (trimmed !== '' && trimmed.length <= LONGEST_TEXT) return trimmed;
  throw new InvalidArgumentError(`It has 1 to ${LONGEST_TEXT} characters.`);
}

function parseEnd(text: string): number {
  const at = parseExpiry(text);
  if (at !== undefined && at > Date.now()) return at;
  throw new InvalidArgumentError('It is a day such as 2027-01-31, or a time, to come.');
}

function parseSpan(text: string): number {
  const span = parseDuration(text);
  if (span !== undefined && span > 0) return span;
  throw new InvalidArgumentError('It is a duration: 30m, 2h, 7d.');
}
