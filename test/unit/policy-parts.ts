/** What tests of the TLS policy put in the place of DNS, the policy host and Redis. */
import type { Clock } from '../../src/platform/clock.ts';
import type { Found, LookupResult, Resolver } from '../../src/platform/resolver.ts';
import type { KeptPolicy } from '../../src/policy/sts-entry.ts';
import type { FetchResult } from '../../src/policy/sts-fetch.ts';
import { type DomainName, parseDomain } from '../../src/protocol/domain.ts';
import { parsePolicy, type StsPolicy } from '../../src/protocol/mta-sts/policy.ts';

export function domain(text: string): DomainName {
  const name = parseDomain(text);
  if (!name) throw new Error(`${text} is no domain`);
  return name;
}

export function policy(
  mode: StsPolicy['mode'],
  mx: readonly string[] = ['*.w.example'],
  maxAgeSeconds = 604_800,
): StsPolicy {
  const lines = ['version: STSv1', `mode: ${mode}`, ...mx.map((one) => `mx: ${one}`)];
  const verdict = parsePolicy(
    Buffer.from([...lines, `max_age: ${maxAgeSeconds}`, ''].join('\r\n')),
  );
  if (!verdict.ok) throw new Error(verdict.detail);
  return verdict.policy;
}

export function keptPolicy(id: string, of: StsPolicy, fetchedAtMs: number): KeptPolicy {
  return { id, policy: of, fetchedAtMs, source: 'fetch' };
}

export type TxtAnswer = LookupResult<readonly Buffer[]>;

export function txt(...records: string[]): Found<readonly Buffer[]> {
  return {
    kind: 'found',
    records: records.map((text) => [Buffer.from(text)]),
    ttlSeconds: 60,
    authenticated: false,
    canonicalName: '',
  };
}

export const NO_TXT: TxtAnswer = {
  kind: 'absent',
  nameExists: false,
  ttlSeconds: 0,
  authenticated: false,
};
export const SERVFAIL: TxtAnswer = { kind: 'failed', reason: 'SERVFAIL from 127.0.0.1:53' };

/** DNS for TXT alone; anything else is a mistake of the test. */
export class TxtResolver implements Resolver {
  readonly asked: string[] = [];
  answer: (name: string, signal: AbortSignal) => TxtAnswer | Promise<TxtAnswer> = () => NO_TXT;

  /** What was asked for besides the name. */
  readonly options: unknown[] = [];

  async lookupTxt(name: string, signal: AbortSignal, options?: unknown): Promise<TxtAnswer> {
    this.asked.push(name);
    this.options.push(options);
    return this.answer(name, signal);
  }
  lookupMx(): Promise<never> {
    throw new Error('nobody may ask for MX here');
  }
  lookupAddress(): Promise<never> {
    throw new Error('nobody may ask for addresses here');
  }
  lookupTlsa(): Promise<never> {
    throw new Error('nobody may ask for TLSA here');
  }
  lookupCname(): Promise<never> {
    throw new Error('nobody may ask for CNAME here');
  }
}

/** What a policy host says; when it was asked is added. */
export type HostAnswer =
  | { readonly kind: 'fetched'; readonly policy: StsPolicy }
  | (FetchResult & { readonly kind: 'failed' });

/** The policy host. */
export class PolicyHost {
  readonly asked: string[] = [];
  readonly #clock: Clock;
  answer: (domain: DomainName, signal: AbortSignal) => HostAnswer | Promise<HostAnswer> = () =>
    failedFetch('nobody serves it');

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  readonly fetch = async (
    name: DomainName,
    _id: string,
    signal: AbortSignal,
  ): Promise<FetchResult> => {
    this.asked.push(name);
    const requestedAtMs = this.#clock.now();
    const answer = await this.answer(name, signal);
    return answer.kind === 'fetched' ? { ...answer, requestedAtMs } : answer;
  };

  serve(published: StsPolicy): void {
    this.answer = () => ({ kind: 'fetched', policy: published });
  }
  break(reason = 'connection refused'): void {
    this.answer = () => failedFetch(reason);
  }
}

export function failedFetch(reason: string): FetchResult & { readonly kind: 'failed' } {
  return { kind: 'failed', resultType: 'sts-policy-fetch-error', reason };
}

/** As much of Redis as the policy store uses. */
export class MapRedis {
  readonly values = new Map<string, string>();
  isDown = false;

  async get(key: string): Promise<string | null> {
    if (this.isDown) throw new Error('Redis is gone');
    return this.values.get(key) ?? null;
  }
  async del(key: string): Promise<number> {
    if (this.isDown) throw new Error('Redis is gone');
    return this.values.delete(key) ? 1 : 0;
  }
  /** The one script there is: SET unless what is there was fetched later. */
  async eval(_script: string, _keys: 1, key: string, json: string, at: number): Promise<0 | 1> {
    if (this.isDown) throw new Error('Redis is gone');
    if (fetchedAt(this.values.get(key)) > at) return 0;
    this.values.set(key, json);
    return 1;
  }
}

function fetchedAt(json = '{}'): number {
  try {
    const entry = JSON.parse(json) as { policy?: { fetchedAtMs?: number } };
    return entry.policy?.fetchedAtMs ?? 0;
  } catch {
    return 0;
  }
}
