/**
 * What the relay knows about one domain's MTA-STS: its last policy, with the text it was
 * published as, and the troubles with it. The form in which it is kept on disk and in Redis.
 *
 * Reading is distrustful: the policy is parsed again from its original text, by the same
 * parser that took it from the policy host. An entry with a policy that cannot be read is
 * unreadable as a whole: what it said is not known, which is not the same as nothing.
 */
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import { parsePolicy, type StsPolicy } from '../protocol/mta-sts/policy.ts';

/** A policy as fetched. */
export interface KeptPolicy {
  /** The id of the TXT record that led to the fetch. */
  readonly id: string;
  readonly policy: StsPolicy;
  /** Milliseconds since the epoch; max_age counts from here (RFC 8461 §3.2). */
  readonly fetchedAtMs: number;
}

export interface StsEntry {
  readonly domain: DomainName;
  readonly kept?: KeptPolicy;
  /** RFC 8461 §3.3: no further fetch for this id within five minutes of a failed one. */
  readonly failedFetch?: { readonly id: string; readonly atMs: number; readonly reason: string };
  /** The TXT lookup fails with no policy in force: the first and the last time of this spell. */
  readonly dnsFailing?: { readonly sinceMs: number; readonly lastMs: number };
  /** When this entry was last changed. */
  readonly changedAtMs: number;
}

/** The policy of `entry` while it is in force. RFC 8461 §3.3, §5.1: not past its max_age. */
export function policyInForce(entry: StsEntry | undefined, nowMs: number): KeptPolicy | undefined {
  const kept = entry?.kept;
  return kept && nowMs < expiresAtMs(kept) ? kept : undefined;
}

export function expiresAtMs({ fetchedAtMs, policy }: KeptPolicy): number {
  return fetchedAtMs + policy.maxAgeSeconds * 1000;
}

const FORMAT_VERSION = 1;

export function formatEntry(entry: StsEntry): string {
  const { kept, ...rest } = entry;
  const policy = kept && { id: kept.id, text: kept.policy.text, fetchedAtMs: kept.fetchedAtMs };
  return JSON.stringify({ version: FORMAT_VERSION, ...rest, ...(policy ? { policy } : {}) });
}

/** Undefined for anything that is not an entry about `domain`. */
export function parseEntry(domain: DomainName, json: string): StsEntry | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (!isRecord(raw) || raw['version'] !== FORMAT_VERSION) return undefined;
  if (parseDomain(String(raw['domain'])) !== domain || !isTime(raw['changedAtMs']))
    return undefined;
  const kept = raw['policy'] === undefined ? undefined : parseKept(raw['policy']);
  if (raw['policy'] !== undefined && !kept) return undefined;
  const failed = raw['failedFetch'];
  const failing = raw['dnsFailing'];
  return {
    domain,
    changedAtMs: raw['changedAtMs'],
    ...(kept ? { kept } : {}),
    ...(isRecord(failed) && isTime(failed['atMs'])
      ? {
          failedFetch: {
            id: String(failed['id']),
            atMs: failed['atMs'],
            reason: String(failed['reason']),
          },
        }
      : {}),
    ...(isRecord(failing) && isTime(failing['sinceMs']) && isTime(failing['lastMs'])
      ? { dnsFailing: { sinceMs: failing['sinceMs'], lastMs: failing['lastMs'] } }
      : {}),
  };
}

function parseKept(raw: unknown): KeptPolicy | undefined {
  if (!isRecord(raw) || typeof raw['id'] !== 'string') return undefined;
  if (typeof raw['text'] !== 'string' || !isTime(raw['fetchedAtMs'])) return undefined;
  const verdict = parsePolicy(Buffer.from(raw['text']));
  if (!verdict.ok) return undefined;
  return { id: raw['id'], policy: verdict.policy, fetchedAtMs: raw['fetchedAtMs'] };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
