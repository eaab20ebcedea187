/**
 * Counts client connections, all together and per client, over all listeners.
 *
 * A connection over a limit still gets its `421`: behind implicit TLS that costs a handshake.
 * So only a few may be on the way to theirs; connections beyond those are dropped without a
 * word.
 */
import { clientKey } from './client-key.ts';

export interface ConnectionLimits {
  readonly connections: number;
  readonly connectionsPerClient: number;
}

/** A connection's place; `release` gives it back, once however often it is called. */
export interface Ticket {
  readonly verdict: 'admitted' | 'refused' | 'dropped';
  release(): void;
}

/** Connections over a limit that may be on the way to their 421 at the same time. */
const MAX_REFUSED_TOTAL = 100;
const MAX_REFUSED_PER_CLIENT = 10;

export class ConnectionCount {
  readonly #perClient = new Map<string, number>();
  readonly #changed: (open: number) => void;
  #limits: ConnectionLimits;
  #open = 0;

  /** `changed` is told the number of open connections whenever it changes. */
  constructor(limits: ConnectionLimits, changed: (open: number) => void) {
    this.#limits = limits;
    this.#changed = changed;
  }

  get open(): number {
    return this.#open;
  }

  /** Other limits from now on; connections that are open stay. */
  update(limits: ConnectionLimits): void {
    this.#limits = limits;
  }

  /** Count a connection that was just accepted. */
  admit(clientAddress: string): Ticket {
    const client = clientKey(clientAddress);
    const verdict = this.#judge(client);
    if (verdict === 'dropped') return { verdict, release: () => {} };
    this.#count(client, 1);
    let held = true;
    const release = () => {
      if (held) this.#count(client, -1);
      held = false;
    };
    return { verdict, release };
  }

  #judge(client: string): Ticket['verdict'] {
    const overTotal = this.#open - this.#limits.connections;
    const overClient = (this.#perClient.get(client) ?? 0) - this.#limits.connectionsPerClient;
    if (overTotal < 0 && overClient < 0) return 'admitted';
    if (overTotal >= MAX_REFUSED_TOTAL || overClient >= MAX_REFUSED_PER_CLIENT) return 'dropped';
    return 'refused';
  }

  #count(client: string, by: 1 | -1): void {
    this.#open += by;
    const count = (this.#perClient.get(client) ?? 0) + by;
    if (count > 0) this.#perClient.set(client, count);
    else this.#perClient.delete(client);
    this.#changed(this.#open);
  }
}
