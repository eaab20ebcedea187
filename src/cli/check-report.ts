/**
 * The examination of a domain as text for people: the verdict, what was found at each step, and
 * every finding with what to do about it. Pure; text of strangers is made printable, and colour
 * and wrapped lines are for terminals.
 */
import { domainToUnicode } from 'node:url';
import { styleText } from 'node:util';
import { headline } from '../check/headline.ts';
import { resolverSilence } from '../check/resolver-silence.ts';
import { inWords } from '../check/text.ts';
import type {
  AddressFacts,
  DomainFacts,
  Examination,
  Finding,
  HostFacts,
  Severity,
  Verdict,
} from '../check/types.ts';
import type { Failure } from '../mail/failure.ts';
import { plainErrors } from '../mail/system-errors.ts';
import { reachedWith } from '../mail/tls-outcome.ts';
import { tlsaName } from '../protocol/dane/tlsa.ts';
import { formatReply } from '../protocol/smtp/reply.ts';
import { formatTable, type Screen } from './table.ts';
import { printable } from './terminal.ts';

const LABEL_WIDTH = 10;
const MOST_COLUMNS = 100;
const MOST_PATTERNS = 20;
const HOSTS_HEADING = ['PREF', 'MX HOST', 'ADDRESS', 'TLS', 'CERTIFICATE', 'RESULT'] as const;

const NOT_KNOWN: readonly string[] = ['not known'];

const COLOURS = { error: 'red', warning: 'yellow', info: 'cyan', ok: 'green' } as const;

/** The whole report on one domain, without a final line end. */
export function formatExamination(
  examination: Examination,
  screen: Screen = process.stdout,
): string {
  const { domain, ok, verdict, findings, facts } = examination;
  const paint = painter(screen);
  const unicode = domainToUnicode(domain);
  const name = unicode === domain ? domain : `${domain} (${printable(unicode)})`;
  const lines = [
    paint(colourOf(verdict, ok), `${name}: ${printable(headline(examination))}`),
    ...wrap(printable(verdict.why), '  ', screen),
    ...counts(findings),
    ...publishedLines(facts),
  ];
  if (facts.hosts.length > 0) {
    lines.push('', formatTable(HOSTS_HEADING, facts.hosts.flatMap(hostRows), screen));
  }
  const told = findings.filter(({ severity }) => severity !== 'ok');
  for (const finding of told) lines.push('', ...findingLines(finding, { paint, screen }));
  return lines.join('\n');
}

function colourOf({ outcome }: Verdict, ok: boolean): Severity {
  if (outcome === 'deferred' || outcome === 'bounced') return 'error';
  return ok ? 'ok' : 'warning';
}

/** `2 errors, 1 warning`; no line where there is neither. */
function counts(findings: readonly Finding[]): readonly string[] {
  const parts = (['error', 'warning'] as const).flatMap((severity) => {
    const count = findings.filter((finding) => finding.severity === severity).length;
    return count === 0 ? [] : [`${count} ${severity}${count === 1 ? '' : 's'}`];
  });
  return parts.length === 0 ? [] : [`  ${parts.join(', ')}`];
}

function section(label: string, texts: readonly string[]): string[] {
  return texts.map((text, i) => `${(i === 0 ? label : '').padEnd(LABEL_WIDTH)}${printable(text)}`);
}

/** What the domain publishes about TLS; nothing of one that does not exist. */
function publishedLines(facts: DomainFacts): readonly string[] {
  const { route } = facts;
  if (!route.found && route.failure.cause === 'domain-not-found') return [];
  const isKnown = resolverSilence(facts) === undefined;
  return [
    '',
    ...section('MTA-STS', isKnown ? recordLines(facts) : NOT_KNOWN),
    ...section('policy', isKnown ? policyLines(facts) : NOT_KNOWN),
    ...section('DANE', isKnown ? daneLines(facts) : NOT_KNOWN),
    ...section('TLSRPT', isKnown ? tlsRptLines(facts) : NOT_KNOWN),
  ];
}

function recordLines({ record }: DomainFacts): readonly string[] {
  if (!record) return ['no policy can apply'];
  switch (record.kind) {
    case 'record':
      return [`id ${record.id} at ${record.name}`];
    case 'failed':
      return [`lookup of ${record.name} failed: ${plainErrors(record.detail)}`];
    case 'none':
      return [`${record.detail} at ${record.name}`];
  }
}

function policyLines({ policy, record }: DomainFacts): readonly string[] {
  if (record?.kind === 'failed') return NOT_KNOWN;
  switch (policy.kind) {
    case 'not-asked':
      return policy.served ? [`served (mode ${policy.served.mode}), but not announced`] : ['none'];
    case 'failed':
      return [`not to be had from ${policy.host}: ${plainErrors(policy.detail)}`];
    case 'fetched': {
      const { mode, maxAgeSeconds, mx } = policy.policy;
      const shown = mx.slice(0, MOST_PATTERNS).map((pattern) => `mx ${pattern}`);
      const more = mx.length > MOST_PATTERNS ? [`and ${mx.length - MOST_PATTERNS} more`] : [];
      const head = `mode ${mode}, max_age ${inWords(maxAgeSeconds)}, from ${policy.host}`;
      return [head, ...shown, ...more];
    }
  }
}

/** A line for each host; one for all where DNSSEC does not get as far as their names. */
function daneLines({ route, hosts, configured }: DomainFacts): readonly string[] {
  const off = configured.daneEnabled ? [] : ['switched off here (security.dane)'];
  if (!route.found) return [...off, '-'];
  if (!route.secure) {
    const why = configured.believesDnssec
      ? 'DNSSEC does not vouch for the MX records'
      : 'no DNS server of this relay is believed about DNSSEC (dns.trustAd)';
    return [...off, `does not apply: ${why}`];
  }
  const told = hosts.flatMap(({ host, port, dane }) => {
    if (!dane) return [];
    if (dane.kind === 'absent') return [`${host}: ${dane.why}`];
    if (dane.kind === 'failed') return [`${host}: ${plainErrors(dane.detail)}`];
    const { baseDomain, records, usable } = dane;
    const counts = `${records.length} secure, ${usable.length} usable`;
    const shown = records.slice(0, MOST_PATTERNS).map((record) => `  ${shortRecord(record)}`);
    return [`${host}: TLSA at ${tlsaName(baseDomain, port)}: ${counts}`, ...shown];
  });
  return told.length > 0 || off.length > 0 ? [...off, ...told] : ['-'];
}

/** Any digest is shown whole; a whole certificate is not. */
function shortRecord(record: string): string {
  return record.length > 150 ? `${record.slice(0, 80)}... (${record.length} characters)` : record;
}

function tlsRptLines({ tlsRpt }: DomainFacts): readonly string[] {
  if (!tlsRpt) return ['-'];
  if (tlsRpt.kind === 'record') return tlsRpt.rua;
  if (tlsRpt.kind === 'failed')
    return [`lookup of ${tlsRpt.name} failed: ${plainErrors(tlsRpt.detail)}`];
  return [`${tlsRpt.detail} at ${tlsRpt.name}`];
}

function hostRows(host: HostFacts): readonly (readonly string[])[] {
  const lead = [String(host.preference), host.host];
  if (host.addresses.length > 0) {
    return host.addresses.map((address) => [...lead, ...addressCells(address, host.failure)]);
  }
  const result = host.failure ? failureIn(host.failure) : 'not connected to';
  return [[...lead, host.foundAddresses.slice(0, 4).join(' ') || '-', '-', '-', result]];
}

function addressCells(
  { address, tls, certificate, ...rest }: AddressFacts,
  refusal: Failure | undefined,
): readonly string[] {
  const result = resultOf({ address, ...(tls ? { tls } : {}), ...rest });
  const until = certificate ? `until ${certificate.validTo.slice(0, 10)}` : '-';
  return [
    address,
    tls?.version ?? '-',
    until,
    refusal ? [failureIn(refusal), result].join(', ') : result,
  ];
}

function resultOf({ tls, failure, clearTextBecause }: AddressFacts): string {
  if (failure) return failureIn(failure);
  const reached = reachedWith(tls);
  if (tls?.verdict.verified) return tls.verdict.tlsa ? `${reached} by TLSA` : reached;
  if (tls && 'cause' in tls.verdict) return `${reached}, ${tls.verdict.cause}`;
  return clearTextBecause ? `${reached}, ${clearTextBecause.cause}` : reached;
}

/** Short enough for a table: a finding of this code says more. */
function failureIn(failure: Failure): string {
  return failure.kind === 'local' ? failure.cause : formatReply(failure.reply);
}

interface Form {
  readonly paint: Paint;
  readonly screen: Screen;
}

function findingLines(finding: Finding, { paint, screen }: Form): readonly string[] {
  const { severity, code, subject, text, fix, rfc } = finding;
  const cite = rfc === undefined ? '' : `, ${rfc}`;
  return [
    `${paint(severity, severity)}: ${printable(subject)} (${code}${cite})`,
    ...wrap(printable(text), '  ', screen),
    ...(fix === undefined ? [] : wrap(printable(`-> ${fix}`), '  ', screen)),
  ];
}

type Paint = (severity: Severity, text: string) => string;

/** Colour on terminals only, and not for those who asked for none (NO_COLOR). */
function painter({ isTTY }: Screen): Paint {
  if (isTTY !== true || process.env['NO_COLOR']) return (_severity, text) => text;
  return (severity, text) => styleText(COLOURS[severity], text, { validateStream: false });
}

/** Broken between words to the width of a terminal; one line for everything else. */
function wrap(text: string, indent: string, { isTTY, columns }: Screen): readonly string[] {
  if (isTTY !== true) return [indent + text];
  const width = Math.min(columns || MOST_COLUMNS, MOST_COLUMNS);
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(' ')) {
    if (line.length > indent.length && line.length + word.length >= width) {
      lines.push(line);
      line = indent;
    }
    line += line.length > indent.length ? ` ${word}` : word;
  }
  return [...lines, line];
}
