/**
 * The counts of a day, or of a part of one, of all domains. Pure, and bounded whatever comes: what is
 * counted beyond the bounds is in the same sums, with less said about it. Tallies add up in any
 * order, so those of a process that crashed, of an earlier part of the day or of another relay are
 * merged by adding.
 *
 * A domain whose lines and details take more than is modest shares half of the room with others like it: the
 * long policies of some leave those of all others room.
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
  /** Of them each domain may take so many, without counting as greedy. */
  readonly modest: number;
}

export const DAY_LIMITS: TallyLimits = {
  domains: 20_000,
  policies: 20,
  details: 200,
  characters: 16 * 1024 * 1024,
  modest: 16 * 1024,
};

export interface Sums {
  readonly successful: number;
  readonly failed: number;
}

interface DomainTally {
  readonly policies: Map<string, PolicyTally>;
  characters: number;
}

interface PolicyTally {
  readonly policy: AppliedPolicy;
  successful: number;
  failed: number;
  readonly details: Map<string, { readonly detail: DetailCount['detail']; sessions: number }>;
}

export class DayTally {
  readonly #limits: TallyLimits;
  readonly #domains = new Map<string, DomainTally>();
  #characters = 0;
  /** Of them those that were more than modest. */
  #greedy = 0;
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
    for (const one of counted.details) this.#addDetail(domain, tally, one);
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
    return [...(this.#domains.get(domain)?.policies.values() ?? [])].map((tally) => ({
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

  #domainOf(name: string): DomainTally | undefined {
    const known = this.#domains.get(name);
    if (known) return known;
    if (this.#domains.size >= this.#limits.domains) return undefined;
    const fresh: DomainTally = { policies: new Map(), characters: 0 };
    this.#domains.set(name, fresh);
    return fresh;
  }

  #policyOf(domain: DomainTally, { policy, domain: name }: Counted): PolicyTally {
    const { policies } = domain;
    const key = keyOf(policy);
    const known = policies.get(key);
    if (known) return known;
    const hasRoom = policies.size < this.#limits.policies && this.#takes(domain, key.length);
    const kept = hasRoom ? policy : { ...policy, domain: name, lines: [], mx: [] };
    const keptKey = hasRoom ? key : keyOf(kept);
    const there = policies.get(keptKey);
    if (there) return there;
    const fresh = { policy: kept, successful: 0, failed: 0, details: new Map() };
    policies.set(keptKey, fresh);
    return fresh;
  }

  #addDetail(domain: DomainTally, { details }: PolicyTally, counted: DetailCount): void {
    const { detail, sessions } = counted;
    const key = JSON.stringify(detail);
    const known = details.get(key);
    if (known) {
      known.sessions += sessions;
      return;
    }
    const hasRoom = details.size < this.#limits.details && this.#takes(domain, key.length);
    const kept = hasRoom ? detail : foldedDetail(detail);
    const keptKey = hasRoom ? key : JSON.stringify(kept);
    const there = details.get(keptKey);
    if (there) there.sessions += sessions;
    else details.set(keptKey, { detail: kept, sessions });
  }

  #takes(domain: DomainTally, length: number): boolean {
    const { characters, modest } = this.#limits;
    if (this.#characters + length > characters) return false;
    const isGreedy = domain.characters + length > modest;
    if (isGreedy && this.#greedy + length > characters / 2) return false;
    if (isGreedy) this.#greedy += length;
    domain.characters += length;
    this.#characters += length;
    return true;
  }
}

function keyOf({ type, domain, lines, mx }: AppliedPolicy): string {
  return JSON.stringify([type, domain, lines, mx]);
}
