/**
 * What a TLS report is made of (RFC 8460 §4): sessions counted by the policy that was applied to
 * them, and how those failed that did. Plain data, so that it can be kept, sent and added up.
 */
import { isIPv6 } from 'node:net';
import type { ResultType } from './result-type.ts';

/** A policy as it was applied; one that was exchanged during the day is another one. */
export interface AppliedPolicy {
  readonly type: 'sts' | 'tlsa' | 'no-policy-found';
  /** A-labels; of tlsa the TLSA base domain (RFC 8460 §1.1). */
  readonly domain: string;
  /** The lines of the sts policy as published, or a line a TLSA record; empty where nothing is known. */
  readonly lines: readonly string[];
  /** The mx patterns of the sts policy. */
  readonly mx: readonly string[];
}

/** How sessions failed (RFC 8460 §4.3): those that are equal in all of it are counted together. */
export interface FailureDetail {
  readonly resultType: ResultType;
  readonly sendingIp?: string | undefined;
  readonly mxHost?: string | undefined;
  readonly mxHelo?: string | undefined;
  readonly receivingIp?: string | undefined;
  /** A URI. */
  readonly additionalUri?: string | undefined;
  readonly reasonCode?: string | undefined;
}

export interface DetailCount {
  readonly detail: FailureDetail;
  readonly sessions: number;
}

export interface PolicyCounts {
  readonly policy: AppliedPolicy;
  /** Sessions, not messages (RFC 8460 §4.2). */
  readonly successful: number;
  readonly failed: number;
  /**
   * One session may be in several, a successful one in one that asks to be looked at; a policy that could not be
   * fetched is in none of the sums.
   */
  readonly details: readonly DetailCount[];
}

/** Stands for hosts, addresses and reasons that there is no room for. */
const LEFT_OUT = 'other hosts, addresses and reasons: too many to be listed here';

/** The detail that failures of a type are counted under when there is no room for their own. */
export function foldedDetail({ resultType }: FailureDetail): FailureDetail {
  return { resultType, reasonCode: LEFT_OUT };
}

/** Longer ones are cut: they come from outside. */
const LONGEST_TEXT = 255;

/** The detail in the one form that it is counted under: addresses canonical, texts in bounds. */
export function plainDetail(detail: FailureDetail): FailureDetail {
  const { resultType, sendingIp, mxHost, mxHelo, receivingIp, additionalUri, reasonCode } = detail;
  const known = {
    sendingIp: sendingIp && canonicalIp(sendingIp),
    mxHost,
    mxHelo: mxHelo?.slice(0, LONGEST_TEXT),
    receivingIp: receivingIp && canonicalIp(receivingIp),
    additionalUri,
    reasonCode: reasonCode?.slice(0, LONGEST_TEXT).toWellFormed(), // RFC 7493 §2.1
  };
  const given = Object.entries(known).filter(([, value]) => value);
  return { resultType, ...Object.fromEntries(given) };
}

/** RFC 5952 §4, and IPv4 in its own form where a socket took it for IPv6 (RFC 8460 §4.4). */
function canonicalIp(address: string): string {
  if (!isIPv6(address)) return address;
  const [plain = ''] = address.split('%');
  const canonical = new URL(`http://[${plain}]`).hostname.slice(1, -1);
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical) ?? [];
  if (high === undefined || low === undefined) return canonical;
  const octets = [high, low].flatMap((word) => {
    const number = Number.parseInt(word, 16);
    return [number >> 8, number & 0xff];
  });
  return octets.join('.');
}
