/**
 * The report of one UTC day for one policy domain, as the JSON of RFC 8460 §4.4. Pure; the same
 * counts give the same report, in the same order.
 *
 * Every member is there with its type: lists that are empty are empty lists, never null and never
 * left out; what is not known of a failure is left out. A report that would be too large keeps the
 * details of most sessions; the others are one detail for each result type, which says so: the sums are
 * right in any case.
 */
import { toAsciiDomain } from '../mailbox.ts';
import {
  type AppliedPolicy,
  type DetailCount,
  type FailureDetail,
  foldedDetail,
  type PolicyCounts,
} from './counts.ts';
import { RESULT_TYPES, type ResultType } from './result-type.ts';

/** The names are those of RFC 8460 §4.4. */
export interface TlsReport {
  readonly 'organization-name': string;
  readonly 'date-range': { readonly 'start-datetime': string; readonly 'end-datetime': string };
  readonly 'contact-info': string;
  readonly 'report-id': string;
  readonly policies: readonly ReportedPolicy[];
}

export interface ReportedPolicy {
  readonly policy: {
    readonly 'policy-type': AppliedPolicy['type'];
    readonly 'policy-string': readonly string[];
    readonly 'policy-domain': string;
    readonly 'mx-host': readonly string[];
  };
  readonly summary: {
    readonly 'total-successful-session-count': number;
    readonly 'total-failure-session-count': number;
  };
  readonly 'failure-details': readonly ReportedFailure[];
}

export interface ReportedFailure {
  readonly 'result-type': ResultType;
  readonly 'sending-mta-ip'?: string;
  readonly 'receiving-mx-hostname'?: string;
  readonly 'receiving-mx-helo'?: string;
  readonly 'receiving-ip'?: string;
  readonly 'failed-session-count': number;
  readonly 'additional-information'?: string;
  readonly 'failure-reason-code'?: string;
}

/** Who reports. */
export interface Reporter {
  readonly organization: string;
  /** An addr-spec; its domain is the submitter (RFC 8460 §5.3). */
  readonly contact: string;
}

export interface ReportParts {
  readonly reporter: Reporter;
  /** `2026-03-14`, UTC. */
  readonly day: string;
  readonly reportId: string;
  /** Of the domain that the report goes to. */
  readonly counts: readonly PolicyCounts[];
  /** Of the JSON, uncompressed. */
  readonly maxOctets?: number;
}

const MAX_OCTETS = 4 * 1024 * 1024;

/**
 * The report; undefined when there was neither a session on that day nor a failure to have a policy, which is to be
 * reported by itself (RFC 8461 §6).
 */
export function makeReport(parts: ReportParts): TlsReport | undefined {
  const { reporter, day, reportId, maxOctets = MAX_OCTETS } = parts;
  const counts = inOrder(parts.counts);
  if (!isReported(counts)) return undefined;
  const withPolicies = (some: readonly PolicyCounts[]): TlsReport => ({
    'organization-name': reporter.organization,
    // RFC 8460 §4.1, §4.4: the whole UTC day, to its last second.
    'date-range': {
      'start-datetime': `${day}T00:00:00Z`,
      'end-datetime': `${day}T23:59:59Z`,
    },
    'contact-info': reporter.contact,
    'report-id': reportId,
    policies: some.map(reported),
  });
  const whole = withPolicies(counts);
  if (octetsOf(whole) <= maxOctets) return whole;
  const bare = withPolicies(counts.map((one) => ({ ...one, details: [] })));
  const foldedOctets = counts.length * RESULT_TYPES.length * FOLDED_OCTETS;
  return withPolicies(withLargest(counts, maxOctets - octetsOf(bare) - foldedOctets));
}

/** Whether a report is made of `counts`. */
export function isReported(counts: readonly PolicyCounts[]): boolean {
  return counts.some(
    ({ successful, failed, details }) => successful + failed > 0 || details.length > 0,
  );
}

/** RFC 8460 §5.3: unique for each report, and the same when it is sent again. */
export function reportIdOf(day: string, domain: string, submitter: string): string {
  return `${day.replaceAll('-', '')}.${domain}@${submitter}`;
}

/** The domain of a reporter's contact, in A-labels (RFC 8460 §5.1). */
export function submitterOf({ contact }: Reporter): string {
  const ascii = toAsciiDomain(contact);
  return ascii.slice(ascii.lastIndexOf('@') + 1);
}

function octetsOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

/** More than a folded detail takes. */
const FOLDED_OCTETS = 250;

/** RFC 8460 §4.4: distinct policies are distinct elements, details with the same content are one. */
function inOrder(counts: readonly PolicyCounts[]): readonly PolicyCounts[] {
  const keyed = counts.map((one) => ({ ...one, details: merged(one.details) }));
  return keyed.sort((a, b) => inText(keyOf(a.policy), keyOf(b.policy)));
}

function keyOf({ domain, type, lines }: AppliedPolicy): string {
  return JSON.stringify([domain, type, lines]);
}

function inText(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}

/** Equal details added up, the largest first. */
function merged(details: readonly DetailCount[]): readonly DetailCount[] {
  const byKey = new Map<string, DetailCount>();
  for (const { detail, sessions } of details) {
    const key = JSON.stringify(reportedDetail(detail, 0));
    byKey.set(key, { detail, sessions: sessions + (byKey.get(key)?.sessions ?? 0) });
  }
  const sorted = [...byKey].sort(
    ([oneKey, one], [otherKey, other]) => other.sessions - one.sessions || inText(oneKey, otherKey),
  );
  return sorted.map(([, count]) => count);
}

/** The largest details that fit into `octets`, those of all policies together; the others folded. */
function withLargest(counts: readonly PolicyCounts[], octets: number): readonly PolicyCounts[] {
  const all = counts.flatMap(({ details }) => details);
  const kept = new Set<DetailCount>();
  let left = octets;
  for (const one of all.sort((a, b) => b.sessions - a.sessions)) {
    left -= octetsOf(reportedDetail(one.detail, one.sessions)) + 1;
    if (left < 0) break;
    kept.add(one);
  }
  return counts.map((policy) => {
    const details = policy.details.map((one) =>
      kept.has(one) ? one : { ...one, detail: foldedDetail(one.detail) },
    );
    return { ...policy, details: merged(details) };
  });
}

function reported({ policy, successful, failed, details }: PolicyCounts): ReportedPolicy {
  return {
    policy: {
      'policy-type': policy.type,
      'policy-string': policy.lines,
      'policy-domain': policy.domain,
      // RFC 8460 §4.4, erratum 6241: a list, in the example as in the text.
      'mx-host': policy.mx,
    },
    summary: {
      'total-successful-session-count': successful,
      'total-failure-session-count': failed,
    },
    'failure-details': details.map(({ detail, sessions }) => reportedDetail(detail, sessions)),
  };
}

function reportedDetail(detail: FailureDetail, sessions: number): ReportedFailure {
  const { sendingIp, mxHost, mxHelo, receivingIp, additionalUri, reasonCode } = detail;
  return {
    'result-type': detail.resultType,
    ...(sendingIp ? { 'sending-mta-ip': sendingIp } : {}),
    ...(mxHost ? { 'receiving-mx-hostname': mxHost } : {}),
    ...(mxHelo ? { 'receiving-mx-helo': mxHelo } : {}),
    ...(receivingIp ? { 'receiving-ip': receivingIp } : {}),
    'failed-session-count': sessions,
    ...(additionalUri ? { 'additional-information': additionalUri } : {}),
    ...(reasonCode ? { 'failure-reason-code': reasonCode } : {}),
  };
}
