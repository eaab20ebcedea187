/**
 * What the relay knows about one domain's MTA-STS: its last policy, with the text it was
 * published as, and the troubles with it. The form in which it is kept on disk and in Redis.
 *
 * Reading is distrustful: the policy is parsed again from its original text, by the same
 * parser that took it from the policy host. An entry with a policy that cannot be read is
 * unreadable as a whole: what it said is not known, which is not the same as nothing.
 */
import { DOWNGRADE_SIGNALS, type DowngradeSignal } from '../mail/downgrade-signal.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import { parsePolicy, type StsPolicy } from '../protocol/mta-sts/policy.ts';
import { RESULT_TYPES, type ResultType } from '../protocol/tlsrpt/result-type.ts';

/** A policy as fetched. */
export interface KeptPolicy {
  /** The id of the TXT record that led to the fetch. */
  readonly id: string;
  readonly policy: StsPolicy;
  /** When it was asked for, milliseconds since the epoch; max_age counts from here (RFC 8461 §3.2). */
  readonly fetchedAtMs: number;
  /** Who fetched it: a delivery that needed it, a refresh, another node. */
  readonly source: PolicySource;
}

const SOURCES = ['fetch', 'refresh', 'shared'] as const;
export type PolicySource = (typeof SOURCES)[number];

export interface FailedFetch {
  readonly id: string;
  readonly atMs: number;
  readonly reason: string;
  readonly resultType: ResultType;
}

/** Refreshes that failed since the last one that did not. */
export interface FailedRefresh {
  readonly sinceMs: number;
  readonly lastMs: number;
  readonly failures: number;
  readonly reason: string;
  readonly resultType: ResultType;
}

export interface Suspicion {
  readonly firstMs: number;
  readonly lastMs: number;
  readonly count: number;
  /** Of the last time. */
  readonly detail: string;
}
export type Suspicions = { readonly [signal in DowngradeSignal]?: Suspicion };

export interface StsEntry {
  readonly domain: DomainName;
  readonly kept?: KeptPolicy;
  /** RFC 8461 §3.3: no further fetch for this id within five minutes of a failed one. */
  readonly failedFetch?: FailedFetch;
  readonly failedRefresh?: FailedRefresh;
  /** The TXT lookup fails with no policy in force: the first and the last time of this spell. */
  readonly dnsFailing?: { readonly sinceMs: number; readonly lastMs: number };
  /** When mail last asked for the policy; kept by the day. */
  readonly lastUsedMs?: number;
  /** Signs of a downgrade seen here. */
  readonly suspicions?: Suspicions;
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
  const policy = kept && {
    id: kept.id,
    text: kept.policy.text,
    fetchedAtMs: kept.fetchedAtMs,
    source: kept.source,
  };
  return JSON.stringify({ version: FORMAT_VERSION, ...rest, ...(policy ? { policy } : {}) });
}

/** Undefined for anything that is not an entry about `domain`. */
export function parseEntry(domain: DomainName, json: string): StsEntry | undefined {
  const entry = parseAnyEntry(json);
  return entry?.domain === domain ? entry : undefined;
}

/** Undefined for anything that is not an entry. */
export function parseAnyEntry(json: string): StsEntry | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (!isRecord(raw) || raw['version'] !== FORMAT_VERSION) return undefined;
  const domain = parseDomain(String(raw['domain']));
  if (domain === undefined || !isTime(raw['changedAtMs'])) return undefined;
  const kept = raw['policy'] === undefined ? undefined : parseKept(raw['policy']);
  if (raw['policy'] !== undefined && !kept) return undefined;
  const lastUsedMs = raw['lastUsedMs'];
  return {
    domain,
    changedAtMs: raw['changedAtMs'],
    ...(kept ? { kept } : {}),
    ...parseTroubles(raw),
    ...(isTime(lastUsedMs) ? { lastUsedMs } : {}),
  };
}

/** What cannot be read of them is left out: they decide nothing. */
function parseTroubles(raw: Record<string, unknown>): Partial<StsEntry> {
  const { failedFetch: fetch, failedRefresh: refresh, dnsFailing: dns, suspicions } = raw;
  return {
    ...(isRecord(fetch) && isTime(fetch['atMs'])
      ? { failedFetch: { id: String(fetch['id']), atMs: fetch['atMs'], ...parseWhy(fetch) } }
      : {}),
    ...(isRecord(refresh) && isSpell(refresh) && isTime(refresh['failures'])
      ? {
          failedRefresh: { ...spell(refresh), failures: refresh['failures'], ...parseWhy(refresh) },
        }
      : {}),
    ...(isRecord(dns) && isSpell(dns) ? { dnsFailing: spell(dns) } : {}),
    ...(isRecord(suspicions) ? { suspicions: parseSuspicions(suspicions) } : {}),
  };
}

function parseWhy(raw: Record<string, unknown>): { reason: string; resultType: ResultType } {
  const resultType = RESULT_TYPES.find((type) => type === raw['resultType']);
  return { reason: String(raw['reason']), resultType: resultType ?? 'sts-policy-fetch-error' };
}

type Spell = Record<string, unknown> & { sinceMs: number; lastMs: number };

function isSpell(raw: Record<string, unknown>): raw is Spell {
  return isTime(raw['sinceMs']) && isTime(raw['lastMs']);
}

function spell({ sinceMs, lastMs }: Spell) {
  return { sinceMs, lastMs };
}

function parseSuspicions(raw: Record<string, unknown>): Suspicions {
  const suspicions: { [signal in DowngradeSignal]?: Suspicion } = {};
  for (const signal of DOWNGRADE_SIGNALS) {
    const one = raw[signal];
    if (!isRecord(one)) continue;
    const { firstMs, lastMs, count, detail } = one;
    if (!isTime(firstMs) || !isTime(lastMs) || !isTime(count)) continue;
    suspicions[signal] = { firstMs, lastMs, count, detail: String(detail) };
  }
  return suspicions;
}

function parseKept(raw: unknown): KeptPolicy | undefined {
  if (!isRecord(raw) || typeof raw['id'] !== 'string') return undefined;
  if (typeof raw['text'] !== 'string' || !isTime(raw['fetchedAtMs'])) return undefined;
  const verdict = parsePolicy(Buffer.from(raw['text']));
  if (!verdict.ok) return undefined;
  const source = SOURCES.find((known) => known === raw['source']) ?? 'fetch';
  return { id: raw['id'], policy: verdict.policy, fetchedAtMs: raw['fetchedAtMs'], source };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
