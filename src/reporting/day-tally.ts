/**
 * The counts of a day, or of a part of one, of all domains. Pure, and bounded whatever comes: what is
 * counted beyond the bounds is in the same sums, with less said about it. Tallies add up in any
 * order, so those of a process that crashed, of an earlier part of the day or of another relay are
 * merged by adding.
 *
 * Beyond the bounds a detail loses hosts and reason, a policy its lines, a domain its name: those
 * are counted together as `other` and in no report.
 */
import {
  type AppliedPolicy,
  type DetailCount,
  foldedDetail,
  type PolicyCounts,
} from '../protocol/tlsrpt/counts.ts';
import type { Counted } from './counted.ts';

export interface TallyLimits {
  readonly domains: number;
  /** Of one domain. */
  readonly policies: number;
  /** Of one policy. */
  readonly details: number;
  /** Characters that lines and details take together. */
  readonly characters: number;
}

export const DAY_LIMITS: TallyLimits = {
  domains: 20_000,
  policies: 20,
  details: 200,
  characters: 16 * 1024 * 1024,
};

export interface Sums {
  readonly successful: number;
  readonly failed: number;
}

interface PolicyTally {
  readonly policy: AppliedPolicy;
  successful: number;
  failed: number;
  readonly details: Map<string, { readonly detail: DetailCount['detail']; sessions: number }>;
}

export class DayTally {
  readonly #limits: TallyLimits;
  readonly #domains = new Map<string, Map<string, PolicyTally>>();
  #characters = 0;
  #other: Sums = { successful: 0, failed: 0 };

  constructor(limits: TallyLimits = DAY_LIMITS) {
    this.#limits = limits;
  }

  get isEmpty(): boolean {
    return this.#domains.size === 0 && this.#other.successful + this.#other.failed === 0;
  }

  /** Of the domains that there was no room for. */
  get other(): Sums {
    return this.#other;
  }

  add(counted: Counted): void {
    const domain = this.#domainOf(counted.domain);
    if (!domain) {
      this.addOther(counted);
      return;
    }
    const tally = this.#policyOf(domain, counted);
    tally.successful += counted.successful;
    tally.failed += counted.failed;
    for (const one of counted.details) this.#addDetail(tally, one);
  }

  addOther({ successful, failed }: Sums): void {
    const other = this.#other;
    this.#other = { successful: other.successful + successful, failed: other.failed + failed };
  }

  addAll(tally: DayTally): void {
    for (const counted of tally.counted()) this.add(counted);
    this.addOther(tally.other);
  }

  /** By domain, in the order of their names. */
  domains(): readonly string[] {
    return [...this.#domains.keys()].sort();
  }

  countsOf(domain: string): readonly PolicyCounts[] {
    return [...(this.#domains.get(domain)?.values() ?? [])].map((tally) => ({
      ...tally,
      details: [...tally.details.values()],
    }));
  }

  /** All but `other`. */
  *counted(): Generator<Counted> {
    for (const domain of this.#domains.keys()) {
      for (const counts of this.countsOf(domain)) yield { domain, ...counts };
    }
  }

  #domainOf(name: string): Map<string, PolicyTally> | undefined {
    const known = this.#domains.get(name);
    if (known) return known;
    if (this.#domains.size >= this.#limits.domains) return undefined;
    const policies = new Map<string, PolicyTally>();
    this.#domains.set(name, policies);
    return policies;
  }

  #policyOf(domain: Map<string, PolicyTally>, { policy, domain: name }: Counted): PolicyTally {
    const key = keyOf(policy);
    const known = domain.get(key);
    if (known) return known;
    const hasRoom = domain.size < this.#limits.policies && this.#takes(key.length);
    const kept = hasRoom ? policy : { ...policy, domain: name, lines: [], mx: [] };
    const keptKey = hasRoom ? key : keyOf(kept);
    const there = domain.get(keptKey);
    if (there) return there;
    const fresh = { policy: kept, successful: 0, failed: 0, details: new Map() };
    domain.set(keptKey, fresh);
    return fresh;
  }

  #addDetail({ details }: PolicyTally, { detail, sessions }: DetailCount): void {
    const key = JSON.stringify(detail);
    const known = details.get(key);
    if (known) {
      known.sessions += sessions;
      return;
    }
    const hasRoom = details.size < this.#limits.details && this.#takes(key.length);
    const kept = hasRoom ? detail : foldedDetail(detail);
    const keptKey = hasRoom ? key : JSON.stringify(kept);
    const there = details.get(keptKey);
    if (there) there.sessions += sessions;
    else details.set(keptKey, { detail: kept, sessions });
  }

  #takes(length: number): boolean {
    if (this.#characters + length > this.#limits.characters) return false;
    this.#characters += length;
    return true;
  }
}

function keyOf({ type, domain, lines, mx }: AppliedPolicy): string {
  return JSON.stringify([type, domain, lines, mx]);
}
