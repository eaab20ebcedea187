/**
 * The ledger of the pretend internet: every message that a node acknowledged, and every copy of one that arrived.
 * Each message carries a token in its subject.
 */
import type { PretendDomain } from '../support/pretend-internet.ts';

export interface Account {
  readonly acknowledged: number;
  readonly missing: readonly string[];
  /** Tokens that arrived more often than once. */
  readonly twice: readonly string[];
}

export class Ledger {
  /** The node that acknowledged it, by token. */
  readonly #acknowledged = new Map<string, string>();
  readonly #domains: readonly PretendDomain[];

  constructor(domains: readonly PretendDomain[]) {
    this.#domains = domains;
  }

  acknowledged(token: string, node: string): void {
    this.#acknowledged.set(token, node);
  }

  takenBy(node: string): number {
    let count = 0;
    for (const one of this.#acknowledged.values()) if (one === node) count += 1;
    return count;
  }

  nodeOf(token: string): string | undefined {
    return this.#acknowledged.get(token);
  }

  account(): Account {
    const copies = new Map<string, number>();
    for (const token of this.#arrivals()) copies.set(token, (copies.get(token) ?? 0) + 1);
    return {
      acknowledged: this.#acknowledged.size,
      missing: [...this.#acknowledged.keys()].filter((token) => !copies.has(token)),
      twice: [...copies].filter(([, count]) => count > 1).map(([token]) => token),
    };
  }

  *#arrivals(): Generator<string> {
    for (const { messages } of this.#domains) {
      for (const { data } of messages) {
        yield /^Subject: (\S+)\r$/m.exec(data.subarray(0, 4096).toString('latin1'))?.[1] ?? '';
      }
    }
  }
}
