/**
 * `stsrelay check DOMAIN…`: the sender's view of a domain, with the delivery engine's own code. Needs
 * no running relay, writes nothing anywhere, and never gets as far as MAIL FROM.
 */
import { join } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import type { Examination } from '../check/types.ts';
import type { Settings } from '../config/settings.ts';
import { formatDuration, parseDuration } from '../config/units.ts';
import { systemClock } from '../platform/clock.ts';
import { readOverrides } from '../policy/override-store.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import { parseMailbox } from '../protocol/mailbox.ts';
import { formatExamination } from './check-report.ts';
import { type CliCommand, CliError, EXIT } from './command.ts';
import { requireSettings } from './configuration.ts';
import { print, printable, printJson } from './terminal.ts';

const DEFAULT_TIMEOUT_MS = 60_000;
const MOST_TIMEOUT_MS = 3_600_000;

export const check: CliCommand = {
  usage: 'check <domain...>',
  summary: "the sender's view of a domain: would mail be delivered, and over what TLS",
  options: [
    new Option('--no-connect', 'DNS and policy alone: connect to no MX host'),
    new Option('--timeout <duration>', 'time for one domain')
      .argParser(parseTimeout)
      .default(DEFAULT_TIMEOUT_MS, formatDuration(DEFAULT_TIMEOUT_MS)),
  ],
  notes: `
Looks up MX, MTA-STS, TLSA and TLSRPT records, fetches the policy as with an empty cache, opens a session
with every MX host up to and including TLS, and says what this relay would do with a message:
its routes and overrides count. Refusals of a sender or recipient show only in a real delivery.

TLSA records (DANE) count where DNSSEC vouches for every step to them: that takes a resolver which
validates and is believed (dns.servers, dns.trustAd).

Exit codes:
  0  every domain would be delivered to, and no finding is an error
  1  not so; also for a domain that takes no mail (null MX), however well it is set up: mail to it
     would bounce
  2  wrong usage or configuration

--json prints an array with one object for each domain:
  domain, ok,
  verdict   outcome (delivered, attempted with --no-connect, deferred, bounced), how, host, address,
            cause, status, why
  findings  severity (error, warning, info, ok), code, subject, text, fix, rfc
  facts     mx, route, record, policy, hosts with dane, addresses, tls and certificate, tlsRpt,
            configured
domain, ok, verdict and findings are stable; facts may change between versions.`,
  async run(invocation) {
    const domains = invocation.args.map(requireDomain);
    const { settings } = requireSettings(invocation);
    const { connect, timeout } = invocation.options;
    const examine = await createExamine(settings, connect !== false);
    const examinations: Examination[] = [];
    for (const domain of domains) {
      const examination = await examine(domain, Number(timeout));
      examinations.push(examination);
      if (!invocation.json) print(`${formatExamination(examination)}\n`);
    }
    if (invocation.json) printJson(examinations);
    return examinations.every(({ ok }) => ok) ? EXIT.done : EXIT.no;
  },
};

type Examine = (domain: DomainName, timeoutMs: number) => Promise<Examination>;

/** The check, made from the settings. Throws CliError when a file they name cannot be used. */
async function createExamine(settings: Settings, connect: boolean): Promise<Examine> {
  // Loaded here because few other commands need the delivery engine.
  const { createExaminer } = await import('../examiner.ts');
  const clock = systemClock;
  const added = await readOverrides(join(settings.dataDir, 'state', 'overrides.json'), clock.now());
  const all = { ...settings, overrides: [...settings.overrides, ...added] };
  const examine = withFiles(() => createExaminer(all, { clock, connect }));
  return (domain, timeoutMs) => {
    const progress = showProgress(domain);
    return examine(domain, { timeoutMs, onStep: progress.step }).finally(progress.end);
  };
}

function withFiles<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    const text = `outbound.trustedCaFiles cannot be used: ${(error as Error).message}`;
    throw new CliError(EXIT.wrong, text);
  }
}

function requireDomain(text: string): DomainName {
  const mailbox = parseMailbox(text);
  if (mailbox?.domain.kind === 'domain') {
    const hint = `check its domain instead: stsrelay check ${mailbox.domain.name}`;
    throw new CliError(EXIT.wrong, `${printable(text)} is a mailbox; ${hint}`);
  }
  const domain = parseDomain(text);
  if (domain !== undefined) return domain;
  const what = 'a domain such as example.com: no address, no URL, no IP address';
  throw new CliError(EXIT.wrong, `${printable(text)} is no domain; expected ${what}`);
}

function parseTimeout(text: string): number {
  const durationMs = parseDuration(text);
  if (durationMs !== undefined && durationMs > 0 && durationMs <= MOST_TIMEOUT_MS)
    return durationMs;
  throw new InvalidArgumentError('Expected a duration such as 30s or 2m, at most 1h.');
}

/** One line on stderr that says what is going on; only where somebody can watch it. */
function showProgress(domain: DomainName) {
  const write = (text: string) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
  };
  return {
    step: (step: string) => write(`${domain}: ${step} …`),
    end: () => write(''),
  };
}
