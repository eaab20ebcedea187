/**
 * Vectors `tlsrpt-report`: what a day comes to (RFC 8460 §4), counted and reported by the relay's own
 * modules. An event is made a session result first, so that what counts, and as what, is the relay's to
 * say.
 */
import { localFailure, type TlsFailureCause } from '../../../src/mail/failure.ts';
import type { SessionFacts, SessionResult } from '../../../src/mail/session-result.ts';
import type { RequirementSource } from '../../../src/mail/tls-requirement.ts';
import { type DomainName, parseDomain } from '../../../src/protocol/domain.ts';
import type { StsMode } from '../../../src/protocol/mta-sts/policy.ts';
import { type AppliedPolicy, plainDetail } from '../../../src/protocol/tlsrpt/counts.ts';
import { makeReport } from '../../../src/protocol/tlsrpt/report.ts';
import {
  REPORT_CONTENT_TYPE,
  reportFields,
  reportFileName,
  reportMediaType,
} from '../../../src/protocol/tlsrpt/report-names.ts';
import type { ResultType } from '../../../src/protocol/tlsrpt/result-type.ts';
import {
  appliedPolicy,
  type Counted,
  countPolicyFailure,
  countSession,
} from '../../../src/reporting/counted.ts';
import { DayTally } from '../../../src/reporting/day-tally.ts';
import { assertIsReport } from '../tlsrpt-schema.ts';
import { differences as plainDifferences } from './compare.ts';
import { NotSupported, onlyKeys, type VectorKind } from './vector.ts';

interface GivenPolicy {
  readonly type: AppliedPolicy['type'];
  readonly domain: string;
  readonly mode?: StsMode | null | undefined;
  readonly lines?: readonly string[] | null;
  readonly mx?: readonly string[] | null;
  readonly rrs?: readonly string[] | null;
}

interface GivenEvent {
  readonly t: string;
  readonly kind: 'session' | 'policy';
  readonly applied: string;
  readonly outcome: string;
  readonly mx?: string;
  readonly ip?: string;
  readonly local_ip?: string;
  readonly helo?: string;
  readonly reason?: string;
  readonly messages?: number;
  readonly tlsrpt_mail?: boolean;
}

interface Input {
  readonly reporter: Readonly<Record<'organization-name' | 'contact-info' | 'report-id', string>>;
  readonly day: string;
  readonly report_domain: string;
  readonly policies: Readonly<Record<string, GivenPolicy>>;
  readonly events: readonly GivenEvent[];
  readonly gzip?: boolean;
}

const EVENT_KEYS = [
  ...['t', 'kind', 'applied', 'outcome', 'mx', 'ip', 'local_ip', 'helo', 'reason', 'messages'],
  // How the message went on, and further faults: a session has one result, the first.
  ...['delivered', 'also', 'tlsrpt_mail', 'ignored_by_policy'],
];

export const tlsrptReport: VectorKind = {
  answer(input: Input) {
    const known = ['reporter', 'day', 'report_domain', 'policies', 'events', 'gzip', 'rua'];
    onlyKeys('input', input, [...known, 'u_label']);
    const tally = new DayTally();
    for (const event of input.events) {
      onlyKeys('event', event, EVENT_KEYS);
      const day = new Date(event.t).toISOString().slice(0, 10);
      const counted = day === input.day ? countedOf(event, input) : undefined;
      if (counted) tally.add(counted);
    }
    const { reporter, day, gzip = true } = input;
    const domain = domainOf(input.report_domain);
    const report = makeReport({
      reporter: { organization: reporter['organization-name'], contact: reporter['contact-info'] },
      ...{ day, reportId: reporter['report-id'], counts: tally.countsOf(domain) },
    });
    if (!report) return { report: null };
    assertIsReport(report);
    return {
      report,
      filename: reportFileName(report, domain, { gzip }),
      media_type: reportMediaType({ gzip }),
      headers: reportFields(report, domain),
      content_type: REPORT_CONTENT_TYPE,
    };
  },
  differences: (answer, expected) => plainDifferences(normal(answer), normal(expected)),
};

function countedOf(event: GivenEvent, input: Input): Counted | undefined {
  const given = input.policies[event.applied];
  if (!given) throw new Error(`no policy ${event.applied}`);
  const domain = domainOf(input.report_domain);
  const policy = policyOf(given, domain);
  if (event.kind === 'policy') return policyFailure(event, given, domain);
  const isReportMail = event.tlsrpt_mail === true;
  const counted = countSession(sessionOf(event, given), { domain, policy, isReportMail });
  return event.outcome === 'tls-ok-tlsa-unusable' ? withReason(counted, event.reason) : counted;
}

/** The relay has words of its own for a session that is no failure. */
function withReason(counted: Counted | undefined, reason = ''): Counted | undefined {
  const details = counted?.details.map(({ detail, sessions }) => ({
    ...{ sessions, detail: plainDetail({ ...detail, reasonCode: reason }) },
  }));
  return counted && details && { ...counted, details };
}

/** As the relay names it: mode none is no policy. */
function policyOf(given: GivenPolicy, domain: DomainName): AppliedPolicy {
  const { type, lines, mx, rrs, mode } = given;
  if (type === 'no-policy-found' || mode === 'none') {
    const none = appliedPolicy({ source: { kind: 'default' } }, domain);
    if (none) return none;
  }
  return { type, domain: domainOf(given.domain), lines: lines ?? rrs ?? [], mx: mx ?? [] };
}

/** The relay knows domains in A-labels alone. */
function domainOf(name: string): DomainName {
  const domain = parseDomain(name);
  if (domain === undefined) throw new Error(`${name} is no domain`);
  return domain;
}

function policyFailure(
  { outcome, reason = '' }: GivenEvent,
  { mode, lines, mx }: GivenPolicy,
  domain: DomainName,
): Counted | undefined {
  const resultType = policyResult(outcome);
  const kept = { maxAgeSeconds: 86_400, text: '', lines: lines ?? [], mx: mx ?? [] };
  const inForce = mode ? { ...kept, mode } : undefined;
  const fetched = { ...({ kind: 'failed' } as const), resultType, reason, lines: kept.lines };
  return countPolicyFailure({ domain, fetched, inForce });
}

function policyResult(outcome: string): ResultType {
  if (outcome.startsWith('policy-')) return 'sts-policy-invalid';
  if (/^fetch-.*(cert|webpki|untrusted|expired|self-signed|mismatch)/.test(outcome)) {
    return 'sts-webpki-invalid';
  }
  if (outcome.startsWith('fetch-')) return 'sts-policy-fetch-error';
  throw new NotSupported(`outcome ${outcome}`);
}

const CAUSES: Readonly<Record<string, TlsFailureCause>> = {
  'starttls-not-offered': 'starttls-not-offered',
  'starttls-refused': 'starttls-refused',
  'cert-host-mismatch': 'certificate-host-mismatch',
  'cert-expired': 'certificate-expired',
  'cert-not-yet-valid': 'certificate-not-yet-valid',
  'cert-untrusted': 'certificate-untrusted',
  'cert-self-signed': 'certificate-self-signed',
  'handshake-failure': 'tls-handshake-failed',
  'mx-not-in-policy': 'mx-outside-policy',
  'tlsa-mismatch': 'tlsa-mismatch',
  'dnssec-bogus': 'dnssec-failed',
  'dnssec-servfail': 'dnssec-failed',
  'tlsa-servfail': 'dnssec-failed',
  'dane-required-missing': 'dane-required',
};
const CERTIFICATE = /^cert-/;

function sessionOf(event: GivenEvent, given: GivenPolicy): SessionResult {
  const { outcome, reason: detail = '' } = event;
  const cause = CAUSES[outcome];
  const isBinding = given.mode === 'enforce' || given.type === 'tlsa';
  const isUsable = outcome !== 'tls-ok-tlsa-unusable';
  const facts = factsOf(event, sourceOf(given, isUsable));
  const transacted = { kind: 'transacted', recipients: new Map() } as const;
  const early = (why: Parameters<typeof localFailure>[0]): SessionResult => ({
    ...{ kind: 'ended-early', facts, failure: localFailure(why, detail) },
  });
  const tls = { version: 'TLSv1.3', cipher: 'x', certSha256: undefined };
  if (cause && CERTIFICATE.test(outcome) && !isBinding) {
    const verdict = { verified: false, cause, detail } as const;
    return { ...transacted, facts: { ...facts, tls: { ...tls, verdict } } };
  }
  if (cause && !isBinding && outcome !== 'mx-not-in-policy') {
    return { ...transacted, facts: { ...facts, clearTextBecause: { cause, detail } } };
  }
  if (cause) return early(cause);
  const verdict = { verified: true, matchedName: event.mx ?? '' } as const;
  switch (outcome) {
    case 'tls-ok':
    case 'tls-ok-tlsa-unusable':
    case 'rcpt-rejected-after-tls':
      return { ...transacted, facts: { ...facts, tls: { ...tls, verdict } } };
    case 'connect-timeout':
    case 'connect-refused':
    case 'greeting-timeout':
    case 'dns-failure':
      return early('timeout');
    case 'smtp-rejected-before-tls':
      return early('refused-before-tls');
    default:
      throw new NotSupported(`outcome ${outcome}`);
  }
}

function sourceOf({ type, domain, mode, rrs }: GivenPolicy, isUsable: boolean): RequirementSource {
  if (type === 'tlsa') {
    const records = rrs ?? [];
    const usable = isUsable ? records : [];
    return { kind: 'dane', baseDomain: domain, records, usable, names: [domain] };
  }
  if (type === 'no-policy-found' || !mode || mode === 'none') return { kind: 'default' };
  const name = parseDomain(domain);
  if (name === undefined) throw new Error(`${domain} is no domain`);
  return {
    ...{ kind: 'mta-sts', domain: name, policyId: '1', policyText: '' },
    ...{ mode, listed: true },
  };
}

function factsOf({ mx, ip, local_ip, helo }: GivenEvent, source: RequirementSource): SessionFacts {
  return {
    candidate: { host: parseDomain(mx ?? ''), preference: 0, port: 25 },
    address: ip,
    localAddress: local_ip,
    ...(helo === undefined ? {} : { announcedName: helo }),
    requirement: { level: 'opportunistic', minVersion: 'TLSv1.2', source },
    tls: undefined,
  };
}

type Json = Readonly<Record<string, unknown>>;

/** Without what is free: the order of lists, and lists that are empty or left out. */
function normal(answer: unknown): unknown {
  const { report } = answer as { readonly report?: { readonly policies: readonly Json[] } | null };
  if (!report) return answer;
  const policies = report.policies.map(({ policy, summary, ...rest }) => ({
    policy: { 'policy-string': [], 'mx-host': [], ...(policy as Json) },
    summary,
    'failure-details': inOrder((rest['failure-details'] as Json[] | undefined) ?? []),
  }));
  // In text, so that a member too many is a difference, too.
  return { ...(answer as Json), report: sorted({ ...report, policies: inOrder(policies) }) };
}

function inOrder(list: readonly Json[]): readonly string[] {
  return list.map(sorted).sort();
}

function sorted(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) => {
    if (typeof member !== 'object' || member === null || Array.isArray(member)) return member;
    return Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
