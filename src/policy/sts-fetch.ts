/**
 * One fetch of a policy over HTTPS (RFC 8461 §3.3): the transport's result and the response
 * judged, as one answer.
 */
import type { Clock } from '../platform/clock.ts';
import { withDeadline } from '../platform/deadline.ts';
import type { HttpsGet } from '../platform/https-get.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import {
  judgeFetchResponse,
  MAX_POLICY_OCTETS,
  type StsPolicy,
} from '../protocol/mta-sts/policy.ts';
import type { ResultType } from '../protocol/tlsrpt/result-type.ts';

export type FetchResult =
  | {
      readonly kind: 'fetched';
      readonly policy: StsPolicy;
      /** When it was asked for: what came later is not newer for having taken long. */
      readonly requestedAtMs: number;
    }
  | FailedFetch;

export interface FailedFetch {
  readonly kind: 'failed';
  /** RFC 8460 §4.3.2.2. */
  readonly resultType: ResultType;
  readonly reason: string;
  /** With `sts-policy-invalid`: the text that was no policy, by line. */
  readonly lines?: readonly string[];
}

/** A policy was announced and could not be had: what the TLS report says about it. */
export interface PolicyFailure {
  readonly domain: DomainName;
  /** The same object for all who shared the fetch. */
  readonly fetched: FailedFetch;
  /** The older policy that stays. */
  readonly inForce: StsPolicy | undefined;
}

/**
 * Fetch the policy that the record with `id` announced. Those who want the same share a fetch; one
 * begun for another id may bring what was published before.
 */
export type StsFetch = (
  domain: DomainName,
  id: string,
  signal: AbortSignal,
) => Promise<FetchResult>;

export interface FetchOptions {
  readonly get: HttpsGet;
  readonly httpsPort: number;
  readonly fetchTimeoutMs: number;
  readonly clock: Clock;
}

/** Fetch the policy of `domain`; a failure is a value. */
export async function fetchPolicy(
  domain: DomainName,
  options: FetchOptions,
  signal: AbortSignal,
): Promise<FetchResult> {
  const host = parseDomain(`mta-sts.${domain}`);
  if (!host) return failed('sts-policy-fetch-error', 'the name of the policy host is too long');
  const { get, httpsPort, fetchTimeoutMs, clock } = options;
  const requestedAtMs = clock.now();
  // RFC 8461 §3.3: one limit for the whole exchange.
  const result = await withDeadline({ clock, waitMs: fetchTimeoutMs }, signal, (deadline) =>
    get({
      host,
      port: httpsPort,
      path: '/.well-known/mta-sts.txt', // RFC 8461 §3.2
      maxBytes: MAX_POLICY_OCTETS,
      signal: deadline,
    }),
  );
  if (result.kind === 'failed') {
    const badCertificate = result.stage === 'tls' && result.cause === 'certificate';
    return failed(badCertificate ? 'sts-webpki-invalid' : 'sts-policy-fetch-error', result.detail);
  }
  const verdict = judgeFetchResponse(result);
  if (verdict.ok) return { kind: 'fetched', policy: verdict.policy, requestedAtMs };
  const resultType = verdict.reason === 'syntax' ? 'sts-policy-invalid' : 'sts-policy-fetch-error';
  const { detail, lines } = verdict;
  return { ...failed(resultType, detail), ...(lines.length > 0 ? { lines } : {}) };
}

function failed(resultType: ResultType, reason: string): FailedFetch {
  return { kind: 'failed', resultType, reason };
}
